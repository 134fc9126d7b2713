//! [`Barrier`]: nobody goes on before all have come.
//!
//! # The protocol
//! Everything happens under the lock of the lists, but for the action.
//!
//! ```text
//!   arrive ──▶ list HERE, until the last has come ──▶ that one takes all out of the list: they have passed
//!     │                                                 └─ with an action: `running`, the action without the lock, and then they have passed
//!     └─ while `running`: list DOOR, until the action is over, and then from the start
//! ```
//!
//! * Who is taken out of `HERE` is told how it went by its waker: there is nothing for it to look at any more, and so the next round can begin at once, even before
//!   those of the last one have run.
//! * What a waiter brings is the answer *broken*. Only success has to be written; whoever is dropped without it, as when the action panics, has its answer already.
//! * While the action runs those who wait for it are in no list. All have come, so nothing ends their waits early: neither the time nor a request to stop. `epoch` counts
//!   the calls of `abort` and `reset`: if there was one meanwhile, the round has failed all the same.
//!
//! # Leaving
//! Elsewhere a waiter that is cancelled leaves as if it had never come. Here the others *wait for it to come*, and it will not: they would wait
//! for ever. So whoever leaves, for the time or for a request to stop, breaks the barrier, and the others learn it at once.

use super::wait_list::{Guard, Place, Served, WaitLists};
use crate::cancel;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use std::fmt;
use std::time::{Duration, Instant};

/// Who has come, and waits for the others.
const HERE: usize = 0;
/// Who has come while the action of the round before runs.
const DOOR: usize = 1;

/// A place where so many contexts wait for each other, again and again.
///
/// ```
/// use fibra::sync::Barrier;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let (barrier, first, leaders) = (Barrier::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
/// fibra::run(|| {
///     fibra::scope(|scope| {
///         for _ in 0..3 {
///             scope.spawn(|| {
///                 first.fetch_add(1, Ordering::Relaxed);
///                 let result = barrier.wait().unwrap();
///                 assert_eq!(first.load(Ordering::Relaxed), 3, "all have come");
///                 leaders.fetch_add(usize::from(result.is_leader()), Ordering::Relaxed);
///             });
///         }
///     });
/// });
/// assert_eq!(leaders.into_inner(), 1);
/// ```
///
/// # Broken
/// When one of those who wait does not go on waiting, because its time is up ([`wait_timeout`](Self::wait_timeout)) or because it was
/// cancelled, the others would wait for ever for one who is gone. So the barrier is broken then: all who wait get an
/// error, and all who come, until somebody calls [`reset`](Self::reset).
pub struct Barrier(WaitLists<State, Outcome, 2>);

/// What runs when all have come.
type Action = Box<dyn FnMut() + Send>;

struct State {
    /// At least 1.
    parties: usize,
    broken: bool,
    /// Taken out while it runs.
    action: Option<Action>,
    running: bool,
    /// How often there was an `abort` or a `reset`.
    epoch: u64,
}

/// What a waiter is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Broken,
    Passed,
    /// The action that it had to wait for is over.
    Again,
}

/// All have come to the [`Barrier`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BarrierWaitResult {
    index: usize,
    leader: bool,
}

/// The [`Barrier`] is broken: somebody who was waited for is gone, or it was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BrokenBarrier;

impl Barrier {
    /// A barrier for so many. (0 is as 1: nobody waits.)
    #[cfg(not(loom))]
    pub const fn new(parties: usize) -> Barrier {
        Barrier(WaitLists::new(State::new(parties, None)))
    }

    /// For models.
    #[cfg(loom)]
    pub fn new(parties: usize) -> Barrier {
        Barrier(WaitLists::new(State::new(parties, None)))
    }

    /// A barrier with something to do in each round, when all have come and before they go on. The last to come does it.
    ///
    /// If it panics that panic comes out of the last one's [`wait`](Self::wait), and the barrier is broken. It may wait; but for this
    /// very barrier it would wait for ever.
    ///
    /// ```
    /// use fibra::sync::Barrier;
    /// use std::sync::Arc;
    /// use std::sync::atomic::{AtomicUsize, Ordering};
    ///
    /// let rounds = Arc::new(AtomicUsize::new(0));
    /// let counted = Arc::clone(&rounds);
    /// let barrier = Barrier::with_action(2, move || {
    ///     counted.fetch_add(1, Ordering::Relaxed);
    /// });
    /// fibra::run(|| {
    ///     fibra::scope(|scope| {
    ///         for _ in 0..2 {
    ///             scope.spawn(|| (0..10).try_for_each(|_| barrier.wait().map(|_| ())).unwrap());
    ///         }
    ///     });
    /// });
    /// assert_eq!(rounds.load(Ordering::Relaxed), 10);
    /// ```
    pub fn with_action(parties: usize, action: impl FnMut() + Send + 'static) -> Barrier {
        Barrier(WaitLists::new(State::new(parties, Some(Box::new(action)))))
    }

