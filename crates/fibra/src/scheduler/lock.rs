//! The lock before the lists of a primitive: held for a few instructions, by whoever comes.
//!
//! ```text
//!   FREE ──▶ HELD ──▶ FREE                    one exchange in, one out
//!     ▲        │ somebody has looked for a while, and goes to sleep in the kernel
//!     └──── AWAITED                           the holder wakes one sleeper when it goes
//! ```
//!
//! It is a futex lock in three states (Drepper, "Futexes are tricky", 2011, the third), with one addition, for the sake of two cores that
//! pass items to each other: who finds it held looks away for twice as long each time, about two microseconds in all, before it sleeps. Whoever has
//! it may then take it many times in a row while the lines of memory behind it are in his cache, and the other does as much
//! when its turn comes; which costs much less than to carry these lines to and fro for each item. The lock is not fair, and need not be: the order of those
//! who wait for what the primitive gives is the lists', not the lock's.
//!
//! **No sleeper is forgotten.** Who sleeps has written `AWAITED` and slept only if it was still there; and who has slept takes the lock as `AWAITED`, since
//! there may be others. A holder that finds `AWAITED` when it goes wakes one.
//!
//! There is no poison: what may panic under it (a user's comparison, and nothing else) leaves what is behind it whole.
//!
//! The models of the primitives take loom's lock in its place; its own model is below.

use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

#[cfg(loom)]
pub(crate) use loom_lock::{Lock, LockGuard};

#[cfg(not(loom))]
pub(crate) use futex_lock::{Lock, LockGuard};

// What is behind it is whole whenever it is given back, as said above.
impl<T> UnwindSafe for Lock<T> {}
impl<T> RefUnwindSafe for Lock<T> {}

impl<T> fmt::Debug for Lock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

#[cfg_attr(loom, allow(dead_code))]
mod futex_lock {
    use super::super::futex;
    use super::super::spin;
    use super::super::sync::{AtomicU32, Ordering};
    use std::cell::UnsafeCell;
    use std::hint;
    use std::marker::PhantomData;
    use std::ops::{Deref, DerefMut};

    const FREE: u32 = 0;
    const HELD: u32 = 1;
    const AWAITED: u32 = 2;

    /// How often who finds it held looks again before it sleeps; for twice as long each time.
    const LOOKS: u32 = 7;

    pub(crate) struct Lock<T> {
        word: AtomicU32,
        value: UnsafeCell<T>,
    }

    /// The lock is held. It belongs to the thread that took it.
    pub(crate) struct LockGuard<'a, T> {
        lock: &'a Lock<T>,
        here: PhantomData<*const ()>,
    }

    // SAFETY: the value is reached by one thread at a time, so to share the lock is to send the value.
    unsafe impl<T: Send> Send for Lock<T> {}
    // SAFETY: as above.
    unsafe impl<T: Send> Sync for Lock<T> {}

    impl<T> Lock<T> {
        #[cfg(not(loom))]
        pub(crate) const fn new(value: T) -> Lock<T> {
            Lock { word: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
        }

        /// loom's atomics are not made by constants.
        #[cfg(loom)]
        pub(crate) fn new(value: T) -> Lock<T> {
            Lock { word: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
        }

        #[inline]
        pub(crate) fn lock(&self) -> LockGuard<'_, T> {
            if self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_err() {
                self.lock_slowly();
            }
            LockGuard { lock: self, here: PhantomData }
        }

        #[cold]
        fn lock_slowly(&self) {
            let looks = if spin::is_worthwhile() { LOOKS } else { 0 };
            for look in 0..looks {
                for _ in 0..1 << look {
                    hint::spin_loop();
                }
                if self.word.load(Ordering::Relaxed) == FREE
                    && self.word.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok()
                {
                    return;
                }
            }
            while self.word.swap(AWAITED, Ordering::Acquire) != FREE {
                // Another value, a signal: look again.
                futex::wait(&self.word, AWAITED, None);
            }
        }

        #[cold]
        fn wake(&self) {
            futex::wake(&self.word);
        }
    }

    impl<T> Drop for LockGuard<'_, T> {
        #[inline]
        fn drop(&mut self) {
            if self.lock.word.swap(FREE, Ordering::Release) == AWAITED {
                self.lock.wake();
            }
        }
    }

    impl<T> Deref for LockGuard<'_, T> {
        type Target = T;

        #[inline]
        fn deref(&self) -> &T {
            // SAFETY: this thread holds the lock.
            unsafe { &*self.lock.value.get() }
        }
    }

    impl<T> DerefMut for LockGuard<'_, T> {
        #[inline]
        fn deref_mut(&mut self) -> &mut T {
            // SAFETY: this thread holds the lock, and the guard is borrowed for itself alone.
            unsafe { &mut *self.lock.value.get() }
        }
    }
}

