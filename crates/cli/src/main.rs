//! The `fibra` program.

#![forbid(unsafe_code)]

mod doctor;
mod lab;
mod load;
mod log;
mod serve;

use clap::{Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

/// Write threads, run coroutines: servers, and what each way of serving costs.
#[derive(Parser, Debug)]
#[command(name = "fibra", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,

    /// What is logged to stderr: error, warn, info, debug, trace or off, also by module ("info,fibra_serve=debug")
    #[arg(long, global = true, default_value = "info", env = "FIBRA_LOG", value_name = "FILTER")]
    log: String,
}

#[derive(Subcommand, Debug)]
enum Command {
    Serve(serve::Serve),
    Load(load::Load),
    Doctor(doctor::Doctor),
    Lab(lab::Lab),
    #[command(hide = true)]
    LabPart(lab::LabPart),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = log::install(&cli.log).and_then(|()| match cli.command {
        Command::Serve(command) => command.run(),
        Command::Load(command) => command.run(),
        Command::Doctor(command) => command.run(),
        Command::Lab(command) => command.run(),
        Command::LabPart(command) => command.run(),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Nobody need be there to read it.
            let _ = writeln!(io::stderr(), "fibra: {message}");
            ExitCode::FAILURE
        }
    }
}
