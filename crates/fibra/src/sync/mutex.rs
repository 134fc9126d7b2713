//! [`Mutex`]: one at a time.
//!
//! | file | idea |
//! |---|---|
//! | [`raw`] | the protocol: who has it, who wants it, who is next |
//! | [`arc_guard`] | a guard that keeps its mutex |
//! | [`data`] | the data, and the ways to lock |
//!
//! The guards are `lock_api`'s. Its ways to lock are not exposed, since with them a request to stop could not end the wait: see [`RawMutex`].

#[cfg(not(loom))]
mod arc_guard;
#[cfg(not(loom))]
mod data;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod raw;

#[cfg(not(loom))]
pub use arc_guard::ArcMutexGuard;
#[cfg(not(loom))]
pub use data::{MappedMutexGuard, Mutex, MutexGuard};
pub use raw::RawMutex;
