//! [`QueueBy`]: putting and getting, in whichever order.
//!
//! Two lists of waiters stand behind one lock, those who want to get and those who want to put, and items go from hand to hand:
//!
//! ```text
//!   put: somebody waits to get? ──▶ the item into the first one's waiter, wake it
//!        room?                  ──▶ the item into the queue
//!        else wait, with the item in the own waiter
//!   get: an item in the queue?  ──▶ take it, and the first waiting putter's item into the queue instead, wake that
//!        none, but a waiting putter (a rendezvous)? ──▶ take its item, wake it
//!        else wait
//! ```
//!
//! So while somebody waits to get, the queue is empty and nobody waits to put; while somebody waits to put, the queue is full. Nobody who comes later is
//! served before who waits already.
//!
//! A waiter's value is an item or none. A getter brings none, and wakes up with its item; with none the queue was shut down. A
//! putter brings its item, and wakes up without; with it the queue was shut down. Who leaves early leaves under the lock, if it is in the list still:
//! a getter has been given nothing then, and a putter's item is in its waiter. If it is not in the list any more it has been served,
//! and says so.
//!
//! Wake-ups are sent after the lock was given back. Items are compared under it (see [`super::order`] for what becomes of a panic), and never dropped.

use super::error::{GetError, PutError};
use super::order::{Fifo, Lifo, Order, Priority};
use crate::cancel;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::Worker;
use crate::sync::wait_list::{Guard, Place, Served, WaitLists};
use std::fmt;
use std::time::{Duration, Instant};

/// The lists: those who wait to get, to put, and for the end of all tasks.
pub(super) const GETTERS: usize = 0;
pub(super) const PUTTERS: usize = 1;
pub(super) const JOINERS: usize = 2;

/// A queue for many producers and many consumers, first in first out.
///
/// Made by [`bounded`](QueueBy::bounded), [`unbounded`](QueueBy::unbounded) or [`rendezvous`](QueueBy::rendezvous), and shared by reference: in an [`Arc`](std::sync::Arc), or
/// by way of a [`scope`](crate::scope()). Who waits is served in the order of coming. A wait is ended by what ends waits
/// ([`timeout`](crate::timeout()), [`JoinHandle::cancel`](crate::JoinHandle::cancel), …) without a trace in the queue.
///
/// ```
/// use fibra::queue::{GetError, PutError, Queue};
///
/// let queue = Queue::bounded(2);
/// queue.put("one").unwrap();
/// queue.put("two").unwrap();
/// assert_eq!(queue.try_put("three"), Err(PutError::Full("three")));
/// assert_eq!(queue.get(), Ok("one"));
/// assert_eq!(queue.get(), Ok("two"));
/// assert_eq!(queue.try_get(), Err(GetError::Empty));
/// ```
pub type Queue<T> = QueueBy<Fifo<T>>;

/// A queue from which the last item comes first: a stack that is shared. Everything else is as in [`Queue`].
///
/// ```
/// use fibra::queue::LifoQueue;
///
/// let queue = LifoQueue::unbounded();
/// queue.put(1).unwrap();
/// queue.put(2).unwrap();
/// assert_eq!((queue.get(), queue.get()), (Ok(2), Ok(1)));
/// ```
pub type LifoQueue<T> = QueueBy<Lifo<T>>;

/// A queue from which the greatest item comes first; among equals the one that came first. [`Reverse`](std::cmp::Reverse) turns that round. Everything else
/// is as in [`Queue`].
///
/// Items are compared under the queue's lock: an `Ord` must neither use the queue nor wait. One that panics leaves the queue as it was; the panic
/// is met by who put or got, and what was to be put is dropped.
///
/// ```
/// use fibra::queue::PriorityQueue;
/// use std::cmp::Reverse;
///
/// let urgent = PriorityQueue::unbounded();
/// for item in [(2, "tea"), (9, "fire"), (5, "mail")] {
///     urgent.put(item).unwrap();
/// }
/// assert_eq!(urgent.get(), Ok((9, "fire")));
///
/// let soonest = PriorityQueue::unbounded();
/// for hour in [17, 9, 12] {
///     soonest.put(Reverse(hour)).unwrap();
/// }
/// assert_eq!(soonest.get(), Ok(Reverse(9)));
/// ```
pub type PriorityQueue<T> = QueueBy<Priority<T>>;

