//! Items that everybody gets: each receiver sees every item that was sent since it subscribed, in order.
//!
//! ```text
//!            oldest             next
//!              ▼                 ▼
//!      ─ ─ ─ ┌────┬────┬────┬────┐
//!      ─ ─ ─ │ 41 │ 42 │ 43 │ 44 │      a ring of so many items; each says how many receivers have not seen it
//!      ─ ─ ─ └────┴────┴────┴────┘
//!         ▲              ▲       ▲
//!      lags: missed 2    │       has seen everything, and waits
//!                        has seen 41 and 42
//! ```
//!
//! **Sending never waits.** When the ring is full the oldest item gives way; a receiver that had not seen it is told [how many](RecvError::Lagged) it has missed, and
//! goes on with the oldest that is left. So one that is slow, or forgotten, holds nobody back, and costs no more memory than the ring. Who must not
//! miss any, and would rather have the sender wait, takes a bounded [`Queue`](super::Queue) for each consumer.
//!
//! An item is dropped when the last receiver has seen it, or goes. The last one gets the item itself, the others get clones. No code of the items (`Clone`, `Drop`)
//! runs under the lock.
//!
//! ```
//! use fibra::queue::broadcast::{self, RecvError};
//!
//! let (sender, mut one) = broadcast::channel(2);
//! let mut other = sender.subscribe();
//! sender.send("a").unwrap();
//! assert_eq!(one.recv(), Ok("a"));
//! sender.send("b").unwrap();
//! sender.send("c").unwrap();
//! assert_eq!(one.recv(), Ok("b"));
//! assert_eq!(other.recv(), Err(RecvError::Lagged(1)));
//! assert_eq!(other.recv(), Ok("b"));
//! drop(sender);
//! assert_eq!(other.recv(), Ok("c"));
//! assert_eq!(other.recv(), Err(RecvError::Disconnected));
//! ```

use super::by_order::Patience;
use super::when::{Source, When, receive, spend, wake_all};
use crate::sync::wait_list::WaitLists;
use std::collections::VecDeque;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
pub use std::sync::mpsc::SendError;
use std::time::{Duration, Instant};

/// A channel that keeps so many items for those who have not seen them yet.
///
/// # Panics
/// When the capacity is 0.
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "a broadcast without room would lose every item");
    let state = State { ring: VecDeque::new(), capacity, next: 0, senders: 1, receivers: 1, closed: false };
    let shared = Arc::new(WaitLists::new(state));
    (Sender(Arc::clone(&shared)), Receiver { shared, next: 0 })
}

/// What is behind the lock. Out of reach: the arm's type names it, and nobody else can.
#[doc(hidden)]
pub struct State<T> {
    ring: VecDeque<Slot<T>>,
    capacity: usize,
    /// The number of the item that will be sent next: how many were.
    next: u64,
    senders: usize,
    receivers: usize,
    /// Nothing will be sent any more.
    closed: bool,
}

struct Slot<T> {
    /// None when everybody has seen it.
    item: Option<Arc<T>>,
    /// How many receivers have not.
    unseen: usize,
}

impl<T> State<T> {
    /// The number of the oldest item in the ring.
    fn oldest(&self) -> u64 {
        self.next - self.ring.len() as u64
    }
}

impl<T> Slot<T> {
    /// One receiver less has not seen it. The item, if that was the last, or a share of it.
    fn see(&mut self) -> Arc<T> {
        self.unseen -= 1;
        let item = if self.unseen == 0 { self.item.take() } else { self.item.clone() };
        item.expect("it is here until all have seen it")
    }
}

/// To send items. The channel is closed when the last of its clones is dropped.
pub struct Sender<T>(Arc<WaitLists<State<T>>>);

/// To receive items: all that are sent from when it was made.
pub struct Receiver<T> {
    shared: Arc<WaitLists<State<T>>>,
    /// The number of the item that it will see next.
    next: u64,
}

/// Nothing was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecvError {
    /// There is none, or was none until the time was up.
    Empty,
    /// So many items gave way before this receiver has seen them. The next call returns the oldest that is left.
    Lagged(u64),
    /// There is none, and none will be sent.
    Disconnected,
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Empty => f.write_str("there is no item"),
            RecvError::Lagged(missed) => write!(f, "the receiver was too slow and has missed {missed} items"),
            RecvError::Disconnected => f.write_str("there is no item, and the channel is closed"),
        }
    }
}

impl Error for RecvError {}

