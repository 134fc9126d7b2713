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
use super::task::{Kind, TaskPtr, TaskRef, new_thread};
use super::worker::{Pause, Worker};
use fibra_driver::Token;
use rustix::thread::futex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

thread_local! {
    /// The context of this OS thread, for when no coroutine runs on it.
    static THREAD: TaskRef = new_thread(std::thread::current().name().map(Box::from));
}

/// The context that is running: the coroutine, or else the OS thread.
#[inline]
pub(crate) fn with_current<R>(f: impl FnOnce(TaskPtr) -> R) -> R {
    match Worker::here().and_then(Worker::current) {
        Some(task) => f(task),
        None => THREAD.with(|thread| f(thread.ptr())),
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
/// While the thread unwinds none does: a second unwind out of a destructor would abort the process. (Another coroutine of this worker
/// may be the one that is suspended in mid-unwind, since std counts per thread; then delivery is put off, never lost: the bits are
/// sticky.)
fn cancellable(task: TaskPtr) -> Mode {
    if std::thread::panicking() {
        return Mode::default();
    }
    // SAFETY: the running context is alive, and `armed` is its own.
    let armed = unsafe { task.header() }.armed.get() != 0;
    Mode { token: false, cancel: armed, kill: true }
}

/// Sleeps until the primitive wakes this context, the deadline comes, or it is asked to stop.
#[inline]
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

#[inline]
fn sleep(task: TaskPtr, deadline: Option<Instant>, mode: Mode) -> Reason {
    // SAFETY: the running context is alive.
    let header = unsafe { task.header() };
    match header.state.prepare(mode) {
        Prepare::Ready(reason) => return reason,
        Prepare::Sleep => {}
    }
    if header.kind == Kind::Thread {
        return sleep_thread(task, deadline);
    }
    let worker = Worker::here().expect("a coroutine runs on a worker");
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
        let timeout = timeout.map(|timeout| futex::Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        // Returns early for many reasons, all of which the loop looks into.
        let _ = futex::wait(futex_word(state), futex::Flags::PRIVATE, word, timeout.as_ref());
    }
    state.reason()
}

#[cfg(not(loom))]
fn futex_word(state: &super::state::State) -> &std::sync::atomic::AtomicU32 {
    state.word()
}

#[cfg(loom)]
fn futex_word(_: &super::state::State) -> &std::sync::atomic::AtomicU32 {
    unreachable!("models do not reach the kernel")
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
    if header.kind == Kind::Thread {
        // The thread may run on, and end, as soon as its word changes; the futex call comes after that.
        // SAFETY: it is alive now.
        let thread = unsafe { task.add_ref() };
        if header.state.wake(signal) == Wake::Enqueue {
            let _ = futex::wake(futex_word(&thread.header().state), futex::Flags::PRIVATE, 1);
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
