//! The semaphore, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never served is a deadlock, which loom reports.

use super::{Semaphore, SemaphorePermit};
use crate::queue::select;
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

fn start(semaphore: &Arc<Semaphore>, body: impl FnOnce(&Semaphore) + 'static) -> JoinHandle<()> {
    let semaphore = Arc::clone(semaphore);
    thread::spawn(move || body(&semaphore))
}

/// Nothing is left behind: nobody in the list, and so many permits that can be taken without a wait.
fn assert_quiet(semaphore: &Semaphore, permits: usize) {
    assert_eq!((semaphore.available_permits(), semaphore.waiting()), (permits, 0));
    assert!(semaphore.try_acquire_many(permits).is_some(), "WAITERS was left behind");
}

/// Memory that the one with the permit may touch: loom fails the model when two do, or one does not see what the last one did.
#[derive(Default)]
struct Inside(UnsafeCell<usize>);

// SAFETY: loom sees to it.
unsafe impl Sync for Inside {}
// SAFETY: it is a number.
unsafe impl Send for Inside {}

impl Inside {
    fn visit(&self) {
        // SAFETY: loom sees to it that nobody else is in here.
        self.0.with_mut(|visits| unsafe { *visits += 1 });
    }
}

#[test]
fn with_one_permit_one_is_inside_and_sees_what_those_before_it_did() {
    with_preemptions(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let inside = Arc::new(Inside::default());
        let visitors: Vec<_> = (0..2)
            .map(|_| {
                let inside = Arc::clone(&inside);
                start(&semaphore, move |semaphore| {
                    let _permit = semaphore.acquire();
                    inside.visit();
                })
            })
            .collect();
        {
            let _permit = semaphore.acquire();
            inside.visit();
        }
        visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
        assert_quiet(&semaphore, 1);
    });
}

#[test]
fn a_permit_is_given_or_the_time_is_up_and_never_both() {
    with_preemptions(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let past = Instant::now();
        let hurried = start(&semaphore, move |semaphore| {
            if let Some(permit) = semaphore.acquire_deadline(past) {
                drop(permit);
            }
        });
        let patient = start(&semaphore, |semaphore| drop(semaphore.acquire()));
        semaphore.release(1);
        hurried.join().unwrap();
        patient.join().unwrap();
        assert_quiet(&semaphore, 1);
    });
}

#[test]
fn those_behind_one_who_leaves_are_served() {
    with_preemptions(3, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let past = Instant::now();
        let greedy = start(&semaphore, move |semaphore| {
            assert!(semaphore.acquire_many_deadline(2, past).is_none());
        });
        let modest = start(&semaphore, |semaphore| semaphore.acquire().forget());
        greedy.join().unwrap();
        modest.join().unwrap();
        assert_quiet(&semaphore, 0);
    });
}

#[test]
fn permits_of_several_givers_add_up_for_one_who_waits_for_all() {
    with_preemptions(3, || {
        let semaphore = Arc::new(Semaphore::new(0));
        let givers: Vec<_> = (0..2).map(|_| start(&semaphore, |semaphore| semaphore.release(1))).collect();
        semaphore.acquire_many(2).forget();
        givers.into_iter().for_each(|giver| giver.join().unwrap());
        assert_quiet(&semaphore, 0);
    });
}

/// Caught: a `serve` that gives what was for one who is served elsewhere to whoever is next, whatever that one wants; a `join` that does not look for permits.
#[test]
fn a_selector_is_served_once_and_its_permits_are_not_counted_for_another() {
    with_preemptions(2, || {
        let semaphores = Arc::new([Semaphore::new(0), Semaphore::new(0)]);
        let selector = start_selector(&semaphores, 1);
        let patient = start_at(&semaphores, |[first, _]| first.acquire_many(2).forget());
        let giver = start_at(&semaphores, |[_, second]| second.release(1));
        semaphores[0].release(2);
        // Whoever has the first, the other is short of it.
        let taken = selector.join().unwrap();
        if taken == 0 {
            semaphores[0].release(1);
        }
        patient.join().unwrap();
        giver.join().unwrap();
        assert_quiet(&semaphores[0], 0);
        assert_quiet(&semaphores[1], 1 - taken);
    });
}

/// Caught: a `leave` that serves nobody (waits for ever).
#[test]
fn those_behind_a_selector_that_leaves_are_served() {
    with_preemptions(2, || {
        let semaphores = Arc::new([Semaphore::new(1), Semaphore::new(0)]);
        let greedy = start_selector(&semaphores, 2);
        let modest = start_at(&semaphores, |[first, _]| first.acquire().forget());
        semaphores[1].release(1);
        assert_eq!(greedy.join().unwrap(), 1);
        modest.join().unwrap();
        semaphores.iter().for_each(|semaphore| assert_quiet(semaphore, 0));
    });
}

type Two = [Semaphore; 2];

fn start_at(semaphores: &Arc<Two>, body: impl FnOnce(&Two) + 'static) -> JoinHandle<()> {
    let semaphores = Arc::clone(semaphores);
    thread::spawn(move || body(&semaphores))
}

/// Waits for so many of the first or one of the second, and keeps them. Which it was.
fn start_selector(semaphores: &Arc<Two>, of_first: usize) -> JoinHandle<usize> {
    let semaphores = Arc::clone(semaphores);
    thread::spawn(move || {
        let mut arms = (semaphores[0].select_acquire(of_first), semaphores[1].select_acquire(1));
        let chosen = select(&mut [&mut arms.0, &mut arms.1]);
        let taken =
            [arms.0.take(), arms.1.take()].map(|permit| permit.map(SemaphorePermit::forget).is_some());
        assert_eq!(taken, [chosen == 0, chosen == 1]);
        chosen
    })
}
