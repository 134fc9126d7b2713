//! The hand-offs between threads, model-checked: every interleaving of a few steps, with every value that the memory model allows a
//! load to see. (loom; Norris and Demsky, *CDSChecker*, OOPSLA 2013.)
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p fibra --lib --profile models models
//! ```
//!
//! A context that sleeps waits on a condition variable here, so a wake-up that is lost is a deadlock, which loom reports. Each model names the mutations of the
//! protocol that it has been seen to catch. The models of locks and queues stand beside these.

mod group;
mod sleep;
mod watching;

use super::join_word::{Detach, Handle, JoinWord};
use super::state::{Mode, Prepare, Reason, Signal, State, Wake};
use super::task::{Kind, Settings, TaskPtr, new_task};
use super::watchers::Watchers;
use crate::scope::{self, ScopeState};
use crate::spawn::JoinHandle;
use fibra_driver::Token;
use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use std::sync::Arc as StdArc;

/// Counts, and lets one thread wait for the count.
#[derive(Debug, Default)]
pub(super) struct Bell {
    rung: Mutex<usize>,
    changed: Condvar,
}

impl Bell {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap() += 1;
        self.changed.notify_one();
    }

    /// Waits until it has been rung, and forgets that; how often it was.
    fn wait(&self) -> usize {
        let mut rung = self.rung.lock().unwrap();
        while *rung == 0 {
            rung = self.changed.wait(rung).unwrap();
        }
        std::mem::take(&mut *rung)
    }

    /// How often it has been rung since it was last waited for.
    fn rung(&self) -> usize {
        *self.rung.lock().unwrap()
    }
}

/// Where all interleavings are too many: those with at most so many preemptions, besides the switches where a thread waits.
/// (Two find most bugs: Musuvathi and Qadeer, *Iterative Context Bounding*, PLDI 2007.)
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// Memory that only one thread at a time may touch: loom fails the model when two do.
#[derive(Default)]
struct Plain<T>(UnsafeCell<T>);

impl<T: Copy> Plain<T> {
    fn get(&self) -> T {
        // SAFETY: loom sees to it that nobody writes meanwhile.
        self.0.with(|value| unsafe { *value })
    }

    fn set(&self, new: T) {
        // SAFETY: loom sees to it that nobody else touches it meanwhile.
        self.0.with_mut(|value| unsafe { *value = new });
    }
}

// --- The parking word ------------------------------------------------------------------------------------------------------------

/// A coroutine and the run queue of its worker, in which it may be once at the most.
#[derive(Default)]
struct Context {
    state: State,
    queue: Bell,
}

impl Default for State {
    fn default() -> State {
        State::new()
    }
}

impl Context {
    fn signal(&self, signal: Signal) {
        if self.state.wake(signal) == Wake::Enqueue {
            self.queue.ring();
        }
    }

    fn park(&self, mode: Mode) -> Reason {
        self.park_until(mode, || {})
    }

    /// Parks, and has the timer fire during the sleep: on this very thread, as all timers do.
    fn park_and_time_out(&self, mode: Mode) -> Reason {
        self.park_until(mode, || self.signal(Signal::Timeout))
    }

    fn park_until(&self, mode: Mode, meanwhile: impl FnOnce()) -> Reason {
        match self.state.prepare(mode) {
            Prepare::Ready(reason) => reason,
            Prepare::Sleep => {
                meanwhile();
                assert_eq!(self.queue.wait(), 1, "queued once for each sleep");
                self.state.reason()
            }
        }
    }

    /// Nothing is on its way to the context any more.
    fn assert_quiet(&self) {
        assert_eq!(self.queue.rung(), 0, "queued without a sleep");
        assert_eq!(self.state.prepare(Mode::default()), Prepare::Sleep, "a wake-up was left behind");
        assert_eq!(
            self.state.wake(Signal::Cancel),
            Wake::Nothing,
            "what this sleep listens to was left behind"
        );
    }
}

const CANCEL: Mode = Mode { token: false, cancel: true, kill: false, put_off: false };
const TOKEN: Mode = Mode { token: true, cancel: false, kill: false, put_off: false };
const PUT_OFF: Mode = Mode { token: false, cancel: false, kill: false, put_off: true };

/// A wait queue with room for one: whether the context is in it.
struct Place(AtomicBool);

impl Place {
    fn taken() -> Place {
        Place(AtomicBool::new(true))
    }

    /// Takes the context out; whether it was there.
    fn take(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }
}

