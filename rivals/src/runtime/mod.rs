//! The runtimes, each behind the few words the measurements need. Those in which code blocks (fibra, may, threads)
//! share [`Blocking`], so that each of them is given the very same program; asynchronous ones get a program of the same
//! shape beside it, in the measurement's own file.
//!
//! Everything runs on one worker, unless its name says two.

#[cfg(feature = "fibra")]
mod fibra;
mod may;
mod thread;
mod tokio;
mod uring;

use std::time::Duration;

#[cfg(feature = "fibra")]
pub(crate) use self::fibra::{Fibra, FibraTwo};
pub(crate) use self::may::{May, MayTwo};
pub(crate) use self::thread::Thread;
pub(crate) use self::tokio::Tokio;
pub(crate) use self::uring::ring;
use crate::process::kernel_setting;
use crate::rival::Rival;

/// A runtime whose tasks block: they have a stack, and the vocabulary of threads.
pub(crate) trait Blocking: 'static {
    /// Another task, to be woken.
    type Handle: Clone + Send + 'static;
    /// What [`Blocking::join`] waits for; dropping it lets the task go on alone.
    type Join;

    /// Starts the runtime, runs `main` as a task of it, and returns what it returned.
    fn run<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> T;
    fn spawn(task: impl FnOnce() + Send + 'static) -> Self::Join;
    fn join(task: Self::Join);
    fn yield_now();
    fn park();
    fn park_timeout(timeout: Duration);
    fn sleep(duration: Duration);
    fn current() -> Self::Handle;
    fn unpark(handle: &Self::Handle);
}

/// The most tasks that can be alive at once, when the system's settings allow fewer than `wanted`.
pub(crate) fn at_most_alive(rival: Rival, wanted: usize) -> usize {
    let most = match rival {
        // A stack is two mappings: itself and its guard page. Some are kept back for everything else.
        Rival::May => kernel_setting("vm/max_map_count").map(|mappings| mappings.saturating_sub(4_000) / 2),
        // A thread more is a kernel object more; ten thousand tell the cost of one.
        Rival::Thread => Some(10_000),
        _ => None,
    };
    most.map_or(wanted, |most| wanted.min(most))
}
