//! What the workers of one runtime have in common: how it ends, and where a new task goes.
//!
//! # The end
//! `Running → Draining → Killing`. While draining, whoever ends a task looks whether it was the last ([`Core::all_done`]). Then daemons
//! are asked to unwind, and the workers stop when theirs have, or when patience is at its end.
//!
//! # Counting without sharing
//! Each worker counts what it has spawned and what has ended on it, in words that only it writes. All is done when the sums are
//! equal, *read in the order: ended first, then spawned*. That this is no accident of timing: let a task be counted
//! as ended; its spawning happened before its end, so the later reading of the spawn counts has it. So the ended that were read are among the spawned that
//! were read, and equal sums mean equal sets. Could a live task be missing in both? Its spawner was a task that is not a daemon
//! (or the main one, likewise). If the spawner has ended it is in the ended that were read, and it spawned before it
//! ended, so the child's spawning was read too. If it has not ended, it is itself a live task that is missing, and so on back to the main task, which has ended. (Threads outside and daemons can spawn
//! at any time; what they spawn during the end may be cut short like a daemon, and what a daemon spawns is one unless it is said otherwise.)
//! A thread of [`crate::thread`] that is no daemon counts as a task: it is counted as spawned before it runs, and as ended after its last act.
//!
//! **Somebody sees that all have ended.** Who ends a task counts it and then looks whether the runtime is draining; who begins the draining
//! says so and then looks at the counts. A processor may let both look before either is seen, and the count is not worth a fence for each task.
//! So a worker looks once more, behind a fence, before it sleeps ([`Core::watch_end`]), and a thread's end has a fence of its own; of two fences one comes first, and what stands before it is seen after the other.

use super::living;
use super::run_queue::Schedule;
use super::shared::{Shared, count};
use super::sync::{self, AtomicU8, AtomicU64, AtomicUsize, Condvar, Mutex, Ordering, fence};
use super::task::{TaskPtr, TaskRef};
use super::virtual_time::VirtualTime;
use super::worker::Worker;
use crate::time::clock::Clock;
use std::io;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long daemons may take to unwind when their runtime ends.
const PATIENCE: Duration = Duration::from_secs(1);

/// A worker may hold this many more tasks than another before what it spawns goes to the other: moving costs more than a small difference.
const SLACK: usize = 8;

/// How far a runtime has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    Running,
    /// The main task has ended: the others are waited for.
    Draining,
    /// Only daemons are left: they unwind.
    Killing,
}

pub(crate) struct Core {
    /// Which no other runtime of this process has or had.
    pub(crate) number: u64,
    pub(crate) workers: Vec<Arc<Shared>>,
    pub(crate) stack_size: usize,
    pub(crate) schedule: Option<Arc<dyn Schedule>>,
    pub(crate) driver_name: &'static str,
    clock: Option<Arc<dyn Clock>>,
    /// Set in a simulation: the clock is this, and there is one worker.
    pub(crate) virtual_time: Option<Arc<VirtualTime>>,
    phase: AtomicU8,
    /// Non-daemon tasks spawned by threads that are no workers of this runtime.
    spawned_outside: AtomicU64,
    /// Threads that have ended, daemons aside: see [`crate::thread`].
    finished_outside: AtomicU64,
    next_outside: AtomicUsize,
    done: Mutex<bool>,
    on_done: Condvar,
    killing_since: OnceLock<Instant>,
    /// How many tasks wait for a stack.
    starving: AtomicUsize,
    /// Why the first of them had to.
    starving_because: OnceLock<String>,
}

impl Core {
    pub(crate) fn new(
        workers: Vec<Arc<Shared>>,
        stack_size: usize,
        driver_name: &'static str,
        schedule: Option<Arc<dyn Schedule>>,
        clock: Option<Arc<dyn Clock>>,
        virtual_time: Option<Arc<VirtualTime>>,
    ) -> Core {
        Core {
            number: living::next_runtime(),
            workers,
            stack_size,
            schedule,
            driver_name,
            clock,
            virtual_time,
            phase: AtomicU8::new(Phase::Running as u8),
            spawned_outside: AtomicU64::new(0),
            finished_outside: AtomicU64::new(0),
            next_outside: AtomicUsize::new(0),
            done: Mutex::new(false),
            on_done: Condvar::new(),
            killing_since: OnceLock::new(),
            starving: AtomicUsize::new(0),
            starving_because: OnceLock::new(),
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Instant {
        match &self.clock {
            None => Instant::now(),
            Some(clock) => Worker::aside(|| clock.now()),
        }
    }

    pub(crate) fn until(&self, deadline: Instant) -> Duration {
        match &self.clock {
            None => deadline.saturating_duration_since(Instant::now()),
            Some(clock) => clock.until(deadline),
        }
    }

    #[inline]
    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::SeqCst) {
            0 => Phase::Running,
            1 => Phase::Draining,
            _ => Phase::Killing,
        }
    }