/// Waits in `place` as every primitive does: who is told to leave takes itself out, and waits for the wake-up if it has been taken out already.
fn wait_in(place: &Place, context: &Context, mode: Mode) -> Reason {
    let reason = context.park_and_time_out(mode);
    if reason != Reason::Woken && !place.take() {
        assert_eq!(context.park(Mode::default()), Reason::Woken);
        return Reason::Woken;
    }
    reason
}

fn wake_from(place: &Place, context: &Context) {
    if place.take() {
        context.signal(Signal::Wake);
    }
}

/// Caught: a `prepare` that stores instead of exchanging; a `wake` that leaves no bit when nobody sleeps (lost, both); relaxed exchanges (the data is not seen).
#[test]
fn a_wake_up_ends_one_sleep_whichever_comes_first() {
    loom::model(|| {
        let context = Arc::new(Context::default());
        let data = Arc::new(Plain::default());
        let waker = thread::spawn({
            let (context, data) = (Arc::clone(&context), Arc::clone(&data));
            move || {
                data.set(1);
                context.signal(Signal::Wake);
            }
        });
        assert_eq!(context.park(Mode::default()), Reason::Woken);
        // What the waker did before is seen after.
        assert_eq!(data.get(), 1);
        waker.join().unwrap();
        context.assert_quiet();
    });
}

/// Caught: a `Timeout` that leaves a bit (a later wait ends early); a `wake` that leaves `PARKED` set, or that ends a sleep which is over (queued twice).
#[test]
fn of_a_wake_up_and_a_timeout_one_counts() {
    with_preemptions(4, || {
        let context = Arc::new(Context::default());
        let place = Arc::new(Place::taken());
        let waker = thread::spawn({
            let (context, place) = (Arc::clone(&context), Arc::clone(&place));
            move || wake_from(&place, &context)
        });
        let reason = wait_in(&place, &context, Mode::default());
        waker.join().unwrap();
        assert_ne!(reason, Reason::Cancelled);
        context.assert_quiet();
    });
}

/// Caught: a `Cancel` that leaves no bit when nobody sleeps (never delivered); one that ends sleeps which do not listen to it; a `pending` that prefers it to
/// `WAKE` and uses that up (lost).
#[test]
fn a_request_to_stop_is_sticky_and_loses_no_wake_up() {
    with_preemptions(3, || {
        let context = Arc::new(Context::default());
        let place = Arc::new(Place::taken());
        let waker = thread::spawn({
            let (context, place) = (Arc::clone(&context), Arc::clone(&place));
            move || wake_from(&place, &context)
        });
        let canceller = thread::spawn({
            let context = Arc::clone(&context);
            move || context.signal(Signal::Cancel)
        });
        wait_in(&place, &context, CANCEL);
        waker.join().unwrap();
        canceller.join().unwrap();
        // It is met again at each wait that listens to it, and at no other.
        assert_eq!(context.park(CANCEL), Reason::Cancelled);
        assert_eq!(context.park(CANCEL), Reason::Cancelled);
        context.state.clear_cancel();
        context.assert_quiet();
    });
}

/// One request that is meant for the present region, and one that is not; the protocol is that of `park::heed`.
///
/// Caught: one who looks first and forgets then (the request is lost: deadlock).
#[test]
fn a_request_for_others_does_not_hide_the_own_one() {
    with_preemptions(4, || {
        let context = Arc::new(Context::default());
        let own = Arc::new(AtomicBool::new(false));
        let for_others = thread::spawn({
            let context = Arc::clone(&context);
            move || context.signal(Signal::Cancel)
        });
        let for_us = thread::spawn({
            let (context, own) = (Arc::clone(&context), Arc::clone(&own));
            move || {
                own.store(true, Ordering::Release);
                context.signal(Signal::Cancel);
            }
        });
        loop {
            assert_eq!(context.park(CANCEL), Reason::Cancelled);
            context.state.clear_cancel();
            if own.load(Ordering::Acquire) {
                break;
            }
        }
        for_others.join().unwrap();
        for_us.join().unwrap();
    });
}

/// Everything at once.
#[test]
fn wake_up_timeout_token_and_request_to_stop_may_come_together() {
    with_preemptions(3, || {
        let context = Arc::new(Context::default());
        let place = Arc::new(Place::taken());
        let waker = thread::spawn({
            let (context, place) = (Arc::clone(&context), Arc::clone(&place));
            move || wake_from(&place, &context)
        });
        let canceller = thread::spawn({
            let context = Arc::clone(&context);
            move || {
                context.signal(Signal::Token);
                context.signal(Signal::Cancel);
            }
        });
        wait_in(&place, &context, CANCEL);
        waker.join().unwrap();
        canceller.join().unwrap();
        assert_eq!(context.park(TOKEN), Reason::Woken, "nobody has taken the token");
        assert_eq!(context.park(CANCEL), Reason::Cancelled);
        context.assert_quiet();
    });
}

