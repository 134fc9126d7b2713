//! End receiving, sending or both on a socket: `shutdown(2)`.
//!
//! The call never waits: 0.5 µs. A ring carries the entry out only on a thread of the kernel: 5.3 µs, and at a moment that the caller does not know. So it is a call,
//! unless everything is to be submitted, or this one ([`Shutdown::submitted`]): for who wants it behind what is in the queue already, say.

use super::{Attempt, Hints, Operation};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::net::Shutdown as How;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Shuts a socket down.
#[derive(Debug)]
pub struct Shutdown {
    how: How,
    submitted: bool,
}

impl Shutdown {
    /// Ends `how` much.
    pub fn new(how: How) -> Shutdown {
        Shutdown { how, submitted: false }
    }

    /// The same, handed over to a ring where there is one.
    #[must_use]
    pub fn submitted(mut self) -> Shutdown {
        self.submitted = true;
        self
    }
}

// SAFETY: the entry points to nothing.
unsafe impl Operation for Shutdown {
    type Output = ();

    /// It waits for neither.
    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<()>> {
        rustix::net::shutdown(fd, self.how)?;
        Ok(Attempt { value: (), drained: false })
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry> {
        let wanted = self.submitted || hints.submit;
        wanted.then(|| opcode::Shutdown::new(Fd(fd.as_raw_fd()), self.how as i32).build())
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<()>> {
        result?;
        Ok(Attempt { value: (), drained: false })
    }

    /// Whether there is room does not matter.
    fn must_attempt(&self) -> bool {
        true
    }

    fn may_attempt(&self) -> bool {
        !self.submitted
    }
}