/// A queue in some [`Order`]: what [`Queue`], [`LifoQueue`] and [`PriorityQueue`] have in common.
pub struct QueueBy<O: Order> {
    pub(super) lists: Lists<O>,
    capacity: usize,
}

pub(super) type Lists<O> = WaitLists<State<O>, Option<<O as super::order::Keep>::Item>, 3>;
pub(super) type Locked<'a, O> = Guard<'a, State<O>, Option<<O as super::order::Keep>::Item>, 3>;
pub(super) type Partner<'a, O> = Served<'a, Option<<O as super::order::Keep>::Item>>;

pub(super) struct State<O> {
    pub(super) items: O,
    pub(super) shut: bool,
    /// Items that were put, less those that are done.
    pub(super) unfinished: usize,
}

/// For how long to wait.
#[derive(Clone, Copy)]
pub(super) enum Patience {
    None,
    For(Duration),
    Until(Instant),
    Endless,
}

impl Patience {
    /// The deadline, if there is one; none at all for who does not wait.
    pub(super) fn deadline(self) -> Option<Option<Instant>> {
        match self {
            Patience::None => None,
            Patience::For(timeout) => Some(crate::time::deadline(timeout)),
            Patience::Until(deadline) => Some(Some(deadline)),
            Patience::Endless => Some(None),
        }
    }
}

impl<O: Order> QueueBy<O> {
    /// A queue with room for so many items; with none it is a [`rendezvous`](Self::rendezvous).
    pub fn bounded(capacity: usize) -> Self {
        let state = State { items: O::new(), shut: false, unfinished: 0 };
        QueueBy { lists: WaitLists::new(state), capacity }
    }

    /// A queue that is never full. Its producers are held back by nothing: what they are ahead of the consumers is memory.
    pub fn unbounded() -> Self {
        Self::bounded(usize::MAX)
    }

    /// A queue that keeps nothing: `put` returns when a getter has the item.
    ///
    /// ```
    /// use fibra::queue::{PutError, Queue};
    /// use std::time::Duration;
    ///
    /// let hand = Queue::rendezvous();
    /// assert_eq!(hand.put_timeout(1, Duration::from_millis(1)), Err(PutError::Full(1)), "nobody takes it");
    /// fibra::scope(|scope| {
    ///     scope.spawn(|| hand.put(2));
    ///     assert_eq!(hand.get(), Ok(2));
    /// });
    /// ```
    pub fn rendezvous() -> Self {
        Self::bounded(0)
    }

    /// Puts an item in; waits while the queue is full.
    ///
    /// # Errors
    /// [`PutError::Shutdown`] when the queue is shut down, before or meanwhile.
    #[inline]
    pub fn put(&self, item: O::Item) -> Result<(), PutError<O::Item>> {
        self.put_by(item, Patience::Endless)
    }

    /// Puts an item in if there is room, or somebody who waits for it.
    ///
    /// # Errors
    /// [`PutError::Full`], [`PutError::Shutdown`].
    #[inline]
    pub fn try_put(&self, item: O::Item) -> Result<(), PutError<O::Item>> {
        self.put_by(item, Patience::None)
    }

    /// Puts an item in; waits for at most `timeout` while the queue is full.
    ///
    /// # Errors
    /// [`PutError::Full`] when it was full for all that time, [`PutError::Shutdown`].
    pub fn put_timeout(&self, item: O::Item, timeout: Duration) -> Result<(), PutError<O::Item>> {
        self.put_by(item, Patience::For(timeout))
    }

    /// Puts an item in; waits until `deadline` at most while the queue is full.
    ///
    /// # Errors
    /// As [`put_timeout`](Self::put_timeout).
    pub fn put_deadline(&self, item: O::Item, deadline: Instant) -> Result<(), PutError<O::Item>> {
        self.put_by(item, Patience::Until(deadline))
    }

