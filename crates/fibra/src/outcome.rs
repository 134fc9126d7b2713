//! A handle by which one is told: done callbacks, and [`JoinHandle`] as a `Future`.
//!
//! `join` waits; here somebody is told instead, whoever ends the coroutine does that. How is in [`scheduler::watchers`](crate::scheduler::watchers).

use crate::scheduler::task::tell;
use crate::scheduler::watchers::{Callback, Outcome, WatchKey};
use crate::spawn::JoinHandle;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread;

impl<T> JoinHandle<T> {
    /// Has `callback` called when the coroutine has ended, once, with how it ended. Its result can be joined then. When it has ended
    /// already, the callback is called here and now.
    ///
    /// Else the coroutine itself calls it, last of all and on its own stack, in the order in which callbacks were added. So it should be
    /// short; it may wait, and then no request to stop ends that. A panic in it is reported as all panics are, and disturbs neither the other callbacks
    /// nor anybody else. It is called, too, when the handle has been dropped meanwhile.
    ///
    /// ```
    /// use fibra::Outcome;
    /// use std::sync::mpsc;
    ///
    /// fibra::run(|| {
    ///     let (tell, told) = mpsc::channel();
    ///     let handle = fibra::spawn(|| 2 + 2);
    ///     handle.on_done(move |outcome| tell.send(outcome).unwrap());
    ///     assert_eq!(handle.join().unwrap(), 4);
    ///     // `join` may return a moment before.
    ///     let outcome = fibra::spawn_blocking(move || told.recv()).join().unwrap();
    ///     assert_eq!(outcome, Ok(Outcome::Returned));
    /// });
    /// ```
    pub fn on_done(&self, callback: impl FnOnce(Outcome) + Send + 'static) {
        if let Err((callback, outcome)) = self.watch(Box::new(callback)) {
            tell(callback, outcome);
        }
    }

    /// How the coroutine has ended; none as long as it has not.
    ///
    /// ```
    /// fibra::run(|| {
    ///     let idle = fibra::spawn(fibra::park);
    ///     assert_eq!(idle.outcome(), None);
    ///     idle.cancel();
    ///     while !idle.is_finished() {
    ///         fibra::yield_now();
    ///     }
    ///     assert_eq!(idle.outcome(), Some(fibra::Outcome::Cancelled));
    /// });
    /// ```
    pub fn outcome(&self) -> Option<Outcome> {
        self.task().header().outcome()
    }

    /// For the library's own use: the callback must neither wait nor panic. It is given back when the coroutine has ended.
    pub(crate) fn watch(&self, callback: Callback) -> Result<WatchKey, (Callback, Outcome)> {
        let header = self.task().header();
        header.watch(callback).map_err(|callback| {
            let outcome = header.outcome().expect("callbacks are given back by those that have ended");
            (callback, outcome)
        })
    }

    /// Takes a callback back; none when it has been called, or will be.
    pub(crate) fn unwatch(&self, key: WatchKey) -> Option<Callback> {
        self.task().header().unwatch(key)
    }
}

impl<T> Unpin for JoinHandle<T> {}

/// Waits by a waker, in any executor. A handle that was polled can still be joined; one that was ready has given its result away.
///
/// # Panics
/// When it is polled, or joined, after it was ready.
impl<T> Future for JoinHandle<T> {
    type Output = thread::Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<thread::Result<T>> {
        self.poll_result(context.waker())
    }
}
