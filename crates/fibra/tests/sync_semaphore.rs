//! Semaphores: so many at a time, in the order of arrival, in every setting (row E4).

mod limit;
mod random;
mod settings;

use fibra::sync::{BoundedSemaphore, Semaphore, TooManyPermits};
use fibra::{Cancelled, Elapsed, JoinHandle, simulation, sleep, spawn, timeout};
use random::Random;
use settings::{Kind, Setting, join_all};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

/// A context that waits for so many permits, keeps them until it ends, and is in line by now.
fn in_line<T: Send + 'static>(
    setting: &Setting,
    semaphore: &Arc<Semaphore>,
    permits: usize,
    then: impl FnOnce() -> T + Send + 'static,
) -> JoinHandle<T> {
    let before = semaphore.waiting();
    let of_waiter = Arc::clone(semaphore);
    let handle = setting.spawn(move || {
        let _permits = of_waiter.acquire_many(permits);
        then()
    });
    setting.until(|| semaphore.waiting() == before + 1);
    handle
}

#[test]
fn at_most_five_of_twenty_are_inside() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(5));
        let (inside, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let contenders = setting.spawn_all(20, {
            let (semaphore, inside, most) = (Arc::clone(&semaphore), Arc::clone(&inside), Arc::clone(&most));
            move |_| {
                for _ in 0..50 {
                    let _permit = semaphore.acquire();
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= 5);
                    most.fetch_max(now, Ordering::SeqCst);
                    fibra::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                }
            }
        });
        join_all(contenders);
        assert_eq!((semaphore.available_permits(), semaphore.waiting()), (5, 0));
        if setting.kind == Kind::OneWorker {
            assert_eq!(most.load(Ordering::SeqCst), 5, "and all five are used");
        }
    });
}

#[test]
fn permits_are_handed_over_in_turn_c1_c2_c3_c1_c2_c3() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(0));
        let order = Arc::new(Mutex::new(Vec::new()));
        let contexts: Vec<_> = (1..=3)
            .map(|name| {
                let before = semaphore.waiting();
                let (of_context, order, setting_of) =
                    (Arc::clone(&semaphore), Arc::clone(&order), setting.clone());
                let handle = setting.spawn(move || {
                    for _ in 0..2 {
                        let _permit = of_context.acquire();
                        let place = {
                            let mut order = order.lock().unwrap();
                            order.push(name);
                            order.len()
                        };
                        // Whoever had it before is in line again, for its second turn.
                        setting_of.until(|| of_context.waiting() == (6 - place).min(2));
                    }
                });
                setting.until(|| semaphore.waiting() == before + 1);
                handle
            })
            .collect();
        semaphore.release(1);
        join_all(contexts);
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 1, 2, 3]);
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn who_tries_in_passing_gets_nothing_while_a_waiter_is_due() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(0));
        for _ in 0..100 {
            let waiting = in_line(setting, &semaphore, 1, || ());
            semaphore.release(1);
            // The permit is the waiter's already, whether it has run or not: what comes back, comes back through it.
            waiting.join().unwrap();
            semaphore.acquire().forget();
        }
        let kept = Arc::new(AtomicBool::new(true));
        let keeping = {
            let (kept, setting_of) = (Arc::clone(&kept), setting.clone());
            in_line(setting, &semaphore, 1, move || setting_of.until(|| !kept.load(Ordering::Relaxed)))
        };
        semaphore.release(1);
        assert!(semaphore.try_acquire().is_none(), "it was handed over");
        assert!(semaphore.acquire_timeout(Duration::ZERO).is_none());
        assert_eq!(semaphore.available_permits(), 0);
        kept.store(false, Ordering::Relaxed);
        keeping.join().unwrap();
        assert!(semaphore.try_acquire().is_some());
    });
}

