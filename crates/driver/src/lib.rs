//! The drivers of fibra: how a descriptor is waited for.
//!
//! A driver knows descriptors, operations and opaque [`Token`]s. It knows nothing of coroutines: a caller
//! [`start`](Driver::start)s an operation; the answer is either its result or [`Start::Pending`], and then a later
//! [`wait`](Driver::wait) appends a [`Completion`] that carries the caller's token. A driver never runs user code and never
//! wakes anybody: it hands tokens back, and the scheduler does the rest.
//!
//! ```text
//!  fibra/net ──start(op, flight)──▶ Driver ──attempt──▶ kernel                     Done: the result, at once
//!                                     │  would block, or better handed over
//!                 ┌───────────────────┴────────────────────┐
//!                 ▼ epoll                                  ▼ uring                Pending
//!      source's wait queue ◀──edges── kernel     entry ──▶ kernel ──▶ flight
//!                 └───────────────────┬────────────────────┘
//!                                     ▼
//!  scheduler ◀──Completion{token}── wait()                                        the token, later; then `start` once more
//! ```
//!
//! The surface is by operation ([`op`]: receive, send, accept, connect, poll, and calls on files), not by readiness. [`epoll`] learns that an attempt is worth
//! while and makes it again; [`uring`] hands the operation to the kernel, buffer and all, and gets its result. That is why starting is
//! unsafe: the kernel may be at work on what the operation borrows ([`Flight`] says why it is sound).
//!
//! # Rules for callers
//!
//! 1. A token is in at most one wait queue, and a flight under way at most once, at a time.
//! 2. Whoever got `Pending` leaves the wait in one of two ways: its token comes back in a completion, or
//!    [`cancel`](Driver::cancel) answers [`Cancel::Removed`]. When it answers [`Cancel::InFlight`] the completion is on
//!    its way and must be waited for; [`finish`](Driver::finish) then tells whether there is a result after all. So no token is ever delivered to somebody who
//!    has left, and the kernel has nothing of whoever has.
//! 3. Who got a completion goes on (`start`), or ends (`finish`), or passes the readiness on ([`Source::pass_on`]).
//! 4. A driver belongs to one thread, the one that waits. It may be made on another.

#![warn(missing_docs)]

pub mod epoll;
mod flight;
#[cfg(all(test, loom))]
mod models;
mod notifier;
pub mod op;
pub mod prefetch;
mod source;
mod sync;
pub mod uring;

pub use epoll::Epoll;
pub use flight::Flight;
pub use notifier::Notifier;
pub use op::{AcceptAhead, Attempt, Call, Operation};
pub use source::{Cancel, Source};
pub use uring::{Ring, RingSettings};

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
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

/// How an operation ended that was to end early.
#[derive(Debug)]
#[must_use]
pub struct Finish<T> {
    /// What the operation returned, if it has returned.
    pub result: Option<io::Result<T>>,
    /// A waiter to wake, taken out of the queue.
    pub pass: Option<Token>,
}

/// One answer of [`Driver::wait`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The token that [`Driver::start`] was given.
    pub token: Token,
}

/// A worker's driver.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one a worker, and in use for every operation")]
pub enum Driver {
    /// Readiness by `epoll(7)`, edge-triggered; calls on files by a ring beside it.
    Epoll(Epoll),
    /// Completions by `io_uring(7)`.
    Uring(Ring),
}

impl Driver {
    /// The epoll driver. `files` says how the ring is made that takes calls on files, at the first of them.
    ///
    /// # Errors
    /// What `epoll_create1(2)` and `eventfd(2)` say: usually that descriptors are used up.
    pub fn epoll(files: RingSettings) -> io::Result<Driver> {
        Epoll::new(files).map(Driver::Epoll)
    }

    /// The io_uring driver.
    ///
    /// # Errors
    /// Why this machine, or this process, can have no ring.
    pub fn uring(settings: &RingSettings) -> io::Result<Driver> {
        Ring::new(settings).map(Driver::Uring)
    }

