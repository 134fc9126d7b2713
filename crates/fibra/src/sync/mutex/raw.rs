//! The mutex without its data: who has it, and who wants it.
//!
//! # The word
//! ```text
//!   holder ······ WAITERS      who has it (the token of a context), 0 for nobody; whether anybody is in a list
//! ```
//!
//! * **Taking** it when nobody has it is one compare-exchange, whether others wait or not.
//! * **Giving it back** while `WAITERS` is clear is one compare-exchange, too.
//! * `WAITERS` is set and cleared under the lock of the lists only, and says whether anybody is in them whenever that lock is free. Who is about to get in line sets it in an
//!   exchange that finds the holder still there; so the holder, who gives the mutex back after that, fails at its compare-exchange, takes the lock of the lists,
//!   and finds the waiter. None is slept over.
//!
//! # Who is next
//! Whoever gives it back while others wait takes the first one out of the line, and lays the mutex down: it is free for whoever comes first, and the one that was woken tries
//! its luck with the others. (A hand-off would leave the mutex idle until that one runs: with contexts on several threads every turn would cost a switch.) One who comes too late
//! waits in a second list, of those who were passed over. They go before the line, and are handed the mutex, which nobody can snatch then.
//!
//! ```text
//!   wait in line ──woken──▶ try ──taken
//!                            └──passed over──▶ wait before the line ──handed──▶ it is ours
//! ```
//!
//! So nobody who waits is overtaken for ever. Before its wake-up only those are served that came before it, or were passed over; on its way to the mutex it may be
//! overtaken by any who run meanwhile; and having been passed over it waits for those only that were passed over before.
//!
//! One that was taken out and woken always tries: it goes to wait again, or leaves for a request to stop, only after it has found the mutex held by another, who
//! will give it back and look at the list. So the wake-up is never lost with it.
//!
//! # Threads
//! The holder may be about to let go on another thread, so a context looks for a moment before it sleeps. A coroutine whose runtime has one worker does not: it would
//! look in vain, unless an OS thread is the holder.

use crate::cancel;
use crate::scheduler::living;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::sync::{AtomicUsize, Ordering};
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::Worker;
use crate::sync::wait_list::{Guard, Place, WaitLists};
#[cfg(not(loom))]
use lock_api::GuardSend;
use std::fmt;
use std::time::Instant;

/// Somebody is in a list. Tokens are addresses of aligned things, and leave this bit free.
const WAITERS: usize = 1;

/// The list of those who had their turn, and came too late.
const PASSED_OVER: usize = 0;
/// The list of those who wait for their turn.
const LINE: usize = 1;

/// How often one looks whether the mutex is free before one sleeps.
const SPINS: u32 = if cfg!(loom) { 1 } else { 20 };

/// A mutex without data, for [`lock_api`]: what [`Mutex`](super::Mutex) is made of.
///
/// Its `lock` by way of [`lock_api::RawMutex`] is not ended by a request to stop, since code that is written for that trait may rely on having the mutex
/// when `lock` is over, however that ends ([`lock_api::MutexGuard::unlocked`] does). [`Mutex::lock`](super::Mutex::lock) can be cancelled.
pub struct RawMutex {
    /// The holder, and [`WAITERS`]: see the module.
    word: AtomicUsize,
    waiters: Waiters,
    name: Option<&'static str>,
}

/// A waiter finds whether its waker has given it the mutex.
type Waiters = WaitLists<(), bool, 2>;

/// What ends the wait for a mutex, besides having it.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// A request to stop, by an unwind.
    Asked,
    /// The same, or an instant.
    Deadline(Instant),
    /// Nothing: who waits has to have it.
    Never,
}

impl RawMutex {
    #[cfg(not(loom))]
    pub(crate) const fn new(name: Option<&'static str>) -> RawMutex {
        RawMutex { word: AtomicUsize::new(0), waiters: WaitLists::new(()), name }
    }

    #[cfg(loom)]
    pub(crate) fn new(name: Option<&'static str>) -> RawMutex {
        RawMutex { word: AtomicUsize::new(0), waiters: WaitLists::new(()), name }
    }

    /// Takes it, and waits for it. False when the deadline was first.
    #[inline]
    pub(crate) fn acquire(&self, until: Until) -> bool {
        let me = park::token().0;
        self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.acquire_slow(me, until)
    }

