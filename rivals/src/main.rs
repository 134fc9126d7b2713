//! fibra beside other runtimes. See README.md for what is measured and how; in short:
//!
//! ```text
//! harness ── starts, round by round, in an order drawn anew ──┬─ one      a measurement without load   (server core)
//!   │                                                         ├─ read     one runtime reading a file   (server core)
//!   │                                                         ├─ server   one runtime, one protocol    (server core)
//!   └─ pairs the rounds, takes medians and intervals          └─ load     the epoll client             (load core)
//! ```

mod bench;
mod cli;
mod load;
mod process;
mod reader;
mod report;
mod rival;
mod runtime;
mod server;
mod stats;
mod system_calls;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use crate::cli::{Cli, Command, Settings};

/// Seconds that any child's work fits in, what it was asked to take left aside.
const AMPLE: f64 = 120.0;

fn main() -> ExitCode {
    let child = match Cli::parse().command {
        Command::One(one) => process::settle_in_child().and_then(|()| {
            process::live_at_most(AMPLE + 20.0 * one.seconds);
            bench::one(&one)?.print()
        }),
        Command::Read(read) => process::settle_in_child().and_then(|()| {
            process::live_at_most(AMPLE + 20.0 * (read.seconds + read.warm_up));
            reader::run(&read)?.print()
        }),
        Command::Server(server) => process::settle_in_child().and_then(|()| server::serve(&server)),
        Command::Load(load) => process::settle_in_child().and_then(|()| {
            process::live_at_most(AMPLE + 20.0 * (load.seconds + load.warm_up));
            load::run(&load)?.print()
        }),
        Command::Program { at_most, words } => process::settle_in_child().and_then(|()| {
            // The alarm stays with the process, whatever program it becomes.
            at_most.into_iter().for_each(process::live_at_most);
            process::become_program(&words)
        }),
        harness => {
            return match measure(harness) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("rivals: {error:#}");
                    ExitCode::FAILURE
                }
            };
        }
    };
    match child {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            process::print_error(&error);
            ExitCode::FAILURE
        }
    }
}

fn measure(command: Command) -> Result<()> {
    type Experiments = fn(&Settings) -> Vec<bench::Experiment>;
    let all: &[Experiments] = &[
        bench::switch::experiments,
        bench::yields::experiments,
        bench::spawn::experiments,
        bench::spawn_many::experiments,
        bench::park::experiments,
        bench::locks::experiments,
        bench::queues::experiments,
        bench::timers::experiments,
        bench::memory::experiments,
        bench::accept::experiments,
        bench::echo::experiments,
        bench::echo_idle::experiments,
        bench::http::experiments,
        bench::clients::experiments,
        bench::files::experiments,
    ];
    let (settings, chosen) = match &command {
        Command::Switch(settings) => (settings, &all[0..1]),
        Command::Yield(settings) => (settings, &all[1..2]),
        Command::Spawn(settings) => (settings, &all[2..3]),
        Command::SpawnMany(settings) => (settings, &all[3..4]),
        Command::Park(settings) => (settings, &all[4..5]),
        Command::Locks(settings) => (settings, &all[5..6]),
        Command::Queues(settings) => (settings, &all[6..7]),
        Command::Timers(settings) => (settings, &all[7..8]),
        Command::Memory(settings) => (settings, &all[8..9]),
        Command::Accept(settings) => (settings, &all[9..10]),
        Command::Echo(settings) => (settings, &all[10..11]),
        Command::EchoIdle(settings) => (settings, &all[11..12]),
        Command::Http(settings) => (settings, &all[12..13]),
        Command::Clients(settings) => (settings, &all[13..14]),
        Command::Files(settings) => (settings, &all[14..15]),
        Command::All(settings) => (settings, all),
        Command::One(_)
        | Command::Read(_)
        | Command::Server(_)
        | Command::Load(_)
        | Command::Program { .. } => {
            unreachable!("a child's work is done in main")
        }
    };
    let mut rng = settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed);
    let mut report = report::Report::new(settings)?;
    for experiment in chosen.iter().flat_map(|experiments| experiments(settings)) {
        let outcome = experiment.run(settings.rounds, &mut rng);
        report.add(&outcome, &mut rng)?;
    }
    report.finish()
}
