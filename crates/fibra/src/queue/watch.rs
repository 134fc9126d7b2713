//! The latest value of something that changes: a configuration, a state, how far something has come.
//!
//! Receivers see the newest value, and may miss those in between; nothing piles up, so sending never waits. A value that was looked at is an
//! [`Arc`]: it stays what it is while newer ones come, and no lock is held meanwhile. The errors are those of [`std::sync::mpsc`].
//!
//! ```
//! use fibra::queue::watch;
//!
//! fibra::run(|| {
//!     let (progress, mut watcher) = watch::channel(0);
//!     let bar = fibra::spawn(move || {
//!         while let Ok(percent) = watcher.changed() {
//!             if *percent == 100 {
//!                 return "done";
//!             }
//!         }
//!         "given up"
//!     });
//!     for percent in 1..=100 {
//!         progress.send(percent).unwrap();
//!         fibra::yield_now();
//!     }
//!     assert_eq!(bar.join().unwrap(), "done");
//! });
//! ```

use super::by_order::Patience;
use super::when::{Source, When, receive, spend, wait, wake_all};
use crate::sync::wait_list::WaitLists;
use std::fmt;
use std::sync::Arc;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use std::time::{Duration, Instant};

/// A channel with a first value, which the receiver has seen.
pub fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let state = State { value: Arc::new(value), version: 0, sender: true, receivers: 1 };
    let shared = Arc::new(WaitLists::new(state));
    (Sender(Arc::clone(&shared)), Receiver { shared, seen: 0 })
}

/// What is behind the lock. Out of reach: the arm's type names it, and nobody else can.
#[doc(hidden)]
pub struct State<T> {
    value: Arc<T>,
    /// How many values there were before.
    version: u64,
    /// The sender is there.
    sender: bool,
    receivers: usize,
}

/// To say what the value is now. It may be shared by reference; when it is dropped the value is the last one.
pub struct Sender<T>(Arc<WaitLists<State<T>>>);

/// To see the value. Each clone has seen what the original has.
pub struct Receiver<T> {
    shared: Arc<WaitLists<State<T>>>,
    /// The version that was seen last.
    seen: u64,
}

impl<T> Sender<T> {
    /// Makes this the value, and tells the receivers.
    ///
    /// # Errors
    /// There is no receiver: the value is as it was, and the new one is in the error.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.put(value, false).map(drop)
    }

    /// Makes this the value, whether or not somebody watches, and returns the one before.
    ///
    /// ```
    /// let (sender, receiver) = fibra::queue::watch::channel("old");
    /// drop(receiver);
    /// assert_eq!(*sender.replace("new"), "old");
    /// assert_eq!(sender.subscribe().get(), "new");
    /// ```
    pub fn replace(&self, value: T) -> Arc<T> {
        self.put(value, true).unwrap_or_else(|_| unreachable!("it is put anyway"))
    }

    /// The value at this moment.
    pub fn borrow(&self) -> Arc<T> {
        Arc::clone(&self.0.lock().value)
    }

    /// Another receiver, which has seen the present value.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut locked = self.0.lock();
        locked.receivers += 1;
        Receiver { shared: Arc::clone(&self.0), seen: locked.version }
    }

    /// How many receivers there are. A snapshot.
    pub fn receivers(&self) -> usize {
        self.0.lock().receivers
    }

    fn put(&self, value: T, anyway: bool) -> Result<Arc<T>, SendError<T>> {
        let value = Arc::new(value);
        let mut locked = self.0.lock();
        if locked.receivers == 0 && !anyway {
            drop(locked);
            return Err(SendError(Arc::into_inner(value).expect("nobody has seen it")));
        }
        // The old one is dropped by the caller, without the lock.
        let old = std::mem::replace(&mut locked.value, value);
        locked.version += 1;
        wake_all(&mut locked);
        drop(locked);
        spend();
        Ok(old)
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut locked = self.0.lock();
        locked.sender = false;
        wake_all(&mut locked);
    }
}

impl<T> Receiver<T> {
    /// The value at this moment. Whether it has been [seen](Self::changed) stays as it is.
    pub fn borrow(&self) -> Arc<T> {
        Arc::clone(&self.shared.lock().value)
    }

