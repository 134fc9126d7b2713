//! What comes to one context: the part that the receivers of [`oneshot`](super::oneshot), [`broadcast`](super::broadcast) and [`watch`](super::watch), events, and the ends of
//! coroutines have in common, and [`When`], their arm of [`select`](super::select()).
//!
//! ```text
//!   receiver                                  sender
//!   lock; is it there? take it                lock; put it where it belongs
//!   else into the list, unlock, park          take all out who wait, and wake them; unlock
//!        └─ woken: lock; take it
//! ```
//!
//! Nothing is handed over: what is there for a receiver stays until that receiver takes it, or is gone, since nobody else may. So who is woken finds something. Who leaves early
//! leaves it where it is. An event is different in that it may be cleared; but who was taken out has been told, whatever becomes of it.

use super::by_order::Patience;
use super::select::{Arm, Selectable};
use crate::cancel;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::Worker;
use crate::sync::wait_list::{Claim, Guard, Place, WaitLists, Waiter};
use std::fmt;
use std::time::Instant;

/// Where it comes from; out of reach, since it is called under locks.
pub trait Source {
    /// What is behind the lock.
    type State;
    /// What comes.
    type Outcome;

    /// The lock, and the list of those who wait.
    fn lists(&self) -> &WaitLists<Self::State>;

    /// Whether it is there.
    fn is_ready(&self, state: &Self::State) -> bool;

    /// Takes it, if it is there.
    fn try_take(&mut self) -> Option<Self::Outcome>;

    /// Takes it after the sender took the waiter out.
    fn take_served(&mut self) -> Self::Outcome {
        self.try_take().expect("what has come is there until its one receiver takes it")
    }

    /// The context is about to wait for it, perhaps among others.
    fn prepare(&mut self) {}
}

impl<S: Source> Source for &mut S {
    type State = S::State;
    type Outcome = S::Outcome;

    fn lists(&self) -> &WaitLists<S::State> {
        (**self).lists()
    }

    fn is_ready(&self, state: &S::State) -> bool {
        (**self).is_ready(state)
    }

    fn try_take(&mut self) -> Option<S::Outcome> {
        (**self).try_take()
    }

    fn take_served(&mut self) -> S::Outcome {
        (**self).take_served()
    }

    fn prepare(&mut self) {
        (**self).prepare();
    }
}

/// Takes what comes; waits for it until the deadline at most, if there is one, and not at all if patience has none.
#[inline]
pub(super) fn receive<S: Source>(source: &mut S, patience: Patience) -> Option<S::Outcome> {
    if let Some(outcome) = source.try_take() {
        spend();
        return Some(outcome);
    }
    let deadline = patience.deadline()?;
    wait(source, deadline).then(|| source.take_served())
}

/// Waits until it is there, or was. Whether it came in time.
#[cold]
pub(super) fn wait<S: Source>(source: &S, deadline: Option<Instant>) -> bool {
    let locked = source.lists().lock();
    if source.is_ready(&locked) {
        return true;
    }
    match locked.wait(0, Place::Back, (), deadline, WaitsFor::Get, |_| {}).0 {
        Reason::Woken => true,
        Reason::TimedOut => false,
        Reason::Cancelled => cancel::unwind(),
    }
}

/// It went without a wait: lets others run now and then.
pub(super) fn spend() {
    if let Some(worker) = Worker::here() {
        worker.spend();
    }
}

/// The sender's side: everybody who waits goes on.
pub(super) fn wake_all<S>(locked: &mut Guard<'_, S>) {
    while let Some(waiter) = locked.next(0) {
        waiter.wake();
    }
}

/// What comes from somewhere, as an arm of [`select`](super::select()): an item from a channel's receiver, the end of a [`JoinHandle`](crate::JoinHandle::select_join)'s
/// coroutine, an [`Event`](crate::sync::Event::select_wait).
///
/// Once it was chosen it has what the receiver's own method would return; then it can be used again.
pub struct When<S: Source> {
    source: S,
    waiter: Option<Waiter<()>>,
    outcome: Option<S::Outcome>,
}

impl<S: Source> When<S> {
    pub(crate) fn new(source: S) -> When<S> {
        When { source, waiter: None, outcome: None }
    }

    /// The outcome, if this arm was chosen.
    pub fn take(&mut self) -> Option<S::Outcome> {
        self.outcome.take()
    }
}

impl<S: Source> Selectable for When<S> {}

impl<S: Source> Arm for When<S> {
    fn try_now(&mut self) -> bool {
        if self.outcome.is_none() {
            self.outcome = self.source.try_take();
        }
        self.outcome.is_some()
    }

    fn begin(&mut self, claim: &Claim, index: u32) {
        self.source.prepare();
        self.waiter = Some(Waiter::new((), claim, index));
    }

    unsafe fn join(&self, _: &Claim) -> bool {
        let mut locked = self.source.lists().lock();
        if self.source.is_ready(&locked) {
            return false;
        }
        if let Some(waiter) = &self.waiter {
            // SAFETY: our caller's promise.
            unsafe { locked.join(0, waiter) };
        }
        true
    }

    fn leave(&self) {
        if let Some(waiter) = &self.waiter {
            // SAFETY: it was put into this list.
            unsafe { self.source.lists().lock().leave(0, waiter) };
        }
    }

    fn end(&mut self, served: bool) {
        self.waiter = None;
        if served {
            self.outcome = Some(self.source.take_served());
        }
    }
}

impl<S: Source> fmt::Debug for When<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("When").field("chosen", &self.outcome.is_some()).finish_non_exhaustive()
    }
}
