//! The parts that the lab plays in processes of their own: `fibra lab-part`, which is not for people.

use super::{costs, program};
use clap::{Args, Subcommand};
use std::ffi::OsString;

/// A part of a measurement, played for the lab
#[derive(Args, Debug)]
pub(crate) struct LabPart {
    #[command(subcommand)]
    part: Part,
}

#[derive(Subcommand, Debug)]
enum Part {
    /// Become a program, on the cores named
    Launch {
        #[arg(long, default_value = "")]
        cores: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        program: Vec<OsString>,
    },
    /// One measurement of the cost ladder: prints its value
    Cost { id: String, count: u64 },
    /// The other side of a measurement between two processes
    Peer {
        #[arg(value_enum)]
        role: costs::Role,
        #[arg(default_value_t = 0)]
        count: u64,
    },
}

impl LabPart {
    pub(crate) fn run(self) -> Result<(), String> {
        match self.part {
            Part::Launch { cores, program } => program::launch(&cores, &program),
            Part::Cost { id, count } => costs::measure(&id, count),
            Part::Peer { role, count } => role.play(count),
        }
    }
}
