//! [`Mutex`]: the data, and the ways to lock.

use super::arc_guard::ArcMutexGuard;
use super::raw::{RawMutex, Until};
use lock_api::GuardSend;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Data that one context at a time may use.
///
/// [`lock`](Self::lock) waits, and its guard gives the mutex back when it is dropped, be it in an unwind. There is no poisoning: what a panic leaves half done is found by the
/// next one as it is. The guard may be held while the context waits for something else, and may go to another context.
///
/// ```
/// use fibra::sync::Mutex;
///
/// let total = Mutex::new(0);
/// fibra::run(|| {
///     fibra::scope(|scope| {
///         for n in 1..=10 {
///             let total = &total;
///             scope.spawn(move || *total.lock() += n);
///         }
///     });
/// });
/// assert_eq!(total.into_inner(), 55);
/// ```
///
/// # Fairness
/// Eventual: who gives it back lays it down, and whoever comes first takes it, often the same one again, which is fast. One that was woken and came too late
/// goes before the line, behind others like it, and is handed the mutex when it is their turn. [`MutexGuard::unlock_fair`] hands it over in any case.
///
/// # Cancellation
/// What ends waits ([`timeout`](crate::timeout()), [`JoinHandle::cancel`](crate::JoinHandle::cancel), …) ends the wait for the mutex, too. The operations of the guards that give the mutex
/// back for a while ([`MutexGuard::unlocked`], [`MutexGuard::bump`]) and [`Condvar`](crate::sync::Condvar) wait for it without being disturbed.
///
/// # Deadlocks
/// A context that locks a mutex which it has already waits for ever: see [`ReentrantMutex`](crate::sync::ReentrantMutex).
pub struct Mutex<T: ?Sized>(pub(super) lock_api::Mutex<RawMutex, T>);

/// What it is to have a [`Mutex`]: the data is reached through it. Dropping it gives the mutex back.
pub type MutexGuard<'a, T> = lock_api::MutexGuard<'a, RawMutex, T>;

/// A [`MutexGuard`] of a part of the data: see [`MutexGuard::map`].
pub type MappedMutexGuard<'a, T> = lock_api::MappedMutexGuard<'a, RawMutex, T>;

impl<T> Mutex<T> {
    /// A mutex around `value`.
    #[inline]
    pub const fn new(value: T) -> Mutex<T> {
        Mutex(lock_api::Mutex::from_raw(RawMutex::new(None), value))
    }

    /// A mutex with a name, for listings and reports.
    ///
    /// ```
    /// use fibra::sync::Mutex;
    ///
    /// static ACCOUNTS: Mutex<Vec<u64>> = Mutex::named("accounts", Vec::new());
    /// assert_eq!(ACCOUNTS.name(), Some("accounts"));
    /// ```
    #[inline]
    pub const fn named(name: &'static str, value: T) -> Mutex<T> {
        Mutex(lock_api::Mutex::from_raw(RawMutex::new(Some(name)), value))
    }

    /// The data.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Waits until nobody has the mutex, and takes it.
    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let held = self.raw().acquire(Until::Asked);
        debug_assert!(held, "there is no deadline");
        // SAFETY: it has just been taken.
        unsafe { self.0.make_guard_unchecked(GuardSend::new()) }
    }

    /// Takes the mutex if nobody has it.
    #[inline]
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        // SAFETY: it has just been taken.
        self.raw().try_acquire().then(|| unsafe { self.0.make_guard_unchecked(GuardSend::new()) })
    }

    /// Takes the mutex, and waits for it for at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Option<MutexGuard<'_, T>> {
        match crate::time::deadline(timeout) {
            Some(deadline) => self.lock_deadline(deadline),
            None => Some(self.lock()),
        }
    }

    /// Takes the mutex, and waits for it until `deadline` at most.
    pub fn lock_deadline(&self, deadline: Instant) -> Option<MutexGuard<'_, T>> {
        // SAFETY: it has just been taken.
        self.raw()
            .acquire(Until::Deadline(deadline))
            .then(|| unsafe { self.0.make_guard_unchecked(GuardSend::new()) })
    }

    /// [`lock`](Self::lock), for a guard that borrows nothing.
    ///
    /// ```
    /// use fibra::sync::Mutex;
    /// use std::sync::Arc;
    ///
    /// fibra::run(|| {
    ///     let line = Arc::new(Mutex::new(String::new()));
    ///     let mut guard = line.lock_arc();
    ///     fibra::spawn(move || guard.push_str("written elsewhere")).join().unwrap();
    ///     assert_eq!(*line.lock(), "written elsewhere");
    /// });
    /// ```
    pub fn lock_arc(self: &Arc<Self>) -> ArcMutexGuard<T> {
        let held = self.raw().acquire(Until::Asked);
        debug_assert!(held, "there is no deadline");
        // SAFETY: it has just been taken.
        unsafe { ArcMutexGuard::new(Arc::clone(self)) }
    }

    /// [`try_lock`](Self::try_lock), for a guard that borrows nothing.
    pub fn try_lock_arc(self: &Arc<Self>) -> Option<ArcMutexGuard<T>> {
        // SAFETY: it has just been taken.
        self.raw().try_acquire().then(|| unsafe { ArcMutexGuard::new(Arc::clone(self)) })
    }

    /// The data, without locking: nobody else can have it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// Whether somebody has the mutex. A snapshot.
    #[inline]
    pub fn is_locked(&self) -> bool {
        self.raw().is_held()
    }

    /// How many contexts wait for the mutex. A snapshot.
    pub fn waiting(&self) -> usize {
        self.raw().waiting()
    }

    /// The [number](crate::Context::id) of the context that has taken the mutex. A snapshot, for diagnosis: it looks through all living contexts.
    pub fn owner(&self) -> Option<u64> {
        self.raw().owner()
    }

    /// The name it was [given](Self::named).
    pub fn name(&self) -> Option<&'static str> {
        self.raw().name()
    }

    #[inline]
    pub(super) fn raw(&self) -> &RawMutex {
        // SAFETY: it is given back by guards only.
        unsafe { self.0.raw() }
    }
}

impl<T: Default> Default for Mutex<T> {
    fn default() -> Mutex<T> {
        Mutex::new(T::default())
    }
}

impl<T> From<T> for Mutex<T> {
    fn from(value: T) -> Mutex<T> {
        Mutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Mutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.try_lock();
        let data = guard.as_deref();
        super::super::show(f, "Mutex", self.name(), data.as_ref().map(|data| data as &dyn fmt::Debug))
    }
}
