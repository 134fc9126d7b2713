//! The read-write lock without its data: who is inside, and who waits.
//!
//! # The word
//! ```text
//!   readers ······ UPGRADABLE WRITER WAITERS     how many read, one of them perhaps with the right to become the writer; whether there is a writer; whether
//!                                                anybody is in the list
//! ```
//!
//! * **While `WAITERS` is clear** the list is empty, and anybody changes the word, each time by one compare-exchange.
//! * **While it is set** the list is not empty (but for moments under its lock), and the word is changed under the lock only. Who comes gets in line, also a reader who finds
//!   readers: so a writer waits only for those who were before it, and is not starved.
//! * It is set under the lock, by who is about to get in line, in the same exchange that finds that it has to wait. So whoever leaves the inside after that sees it,
//!   takes the lock, and finds the waiter.
//!
//! # Hand-off
//! Whoever leaves lets those in who are first in line, as far as they can be inside together: a writer, or all readers up to the next writer. They are inside when they are
//! woken. So the order of arrival is kept; what it costs is a switch of context for each turn while there is a line.
//!
//! An upgrade goes to the front of the line: it has the lock already, and nobody can get in before it is done.
//!
//! # Leaving
//! A waiter that is cancelled, or whose time is up, takes itself out of the list and lets those behind it in who only waited for it: readers behind a writer.

use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::sync::{AtomicUsize, Ordering};
use crate::scheduler::waiting::WaitsFor;
use crate::sync::mutex::raw::Until;
use crate::sync::wait_list::{Guard, Place, Served, WaitLists};
#[cfg(not(loom))]
use lock_api::GuardSend;
use std::fmt;

/// Somebody is in the list.
const WAITERS: usize = 1;
const WRITER: usize = 1 << 1;
const UPGRADABLE: usize = 1 << 2;
const READER: usize = 1 << 3;
/// All that says who is inside.
const INSIDE: usize = !WAITERS;

/// What the one who reads has in the word.
pub(crate) const READING: usize = READER;
/// What the one who reads, and may become the writer, has in the word.
pub(crate) const READING_UPGRADABLY: usize = READER | UPGRADABLE;
/// What the writer has in the word.
pub(crate) const WRITING: usize = WRITER;

/// A way to be inside, or to change it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// What must not be in the word, besides what the one who asks has there already.
    excludes: usize,
    /// What the one who asks has in the word already.
    has: usize,
    /// What it has there afterwards.
    becomes: usize,
    waits_for: WaitsFor,
}

pub(crate) const READ: Way = Way { excludes: WRITER, has: 0, becomes: READER, waits_for: WaitsFor::Read };
pub(crate) const WRITE: Way = Way { excludes: INSIDE, has: 0, becomes: WRITER, waits_for: WaitsFor::Write };
pub(crate) const READ_UPGRADABLY: Way =
    Way { excludes: WRITER | UPGRADABLE, has: 0, becomes: READER | UPGRADABLE, waits_for: WaitsFor::Read };
pub(crate) const UPGRADE: Way =
    Way { excludes: INSIDE, has: READER | UPGRADABLE, becomes: WRITER, waits_for: WaitsFor::Write };

impl Way {
    /// The word with this in it, if that can be.
    #[inline]
    fn enter(self, word: usize) -> Option<usize> {
        let others = word - self.has;
        (others & self.excludes == 0).then(|| others + self.becomes)
    }
}

/// A read-write lock without data, for [`lock_api`]: what [`RwLock`](super::RwLock) is made of.
///
/// As with [`RawMutex`](crate::sync::RawMutex) a request to stop does not end its waits by way of `lock_api`'s traits.
pub struct RawRwLock {
    word: AtomicUsize,
    waiters: WaitLists<(), Way>,
    name: Option<&'static str>,
}

impl RawRwLock {
    #[cfg(not(loom))]
    pub(crate) const fn new(name: Option<&'static str>) -> RawRwLock {
        RawRwLock { word: AtomicUsize::new(0), waiters: WaitLists::new(()), name }
    }

    #[cfg(loom)]
    pub(crate) fn new(name: Option<&'static str>) -> RawRwLock {
        RawRwLock { word: AtomicUsize::new(0), waiters: WaitLists::new(()), name }
    }

    /// Gets inside, and waits for that. False when the deadline was first.
    ///
    /// For [`UPGRADE`] the caller is inside as an upgradable reader, and stays so if it does not succeed.
    #[inline]
    pub(crate) fn acquire(&self, way: Way, until: Until) -> bool {
        self.try_acquire(way) || self.acquire_slow(way, until)
    }

