//! [`RwLock`]: many who read, or one who writes.
//!
//! | file | idea |
//! |---|---|
//! | [`raw`] | the protocol: who is inside, who waits, who is let in |
//! | [`data`] | the data, and the ways to lock |

#[cfg(not(loom))]
mod data;
#[cfg(all(test, loom))]
mod models;
pub(crate) mod raw;

#[cfg(not(loom))]
pub use data::{
    MappedRwLockReadGuard, MappedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockUpgradableReadGuard,
    RwLockWriteGuard,
};
pub use raw::RawRwLock;
