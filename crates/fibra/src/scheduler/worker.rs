//! A worker: one OS thread that resumes coroutines, fires timers and asks the driver.
//!
//! ```text
//!   mailbox ─┐                         ┌──▶ suspended: somebody has its token
//!   woken  ──┼──▶ run queue ──resume───┤
//!   timers ──┤        ▲                ├──▶ yielded: back into the run queue
//!   driver ──┘        └────────────────┘
//!   unstarted (any worker may take) ───────▶ first resume: a stack is bound, and from now on it stays here
//! ```
//!
//! How it sleeps is in [`idle`], how it ends in [`end`], the table of what it has started in [`super::started`], how the time passes in a simulation in [`standstill`].
//!
//! Everything in [`Worker`] belongs to its thread; what others may touch is in [`Shared`]. No cell is borrowed while a coroutine
//! runs. A worker with nothing to do sleeps in its driver until an event, a timer or a letter; there is no tick.

mod end;
mod idle;
mod standstill;

use super::core::{Core, Phase};
use super::living;
use super::run_queue::RunQueue;
use super::shared::Shared;
use super::spin::Lookout;
use super::started::Tasks;
use super::state::{Mode, Signal, Wake};
use super::task::TaskPtr;
use super::waiting::Tick;
use crate::time::timer_wheel::{TimerKey, TimerWheel};
use fibra_context::{CoroutineResult, Label, StackCache, arena, coroutine};
use fibra_driver::{Completion, Driver, Token};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How many coroutines are resumed between two looks at the timers and the driver.
const RESUMES_PER_LOOK: u32 = 64;

/// How many operations in a row may succeed without parking before the coroutine yields.
const BUDGET: u32 = 64;

/// How many unused stacks a worker keeps at hand.
const STACKS: usize = 1024;

/// How many looks there are between two rounds of giving back the memory of stacks while there is work.
const LOOKS_PER_TRIM: u32 = 1 << 14;

/// How many stacks give their memory back at once: about a third of a millisecond.
const TRIM: usize = 1024;

/// How many free stacks keep their memory.
const DIRTY_STACKS: usize = 1024;

/// How long what waits for a stack waits for the next try, when no coroutine ends meanwhile.
const STARVED: Duration = Duration::from_millis(100);

/// Why a coroutine gave control back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pause {
    /// It sleeps: a waker will queue it.
    Parked,
    /// It can go on when the others have had their turn.
    Yielded,
}

pub(crate) struct Worker {
    pub(crate) core: Arc<Core>,
    pub(crate) shared: Arc<Shared>,
    index: usize,
    ready: RefCell<RunQueue>,
    timers: RefCell<TimerWheel<TaskPtr>>,
    pub(crate) driver: RefCell<Driver>,
    stacks: RefCell<StackCache>,
    /// The started tasks; each holds its own reference.
    tasks: RefCell<Tasks>,
    /// Tasks that cannot start because stacks have run out.
    starved: RefCell<VecDeque<TaskPtr>>,
    current: Cell<Option<TaskPtr>>,
    budget: Cell<u32>,
    /// What a coroutine's budget is when it is resumed.
    allowance: u32,
    /// Resumes until the next look at timers and driver.
    until_look: Cell<u32>,
    resumes_per_look: u32,
    /// Looks until memory is given back.
    until_trim: Cell<u32>,
    /// Whose turn it is when both queues have something: fairness between what was woken and what has not started.
    turn: Cell<bool>,
    /// Whether anything has run since memory was last given back.
    untidy: Cell<bool>,
    lookout: Lookout,
    killed: Cell<bool>,
    /// Whether requests to stop have been put off, because a coroutine was suspended while it unwound.
    put_off: Cell<bool>,
    random: Cell<u64>,
    /// About the present, for notes on waiting.
    tick: Cell<Tick>,
    completions: RefCell<Vec<Completion>>,
    expired: RefCell<Vec<TaskPtr>>,
    mail: RefCell<Vec<TaskPtr>>,
}

/// Runs `f`, which is a worker's own code: a panic out of it aborts.
#[inline]
pub(crate) fn or_abort<R>(f: impl FnOnce() -> R) -> R {
    struct Abort;
    impl Drop for Abort {
        fn drop(&mut self) {
            eprintln!("fibra: a worker has panicked, and its coroutines cannot go on");
            std::process::abort();
        }
    }
    let abort = Abort;
    let result = f();
    std::mem::forget(abort);
    result
}

