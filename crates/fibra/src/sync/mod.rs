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
pub use semaphore::{BoundedSemaphore, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TooManyPermits};
