//! Locks and signals between contexts: coroutines of one worker, of several, OS threads, and any mix of them.
//!
//! None of them knows poisoning: a panic while a lock is held gives it back, as it does when a coroutine is cancelled.

mod barrier;
mod event;
mod semaphore;
pub(crate) mod wait_list;

pub use barrier::{Barrier, BarrierWaitResult, BrokenBarrier};
pub use event::Event;
pub use semaphore::{
    Acquire, BoundedSemaphore, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TooManyPermits,
};
