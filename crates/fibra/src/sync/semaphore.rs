//! [`Semaphore`] and [`BoundedSemaphore`]: so many at a time, in the order in which they came.
//!
//! # The word
//! ```text
//!   permits ······ WAITERS     how many permits are there to be taken; whether anybody is in the list
//! ```
//!
//! * **While `WAITERS` is clear** the list is empty, and anybody changes the word, each time by one compare-exchange: that is how permits are taken and given back when nobody
//!   has to wait.
//! * **While it is set** the list is not empty (but for moments under its lock), and the word is changed under the lock only. Who wants a permit gets in line,
//!   also when there are some: the first in line may want more than there are, and is not starved by those who want few.
//! * It is set under the lock, by who is about to get in line, in the same exchange that finds too few permits. So a permit that is given back comes either before, and is
//!   found; or after, and then its giver sees `WAITERS`, takes the lock, and finds the waiter in the list. None is slept over.
//!
//! # Hand-off
//! Who gives permits back while others wait gives them to the first in line, and the next, as far as they suffice: they do not appear in the word, so nobody who comes along
//! takes them in between. The waiter owns them when it is woken, and needs no second look. The price is a switch of context
//! for each permit while there is a queue; the gain is that the order of arrival is kept, for threads and coroutines alike.
//!
//! # Leaving
//! A waiter that is cancelled or whose time is up takes itself out of the list, and serves those behind it: what was too little for it may be enough for them. If it has been
//! served in that moment, it keeps what it was given ([`super::wait_list`]).

mod acquire;
mod bounded;
#[cfg(all(test, loom))]
mod models;
mod permit;
mod select;

pub use bounded::{BoundedSemaphore, TooManyPermits};
pub use permit::{OwnedSemaphorePermit, SemaphorePermit};
pub use select::Acquire;

use super::wait_list::{Guard, Place, Served, WaitLists};
use crate::cancel;
use crate::scheduler::state::Reason;
use crate::scheduler::sync::{AtomicUsize, Ordering};
use crate::scheduler::waiting::WaitsFor;
use std::fmt;
use std::time::Instant;

/// Somebody is in the list.
const WAITERS: usize = 1;
/// One permit.
const PERMIT: usize = 2;

/// So many permits, which contexts take and give back: at most so many are inside at a time.
///
/// Who finds none waits, and is served in the order of arrival: a permit that is given back while others wait goes to the first of them, and
/// nobody can take it in between, neither with [`try_acquire`](Self::try_acquire) nor by coming back at once. Who waits for many
/// ([`acquire_many`](Self::acquire_many)) is not overtaken by those behind that want few. Who is cancelled while it waits, or whose
/// time is up, leaves the line as if it had never been there.
///
/// A permit is given back when it is dropped, on whichever context that happens.
///
/// ```
/// use fibra::sync::Semaphore;
/// use std::sync::atomic::{AtomicUsize, Ordering};
///
/// let semaphore = Semaphore::new(5);
/// let inside = AtomicUsize::new(0);
/// fibra::run(move || {
///     fibra::scope(|scope| {
///         for _ in 0..20 {
///             scope.spawn(|| {
///                 let _permit = semaphore.acquire();
///                 assert!(inside.fetch_add(1, Ordering::Relaxed) < 5);
///                 fibra::yield_now();
///                 inside.fetch_sub(1, Ordering::Relaxed);
///             });
///         }
///     });
///     assert_eq!(semaphore.available_permits(), 5);
/// });
/// ```
///
/// Permits may also be made by one and used up by another, as a count of things that have happened:
///
/// ```
/// use fibra::sync::Semaphore;
///
/// static WORK: Semaphore = Semaphore::new(0);
/// fibra::run(|| {
///     let worker = fibra::spawn(|| WORK.acquire_many(3).forget());
///     for _ in 0..3 {
///         WORK.release(1);
///     }
///     worker.join().unwrap();
///     assert_eq!(WORK.available_permits(), 0);
/// });
/// ```
pub struct Semaphore {
    /// The permits, and [`WAITERS`]: see the module.
    word: AtomicUsize,
    /// The most permits that there may be.
    bound: usize,
    /// Who waits, and for how many.
    waiters: WaitLists<(), usize>,
}

impl Semaphore {
    /// The most permits that a semaphore can have.
    pub const MAX_PERMITS: usize = usize::MAX / PERMIT;

    /// A semaphore with so many permits.
    ///
    /// # Panics
    /// When they are more than [`MAX_PERMITS`](Self::MAX_PERMITS).
    #[cfg(not(loom))]
    pub const fn new(permits: usize) -> Semaphore {
        Semaphore::bounded(permits, Semaphore::MAX_PERMITS)
    }

    /// For models.
    #[cfg(loom)]
    pub fn new(permits: usize) -> Semaphore {
        Semaphore::bounded(permits, Semaphore::MAX_PERMITS)
    }

