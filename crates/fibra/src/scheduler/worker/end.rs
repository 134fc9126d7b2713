//! How a worker comes to its end: its tasks unwind, and what is left is given up.

use super::{Completion, Ordering, Phase, Signal, TaskPtr, Worker};
use crate::scheduler::park;
use std::sync::Arc;

impl Worker {
    /// The runtime is ending: asks every task here to unwind, once, and drops what has not started.
    #[cold]
    pub(super) fn kill(&self) {
        if !self.killed.replace(true) {
            let tasks: Vec<TaskPtr> = self.tasks.borrow().iter().collect();
            for task in tasks {
                // SAFETY: a started task is alive until `bury`, which is this thread's.
                unsafe { park::signal(task, Signal::Kill) };
            }
            // SAFETY: what has a timer is alive.
            let later = |task: &TaskPtr| unsafe { task.header() }.worker.load(Ordering::Relaxed).is_null();
            let later = self.timers.borrow_mut().cancel_all(later);
            later.into_iter().for_each(|task| self.push_ready(task));
        }
        // What has not started is dropped when its turn comes (`start`).
        self.feed(usize::MAX);
    }

    pub(super) fn abandon(&self, task: TaskPtr) {
        // SAFETY: the task has not started and is in no queue any more; a task that is not `Send` was never in another thread's.
        unsafe { task.abandon() };
        // SAFETY: the queue's reference.
        let task = unsafe { task.into_ref() };
        self.core.note_end(&self.shared, task.header().is_daemon());
    }

    /// Whether every task has ended, or the runtime has no more patience with those that have not.
    pub(crate) fn has_ended(&self) -> bool {
        self.core.phase() >= Phase::Killing
            && self.killed.get()
            && (self.is_empty() || self.core.is_out_of_patience())
    }

    fn is_empty(&self) -> bool {
        self.tasks.borrow().is_empty()
            && self.ready.borrow().is_empty()
            && self.starved.borrow().is_empty()
            && self.timers.borrow().is_empty()
            && !self.shared.has_backlog()
    }

    /// After the last run: what is left is given up.
    pub(crate) fn close(&self) {
        let mut left: Vec<TaskPtr> = self.shared.close().into();
        self.read_mail();
        left.extend(std::iter::from_fn(|| self.ready.borrow_mut().pop()));
        self.timers.borrow_mut().drain(&mut left);
        for task in left {
            // SAFETY: what has not started has a queue's reference; what has started and has not ended keeps its own for ever.
            if unsafe { task.header() }.worker.load(Ordering::Relaxed).is_null() {
                self.abandon(task);
            }
        }
        let mut completions = Vec::new();
        self.driver.borrow_mut().close(&mut completions);
        for Completion { token } in completions {
            // Waiters of other runtimes go on with their own drivers; those of this worker will not run again.
            park::wake(token);
        }
        let left = self.tasks.borrow().iter().count();
        if left > 0 {
            // Their wakers may still look for the worker.
            std::mem::forget(Arc::clone(&self.shared));
            tracing::warn!(
                worker = self.index,
                left,
                "coroutines did not end with their runtime; they are suspended for ever, and their memory is not freed"
            );
        }
    }
}
