//! OS threads under the vocabulary of coroutines: for code that blocks for long and knows nothing of fibra, or that computes.
//!
//! ```
//! fibra::run(|| {
//!     let thread = fibra::thread::spawn(|| (1..=20_u64).product::<u64>());
//!     // Parks the coroutine, and not its worker.
//!     assert_eq!(thread.join().unwrap(), 2_432_902_008_176_640_000);
//! });
//! ```
//!
//! The names are std's, and so are the meanings; what is different:
//!
//! | | `std::thread` | here |
//! |---|---|---|
//! | `join` | blocks the thread | parks a coroutine, and blocks a thread |
//! | `park`, `sleep`, `current` | are the thread's | are the running context's, be that a coroutine or a thread |
//! | `cancel` | | [`JoinHandle::cancel`]: the thread unwinds where it waits by fibra's means |
//! | the end | of `main` ends all | the end of the runtime in which it was started waits for it, if it is no [daemon](Builder::daemon) |
//! | task-locals | | those that are [inherited](crate::task_local!) are handed down |
//!
//! A thread belongs to the runtime in which it was started, and so does what it spawns. One that is started outside of any runtime belongs to none: nobody waits for it but who
//! joins it, the end of the process cuts it short, as std's; and what it spawns belongs to the default runtime. In a [simulation](crate::simulation) the time does not jump while a thread
//! works that is no daemon.
//!
//! **The end.** When nothing is left but daemons, [`run`](crate::run()) asks a runtime's daemon threads to stop, as it does daemon coroutines, but does not wait for them: one that
//! computes, or blocks by other means than fibra's, goes on. `join` returns when the closure and its [task-locals](crate::task_local!) are over; the kernel's thread
//! ends a moment later, and runs the destructors of std's thread-locals in between.
//!
//! # Threads that borrow
//! [`Builder::spawn_scoped`] starts a thread in a [`scope`](crate::scope()), beside its coroutines.

mod builder;

pub use crate::context::{Context, current, park, park_timeout, yield_now};
pub use crate::spawn::JoinHandle;
pub use crate::time::{sleep, sleep_until};
pub use builder::Builder;
pub use std::thread::{Result, available_parallelism, panicking};

/// Starts an OS thread that runs `f`, and returns a handle for its result.
///
/// ```
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let thread = fibra::thread::spawn(|| {
///         std::thread::sleep(Duration::from_millis(1)); // blocks nobody else
///         fibra::current().is_coroutine()
///     });
///     assert!(!thread.join().unwrap());
/// });
/// ```
///
/// # Panics
/// When the system has no thread left, as [`std::thread::spawn`] does; [`Builder::spawn`] returns that as an error.
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).unwrap_or_else(|error| panic!("cannot start a thread: {error}"))
}