    /// Takes it if nobody has it.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        let me = park::token().0;
        self.word.compare_exchange(0, me, Ordering::Acquire, Ordering::Relaxed).is_ok()
            || self.snatch(me, self.word.load(Ordering::Relaxed))
    }

    /// Gives it back.
    ///
    /// # Safety
    /// It is held, and who holds it does not use what it protects any more.
    #[inline]
    pub(crate) unsafe fn release(&self) {
        let word = self.word.load(Ordering::Relaxed);
        if word & WAITERS != 0
            || self.word.compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed).is_err()
        {
            self.release_slow(false);
        }
    }

    /// Gives it back, and to the first in line if there is one.
    ///
    /// # Safety
    /// As [`release`](Self::release).
    #[inline]
    pub(crate) unsafe fn release_fair(&self) {
        let word = self.word.load(Ordering::Relaxed);
        if word & WAITERS != 0
            || self.word.compare_exchange(word, 0, Ordering::Release, Ordering::Relaxed).is_err()
        {
            self.release_slow(true);
        }
    }

    /// Whether somebody has it. A snapshot.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.word.load(Ordering::Relaxed) & !WAITERS != 0
    }

    /// How many wait. A snapshot.
    pub(crate) fn waiting(&self) -> usize {
        let guard = self.waiters.lock();
        guard.len(PASSED_OVER) + guard.len(LINE)
    }

    /// The [number](crate::Context::id) of the context that has taken it. A snapshot; when that has ended without giving it back: none, or another that has its place in memory.
    pub fn owner(&self) -> Option<u64> {
        match self.word.load(Ordering::Relaxed) & !WAITERS {
            0 => None,
            token => living::id_of(fibra_driver::Token(token)),
        }
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Takes it if nobody has it, with `word` as it was seen.
    #[inline]
    fn snatch(&self, me: usize, mut word: usize) -> bool {
        while word & !WAITERS == 0 {
            match self.word.compare_exchange_weak(word, me | word, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Looks for a while whether it comes free, as long as nobody waits.
    fn spin(&self, me: usize) -> bool {
        let alone = Worker::here().is_some_and(|worker| worker.core.workers.len() == 1);
        for _ in 0..if alone { 1 } else { SPINS } {
            let word = self.word.load(Ordering::Relaxed);
            if self.snatch(me, word) {
                return true;
            }
            if word & WAITERS != 0 {
                break;
            }
            std::hint::spin_loop();
        }
        false
    }

    #[cold]
    fn acquire_slow(&self, me: usize, until: Until) -> bool {
        let mut list = LINE;
        loop {
            if self.spin(me) {
                return true;
            }
            let guard = self.waiters.lock();
            if !self.get_in_line(me) {
                return true;
            }
            let (reason, handed) = guard.wait_by(
                list,
                Place::Back,
                false,
                WaitsFor::Mutex,
                |guard| self.left(guard),
                || match until {
                    Until::Asked => park::park(None),
                    Until::Deadline(deadline) => park::park(Some(deadline)),
                    Until::Never => park::park_shielded(None),
                },
            );
            match reason {
                Reason::Woken if handed => return true,
                Reason::Woken => list = PASSED_OVER,
                Reason::TimedOut => return false,
                Reason::Cancelled => cancel::unwind(),
            }
        }
    }

    /// Sets `WAITERS`, under the lock of the lists, unless the mutex is free, and is taken. Whether there is nothing but to wait.
    fn get_in_line(&self, me: usize) -> bool {
        let mut word = self.word.load(Ordering::Relaxed);
        loop {
            if self.snatch(me, word) {
                return false;
            }
            if word & !WAITERS != 0 {
                match self.word.compare_exchange_weak(
                    word,
                    word | WAITERS,
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                ) {
                    Ok(_) => return true,
                    Err(now) => word = now,
                }
            } else {
                word = self.word.load(Ordering::Relaxed);
            }
        }
    }

    /// A waiter has left, under the lock of the lists.
    fn left(&self, guard: &mut Guard<'_, (), bool, 2>) {
        if guard.is_empty(PASSED_OVER) && guard.is_empty(LINE) {
            self.word.fetch_and(!WAITERS, Ordering::Relaxed);
        }
    }

    #[cold]
    fn release_slow(&self, fair: bool) {
        let mut guard = self.waiters.lock();
        let hand_over = fair || !guard.is_empty(PASSED_OVER);
        let mut next = guard.next(PASSED_OVER).or_else(|| guard.next(LINE));
        let nobody_else = guard.is_empty(PASSED_OVER) && guard.is_empty(LINE);
        let mut word = if nobody_else { 0 } else { WAITERS };
        if hand_over && let Some(next) = &mut next {
            *next.value() = true;
            word |= next.token().0;
        }
        // While it is held, and the lock of the lists too, nobody else changes the word.
        self.word.store(word, Ordering::Release);
        drop(guard);
        // Without the lock.
        drop(next);
    }
}

impl fmt::Debug for RawMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawMutex")
            .field("name", &self.name)
            .field("held", &self.is_held())
            .finish_non_exhaustive()
    }
}

// SAFETY: it is exclusive. The word names one holder: it is put there by a compare-exchange that has found none, or by the holder, who names another in its own place
// (a hand-over). Acquire and release on the word order what the holders do.
#[cfg(not(loom))]
unsafe impl lock_api::RawMutex for RawMutex {
    const INIT: RawMutex = RawMutex::new(None);

    /// Any context may give it back.
    type Guard = GuardSend;

    #[inline]
    fn lock(&self) -> GuardSend {
        let held = self.acquire(Until::Never);
        debug_assert!(held, "nothing ends the wait");
        GuardSend::new()
    }

    #[inline]
    fn try_lock(&self) -> Option<GuardSend> {
        self.try_acquire().then(GuardSend::new)
    }

    #[inline]
    unsafe fn unlock(&self, _: GuardSend) {
        // SAFETY: our caller's promise.
        unsafe { self.release() }
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.is_held()
    }
}

// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl lock_api::RawMutexFair for RawMutex {
    #[inline]
    unsafe fn unlock_fair(&self, _: GuardSend) {
        // SAFETY: our caller's promise.
        unsafe { self.release_fair() }
    }
}
