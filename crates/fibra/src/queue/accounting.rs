//! What becomes of the items: the count of those that are not done, and the queue's end.
//!
//! An item counts from when it is put (into the queue or into a getter's hands) until it is said to be done, or is dropped by a shutdown. Who waits to put one has not
//! put it. Those who wait for the count to be 0 are taken out of their list in the moment in which it is, under the lock: items that come later do not keep them.

use super::by_order::{GETTERS, JOINERS, Locked, PUTTERS, Patience, QueueBy};
use super::error::ExtraTaskDone;
use super::order::Order;
use crate::cancel;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::sync::wait_list::Place;
use std::time::{Duration, Instant};

/// What becomes of the items in a queue that is shut down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// They can still be got.
    Drain,
    /// They are dropped, and count as done.
    Immediate,
}

impl<O: Order> QueueBy<O> {
    /// Says that an item which was got has been dealt with.
    ///
    /// # Errors
    /// When that was said of every item already. Nothing is changed then.
    pub fn task_done(&self) -> Result<(), ExtraTaskDone> {
        let mut locked = self.lists.lock();
        locked.unfinished = locked.unfinished.checked_sub(1).ok_or(ExtraTaskDone)?;
        release_joiners(&mut locked);
        Ok(())
    }

    /// Waits until [`task_done`](Self::task_done) was called for every item that was put.
    ///
    /// ```
    /// use fibra::queue::{Queue, Shutdown};
    ///
    /// let queue = Queue::unbounded();
    /// fibra::scope(|scope| {
    ///     scope.spawn(|| {
    ///         for job in &queue {
    ///             let _: u32 = job;
    ///             queue.task_done().unwrap();
    ///         }
    ///     });
    ///     (0..10).for_each(|job| queue.put(job).unwrap());
    ///     queue.join();
    ///     assert!(queue.is_empty());
    ///     queue.shutdown(Shutdown::Drain);
    /// });
    /// ```
    pub fn join(&self) {
        let joined = self.join_by(Patience::Endless);
        debug_assert!(joined, "there is no deadline");
    }

    /// Waits for at most `timeout`. Whether all was done.
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        self.join_by(Patience::For(timeout))
    }

    /// Waits until `deadline` at most. Whether all was done.
    pub fn join_deadline(&self, deadline: Instant) -> bool {
        self.join_by(Patience::Until(deadline))
    }

    fn join_by(&self, patience: Patience) -> bool {
        let locked = self.lists.lock();
        if locked.unfinished == 0 {
            return true;
        }
        let deadline = patience.deadline().flatten();
        match locked.wait(JOINERS, Place::Back, None, deadline, WaitsFor::QueueJoin, |_| {}).0 {
            Reason::Woken => true,
            Reason::TimedOut => false,
            Reason::Cancelled => cancel::unwind(),
        }
    }

    /// Ends the queue: nothing can be put any more, and who waits to put fails, with its item. What is in the queue can be got, or is dropped: as `how` says. When
    /// nothing is left, who gets fails, too.
    ///
    /// It may be called again, also with the other word.
    ///
    /// ```
    /// use fibra::queue::{GetError, PutError, Queue, Shutdown};
    ///
    /// let queue = Queue::bounded(2);
    /// queue.put(1).unwrap();
    /// queue.put(2).unwrap();
    /// queue.shutdown(Shutdown::Drain);
    /// assert_eq!(queue.put(3), Err(PutError::Shutdown(3)));
    /// assert_eq!(queue.get(), Ok(1));
    /// queue.shutdown(Shutdown::Immediate);
    /// assert_eq!(queue.get(), Err(GetError::Shutdown));
    /// ```
    pub fn shutdown(&self, how: Shutdown) {
        let mut locked = self.lists.lock();
        locked.shut = true;
        let dropped = (how == Shutdown::Immediate).then(|| std::mem::replace(&mut locked.items, O::new()));
        if let Some(dropped) = &dropped {
            // Some of them may have been said to be done before they were got.
            locked.unfinished = locked.unfinished.saturating_sub(dropped.len());
            release_joiners(&mut locked);
        }
        // Their values stay as they are, which says why they are woken. Who waits to get, waits because there is nothing.
        for list in [PUTTERS, GETTERS] {
            while let Some(waiter) = locked.next(list) {
                waiter.wake();
            }
        }
        drop(locked);
        // Their destructors run without the lock.
        drop(dropped);
    }

    /// Whether the queue was shut down.
    pub fn is_shut_down(&self) -> bool {
        self.lists.lock().shut
    }
}

/// Those who wait for the end of all tasks go on, if it has come.
fn release_joiners<O: Order>(locked: &mut Locked<'_, O>) {
    if locked.unfinished == 0 {
        while let Some(joiner) = locked.next(JOINERS) {
            joiner.wake();
        }
    }
}
