//! The mutex, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never served is a deadlock, which loom reports.

use super::raw::{RawMutex, Until};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::time::Instant;

/// How many preemptions, besides the switches where a thread waits.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// A number behind a mutex: loom fails the model when two are inside, or one does not see what the last one did.
struct Guarded {
    mutex: RawMutex,
    number: UnsafeCell<usize>,
}

// SAFETY: loom sees to it.
unsafe impl Sync for Guarded {}
// SAFETY: numbers.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded { mutex: RawMutex::new(None), number: UnsafeCell::new(0) })
    }

    fn visit(&self) {
        // SAFETY: loom sees to it that nobody else is in here.
        self.number.with_mut(|number| unsafe { *number += 1 });
    }

    fn lock(&self) {
        assert!(self.mutex.acquire(Until::Asked));
        self.visit();
    }

    fn unlock(&self) {
        // SAFETY: the mutex is held.
        unsafe { self.mutex.release() };
    }

    fn unlock_fair(&self) {
        // SAFETY: the mutex is held.
        unsafe { self.mutex.release_fair() };
    }

    /// Nothing is left behind, and so many have been inside.
    fn assert_quiet(&self, visits: usize) {
        assert_eq!(self.mutex.waiting(), 0);
        assert!(self.mutex.try_acquire(), "somebody has it still");
        // SAFETY: loom sees to it that nobody else is in here.
        assert_eq!(self.number.with(|number| unsafe { *number }), visits);
        self.unlock();
        assert!(!self.mutex.is_held());
    }
}

fn start(guarded: &Arc<Guarded>, body: impl FnOnce(&Guarded) + 'static) -> JoinHandle<()> {
    let guarded = Arc::clone(guarded);
    thread::spawn(move || body(&guarded))
}

/// Caught: a `release` that stores without looking for `WAITERS`, or that looks before it exchanges and then stores (slept over: deadlock); one that forgets those in
/// line (the same); relaxed exchanges where it is taken or given back, and a relaxed store in `release_slow` (the number is not seen).
#[test]
fn one_is_inside_and_sees_what_those_before_it_did() {
    with_preemptions(3, || {
        let guarded = Guarded::new();
        let others: Vec<_> = (0..2)
            .map(|_| {
                start(&guarded, |guarded| {
                    guarded.lock();
                    guarded.unlock();
                })
            })
            .collect();
        guarded.lock();
        guarded.unlock();
        others.into_iter().for_each(|other| other.join().unwrap());
        guarded.assert_quiet(3);
    });
}

/// Caught: a hand-over that leaves the word free (two are inside); one that forgets `WAITERS`, or of which the waiter is not told (deadlock).
#[test]
fn who_is_handed_the_mutex_has_it() {
    with_preemptions(3, || {
        let guarded = Guarded::new();
        guarded.lock();
        let others: Vec<_> = (0..2)
            .map(|_| {
                start(&guarded, |guarded| {
                    guarded.lock();
                    guarded.unlock_fair();
                })
            })
            .collect();
        guarded.unlock_fair();
        others.into_iter().for_each(|other| other.join().unwrap());
        guarded.assert_quiet(3);
    });
}

/// Caught: a `left` that clears `WAITERS` while somebody else is in line (deadlock); a waiter whose time is up and that leaves although it was taken out (the wake-up
/// goes astray, and the other one sleeps for ever). Not caught, since it does no harm: a `left` that leaves `WAITERS` set for nobody.
#[test]
fn whose_time_is_up_leaves_without_a_trace() {
    with_preemptions(3, || {
        let guarded = Guarded::new();
        let past = Instant::now();
        let visits = Arc::new(loom::sync::atomic::AtomicUsize::new(2));
        guarded.lock();
        let hurried = start(&guarded, {
            let visits = Arc::clone(&visits);
            move |guarded| {
                if guarded.mutex.acquire(Until::Deadline(past)) {
                    guarded.visit();
                    visits.fetch_add(1, loom::sync::atomic::Ordering::Relaxed);
                    guarded.unlock();
                }
            }
        });
        let patient = start(&guarded, |guarded| {
            guarded.lock();
            guarded.unlock();
        });
        guarded.unlock();
        hurried.join().unwrap();
        patient.join().unwrap();
        guarded.assert_quiet(visits.load(loom::sync::atomic::Ordering::Relaxed));
    });
}

/// Woken, and too late, two wait once more, and are handed the mutex one after the other. Caught: one that goes to wait without `WAITERS`, or sets it although the mutex has come
/// free (deadlock); a hand-over that leaves the word free (two are inside). That none is overtaken for ever is more than a model of so few turns can say: see the tests.
#[test]
fn those_who_are_passed_over_get_it_next() {
    with_preemptions(2, || {
        let guarded = Guarded::new();
        guarded.lock();
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                start(&guarded, |guarded| {
                    guarded.lock();
                    guarded.unlock();
                })
            })
            .collect();
        for _ in 0..2 {
            guarded.unlock();
            guarded.lock();
        }
        guarded.unlock();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        guarded.assert_quiet(5);
    });
}