    /// Takes the next item out; waits while there is none.
    ///
    /// # Errors
    /// [`GetError::Shutdown`] when there is none and the queue is shut down, before or meanwhile.
    #[inline]
    pub fn get(&self) -> Result<O::Item, GetError> {
        self.get_by(Patience::Endless)
    }

    /// Takes the next item out if there is one, or somebody who waits to put one.
    ///
    /// # Errors
    /// [`GetError::Empty`], [`GetError::Shutdown`].
    #[inline]
    pub fn try_get(&self) -> Result<O::Item, GetError> {
        self.get_by(Patience::None)
    }

    /// Takes the next item out; waits for at most `timeout` while there is none.
    ///
    /// # Errors
    /// [`GetError::Empty`] when there was none for all that time, [`GetError::Shutdown`].
    pub fn get_timeout(&self, timeout: Duration) -> Result<O::Item, GetError> {
        self.get_by(Patience::For(timeout))
    }

    /// Takes the next item out; waits until `deadline` at most while there is none.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_deadline(&self, deadline: Instant) -> Result<O::Item, GetError> {
        self.get_by(Patience::Until(deadline))
    }

    /// The items as they come, until the queue is shut down and empty: each is taken out, and waited for.
    pub fn iter(&self) -> Iter<'_, O> {
        Iter(self)
    }

    /// How many items are in the queue, at this moment.
    pub fn len(&self) -> usize {
        self.lists.lock().items.len()
    }

    /// Whether no item is in the queue, at this moment.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there is no room, at this moment. A rendezvous has none ever.
    pub fn is_full(&self) -> bool {
        self.len() >= self.capacity
    }

    /// For how many items there is room; `None` for any number.
    pub fn capacity(&self) -> Option<usize> {
        Some(self.capacity).filter(|&capacity| capacity != usize::MAX)
    }

    #[inline]
    fn put_by(&self, item: O::Item, patience: Patience) -> Result<(), PutError<O::Item>> {
        // Should a comparison panic, the lock is given back first, and then the item is dropped.
        let mut item = Some(item);
        let mut locked = self.lists.lock();
        match self.offer(&mut locked, &mut item) {
            Ok(getter) => {
                drop(locked);
                served(getter);
                Ok(())
            }
            Err(Refused::Full) => Self::wait_to_put(locked, item, patience),
            Err(Refused::Shutdown) => Err(PutError::Shutdown(item.expect(REFUSED))),
        }
    }

    #[inline]
    fn get_by(&self, patience: Patience) -> Result<O::Item, GetError> {
        let mut locked = self.lists.lock();
        match Self::take(&mut locked) {
            Ok((item, putter)) => {
                drop(locked);
                served(putter);
                Ok(item)
            }
            Err(GetError::Empty) => Self::wait_to_get(locked, patience),
            Err(error) => Err(error),
        }
    }

    #[inline]
    pub(super) fn has_room(&self, locked: &Locked<'_, O>) -> bool {
        locked.items.len() < self.capacity
    }

    /// Puts the item in if that needs no wait. Returns who waited for it and has it now. The item is still there if it is refused.
    #[inline]
    pub(super) fn offer<'a>(
        &self,
        locked: &mut Locked<'a, O>,
        item: &mut Option<O::Item>,
    ) -> Result<Option<Partner<'a, O>>, Refused> {
        if locked.shut {
            return Err(Refused::Shutdown);
        }
        if let Some(mut getter) = locked.next(GETTERS) {
            // A getter brings nothing.
            std::mem::swap(getter.value(), item);
            locked.unfinished += 1;
            return Ok(Some(getter));
        }
        if !self.has_room(locked) {
            return Err(Refused::Full);
        }
        if let Some(offered) = item {
            let place = locked.items.place_for(offered);
            locked.items.push(item.take().expect("it is here"), place);
            locked.unfinished += 1;
        }
        Ok(None)
    }

    /// Takes an item if that needs no wait. Returns who waited to put one, and has done so now.
    #[inline]
    pub(super) fn take<'a>(
        locked: &mut Locked<'a, O>,
    ) -> Result<(O::Item, Option<Partner<'a, O>>), GetError> {
        if locked.items.len() == 0 {
            return match locked.next(PUTTERS) {
                Some(mut putter) => {
                    locked.unfinished += 1;
                    Ok((brought(&mut putter), Some(putter)))
                }
                None if locked.shut => Err(GetError::Shutdown),
                None => Err(GetError::Empty),
            };
        }
        while let Some((state, Some(item))) = locked.front(PUTTERS) {
            let place = state.items.place_instead_of_next(item);
            if let Some(mut putter) = locked.take_front(PUTTERS) {
                let item = locked.items.replace(brought(&mut putter), place);
                locked.unfinished += 1;
                return Ok((item, Some(putter)));
            }
        }
        let place = locked.items.place_without_next();
        Ok((locked.items.pop(place), None))
    }

    #[cold]
    fn wait_to_put(
        locked: Locked<'_, O>,
        item: Option<O::Item>,
        patience: Patience,
    ) -> Result<(), PutError<O::Item>> {
        let Some(deadline) = patience.deadline() else {
            return Err(PutError::Full(item.expect(REFUSED)));
        };
        let (reason, item) = locked.wait(PUTTERS, Place::Back, item, deadline, WaitsFor::Put, |_| {});
        match (reason, item) {
            (Reason::Woken, None) => Ok(()),
            (Reason::Woken, Some(item)) => Err(PutError::Shutdown(item)),
            (Reason::TimedOut, item) => Err(PutError::Full(item.expect(REFUSED))),
            (Reason::Cancelled, item) => {
                drop(item);
                cancel::unwind();
            }
        }
    }

    #[cold]
    fn wait_to_get(locked: Locked<'_, O>, patience: Patience) -> Result<O::Item, GetError> {
        let Some(deadline) = patience.deadline() else {
            return Err(GetError::Empty);
        };
        let (reason, item) = locked.wait(GETTERS, Place::Back, None, deadline, WaitsFor::Get, |_| {});
        match reason {
            Reason::Woken => item.ok_or(GetError::Shutdown),
            Reason::TimedOut => Err(GetError::Empty),
            Reason::Cancelled => cancel::unwind(),
        }
    }
}

