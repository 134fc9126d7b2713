//! The results of a [`Pool`]'s work on many items, while more of it is under way: [`Imap`].
//!
//! ```text
//!   items ──▶ the feeder ──────────────▶ the pool ──────▶ ends, as they come ──▶ next ──▶ the consumer
//!             a permit to run ahead;     a place                                  │
//!             the next item              each                                     │
//!                ▲──────────────── the permit is given back ──────────────────────┘
//! ```
//!
//! The feeder is a coroutine. It has a permit before it takes an item, so neither the items nor the results pile up. Its own end is watched, too: it says how
//! many have been started in all. The handle of each item stands in the line until its result is given out. So a consumer that is asked to stop in the middle of `next` has lost
//! nothing, and one that goes for good finds what it has to cancel.

use super::ends::Ends;
use super::pool::Pool;
use crate::cancel::Cancelled;
use crate::scheduler::sync::{Mutex, MutexGuard};
use crate::spawn::{JoinHandle, spawn};
use crate::sync::Semaphore;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::iter::FusedIterator;
use std::panic::resume_unwind;
use std::sync::{Arc, PoisonError};
use std::thread;

/// The feeder's index among the ends.
const FEEDER: usize = usize::MAX;

/// In which order results are given out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    OfItems,
    OfEnds,
}

/// The iterator of [`Pool::imap`] and [`Pool::imap_unordered`].
///
/// A call of [`next`](Iterator::next) that is ended by a request to stop loses nothing: the next call goes on. To drop the iterator is to cancel what is under
/// way; that is not waited for.
pub struct Imap<R> {
    line: Arc<Line<R>>,
    /// Gone when its end has been looked at.
    feeder: Option<JoinHandle<()>>,
    order: Order,
    /// Those that have ended before their turn.
    early: BTreeSet<usize>,
    /// How many have been given out.
    given: usize,
    /// How many there are; known when the feeder has ended.
    total: Option<usize>,
}

/// What the feeder and the consumer share.
struct Line<R> {
    ahead: Semaphore,
    ends: Ends,
    started: Mutex<Started<R>>,
}

struct Started<R> {
    /// Those that have not been given out.
    handles: BTreeMap<usize, JoinHandle<R>>,
    count: usize,
    /// The consumer is gone.
    closed: bool,
}

impl<R: Send + 'static> Imap<R> {
    pub(super) fn new<I, F>(pool: &Pool, items: I, ahead: usize, f: F, order: Order) -> Imap<R>
    where
        I: IntoIterator<Item: Send + 'static> + Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
    {
        assert!(ahead > 0, "one that never runs ahead would never start anything");
        let line = Arc::new(Line {
            ahead: Semaphore::new(ahead.min(Semaphore::MAX_PERMITS)),
            ends: Ends::new(),
            started: Mutex::new(Started { handles: BTreeMap::new(), count: 0, closed: false }),
        });
        let feeder = spawn({
            let (pool, line) = (pool.clone(), Arc::clone(&line));
            move || feed(&pool, &line, items, f)
        });
        line.ends.watch(&feeder, FEEDER);
        Imap { line, feeder: Some(feeder), order, early: BTreeSet::new(), given: 0, total: None }
    }
}

/// Takes the items and starts them, until there are no more.
fn feed<I, F, R>(pool: &Pool, line: &Line<R>, items: I, f: F)
where
    I: IntoIterator<Item: Send + 'static>,
    F: Fn(I::Item) -> R + Send + Sync + 'static,
    R: Send + 'static,
{
    let f = Arc::new(f);
    let mut items = items.into_iter();
    loop {
        line.ahead.acquire().forget();
        let Some(item) = items.next() else { return };
        let f = Arc::clone(&f);
        line.add(pool.spawn(move || f(item)));
    }
}

impl<R> Line<R> {
    /// One has been started.
    fn add(&self, handle: JoinHandle<R>) {
        let mut started = self.lock();
        if started.closed {
            drop(started);
            handle.cancel();
            return;
        }
        let index = started.count;
        started.count += 1;
        // Under the lock: who is told of its end finds the handle.
        self.ends.watch(&handle, index);
        started.handles.insert(index, handle);
    }

    fn lock(&self) -> MutexGuard<'_, Started<R>> {
        self.started.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R> Imap<R> {
    /// The next whose turn it is.
    fn next_index(&mut self) -> Option<usize> {
        loop {
            if self.early.remove(&self.given) {
                return Some(self.given);
            }
            if self.total == Some(self.given) {
                return None;
            }
            let index = self.line.ends.next(None).expect("there is no deadline").index;
            if index == FEEDER {
                self.total = Some(self.line.lock().count);
            } else if self.order == Order::OfEnds {
                return Some(index);
            } else {
                self.early.insert(index);
            }
        }
    }

    /// Everything has been given out: what has come of the feeder?
    fn finish(&mut self) {
        let Some(feeder) = self.feeder.take() else { return };
        match feeder.join() {
            Ok(()) => {}
            Err(payload) if payload.is::<Cancelled>() => {
                panic!("not all items were started: the runtime has ended")
            }
            Err(payload) => resume_unwind(payload),
        }
    }
}

impl<R> Iterator for Imap<R> {
    type Item = thread::Result<R>;

    fn next(&mut self) -> Option<thread::Result<R>> {
        let Some(index) = self.next_index() else {
            self.finish();
            return None;
        };
        let handle = self.line.lock().handles.remove(&index).expect("each ends once");
        self.given += 1;
        self.line.ahead.release(1);
        // It has ended, so this does not wait.
        Some(handle.join())
    }
}

impl<R> FusedIterator for Imap<R> {}

impl<R> Drop for Imap<R> {
    fn drop(&mut self) {
        if let Some(feeder) = &self.feeder {
            feeder.cancel();
        }
        let mut started = self.line.lock();
        started.closed = true;
        let handles = std::mem::take(&mut started.handles);
        drop(started);
        handles.values().for_each(JoinHandle::cancel);
    }
}

impl<R> fmt::Debug for Imap<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Imap").field("given", &self.given).finish_non_exhaustive()
    }
}
