//! The operations: one file each, with what every backend needs to carry it out side by side.
//!
//! * An [`Operation`] waits for a socket. For a readiness backend it is the direction to wait for and an
//!   [`attempt`](Operation::attempt) that never blocks; for a completion backend an [`entry`](Operation::entry), which the kernel carries out when it can, and
//!   what its [answer](Operation::completed) means.
//! * A [`Call`] may block whatever is done, as those on files do. Where there is a ring it is an [`entry`](Call::entry) too, and else a
//!   [`call`](Call::call) for a thread that may block.
//!
//! Sockets are not switched to non-blocking mode for it: receiving and sending pass `MSG_DONTWAIT`, which concerns the one call and
//! not the open file description that other processes and `std` handles may share. Only listeners and sockets that are being
//! connected carry `O_NONBLOCK`, and those that are spliced, because `accept4(2)`, `connect(2)` and `splice(2)` have no such flag. A ring waits for those all the same.
//!
//! Two are of another shape, and their files say why: [`AcceptAhead`], which one entry answers many times, and [`close`], for which a ring has nothing to offer.
//!
//! # What a ring is not asked to, unless everything is to be submitted
//! What never waits ([`Shutdown`]), or only on a thread of the kernel ([`Splice`]), is a call first, and where that would wait the ring is asked for readiness; [`Timeout`] is for who has
//! no timers of its own. Their files say what was measured for it, on Linux 6.18 with two cores, other programs running, medians of nine rounds.

mod accept;
mod accept_ahead;
mod close;
mod connect;
mod datagram;
mod message;
mod open;
mod poll;
mod read;
mod receive;
mod rename;
mod send;
mod shutdown;
mod splice;
mod statx;
mod sync;
mod timeout;
mod unlink;
mod write;

pub use accept::Accept;
pub use accept_ahead::AcceptAhead;
pub use close::close;
pub use connect::Connect;
pub use datagram::{ReceiveFrom, SendTo};
pub use open::Open;
pub use poll::Poll;
pub use read::{ReadAt, ReadVectoredAt};
pub use receive::{Receive, ReceiveVectored};
pub use rename::Rename;
pub use send::{Send, SendVectored};
pub use shutdown::Shutdown;
pub use splice::Splice;
pub use statx::Statx;
pub use sync::Sync;
pub use timeout::Timeout;
pub use unlink::Unlink;
pub use write::{WriteAt, WriteVectoredAt};

use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;

/// One operation on a socket, with the buffers that it borrows: as a call that never blocks, and as an entry for a ring.
///
/// # Safety
/// What the entry of [`entry`](Self::entry) points to is part of the operation or borrowed by it (exclusively, if the kernel writes there), so
/// that it is there, and nobody else's, for as long as the operation neither moves nor is used.
pub unsafe trait Operation {
    /// What it returns.
    type Output;

    /// What to wait for when it would block.
    fn direction(&self) -> Direction;

    /// Tries it without blocking. An attempt that would block can be made again.
    ///
    /// # Errors
    /// `WouldBlock` when it has to wait; else the operation's own error.
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<Self::Output>>;

    /// The entry that hands it to a ring whole. `None` when it cannot be: then the ring is asked for readiness, and [`attempt`](Self::attempt) follows.
    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry>;

    /// What the ring's answer to the entry means.
    ///
    /// # Errors
    /// The operation's own, and `Interrupted` when the entry is to be submitted once more.
    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<Self::Output>>;

    /// Called when the operation's token has come back from a readiness driver: for operations whose answer is the event itself.
    #[inline]
    fn woken(&mut self) {}

    /// The result when an attempt would block on a direction that has ended, if the call itself does not say so.
    #[inline]
    fn end(&mut self, _fd: BorrowedFd<'_>) -> Option<io::Result<Self::Output>> {
        None
    }

    /// Whether the attempt must be made even where readiness is known to be missing: because it starts something (as `connect` does), or
    /// needs no room (sending nothing).
    #[inline]
    fn must_attempt(&self) -> bool {
        false
    }

    /// Whether an attempt before the entry is submitted can save anything.
    #[inline]
    fn may_attempt(&self) -> bool {
        true
    }
}

/// What a driver knows that an entry can make use of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hints {
    /// The socket is likely to be empty (or full): the kernel waits first and attempts then.
    pub poll_first: bool,
    /// Everything is to be submitted ([`First::Submit`](crate::uring::First)), also what a call does better.
    pub submit: bool,
}

impl Hints {
    /// The flags for a receive or a send.
    #[inline]
    fn ioprio(self) -> u16 {
        /// `IORING_RECVSEND_POLL_FIRST`.
        const POLL_FIRST: u16 = 1;
        if self.poll_first { POLL_FIRST } else { 0 }
    }
}

/// A call that may block, whatever it is made on: on a thread that can wait, or by a ring.
///
/// # Safety
/// As [`Operation`]'s.
pub unsafe trait Call {
    /// What it returns.
    type Output;

    /// Makes the call, where it may block.
    ///
    /// # Errors
    /// Its own.
    fn call(&mut self) -> io::Result<Self::Output>;

    /// The entry that hands it to a ring.
    fn entry(&mut self) -> Entry;

    /// What the ring's answer means.
    ///
    /// # Errors
    /// The call's own.
    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Self::Output>;
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

/// Whether a socket's receiving was shut down. On datagram sockets a `recv(2)` that waits then returns 0; but one that does not wait says `EAGAIN`.
#[cold]
fn receives_no_more(fd: BorrowedFd<'_>) -> bool {
    let mut set = [PollFd::from_borrowed_fd(fd, PollFlags::RDHUP)];
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    rustix::event::poll(&mut set, Some(&zero)).is_ok() && set[0].revents().contains(PollFlags::RDHUP)
}

/// An entry whose completion says that the direction is ready, or broken.
#[inline]
pub(crate) fn poll_entry(fd: BorrowedFd<'_>, direction: Direction) -> Entry {
    let flags = match direction {
        Direction::Read => PollFlags::IN,
        Direction::Write => PollFlags::OUT,
    };
    opcode::PollAdd::new(Fd(fd.as_raw_fd()), flags.bits().into()).build()
}

/// The length of a buffer, as entries have it: what is beyond four gigabytes is left for the next operation.
#[inline]
fn length(buffer: &[u8]) -> u32 {
    u32::try_from(buffer.len()).unwrap_or(u32::MAX)
}

/// The kernel's `UIO_MAXIOV`: with more slices than that a call fails.
const MAX_SLICES: usize = 1024;

/// From this length on the bytes of a file are copied by a thread of the kernel, and not by the worker that submits: that many take ten to twenty microseconds.
const ASYNC_FROM: usize = 128 * 1024;

/// A path as system calls have it.
fn path(path: &Path) -> io::Result<CString> {
    use std::os::unix::ffi::OsStrExt;
    CString::new(path.as_os_str().as_bytes()).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, "file name contained an unexpected NUL byte")
    })
}

/// A ring takes the highest offset for "at the file's position", where the system call refuses it.
fn check_offset(offset: u64) -> io::Result<()> {
    i64::try_from(offset).map(drop).map_err(|_| rustix::io::Errno::INVAL.into())
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