    /// The name under which `FIBRA_DRIVER` knows this driver.
    pub fn name(&self) -> &'static str {
        match self {
            Driver::Epoll(_) => "epoll",
            Driver::Uring(_) => "uring",
        }
    }

    /// A handle with which other threads end a [`wait`](Self::wait).
    pub fn notifier(&self) -> Notifier {
        match self {
            Driver::Epoll(driver) => driver.notifier(),
            Driver::Uring(driver) => driver.notifier(),
        }
    }

    /// Starts `op` on `fd`, or continues it after its token came back.
    ///
    /// # Errors
    /// In [`Start::Done`]: the operation's own error, or that of registering the descriptor.
    ///
    /// # Safety
    /// When the answer is [`Start::Pending`]: until the flight's token has come back in a [`Completion`] (or [`cancel`](Self::cancel) has answered
    /// [`Cancel::Removed`]), `op`, what it borrows, and `flight` stay as and where they are, and `fd` stays open. They may stay so for ever.
    #[inline]
    pub unsafe fn start<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
        flight: &Flight,
    ) -> Start<O::Output> {
        match self {
            Driver::Epoll(driver) => driver.start(source, fd, op, flight.token()),
            // SAFETY: our caller's promise.
            Driver::Uring(driver) => unsafe { driver.start(source, fd, op, flight) },
        }
    }

    /// Asks for the early end of an operation that was started and is pending.
    pub fn cancel(&mut self, source: &Source, direction: Direction, flight: &Flight) -> Cancel {
        match self {
            Driver::Epoll(_) => source.retract(direction, flight.token()),
            Driver::Uring(driver) => driver.cancel(flight),
        }
    }

    /// After [`cancel`](Self::cancel) answered [`Cancel::InFlight`] and the token has come back: the operation's result, if it has one in spite of that. Else
    /// the operation is over without one.
    pub fn finish<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
        flight: &Flight,
    ) -> Finish<O::Output> {
        match self {
            Driver::Epoll(driver) => driver.finish(source, fd, op),
            Driver::Uring(driver) => Finish { result: driver.finish(source, fd, op, flight), pass: None },
        }
    }

    /// Takes a connection that has been accepted ahead, or sees to it that some are and leaves the token, which then comes back as from [`start`](Self::start). To leave
    /// early is [`AcceptAhead::retract`]. `None` when this driver cannot accept ahead: then it is an [`op::Accept`] for each.
    ///
    /// # Errors
    /// In [`Start::Done`]: as those of accepting, or that of duplicating the descriptor.
    pub fn accept_ahead(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        ahead: &AcceptAhead,
        token: Token,
    ) -> Option<Start<OwnedFd>> {
        match self {
            // What another driver has left.
            Driver::Epoll(_) => ahead.take().map(|result| Start::Done { result, pass: None }),
            Driver::Uring(driver) => driver.accept_ahead(source, fd, ahead, token),
        }
    }

    /// Asks for the end of accepting ahead. True when it is under way here: then a last answer is on its way, for who [waits](AcceptAhead::enlist).
    pub fn end_ahead(&mut self, ahead: &AcceptAhead) -> bool {
        match self {
            Driver::Epoll(_) => false,
            Driver::Uring(driver) => driver.end_ahead(ahead),
        }
    }

    /// After the token of an [`op::Poll`] came back, for who does not start it once more: whether the direction is ready, or broken. False when the wait was
    /// cancelled.
    pub fn has_answered(&self, flight: &Flight) -> bool {
        match self {
            Driver::Epoll(_) => true,
            Driver::Uring(_) => flight.take().result != -libc::ECANCELED,
        }
    }

    /// Starts a call that may block, or continues it after its token came back. `None` when there is no ring for it: then it has to be
    /// [made](Call::call) where it may block. Once it has been started nothing ends it early.
    ///
    /// # Safety
    /// As [`start`](Self::start); what the call's descriptors are is up to it.
    #[inline]
    pub unsafe fn start_call<C: Call>(&mut self, call: &mut C, flight: &Flight) -> Option<Start<C::Output>> {
        let ring = match self {
            Driver::Epoll(driver) => driver.ring()?,
            Driver::Uring(ring) => ring,
        };
        // SAFETY: our caller's promise.
        Some(unsafe { ring.start_call(call, flight) })
    }

    /// Why there is no ring for calls, when somebody would have wanted it. Said once.
    pub fn take_refusal(&mut self) -> Option<io::Error> {
        match self {
            Driver::Epoll(driver) => driver.take_refusal(),
            Driver::Uring(_) => None,
        }
    }

    /// Whether there is a ring for calls.
    pub fn has_ring(&mut self) -> bool {
        match self {
            Driver::Epoll(driver) => driver.ring().is_some(),
            Driver::Uring(_) => true,
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
            Driver::Uring(driver) => driver.wait(timeout, out),
        }
    }

    /// Whether anybody could be waiting for the kernel: when false, a look at it finds nothing.
    #[inline]
    pub fn has_sources(&self) -> bool {
        match self {
            Driver::Epoll(driver) => driver.has_sources(),
            Driver::Uring(driver) => driver.has_work(),
        }
    }

    /// Whether something has been handed to a ring that only the next [`wait`](Self::wait) submits.
    #[inline]
    pub fn has_unsubmitted(&mut self) -> bool {
        match self {
            Driver::Epoll(driver) => driver.has_unsubmitted(),
            Driver::Uring(driver) => driver.has_unsubmitted(),
        }
    }

    /// Ends the driver: every token that still waits on one of its descriptors is appended to `out`, so that its owner
    /// can go on with another driver. A ring has none, since whoever has an operation in it belongs to its worker; but it closes what it has accepted ahead for nobody.
    pub fn close(&mut self, out: &mut Vec<Completion>) {
        match self {
            Driver::Epoll(driver) => driver.close(out),
            Driver::Uring(driver) => driver.close(out),
        }
    }
}

/// For who waits for several things: readable when a [`wait`](Driver::wait) would find something. A ring is so only if it defers no work
/// ([`RingSettings::defer_taskrun`]), and tells of nothing that has not been submitted, so a wait that only looks comes first.
impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Driver::Epoll(driver) => driver.as_fd(),
            // SAFETY: the ring owns its descriptor, which is open for as long as it is borrowed.
            Driver::Uring(driver) => unsafe { BorrowedFd::borrow_raw(driver.as_raw_fd()) },
        }
    }
}
