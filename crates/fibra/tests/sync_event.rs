//! Events: set, clear, wait, in every setting (row E3).

mod limit;
mod random;
mod settings;

use fibra::sync::Event;
use fibra::{Cancelled, Elapsed, simulation, sleep, spawn, timeout};
use random::Random;
use settings::join_all;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// So many contexts that wait, all of them in the list.
fn waiting(setting: &settings::Setting, event: &Arc<Event>, count: usize) -> Vec<fibra::JoinHandle<()>> {
    let before = event.waiting();
    let event_of_waiters = Arc::clone(event);
    let waiting = setting.spawn_all(count, move |_| event_of_waiters.wait());
    setting.until(|| event.waiting() == before + count);
    waiting
}

#[test]
fn who_waits_goes_on_when_it_is_set_and_who_comes_later_does_not_wait() {
    settings::each(|setting| {
        let event = Arc::new(Event::new());
        assert!(!event.is_set());
        let waiting = waiting(setting, &event, 5);
        assert!(waiting.iter().all(|handle| !handle.is_finished()));
        event.set();
        assert!(event.is_set());
        join_all(waiting);
        event.wait();
        assert!(event.wait_timeout(Duration::ZERO));
        assert!(event.wait_deadline(fibra::simulation::now()));
        assert_eq!(event.waiting(), 0);
        event.set();
        assert!(event.is_set(), "to set it twice is to set it");
        event.clear();
        event.clear();
        assert!(!event.is_set());
    });
}

#[test]
fn set_then_clear_releases_the_waiters_of_that_moment_and_nobody_else() {
    settings::each(|setting| {
        let event = Arc::new(Event::new());
        for count in [1, 2, 10] {
            let now = waiting(setting, &event, count);
            event.set();
            event.clear();
            let later = waiting(setting, &event, 3);
            join_all(now);
            assert!(later.iter().all(|handle| !handle.is_finished()));
            assert_eq!((event.waiting(), event.is_set()), (3, false));
            event.set();
            join_all(later);
            event.clear();
        }
    });
}

#[test]
fn a_wait_with_a_limit_says_whether_it_was_set() {
    settings::each(|setting| {
        let event = Arc::new(Event::new());
        assert!(!event.wait_timeout(Duration::ZERO));
        assert!(!event.wait_timeout(Duration::from_millis(2)));
        assert!(!event.wait_deadline(std::time::Instant::now()));
        assert_eq!(event.waiting(), 0, "who left is in no list");
        let limited = setting.spawn_all(4, {
            let event = Arc::clone(&event);
            move |number| event.wait_timeout(if number % 2 == 0 { HOUR } else { Duration::MAX })
        });
        setting.until(|| event.waiting() == 4);
        event.set();
        assert_eq!(join_all(limited), [true; 4]);
        assert!(event.wait_timeout(Duration::ZERO), "what is there counts more than the clock");
    });
}

#[test]
fn limits_are_met_exactly_and_a_set_in_time_is_in_time() {
    simulation::explore(50, || {
        let event = Arc::new(Event::new());
        let wait = |limit: u64| {
            let event = Arc::clone(&event);
            spawn(move || (event.wait_timeout(Duration::from_secs(limit)), simulation::elapsed().as_secs()))
        };
        let (short, long) = (wait(3), wait(8));
        sleep(Duration::from_secs(5));
        assert_eq!(event.waiting(), 1);
        event.set();
        event.clear();
        assert_eq!(short.join().unwrap(), (false, 3));
        assert_eq!(long.join().unwrap(), (true, 5));
        assert!(!event.wait_timeout(HOUR));
        assert_eq!(simulation::elapsed(), HOUR + Duration::from_secs(5));
    });
}

#[test]
fn a_waiter_that_is_cancelled_leaves_as_if_it_had_never_come() {
    settings::each(|setting| {
        let event = Arc::new(Event::new());
        let mut waiting = waiting(setting, &event, 3);
        let cancelled = waiting.remove(1);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(event.waiting(), 2);
        assert_eq!(timeout(Duration::from_millis(2), || event.wait()), Err(Elapsed));
        assert_eq!(event.waiting(), 2);
        event.set();
        join_all(waiting);
    });
}

