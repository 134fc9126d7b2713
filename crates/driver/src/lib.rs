//! The drivers of fibra: how a descriptor is waited for.
//!
//! A driver knows descriptors, operations and opaque [`Token`]s. It knows nothing of coroutines: a caller
//! [`start`](Driver::start)s an operation; the answer is either its result or [`Start::Pending`], and then a later
//! [`wait`](Driver::wait) appends a [`Completion`] that carries the caller's token. A driver never runs user code and never
//! wakes anybody: it hands tokens back, and the scheduler does the rest.
//!
//! ```text
//!  fibra/net ──start(op, token)──▶ Driver ──attempt──▶ kernel      Done: the result, at once
//!                                   │  would block
//!                                   ▼
//!                         source's wait queue ◀──events── kernel
//!                                   │
//!  scheduler ◀──Completion{token}── wait()                         Pending: the token, later; then `start` once more
//! ```
//!
//! The surface is by operation ([`op`]: receive, send, accept, connect, poll), not by readiness, so that a backend that
//! takes whole operations (io_uring) fits behind it. One backend exists today: [`epoll`].
//!
//! # Rules for callers
//!
//! 1. A token is in at most one wait queue at a time.
//! 2. Whoever got `Pending` leaves the wait in one of two ways: its token comes back in a completion, or
//!    [`cancel`](Driver::cancel) answers [`Cancel::Removed`]. When it answers [`Cancel::InFlight`] the completion is on
//!    its way and must be waited for. So no token is ever delivered to somebody who has left.
//! 3. Who got a completion makes one more attempt (`start`), or passes the readiness on ([`Source::pass_on`]).

#![warn(missing_docs)]

pub mod epoll;
#[cfg(all(test, loom))]
mod models;
pub mod op;
pub mod prefetch;
mod source;
mod sync;

pub use epoll::{Epoll, Notifier};
pub use op::{Attempt, Operation};
pub use source::{Cancel, Source};

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

/// The caller's name for a waiter: opaque to the driver, handed back as it was given. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(pub usize);

/// Which half of a descriptor an operation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Receiving, accepting, waiting until readable.
    Read,
    /// Sending, connecting, waiting until writable.
    Write,
}

/// How an operation began.
#[derive(Debug)]
#[must_use]
pub enum Start<T> {
    /// It is over. `pass` is another waiter of the same direction for whom there is still something to do: wake it.
    Done {
        /// What the operation returned.
        result: io::Result<T>,
        /// A waiter to wake, taken out of the queue.
        pass: Option<Token>,
    },
    /// The token was queued; it comes back in a [`Completion`].
    Pending,
}

/// One answer of [`Driver::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The token that [`Driver::start`] was given.
    pub token: Token,
}

/// A worker's driver.
#[derive(Debug)]
pub enum Driver {
    /// Readiness by `epoll(7)`, edge-triggered.
    Epoll(Epoll),
}

impl Driver {
    /// The epoll driver.
    ///
    /// # Errors
    /// What `epoll_create1(2)` and `eventfd(2)` say: usually that descriptors are used up.
    pub fn epoll() -> io::Result<Driver> {
        Epoll::new().map(Driver::Epoll)
    }

    /// The name under which `FIBRA_DRIVER` knows this driver.
    pub fn name(&self) -> &'static str {
        match self {
            Driver::Epoll(_) => "epoll",
        }
    }

    /// A handle with which other threads end a [`wait`](Self::wait).
    pub fn notifier(&self) -> Notifier {
        match self {
            Driver::Epoll(driver) => driver.notifier(),
        }
    }

    /// Starts `op` on `fd`, or continues it after its token came back.
    ///
    /// # Errors
    /// In [`Start::Done`]: the operation's own error, or that of registering the descriptor.
    #[inline]
    pub fn start<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
        token: Token,
    ) -> Start<O::Output> {
        match self {
            Driver::Epoll(driver) => driver.start(source, fd, op, token),
        }
    }

    /// Takes a token that waits on `source` out of its queue.
    pub fn cancel(&mut self, source: &Source, direction: Direction, token: Token) -> Cancel {
        match self {
            Driver::Epoll(_) => source.retract(direction, token),
        }
    }

    /// Waits until something completes, the timeout is over, or a [`Notifier`] rings; appends what completed to `out`.
    /// `None` waits without a limit, zero only looks.
    ///
    /// # Errors
    /// Only what means that the driver is broken; an interrupted wait is an early return.
    #[inline]
    pub fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()> {
        match self {
            Driver::Epoll(driver) => driver.wait(timeout, out),
        }
    }

    /// Whether anybody could be waiting on a descriptor: when false, a look at the kernel finds nothing.
    #[inline]
    pub fn has_sources(&self) -> bool {
        match self {
            Driver::Epoll(driver) => driver.has_sources(),
        }
    }

    /// Ends the driver: every token that still waits on one of its descriptors is appended to `out`, so that its owner
    /// can go on with another driver.
    pub fn close(&mut self, out: &mut Vec<Completion>) {
        match self {
            Driver::Epoll(driver) => driver.close(out),
        }
    }
}