#[test]
fn who_wants_many_is_not_overtaken_by_who_wants_few() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(2));
        let served = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let served = Arc::clone(&served);
            move || served.lock().unwrap().push(name)
        };
        let many = in_line(setting, &semaphore, 3, note("many"));
        assert_eq!(semaphore.available_permits(), 2);
        assert!(semaphore.try_acquire().is_none(), "these two are for the first in line");
        let few = in_line(setting, &semaphore, 1, note("few"));
        assert!(semaphore.acquire_timeout(SHORT).is_none());
        assert!(served.lock().unwrap().is_empty());
        semaphore.release(1);
        many.join().unwrap();
        few.join().unwrap();
        assert_eq!(*served.lock().unwrap(), ["many", "few"]);
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn who_wants_many_is_served_while_others_come_and_go() {
    settings::each(|setting| {
        let (semaphore, over) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicBool::new(false)));
        let busy = setting.spawn_all(4, {
            let (semaphore, over) = (Arc::clone(&semaphore), Arc::clone(&over));
            move |_| {
                while !over.load(Ordering::Relaxed) {
                    let _permit = semaphore.acquire();
                    fibra::yield_now();
                }
            }
        });
        for _ in 0..50 {
            let all = semaphore.acquire_many(3);
            assert_eq!((all.num_permits(), semaphore.available_permits()), (3, 0));
        }
        over.store(true, Ordering::Relaxed);
        join_all(busy);
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn a_head_that_is_cancelled_is_skipped_and_what_it_held_up_goes_on() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(0));
        let head = in_line(setting, &semaphore, 1, || ());
        let next = in_line(setting, &semaphore, 1, || ());
        head.cancel();
        assert!(head.join().unwrap_err().is::<Cancelled>());
        assert_eq!(semaphore.waiting(), 1);
        semaphore.release(1);
        next.join().unwrap();
        assert_eq!(semaphore.available_permits(), 1);
        // One that waited for too many: those behind it need not wait any longer.
        let greedy = in_line(setting, &semaphore, 5, || ());
        let behind = [in_line(setting, &semaphore, 1, || ()), in_line(setting, &semaphore, 1, || ())];
        greedy.cancel();
        assert!(greedy.join().unwrap_err().is::<Cancelled>());
        join_all(behind);
        // The same when its time is up.
        let of_greedy = Arc::clone(&semaphore);
        let greedy =
            setting.spawn(move || of_greedy.acquire_many_timeout(5, Duration::from_millis(30)).is_none());
        setting.until(|| semaphore.waiting() == 1 || greedy.is_finished());
        let behind = Arc::clone(&semaphore);
        let behind = setting.spawn(move || behind.acquire().forget());
        assert!(greedy.join().unwrap());
        behind.join().unwrap();
        assert_eq!((semaphore.available_permits(), semaphore.waiting()), (0, 0));
    });
}

#[test]
fn limits_are_met_exactly_and_who_leaves_takes_nothing_along() {
    simulation::explore(50, || {
        let semaphore = Arc::new(Semaphore::new(1));
        let permit = semaphore.acquire();
        let wait = |limit: u64, permits: usize| {
            let semaphore = Arc::clone(&semaphore);
            spawn(move || {
                let got = semaphore.acquire_many_timeout(permits, Duration::from_secs(limit)).is_some();
                (got, simulation::elapsed().as_secs())
            })
        };
        let (short, many, long) = (wait(2, 1), wait(6, 2), wait(9, 1));
        sleep(Duration::from_secs(4));
        assert_eq!(semaphore.waiting(), 2);
        assert_eq!(short.join().unwrap(), (false, 2));
        drop(permit);
        // In line before `many` or behind it, as the seed has it; behind it, until that gives up.
        assert_eq!(many.join().unwrap(), (false, 6));
        let (got, at) = long.join().unwrap();
        assert!(got && (at == 4 || at == 6), "{at}");
        assert_eq!((semaphore.available_permits(), semaphore.waiting()), (1, 0));
        let _all = semaphore.acquire();
        assert_eq!(timeout(HOUR, || semaphore.acquire().forget()), Err(Elapsed));
        assert_eq!(semaphore.waiting(), 0);
    });
}

#[test]
fn one_release_of_many_serves_as_many_and_no_more() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(0));
        let passed = Arc::new(AtomicUsize::new(0));
        let waiting: Vec<_> = (0..10)
            .map(|_| {
                let (of_waiter, passed) = (Arc::clone(&semaphore), Arc::clone(&passed));
                setting.spawn(move || {
                    of_waiter.acquire().forget();
                    passed.fetch_add(1, Ordering::SeqCst);
                })
            })
            .collect();
        setting.until(|| semaphore.waiting() == 10);
        for (permits, expected) in [(3, 3), (0, 3), (1, 4), (6, 10)] {
            semaphore.release(permits);
            setting.until(|| passed.load(Ordering::SeqCst) == expected);
            assert_eq!((semaphore.waiting(), semaphore.available_permits()), (10 - expected, 0));
        }
        join_all(waiting);
        semaphore.release(2);
        assert_eq!(semaphore.available_permits(), 2);
    });
}