thread_local! {
    /// The worker that this thread is, or null.
    static HERE: Cell<*const Worker> = const { Cell::new(ptr::null()) };
}

impl Worker {
    pub(crate) fn new(core: Arc<Core>, index: usize, driver: Driver) -> Worker {
        let shared = Arc::clone(&core.workers[index]);
        let now = core.now();
        let seed = core.virtual_time.as_ref().and_then(|time| time.seed());
        let seeded = seed.unwrap_or(0).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        Worker {
            ready: RefCell::new(RunQueue::new(core.schedule.clone())),
            timers: RefCell::new(TimerWheel::new(now)),
            driver: RefCell::new(driver),
            stacks: RefCell::new(StackCache::new(STACKS)),
            tasks: RefCell::default(),
            starved: RefCell::default(),
            current: Cell::new(None),
            budget: Cell::new(BUDGET),
            allowance: if seed.is_some() { 1 } else { BUDGET },
            until_look: Cell::new(1),
            // What has become ready is among the next that a seed chooses from.
            resumes_per_look: if seed.is_some() { 1 } else { RESUMES_PER_LOOK },
            until_trim: Cell::new(LOOKS_PER_TRIM),
            turn: Cell::new(false),
            untidy: Cell::new(false),
            lookout: Lookout::default(),
            killed: Cell::new(false),
            put_off: Cell::new(false),
            // Not zero, of which there would come nothing else.
            random: Cell::new(
                (0x9E37_79B9_7F4A_7C15 ^ seeded ^ (index as u64 + 1).wrapping_mul(0xD134_2543_DE82_EF95))
                    .max(1),
            ),
            tick: Cell::new(Tick::now()),
            completions: RefCell::default(),
            expired: RefCell::default(),
            mail: RefCell::default(),
            core,
            shared,
            index,
        }
    }

