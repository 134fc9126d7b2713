//! Reaching a loop from other threads, also when it sleeps.
//!
//! ```text
//!  any thread                                     the loop's thread
//!  1  push into the letters (under their lock)    a  rung = false
//!  2  was rung false, and is true now?            b  take the letters (under their lock)
//!     ── write the eventfd                        c  call them; wait
//! ```
//!
//! No letter is left behind: if it was pushed before b took the lock it is taken there. If after, then its ring (2) comes after a, finds `rung` false and writes the eventfd, or
//! finds that another who came after a has done so; and a write ends the loop's wait, or its next one. So a storm of a million costs one write for each time that the
//! loop looks.

use super::EventLoop;
use crate::scheduler::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};
#[cfg(all(test, loom))]
mod models;

use super::slots::Id;
use fibra_driver::Notifier;
use std::collections::VecDeque;
use std::fmt;
use std::panic::Location;
use std::sync::{Arc, PoisonError};

/// A closure from another thread, and where it comes from.
pub(super) type Letter<D> = (Box<dyn FnOnce(&mut EventLoop<D>) + Send>, &'static Location<'static>);

/// What wakes a loop.
pub(super) struct Bell {
    notifier: Notifier,
    rung: AtomicBool,
    /// Handles by which something could still come.
    ringers: AtomicUsize,
    closed: AtomicBool,
    /// Watchers that have been called.
    woken: Mutex<Vec<Id>>,
}

impl Bell {
    fn new(notifier: Notifier) -> Bell {
        Bell {
            notifier,
            rung: AtomicBool::new(false),
            ringers: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            woken: Mutex::default(),
        }
    }

    fn ring(&self) {
        if !self.rung.swap(true, Ordering::SeqCst) {
            self.notifier.notify();
        }
    }

    pub(super) fn has_rung(&self) -> bool {
        self.rung.load(Ordering::SeqCst)
    }
}

/// What a loop shares with its handles.
pub(super) struct Shared<D> {
    pub(super) bell: Arc<Bell>,
    letters: Mutex<VecDeque<Letter<D>>>,
}

impl<D> Shared<D> {
    pub(super) fn new(notifier: Notifier) -> Arc<Shared<D>> {
        Arc::new(Shared { bell: Arc::new(Bell::new(notifier)), letters: Mutex::default() })
    }

    fn letters(&self) -> MutexGuard<'_, VecDeque<Letter<D>>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody could still ring.
    pub(super) fn has_ringers(&self) -> bool {
        self.bell.ringers.load(Ordering::SeqCst) > 0
    }

    /// Steps a and b.
    pub(super) fn take(&self, letters: &mut VecDeque<Letter<D>>, woken: &mut Vec<Id>) {
        self.bell.rung.store(false, Ordering::SeqCst);
        letters.append(&mut self.letters());
        woken.append(&mut self.bell.woken.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The loop is gone: nothing is taken any more.
    pub(super) fn close(&self) {
        self.bell.closed.store(true, Ordering::SeqCst);
        // Who looks at the flag does so under the lock, so none comes after this. They are dropped outside of it.
        let letters = std::mem::take(&mut *self.letters());
        drop(letters);
    }
}

/// The loop that a [`Remote`] belongs to is gone. The closure comes back.
pub struct Closed<F>(pub F);

impl<F> fmt::Debug for Closed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closed(..)")
    }
}

impl<F> fmt::Display for Closed<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the event loop is gone")
    }
}

impl<F> std::error::Error for Closed<F> {}

/// A loop, seen from other threads: hands it closures, and wakes it if it sleeps.
///
/// As long as there is one the loop has something to wait for, so [`run`](EventLoop::run) does not return by itself.
///
/// ```
/// use fibra::event_loop::EventLoop;
///
/// let mut events = EventLoop::with_data(0)?;
/// let remote = events.remote();
/// let thread = std::thread::spawn(move || {
///     for n in 1..=10 {
///         remote.call_soon(move |events| events.data += n).unwrap();
///     }
/// });
/// events.run()?;
/// assert_eq!(events.data, 55);
/// # thread.join().unwrap();
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Remote<D = ()> {
    shared: Arc<Shared<D>>,
}

