//! Locks and signals between contexts: coroutines of one worker, of several, OS threads, and any mix of them.
//!
//! None of them knows poisoning: a panic while a lock is held gives it back, as it does when a coroutine is cancelled.

mod barrier;
mod condvar;
mod event;
mod mutex;
mod once;
#[cfg(not(loom))]
mod reentrant;
mod rwlock;
mod semaphore;
pub(crate) mod wait_list;

pub use barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use condvar::Condvar;
pub use event::Event;
pub use mutex::RawMutex;
#[cfg(not(loom))]
pub use mutex::{ArcMutexGuard, MappedMutexGuard, Mutex, MutexGuard};
pub use once::Once;
#[cfg(not(loom))]
pub use once::{LazyLock, OnceLock};
#[cfg(not(loom))]
pub use reentrant::{ReentrantMutex, ReentrantMutexGuard};
pub use rwlock::RawRwLock;
#[cfg(not(loom))]
pub use rwlock::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
    RwLockWriteGuard,
};
pub use semaphore::{
    Acquire, BoundedSemaphore, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TooManyPermits,
};

/// What a lock says of itself: its name, and its data if they can be had.
#[cfg(not(loom))]
fn show(
    f: &mut std::fmt::Formatter<'_>,
    kind: &str,
    name: Option<&str>,
    data: Option<&dyn std::fmt::Debug>,
) -> std::fmt::Result {
    let mut shown = f.debug_struct(kind);
    if let Some(name) = name {
        shown.field("name", &name);
    }
    shown.field("data", data.unwrap_or(&format_args!("<locked>"))).finish()
}
