//! Queues and channels between contexts: coroutines of one worker, of several, OS threads, and any mix of them.
//!
//! | | what goes through it |
//! |---|---|
//! | [`Queue`] | items, in order, each to one of many getters; bounded or not, or [`rendezvous`](QueueBy::rendezvous) |
//! | [`LifoQueue`] | the same, the last one first |
//! | [`PriorityQueue`] | the same, the greatest one first |
//! | [`oneshot`] | one item |
//! | [`broadcast`] | items, in order, each to every receiver |
//! | [`watch`] | the latest value of something that changes |
//!
//! [`select()`] waits for the first of several of them, and of other things.
//!
//! A bounded queue is how a fast producer is held to its consumers' pace: it waits while the queue is full.
//!
//! ```
//! use fibra::queue::{Queue, Shutdown};
//!
//! let queue = Queue::bounded(2);
//! fibra::scope(|scope| {
//!     let sum = scope.spawn(|| queue.iter().sum::<u32>());
//!     for number in 1..=100 {
//!         queue.put(number).unwrap();
//!     }
//!     queue.shutdown(Shutdown::Drain);
//!     assert_eq!(sum.join().unwrap(), 5050);
//! });
//! ```

mod accounting;
mod arms;
pub mod broadcast;
mod by_order;
mod error;
mod heap;
mod join;
#[cfg(all(test, loom))]
mod models;
pub mod oneshot;
mod order;
pub(crate) mod select;
mod select_macro;
pub mod watch;
pub(crate) mod when;

pub use accounting::Shutdown;
pub use arms::{Get, Put, Timer, after, at};
pub use by_order::{Iter, LifoQueue, PriorityQueue, Queue, QueueBy};
pub use error::{ExtraTaskDone, GetError, PutError};
pub use join::Join;
pub use order::{Fifo, Lifo, Order, Priority};
pub use select::{Selectable, select, select_deadline, select_timeout, try_select};
pub use when::When;
