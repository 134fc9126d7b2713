//! Parking: how a context sleeps and how it is woken, for coroutines and OS threads alike.
//!
//! Everything in the library that waits goes through [`park`]: it leaves its [`token`] where the waker will find it, calls `park`,
//! and looks at the [`Reason`] that comes back. The rules are those of [`super::state`]:
//!
//! * Whoever takes a token out of a wait queue calls [`wake`] with it, once.
//! * Who is told `TimedOut` or `Cancelled` takes its token out of the queue; when it is not there any more the wake-up is on its way, and
//!   [`park_until_woken`] waits for it.
//! * A primitive cleans up first and only then lets a cancellation unwind ([`crate::cancel::unwind`]).

use super::futex;
use super::living;
use super::spin;
use super::state::{Mode, Prepare, Reason, Signal, Wake};
use super::sync::thread_local;
use super::task::{Header, TaskPtr, TaskRef, new_thread};
use super::virtual_time;
use super::waiting::{Tick, WaitsFor};
use super::worker::{Pause, Worker};
use crate::cancel::{self, Requests};
use crate::task_local::Locals;
use fibra_driver::Token;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

thread_local! {
    /// The context of this OS thread, for when no coroutine runs on it; the thread owns a reference. A word without a destructor, so that
    /// the destructors of other thread-locals can use it to the thread's very end.
    static THREAD: Cell<Option<TaskPtr>> = const { Cell::new(None) };
    /// Gives the thread's reference back.
    static END: End = const { End };
}

struct End;

impl Drop for End {
    fn drop(&mut self) {
        end_context();
    }
}

/// Gives the reference back that `new_context` made for this thread, if it did.
fn end_context() {
    if let Ok(Some(task)) = THREAD.try_with(Cell::get) {
        // SAFETY: the thread's reference, which it has until the next line but one.
        let header = unsafe { task.header() };
        header.locals.destroy();
        living::unlist(header.id);
    }
    if let Ok(Some(task)) = THREAD.try_with(Cell::take) {
        // SAFETY: the reference that `new_context` made, and nobody else's now.
        drop(unsafe { task.into_ref() });
    }
}

/// The context of this OS thread.
#[inline]
fn thread() -> TaskPtr {
    THREAD.with(Cell::get).unwrap_or_else(new_context)
}

#[cold]
fn new_context() -> TaskPtr {
    let task = new_thread(std::thread::current().name().map(Box::from)).into_ptr();
    THREAD.with(|thread| thread.set(Some(task)));
    match END.try_with(|_| ()) {
        // SAFETY: the thread's reference.
        Ok(()) => std::mem::forget(living::list(unsafe { task.add_ref() }, None)),
        // What comes now is left to the end of the process.
        // SAFETY: the reference is the thread's, and is not given back any more.
        Err(_) => unsafe { task.header() }.locals.close(),
    }
    task
}

/// The context that this OS thread is besides its coroutines.
pub(super) fn of_this_thread() -> TaskRef {
    // SAFETY: the thread has a reference.
    unsafe { thread().add_ref() }
}

/// The context that is running: the coroutine, or else the OS thread.
#[inline(always)]
pub(crate) fn with_current<R>(f: impl FnOnce(TaskPtr) -> R) -> R {
    match Worker::here().and_then(Worker::current) {
        Some(task) => f(task),
        None => f(thread()),
    }
}

/// The same without making a context for an OS thread that has none yet.
#[inline(always)]
pub(crate) fn with_existing<R>(f: impl FnOnce(Option<&Header>) -> R) -> R {
    let task = Worker::here().and_then(Worker::current).or_else(|| THREAD.with(Cell::get));
    // SAFETY: the running context is alive.
    f(task.map(|task| unsafe { task.header() }))
}

/// The running context's task-locals.
#[inline]
pub(crate) fn with_locals<R>(f: impl FnOnce(&Locals) -> R) -> R {
    // SAFETY: the running context is alive.
    with_current(|task| f(unsafe { &task.header().locals }))
}

/// A counted reference to the running context.
pub(crate) fn current() -> TaskRef {
    // SAFETY: the running context is alive.
    with_current(|task| unsafe { task.add_ref() })
}

/// The running context's token.
#[inline]
pub(crate) fn token() -> Token {
    with_current(TaskPtr::token)
}

/// How a wait that is begun here and now may end, besides by what is waited for and its own deadline.
///
/// While the thread unwinds no request ends it: a second unwind out of a destructor would abort the process. Another coroutine of this worker
/// may be the one that is suspended in mid-unwind, since std counts per thread; so delivery is put off until nobody is, and then the worker makes up
/// for it ([`Worker::catch_up`]).
fn cancellable(task: TaskPtr) -> (Mode, Option<Instant>) {
    if std::thread::panicking() {
        return (Mode { put_off: true, ..Mode::default() }, None);
    }
    all_requests(task)
}

/// The requests to stop that end a wait of a context that does not unwind, and the limit that its regions set.
pub(super) fn all_requests(task: TaskPtr) -> (Mode, Option<Instant>) {
    // SAFETY: the context is this thread's: the running one, or a coroutine of this worker.
    let Requests { armed, limit, shielded } = unsafe { cancel::requests(task) };
    (Mode { cancel: armed, kill: !shielded, ..Mode::default() }, limit)
}