/// Caught: a token that is dropped when nobody sleeps (lost); one that is not used up; one that ends a sleep and stays as well; relaxed exchanges (the flag is not seen).
#[test]
fn unpark_publishes_what_came_before_it() {
    with_preemptions(3, || {
        let context = Arc::new(Context::default());
        let flag = Arc::new(AtomicBool::new(false));
        let others: Vec<_> = (0..2)
            .map(|which| {
                let (context, flag) = (Arc::clone(&context), Arc::clone(&flag));
                thread::spawn(move || {
                    if which == 0 {
                        flag.store(true, Ordering::Relaxed);
                    }
                    context.signal(Signal::Token);
                })
            })
            .collect();
        let mut parked = 0;
        while !flag.load(Ordering::Relaxed) {
            assert_eq!(context.park(TOKEN), Reason::Woken);
            parked += 1;
        }
        assert!(parked <= 2, "a token is used once");
        others.into_iter().for_each(|other| other.join().unwrap());
    });
}

/// Caught: an `allow` that does not look at what has come already (never delivered); that stores instead of exchanging (lost).
#[test]
fn a_request_that_was_put_off_is_delivered_once() {
    loom::model(|| {
        let context = Arc::new(Context::default());
        let canceller = thread::spawn({
            let context = Arc::clone(&context);
            move || context.signal(Signal::Cancel)
        });
        let reason = match context.state.prepare(PUT_OFF) {
            Prepare::Ready(reason) => reason,
            Prepare::Sleep => {
                // The worker, on the same thread.
                if context.state.allow(CANCEL) == Wake::Enqueue {
                    context.queue.ring();
                }
                assert_eq!(context.queue.wait(), 1);
                context.state.reason()
            }
        };
        assert_eq!(reason, Reason::Cancelled);
        canceller.join().unwrap();
        context.assert_quiet();
    });
}

/// Caught: an `allow` that changes the word of a context which has been woken (its next sleep listens to what it should not).
#[test]
fn what_was_put_off_does_not_disturb_a_wake_up() {
    loom::model(|| {
        let context = Arc::new(Context::default());
        let waker = thread::spawn({
            let context = Arc::clone(&context);
            move || context.signal(Signal::Wake)
        });
        if context.state.prepare(PUT_OFF) == Prepare::Sleep {
            assert_eq!(context.state.allow(CANCEL), Wake::Nothing);
            assert_eq!(context.queue.wait(), 1);
            assert_eq!(context.state.reason(), Reason::Woken);
        }
        waker.join().unwrap();
        context.assert_quiet();
    });
}

// --- The join word ---------------------------------------------------------------------------------------------------------------

/// A task's result, and how often it has been dropped.
struct Outcome {
    join: JoinWord,
    watchers: Watchers,
    result: Plain<Option<u32>>,
    gone: AtomicUsize,
}

impl Outcome {
    fn new() -> Outcome {
        Outcome {
            join: JoinWord::new(),
            watchers: Watchers::default(),
            result: Plain::default(),
            gone: AtomicUsize::new(0),
        }
    }

    fn finish(&self, waiter: &Context) {
        self.result.set(Some(7));
        let finish = self.join.finish();
        match finish.handle {
            Handle::Idle => {}
            Handle::Waits(token) => {
                assert_eq!(token, WAITER);
                waiter.signal(Signal::Wake);
            }
            Handle::Gone => self.take(),
        }
        if finish.watched {
            for (_, callback) in self.watchers.take().callbacks {
                callback(super::watchers::Outcome::Returned);
            }
        }
    }

    fn take(&self) {
        assert_eq!(self.result.get(), Some(7));
        self.result.set(None);
        self.gone.fetch_add(1, Ordering::Relaxed);
    }
}

const WAITER: Token = Token(64);

/// Caught: a `finish` that does not tell of the waiter; a `wait` that overwrites `DONE` (deadlock, both); a `finish` without release, a `wait` without acquire (a race for
/// the result).
#[test]
fn who_joins_has_the_result() {
    loom::model(|| {
        let outcome = Arc::new(Outcome::new());
        let waiter = Arc::new(Context::default());
        let finisher = thread::spawn({
            let (outcome, waiter) = (Arc::clone(&outcome), Arc::clone(&waiter));
            move || outcome.finish(&waiter)
        });
        if !outcome.join.is_done() && outcome.join.wait(WAITER) {
            assert_eq!(waiter.park(Mode::default()), Reason::Woken);
        }
        outcome.take();
        finisher.join().unwrap();
        assert_eq!(outcome.gone.load(Ordering::Relaxed), 1);
        waiter.assert_quiet();
    });
}

