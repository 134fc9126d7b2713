//! [`RwLock`]: the data, and the ways to lock.

use super::raw::{READ, READ_UPGRADABLY, RawRwLock, WRITE, Way};
use crate::sync::mutex::raw::Until;
use lock_api::GuardSend;
use std::fmt;
use std::time::{Duration, Instant};

/// Data that many contexts may read at the same time, or one may write.
///
/// There is no poisoning. Guards may be held while the context waits for something else, and may go to another context.
///
/// ```
/// use fibra::sync::RwLock;
///
/// let table = RwLock::new(vec![1, 2, 3]);
/// fibra::run(|| {
///     fibra::scope(|scope| {
///         let sum = scope.spawn(|| table.read().iter().sum::<i32>());
///         let len = scope.spawn(|| table.read().len());
///         assert_eq!((sum.join().unwrap(), len.join().unwrap()), (6, 3));
///         table.write().push(4);
///     });
/// });
/// assert_eq!(table.into_inner(), [1, 2, 3, 4]);
/// ```
///
/// # Fairness
/// In the order of arrival: who leaves lets in who has waited longest, a writer, or all the readers up to the next writer. Readers who come while somebody waits
/// get in line, so neither side starves the other. Hence a context that reads already and wants to read again may wait for a writer that waits for it:
/// [`read_recursive`](Self::read_recursive) does not get in line.
///
/// # Upgrading
/// [`upgradable_read`](Self::upgradable_read) reads beside other readers, but for others of its kind; [`RwLockUpgradableReadGuard::upgrade`] then waits until the others have left, and writes.
/// In between nobody else has written.
///
/// ```
/// use fibra::sync::{RwLock, RwLockUpgradableReadGuard};
///
/// let cache = RwLock::new(None);
/// let seen = cache.upgradable_read();
/// if seen.is_none() {
///     *RwLockUpgradableReadGuard::upgrade(seen) = Some("computed once");
/// }
/// assert_eq!(*cache.read(), Some("computed once"));
/// ```
///
/// # Cancellation
/// What ends waits ends those for the lock, too. An upgrade, and what else the guards do, is not disturbed.
pub struct RwLock<T: ?Sized>(lock_api::RwLock<RawRwLock, T>);

/// What it is to read a [`RwLock`].
pub type RwLockReadGuard<'a, T> = lock_api::RwLockReadGuard<'a, RawRwLock, T>;

/// What it is to write a [`RwLock`].
pub type RwLockWriteGuard<'a, T> = lock_api::RwLockWriteGuard<'a, RawRwLock, T>;

/// What it is to read a [`RwLock`] with the right to become the writer.
pub type RwLockUpgradableReadGuard<'a, T> = lock_api::RwLockUpgradableReadGuard<'a, RawRwLock, T>;

/// A [`RwLockReadGuard`] of a part of the data: see [`RwLockReadGuard::map`].
pub type MappedRwLockReadGuard<'a, T> = lock_api::MappedRwLockReadGuard<'a, RawRwLock, T>;

/// A [`RwLockWriteGuard`] of a part of the data: see [`RwLockWriteGuard::map`].
pub type MappedRwLockWriteGuard<'a, T> = lock_api::MappedRwLockWriteGuard<'a, RawRwLock, T>;

impl<T> RwLock<T> {
    /// A lock around `value`.
    #[inline]
    pub const fn new(value: T) -> RwLock<T> {
        RwLock(lock_api::RwLock::from_raw(RawRwLock::new(None), value))
    }

    /// A lock with a name, for listings and reports.
    #[inline]
    pub const fn named(name: &'static str, value: T) -> RwLock<T> {
        RwLock(lock_api::RwLock::from_raw(RawRwLock::new(Some(name)), value))
    }

    /// The data.
    #[inline]
    pub fn into_inner(self) -> T {
        self.0.into_inner()
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Waits until nobody writes, and for those who came before, and reads.
    #[inline]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        self.get_in(READ);
        // SAFETY: we are inside as a reader.
        unsafe { self.0.make_read_guard_unchecked(GuardSend::new()) }
    }