#[test]
fn to_take_without_waiting_takes_all_or_nothing() {
    settings::each(|_| {
        let semaphore = Semaphore::new(3);
        let two = semaphore.try_acquire_many(2).unwrap();
        assert!(semaphore.try_acquire_many(2).is_none());
        assert_eq!(semaphore.available_permits(), 1);
        let one = semaphore.try_acquire().unwrap();
        assert!(semaphore.try_acquire().is_none());
        assert_eq!(semaphore.acquire_many(0).num_permits(), 0, "for nothing nobody waits");
        assert!(semaphore.try_acquire_many(0).is_some());
        drop((two, one));
        assert_eq!(semaphore.available_permits(), 3);
    });
}

#[test]
fn more_is_given_back_than_was_taken_is_an_error_of_a_bounded_one_only() {
    settings::each(|setting| {
        let bounded = Arc::new(BoundedSemaphore::new(2));
        assert_eq!((bounded.bound(), bounded.release(1)), (2, Err(TooManyPermits)));
        bounded.acquire_many(2).forget();
        assert_eq!(bounded.release(3), Err(TooManyPermits), "and then nothing is changed");
        assert_eq!(bounded.available_permits(), 0);
        assert_eq!(bounded.release(1), Ok(()));
        assert_eq!(bounded.release(2), Err(TooManyPermits));
        assert_eq!(bounded.release(1), Ok(()));
        // With somebody in line: the error leaves it there, and what is due it gets.
        let permits = bounded.acquire_many(2);
        let waiting = {
            let bounded = Arc::clone(&bounded);
            setting.spawn(move || bounded.acquire().num_permits())
        };
        setting.until(|| bounded.waiting() == 1);
        assert_eq!(bounded.release(3), Err(TooManyPermits));
        assert_eq!(bounded.waiting(), 1);
        drop(permits);
        assert_eq!(waiting.join().unwrap(), 1);
        assert_eq!((bounded.available_permits(), bounded.waiting()), (2, 0));
        assert!(TooManyPermits.to_string().contains("more permits"));

        let plain = Semaphore::new(0);
        plain.release(5);
        assert_eq!(plain.available_permits(), 5);
    });
}

#[test]
fn what_can_never_be_is_a_panic_and_changes_nothing() {
    settings::each(|_| {
        let panics = |f: &dyn Fn()| catch_unwind(AssertUnwindSafe(f)).is_err();
        assert!(panics(&|| drop(Semaphore::new(Semaphore::MAX_PERMITS + 1))));
        let full = Semaphore::new(Semaphore::MAX_PERMITS);
        assert!(panics(&|| full.release(1)));
        assert_eq!(full.available_permits(), Semaphore::MAX_PERMITS);
        let bounded = BoundedSemaphore::new(3);
        assert!(panics(&|| bounded.acquire_many(4).forget()), "it would wait for ever");
        assert_eq!((bounded.available_permits(), bounded.waiting()), (3, 0));
        assert!(bounded.try_acquire_many(4).is_none());
        let (one, other) = (Semaphore::new(1), Semaphore::new(1));
        assert!(panics(&|| one.acquire().merge(other.acquire())));
        assert_eq!((one.available_permits(), other.available_permits()), (1, 1));
    });
}

#[test]
fn permits_are_split_merged_forgotten_and_dropped_by_anybody() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(6));
        let mut permits = semaphore.acquire_many_owned(5);
        let two = permits.split(2).unwrap();
        assert!(permits.split(4).is_none());
        assert_eq!((permits.num_permits(), two.num_permits(), semaphore.available_permits()), (3, 2, 1));
        // Dropped by another.
        setting.spawn(move || drop(two)).join().unwrap();
        assert_eq!(semaphore.available_permits(), 3);
        permits.merge(semaphore.acquire_owned());
        assert_eq!((permits.num_permits(), semaphore.available_permits()), (4, 2));
        permits.split(1).unwrap().forget();
        drop(permits);
        assert_eq!(semaphore.available_permits(), 5);
        semaphore.release(1);
        // They keep their semaphore.
        let last = semaphore.try_acquire_many_owned(6).unwrap();
        assert!(semaphore.try_acquire_owned().is_none());
        assert!(semaphore.acquire_timeout_owned(Duration::ZERO).is_none());
        drop(semaphore);
        drop(last);
        let bounded = Arc::new(BoundedSemaphore::new(1));
        drop(bounded.acquire_owned());
        assert_eq!(bounded.available_permits(), 1);
    });
}

