//! Watchers of a task's end, model-checked: each is told once, whoever is first.

use super::*;
use crate::queue::select;
use crate::scheduler::watchers::{Callback, Outcome as End};
use std::pin::Pin;
use std::task::{Context as PollContext, Poll, Wake as Waken, Waker};

/// How often a callback has been called.
type Calls = Arc<AtomicUsize>;

fn callback(calls: &Calls) -> Callback {
    let calls = Arc::clone(calls);
    Box::new(move |_| {
        calls.fetch_add(1, Ordering::Relaxed);
    })
}

/// As `JoinHandle::on_done`.
fn watch(outcome: &Arc<Outcome>, calls: &Calls) {
    if let Err(callback) = outcome.watchers.add(&outcome.join, callback(calls)) {
        callback(End::Returned);
    }
}

/// Caught: an `add` that sets the bit before it is in the list (never called); that does not look for `DONE` (never called); that takes `DONE` for watched (never called); that keeps
/// its callback when the finisher has it (called twice); a `finish` that does not tell of the bit (never called).
#[test]
fn a_callback_is_called_once_by_the_finisher_or_by_who_brought_it() {
    with_preemptions(3, || {
        let outcome = Arc::new(Outcome::new());
        let calls = [Calls::default(), Calls::default()];
        let finisher = thread::spawn({
            let outcome = Arc::clone(&outcome);
            move || outcome.finish(&Context::default())
        });
        let other = thread::spawn({
            let (outcome, calls) = (Arc::clone(&outcome), Arc::clone(&calls[1]));
            move || watch(&outcome, &calls)
        });
        watch(&outcome, &calls[0]);
        finisher.join().unwrap();
        other.join().unwrap();
        for calls in &calls {
            assert_eq!(calls.load(Ordering::Relaxed), 1);
        }
    });
}

/// Caught: a `wait` or a `leave` that does not know of the bit (waits for ever; the wake-up is left behind), or that clears it (never called).
#[test]
fn who_joins_and_who_watches_do_not_disturb_each_other() {
    with_preemptions(3, || {
        let outcome = Arc::new(Outcome::new());
        let calls = Calls::default();
        let waiter = Arc::new(Context::default());
        let finisher = thread::spawn({
            let (outcome, waiter) = (Arc::clone(&outcome), Arc::clone(&waiter));
            move || outcome.finish(&waiter)
        });
        let other = thread::spawn({
            let (outcome, calls) = (Arc::clone(&outcome), Arc::clone(&calls));
            move || watch(&outcome, &calls)
        });
        // Once it gives up, and the second time it waits for as long as it takes.
        if outcome.join.wait(WAITER) {
            let reason = waiter.park_and_time_out(Mode::default());
            if reason == Reason::Woken || !outcome.join.leave(WAITER) {
                if reason != Reason::Woken {
                    assert_eq!(waiter.park(Mode::default()), Reason::Woken);
                }
            } else if outcome.join.wait(WAITER) {
                assert_eq!(waiter.park(Mode::default()), Reason::Woken);
            }
        }
        outcome.take();
        finisher.join().unwrap();
        other.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), 1);
        waiter.assert_quiet();
    });
}

/// Caught: a `detach` that does not know of the bit (the result is dropped by nobody, or twice).
#[test]
fn a_watched_task_that_is_detached_drops_its_result_once() {
    with_preemptions(4, || {
        let outcome = Arc::new(Outcome::new());
        let calls = Calls::default();
        let finisher = thread::spawn({
            let outcome = Arc::clone(&outcome);
            move || outcome.finish(&Context::default())
        });
        watch(&outcome, &calls);
        if outcome.join.detach() == Detach::Drop {
            outcome.take();
        }
        finisher.join().unwrap();
        assert_eq!(outcome.gone.load(Ordering::Relaxed), 1);
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

/// Caught: a `remove` that says that it has a callback which the finisher calls; one that leaves it in the list.
#[test]
fn a_callback_is_taken_back_or_called() {
    with_preemptions(4, || {
        let outcome = Arc::new(Outcome::new());
        let calls = Calls::default();
        let finisher = thread::spawn({
            let outcome = Arc::clone(&outcome);
            move || outcome.finish(&Context::default())
        });
        let back = match outcome.watchers.add(&outcome.join, callback(&calls)) {
            Ok(key) => outcome.watchers.remove(key).is_some(),
            Err(_) => true,
        };
        finisher.join().unwrap();
        assert_eq!(calls.load(Ordering::Relaxed), usize::from(!back));
    });
}

/// An executor's end of a waker.
struct Ring(Bell);

impl Waken for Ring {
    fn wake(self: StdArc<Self>) {
        self.0.ring();
    }
}

/// Caught: a `poll` that looks for the end before it leaves its waker, and not again (waits for ever); a task that does not wake it.
#[test]
fn a_future_is_woken_and_has_the_result() {
    with_preemptions(4, || {
        let (task, mut handle) = job(Arc::new(()));
        let pool = thread::spawn(move || make(task));
        let ring = StdArc::new(Ring(Bell::default()));
        let waker = Waker::from(StdArc::clone(&ring));
        let mut context = PollContext::from_waker(&waker);
        loop {
            match Pin::new(&mut handle).poll(&mut context) {
                Poll::Ready(result) => break assert!(result.is_ok()),
                Poll::Pending => ring.0.wait(),
            };
        }
        pool.join().unwrap();
    });
}

/// Caught: a callback that does not wake who selects; an arm that does not look before it waits (waits for ever).
#[test]
fn who_selects_the_end_goes_on_and_has_the_result() {
    with_preemptions(3, || {
        let (task, handle) = job(Arc::new(()));
        let (other_task, other) = job(Arc::new(()));
        let pool = thread::spawn(move || make(task));
        let chosen = select(&mut [&mut handle.select_join(), &mut other.select_join()]);
        assert_eq!(chosen, 0);
        assert!(handle.join().is_ok());
        pool.join().unwrap();
        // The arm of this one was withdrawn.
        make(other_task);
        assert!(other.join().is_ok());
    });
}
