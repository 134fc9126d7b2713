//! Polls futures when they have been woken, one after another, on one thread.
//!
//! ```text
//!  spawn ──▶ table of tasks ──▶ ready queue: numbers ──▶ poll ── Ready ──▶ out of the table
//!                                    ▲                     │
//!                                    └─ wake ◀── waker ◀───┴── Pending: whoever it waits for keeps its waker
//! ```
//! A task is in the queue once at most: `queued` is set when it goes in, and taken back before it is polled, so that a wake-up during
//! the poll queues it again.
//!
//! A [`Waker`] may be woken on any thread, and so the queue has a lock. What wakes here is the reactor, a task that ends, or a task itself, all
//! of which run on the executor's thread: nobody has to end a wait of the reactor.

use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The tasks of one thread.
#[derive(Default)]
pub(super) struct Executor {
    tasks: RefCell<Slab<Task>>,
    ready: Arc<Ready>,
}

struct Task {
    /// None while it is polled.
    future: Option<Pin<Box<dyn Future<Output = ()>>>>,
    waker: Waker,
    wake: Arc<WakeTask>,
}

/// The numbers of the tasks that are to be polled.
#[derive(Default)]
struct Ready(Mutex<VecDeque<usize>>);

struct WakeTask {
    number: usize,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for WakeTask {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::AcqRel) {
            self.ready.push(self.number);
        }
    }
}

impl Ready {
    fn push(&self, number: usize) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(number);
    }

    fn pop(&self) -> Option<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Executor {
    /// Adds a task, which is polled at the next round.
    pub(super) fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        let entry = tasks.vacant_entry();
        let wake = Arc::new(WakeTask {
            number: entry.key(),
            queued: AtomicBool::new(false),
            ready: Arc::clone(&self.ready),
        });
        wake.wake_by_ref();
        entry.insert(Task { future: Some(Box::pin(future)), waker: Waker::from(Arc::clone(&wake)), wake });
    }

    /// Polls those that are ready now, each once. Whether others have become so.
    pub(super) fn poll_ready(&self) -> bool {
        for _ in 0..self.ready.len() {
            if let Some(number) = self.ready.pop() {
                self.poll(number);
            }
        }
        !self.is_idle()
    }

    fn poll(&self, number: usize) {
        // Taken out of the table meanwhile, since a future may spawn others.
        let taken = self.tasks.borrow_mut().get_mut(number).and_then(|task| {
            // A waker that outlived its task wakes its successor, which is polled in vain.
            task.wake.queued.swap(false, Ordering::AcqRel);
            Some((task.future.take()?, task.waker.clone()))
        });
        let Some((mut future, waker)) = taken else { return };
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => self.tasks.borrow_mut()[number].future = Some(future),
            Poll::Ready(()) => {
                self.tasks.borrow_mut().remove(number);
            }
        }
    }

    /// Whether no task is ready.
    pub(super) fn is_idle(&self) -> bool {
        self.ready.len() == 0
    }

    /// Drops all tasks.
    pub(super) fn clear(&self) {
        let tasks = self.tasks.take();
        drop(tasks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;

    /// Is ready at the third poll; wakes itself, twice each time.
    struct Third(u32, Rc<RefCell<Vec<u32>>>);

    impl Future for Third {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            self.0 += 1;
            let count = self.0;
            self.1.borrow_mut().push(count);
            context.waker().wake_by_ref();
            context.waker().wake_by_ref();
            if count == 3 { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    #[test]
    fn a_task_is_polled_once_a_round_however_often_it_was_woken() {
        let (executor, polls) = (Executor::default(), Rc::new(RefCell::new(Vec::new())));
        executor.spawn(Third(0, Rc::clone(&polls)));
        assert!(executor.poll_ready() && executor.poll_ready());
        assert_eq!(*polls.borrow(), [1, 2]);
        executor.poll_ready();
        assert_eq!(*polls.borrow(), [1, 2, 3]);
        // The wake-up of a task that has ended finds nobody.
        assert!(!executor.poll_ready());
        assert!(executor.tasks.borrow().is_empty());
    }

    #[test]
    fn a_task_that_nobody_wakes_is_not_polled() {
        let executor = Executor::default();
        executor.spawn(std::future::pending());
        assert!(!executor.poll_ready());
        executor.clear();
    }
}