/// Caught: a `detach` that stores (dropped by nobody); a `finish` that takes `DETACHED` for a token; relaxed orders (a race for the result).
#[test]
fn a_result_is_dropped_once_by_the_handle_or_by_the_task() {
    loom::model(|| {
        let outcome = Arc::new(Outcome::new());
        let finisher = thread::spawn({
            let outcome = Arc::clone(&outcome);
            move || outcome.finish(&Context::default())
        });
        if outcome.join.detach() == Detach::Drop {
            outcome.take();
        }
        finisher.join().unwrap();
        assert_eq!(outcome.gone.load(Ordering::Relaxed), 1);
    });
}

/// Caught: a `leave` that says yes when the finisher has the token (the wake-up is left behind); one that overwrites `DONE` (never dropped).
#[test]
fn who_stops_joining_leaves_nothing_behind() {
    with_preemptions(4, || {
        let outcome = Arc::new(Outcome::new());
        let waiter = Arc::new(Context::default());
        let finisher = thread::spawn({
            let (outcome, waiter) = (Arc::clone(&outcome), Arc::clone(&waiter));
            move || outcome.finish(&waiter)
        });
        let timer = thread::spawn({
            let waiter = Arc::clone(&waiter);
            move || waiter.signal(Signal::Cancel)
        });
        let mut ended = true;
        if outcome.join.wait(WAITER) && waiter.park(CANCEL) != Reason::Woken {
            ended = !outcome.join.leave(WAITER);
            if ended {
                assert_eq!(waiter.park(Mode::default()), Reason::Woken);
            }
        }
        // As `JoinHandle::join` when it is cancelled: it drops the handle.
        if ended || outcome.join.detach() == Detach::Drop {
            outcome.take();
        }
        finisher.join().unwrap();
        timer.join().unwrap();
        assert_eq!(outcome.gone.load(Ordering::Relaxed), 1);
        waiter.assert_quiet();
    });
}

// --- Tasks, handles and OS threads as they are -----------------------------------------------------------------------------------

/// Drops are counted by loom: an `Arc` that is left over fails the model, one that is dropped twice as well.
fn job(result: Arc<()>) -> (TaskPtr, JoinHandle<Arc<()>>) {
    let settings = Settings { kind: Some(Kind::Job), ..Settings::default() };
    // SAFETY: nothing is borrowed, and the result may cross threads.
    let task = unsafe { new_task(settings, 1, move || result) };
    let handle = JoinHandle::new(task.clone());
    (task.into_ptr(), handle)
}

fn make(task: TaskPtr) {
    // SAFETY: the reference that `job` gave away; and it is run once.
    unsafe {
        task.run(None);
        drop(task.into_ref());
    }
}

/// Caught: what the models of the words catch; a task that drops its result although there is a handle.
#[test]
fn a_thread_joins_a_job() {
    loom::model(|| {
        let (task, handle) = job(Arc::new(()));
        let pool = thread::spawn(move || make(task));
        assert!(handle.join().is_ok());
        pool.join().unwrap();
    });
}

/// Caught: a handle that drops the result whether or not the task has ended; a task that does not drop it without a handle.
#[test]
fn a_detached_job_drops_its_result() {
    loom::model(|| {
        let (task, handle) = job(Arc::new(()));
        let pool = thread::spawn(move || make(task));
        drop(handle);
        pool.join().unwrap();
    });
}

/// Caught: a `leave` that wakes before the last has left (a race for what was borrowed); that does not wake (waits for ever).
#[test]
fn a_scope_waits_for_its_last_child() {
    loom::model(|| {
        let scope = StdArc::new(ScopeState::default());
        let borrowed = Arc::new([Plain::default(), Plain::default()]);
        let children: Vec<_> = (0..2)
            .map(|which| {
                let (child, borrowed) = (scope::Place::new(&scope), Arc::clone(&borrowed));
                thread::spawn(move || {
                    borrowed[which].set(1);
                    child.leave();
                })
            })
            .collect();
        scope.wait();
        for data in &*borrowed {
            assert_eq!(data.get(), 1);
        }
        children.into_iter().for_each(|child| child.join().unwrap());
    });
}
