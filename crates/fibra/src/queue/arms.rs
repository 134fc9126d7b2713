//! What can be selected: [`Get`], [`Put`], [`Timer`]; and see [`super::when`].

use super::by_order::{GETTERS, PUTTERS, QueueBy, Refused};
use super::error::{GetError, PutError};
use super::order::{Keep, Order};
use super::select::{Arm, Selectable};
use crate::sync::wait_list::{Claim, Waiter};
use std::fmt;
use std::time::{Duration, Instant};

impl<O: Order> QueueBy<O> {
    /// To get the next item, as an arm of [`select`](super::select()).
    pub fn select_get(&self) -> Get<'_, O> {
        Get { queue: self, waiter: None, outcome: None }
    }

    /// To put an item, as an arm of [`select`](super::select()).
    pub fn select_put(&self, item: O::Item) -> Put<'_, O> {
        Put { queue: self, waiter: None, item: Some(item), outcome: None }
    }
}

type ItemWaiter<O> = Option<Waiter<Option<<O as Keep>::Item>>>;

/// To get an item from a queue. Once it was chosen it has what [`QueueBy::get`] would return; then it can be used again.
pub struct Get<'a, O: Order> {
    queue: &'a QueueBy<O>,
    waiter: ItemWaiter<O>,
    outcome: Option<Result<O::Item, GetError>>,
}

impl<O: Order> Get<'_, O> {
    /// The outcome, if this arm was chosen.
    pub fn take(&mut self) -> Option<Result<O::Item, GetError>> {
        self.outcome.take()
    }
}

impl<O: Order> Selectable for Get<'_, O> {}

impl<O: Order> Arm for Get<'_, O> {
    fn try_now(&mut self) -> bool {
        if self.outcome.is_none() {
            let mut locked = self.queue.lists.lock();
            match QueueBy::take(&mut locked) {
                Ok((item, putter)) => {
                    drop(locked);
                    drop(putter);
                    self.outcome = Some(Ok(item));
                }
                Err(GetError::Empty) => {}
                Err(error) => self.outcome = Some(Err(error)),
            }
        }
        self.outcome.is_some()
    }

    fn begin(&mut self, claim: &Claim, index: u32) {
        self.waiter = Some(Waiter::new(None, claim, index));
    }

    unsafe fn join(&self, claim: &Claim) -> bool {
        let mut locked = self.queue.lists.lock();
        if locked.items.len() > 0 || locked.shut || locked.has_other(PUTTERS, claim) {
            return false;
        }
        if let Some(waiter) = &self.waiter {
            // SAFETY: our caller's promise.
            unsafe { locked.join(GETTERS, waiter) };
        }
        true
    }

    fn leave(&self) {
        if let Some(waiter) = &self.waiter {
            // SAFETY: it was put into this list.
            unsafe { self.queue.lists.lock().leave(GETTERS, waiter) };
        }
    }

    fn end(&mut self, served: bool) {
        let item = self.waiter.take().and_then(Waiter::into_value);
        if served {
            self.outcome = Some(item.ok_or(GetError::Shutdown));
        }
    }
}

/// To put an item into a queue. Once it was chosen it has what [`QueueBy::put`] would return. Until then, and if it was not chosen, it has the item.
pub struct Put<'a, O: Order> {
    queue: &'a QueueBy<O>,
    waiter: ItemWaiter<O>,
    item: Option<O::Item>,
    outcome: Option<Result<(), PutError<O::Item>>>,
}

impl<O: Order> Put<'_, O> {
    /// The outcome, if this arm was chosen. It is not chosen again before it has got [another item](Self::set).
    pub fn take(&mut self) -> Option<Result<(), PutError<O::Item>>> {
        self.outcome.take()
    }

    /// Gives it an item to put, and returns the one it had.
    pub fn set(&mut self, item: O::Item) -> Option<O::Item> {
        self.item.replace(item)
    }

    /// The item, unless it was put.
    pub fn into_item(self) -> Option<O::Item> {
        match self.outcome {
            Some(Err(error)) => Some(error.into_item()),
            _ => self.item,
        }
    }
}

impl<O: Order> Selectable for Put<'_, O> {}

impl<O: Order> Arm for Put<'_, O> {
    fn try_now(&mut self) -> bool {
        if self.outcome.is_none() && self.item.is_some() {
            let mut locked = self.queue.lists.lock();
            match self.queue.offer(&mut locked, &mut self.item) {
                Ok(getter) => {
                    drop(locked);
                    drop(getter);
                    self.outcome = Some(Ok(()));
                }
                Err(Refused::Full) => {}
                Err(Refused::Shutdown) => {
                    self.outcome = self.item.take().map(|item| Err(PutError::Shutdown(item)));
                }
            }
        }
        self.outcome.is_some()
    }

    fn begin(&mut self, claim: &Claim, index: u32) {
        self.waiter = self.item.take().map(|item| Waiter::new(Some(item), claim, index));
    }

    unsafe fn join(&self, claim: &Claim) -> bool {
        let Some(waiter) = &self.waiter else {
            return true;
        };
        let mut locked = self.queue.lists.lock();
        if self.queue.has_room(&locked) || locked.shut || locked.has_other(GETTERS, claim) {
            return false;
        }
        // SAFETY: our caller's promise.
        unsafe { locked.join(PUTTERS, waiter) };
        true
    }

    fn leave(&self) {
        if let Some(waiter) = &self.waiter {
            // SAFETY: it was put into this list.
            unsafe { self.queue.lists.lock().leave(PUTTERS, waiter) };
        }
    }

    fn end(&mut self, served: bool) {
        self.item = self.waiter.take().and_then(Waiter::into_value);
        if served {
            self.outcome = Some(match self.item.take() {
                None => Ok(()),
                Some(item) => Err(PutError::Shutdown(item)),
            });
        }
    }
}

/// A moment, as an arm of [`select`](super::select()): see [`after`] and [`at`].
#[derive(Debug)]
pub struct Timer {
    /// None for a moment that never comes.
    due: Option<Instant>,
}

/// The moment `delay` from now, as an arm of [`select`](super::select()). Used again it is the same moment: one limit for many rounds.
pub fn after(delay: Duration) -> Timer {
    Timer { due: crate::time::deadline(delay) }
}

/// A moment, as an arm of [`select`](super::select()).
pub fn at(deadline: Instant) -> Timer {
    Timer { due: Some(deadline) }
}

impl Timer {
    /// Whether the moment has come.
    pub fn is_due(&self) -> bool {
        self.due.is_some_and(|due| due <= crate::time::now())
    }

    /// Something if the moment has come: for [`select!`](crate::select!).
    pub fn take(&mut self) -> Option<()> {
        self.is_due().then_some(())
    }
}

impl Selectable for Timer {}

impl Arm for Timer {
    fn try_now(&mut self) -> bool {
        self.is_due()
    }

    fn due(&self) -> Option<Instant> {
        self.due
    }

    fn begin(&mut self, _: &Claim, _: u32) {}

    unsafe fn join(&self, _: &Claim) -> bool {
        true
    }

    fn leave(&self) {}

    fn end(&mut self, _: bool) {}
}

impl<O: Order> fmt::Debug for Get<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Get").field("queue", self.queue).finish_non_exhaustive()
    }
}

impl<O: Order> fmt::Debug for Put<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").field("queue", self.queue).finish_non_exhaustive()
    }
}
