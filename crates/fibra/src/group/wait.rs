//! Waiting for some or all of several to end, without taking their results.

use super::ends::Ends;
use crate::scheduler::watchers::{Outcome, WatchKey};
use crate::spawn::JoinHandle;
use std::borrow::Borrow;
use std::time::{Duration, Instant};

/// What [`wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitFor {
    /// The first end, whichever it is.
    First,
    /// The first panic; or, if there is none, the end of all. One that is cancelled does not count as a panic, for somebody wanted that.
    FirstError,
    /// The end of all.
    All,
}

/// Waits until so much of it is over, for at most `timeout` if there is one; returns those that have ended, and those that have not, each in their order.
///
/// It takes the handles, or only borrows them; so they come back as handles or as references. When the caller is asked to stop while it waits, handles that it has given
/// away are dropped, and what they stand for runs on; those that were borrowed are as they were. Without handles it does not wait.
///
/// ```
/// use fibra::group::{WaitFor, wait};
/// use std::time::Duration;
///
/// fibra::simulation::run(|| {
///     let naps = [1, 60, 2].map(|seconds| fibra::spawn(move || fibra::sleep(Duration::from_secs(seconds))));
///     let (done, pending) = wait(&naps, WaitFor::First, None);
///     assert_eq!((done.len(), pending.len()), (1, 2));
///     let (done, pending) = wait(naps, WaitFor::All, Some(Duration::from_secs(5)));
///     assert_eq!((done.len(), pending.len()), (2, 1));
///     pending.iter().for_each(fibra::JoinHandle::cancel);
/// });
/// ```
///
/// # Panics
/// When one of the handles is the caller's own.
pub fn wait<T, H>(
    handles: impl IntoIterator<Item = H>,
    until: WaitFor,
    timeout: Option<Duration>,
) -> (Vec<H>, Vec<H>)
where
    H: Borrow<JoinHandle<T>>,
{
    let handles: Vec<H> = handles.into_iter().collect();
    Watching::new(handles.iter().map(Borrow::borrow)).wait(until, timeout.and_then(crate::time::deadline));
    handles.into_iter().partition(|handle| handle.borrow().is_finished())
}

/// Handles that are watched until this is dropped.
struct Watching<'a, T> {
    ends: Ends,
    keys: Vec<(&'a JoinHandle<T>, Option<WatchKey>)>,
}

impl<'a, T> Watching<'a, T> {
    fn new(handles: impl Iterator<Item = &'a JoinHandle<T>>) -> Watching<'a, T>
    where
        T: 'a,
    {
        let mut watching = Watching { ends: Ends::new(), keys: Vec::new() };
        for (index, handle) in handles.enumerate() {
            let key = watching.ends.watch(handle, index);
            watching.keys.push((handle, key));
        }
        watching
    }

    fn wait(&self, until: WaitFor, deadline: Option<Instant>) {
        for _ in &self.keys {
            let Some(end) = self.ends.next(deadline) else { return };
            match until {
                WaitFor::First => return,
                WaitFor::FirstError if end.outcome == Outcome::Panicked => return,
                WaitFor::FirstError | WaitFor::All => {}
            }
        }
    }
}

impl<T> Drop for Watching<'_, T> {
    fn drop(&mut self) {
        for (handle, key) in self.keys.drain(..) {
            drop(key.and_then(|key| handle.unwatch(key)));
        }
    }
}
