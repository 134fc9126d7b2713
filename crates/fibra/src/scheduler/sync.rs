//! The atomics and locks of the hand-offs: std's, or loom's when the models are checked (`--cfg loom`).

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};
#[cfg(not(loom))]
pub(crate) use std::thread_local;

#[cfg(loom)]
pub(crate) use loom::sync::{
    Condvar, Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence},
};

/// loom's macro does not know initialisers that are `const`.
#[cfg(loom)]
macro_rules! loom_thread_local {
    ($($(#[$attribute:meta])* static $name:ident: $type:ty = const { $initial:expr };)*) => {
        loom::thread_local! { $($(#[$attribute])* static $name: $type = $initial;)* }
    };
}

#[cfg(loom)]
pub(crate) use loom_thread_local as thread_local;

/// Stands between a sequentially consistent write and a sequentially consistent read of something else, whose order matters.
/// That order is in the language already; but loom takes such accesses for acquire and release, and only fences for what they are.
#[inline]
pub(crate) fn in_order() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}