    /// A copy of the value at this moment.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        T::clone(&self.borrow())
    }

    /// Waits until there is a value that this receiver has not seen, and returns the newest. The last one is returned also after the sender has gone.
    ///
    /// # Errors
    /// The sender is gone, and its last value has been seen.
    pub fn changed(&mut self) -> Result<Arc<T>, RecvError> {
        receive(self, Patience::Endless).expect("there is no deadline")
    }

    /// The newest value, if this receiver has not seen it.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] when it has seen it; [`TryRecvError::Disconnected`] as with [`changed`](Self::changed).
    pub fn try_changed(&mut self) -> Result<Arc<T>, TryRecvError> {
        match receive(self, Patience::None) {
            Some(changed) => changed.map_err(|RecvError| TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for a new value for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] when none came in that time; [`RecvTimeoutError::Disconnected`] as with [`changed`](Self::changed).
    pub fn changed_timeout(&mut self, timeout: Duration) -> Result<Arc<T>, RecvTimeoutError> {
        self.changed_by(Patience::For(timeout))
    }

    /// Waits for a new value until `deadline` at most.
    ///
    /// # Errors
    /// As [`changed_timeout`](Self::changed_timeout).
    pub fn changed_deadline(&mut self, deadline: Instant) -> Result<Arc<T>, RecvTimeoutError> {
        self.changed_by(Patience::Until(deadline))
    }

    /// Waits until the value is as `wanted` says, which may be at once, and returns it. Values that come in quick succession may not all be looked at;
    /// the newest is.
    ///
    /// `wanted` is called without a lock, and may wait.
    ///
    /// # Errors
    /// The sender is gone, and its last value is not as wanted.
    ///
    /// ```
    /// use fibra::queue::watch;
    ///
    /// fibra::run(|| {
    ///     let (sender, mut receiver) = watch::channel(0);
    ///     let counter = fibra::spawn(move || (1..=10).try_for_each(|count| sender.send(count)));
    ///     assert!(*receiver.wait_for(|&count| count >= 7).unwrap() >= 7);
    ///     assert!(receiver.wait_for(|&count| count > 10).is_err(), "the sender is gone");
    ///     counter.join().unwrap().unwrap();
    /// });
    /// ```
    pub fn wait_for(&mut self, wanted: impl FnMut(&T) -> bool) -> Result<Arc<T>, RecvError> {
        self.wait_for_until(wanted, None).map_err(|_| RecvError)
    }

    /// The same, for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] when the value was not as wanted in that time; [`RecvTimeoutError::Disconnected`] as with [`wait_for`](Self::wait_for).
    pub fn wait_for_timeout(
        &mut self,
        wanted: impl FnMut(&T) -> bool,
        timeout: Duration,
    ) -> Result<Arc<T>, RecvTimeoutError> {
        self.wait_for_until(wanted, crate::time::deadline(timeout))
    }

    /// The same, until `deadline` at most.
    ///
    /// # Errors
    /// As [`wait_for_timeout`](Self::wait_for_timeout).
    pub fn wait_for_deadline(
        &mut self,
        wanted: impl FnMut(&T) -> bool,
        deadline: Instant,
    ) -> Result<Arc<T>, RecvTimeoutError> {
        self.wait_for_until(wanted, Some(deadline))
    }

    /// To see a new value, as an arm of [`select`](super::select()). Its outcome is what [`changed`](Self::changed) would return.
    pub fn select_changed(&mut self) -> Changed<'_, T> {
        When::new(self)
    }

    fn changed_by(&mut self, patience: Patience) -> Result<Arc<T>, RecvTimeoutError> {
        match receive(self, patience) {
            Some(changed) => changed.map_err(|RecvError| RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }

    fn wait_for_until(
        &mut self,
        mut wanted: impl FnMut(&T) -> bool,
        deadline: Option<Instant>,
    ) -> Result<Arc<T>, RecvTimeoutError> {
        loop {
            let locked = self.shared.lock();
            let (value, open) = (Arc::clone(&locked.value), locked.sender);
            self.seen = locked.version;
            drop(locked);
            if wanted(&value) {
                return Ok(value);
            }
            if !open {
                return Err(RecvTimeoutError::Disconnected);
            }
            drop(value);
            if !wait(self, deadline) {
                return Err(RecvTimeoutError::Timeout);
            }
        }
    }
}

/// To see a new value, as an arm of [`select`](super::select()): see [`Receiver::select_changed`].
pub type Changed<'a, T> = When<&'a mut Receiver<T>>;

impl<T> Source for Receiver<T> {
    type State = State<T>;
    type Outcome = Result<Arc<T>, RecvError>;

    fn lists(&self) -> &WaitLists<State<T>> {
        &self.shared
    }

    fn is_ready(&self, state: &State<T>) -> bool {
        state.version != self.seen || !state.sender
    }

    fn try_take(&mut self) -> Option<Result<Arc<T>, RecvError>> {
        let locked = self.shared.lock();
        if locked.version != self.seen {
            self.seen = locked.version;
            return Some(Ok(Arc::clone(&locked.value)));
        }
        (!locked.sender).then_some(Err(RecvError))
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Receiver<T> {
        self.shared.lock().receivers += 1;
        Receiver { shared: Arc::clone(&self.shared), seen: self.seen }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.lock().receivers -= 1;
    }
}

impl<T: fmt::Debug> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("value", &self.borrow()).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("value", &self.borrow()).finish_non_exhaustive()
    }
}
