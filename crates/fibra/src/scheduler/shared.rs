//! What others may touch of a worker: its mailbox, its coroutines that have not started, and its counters.

use super::mailbox::{Mailbox, Ring};
use super::started::Started;
use super::sync::{AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering};
use super::task::TaskPtr;
use fibra_driver::{Notifier, Token};
use std::collections::VecDeque;
use std::sync::PoisonError;

/// The public side of a worker. It lives as long as anybody might wake one of the worker's tasks.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Tasks that were woken by other threads.
    pub(crate) mailbox: Mailbox<TaskPtr>,
    pub(crate) notifier: Notifier,
    /// The tasks that have started and not ended here.
    pub(super) started: Started,
    /// What a model hears of the notifier.
    #[cfg(all(test, loom))]
    pub(super) bell: super::models::Bell,
    /// Tasks that have not started and that any worker may take; each with the reference of its queue. None when the worker is gone.
    unstarted: Mutex<Option<VecDeque<TaskPtr>>>,
    /// The length of `unstarted`, so that looking costs no lock.
    backlog: AtomicUsize,
    /// Tasks placed here by the worker's own code less those that have ended here. Written by its thread only; below zero when others
    /// have placed more here than it has.
    own: AtomicUsize,
    /// Tasks placed here by others less those that others have taken.
    foreign: AtomicUsize,
    /// The token of the task that was resumed last. Written by its thread only, for those who look.
    resumed: AtomicUsize,
    /// A task was cancelled while it waited, on this worker, for its time to start.
    cancelled: AtomicBool,
    /// How many non-daemon tasks this worker's code has ever spawned. Written by its thread only.
    pub(crate) spawned: AtomicU64,
    /// How many non-daemon tasks have ever ended here. Written by its thread only.
    pub(crate) finished: AtomicU64,
}

impl Shared {
    pub(crate) fn new(notifier: Notifier) -> Shared {
        Shared {
            mailbox: Mailbox::new(),
            notifier,
            started: Started::default(),
            #[cfg(all(test, loom))]
            bell: super::models::Bell::default(),
            unstarted: Mutex::new(Some(VecDeque::new())),
            backlog: AtomicUsize::new(0),
            own: AtomicUsize::new(0),
            foreign: AtomicUsize::new(0),
            resumed: AtomicUsize::new(0),
            cancelled: AtomicBool::new(false),
            spawned: AtomicU64::new(0),
            finished: AtomicU64::new(0),
        }
    }

    /// How many tasks are placed here and have not ended; an estimate while others place or take some.
    #[inline]
    pub(crate) fn live(&self) -> usize {
        let live = self.own.load(Ordering::Relaxed).wrapping_add(self.foreign.load(Ordering::Relaxed));
        if live > usize::MAX / 2 { 0 } else { live }
    }

    /// The worker places tasks on itself. Its thread only.
    #[inline]
    pub(crate) fn enter(&self, count: usize) {
        self.own.store(self.own.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// A task has ended here. The worker's thread only.
    #[inline]
    pub(crate) fn leave(&self) {
        self.own.store(self.own.load(Ordering::Relaxed).wrapping_sub(1), Ordering::Relaxed);
    }

    /// Another thread places a task here.
    pub(crate) fn enter_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    /// The worker resumes a task. Its thread only.
    #[inline(always)]
    pub(super) fn note_resumed(&self, task: TaskPtr) {
        self.resumed.store(task.token().0, Ordering::Relaxed);
    }

    /// Whether it is the task that was resumed last.
    pub(super) fn is_resumed(&self, task: Token) -> bool {
        self.resumed.load(Ordering::Relaxed) == task.0
    }

    /// Whether tasks are here that have not started.
    #[inline]
    pub(crate) fn has_backlog(&self) -> bool {
        self.backlog.load(Ordering::Relaxed) != 0
    }

    /// Hands a woken task to the worker it is bound to.
    pub(crate) fn post(&self, task: TaskPtr) {
        let ring = self.mailbox.send(task);
        self.ring(ring);
    }

    /// Wakes the worker if it sleeps; it then looks at everything. Whether it did.
    pub(crate) fn rouse(&self) -> bool {
        let ring = self.mailbox.rouse();
        let slept = ring == Ring::Yes;
        self.ring(ring);
        slept
    }

    /// A task that waits here for its time to start was cancelled: it need not wait for that.
    pub(crate) fn start_cancelled(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        self.rouse();
    }

    /// Whether that was so since the last look. The worker's thread only.
    #[inline]
    pub(super) fn take_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed) && self.cancelled.swap(false, Ordering::SeqCst)
    }

    /// The worker announces sleep. False when something has come for it: do not sleep. Its thread only.
    pub(crate) fn lie_down(&self) -> bool {
        if !self.mailbox.lie_down() {
            return false;
        }
        // Who places a task here rings only a worker that sleeps: what came just before that was not rung for.
        if self.backlog() > 0 || self.cancelled.load(Ordering::SeqCst) {
            self.mailbox.get_up();
            return false;
        }
        true
    }

    fn ring(&self, ring: Ring) {
        match ring {
            Ring::Yes => {
                #[cfg(all(test, loom))]
                self.bell.ring();
                self.notifier.notify();
            }
            Ring::No => {}
        }
    }

    /// Puts a task among those that have not started; gives it back when the worker is gone.
    pub(crate) fn push_unstarted(&self, task: TaskPtr) -> Result<(), TaskPtr> {
        match &mut *self.unstarted() {
            None => Err(task),
            Some(unstarted) => {
                unstarted.push_back(task);
                self.backlog.store(unstarted.len(), Ordering::SeqCst);
                Ok(())
            }
        }
    }

    pub(crate) fn backlog(&self) -> usize {
        self.backlog.load(Ordering::SeqCst)
    }

    /// The oldest task that has not started.
    #[inline]
    pub(crate) fn pop_unstarted(&self) -> Option<TaskPtr> {
        if !self.has_backlog() {
            return None;
        }
        let mut unstarted = self.unstarted();
        let unstarted = unstarted.as_mut()?;
        let task = unstarted.pop_front();
        self.backlog.store(unstarted.len(), Ordering::SeqCst);
        if unstarted.is_empty() && unstarted.capacity() > 4096 {
            *unstarted = VecDeque::new();
        }
        task
    }

    /// Takes the older half of what has not started, for an idle worker.
    pub(crate) fn steal(&self) -> VecDeque<TaskPtr> {
        if self.backlog() == 0 {
            return VecDeque::new();
        }
        let mut unstarted = self.unstarted();
        let Some(unstarted) = unstarted.as_mut() else { return VecDeque::new() };
        let half = unstarted.len().div_ceil(2);
        let rest = unstarted.split_off(half);
        let stolen = std::mem::replace(unstarted, rest);
        self.backlog.store(unstarted.len(), Ordering::SeqCst);
        self.foreign.fetch_sub(stolen.len(), Ordering::Relaxed);
        stolen
    }

    /// The worker goes: no task is accepted any more, and those that have not started are returned.
    pub(crate) fn close(&self) -> VecDeque<TaskPtr> {
        let unstarted = self.unstarted().take().unwrap_or_default();
        self.backlog.store(0, Ordering::SeqCst);
        unstarted
    }

    fn unstarted(&self) -> MutexGuard<'_, Option<VecDeque<TaskPtr>>> {
        self.unstarted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds one to a counter that only this thread writes.
#[inline]
pub(crate) fn count(counter: &AtomicU64) {
    counter.store(counter.load(Ordering::Relaxed) + 1, Ordering::Release);
}