    /// Gets inside if that needs no wait, and nobody waits.
    #[inline]
    pub(crate) fn try_acquire(&self, way: Way) -> bool {
        // For who must be alone there is one word that will do: most often it is there, and a look before would cost as much as the exchange.
        if way.excludes == INSIDE
            && way.has == 0
            && self.word.compare_exchange(0, way.becomes, Ordering::Acquire, Ordering::Relaxed).is_ok()
        {
            return true;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0
            && let Some(next) = way.enter(word)
        {
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Gets inside if that needs no wait, whoever waits: for one who is inside already, and would wait for itself behind them.
    pub(crate) fn try_acquire_before_all(&self, way: Way) -> bool {
        if self.try_acquire(way) {
            return true;
        }
        // While somebody waits the word is changed under this lock only.
        let _guard = self.waiters.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        while let Some(next) = way.enter(word) {
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Leaves, or goes on as something less.
    ///
    /// # Safety
    /// The caller is inside as `was`, and has no use any more for what `becomes` does not allow.
    #[inline]
    pub(crate) unsafe fn release(&self, was: usize, becomes: usize) {
        // A writer is alone; so is the word, unless somebody waits.
        if was == WRITING
            && self.word.compare_exchange(WRITING, becomes, Ordering::Release, Ordering::Relaxed).is_ok()
        {
            return;
        }
        let mut word = self.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            let next = word - was + becomes;
            match self.word.compare_exchange_weak(word, next, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => word = now,
            }
        }
        self.release_slow(was, becomes);
    }

    /// Whether anybody is inside. A snapshot.
    #[inline]
    pub(crate) fn is_held(&self) -> bool {
        self.word.load(Ordering::Relaxed) & INSIDE != 0
    }

    /// Whether there is a writer. A snapshot.
    #[inline]
    pub(crate) fn is_written(&self) -> bool {
        self.word.load(Ordering::Relaxed) & WRITER != 0
    }

    /// How many read. A snapshot.
    pub(crate) fn readers(&self) -> usize {
        self.word.load(Ordering::Relaxed) / READER
    }

    /// How many wait. A snapshot.
    pub(crate) fn waiting(&self) -> usize {
        self.waiters.lock().len(0)
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Gets inside, whatever comes.
    #[cfg(not(loom))]
    #[inline]
    fn get_in(&self, way: Way) -> GuardSend {
        let inside = self.acquire(way, Until::Never);
        debug_assert!(inside, "nothing ends the wait");
        GuardSend::new()
    }

    #[cold]
    fn acquire_slow(&self, way: Way, until: Until) -> bool {
        let guard = self.waiters.lock();
        let mut word = self.word.load(Ordering::Relaxed);
        // With the lock held nobody else changes the word while `WAITERS` is set.
        let first = way.has != 0;
        while word & WAITERS == 0 || first {
            let inside = way.enter(word);
            let next = inside.unwrap_or(word | WAITERS);
            match self.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) if inside.is_some() => return true,
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        let place = if first { Place::Front } else { Place::Back };
        let park = || match until {
            Until::Asked => park::park(None),
            Until::Deadline(deadline) => park::park(Some(deadline)),
            Until::Never => park::park_shielded(None),
        };
        match guard.wait_by(0, place, way, way.waits_for, |guard| self.serve(guard, 0, 0), park).0 {
            Reason::Woken => true,
            Reason::TimedOut => false,
            Reason::Cancelled => cancel::unwind(),
        }
    }

    #[cold]
    fn release_slow(&self, was: usize, becomes: usize) {
        let mut guard = self.waiters.lock();
        if self.word.load(Ordering::Relaxed) & WAITERS == 0 {
            // They have left. Nobody can get in line before this is over, but others can come and go.
            let mut word = self.word.load(Ordering::Relaxed);
            while let Err(now) = self.word.compare_exchange_weak(
                word,
                word - was + becomes,
                Ordering::Release,
                Ordering::Relaxed,
            ) {
                word = now;
            }
            return;
        }
        self.serve(&mut guard, was, becomes);
    }

    /// Changes the word, and lets those in who are first in line, while `WAITERS` is set and the lock is held.
    ///
    /// The word is written at the end only. Those who run by then come to the lock if they want to change it.
    fn serve(&self, guard: &mut Guard<'_, (), Way>, was: usize, becomes: usize) {
        let mut inside = (self.word.load(Ordering::Acquire) & INSIDE) - was + becomes;
        while let Some(next) = guard.front(0).and_then(|(_, way)| way.enter(inside)) {
            inside = next;
            guard.next(0).into_iter().for_each(Served::wake);
        }
        let waiters = if guard.is_empty(0) { 0 } else { WAITERS };
        self.word.store(inside | waiters, Ordering::Release);
    }
}

impl fmt::Debug for RawRwLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RawRwLock")
            .field("name", &self.name)
            .field("readers", &self.readers())
            .field("written", &self.is_written())
            .finish_non_exhaustive()
    }
}

// SAFETY: there is one writer and nobody else, or there are readers. Everybody gets inside by a change of the word that `Way::enter` allows, and leaves by the one that takes
// back the same. Acquire and release on the word, or the lock of the list and the wake-up, order what they do.
#[cfg(not(loom))]
unsafe impl lock_api::RawRwLock for RawRwLock {
    const INIT: RawRwLock = RawRwLock::new(None);

    /// Any context may leave for another.
    type SharedGuard = GuardSend;
    type ExclusiveGuard = GuardSend;

    #[inline]
    fn lock_shared(&self) -> GuardSend {
        self.get_in(READ)
    }

    #[inline]
    fn try_lock_shared(&self) -> Option<GuardSend> {
        self.try_acquire(READ).then(GuardSend::new)
    }

    #[inline]
    unsafe fn unlock_shared(&self, _: GuardSend) {
        // SAFETY: our caller's promise.
        unsafe { self.release(READING, 0) }
    }

    #[inline]
    fn lock_exclusive(&self) -> GuardSend {
        self.get_in(WRITE)
    }

    #[inline]
    fn try_lock_exclusive(&self) -> Option<GuardSend> {
        self.try_acquire(WRITE).then(GuardSend::new)
    }

    #[inline]
    unsafe fn unlock_exclusive(&self, _: GuardSend) {
        // SAFETY: our caller's promise.
        unsafe { self.release(WRITING, 0) }
    }

    #[inline]
    fn is_locked(&self) -> bool {
        self.is_held()
    }

    #[inline]
    fn is_locked_exclusive(&self) -> bool {
        self.is_written()
    }
}

// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl lock_api::RawRwLockDowngrade for RawRwLock {
    #[inline]
    unsafe fn downgrade(&self, guard: GuardSend) -> GuardSend {
        // SAFETY: our caller's promise.
        unsafe { self.release(WRITING, READING) };
        guard
    }
}

// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl lock_api::RawRwLockUpgrade for RawRwLock {
    type UpgradableGuard = GuardSend;

    #[inline]
    fn lock_upgradable(&self) -> GuardSend {
        self.get_in(READ_UPGRADABLY)
    }

    #[inline]
    fn try_lock_upgradable(&self) -> Option<GuardSend> {
        self.try_acquire(READ_UPGRADABLY).then(GuardSend::new)
    }

    #[inline]
    unsafe fn unlock_upgradable(&self, _: GuardSend) {
        // SAFETY: our caller's promise.
        unsafe { self.release(READING_UPGRADABLY, 0) }
    }

    #[inline]
    unsafe fn upgrade(&self, guard: GuardSend) -> GuardSend {
        if self.try_acquire(UPGRADE) {
            return guard;
        }
        if cancel::is_in_callback() {
            if self.try_acquire_before_all(UPGRADE) {
                return guard;
            }
            // It must not wait, and the panic takes the guard along.
            // SAFETY: our caller's promise.
            unsafe { self.release(READING_UPGRADABLY, 0) };
            cancel::forbid(WaitsFor::Write);
        }
        self.get_in(UPGRADE)
    }

    #[inline]
    unsafe fn try_upgrade(&self, guard: GuardSend) -> Result<GuardSend, GuardSend> {
        if self.try_acquire_before_all(UPGRADE) { Ok(guard) } else { Err(guard) }
    }
}

// SAFETY: as above.
#[cfg(not(loom))]
unsafe impl lock_api::RawRwLockUpgradeDowngrade for RawRwLock {
    #[inline]
    unsafe fn downgrade_upgradable(&self, guard: GuardSend) -> GuardSend {
        // SAFETY: our caller's promise.
        unsafe { self.release(READING_UPGRADABLY, READING) };
        guard
    }

    #[inline]
    unsafe fn downgrade_to_upgradable(&self, guard: GuardSend) -> GuardSend {
        // SAFETY: our caller's promise.
        unsafe { self.release(WRITING, READING_UPGRADABLY) };
        guard
    }
}