    #[cfg(not(loom))]
    const fn bounded(permits: usize, bound: usize) -> Semaphore {
        assert!(permits <= Semaphore::MAX_PERMITS, "a semaphore cannot have so many permits");
        Semaphore { word: AtomicUsize::new(permits * PERMIT), bound, waiters: WaitLists::new(()) }
    }

    #[cfg(loom)]
    fn bounded(permits: usize, bound: usize) -> Semaphore {
        Semaphore { word: AtomicUsize::new(permits * PERMIT), bound, waiters: WaitLists::new(()) }
    }

    /// Adds permits, which need not have been taken before: those who wait get them first.
    ///
    /// # Panics
    /// When there are more than [`MAX_PERMITS`](Self::MAX_PERMITS) then.
    #[inline]
    pub fn release(&self, permits: usize) {
        self.give(permits).expect("a semaphore cannot have so many permits");
    }

    /// How many permits could be taken. A snapshot.
    ///
    /// While somebody waits they are for the first in line, whom they do not suffice.
    #[inline]
    pub fn available_permits(&self) -> usize {
        self.word.load(Ordering::Acquire) / PERMIT
    }

    /// How many contexts wait. A snapshot.
    pub fn waiting(&self) -> usize {
        self.waiters.lock().len(0)
    }

    /// Takes so many permits if they are there and nobody waits. Whether it did.
    #[inline]
    fn try_take(&self, permits: usize) -> bool {
        if permits == 0 {
            return true;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 && word / PERMIT >= permits {
            let rest = word - permits * PERMIT;
            match self.word.compare_exchange_weak(word, rest, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Takes so many permits, and waits for them until the deadline if there is one. Whether it got them.
    #[inline]
    fn take(&self, permits: usize, deadline: impl FnOnce() -> Option<Instant>) -> bool {
        self.try_take(permits) || self.wait(permits, deadline())
    }

    #[cold]
    fn wait(&self, permits: usize, deadline: Option<Instant>) -> bool {
        assert!(permits <= self.bound, "there will never be so many permits");
        let guard = self.waiters.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            let enough = word / PERMIT >= permits;
            let next = if enough { word - permits * PERMIT } else { word | WAITERS };
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if enough => return true,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        let behind = |guard: &mut Guard<'_, (), usize>| drop(self.serve(guard, 0));
        match guard.wait(0, Place::Back, permits, deadline, WaitsFor::Semaphore, behind).0 {
            Reason::Woken => true,
            Reason::TimedOut => false,
            Reason::Cancelled => cancel::unwind(),
        }
    }

    /// Gives permits to those who wait, and to those to come.
    #[inline]
    fn give(&self, permits: usize) -> Result<(), TooManyPermits> {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            self.check(word, permits)?;
            if word & WAITERS != 0 {
                if let Some(result) = self.hand_over(permits) {
                    return result;
                }
                word = self.word.load(Ordering::Relaxed);
                continue;
            }
            let more = word + permits * PERMIT;
            match self.word.compare_exchange_weak(word, more, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => word = now,
            }
        }
    }

    /// Gives permits to those who wait; `None` if nobody does any more.
    #[cold]
    fn hand_over(&self, permits: usize) -> Option<Result<(), TooManyPermits>> {
        let mut guard = self.waiters.lock();
        let word = self.word.load(Ordering::Relaxed);
        if word & WAITERS == 0 {
            return None;
        }
        if let Err(error) = self.check(word, permits) {
            return Some(Err(error));
        }
        let last = self.serve(&mut guard, permits);
        drop(guard);
        drop(last);
        Some(Ok(()))
    }

    /// Adds permits and serves those in line as far as they suffice, while `WAITERS` is set and the lock is held. Wakes them, but for the last, who is woken when
    /// what this returns is dropped: better without the lock.
    fn serve<'a>(&self, guard: &mut Guard<'a, (), usize>, more: usize) -> Option<Served<'a, usize>> {
        let mut permits = self.word.load(Ordering::Acquire) / PERMIT + more;
        let mut last = None;
        while let Some(wanted) = guard.front(0).map(|(_, wanted)| *wanted)
            && wanted <= permits
        {
            // It may be served elsewhere by now: then the next in line is looked at, who may want more.
            if let Some(waiter) = guard.take_front(0) {
                permits -= wanted;
                last = Some(waiter);
            }
        }
        let waiters = if guard.is_empty(0) { 0 } else { WAITERS };
        self.word.store((permits * PERMIT) | waiters, Ordering::Release);
        last
    }

    #[inline]
    fn check(&self, word: usize, more: usize) -> Result<(), TooManyPermits> {
        if more > self.bound - word / PERMIT { Err(TooManyPermits) } else { Ok(()) }
    }
}

impl fmt::Debug for Semaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphore").field("permits", &self.available_permits()).finish_non_exhaustive()
    }
}
