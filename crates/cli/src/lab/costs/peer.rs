//! The other process of a measurement between two: this program again, at the other end of two pipes.

use super::{in_words, work};
use crate::lab::program;
use clap::ValueEnum;
use std::io::Read;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What the other process does.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lab) enum Role {
    /// Gives back each byte.
    Echo,
    /// Says that it is there, and waits for its input to end.
    Idle,
    /// Computes.
    Work,
}

impl Role {
    pub(in crate::lab) fn play(self, count: u64) -> Result<(), String> {
        // Not std's handles, which buffer and lock.
        let (input, output) = (rustix::stdio::stdin(), rustix::stdio::stdout());
        let mut byte = [b'\n'];
        match self {
            Role::Echo => {
                while matches!(rustix::io::read(input, &mut byte), Ok(1)) {
                    rustix::io::write(output, &byte).map_err(in_words)?;
                }
            }
            Role::Idle => {
                rustix::io::write(output, &byte).map_err(in_words)?;
                while matches!(rustix::io::read(input, &mut byte), Ok(1)) {}
            }
            Role::Work => {
                work::compute(count);
            }
        }
        Ok(())
    }

    fn name(self) -> &'static str {
        match self {
            Role::Echo => "echo",
            Role::Idle => "idle",
            Role::Work => "work",
        }
    }
}

/// The process that plays it; ended when dropped.
#[derive(Debug)]
pub(super) struct Peer {
    child: Child,
    to: Option<ChildStdin>,
    from: Option<ChildStdout>,
}

impl Peer {
    pub(super) fn start(role: Role, count: u64) -> Result<Peer, String> {
        let mut command = Command::new(program::this()?);
        command.args(["--log", "off", "lab-part", "peer", role.name(), &count.to_string()]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(in_words)?;
        let (to, from) = (child.stdin.take(), child.stdout.take());
        Ok(Peer { child, to, from })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn pipes(&mut self) -> Result<(&mut ChildStdin, &mut ChildStdout), String> {
        self.to.as_mut().zip(self.from.as_mut()).ok_or_else(|| "the pipes are closed".to_owned())
    }

    /// Waits until it says that it is there.
    pub(super) fn is_there(&mut self) -> Result<(), String> {
        let (_, from) = self.pipes()?;
        from.read_exact(&mut [0]).map_err(|error| format!("the other process did not start: {error}"))
    }

    /// Waits for its end.
    pub(super) fn wait(mut self) -> Result<(), String> {
        self.to = None;
        let status = self.child.wait().map_err(in_words)?;
        if status.success() { Ok(()) } else { Err(format!("the other process: {status}")) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // With its input it ends by itself; one that computes does not, and one that has been waited for is gone.
        self.to = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
