//! Wait until a descriptor is readable or writable, and take nothing: for callers who make the call themselves.

use super::{Attempt, Hints, Operation, poll_entry};
use crate::Direction;
use io_uring::squeue::Entry;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::BorrowedFd;

/// Completes when the direction is ready, or broken.
#[derive(Debug)]
pub struct Poll {
    direction: Direction,
    /// Set when an edge has answered instead of a call.
    ready: bool,
}

impl Poll {
    /// Waits for `direction`.
    pub fn new(direction: Direction) -> Self {
        Poll { direction, ready: false }
    }
}

// SAFETY: the entry points to nothing.
unsafe impl Operation for Poll {
    type Output = ();

    #[inline]
    fn direction(&self) -> Direction {
        self.direction
    }

    #[inline]
    fn woken(&mut self) {
        self.ready = true;
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<()>> {
        if !self.ready {
            let flags = match self.direction {
                Direction::Read => PollFlags::IN,
                Direction::Write => PollFlags::OUT,
            };
            let mut set = [PollFd::from_borrowed_fd(fd, flags)];
            let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
            if super::uninterrupted(|| rustix::event::poll(&mut set, Some(&zero)))? == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
        }
        Ok(Attempt { value: (), drained: false })
    }

    #[inline]
    fn entry(&mut self, fd: BorrowedFd<'_>, _: Hints) -> Option<Entry> {
        Some(poll_entry(fd, self.direction))
    }

    #[inline]
    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<()>> {
        result?;
        Ok(Attempt { value: (), drained: false })
    }

    /// The entry asks the same, and the caller has just made a call that would block.
    #[inline]
    fn may_attempt(&self) -> bool {
        false
    }
}
