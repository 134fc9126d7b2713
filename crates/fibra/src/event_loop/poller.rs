//! How a loop waits for the kernel: on an OS thread in its own driver, in a coroutine by parking until that driver has something.
//!
//! ```text
//!  on an OS thread                      in a coroutine
//!
//!  driver.wait(timeout)                 driver.wait(0) ── something? ──▶ done
//!                                          │ nothing
//!                                          ▼
//!                                       the worker's driver waits until the loop's is readable; the coroutine parks
//!                                          │ readable, or the time is up
//!                                          ▼
//!                                       driver.wait(0)
//! ```
//!
//! So the thread is the base. A loop has a driver of its own in either case: what it has registered does not depend on who runs it, nor on a runtime being there, and one
//! loop may do both, one after the other. In a coroutine that costs a trip through two drivers for each *round* of the loop, not for each event.
//!
//! # Who keeps a wait alive
//! The driver is given the address of a [`Wait`]'s flight, and hands a token back that is the address of the wait. So for each direction that is armed the driver has
//! a counted reference, which comes back with the token.

use super::slots::Id;
use crate::cancel;
use crate::net::operation;
use crate::scheduler::settings::{self, DriverKind};
use crate::scheduler::worker::Worker;
use fibra_driver::{
    Cancel, Completion, Direction, Driver, Flight, Notifier, RingSettings, Source, Start, Token, op,
};
use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

/// How often a loop that is dropped looks whether its ring has given back everything.
const ROUNDS: usize = 100;

/// The waits of one watcher for its descriptor.
#[repr(align(16))]
pub(super) struct Wait {
    /// Whose it is.
    pub(super) id: Id,
    source: Source,
    flights: [Flight; 2],
    armed: [Cell<bool>; 2],
}

impl Wait {
    pub(super) fn new(id: Id) -> Rc<Wait> {
        Rc::new_cyclic(|this: &Weak<Wait>| {
            // The place does not move, so its address is known before there is something in it.
            let address = this.as_ptr().expose_provenance();
            let flight = |direction| Flight::new(Token(address | direction as usize));
            Wait {
                id,
                source: Source::new(),
                flights: [flight(Direction::Read), flight(Direction::Write)],
                armed: [Cell::new(false), Cell::new(false)],
            }
        })
    }

    /// Whether an answer about the direction is to come.
    pub(super) fn is_armed(&self, direction: Direction) -> bool {
        self.armed[direction as usize].get()
    }
}

/// Takes back the reference that a token stands for.
///
/// # Safety
/// The driver has just handed the token back, or will never do so; each token that was pending is taken back once.
unsafe fn take(token: Token) -> (Rc<Wait>, Direction) {
    let direction = if token.0 & 1 == 0 { Direction::Read } else { Direction::Write };
    // SAFETY: `arm` gave a reference for it, that nobody has taken yet (the caller's promise).
    let wait = unsafe { Rc::from_raw(std::ptr::with_exposed_provenance::<Wait>(token.0 & !1)) };
    wait.armed[direction as usize].set(false);
    (wait, direction)
}

pub(super) struct Poller {
    driver: Driver,
    /// What other drivers know of ours, for when a coroutine waits for it.
    outer: Source,
    completions: Vec<Completion>,
    /// What was told while a watcher was leaving: for the next wait.
    early: Vec<(Id, Direction)>,
}

impl Poller {
    pub(super) fn new(kind: DriverKind) -> io::Result<Poller> {
        let driver = match kind {
            DriverKind::Auto | DriverKind::Epoll => {
                Driver::epoll(RingSettings { enabled: false, ..RingSettings::default() })
            }
            // So that the ring's descriptor can be waited for.
            DriverKind::Uring => Driver::uring(&RingSettings { defer_taskrun: false, ..settings::ring()? }),
        }?;
        Ok(Poller { driver, outer: Source::new(), completions: Vec::new(), early: Vec::new() })
    }