    /// Waits until all have come.
    ///
    /// # Errors
    /// [`BrokenBarrier`] when it is broken, or breaks meanwhile, or is [reset](Self::reset).
    pub fn wait(&self) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(None)
    }

    /// Waits for at most `timeout`; if not all have come by then, the barrier is broken, for all.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_timeout(&self, timeout: Duration) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(crate::time::deadline(timeout))
    }

    /// Waits until `deadline` at most; if not all have come by then, the barrier is broken, for all.
    ///
    /// # Errors
    /// As [`wait`](Self::wait).
    pub fn wait_deadline(&self, deadline: Instant) -> Result<BarrierWaitResult, BrokenBarrier> {
        self.wait_until(Some(deadline))
    }

    /// Breaks the barrier: all who wait get an error, and all who come, until there is a [`reset`](Self::reset). For who finds that it will not come itself.
    pub fn abort(&self) {
        let mut guard = self.0.lock();
        guard.epoch = guard.epoch.wrapping_add(1);
        break_it(&mut guard);
    }

    /// Makes the barrier as new: those who wait get an error, and those who come wait for a full round.
    pub fn reset(&self) {
        let mut guard = self.0.lock();
        guard.epoch = guard.epoch.wrapping_add(1);
        break_it(&mut guard);
        guard.broken = false;
    }

    /// How many have to come.
    pub fn parties(&self) -> usize {
        self.0.lock().parties
    }

    /// How many have come and wait for the others. A snapshot.
    pub fn waiting(&self) -> usize {
        self.0.lock().len(HERE)
    }

    /// Whether it is broken. A snapshot.
    pub fn is_broken(&self) -> bool {
        self.0.lock().broken
    }

    fn wait_until(&self, deadline: Option<Instant>) -> Result<BarrierWaitResult, BrokenBarrier> {
        loop {
            let mut guard = self.0.lock();
            if guard.broken {
                return Err(BrokenBarrier);
            }
            let index = guard.len(HERE);
            let list = if guard.running {
                DOOR
            } else if index + 1 < guard.parties {
                HERE
            } else {
                return match guard.action.take() {
                    None => pass(&mut guard),
                    Some(action) => Round::begin(self, guard, action).run(),
                }
                .map(|()| BarrierWaitResult { index, leader: true });
            };
            let (reason, outcome) =
                guard.wait(list, Place::Back, Outcome::Broken, deadline, WaitsFor::Barrier, break_it);
            match (reason, outcome) {
                (Reason::Woken, Outcome::Passed) => return Ok(BarrierWaitResult { index, leader: false }),
                (Reason::Woken, Outcome::Again) => {}
                (Reason::Woken, Outcome::Broken) | (Reason::TimedOut, _) => return Err(BrokenBarrier),
                (Reason::Cancelled, _) => cancel::unwind(),
            }
        }
    }
}

impl State {
    const fn new(parties: usize, action: Option<Action>) -> State {
        let parties = if parties == 0 { 1 } else { parties };
        State { parties, broken: false, action, running: false, epoch: 0 }
    }
}

type Locked<'a> = Guard<'a, State, Outcome, 2>;

/// All who are in a list learn that the barrier is broken.
fn break_it(guard: &mut Locked<'_>) {
    guard.broken = true;
    tell(guard, HERE, Outcome::Broken);
    tell(guard, DOOR, Outcome::Broken);
}

/// All who are here have passed.
fn pass(guard: &mut Locked<'_>) -> Result<(), BrokenBarrier> {
    tell(guard, HERE, Outcome::Passed);
    Ok(())
}

fn tell(guard: &mut Locked<'_>, list: usize, outcome: Outcome) {
    while let Some(mut waiter) = guard.next(list) {
        *waiter.value() = outcome;
    }
}

/// A round whose action runs. When it is dropped before it has succeeded it has failed, for all.
struct Round<'a> {
    barrier: &'a Barrier,
    action: Option<Action>,
    /// Those who wait for it; woken on drop.
    waiters: Vec<Served<'a, Outcome>>,
    epoch: u64,
    succeeded: bool,
}

impl<'a> Round<'a> {
    /// All have come.
    fn begin(barrier: &'a Barrier, mut guard: Locked<'a>, action: Action) -> Round<'a> {
        guard.running = true;
        let waiters = std::iter::from_fn(|| guard.next(HERE)).collect();
        Round { barrier, action: Some(action), waiters, epoch: guard.epoch, succeeded: false }
    }

    fn run(mut self) -> Result<(), BrokenBarrier> {
        if let Some(action) = &mut self.action {
            action();
        }
        self.succeeded = true;
        self.end()
    }

    /// Lets those at the door in, and says how it went.
    fn end(&mut self) -> Result<(), BrokenBarrier> {
        let Some(action) = self.action.take() else { return Ok(()) };
        let mut guard = self.barrier.0.lock();
        guard.action = Some(action);
        guard.running = false;
        let current = guard.epoch == self.epoch;
        if current && !self.succeeded {
            break_it(&mut guard);
        }
        tell(&mut guard, DOOR, Outcome::Again);
        drop(guard);
        if !(current && self.succeeded) {
            return Err(BrokenBarrier);
        }
        for waiter in &mut self.waiters {
            *waiter.value() = Outcome::Passed;
        }
        Ok(())
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        // Nobody is left to be told but those who wait.
        let _ = self.end();
    }
}

impl BarrierWaitResult {
    /// Whether this one is the leader of the round: exactly one is, the last to come.
    pub fn is_leader(&self) -> bool {
        self.leader
    }

    /// How many of this round came before: a different number for each, from 0.
    pub fn index(&self) -> usize {
        self.index
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.0.lock();
        let (parties, waiting, broken) = (guard.parties, guard.len(HERE), guard.broken);
        drop(guard);
        f.debug_struct("Barrier")
            .field("parties", &parties)
            .field("waiting", &waiting)
            .field("broken", &broken)
            .finish()
    }
}

impl fmt::Display for BrokenBarrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the barrier is broken")
    }
}

impl std::error::Error for BrokenBarrier {}