    /// Reads if nobody writes, nor waits.
    #[inline]
    pub fn try_read(&self) -> Option<RwLockReadGuard<'_, T>> {
        // SAFETY: as in `read`.
        self.raw().try_acquire(READ).then(|| unsafe { self.0.make_read_guard_unchecked(GuardSend::new()) })
    }

    /// [`read`](Self::read), waiting for at most `timeout`.
    pub fn read_timeout(&self, timeout: Duration) -> Option<RwLockReadGuard<'_, T>> {
        match crate::time::deadline(timeout) {
            Some(deadline) => self.read_deadline(deadline),
            None => Some(self.read()),
        }
    }

    /// [`read`](Self::read), waiting until `deadline` at most.
    pub fn read_deadline(&self, deadline: Instant) -> Option<RwLockReadGuard<'_, T>> {
        let inside = self.raw().acquire(READ, Until::Deadline(deadline));
        // SAFETY: as in `read`.
        inside.then(|| unsafe { self.0.make_read_guard_unchecked(GuardSend::new()) })
    }

    /// [`read`](Self::read) that does not wait if there is no writer, whoever waits: for a context that may be a reader already. Used for nothing else it can starve writers.
    pub fn read_recursive(&self) -> RwLockReadGuard<'_, T> {
        if !self.raw().try_acquire_before_all(READ) {
            // There is a writer, so the context does not read.
            self.get_in(READ);
        }
        // SAFETY: as in `read`.
        unsafe { self.0.make_read_guard_unchecked(GuardSend::new()) }
    }

    /// Reads if nobody writes, whoever waits: see [`read_recursive`](Self::read_recursive).
    pub fn try_read_recursive(&self) -> Option<RwLockReadGuard<'_, T>> {
        let inside = self.raw().try_acquire_before_all(READ);
        // SAFETY: as in `read`.
        inside.then(|| unsafe { self.0.make_read_guard_unchecked(GuardSend::new()) })
    }

    /// Waits until nobody is inside, and for those who came before, and writes.
    #[inline]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        self.get_in(WRITE);
        // SAFETY: we are inside as the writer.
        unsafe { self.0.make_write_guard_unchecked(GuardSend::new()) }
    }

    /// Writes if nobody is inside, nor waits.
    #[inline]
    pub fn try_write(&self) -> Option<RwLockWriteGuard<'_, T>> {
        // SAFETY: as in `write`.
        self.raw().try_acquire(WRITE).then(|| unsafe { self.0.make_write_guard_unchecked(GuardSend::new()) })
    }

    /// [`write`](Self::write), waiting for at most `timeout`.
    pub fn write_timeout(&self, timeout: Duration) -> Option<RwLockWriteGuard<'_, T>> {
        match crate::time::deadline(timeout) {
            Some(deadline) => self.write_deadline(deadline),
            None => Some(self.write()),
        }
    }

    /// [`write`](Self::write), waiting until `deadline` at most.
    pub fn write_deadline(&self, deadline: Instant) -> Option<RwLockWriteGuard<'_, T>> {
        let inside = self.raw().acquire(WRITE, Until::Deadline(deadline));
        // SAFETY: as in `write`.
        inside.then(|| unsafe { self.0.make_write_guard_unchecked(GuardSend::new()) })
    }

    /// Waits as [`read`](Self::read), and for the end of another such guard, and reads with the right to become the writer.
    #[inline]
    pub fn upgradable_read(&self) -> RwLockUpgradableReadGuard<'_, T> {
        self.get_in(READ_UPGRADABLY);
        // SAFETY: we are inside as the upgradable reader.
        unsafe { self.0.make_upgradable_guard_unchecked(GuardSend::new()) }
    }

    /// [`upgradable_read`](Self::upgradable_read) if that needs no wait, and nobody waits.
    #[inline]
    pub fn try_upgradable_read(&self) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        let inside = self.raw().try_acquire(READ_UPGRADABLY);
        // SAFETY: as in `upgradable_read`.
        inside.then(|| unsafe { self.0.make_upgradable_guard_unchecked(GuardSend::new()) })
    }

    /// [`upgradable_read`](Self::upgradable_read), waiting for at most `timeout`.
    pub fn upgradable_read_timeout(&self, timeout: Duration) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        match crate::time::deadline(timeout) {
            Some(deadline) => self.upgradable_read_deadline(deadline),
            None => Some(self.upgradable_read()),
        }
    }

    /// [`upgradable_read`](Self::upgradable_read), waiting until `deadline` at most.
    pub fn upgradable_read_deadline(&self, deadline: Instant) -> Option<RwLockUpgradableReadGuard<'_, T>> {
        let inside = self.raw().acquire(READ_UPGRADABLY, Until::Deadline(deadline));
        // SAFETY: as in `upgradable_read`.
        inside.then(|| unsafe { self.0.make_upgradable_guard_unchecked(GuardSend::new()) })
    }

    /// The data, without locking: nobody else can have it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut T {
        self.0.get_mut()
    }

    /// Whether somebody reads or writes. A snapshot.
    pub fn is_locked(&self) -> bool {
        self.raw().is_held()
    }

    /// How many contexts wait for the lock. A snapshot.
    pub fn waiting(&self) -> usize {
        self.raw().waiting()
    }

    /// The name it was [given](Self::named).
    pub fn name(&self) -> Option<&'static str> {
        self.raw().name()
    }

    #[inline]
    fn get_in(&self, way: Way) {
        let inside = self.raw().acquire(way, Until::Asked);
        debug_assert!(inside, "there is no deadline");
    }

    #[inline]
    fn raw(&self) -> &RawRwLock {
        // SAFETY: only guards leave.
        unsafe { self.0.raw() }
    }
}

impl<T: Default> Default for RwLock<T> {
    fn default() -> RwLock<T> {
        RwLock::new(T::default())
    }
}

impl<T> From<T> for RwLock<T> {
    fn from(value: T) -> RwLock<T> {
        RwLock::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for RwLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.try_read();
        let data = guard.as_deref();
        super::super::show(f, "RwLock", self.name(), data.as_ref().map(|data| data as &dyn fmt::Debug))
    }
}
