//! Results in the order in which they come.

use super::ends::Ends;
use crate::cancel::Elapsed;
use crate::scheduler::watchers::WatchKey;
use crate::spawn::JoinHandle;
use std::fmt;
use std::iter::FusedIterator;
use std::thread;
use std::time::{Duration, Instant};

/// The results of these handles in the order in which they end; those that have ended already come first, in the order of the handles.
///
/// ```
/// use std::time::Duration;
///
/// fibra::simulation::run(|| {
///     let naps = [30, 10, 20].map(|seconds| fibra::spawn(move || fibra::sleep(Duration::from_secs(seconds))));
///     let order: Vec<usize> = fibra::as_completed(naps).map(|nap| nap.index).collect();
///     assert_eq!(order, [1, 2, 0]);
/// });
/// ```
///
/// # Panics
/// When one of the handles is the caller's own.
pub fn as_completed<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> AsCompleted<T> {
    let ends = Ends::new();
    // Collected first: what is lazy is started before anybody is watched.
    let handles: Vec<_> = handles.into_iter().collect();
    let mut ending = AsCompleted { left: handles.len(), ends, watched: Vec::with_capacity(handles.len()) };
    for (index, handle) in handles.into_iter().enumerate() {
        let key = ending.ends.watch(&handle, index);
        ending.watched.push(Some((handle, key)));
    }
    ending
}

/// The iterator of [`as_completed`].
///
/// A call of [`next`](Iterator::next) that is ended by a request to stop loses nothing: the next call goes on. To drop the iterator is to drop the handles that are left.
pub struct AsCompleted<T> {
    /// By index; none for those that have come out.
    watched: Vec<Option<(JoinHandle<T>, Option<WatchKey>)>>,
    ends: Ends,
    left: usize,
}

/// One that has ended.
#[derive(Debug)]
pub struct Completed<T> {
    /// Its place among the handles that were given.
    pub index: usize,
    /// Its result, or the payload of its panic.
    pub result: thread::Result<T>,
}

impl<T> AsCompleted<T> {
    /// The next one, if it comes within `timeout`; none when all have come.
    ///
    /// For a limit on all together use [`next_deadline`](Self::next_deadline), or [`fibra::timeout`](crate::timeout()) around the loop.
    ///
    /// # Errors
    /// [`Elapsed`] when the time is up. The iterator can be used further.
    pub fn next_timeout(&mut self, timeout: Duration) -> Result<Option<Completed<T>>, Elapsed> {
        self.next_until(crate::time::deadline(timeout))
    }

    /// The next one, if it comes until `deadline`; none when all have come.
    ///
    /// # Errors
    /// As [`next_timeout`](Self::next_timeout).
    pub fn next_deadline(&mut self, deadline: Instant) -> Result<Option<Completed<T>>, Elapsed> {
        self.next_until(Some(deadline))
    }

    pub(super) fn next_until(&mut self, deadline: Option<Instant>) -> Result<Option<Completed<T>>, Elapsed> {
        if self.left == 0 {
            return Ok(None);
        }
        let index = self.ends.next(deadline).ok_or(Elapsed)?.index;
        let (handle, _) = self.watched[index].take().expect("each ends once");
        self.left -= 1;
        // It has ended, so this does not wait.
        Ok(Some(Completed { index, result: handle.join() }))
    }

    /// The handles that have not come out, in their order.
    pub fn into_pending(mut self) -> Vec<JoinHandle<T>> {
        self.forget().collect()
    }

    /// Those that are left are not watched any more.
    fn forget(&mut self) -> impl Iterator<Item = JoinHandle<T>> + use<T> {
        self.left = 0;
        std::mem::take(&mut self.watched).into_iter().flatten().map(|(handle, key)| {
            // Whether it comes back or is called: it is the inbox's, which nobody reads any more.
            drop(key.and_then(|key| handle.unwatch(key)));
            handle
        })
    }
}

impl<T> Iterator for AsCompleted<T> {
    type Item = Completed<T>;

    fn next(&mut self) -> Option<Completed<T>> {
        self.next_until(None).expect("there is no deadline")
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T> ExactSizeIterator for AsCompleted<T> {}

impl<T> FusedIterator for AsCompleted<T> {}

impl<T> Drop for AsCompleted<T> {
    fn drop(&mut self) {
        self.forget().for_each(drop);
    }
}

impl<T> fmt::Debug for AsCompleted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsCompleted").field("left", &self.left).finish_non_exhaustive()
    }
}