/// Sleeps until the primitive wakes this context, the deadline comes, or it is asked to stop.
#[inline(always)]
pub(crate) fn park(deadline: Option<Instant>) -> Reason {
    with_current(|task| sleep(task, deadline, false))
}

/// The same, but neither a request to stop nor the end of the runtime ends it: for waits that borrow memory to others.
pub(crate) fn park_shielded(deadline: Option<Instant>) -> Reason {
    with_current(|task| sleep_once(task, deadline, Mode::default()))
}

/// Sleeps until the wake-up arrives that is known to be on its way.
pub(crate) fn park_until_woken() {
    let reason = park_shielded(None);
    debug_assert_eq!(reason, Reason::Woken, "nothing else ends this sleep");
}

/// Sleeps until `unpark`, the deadline, or a request to stop.
pub(crate) fn park_for_token(deadline: Option<Instant>) -> Reason {
    with_current(|task| sleep(task, deadline, true))
}

/// Notes what the running context is about to wait for.
#[inline(always)]
pub(crate) fn waits_for(kind: WaitsFor, object: usize) {
    let (task, tick) = match Worker::here().and_then(|worker| Some((worker.current()?, worker.tick()))) {
        Some(coroutine) => coroutine,
        None => (thread(), Tick::now()),
    };
    // SAFETY: the running context is alive.
    unsafe { task.header() }.waiting.set(kind, object, tick);
}

/// Runs `f` with `task`, a job, as the context of this OS thread.
pub(crate) fn run_as(task: TaskPtr, f: impl FnOnce()) {
    struct Restore(Option<TaskPtr>);
    impl Drop for Restore {
        fn drop(&mut self) {
            THREAD.with(|thread| thread.set(self.0));
        }
    }
    let _restore = Restore(THREAD.with(|thread| thread.replace(Some(task))));
    f();
}

/// Runs `f` on an OS thread whose context is in the middle of a wait: what `f` waits for, it waits for as another, which is made when it is needed.
pub(super) fn run_as_another<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(Option<TaskPtr>);
    impl Drop for Restore {
        fn drop(&mut self) {
            end_context();
            THREAD.with(|thread| thread.set(self.0));
        }
    }
    let _restore = Restore(THREAD.with(Cell::take));
    f()
}

#[inline(always)]
fn sleep(task: TaskPtr, deadline: Option<Instant>, token: bool) -> Reason {
    // SAFETY: the running context is alive, and its list of regions is its own.
    let plain = unsafe { task.header() }.region.get().is_null() && !std::thread::panicking();
    if plain {
        sleep_once(task, deadline, Mode { token, kill: true, ..Mode::default() })
    } else {
        sleep_in_regions(task, deadline, token)
    }
}

/// Sleeps where regions say what ends it, or where the thread unwinds.
///
/// A sleep that was ended by a request, or by the clock, goes on when that was none that the present code listens to: it was meant for a region
/// that is over, or has not begun.
fn sleep_in_regions(task: TaskPtr, deadline: Option<Instant>, token: bool) -> Reason {
    // SAFETY: the running context is alive.
    let header = unsafe { task.header() };
    if cancel::is_in_callback() {
        return do_not_sleep(task, deadline, token);
    }
    // A destructor of a cancelled context that waits for long is worth a line in the log.
    let mut report = cancel::is_unwinding().then(|| crate::time::deadline(cancel::PATIENCE)).flatten();
    loop {
        let (mode, limit) = cancellable(task);
        let until = [deadline, limit, report].into_iter().flatten().min();
        match sleep_once(task, until, Mode { token, ..mode }) {
            Reason::Woken => return Reason::Woken,
            Reason::TimedOut if until == deadline => return Reason::TimedOut,
            Reason::TimedOut if until == limit => return Reason::Cancelled,
            Reason::TimedOut => {
                report = None;
                Worker::aside(|| cancel::report_unwinding(header));
            }
            Reason::Cancelled => {
                // First forgotten and then looked for: who asks has said so before he signals.
                header.state.clear_cancel();
                // SAFETY: the context is the running one.
                let asked = unsafe { cancel::is_asked(task) };
                if asked {
                    // For the next wait, too.
                    let _ = header.state.wake(Signal::Cancel);
                }
                if asked || (mode.kill && header.state.is_killed()) {
                    return Reason::Cancelled;
                }
            }
        }
    }
}

/// In a callback of an event loop: takes what is there already, and refuses to wait for anything else.
#[cold]
fn do_not_sleep(task: TaskPtr, deadline: Option<Instant>, token: bool) -> Reason {
    // SAFETY: the running context is alive.
    let state = &unsafe { task.header() }.state;
    // A request of our own, so that there is a reason not to sleep, which counts less than what is waited for.
    let _ = state.wake(Signal::Cancel);
    let prepared = state.prepare(Mode { token, cancel: true, ..Mode::default() });
    state.clear_cancel();
    // SAFETY: the context is the running one.
    if unsafe { cancel::is_asked(task) } {
        // It was not ours alone.
        let _ = state.wake(Signal::Cancel);
    }
    match prepared {
        Prepare::Ready(Reason::Woken) => Reason::Woken,
        Prepare::Ready(_) if deadline.is_some_and(|deadline| deadline <= crate::time::now()) => {
            Reason::TimedOut
        }
        Prepare::Ready(_) => Reason::Cancelled,
        Prepare::Sleep => unreachable!("there is a request"),
    }
}

