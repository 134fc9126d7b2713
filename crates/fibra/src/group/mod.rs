//! Several at once: waiting for them, counting them, bounding them, and sharing what there are few of.
//!
//! | | |
//! |---|---|
//! | [`join_all`], [`join_all_timeout`] | the results of all |
//! | [`first_of`], [`first_of_timeout`] | the result of the first, and the other handles |
//! | [`as_completed`] | the results as they come |
//! | [`wait`] | who has ended, and who has not |
//! | [`Group`] | contexts that are counted, waited for and cancelled together |
//! | [`Pool`] | at most so many coroutines at a time; [`map`](Pool::map), [`imap`](Pool::imap) |
//! | [`ResourcePool`] | at most so many connections, or whatever else is worth keeping |
//!
//! Handles may be those of coroutines, of [threads](crate::thread) and of jobs of [`spawn_blocking`](crate::spawn_blocking), in any mix; and everything here can be
//! called by a coroutine and by an OS thread. Each wait is ended by what ends waits ([`timeout`](crate::timeout()), [`JoinHandle::cancel`](crate::JoinHandle::cancel), a
//! [`Stop`](crate::Stop)), and leaves nothing behind then: no place that is taken, nothing in a line.
//!
//! For children that borrow from their parent, and must not outlive it, there is [`scope`](crate::scope()).
//!
//! # Work that nobody waits for
//! A call that needs no answer is detached: the log entry, the mail, the cache that is warmed. What there is for it:
//!
//! * **[`spawn`](crate::spawn()), and drop the handle.** The work runs on by itself, and its result is dropped. It is not lost at the end: [`run`](crate::run()) returns when it has
//!   ended, too. A panic in it is reported by the panic hook, as every panic is, though nobody joins it.
//! * **A [daemon](crate::Builder::daemon)**, for what has no end of its own: the runtime's end asks it to stop, and it unwinds. What a daemon starts is a daemon, so
//!   a server that is one says [`daemon(false)`](crate::Builder::daemon) for work that shall be finished.
//! * **[`Pool::spawn`], and drop the handle**, when there may be too much of it: at most so many are under way, and who comes when the pool is full waits, or is told
//!   ([`Pool::try_spawn`], [`Pool::spawn_timeout`]), and can do without.
//! * **[`Group::spawn`], and drop the handle**, when somebody wants to know later that all is done, and whether it went well.
//!
//! ```
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//!
//! static SENT: AtomicU32 = AtomicU32::new(0);
//!
//! fibra::run(|| {
//!     let mails = fibra::Pool::new(2);
//!     for _ in 0..10 {
//!         mails.spawn(|| {
//!             fibra::yield_now(); // The server is asked.
//!             SENT.fetch_add(1, Relaxed);
//!         });
//!     }
//! });
//! assert_eq!(SENT.load(Relaxed), 10, "`run` has waited for them");
//! ```

mod as_completed;
mod ends;
mod imap;
mod join_all;
mod members;
mod pool;
mod resource_pool;
mod wait;

pub use as_completed::{AsCompleted, Completed, as_completed};
pub use imap::Imap;
pub use join_all::{First, Joined, first_of, first_of_timeout, join_all, join_all_timeout};
pub use members::{Failure, Group};
pub use pool::{Pool, PoolFull};
pub use resource_pool::{Pooled, ResourceError, ResourcePool, ResourcePoolBuilder};
pub use wait::{WaitFor, wait};
