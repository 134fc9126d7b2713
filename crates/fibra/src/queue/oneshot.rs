//! One item, from one context to another: a request's answer, a result.
//!
//! The [`Sender`] is used up by sending, which never waits. Who comes too late is told: the sender gets its item back when the receiver is gone, and the receiver learns that the
//! sender is gone. The errors are those of [`std::sync::mpsc`].
//!
//! ```
//! use fibra::queue::{Queue, oneshot};
//!
//! fibra::run(|| {
//!     let requests = Queue::bounded(8);
//!     fibra::scope(|scope| {
//!         let server = scope.spawn(|| {
//!             let (number, answer): (u32, oneshot::Sender<u32>) = requests.get().unwrap();
//!             answer.send(number * number).unwrap();
//!         });
//!         let (sender, receiver) = oneshot::channel();
//!         requests.put((12, sender)).unwrap();
//!         assert_eq!(receiver.recv(), Ok(144));
//!         server.join().unwrap();
//!     });
//! });
//! ```

use super::by_order::Patience;
use super::when::{Source, When, receive, wake_all};
use crate::sync::wait_list::WaitLists;
use std::fmt;
use std::sync::Arc;
pub use std::sync::mpsc::{RecvError, RecvTimeoutError, SendError, TryRecvError};
use std::time::{Duration, Instant};

/// A channel for one item.
pub fn channel<T>() -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(WaitLists::new(State { item: None, sender: true, receiver: true }));
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

/// What is behind the lock. Out of reach: the arm's type names it, and nobody else can.
#[doc(hidden)]
pub struct State<T> {
    item: Option<T>,
    /// The sender is there, and has not sent.
    sender: bool,
    /// The receiver is there.
    receiver: bool,
}

/// To send the item.
pub struct Sender<T>(Arc<WaitLists<State<T>>>);

/// To receive the item.
pub struct Receiver<T>(Arc<WaitLists<State<T>>>);

impl<T> Sender<T> {
    /// Sends the item. Does not wait.
    ///
    /// # Errors
    /// The receiver is gone; the item is in the error. It may also go afterwards, and drops the item then.
    ///
    /// ```
    /// use fibra::queue::oneshot::{self, SendError};
    ///
    /// let (sender, receiver) = oneshot::channel();
    /// drop(receiver);
    /// assert!(sender.is_closed());
    /// assert_eq!(sender.send("late"), Err(SendError("late")));
    /// ```
    pub fn send(self, item: T) -> Result<(), SendError<T>> {
        let mut locked = self.0.lock();
        if !locked.receiver {
            return Err(SendError(item));
        }
        locked.item = Some(item);
        locked.sender = false;
        // What is left of the sender goes now, and wakes the receiver.
        Ok(())
    }

    /// Whether the receiver is gone, so that nobody wants the item any more.
    pub fn is_closed(&self) -> bool {
        !self.0.lock().receiver
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
    /// Waits for the item.
    ///
    /// # Errors
    /// The sender is gone, and has sent nothing (or the item was received already, by another method).
    pub fn recv(mut self) -> Result<T, RecvError> {
        receive(&mut self, Patience::Endless).expect("there is no deadline")
    }

    /// Receives the item if it is there.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] when it has not been sent; [`TryRecvError::Disconnected`] as with [`recv`](Self::recv).
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        match receive(self, Patience::None) {
            Some(received) => received.map_err(|RecvError| TryRecvError::Disconnected),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Waits for the item for at most `timeout`.
    ///
    /// # Errors
    /// [`RecvTimeoutError::Timeout`] when it was not sent in that time: it can still be waited for. [`RecvTimeoutError::Disconnected`] as with [`recv`](Self::recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvTimeoutError> {
        self.recv_by(Patience::For(timeout))
    }

    /// Waits for the item until `deadline` at most.
    ///
    /// # Errors
    /// As [`recv_timeout`](Self::recv_timeout).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvTimeoutError> {
        self.recv_by(Patience::Until(deadline))
    }

    /// To receive the item, as an arm of [`select`](super::select()). Its outcome is what [`recv`](Self::recv) would return.
    ///
    /// ```
    /// use fibra::queue::{after, oneshot};
    /// use std::time::Duration;
    ///
    /// let (sender, mut answer) = oneshot::channel();
    /// sender.send(42).unwrap();
    /// let answer = fibra::select! {
    ///     answer = answer.select_recv() => answer.ok(),
    ///     _ = after(Duration::from_secs(1)) => None,
    /// };
    /// assert_eq!(answer, Some(42));
    /// ```
    pub fn select_recv(&mut self) -> Recv<'_, T> {
        When::new(self)
    }

    fn recv_by(&mut self, patience: Patience) -> Result<T, RecvTimeoutError> {
        match receive(self, patience) {
            Some(received) => received.map_err(|RecvError| RecvTimeoutError::Disconnected),
            None => Err(RecvTimeoutError::Timeout),
        }
    }
}

/// To receive, as an arm of [`select`](super::select()): see [`Receiver::select_recv`].
pub type Recv<'a, T> = When<&'a mut Receiver<T>>;

impl<T> Source for Receiver<T> {
    type State = State<T>;
    type Outcome = Result<T, RecvError>;

    fn lists(&self) -> &WaitLists<State<T>> {
        &self.0
    }

    fn is_ready(&self, state: &State<T>) -> bool {
        state.item.is_some() || !state.sender
    }

    fn try_take(&mut self) -> Option<Result<T, RecvError>> {
        let mut locked = self.0.lock();
        match locked.item.take() {
            Some(item) => Some(Ok(item)),
            None if locked.sender => None,
            None => Some(Err(RecvError)),
        }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut locked = self.0.lock();
        locked.receiver = false;
        let item = locked.item.take();
        drop(locked);
        // Its destructor runs without the lock.
        drop(item);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender").field("closed", &self.is_closed()).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ready = self.is_ready(&self.0.lock());
        f.debug_struct("Receiver").field("ready", &ready).finish_non_exhaustive()
    }
}
