//! The end of a coroutine, as an arm of [`select`](super::select()).
//!
//! The arm is one more [watcher](crate::scheduler::watchers) of the task: who else watches it, or joins it later, is not disturbed. The task tells it through a flag and a list of
//! waiters that the arm and its callback share. So a callback that comes late, when the arm is gone, finds what it needs, and nobody.

use super::when::{Source, When, wake_all};
use crate::scheduler::park;
use crate::scheduler::watchers::WatchKey;
use crate::spawn::JoinHandle;
use crate::sync::wait_list::WaitLists;
use std::sync::Arc;

impl<T> JoinHandle<T> {
    /// The end of the coroutine, as an arm of [`select`](crate::queue::select()). When it was chosen, [`join`](Self::join) does not wait.
    ///
    /// ```
    /// use fibra::queue::after;
    /// use std::time::Duration;
    ///
    /// fibra::run(|| {
    ///     let work = fibra::spawn(|| 6 * 7);
    ///     let in_time = fibra::select! {
    ///         () = work.select_join() => true,
    ///         () = after(Duration::from_secs(60)) => false,
    ///     };
    ///     assert!(in_time);
    ///     assert_eq!(work.join().unwrap(), 42);
    /// });
    /// ```
    ///
    /// # Panics
    /// When the coroutine is to wait for its own end.
    pub fn select_join(&self) -> Join<'_, T> {
        When::new(End { handle: self, watch: None })
    }
}

/// The end of a coroutine, as an arm of [`select`](crate::queue::select()): see [`JoinHandle::select_join`].
pub type Join<'a, T> = When<End<'a, T>>;

/// The end of a coroutine.
pub struct End<'a, T> {
    handle: &'a JoinHandle<T>,
    /// Since when the arm has waited for the first time.
    watch: Option<Watch>,
}

struct Watch {
    /// Whether the task has ended, and told so.
    told: Arc<WaitLists<bool>>,
    /// None if it had ended before.
    key: Option<WatchKey>,
}

impl<T> Source for End<'_, T> {
    type State = bool;
    type Outcome = ();

    fn lists(&self) -> &WaitLists<bool> {
        &self.watch.as_ref().expect("it was prepared").told
    }

    fn is_ready(&self, told: &bool) -> bool {
        *told || self.handle.is_finished()
    }

    fn try_take(&mut self) -> Option<()> {
        self.handle.is_finished().then_some(())
    }

    fn prepare(&mut self) {
        assert!(park::token() != self.handle.task().ptr().token(), "a context cannot join itself");
        if self.watch.is_none() {
            let told = Arc::new(WaitLists::new(false));
            let tell = Arc::clone(&told);
            let watched = self.handle.watch(Box::new(move |_| {
                let mut locked = tell.lock();
                *locked = true;
                wake_all(&mut locked);
            }));
            self.watch = Some(Watch { told, key: watched.ok() });
        }
    }
}

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        if let Some(key) = self.watch.as_ref().and_then(|watch| watch.key) {
            let callback = self.handle.unwatch(key);
            drop(callback);
        }
    }
}
