//! Who is told when a task has ended, besides its handle's `join`: callbacks, and the waker of a future.
//!
//! ```text
//!   watcher                                      finisher
//!   lock; into the list; unlock                  swap(DONE)  ── was it WATCHED?
//!   word: set WATCHED, unless it says DONE         no: nobody is told
//!     ├─ set (or it was): the finisher has it      yes: lock; take all out; unlock; tell each
//!     └─ DONE: lock; still in the list?
//!          take it out: it is the watcher's own
//!          else the finisher has it
//! ```
//!
//! **Everybody is told once.** Who sees the word without `DONE` and with `WATCHED` has come into the list before: the finisher's swap comes after what he saw, so it
//! has the bit, and the finisher finds him. (Had the finisher held the lock before him, he would have had to see `DONE`.) Who sees `DONE` may have been found or not, and the lock
//! decides which.
//!
//! The list is made when the first watcher comes. No code of users runs under its lock: callbacks and wakers are dropped and called without.

use super::join_word::JoinWord;
use super::sync::{Mutex, MutexGuard};
use std::sync::{OnceLock, PoisonError};
use std::task::Waker;

/// How a task has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Its closure has returned.
    Returned,
    /// Its closure has panicked.
    Panicked,
    /// It was [cancelled](crate::JoinHandle::cancel), or cut short by the end of its runtime.
    Cancelled,
}

/// What is called when a task has ended.
pub(crate) type Callback = Box<dyn FnOnce(Outcome) + Send>;

/// A callback's number in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchKey(u64);

/// A task's watchers.
#[derive(Default)]
pub(crate) struct Watchers(OnceLock<Box<Mutex<List>>>);

#[derive(Default)]
pub(crate) struct List {
    next: u64,
    pub(crate) callbacks: Vec<(WatchKey, Callback)>,
    /// The one of the handle, when it was polled last.
    pub(crate) waker: Option<Waker>,
}

impl Watchers {
    /// Adds a callback. Gives it back when the task has ended: the caller calls it.
    pub(crate) fn add(&self, join: &JoinWord, callback: Callback) -> Result<WatchKey, Callback> {
        let key = {
            let mut list = self.lock();
            let key = WatchKey(list.next);
            list.next += 1;
            list.callbacks.push((key, callback));
            key
        };
        if join.watch() {
            return Ok(key);
        }
        self.remove(key).map_or(Ok(key), Err)
    }

    /// Takes a callback back; none when the finisher has it, who has called it or will.
    pub(crate) fn remove(&self, key: WatchKey) -> Option<Callback> {
        let mut list = self.lock();
        let place = list.callbacks.iter().position(|(other, _)| *other == key)?;
        Some(list.callbacks.remove(place).1)
    }

    /// Sets the waker. False when the task has ended: then it is not needed, though it may be called.
    pub(crate) fn set_waker(&self, join: &JoinWord, waker: &Waker) -> bool {
        let same = self.lock().waker.as_ref().is_some_and(|old| old.will_wake(waker));
        if !same {
            let new = waker.clone();
            let old = self.lock().waker.replace(new);
            drop(old);
        }
        join.watch() || {
            self.forget_waker();
            false
        }
    }

    /// The waker is not wanted any more.
    pub(crate) fn forget_waker(&self) {
        let waker = self.lock().waker.take();
        drop(waker);
    }

    /// The finisher's side: everybody who is to be told.
    pub(crate) fn take(&self) -> List {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, List> {
        self.0.get_or_init(Box::default).lock().unwrap_or_else(PoisonError::into_inner)
    }
}