impl<D> Remote<D> {
    pub(super) fn new(shared: &Arc<Shared<D>>) -> Remote<D> {
        shared.bell.ringers.fetch_add(1, Ordering::SeqCst);
        Remote { shared: Arc::clone(shared) }
    }

    /// Has the loop call `f`, after what it was given before. What one thread hands over is called in that order. (`call_soon_threadsafe`, in Python.)
    ///
    /// # Errors
    /// When the loop has been dropped. If it is dropped afterwards, `f` is dropped with it.
    #[track_caller]
    pub fn call_soon<F>(&self, f: F) -> Result<(), Closed<F>>
    where
        F: FnOnce(&mut EventLoop<D>) + Send + 'static,
    {
        {
            let mut letters = self.shared.letters();
            if self.shared.bell.closed.load(Ordering::SeqCst) {
                return Err(Closed(f));
            }
            letters.push_back((Box::new(f), Location::caller()));
        }
        self.shared.bell.ring();
        Ok(())
    }

    /// [Stops](EventLoop::stop) the loop.
    pub fn stop(&self) {
        // A loop that is gone has stopped.
        let _ = self.call_soon(|events| events.stop());
    }
}

impl<D> Clone for Remote<D> {
    fn clone(&self) -> Remote<D> {
        Remote::new(&self.shared)
    }
}

impl<D> Drop for Remote<D> {
    fn drop(&mut self) {
        if self.shared.bell.ringers.fetch_sub(1, Ordering::SeqCst) == 1 {
            // It may have nothing to wait for now.
            self.shared.bell.ring();
        }
    }
}

impl<D> fmt::Debug for Remote<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = self.shared.bell.closed.load(Ordering::SeqCst);
        f.debug_struct("Remote").field("closed", &closed).finish_non_exhaustive()
    }
}

/// Calls a watcher of [`EventLoop::on_wake`] from any thread.
///
/// As long as there is one for a watcher that has not been cancelled the loop has something to wait for.
pub struct Waker(Arc<Flag>);

/// What the wakers of one watcher share with it.
pub(super) struct Flag {
    raised: AtomicBool,
    /// How many wakers there are.
    wakers: AtomicUsize,
    id: Id,
    bell: Arc<Bell>,
}

impl Flag {
    pub(super) fn new(id: Id, bell: &Arc<Bell>) -> Arc<Flag> {
        let (raised, wakers) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Flag { raised, wakers, id, bell: Arc::clone(bell) })
    }

    /// The watcher is about to be called: from here on calls count anew.
    pub(super) fn lower(&self) {
        // An exchange, since a waker that finds the flag raised says no more: what it did before is seen by the callback.
        self.raised.swap(false, Ordering::SeqCst);
    }

    pub(super) fn has_wakers(&self) -> bool {
        self.wakers.load(Ordering::SeqCst) > 0
    }
}

impl Waker {
    pub(super) fn new(flag: &Arc<Flag>) -> Waker {
        flag.wakers.fetch_add(1, Ordering::SeqCst);
        Waker(Arc::clone(flag))
    }

    /// Has the watcher called, once for all the calls since it was called last. Costs one atomic exchange while it has not been.
    pub fn wake(&self) {
        if !self.0.raised.swap(true, Ordering::SeqCst) {
            self.0.bell.woken.lock().unwrap_or_else(PoisonError::into_inner).push(self.0.id);
            self.0.bell.ring();
        }
    }
}

impl Clone for Waker {
    fn clone(&self) -> Waker {
        Waker::new(&self.0)
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        if self.0.wakers.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.bell.ring();
        }
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waker").field("raised", &self.0.raised.load(Ordering::SeqCst)).finish_non_exhaustive()
    }
}