#[inline(always)]
fn sleep_once(task: TaskPtr, deadline: Option<Instant>, mode: Mode) -> Reason {
    // SAFETY: the running context is alive.
    let header = unsafe { task.header() };
    let prepared = header.state.prepare(mode);
    if header.is_thread() {
        return match prepared {
            Prepare::Ready(reason) => reason,
            Prepare::Sleep => sleep_thread(task, deadline),
        };
    }
    let worker = Worker::here().expect("a coroutine runs on a worker");
    if let Prepare::Ready(reason) = prepared {
        // A coroutine that never sleeps, be it for a token that is always there or a request to stop that it does not heed, still lets others run.
        worker.spend();
        return reason;
    }
    header.put_off.set(mode.put_off);
    if mode.put_off {
        worker.put_off();
    }
    let timer = deadline.map(|deadline| worker.set_timer(deadline, task));
    // SAFETY: `task` is the coroutine that runs here.
    unsafe { task.suspend(Pause::Parked) };
    if let Some(timer) = timer {
        // Both the timer and this coroutine belong to this thread: after this line the timer cannot fire.
        worker.clear_timer(timer);
    }
    header.state.reason()
}

fn sleep_thread(task: TaskPtr, deadline: Option<Instant>) -> Reason {
    // SAFETY: the running context is alive.
    let header = unsafe { task.header() };
    let state = &header.state;
    let is_soon = |deadline: Instant| deadline < Instant::now() + spin::LONG;
    if !deadline.is_some_and(is_soon) && spin::until(|| !state.is_parked()) {
        return state.reason();
    }
    let simulation = header.simulation();
    let (mut asleep, mut timed_out) = (false, false);
    while let Some(word) = state.fall_asleep() {
        // Whoever wakes it now holds for it again. With a deadline it wakes by itself, so it has its hold all the time.
        if !std::mem::replace(&mut asleep, true) && deadline.is_none() {
            simulation.inspect(|core| virtual_time::let_go(core));
        }
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            // If a waker was faster, the word is not parked any more and holds its reason as well.
            timed_out = state.wake(Signal::Timeout) == Wake::Enqueue;
            continue;
        }
        futex::wait(state.word(), word, timeout);
    }
    if asleep && deadline.is_some() && !timed_out {
        simulation.inspect(|core| virtual_time::let_go(core));
    }
    state.reason()
}

/// Wakes the context whose token this is, which the caller has just taken out of a wait queue.
#[inline]
pub(crate) fn wake(token: Token) {
    // SAFETY: tokens in queues come from `token()`; and the context cannot end before it has this wake-up (`super::state`).
    unsafe { signal(TaskPtr::from_token(token), Signal::Wake) };
}

/// Delivers a signal to a context.
///
/// # Safety
/// The context is alive until this call's signal is in its word: it waits for exactly this wake-up, or the caller holds a reference.
#[inline]
pub(crate) unsafe fn signal(task: TaskPtr, signal: Signal) {
    // SAFETY: the caller's contract.
    let header = unsafe { task.header() };
    if header.is_thread() {
        // The thread may run on, and end, as soon as its word changes; the futex call comes after that.
        // SAFETY: it is alive now.
        let thread = unsafe { task.add_ref() };
        let thread = thread.header();
        // Before the word changes: from then on the thread runs, and may count this hold off.
        let simulation = thread.simulation();
        simulation.inspect(|core| virtual_time::hold(core));
        if thread.state.wake_thread(signal) {
            futex::wake(thread.state.word());
        } else {
            simulation.inspect(|core| virtual_time::let_go(core));
        }
        return;
    }
    match header.state.wake(signal) {
        Wake::Nothing => {}
        // SAFETY: we ended its sleep, so it cannot run, and end, before we have queued it.
        Wake::Enqueue => unsafe { enqueue(task) },
    }
}

/// Puts a coroutine whose sleep is over into its worker's queue.
///
/// # Safety
/// The caller ended its sleep.
#[inline]
unsafe fn enqueue(task: TaskPtr) {
    // SAFETY: the task sleeps and is not queued, so it is alive.
    let bound = unsafe { task.header() }.worker.load(Ordering::Relaxed);
    if let Some(worker) = Worker::here()
        && worker.is(bound)
    {
        worker.push_ready(task);
        return;
    }
    // The worker could run the task to its end, and end itself, between our letter and our ring.
    // SAFETY: `bound` came from an `Arc` that lives at least until the task has run.
    let shared = unsafe {
        Arc::increment_strong_count(bound);
        Arc::from_raw(bound)
    };
    shared.post(task);
}