impl<T> Sender<T> {
    /// Sends an item to all receivers, and returns how many there are. Does not wait.
    ///
    /// # Errors
    /// There is no receiver, or the channel is closed; the item is in the error.
    pub fn send(&self, item: T) -> Result<usize, SendError<T>> {
        let item = Arc::new(item);
        let mut locked = self.0.lock();
        let receivers = locked.receivers;
        if receivers == 0 || locked.closed {
            drop(locked);
            return Err(SendError(Arc::into_inner(item).expect("nobody has seen it")));
        }
        let gives_way = if locked.ring.len() == locked.capacity { locked.ring.pop_front() } else { None };
        locked.ring.push_back(Slot { item: Some(item), unseen: receivers });
        locked.next += 1;
        wake_all(&mut locked);
        drop(locked);
        drop(gives_way);
        spend();
        Ok(receivers)
    }

    /// A receiver for what is sent from now on.
    pub fn subscribe(&self) -> Receiver<T> {
        let mut locked = self.0.lock();
        locked.receivers += 1;
        Receiver { shared: Arc::clone(&self.0), next: locked.next }
    }

    /// Nothing can be sent any more, by no sender. Receivers see what they have not seen, and then learn of it.
    ///
    /// ```
    /// use fibra::queue::broadcast::{self, RecvError, SendError};
    ///
    /// let (sender, mut receiver) = broadcast::channel(1);
    /// sender.send(1).unwrap();
    /// sender.close();
    /// assert_eq!(sender.send(2), Err(SendError(2)));
    /// assert_eq!(receiver.recv(), Ok(1));
    /// assert_eq!(receiver.recv(), Err(RecvError::Disconnected));
    /// ```
    pub fn close(&self) {
        let mut locked = self.0.lock();
        locked.closed = true;
        wake_all(&mut locked);
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.0.lock().closed
    }

    /// How many receivers there are. A snapshot.
    pub fn receivers(&self) -> usize {
        self.0.lock().receivers
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Sender<T> {
        self.0.lock().senders += 1;
        Sender(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut locked = self.0.lock();
        locked.senders -= 1;
        if locked.senders == 0 {
            locked.closed = true;
            wake_all(&mut locked);
        }
    }
}

impl<T: Clone> Receiver<T> {
    /// Waits for the next item.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] when items were missed, [`RecvError::Disconnected`] when none will come.
    pub fn recv(&mut self) -> Result<T, RecvError> {
        self.recv_by(Patience::Endless)
    }

    /// Receives the next item if it is there.
    ///
    /// # Errors
    /// [`RecvError::Empty`], [`RecvError::Lagged`], [`RecvError::Disconnected`].
    pub fn try_recv(&mut self) -> Result<T, RecvError> {
        self.recv_by(Patience::None)
    }

    /// Waits for the next item for at most `timeout`.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<T, RecvError> {
        self.recv_by(Patience::For(timeout))
    }

    /// Waits for the next item until `deadline` at most.
    ///
    /// # Errors
    /// As [`try_recv`](Self::try_recv).
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<T, RecvError> {
        self.recv_by(Patience::Until(deadline))
    }

    /// To receive the next item, as an arm of [`select`](super::select()). Its outcome is what [`recv`](Self::recv) would return.
    pub fn select_recv(&mut self) -> Recv<'_, T> {
        When::new(self)
    }

    fn recv_by(&mut self, patience: Patience) -> Result<T, RecvError> {
        receive(self, patience).unwrap_or(Err(RecvError::Empty))
    }
}

/// To receive, as an arm of [`select`](super::select()): see [`Receiver::select_recv`].
pub type Recv<'a, T> = When<&'a mut Receiver<T>>;

impl<T: Clone> Source for Receiver<T> {
    type State = State<T>;
    type Outcome = Result<T, RecvError>;

    fn lists(&self) -> &WaitLists<State<T>> {
        &self.shared
    }

    fn is_ready(&self, state: &State<T>) -> bool {
        self.next != state.next || state.closed
    }

    fn try_take(&mut self) -> Option<Result<T, RecvError>> {
        let mut locked = self.shared.lock();
        let oldest = locked.oldest();
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Some(Err(RecvError::Lagged(missed)));
        }
        if self.next == locked.next {
            return locked.closed.then_some(Err(RecvError::Disconnected));
        }
        let item = locked.ring[(self.next - oldest) as usize].see();
        self.next += 1;
        drop(locked);
        Some(Ok(Arc::unwrap_or_clone(item)))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut locked = self.shared.lock();
        locked.receivers -= 1;
        let begin = self.next.saturating_sub(locked.oldest()) as usize;
        let seen: Vec<_> = locked.ring.range_mut(begin..).map(Slot::see).collect();
        drop(locked);
        drop(seen);
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locked = self.0.lock();
        let (senders, receivers, closed) = (locked.senders, locked.receivers, locked.closed);
        drop(locked);
        f.debug_struct("Sender")
            .field("senders", &senders)
            .field("receivers", &receivers)
            .field("closed", &closed)
            .finish()
    }
}

impl<T> fmt::Debug for Receiver<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = self.shared.lock().next - self.next;
        f.debug_struct("Receiver").field("behind", &behind).finish_non_exhaustive()
    }
}