/// Why an item was not put without a wait.
pub(super) enum Refused {
    Full,
    Shutdown,
}

/// Of an item.
pub(super) const REFUSED: &str = "nobody has taken it";

/// The item that a putter has brought.
fn brought<T>(putter: &mut Served<'_, Option<T>>) -> T {
    putter.value().take().expect("a putter brings an item")
}

/// It went without a wait: wakes the other side, and lets others run now and then.
#[inline]
pub(super) fn served<T>(partner: Option<Served<'_, T>>) {
    if let Some(partner) = partner {
        partner.wake();
    }
    if let Some(worker) = Worker::here() {
        worker.spend();
    }
}

/// The items of a queue as they come: see [`QueueBy::iter`].
pub struct Iter<'a, O: Order>(&'a QueueBy<O>);

impl<O: Order> Iterator for Iter<'_, O> {
    type Item = O::Item;

    #[inline]
    fn next(&mut self) -> Option<O::Item> {
        self.0.get().ok()
    }
}

impl<O: Order> std::iter::FusedIterator for Iter<'_, O> {}

impl<O: Order> fmt::Debug for Iter<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Iter").field(self.0).finish()
    }
}

impl<'a, O: Order> IntoIterator for &'a QueueBy<O> {
    type Item = O::Item;
    type IntoIter = Iter<'a, O>;

    fn into_iter(self) -> Iter<'a, O> {
        self.iter()
    }
}

impl<O: Order> fmt::Debug for QueueBy<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let locked = self.lists.lock();
        let (len, shut) = (locked.items.len(), locked.shut);
        let (getters, putters) = (locked.len(GETTERS), locked.len(PUTTERS));
        drop(locked);
        f.debug_struct("Queue")
            .field("len", &len)
            .field("capacity", &self.capacity())
            .field("getters", &getters)
            .field("putters", &putters)
            .field("shut_down", &shut)
            .finish()
    }
}