#[test]
fn it_may_be_dropped_as_soon_as_who_waited_goes_on() {
    settings::each(|setting| {
        for _ in 0..200 {
            let event = Arc::new(Event::new());
            let setter = {
                let event = Arc::clone(&event);
                setting.spawn(move || event.set())
            };
            event.wait();
            drop(event);
            setter.join().unwrap();
        }
    });
}

#[test]
fn what_was_written_before_the_set_is_seen_after_the_wait() {
    settings::each(|setting| {
        for round in 0..200 {
            let (event, value) = (Arc::new(Event::new()), Arc::new(AtomicUsize::new(0)));
            let readers = setting.spawn_all(2, {
                let (event, value) = (Arc::clone(&event), Arc::clone(&value));
                move |_| {
                    event.wait();
                    value.load(Ordering::Relaxed)
                }
            });
            value.store(round, Ordering::Relaxed);
            event.set();
            assert_eq!(join_all(readers), [round; 2]);
        }
    });
}

#[test]
fn two_take_turns_by_two_events_ten_thousand_times() {
    settings::each(|setting| {
        let events = [(); 2].map(|()| Arc::new(Event::new()));
        let players = setting.spawn_all(2, {
            let events = events.clone();
            move |number| {
                for _ in 0..10_000 {
                    events[number].wait();
                    events[number].clear();
                    events[1 - number].set();
                }
            }
        });
        events[0].set();
        join_all(players);
    });
}

#[test]
fn it_can_be_a_static_and_tells_what_it_is() {
    static READY: Event = Event::new();
    settings::each(|setting| {
        READY.clear();
        assert_eq!(format!("{READY:?}"), "Event { set: false, .. }");
        let waiting = setting.spawn(|| READY.wait());
        READY.set();
        waiting.join().unwrap();
        assert!(READY.is_set());
        assert!(!Event::default().is_set());
    });
}

#[test]
fn a_panic_among_the_waiters_disturbs_nobody() {
    settings::each(|setting| {
        let event = Arc::new(Event::new());
        let panicking = {
            let event = Arc::clone(&event);
            setting.spawn(move || {
                event.wait();
                std::panic::resume_unwind(Box::new("a waiter's own"));
            })
        };
        setting.until(|| event.waiting() == 1);
        let others = waiting(setting, &event, 2);
        event.set();
        assert!(panicking.join().is_err());
        join_all(others);
    });
}

/// Somebody sets and clears all the time; waiters come, and leave by a limit or because they are cancelled. At the end nobody is left, and nobody was forgotten.
#[test]
fn a_storm_of_sets_clears_limits_and_cancellations_forgets_nobody() {
    let seed = random::seed();
    settings::each(move |setting| {
        let (event, over) = (Arc::new(Event::new()), Arc::new(AtomicBool::new(false)));
        let setter = {
            let (event, over) = (Arc::clone(&event), Arc::clone(&over));
            let random = Random::new(seed);
            setting.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    event.set();
                    if random.below(2) == 0 {
                        fibra::yield_now();
                    }
                    event.clear();
                    random.pause();
                }
                event.set();
            })
        };
        let waiters = setting.spawn_all(6, {
            let event = Arc::clone(&event);
            move |number| {
                let random = Random::new(seed ^ (number as u64 + 1));
                for _ in 0..150 {
                    let limit = Duration::from_micros(random.below(200));
                    match random.below(4) {
                        // Each is released by the next set, whatever comes after it.
                        0 => event.wait(),
                        1 => drop(event.wait_timeout(limit)),
                        2 => drop(timeout(limit, || event.wait())),
                        _ => {
                            let caught = catch_unwind(AssertUnwindSafe(|| {
                                timeout(limit, || timeout(HOUR, || event.wait()))
                            }));
                            assert!(caught.is_ok());
                        }
                    }
                }
            }
        });
        let cancelled = setting.spawn_all(10, {
            let event = Arc::clone(&event);
            move |_| {
                loop {
                    event.wait();
                    fibra::cancel::checkpoint();
                    fibra::yield_now();
                }
            }
        });
        let random = Random::new(!seed);
        for handle in cancelled {
            random.pause();
            handle.cancel();
            assert!(handle.join().map(|()| ()).unwrap_err().is::<Cancelled>());
        }
        join_all(waiters);
        over.store(true, Ordering::Relaxed);
        setter.join().unwrap();
        assert_eq!(event.waiting(), 0);
    });
}
