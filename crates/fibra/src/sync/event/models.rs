//! The event, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never woken is a deadlock, which loom reports.

use super::Event;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;
use std::time::Instant;

/// How many preemptions, besides the switches where a thread waits.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// An event, and what was done before it was set.
#[derive(Default)]
struct Announced {
    event: Event,
    news: UnsafeCell<u32>,
}

// SAFETY: loom sees to it that the news is not touched by two at once.
unsafe impl Sync for Announced {}
// SAFETY: it is a number.
unsafe impl Send for Announced {}

impl Announced {
    fn announce(&self) {
        // SAFETY: nobody reads it before the event is set.
        self.news.with_mut(|news| unsafe { *news = 1 });
        self.event.set();
    }

    fn assert_seen(&self) {
        // SAFETY: nobody writes it after the event was set.
        self.news.with(|news| assert_eq!(unsafe { *news }, 1));
    }
}

#[test]
fn nobody_sleeps_over_a_set_and_all_see_what_came_before_it() {
    with_preemptions(3, || {
        let announced = Arc::new(Announced::default());
        let waiters: Vec<_> = (0..2)
            .map(|_| {
                let announced = Arc::clone(&announced);
                thread::spawn(move || {
                    announced.event.wait();
                    announced.assert_seen();
                })
            })
            .collect();
        announced.announce();
        waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        assert_eq!(announced.event.waiting(), 0);
    });
}

#[test]
fn a_set_that_is_cleared_at_once_releases_those_who_waited() {
    with_preemptions(3, || {
        let event = Arc::new(Event::new());
        let waiter = thread::spawn({
            let event = Arc::clone(&event);
            move || event.wait()
        });
        while event.waiting() == 0 {
            thread::yield_now();
        }
        event.set();
        event.clear();
        waiter.join().unwrap();
        assert!(!event.is_set());
    });
}

#[test]
fn a_wait_whose_time_is_up_leaves_nothing_behind() {
    with_preemptions(3, || {
        let announced = Arc::new(Announced::default());
        let past = Instant::now();
        let waiter = thread::spawn({
            let announced = Arc::clone(&announced);
            move || {
                if announced.event.wait_deadline(past) {
                    announced.assert_seen();
                }
                // A wake-up that had been left behind would end this one before its time.
                announced.event.wait();
                announced.assert_seen();
                // And this one, which nobody ends.
                assert!(!Event::new().wait_deadline(past));
            }
        });
        announced.announce();
        waiter.join().unwrap();
        assert_eq!(announced.event.waiting(), 0);
    });
}