/// Each was seen to fail when: who has slept takes the lock as `HELD`; it is given back without a look for `AWAITED`; who finds it held sleeps without
/// having written `AWAITED`; it is given back without release.
#[cfg(all(test, loom))]
mod models {
    use super::futex_lock::Lock;
    use loom::cell::UnsafeCell;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn three_threads_take_it_one_after_another_and_none_sleeps_for_ever() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let shared = Arc::new((Lock::new(()), UnsafeCell::new(0)));
            let add = |shared: &(Lock<()>, UnsafeCell<u32>)| {
                let _guard = shared.0.lock();
                // SAFETY: the lock is held. (loom checks it.)
                shared.1.with_mut(|count| unsafe { *count += 1 });
            };
            let others = [(); 2].map(|()| {
                let shared = Arc::clone(&shared);
                thread::spawn(move || add(&shared))
            });
            add(&shared);
            others.map(|other| other.join().expect("no panic"));
            let _guard = shared.0.lock();
            // SAFETY: as above.
            shared.1.with(|count| assert_eq!(unsafe { *count }, 3));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Lock;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread;
    use std::time::Duration;

    #[test]
    fn nothing_is_lost_between_many_threads() {
        // More threads than cores, so that some are stopped while they hold it and others sleep.
        let lock = Lock::new((0_u64, 0_u64));
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for round in 0..20_000 {
                        let mut both = lock.lock();
                        both.0 += 1;
                        if round % 4_000 == 0 {
                            thread::sleep(Duration::from_micros(50));
                        }
                        both.1 += 1;
                    }
                });
            }
        });
        assert_eq!(*lock.lock(), (160_000, 160_000));
    }

    #[test]
    fn who_sleeps_is_woken() {
        let lock = Lock::new(());
        let (inside, done) = (AtomicBool::new(false), AtomicBool::new(false));
        thread::scope(|scope| {
            let guard = lock.lock();
            for _ in 0..3 {
                scope.spawn(|| {
                    inside.store(true, Ordering::SeqCst);
                    drop(lock.lock());
                    done.store(true, Ordering::SeqCst);
                });
            }
            while !inside.load(Ordering::SeqCst) {
                thread::yield_now();
            }
            // Long enough for them to sleep.
            thread::sleep(Duration::from_millis(30));
            assert!(!done.load(Ordering::SeqCst), "it is held");
            drop(guard);
        });
        assert!(done.load(Ordering::SeqCst));
    }

    #[test]
    fn a_panic_leaves_it_free() {
        let lock = Lock::new(1);
        let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _guard = lock.lock();
            panic!("on purpose");
        }));
        assert!(panic.is_err());
        assert_eq!(*lock.lock(), 1);
    }
}

#[cfg(loom)]
mod loom_lock {
    use loom::sync::{Mutex, MutexGuard};
    use std::sync::PoisonError;

    pub(crate) type LockGuard<'a, T> = MutexGuard<'a, T>;

    pub(crate) struct Lock<T>(Mutex<T>);

    impl<T> Lock<T> {
        pub(crate) fn new(value: T) -> Lock<T> {
            Lock(Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> LockGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
