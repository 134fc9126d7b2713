//! [`ReentrantMutex`]: one context at a time, as often as it likes.
//!
//! A [`RawMutex`] and, behind it, the number of the context that has it and how often. The number is written by the holder only, and never is that of a context which
//! is not: so who finds its own number there has the mutex, and who does not has not, whatever else it may see. Numbers of contexts are not used again.

use super::mutex::raw::{RawMutex, Until};
use crate::scheduler::park;
use std::cell::{Cell, UnsafeCell};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Nobody; contexts are counted from 1.
const NOBODY: u64 = 0;

/// Data that one context at a time may use, which may lock it again while it has it.
///
/// The owner is the *coroutine*, not the thread that it runs on: two coroutines of one worker exclude each other. Each guard gives back one of the owner's locks, and with the
/// last one the mutex. A guard gives shared access only, since there may be several: put a [`Cell`] or a [`RefCell`](std::cell::RefCell) inside.
///
/// Two reentrant mutexes that are locked in different orders still wait for each other for ever.
///
/// ```
/// use fibra::sync::ReentrantMutex;
/// use std::cell::Cell;
///
/// let depth = ReentrantMutex::new(Cell::new(0));
/// fn descend(depth: &ReentrantMutex<Cell<u32>>) {
///     let guard = depth.lock();
///     guard.set(guard.get() + 1);
///     if guard.get() < 3 {
///         descend(depth);
///     }
/// }
/// descend(&depth);
/// assert_eq!(depth.into_inner().get(), 3);
/// ```
pub struct ReentrantMutex<T: ?Sized> {
    raw: RawMutex,
    owner: AtomicU64,
    /// The owner's locks, less one. The owner's own.
    more: Cell<usize>,
    data: UnsafeCell<T>,
}

/// One of the locks that a context has of a [`ReentrantMutex`].
///
/// It stays on its thread. (It may go to another coroutine of the same worker; the owner remains who has locked.)
///
/// ```compile_fail,E0277
/// use fibra::sync::ReentrantMutex;
///
/// static MUTEX: ReentrantMutex<()> = ReentrantMutex::new(());
/// let guard = MUTEX.lock();
/// fibra::thread::spawn(move || drop(guard));
/// ```
#[must_use = "the lock is given back when its guard is dropped"]
pub struct ReentrantMutexGuard<'a, T: ?Sized> {
    mutex: &'a ReentrantMutex<T>,
    /// The owner's count is not made for several threads.
    not_send: PhantomData<*const ()>,
}

// SAFETY: the data goes from one owner to the next, as `T: Send` allows, and is never used by two of them at a time. `more` is touched by those that have a guard, which do not leave their
// thread, or by the owner, which is on that thread, too: a coroutine stays on its own.
unsafe impl<T: ?Sized + Send> Sync for ReentrantMutex<T> {}
// SAFETY: through a shared guard the data is reached, and nothing else.
unsafe impl<T: ?Sized + Sync> Sync for ReentrantMutexGuard<'_, T> {}

impl<T> ReentrantMutex<T> {
    /// A mutex around `value`.
    pub const fn new(value: T) -> ReentrantMutex<T> {
        ReentrantMutex::with(None, value)
    }

    /// A mutex with a name, for listings and reports.
    pub const fn named(name: &'static str, value: T) -> ReentrantMutex<T> {
        ReentrantMutex::with(Some(name), value)
    }

    const fn with(name: Option<&'static str>, value: T) -> ReentrantMutex<T> {
        ReentrantMutex {
            raw: RawMutex::new(name),
            owner: AtomicU64::new(NOBODY),
            more: Cell::new(0),
            data: UnsafeCell::new(value),
        }
    }

    /// The data.
    pub fn into_inner(self) -> T {
        self.data.into_inner()
    }
}