    /// The main task has ended.
    pub(crate) fn drain(&self) {
        self.phase.fetch_max(Phase::Draining as u8, Ordering::SeqCst);
        self.check_done(None);
    }

    /// Only daemons are left.
    pub(crate) fn kill(&self) {
        self.killing_since.get_or_init(Instant::now);
        self.phase.fetch_max(Phase::Killing as u8, Ordering::SeqCst);
        for worker in &self.workers {
            worker.rouse();
        }
        // One that begins only now sees the phase.
        living::kill_threads(self.number);
    }

    pub(crate) fn is_out_of_patience(&self) -> bool {
        self.killing_since.get().is_some_and(|since| since.elapsed() > PATIENCE) || self.is_hopeless()
    }

    /// Whether it is a simulation in which nothing that is left will ever run.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.virtual_time.as_ref().is_some_and(|time| time.is_hopeless())
    }

    /// When patience ends, for workers that sleep meanwhile.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.killing_since
            .get()
            .map(|since| (PATIENCE + Duration::from_millis(1)).saturating_sub(since.elapsed()))
    }

    /// Whether every task has ended, daemons aside.
    pub(crate) fn all_done(&self) -> bool {
        fence(Ordering::SeqCst);
        let finished: u64 = self.workers.iter().map(|worker| worker.finished.load(Ordering::Acquire)).sum();
        let finished = finished + self.finished_outside.load(Ordering::Acquire);
        let spawned: u64 = self.workers.iter().map(|worker| worker.spawned.load(Ordering::Acquire)).sum();
        finished == spawned + self.spawned_outside.load(Ordering::Acquire)
    }

    /// Counts a thread that is no daemon as spawned by the calling context, as [`place`](Self::place) does a task.
    pub(crate) fn note_thread(&self) {
        match Worker::here().filter(|worker| std::ptr::eq(Arc::as_ptr(&worker.core), self)) {
            Some(worker) => count(&worker.shared.spawned),
            None => {
                self.spawned_outside.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Counts a thread as ended that was counted as spawned. By that thread, or by who could not start it.
    pub(crate) fn note_thread_end(&self) {
        self.finished_outside.fetch_add(1, Ordering::AcqRel);
        // It does not look again, so it looks behind a fence.
        fence(Ordering::SeqCst);
        if self.phase() != Phase::Running {
            self.check_done(None);
        }
    }

    /// Counts a task as ended on `worker`, which is the caller's.
    pub(crate) fn note_end(&self, worker: &Shared, daemon: bool) {
        worker.leave();
        if !daemon {
            count(&worker.finished);
        }
        if self.phase() != Phase::Running {
            self.check_done(Some(worker));
        }
    }

    /// How far the runtime has come. Asked by each worker before it sleeps, and now and then.
    pub(crate) fn watch_end(&self, worker: &Shared) -> Phase {
        // Pairs with the fence in `all_done`: see the module's documentation.
        fence(Ordering::SeqCst);
        let phase = self.phase();
        if phase == Phase::Draining {
            self.check_done(Some(worker));
        }
        phase
    }

    /// After the end of a task while draining: tells whoever waits for the last. A worker need not tell itself: it looks before it sleeps.
    fn check_done(&self, teller: Option<&Shared>) {
        if self.phase() == Phase::Draining && self.all_done() {
            *self.done.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.on_done.notify_all();
            if teller.is_none_or(|worker| !std::ptr::eq(worker, &*self.workers[0])) {
                self.workers[0].rouse();
            }
        }
    }

    /// Blocks the calling thread, which is no worker, until every task has ended.
    pub(crate) fn wait_until_done(&self) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        while !*done {
            done = self.on_done.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Queues a task that has not started. Its place: here, unless another worker holds clearly fewer.
    pub(crate) fn place(&self, task: TaskRef) {
        if self.phase() == Phase::Killing {
            return refuse(task.into_ptr());
        }
        let daemon = task.header().is_daemon();
        let here = Worker::here().filter(|worker| std::ptr::eq(Arc::as_ptr(&worker.core), self));
        let Some(worker) = here else {
            if !daemon {
                self.spawned_outside.fetch_add(1, Ordering::AcqRel);
            }
            let turn = self.next_outside.fetch_add(1, Ordering::Relaxed);
            let (one, other) = (turn % self.workers.len(), (turn / self.workers.len()) % self.workers.len());
            return self.send(self.emptier(one, other), task.into_ptr());
        };
        if !daemon {
            count(&worker.shared.spawned);
        }
        if self.workers.len() == 1 {
            worker.shared.enter(1);
            return worker.push_ready(task.into_ptr());
        }
        let random = worker.random() as usize;
        let other = self.emptier(self.another(worker, random), self.another(worker, random >> 32));
        if worker.shared.live() > self.workers[other].live() + SLACK {
            return self.send(other, task.into_ptr());
        }
        worker.shared.enter(1);
        if let Err(task) = worker.shared.push_unstarted(task.into_ptr()) {
            return refuse(task);
        }
        self.wake_a_thief(worker.index());
    }

    /// Queues a task that must run on this very worker.
    pub(crate) fn place_here(worker: &Worker, task: TaskRef) {
        if worker.core.phase() == Phase::Killing {
            return refuse(task.into_ptr());
        }
        if !task.header().is_daemon() {
            count(&worker.shared.spawned);
        }
        worker.shared.enter(1);
        worker.push_ready(task.into_ptr());
    }

    /// A worker that is not `worker`.
    fn another(&self, worker: &Worker, random: usize) -> usize {
        let choice = random % (self.workers.len() - 1);
        if choice >= worker.index() { choice + 1 } else { choice }
    }

    fn emptier(&self, one: usize, other: usize) -> usize {
        let live = |index: usize| self.workers[index].live();
        if live(other) < live(one) { other } else { one }
    }

    pub(super) fn send(&self, index: usize, task: TaskPtr) {
        let worker = &self.workers[index];
        worker.enter_foreign();
        match worker.push_unstarted(task) {
            // Awake, it may be busy for long: then somebody idle can take it.
            Ok(()) if !worker.rouse() => self.wake_a_thief(index),
            Ok(()) => {}
            Err(task) => refuse(task),
        }
    }

    /// There is something that an idle worker could start: wakes one that sleeps. One that is about to sleep looks at the backlogs after it has said so.
    /// Who is woken has the baton: it steals before it runs anything else, or, when it has something of its own, wakes another in its stead.
    pub(super) fn wake_a_thief(&self, besides: usize) {
        sync::in_order();
        for (index, worker) in self.workers.iter().enumerate() {
            if index != besides && worker.mailbox.is_asleep() && worker.rouse() {
                return;
            }
        }
    }

    /// An idle worker takes tasks that have not started from one that has more than it can start at once. It runs the one that is returned at once;
    /// the others stay where yet others can take them, who are told. `first`: where to look first.
    pub(super) fn steal(&self, thief: usize, first: usize) -> Option<TaskPtr> {
        let count = self.workers.len();
        let mut stolen = (0..count)
            .map(|i| first.wrapping_add(i) % count)
            .filter(|&victim| victim != thief)
            .map(|victim| self.workers[victim].steal())
            .find(|stolen| !stolen.is_empty())?;
        let worker = &self.workers[thief];
        worker.enter(stolen.len());
        let task = stolen.pop_front();
        let others = !stolen.is_empty();
        for task in stolen {
            if let Err(task) = worker.push_unstarted(task) {
                refuse(task);
            }
        }
        if others || self.backlog_besides(thief) {
            self.wake_a_thief(thief);
        }
        task
    }

    /// Whether another worker has something that an idle one could start.
    pub(crate) fn backlog_besides(&self, index: usize) -> bool {
        self.workers.len() > 1
            && self.workers.iter().enumerate().any(|(other, worker)| other != index && worker.backlog() > 0)
    }

    /// A task cannot start: there is no stack. Says so, once.
    #[cold]
    pub(crate) fn begin_starving(&self, error: &io::Error) {
        self.starving.fetch_add(1, Ordering::Relaxed);
        if self.starving_because.set(error.to_string()).is_ok() {
            tracing::warn!(%error, "a coroutine waits for a stack until another has ended");
        }
    }

    /// Tasks that waited for a stack try again.
    pub(crate) fn end_starving(&self, count: usize) {
        self.starving.fetch_sub(count, Ordering::Relaxed);
    }

    /// Whether one more coroutine can be promised a stack.
    #[inline]
    pub(crate) fn check_stacks(&self) -> io::Result<()> {
        if self.starving.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let because = self.starving_because.get().map_or("out of memory", String::as_str);
        Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("{because} (other coroutines wait for a stack already)"),
        ))
    }

    /// Queues a task for `start` on this worker, where it stays.
    pub(crate) fn place_later(worker: &Worker, task: TaskRef, start: Instant) {
        if worker.core.phase() == Phase::Killing {
            return refuse(task.into_ptr());
        }
        if !task.header().is_daemon() {
            count(&worker.shared.spawned);
        }
        worker.shared.enter(1);
        worker.set_timer(start, task.into_ptr());
    }
}

/// The runtime is ending, or gone: the task ends unrun, here and now. (That is no error of spawning, since [`spawn`](crate::spawn()) would panic; and this may
/// well be a destructor of a coroutine that unwinds.)
#[cold]
fn refuse(task: TaskPtr) {
    // SAFETY: the task was refused by the queue, so its reference is still the caller's; and the closure is still on the caller's thread.
    unsafe {
        task.abandon();
        drop(task.into_ref());
    }
}