    /// The worker of the calling thread.
    #[inline]
    pub(crate) fn here() -> Option<&'static Worker> {
        // SAFETY: `enter` sets the pointer for as long as its worker exists on this very thread. The reference is not kept longer: code that
        // runs on this thread in between belongs to the worker's own coroutines, which do not run after it is gone.
        HERE.with(|here| unsafe { here.get().as_ref() })
    }

    /// Makes this the thread's worker while `f` runs. A panic out of `f` aborts the process: it is none of a coroutine's but the worker's own
    /// (or a [`Schedule`](super::run_queue::Schedule)'s or a clock's), and coroutines that others borrow from would be left behind.
    pub(crate) fn enter<R>(&self, f: impl FnOnce() -> R) -> R {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                HERE.with(|here| here.set(ptr::null()));
            }
        }
        let before = HERE.with(|here| here.replace(self));
        assert!(before.is_null(), "a thread is one worker at a time");
        let _leave = Leave;
        let context = super::park::of_this_thread();
        living::note_worker(context.header(), Some(&self.shared));
        let result = or_abort(f);
        living::note_worker(context.header(), None);
        result
    }

    /// The coroutine that runs; none while the worker itself does.
    #[inline]
    pub(crate) fn current(&self) -> Option<TaskPtr> {
        self.current.get()
    }

    /// Runs a user's code in the middle of a context's wait: as what this thread runs besides coroutines, or, where that is what waits, as a context of
    /// its own. If it waits, it blocks the thread; as the waiting context it would take the wake-up that is on its way already.
    pub(super) fn aside<R>(f: impl FnOnce() -> R) -> R {
        struct Back(&'static Worker, TaskPtr);
        impl Drop for Back {
            fn drop(&mut self) {
                self.0.current.set(Some(self.1));
            }
        }
        match Worker::here().and_then(|worker| Some(Back(worker, worker.current.take()?))) {
            Some(_back) => f(),
            None => super::park::run_as_another(f),
        }
    }

    /// About the present: as of the last look.
    #[inline(always)]
    pub(super) fn tick(&self) -> Tick {
        self.tick.get()
    }

    #[inline]
    pub(crate) fn is(&self, shared: *const Shared) -> bool {
        ptr::eq(Arc::as_ptr(&self.shared), shared)
    }

    pub(crate) fn index(&self) -> usize {
        self.index
    }

    #[inline]
    pub(crate) fn push_ready(&self, task: TaskPtr) {
        self.ready.borrow_mut().push(task);
    }

    /// A pseudo-random number (xorshift64*; Vigna 2014), for choices that only have to differ.
    pub(crate) fn random(&self) -> u64 {
        let mut x = self.random.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random.set(x);
        x.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Lets the others run once, and comes back when it is this coroutine's turn again.
    #[inline]
    pub(crate) fn yield_now(&self) {
        if let Some(task) = self.current.get() {
            // SAFETY: `task` runs here; and the worker queues it, so it will be resumed.
            unsafe { task.suspend(Pause::Yielded) };
        }
    }

    /// Called for each operation that succeeded without parking.
    #[inline]
    pub(crate) fn spend(&self) {
        let left = self.budget.get() - 1;
        self.budget.set(left);
        if left == 0 {
            self.budget.set(self.allowance);
            if self.allowance == BUDGET || self.random() % 4 == 0 {
                self.yield_now();
            }
        }
    }

    #[inline]
    pub(crate) fn set_timer(&self, deadline: Instant, task: TaskPtr) -> TimerKey {
        self.timers.borrow_mut().insert(deadline, task)
    }

    #[inline]
    pub(crate) fn clear_timer(&self, timer: TimerKey) {
        self.timers.borrow_mut().cancel(timer);
    }

    /// Runs tasks until `over` says that it is time to stop, which is asked when there is nothing to do, and now and then.
    pub(crate) fn run(&self, over: &dyn Fn() -> bool) {
        let over = &|| {
            if self.core.watch_end(&self.shared) == Phase::Killing {
                self.kill();
            }
            over()
        };
        let mut stolen = None;
        loop {
            while let Some(mut task) = stolen.take().or_else(|| self.next()) {
                loop {
                    let yielded = self.resume(task);
                    if self.put_off.get() {
                        self.catch_up();
                    }
                    let left = self.until_look.get() - 1;
                    self.until_look.set(left);
                    if left > 0 && yielded && !self.has_arrivals() {
                        task = self.ready.borrow_mut().rotate(task);
                        continue;
                    }
                    if yielded {
                        self.push_ready(task);
                    }
                    break;
                }
                if self.until_look.get() == 0 {
                    self.look();
                    if over() {
                        return;
                    }
                }
            }
            self.fire_timers();
            if !self.ready.borrow().is_empty() {
                continue;
            }
            if over() {
                return;
            }
            // The end of the runtime makes daemons run, in order to unwind.
            if !self.ready.borrow().is_empty() {
                continue;
            }
            stolen = self.steal();
            if stolen.is_none() {
                self.sleep(over);
                self.fire_timers();
                // It may have been woken in order to steal: see `Core::wake_a_thief`.
                if self.ready.borrow().is_empty() && !self.has_arrivals() {
                    stolen = self.steal();
                } else if self.core.backlog_besides(self.index) {
                    self.core.wake_a_thief(self.index);
                }
            }
        }
    }

    fn steal(&self) -> Option<TaskPtr> {
        if self.core.workers.len() == 1 {
            return None;
        }
        self.core.steal(self.index, self.random() as usize)
    }

    /// A look at what happened outside, without waiting.
    #[cold]
    fn look(&self) {
        self.until_look.set(self.resumes_per_look);
        if let Some(time) = &self.core.virtual_time {
            time.toil(self.resumes_per_look);
        }
        self.tick.set(Tick::now());
        self.fire_timers();
        // Another worker may have given a stack back.
        self.feed(1);
        if self.driver.borrow().has_sources() {
            self.ask_driver(Some(Duration::ZERO));
        }
        let left = self.until_trim.get() - 1;
        self.until_trim.set(left);
        if left == 0 {
            self.until_trim.set(LOOKS_PER_TRIM);
            arena::trim_some(TRIM, DIRTY_STACKS);
        }
    }

    /// Whether there is something besides the run queue.
    #[inline]
    fn has_arrivals(&self) -> bool {
        self.shared.mailbox.is_full() || self.shared.has_backlog()
    }

    #[inline]
    fn next(&self) -> Option<TaskPtr> {
        if !self.has_arrivals() {
            let mut ready = self.ready.borrow_mut();
            let task = ready.pop();
            if let Some(later) = ready.peek(3) {
                later.fetch_header();
                if let Some(soon) = ready.peek(1) {
                    // SAFETY: what is in the run queue is alive, and bound to this worker if it is bound.
                    unsafe { soon.fetch_stack() };
                }
            }
            return task;
        }
        if self.shared.mailbox.is_full() {
            self.read_mail();
        }
        if self.core.schedule.is_some() {
            // All that can run is the schedule's to choose from.
            while let Some(task) = self.shared.pop_unstarted() {
                self.push_ready(task);
            }
        }
        // By turns, so that neither what was woken nor what has not started keeps the other waiting.
        let turn = !self.turn.get();
        self.turn.set(turn);
        if turn {
            self.shared.pop_unstarted().or_else(|| self.ready.borrow_mut().pop())
        } else {
            self.ready.borrow_mut().pop().or_else(|| self.shared.pop_unstarted())
        }
    }

    #[cold]
    fn read_mail(&self) {
        let mut mail = self.mail.borrow_mut();
        self.shared.mailbox.take(&mut mail);
        let mut ready = self.ready.borrow_mut();
        mail.drain(..).for_each(|task| ready.push(task));
    }

    /// Runs a task until it parks, yields or ends. True when it yielded, and has to be queued again.
    #[inline]
    fn resume(&self, task: TaskPtr) -> bool {
        // SAFETY: a task in a queue is alive: it has a reference of its own, or the queue's.
        let header = unsafe { task.header() };
        if header.worker.load(Ordering::Relaxed).is_null() && !self.start(task) {
            return false;
        }
        self.current.set(Some(task));
        self.shared.note_resumed(task);
        self.budget.set(self.allowance);
        // SAFETY: the task is bound to this worker, and only its thread touches the cell; the code that runs inside never does.
        let over = unsafe { (*header.coroutine.get()).as_mut() }
            .expect("a bound task has a coroutine until it ends")
            .resume(());
        self.current.set(None);
        match over {
            CoroutineResult::Yield(pause) => pause == Pause::Yielded,
            CoroutineResult::Return(()) => {
                self.bury(task);
                false
            }
        }
    }

    /// Gives a task that has not started its stack, and binds it to this worker. False when there is no stack, and the task waits for
    /// another to end; or when the runtime is ending, and the task is dropped.
    fn start(&self, task: TaskPtr) -> bool {
        // What has not started when the runtime ends, or when it is cancelled, is dropped, and on a stack like any other: a destructor may park.
        // SAFETY: the queue's reference, which becomes the task's own.
        let header = unsafe { task.header() };
        let dropped = self.killed.get() || header.state.is_killed();
        let size = match header.stack_size {
            0 => self.core.stack_size,
            size => size as usize,
        };
        let stack = self.stacks.borrow_mut().take(size);
        let stack = match stack {
            Ok(stack) => stack,
            Err(_) if dropped => {
                self.abandon(task);
                return false;
            }
            Err(error) => {
                self.core.begin_starving(&error);
                self.starved.borrow_mut().push_back(task);
                return false;
            }
        };
        let label = Label::coroutine(header.id, header.name().unwrap_or_default());
        // SAFETY: the name is in the task, which lives until its stack has been given back, and giving back clears the label.
        unsafe { stack.set_label(label) };
        let body = coroutine(stack, move |yielder, ()| {
            // SAFETY: this is the one run of the task, by its worker; the task's own reference is given back in `bury`, after this.
            unsafe { if dropped { task.unwind_unrun(yielder) } else { task.run(Some(yielder)) } }
        });
        // SAFETY: nobody else has the task yet: it is in no queue any more and has no token.
        unsafe { *header.coroutine.get() = Some(body) };
        header.slot.set(self.tasks.borrow_mut().insert(task.token(), &self.shared.started));
        header.worker.store(Arc::as_ptr(&self.shared).cast_mut(), Ordering::Release);
        true
    }

    /// Takes back what an ended task held.
    fn bury(&self, task: TaskPtr) {
        // SAFETY: the task's own reference, which this function drops at its end.
        let task = unsafe { task.into_ref() };
        let header = task.header();
        // SAFETY: as in `resume`.
        let coroutine = unsafe { (*header.coroutine.get()).take() };
        let stack = coroutine.expect("a task ends once").into_stack();
        self.stacks.borrow_mut().give(stack);
        self.tasks.borrow_mut().remove(header.slot.get());
        self.untidy.set(true);
        self.core.note_end(&self.shared, header.is_daemon());
        self.feed(1);
    }

    fn fire_timers(&self) {
        if self.shared.take_cancelled() {
            self.hurry_cancelled();
        }
        if self.timers.borrow().is_empty() {
            return;
        }
        let now = self.core.now();
        let mut expired = self.expired.borrow_mut();
        self.timers.borrow_mut().expire(now, &mut expired);
        for task in expired.drain(..) {
            // SAFETY: a parked task is alive; one that was spawned with a delay has the timer's reference.
            if unsafe { task.header() }.worker.load(Ordering::Relaxed).is_null() {
                self.push_ready(task);
            } else {
                // SAFETY: as above; it cannot run before we return.
                unsafe { super::park::signal(task, Signal::Timeout) };
            }
        }
    }

    /// What was cancelled while it waited for its time to start is started now, which is to drop it.
    #[cold]
    fn hurry_cancelled(&self) {
        // SAFETY: what has a timer is alive; one that is not bound has not started.
        let cancelled = |task: &TaskPtr| unsafe {
            let header = task.header();
            header.worker.load(Ordering::Relaxed).is_null() && header.state.is_killed()
        };
        let cancelled = self.timers.borrow_mut().cancel_all(cancelled);
        cancelled.into_iter().for_each(|task| self.push_ready(task));
    }

    fn ask_driver(&self, timeout: Option<Duration>) {
        let mut completions = self.completions.borrow_mut();
        let result = self.driver.borrow_mut().wait(timeout, &mut completions);
        for Completion { token } in completions.drain(..) {
            super::park::wake(token);
        }
        if let Err(error) = result {
            // Without its driver the worker can neither wait nor be woken; there is nothing left to try.
            eprintln!("fibra: worker {} cannot wait for events: {error}", self.index);
            std::process::abort();
        }
    }

    /// A coroutine begins a sleep that requests to stop do not end because the thread unwinds.
    #[cold]
    pub(crate) fn put_off(&self) {
        self.put_off.set(true);
    }

    /// If no coroutine is suspended in mid-unwind any more: delivers what was put off, and lets requests end the sleeps that began meanwhile.
    #[cold]
    fn catch_up(&self) {
        // std's count is the thread's, and no coroutine runs now: so it tells of those that are suspended.
        if std::thread::panicking() {
            return;
        }
        self.put_off.set(false);
        for task in self.tasks.borrow().iter() {
            // SAFETY: a started task is alive until `bury`, which is this thread's.
            let header = unsafe { task.header() };
            if header.put_off.replace(false) {
                let (mode, limit) = super::park::all_requests(task);
                let enqueue =
                    match header.state.allow(Mode { cancel: mode.cancel || limit.is_some(), ..mode }) {
                        // Its timer does not know of the limit: it looks itself, and sleeps on.
                        Wake::Nothing if limit.is_some() => header.state.wake(Signal::Cancel),
                        enqueue => enqueue,
                    };
                if enqueue == Wake::Enqueue {
                    self.push_ready(task);
                }
            }
        }
    }

    /// Lets tasks that wait for a stack try again.
    #[inline]
    fn feed(&self, count: usize) {
        let mut starved = self.starved.borrow_mut();
        let count = count.min(starved.len());
        if count > 0 {
            self.core.end_starving(count);
            starved.drain(..count).for_each(|task| self.push_ready(task));
        }
    }

    /// Whether calls on files go to a ring.
    pub(crate) fn has_ring(&self) -> bool {
        self.with_driver(Driver::has_ring)
    }

    /// Spends a driver call on the running coroutine's behalf.
    #[inline]
    pub(crate) fn with_driver<R>(&self, f: impl FnOnce(&mut Driver) -> R) -> R {
        f(&mut self.driver.borrow_mut())
    }

    /// The token of the running coroutine.
    #[inline]
    pub(crate) fn token(&self) -> Option<Token> {
        self.current.get().map(TaskPtr::token)
    }
}