impl<T: ?Sized> ReentrantMutex<T> {
    /// Waits until no other context has the mutex, and takes it, or one lock more of it.
    ///
    /// # Panics
    /// When a context has it more than `usize::MAX` times.
    #[inline]
    pub fn lock(&self) -> ReentrantMutexGuard<'_, T> {
        self.acquire(|raw| raw.acquire(Until::Asked)).expect("there is no deadline")
    }

    /// Takes the mutex if no other context has it.
    #[inline]
    pub fn try_lock(&self) -> Option<ReentrantMutexGuard<'_, T>> {
        self.acquire(RawMutex::try_acquire)
    }

    /// Takes the mutex, and waits for it for at most `timeout`.
    pub fn lock_timeout(&self, timeout: Duration) -> Option<ReentrantMutexGuard<'_, T>> {
        match crate::time::deadline(timeout) {
            Some(deadline) => self.lock_deadline(deadline),
            None => Some(self.lock()),
        }
    }

    /// Takes the mutex, and waits for it until `deadline` at most.
    pub fn lock_deadline(&self, deadline: Instant) -> Option<ReentrantMutexGuard<'_, T>> {
        self.acquire(|raw| raw.acquire(Until::Deadline(deadline)))
    }

    /// The data, without locking: nobody else can have it.
    pub fn get_mut(&mut self) -> &mut T {
        self.data.get_mut()
    }

    /// The [number](crate::Context::id) of the context that has the mutex. A snapshot, unless it is the caller's.
    pub fn owner(&self) -> Option<u64> {
        Some(self.owner.load(Ordering::Relaxed)).filter(|&owner| owner != NOBODY)
    }

    /// Whether the calling context has the mutex.
    pub fn is_owned(&self) -> bool {
        self.owner() == Some(me())
    }

    /// How many locks the calling context has of it; 0 if another context has it, or none.
    pub fn count(&self) -> usize {
        if self.is_owned() { self.more.get() + 1 } else { 0 }
    }

    /// How many contexts wait for it. A snapshot.
    pub fn waiting(&self) -> usize {
        self.raw.waiting()
    }

    /// The name it was [given](Self::named).
    pub fn name(&self) -> Option<&'static str> {
        self.raw.name()
    }

    #[inline]
    fn acquire(&self, take: impl FnOnce(&RawMutex) -> bool) -> Option<ReentrantMutexGuard<'_, T>> {
        let me = me();
        if self.owner.load(Ordering::Relaxed) == me {
            let more = self.more.get().checked_add(1);
            self.more.set(more.expect("a mutex is not locked so often"));
        } else {
            if !take(&self.raw) {
                return None;
            }
            self.owner.store(me, Ordering::Relaxed);
        }
        Some(ReentrantMutexGuard { mutex: self, not_send: PhantomData })
    }
}

/// The number of the running context.
#[inline]
fn me() -> u64 {
    // SAFETY: the running context is alive.
    park::with_current(|task| unsafe { task.header() }.id)
}

impl<T: ?Sized> Deref for ReentrantMutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard's owner has the mutex, and all guards give shared access.
        unsafe { &*self.mutex.data.get() }
    }
}

impl<T: ?Sized> Drop for ReentrantMutexGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        let mutex = self.mutex;
        match mutex.more.get().checked_sub(1) {
            Some(more) => mutex.more.set(more),
            None => {
                mutex.owner.store(NOBODY, Ordering::Relaxed);
                // SAFETY: it is held, and this was the last guard.
                unsafe { mutex.raw.release() };
            }
        }
    }
}

impl<T: Default> Default for ReentrantMutex<T> {
    fn default() -> ReentrantMutex<T> {
        ReentrantMutex::new(T::default())
    }
}

impl<T> From<T> for ReentrantMutex<T> {
    fn from(value: T) -> ReentrantMutex<T> {
        ReentrantMutex::new(value)
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantMutex<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let guard = self.try_lock();
        let data = guard.as_deref();
        super::show(f, "ReentrantMutex", self.name(), data.as_ref().map(|data| data as &dyn fmt::Debug))
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ReentrantMutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
