//! The operations: one file each, with what every backend needs to carry it out.
//!
//! For a readiness backend that is the direction to wait for and an [`attempt`](Operation::attempt) that never blocks. (A
//! completion backend adds its submission entry beside it, in the same file.)
//!
//! Sockets are not switched to non-blocking mode for it: receiving and sending pass `MSG_DONTWAIT`, which concerns the one call and
//! not the open file description that other processes and `std` handles may share. Only listeners and sockets that are being
//! connected carry `O_NONBLOCK`, because `accept4(2)` and `connect(2)` have no such flag.

mod accept;
mod connect;
mod datagram;
mod poll;
mod receive;
mod send;

pub use accept::Accept;
pub use connect::Connect;
pub use datagram::{ReceiveFrom, SendTo};
pub use poll::Poll;
pub use receive::{Receive, ReceiveVectored};
pub use send::{Send, SendVectored};

use crate::Direction;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::BorrowedFd;

/// One operation on a descriptor, with the buffers that it borrows.
pub trait Operation {
    /// What it returns.
    type Output;

    /// What to wait for when it would block.
    fn direction(&self) -> Direction;

    /// Tries it without blocking. An attempt that would block can be made again.
    ///
    /// # Errors
    /// `WouldBlock` when it has to wait; else the operation's own error.
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<Self::Output>>;

    /// Called when the operation's token has come back: for operations whose answer is the event itself.
    #[inline]
    fn woken(&mut self) {}

    /// The result when an attempt would block on a direction that has ended, if the call itself does not say so.
    #[inline]
    fn end(&mut self, _fd: BorrowedFd<'_>) -> Option<Self::Output> {
        None
    }

    /// Whether the attempt must be made even where readiness is known to be missing: because it starts something (as `connect` does), or
    /// needs no room (sending nothing).
    #[inline]
    fn must_attempt(&self) -> bool {
        false
    }
}

/// A successful attempt.
#[derive(Debug)]
pub struct Attempt<T> {
    /// The operation's result.
    pub value: T,
    /// True when the kernel's buffer is known to be empty (or, writing, full) now: the next operation of this direction need not try.
    pub drained: bool,
}

/// The error of an operation on a [`Source`](crate::Source) that another context has closed.
#[cold]
pub fn closed_error() -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, "the socket was closed by another context while in use")
}

/// Whether a datagram socket's receiving was shut down. A `recv(2)` that waits then returns 0; but one that does not wait says `EAGAIN`.
#[cold]
fn receives_no_more(fd: BorrowedFd<'_>) -> bool {
    let mut set = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut set, Some(&zero)).is_ok() && set[0].revents().contains(PollFlags::RDHUP)
}

/// Repeats `call` while a signal interrupts it.
#[inline]
fn uninterrupted<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            result => return result.map_err(io::Error::from),
        }
    }
}
