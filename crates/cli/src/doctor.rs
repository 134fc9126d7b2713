//! `fibra doctor`: what this machine offers, and what to change for more connections.
//!
//! Facts are looked up first and judged afterwards: each module below has a type for its facts, which looks for them in files under a given root, at
//! system calls and in the library, and prints them; [`bounds`] and [`advice`] draw the conclusions, from facts alone. What cannot be found out is a fact too
//! ("unknown", and why): nothing that is missing ends the report. Nothing on the machine is changed.

mod advice;
mod bounds;
mod capacity;
mod cgroup;
mod drivers;
pub(crate) mod files;
mod kernel;
mod limits;
pub(crate) mod report;
mod settings;
mod stacks;

use capacity::{Cores, Memory};
use cgroup::Cgroups;
use clap::Args;
use drivers::Drivers;
use files::Files;
use kernel::Kernel;
use limits::Limits;
use report::{Report, about};
use settings::{Settings, Trial};
use stacks::Stacks;
use std::io::{self, ErrorKind, Write};

/// Tell what this machine offers, and what to change for more connections
///
/// The kernel, the drivers and their features, guard pages, limits, cores, memory, and the environment variables that fibra reads. Nothing is
/// changed. What cannot be found out is told as unknown; only an environment variable that is not valid makes the command fail.
#[derive(Args, Debug)]
pub(crate) struct Doctor {}

/// All that is known of the machine.
#[derive(Clone, Debug)]
struct Facts {
    kernel: Kernel,
    drivers: Drivers,
    stacks: Stacks,
    limits: Limits,
    cores: Cores,
    memory: Memory,
    settings: Settings,
    trial: Trial,
}

impl Doctor {
    pub(crate) fn run(self) -> Result<(), String> {
        let settings = Settings::from_environment();
        let invalid = settings.invalid();
        match examine(settings, io::stdout().lock()) {
            // Who reads only the first lines has what they want.
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(format!("the report cannot be written: {error}"))
            }
            _ if invalid.is_empty() => Ok(()),
            _ => Err(invalid.join("\nfibra: ")),
        }
    }
}

/// Looks and prints, group by group.
fn examine(settings: Settings, out: impl Write) -> io::Result<()> {
    let files = Files::new("/");
    let cgroups = Cgroups::new(&files);
    let mut report = Report::new(out);
    report.plain(&format!("fibra {}: what this machine offers", env!("CARGO_PKG_VERSION")))?;

    let limits = Limits::look(&files, &cgroups);
    report.group("Kernel")?;
    let kernel = Kernel::look(&files);
    kernel.print(&mut report)?;

    report.group("Drivers")?;
    let drivers = Drivers::probe(&settings);
    drivers.print(&mut report)?;

    report.group("Stacks")?;
    let stacks = Stacks::look(&files, &settings);
    stacks.print(&mut report)?;

    report.group("Limits")?;
    // Before 5.12 the memory of rings was charged as locked.
    limits.print(!kernel.is_at_least((5, 12)), &mut report)?;

    report.group("Cores")?;
    let cores = Cores::look(&files, &cgroups);
    cores.print(&mut report)?;

    report.group("Memory")?;
    let memory = Memory::look(&files, &cgroups);
    memory.print(&mut report)?;

    report.group("Settings (environment)")?;
    let trial = settings.trial();
    settings.print(&trial, &cores.default_workers, &mut report)?;

    let facts = Facts { kernel, drivers, stacks, limits, cores, memory, settings, trial };
    report.group("Connections: how many each limit allows, the lowest first")?;
    let bounds = bounds::bounds(&facts);
    bounds::print(&bounds, &mut report)?;

    let aim = bounds::aim(&facts);
    report.group(&match aim {
        bounds::AIM => format!("For more connections, up to {}", about(aim)),
        _ => format!("For more connections, up to the {} that there is memory for", about(aim)),
    })?;
    advice::print(&facts, &bounds, &mut report)?;
    report.finish()
}