#[test]
fn a_panic_or_a_cancellation_gives_back_what_is_held() {
    settings::each(|setting| {
        let semaphore = Arc::new(Semaphore::new(1));
        let of_panicking = Arc::clone(&semaphore);
        let panicking = setting.spawn(move || {
            let _permit = of_panicking.acquire();
            resume_unwind(Box::new("while it is held"));
        });
        assert!(panicking.join().map(|()| ()).is_err());
        assert_eq!(semaphore.available_permits(), 1);
        let of_cancelled = Arc::clone(&semaphore);
        let cancelled = setting.spawn(move || {
            let _permit = of_cancelled.acquire();
            sleep(HOUR);
        });
        setting.until(|| semaphore.available_permits() == 0);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(semaphore.available_permits(), 1);
    });
}

#[test]
fn two_contend_for_one_permit_ten_thousand_times_and_never_stall() {
    settings::each(|setting| {
        let (semaphore, sum) = (Arc::new(Semaphore::new(1)), Arc::new(AtomicUsize::new(0)));
        let contenders = setting.spawn_all(2, {
            let (semaphore, sum) = (Arc::clone(&semaphore), Arc::clone(&sum));
            move |_| {
                for _ in 0..10_000 {
                    let _permit = semaphore.acquire();
                    // Not in one step: the permit makes it one.
                    sum.store(sum.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
                }
            }
        });
        join_all(contenders);
        assert_eq!(sum.load(Ordering::Relaxed), 20_000);
    });
}

/// One context's part in the storm.
fn take_part(semaphore: &Semaphore, random: &Random, held: &AtomicUsize, total: usize) {
    let permits = 1 + random.below(4) as usize;
    let limit = Duration::from_micros(random.below(300));
    let permit = match random.below(5) {
        0 => Some(semaphore.acquire()),
        1 => semaphore.acquire_many_timeout(permits, limit),
        2 => semaphore.try_acquire_many(permits),
        3 => timeout(limit, || semaphore.acquire_many(permits)).ok(),
        _ => Some(semaphore.acquire_many(permits)),
    };
    let Some(mut permit) = permit else { return };
    let count = permit.num_permits();
    assert!(held.fetch_add(count, Ordering::SeqCst) + count <= total, "there are more than there are");
    struct Held<'a>(&'a AtomicUsize, usize);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::SeqCst);
        }
    }
    let _part = permit.split(count - 1);
    // Dropped before the permits are, also when this context is cancelled.
    let _held = Held(held, count);
    random.pause();
}

#[test]
fn a_storm_of_limits_and_cancellations_loses_no_permit() {
    const TOTAL: usize = 5;
    let seed = random::seed();
    settings::each(move |setting| {
        let (semaphore, held) = (Arc::new(Semaphore::new(TOTAL)), Arc::new(AtomicUsize::new(0)));
        let random = Random::new(seed);
        let part = |seed: u64, rounds: usize| {
            let (semaphore, held) = (Arc::clone(&semaphore), Arc::clone(&held));
            setting.spawn(move || {
                let random = Random::new(seed);
                (0..rounds).for_each(|_| take_part(&semaphore, &random, &held, TOTAL));
            })
        };
        let steady: Vec<_> = (0..6).map(|_| part(random.next(), 200)).collect();
        for _ in 0..60 {
            let doomed: Vec<_> = (0..3).map(|_| part(random.next(), usize::MAX)).collect();
            random.pause();
            doomed.iter().for_each(|handle| handle.cancel());
            for handle in doomed {
                assert!(handle.join().unwrap_err().is::<Cancelled>());
            }
        }
        join_all(steady);
        assert_eq!((semaphore.available_permits(), semaphore.waiting()), (TOTAL, 0));
        assert_eq!(held.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn a_storm_under_every_order_of_a_simulation_loses_no_permit() {
    simulation::explore(200, || {
        let (semaphore, held) = (Arc::new(Semaphore::new(3)), Arc::new(AtomicUsize::new(0)));
        let seed = simulation::elapsed().as_nanos() as u64;
        let parts: Vec<_> = (0..4)
            .map(|number| {
                let (semaphore, held) = (Arc::clone(&semaphore), Arc::clone(&held));
                spawn(move || {
                    let random = Random::new(seed + number);
                    for _ in 0..20 {
                        if random.below(3) == 0 {
                            drop(semaphore.acquire_many(1 + random.below(3) as usize));
                        }
                        drop(semaphore.acquire_many_timeout(1 + random.below(3) as usize, SHORT));
                        let _one = semaphore.acquire();
                        assert!(held.fetch_add(1, Ordering::SeqCst) < 3);
                        sleep(Duration::from_millis(random.below(4)));
                        held.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        parts.into_iter().enumerate().for_each(|(number, part)| {
            if number == 3 {
                part.cancel();
            }
            let _ = part.join();
        });
        assert_eq!((semaphore.available_permits(), semaphore.waiting()), (3, 0));
    });
}
