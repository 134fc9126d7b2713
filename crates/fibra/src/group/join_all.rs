//! The results of all, and of the first.

use super::as_completed::{Completed, as_completed};
use crate::cancel::Elapsed;
use crate::spawn::JoinHandle;
use std::thread;
use std::time::{Duration, Instant};

/// Waits for all of them, and returns their results in the order of the handles.
///
/// A panic comes out at its place and disturbs no other. When the caller is asked to stop while it waits it unwinds, and the handles are dropped: what they stand for runs
/// on. To have it end with the caller, start it in a [`scope`](crate::scope()).
///
/// ```
/// fibra::run(|| {
///     let squares = (1..=3).map(|n| fibra::spawn(move || n * n));
///     let squares: Vec<u32> = fibra::join_all(squares).into_iter().map(|square| square.unwrap()).collect();
///     assert_eq!(squares, [1, 4, 9]);
/// });
/// ```
///
/// # Panics
/// When one of the handles is the caller's own.
pub fn join_all<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<thread::Result<T>> {
    // Collected first: what is lazy is started before the first is waited for.
    let handles: Vec<_> = handles.into_iter().collect();
    handles.into_iter().map(JoinHandle::join).collect()
}

/// What [`JoinHandle::join_timeout`] returns: the result, or the handle of one that has not ended.
pub type Joined<T> = Result<thread::Result<T>, JoinHandle<T>>;

/// Waits for all of them for at most `timeout`.
///
/// ```
/// use std::time::Duration;
///
/// fibra::simulation::run(|| {
///     let naps = [1, 60, 2].map(|seconds| fibra::spawn(move || fibra::sleep(Duration::from_secs(seconds))));
///     let naps = fibra::join_all_timeout(naps, Duration::from_secs(5)).unwrap_err();
///     // Each is what `join_timeout` would have returned.
///     let [Ok(Ok(())), Err(long), Ok(Ok(()))] = &naps[..] else { panic!("{naps:?}") };
///     long.cancel();
/// });
/// ```
///
/// # Errors
/// When not all have ended by then: in the order of the handles, the result of each that has, and else its handle.
///
/// # Panics
/// As [`join_all`].
pub fn join_all_timeout<T>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    timeout: Duration,
) -> Result<Vec<thread::Result<T>>, Vec<Joined<T>>> {
    let deadline = crate::time::deadline(timeout);
    let handles: Vec<_> = handles.into_iter().collect();
    let mut late = false;
    let joined: Vec<_> = handles
        .into_iter()
        .map(|handle| {
            // When the time is up it is enough to look.
            if late && !handle.is_finished() {
                return Err(handle);
            }
            let joined = handle.join_until(deadline);
            late |= joined.is_err();
            joined
        })
        .collect();
    if late { Err(joined) } else { Ok(joined.into_iter().flatten().collect()) }
}

/// What [`first_of`] has found.
#[derive(Debug)]
pub struct First<T> {
    /// The place of the one that has ended, among the handles that were given.
    pub index: usize,
    /// Its result.
    pub result: thread::Result<T>,
    /// The other handles, in their order. Some of them may have ended as well; to drop them is to let them run on.
    pub others: Vec<JoinHandle<T>>,
}

/// Waits for the first of them that ends, be it with a panic.
///
/// The others are left alone, and their handles come back: for the next round, to be cancelled, or to be dropped. Of several that have ended
/// already it is the first in the list.
///
/// ```
/// use std::time::Duration;
///
/// fibra::simulation::run(|| {
///     let mirrors = [30, 10, 20].map(|seconds| {
///         fibra::spawn(move || {
///             fibra::sleep(Duration::from_secs(seconds));
///             seconds
///         })
///     });
///     let first = fibra::first_of(mirrors);
///     assert_eq!((first.index, first.result.unwrap()), (1, 10));
///     first.others.iter().for_each(fibra::JoinHandle::cancel);
/// });
/// ```
///
/// # Panics
/// Without handles there is nothing to wait for; and when one of them is the caller's own.
pub fn first_of<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> First<T> {
    match first_until(handles, None) {
        Ok(first) => first,
        Err(_) => unreachable!("there is no deadline"),
    }
}

/// The same for at most `timeout`.
///
/// # Errors
/// All the handles, when none of them has ended by then.
///
/// # Panics
/// As [`first_of`].
pub fn first_of_timeout<T>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    timeout: Duration,
) -> Result<First<T>, Vec<JoinHandle<T>>> {
    first_until(handles, crate::time::deadline(timeout))
}

fn first_until<T>(
    handles: impl IntoIterator<Item = JoinHandle<T>>,
    deadline: Option<Instant>,
) -> Result<First<T>, Vec<JoinHandle<T>>> {
    let mut ending = as_completed(handles);
    assert!(ending.len() > 0, "the first of none would be waited for for ever");
    match ending.next_until(deadline) {
        Ok(Some(Completed { index, result })) => Ok(First { index, result, others: ending.into_pending() }),
        Ok(None) => unreachable!("there is one"),
        Err(Elapsed) => Err(ending.into_pending()),
    }
}
