//! Parking: how a context sleeps and how it is woken, for coroutines and OS threads alike.
//!
//! Everything in the library that waits goes through [`park`]: it leaves its [`token`] where the waker will find it, calls `park`,
//! and looks at the [`Reason`] that comes back. The rules are those of [`super::state`]:
//!
//! * Whoever takes a token out of a wait queue calls [`wake`] with it, once.
//! * Who is told `TimedOut` or `Cancelled` takes its token out of the queue; when it is not there any more the wake-up is on its way, and
//!   [`park_until_woken`] waits for it.
//! * A primitive cleans up first and only then lets a cancellation unwind ([`crate::cancel::unwind`]).

use super::state::{Mode, Prepare, Reason, Signal, Wake};
use super::sync::thread_local;
use super::task::{TaskPtr, TaskRef, new_thread};
use super::worker::{Pause, Worker};
use crate::cancel;
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
        if let Ok(Some(task)) = THREAD.try_with(Cell::take) {
            // SAFETY: the reference that `thread` made, and nobody else's now.
            drop(unsafe { task.into_ref() });
        }
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
    // When `End` is over already, what comes now is left to the end of the process.
    let _ = END.try_with(|_| ());
    task
}

/// The context that is running: the coroutine, or else the OS thread.
#[inline(always)]
pub(crate) fn with_current<R>(f: impl FnOnce(TaskPtr) -> R) -> R {
    match Worker::here().and_then(Worker::current) {
        Some(task) => f(task),
        None => f(thread()),
    }
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

/// Which requests to stop end a wait that is begun here and now.
///
/// While the thread unwinds none does: a second unwind out of a destructor would abort the process. Another coroutine of this worker
/// may be the one that is suspended in mid-unwind, since std counts per thread; so delivery is put off until nobody is, and then the worker makes up
/// for it ([`Worker::catch_up`]).
fn cancellable(task: TaskPtr) -> Mode {
    if std::thread::panicking() {
        return Mode { put_off: true, ..Mode::default() };
    }
    all_requests(task)
}

/// The requests to stop that end a wait of a context that does not unwind.
pub(super) fn all_requests(task: TaskPtr) -> Mode {
    // SAFETY: the running context is alive, and `armed` is its own.
    let armed = !unsafe { task.header() }.armed.get().is_null();
    Mode { cancel: armed, kill: true, ..Mode::default() }
}

/// Sleeps until the primitive wakes this context, the deadline comes, or it is asked to stop.
#[inline(always)]
pub(crate) fn park(deadline: Option<Instant>) -> Reason {
    with_current(|task| sleep(task, deadline, cancellable(task)))
}

/// The same, but neither a request to stop nor the end of the runtime ends it: for waits that borrow memory to others.
pub(crate) fn park_shielded(deadline: Option<Instant>) -> Reason {
    with_current(|task| sleep(task, deadline, Mode::default()))
}

/// Sleeps until the wake-up arrives that is known to be on its way.
pub(crate) fn park_until_woken() {
    let reason = park_shielded(None);
    debug_assert_eq!(reason, Reason::Woken, "nothing else ends this sleep");
}

/// Sleeps until `unpark`, the deadline, or a request to stop.
pub(crate) fn park_for_token(deadline: Option<Instant>) -> Reason {
    with_current(|task| sleep(task, deadline, Mode { token: true, ..cancellable(task) }))
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

#[inline(always)]
fn sleep(task: TaskPtr, deadline: Option<Instant>, mode: Mode) -> Reason {
    match sleep_once(task, deadline, mode) {
        Reason::Cancelled => heed(task, deadline, mode.token),
        reason => reason,
    }
}

/// A sleep was ended by a request to stop. Goes on with it when the request was none that the present code listens to: it was meant for a region
/// that is over, or has not begun.
#[cold]
fn heed(task: TaskPtr, deadline: Option<Instant>, token: bool) -> Reason {
    // SAFETY: the running context is alive.
    let state = &unsafe { task.header() }.state;
    loop {
        // First forgotten and then looked for: who asks has said so before he signals.
        state.clear_cancel();
        // SAFETY: the context is the running one.
        let asked = unsafe { cancel::is_asked(task) };
        if asked {
            // For the next wait, too.
            let _ = state.wake(Signal::Cancel);
        }
        if asked || state.is_killed() {
            return Reason::Cancelled;
        }
        match sleep_once(task, deadline, Mode { token, ..cancellable(task) }) {
            Reason::Cancelled => {}
            reason => return reason,
        }
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
    let state = &unsafe { task.header() }.state;
    while let Some(word) = state.parked() {
        let timeout = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            // If a waker was faster, the word is not parked any more and holds its reason as well.
            let _ = state.wake(Signal::Timeout);
            continue;
        }
        futex::wait(state, word, timeout);
    }
    state.reason()
}

#[cfg(not(loom))]
mod futex {
    use crate::scheduler::state::State;
    use rustix::thread::futex::{self, Flags, Timespec};
    use std::time::Duration;

    /// Waits while the word is `word`; may return early for many reasons.
    pub(super) fn wait(state: &State, word: u32, timeout: Option<Duration>) {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let _ = futex::wait(state.word(), Flags::PRIVATE, word, timeout.as_ref());
    }

    pub(super) fn wake(state: &State) {
        let _ = futex::wake(state.word(), Flags::PRIVATE, 1);
    }
}

/// Models do not reach the kernel: who waits lets the others go on, and looks again.
#[cfg(loom)]
mod futex {
    use crate::scheduler::state::State;
    use std::time::Duration;

    pub(super) fn wait(_: &State, _: u32, _: Option<Duration>) {
        loom::thread::yield_now();
    }

    pub(super) fn wake(_: &State) {}
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
        if header.state.wake(signal) == Wake::Enqueue {
            futex::wake(&thread.header().state);
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
