//! Wait until a descriptor is readable or writable, and take nothing: for callers who make the call themselves.

use super::{Attempt, Hints, Operation, poll_entry};
use crate::Direction;
use io_uring::squeue::Entry;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::BorrowedFd;

/// Completes when the direction is ready, or broken.
///
/// It lends nothing to the kernel but its [`Flight`](crate::Flight): the operation itself may be dropped while it is pending, and the descriptor be closed (the
/// answer is then about nothing, or about whoever has the number next).
#[derive(Debug)]
pub struct Poll {
    direction: Direction,
    /// Set when an edge has answered instead of a call.
    ready: bool,
    /// Whether a readiness driver asks the kernel before it waits.
    asks: bool,
}

impl Poll {
    /// Waits for `direction`.
    pub fn new(direction: Direction) -> Self {
        Poll { direction, ready: false, asks: true }
    }

    /// Waits for `direction` where the caller knows what stands now: that it is not ready, or that the descriptor has not been registered before (the kernel then
    /// tells of what there is). A readiness driver does not ask again, and completes at the next event; a ring asks in any case.
    ///
    /// Events are counted by the driver's owner in `wait`, so between the caller's look and this call none is lost if both are the owner's.
    pub fn next(direction: Direction) -> Self {
        Poll { direction, ready: false, asks: false }
    }

    fn ask(&self, fd: BorrowedFd<'_>) -> io::Result<bool> {
        let flags = match self.direction {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        let mut set = [PollFd::from_borrowed_fd(fd, flags)];
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        Ok(super::uninterrupted(|| rustix::event::poll(&mut set, Some(&zero)))? != 0)
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
        if !(self.ready || self.asks && self.ask(fd)?) {
            return Err(io::ErrorKind::WouldBlock.into());
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

    /// After a hang-up there may be no event any more.
    fn end(&mut self, fd: BorrowedFd<'_>) -> Option<io::Result<()>> {
        match self.ask(fd) {
            Ok(false) => None,
            Ok(true) => Some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    }

    /// The entry asks the same, and the caller has just made a call that would block.
    #[inline]
    fn may_attempt(&self) -> bool {
        false
    }
}