    pub(super) fn name(&self) -> &'static str {
        self.driver.name()
    }

    pub(super) fn notifier(&self) -> Notifier {
        self.driver.notifier()
    }

    /// Whether the driver is told of events and not of states: then who arms a wait has to know that the direction is not ready now.
    pub(super) fn is_told_of_events(&self) -> bool {
        matches!(self.driver, Driver::Epoll(_))
    }

    /// Whether there could be anything to tell.
    pub(super) fn has_waits(&self) -> bool {
        self.driver.has_sources() || !self.early.is_empty()
    }

    /// Waits for a direction that is not ready; see [`is_told_of_events`](Self::is_told_of_events). True when it is ready after all.
    pub(super) fn arm(
        &mut self,
        wait: &Rc<Wait>,
        fd: BorrowedFd<'_>,
        direction: Direction,
    ) -> io::Result<bool> {
        debug_assert!(!wait.is_armed(direction));
        let mut poll = op::Poll::next(direction);
        let flight = &wait.flights[direction as usize];
        // SAFETY: the flight stays in its place for as long as there are references to the wait, and the driver has one until the token comes back. A poll lends the kernel
        // nothing else, so neither it nor the descriptor has to stay.
        match unsafe { self.driver.start(&wait.source, fd, &mut poll, flight) } {
            Start::Pending => {
                wait.armed[direction as usize].set(true);
                std::mem::forget(Rc::clone(wait));
                Ok(false)
            }
            Start::Done { result, .. } => result.map(|()| true),
        }
    }

    /// Ends the waits of a watcher that has gone. Nothing of it is told any more.
    ///
    /// True when the kernel still has the file open, and gives it back at the next look ([`settle`](Self::settle)).
    pub(super) fn leave(&mut self, wait: &Rc<Wait>, fd: BorrowedFd<'_>) -> bool {
        let mut is_held = false;
        for direction in [Direction::Read, Direction::Write] {
            if wait.is_armed(direction) {
                let flight = &wait.flights[direction as usize];
                match self.driver.cancel(&wait.source, direction, flight) {
                    // SAFETY: it was taken out of the queue.
                    Cancel::Removed => drop(unsafe { take(flight.token()) }),
                    // It comes back, and finds nobody who is called so.
                    Cancel::InFlight => is_held = true,
                }
            }
        }
        for token in wait.source.deregister(fd) {
            // SAFETY: it was taken out of the queue.
            drop(unsafe { take(token) });
        }
        is_held
    }

    /// Has the kernel give back what has left, so that a file is closed when its owner closes it, and not at the loop's next turn, which may never come.
    pub(super) fn settle(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        // An error comes again at the next wait.
        let _ = self.wait_here(Some(Duration::ZERO), &mut early);
        self.early = early;
    }

    /// Waits until the kernel has something to tell, the notifier rings, or the timeout is over (`None`: for as long as it takes); appends whose direction is ready. `over`
    /// says whether the notifier has rung.
    pub(super) fn wait(
        &mut self,
        timeout: Option<Duration>,
        over: impl Fn() -> bool,
        out: &mut Vec<(Id, Direction)>,
    ) -> io::Result<()> {
        out.append(&mut self.early);
        // `settle` may have taken the notifier's event.
        if timeout.is_some_and(|timeout| timeout.is_zero()) || !out.is_empty() || over() {
            return self.wait_here(Some(Duration::ZERO), out);
        }
        if Worker::here().and_then(Worker::token).is_some() {
            self.wait_here(Some(Duration::ZERO), out)?;
            if !out.is_empty() || over() {
                return Ok(());
            }
            let mut poll = op::Poll::new(Direction::Read);
            match operation::run_for(&self.outer, self.driver.as_fd(), &mut poll, timeout) {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Ok(()) | Err(_) => return self.wait_here(Some(Duration::ZERO), out),
            }
        }
        let limit = cancel::limit();
        let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
        self.wait_here([timeout, left].into_iter().flatten().min(), out)?;
        if out.is_empty() && limit.is_some_and(|limit| limit <= Instant::now()) {
            cancel::unwind_now();
        }
        Ok(())
    }

    fn wait_here(&mut self, timeout: Option<Duration>, out: &mut Vec<(Id, Direction)>) -> io::Result<()> {
        let result = self.driver.wait(timeout, &mut self.completions);
        for Completion { token } in self.completions.drain(..) {
            // SAFETY: the driver hands it back here.
            let (wait, direction) = unsafe { take(token) };
            if self.driver.has_answered(&wait.flights[direction as usize]) {
                out.push((wait.id, direction));
            }
        }
        result
    }
}

impl Drop for Poller {
    /// The kernel gives back what it has, so that the references do too. It is quick, but if it is not, a few bytes are better lost than waited for.
    fn drop(&mut self) {
        let mut nobody = Vec::new();
        for _ in 0..ROUNDS {
            if self.is_told_of_events() || !self.driver.has_sources() {
                break;
            }
            if self.wait_here(Some(Duration::from_millis(1)), &mut nobody).is_err() {
                break;
            }
        }
        for token in self.outer.deregister(self.driver.as_fd()) {
            crate::scheduler::park::wake(token);
        }
    }
}
