//! Mutexes, reentrant or not, in every setting (rows E1, K5).

mod limit;
mod random;
mod settings;

use fibra::sync::{ArcMutexGuard, Mutex, MutexGuard, ReentrantMutex};
use fibra::{Cancelled, Elapsed, JoinHandle, Stop, shield, simulation, sleep, spawn, timeout, yield_now};
use random::Random;
use settings::{Kind, join_all};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn one_is_inside_at_a_time_also_while_it_waits_for_something_else() {
    settings::each(|setting| {
        let (mutex, inside) = (Arc::new(Mutex::new(0)), Arc::new(AtomicUsize::new(0)));
        let contexts = setting.spawn_all(8, {
            let (mutex, inside) = (Arc::clone(&mutex), Arc::clone(&inside));
            move |_| {
                for _ in 0..50 {
                    let mut number = mutex.lock();
                    assert_eq!(inside.fetch_add(1, Ordering::Relaxed), 0);
                    let seen = *number;
                    yield_now();
                    *number = seen + 1;
                    inside.fetch_sub(1, Ordering::Relaxed);
                }
            }
        });
        join_all(contexts);
        assert_eq!(*mutex.lock(), 400, "no update is lost");
        assert_eq!(mutex.waiting(), 0);
    });
}

#[test]
fn two_contexts_that_contend_ten_thousand_times_never_stall() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(0));
        let contexts = setting.spawn_all(2, {
            let mutex = Arc::clone(&mutex);
            move |_| (0..10_000).for_each(|_| *mutex.lock() += 1)
        });
        join_all(contexts);
        assert_eq!(*mutex.lock(), 20_000);
    });
}

#[test]
fn try_lock_fails_while_it_is_held_and_only_then() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(1));
        let guard = mutex.lock();
        assert!(mutex.is_locked());
        assert!(mutex.try_lock().is_none());
        let elsewhere = Arc::clone(&mutex);
        assert!(setting.spawn(move || elsewhere.try_lock().is_none()).join().unwrap());
        drop(guard);
        assert!(!mutex.is_locked());
        assert_eq!(*mutex.try_lock().unwrap(), 1);
    });
}

#[test]
fn a_timed_lock_fails_after_its_time_and_the_mutex_stays_usable() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        assert!(mutex.lock_timeout(Duration::from_millis(2)).is_none());
        assert!(mutex.lock_timeout(Duration::ZERO).is_none());
        assert!(mutex.lock_deadline(Instant::now()).is_none());
        assert_eq!(mutex.waiting(), 0, "who left is in no list");
        let patient = setting.spawn({
            let mutex = Arc::clone(&mutex);
            move || mutex.lock_timeout(HOUR).is_some() && mutex.lock_timeout(Duration::MAX).is_some()
        });
        setting.until(|| mutex.waiting() == 1);
        drop(guard);
        assert!(patient.join().unwrap());
        assert!(mutex.lock_timeout(Duration::ZERO).is_some());
    });
}

#[test]
fn a_timed_lock_takes_as_long_as_was_said() {
    simulation::run(|| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        let elsewhere = Arc::clone(&mutex);
        spawn(move || {
            assert!(elsewhere.lock_timeout(Duration::from_secs(5)).is_none());
            assert_eq!(simulation::elapsed(), Duration::from_secs(5));
        })
        .join()
        .unwrap();
        drop(guard);
    });
}

#[test]
fn a_panic_gives_it_back_and_does_not_poison_it() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(0));
        let elsewhere = Arc::clone(&mutex);
        let panicking = setting.spawn(move || {
            *elsewhere.lock() = 1;
            let _guard = elsewhere.lock();
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        assert!(panicking.join().is_err());
        assert_eq!(*mutex.lock(), 1);
    });
}

#[test]
fn who_is_cancelled_while_it_waits_leaves_as_if_it_had_never_come() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        let (first, second) = (Arc::clone(&mutex), Arc::clone(&mutex));
        let first = setting.spawn(move || drop(first.lock()));
        setting.until(|| mutex.waiting() == 1);
        let second = setting.spawn(move || drop(second.lock()));
        setting.until(|| mutex.waiting() == 2);
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert_eq!(mutex.waiting(), 1);
        drop(guard);
        second.join().unwrap();
        assert!(!mutex.is_locked());
    });
}

#[test]
fn a_timeout_around_a_lock_ends_its_wait() {
    settings::each(|_| {
        let mutex = Mutex::new(());
        let guard = mutex.lock();
        assert_eq!(timeout(Duration::from_millis(2), || drop(mutex.lock())), Err(Elapsed));
        assert_eq!(mutex.waiting(), 0);
        drop(guard);
        assert_eq!(timeout(Duration::ZERO, || *mutex.lock()), Ok(()), "it need not wait");
    });
}

#[test]
fn a_guard_that_gives_it_back_for_a_while_has_it_again_also_when_it_is_cancelled() {
    limit::on_workers(1, || {
        let mutex = Arc::new(Mutex::new(0));
        let stop = Stop::new();
        let (taken, cancelled) = (Arc::clone(&mutex), stop.clone());
        let other = spawn(move || {
            let mut number = taken.lock();
            cancelled.trigger();
            // The first one waits for the mutex by now, or will.
            (0..10).for_each(|_| yield_now());
            *number += 1;
        });
        let enrolled = stop.enroll();
        let result = enrolled.interruptible(|| {
            let mut guard = mutex.lock();
            MutexGuard::unlocked(&mut guard, || (0..3).for_each(|_| yield_now()));
            assert_eq!(*guard, 1, "the wait for it was not ended by the request");
            *guard += 1;
            drop(guard);
            sleep(HOUR);
        });
        assert!(result.is_err(), "the request is met at the next wait");
        other.join().unwrap();
        assert_eq!(*mutex.lock(), 2);
    });
}

#[test]
fn who_is_passed_over_once_gets_it_next() {
    limit::on_workers(1, || {
        let mutex = Arc::new(Mutex::new(()));
        let guard = mutex.lock();
        let turns = Arc::new(AtomicUsize::new(0));
        let (elsewhere, seen) = (Arc::clone(&mutex), Arc::clone(&turns));
        let waiter = spawn(move || {
            let _guard = elsewhere.lock();
            seen.load(Ordering::Relaxed)
        });
        while mutex.waiting() == 0 {
            yield_now();
        }
        drop(guard);
        while !waiter.is_finished() {
            // Snatched before the waiter runs, and held while it tries.
            let guard = mutex.lock();
            turns.fetch_add(1, Ordering::Relaxed);
            yield_now();
            drop(guard);
            if waiter.is_finished() {
                break;
            }
        }
        assert!(waiter.join().unwrap() <= 2, "overtaken for ever");
    });
}

type Order = Vec<usize>;

/// A mutex that so many contexts wait for, each to note its number, and for which each of them was woken and came too late; the caller holds it.
fn passed_over(count: usize) -> (Arc<Mutex<Order>>, ArcMutexGuard<Order>, Vec<JoinHandle<()>>) {
    let mutex = Arc::new(Mutex::new(Vec::new()));
    let mut guard = mutex.lock_arc();
    let mut contexts = Vec::new();
    for number in 0..count {
        let elsewhere = Arc::clone(&mutex);
        contexts.push(spawn(move || elsewhere.lock().push(number)));
        while mutex.waiting() <= number {
            yield_now();
        }
    }
    for left in (0..count).rev() {
        drop(guard);
        // One of them is woken, and does not run before it is locked again.
        guard = mutex.lock_arc();
        assert_eq!(mutex.waiting(), left);
    }
    while mutex.waiting() < count {
        yield_now();
    }
    (mutex, guard, contexts)
}

#[test]
fn those_who_were_passed_over_get_it_in_the_order_in_which_they_were() {
    limit::on_workers(1, || {
        let (mutex, guard, contexts) = passed_over(4);
        let elsewhere = Arc::clone(&mutex);
        let newcomer = spawn(move || elsewhere.lock().push(100));
        while mutex.waiting() < 5 {
            yield_now();
        }
        drop(guard);
        assert!(mutex.try_lock().is_none(), "it was handed over, and nobody can snatch it");
        join_all(contexts);
        newcomer.join().unwrap();
        assert_eq!(*mutex.lock(), [0, 1, 2, 3, 100]);
    });
}

#[test]
fn one_who_was_passed_over_leaves_as_everybody_does() {
    limit::on_workers(1, || {
        let (mutex, guard, mut contexts) = passed_over(3);
        let first = contexts.remove(0);
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert_eq!(mutex.waiting(), 2);
        drop(guard);
        join_all(contexts);
        assert_eq!(*mutex.lock(), [1, 2]);
        assert!(!mutex.is_locked());
    });
}

/// Woken, it takes the mutex or finds it held by another; so its wake-up is not lost when it leaves.
#[test]
fn one_who_is_woken_and_asked_to_stop_at_once_loses_nothing() {
    limit::on_workers(1, || {
        for taken_again in [false, true] {
            let mutex = Arc::new(Mutex::new(0));
            let guard = mutex.lock_arc();
            let contexts: Vec<_> = (1..=2)
                .map(|number| {
                    let elsewhere = Arc::clone(&mutex);
                    let context = spawn(move || *elsewhere.lock() += 1);
                    while mutex.waiting() < number {
                        yield_now();
                    }
                    context
                })
                .collect();
            drop(guard);
            contexts[0].cancel();
            if taken_again {
                let guard = mutex.lock();
                yield_now();
                drop(guard);
            }
            let finished = contexts.into_iter().map(|context| context.join().is_ok());
            assert_eq!(finished.collect::<Vec<_>>(), [!taken_again, true]);
            assert_eq!((*mutex.lock(), mutex.waiting()), (2 - usize::from(taken_again), 0));
        }
    });
}

#[test]
fn a_fair_unlock_hands_it_to_the_first_in_line() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(Vec::new()));
        let mut guard = mutex.lock();
        let mut waiting = Vec::new();
        for number in 0..4 {
            let elsewhere = Arc::clone(&mutex);
            waiting.push(setting.spawn(move || {
                let mut order = elsewhere.lock();
                order.push(number);
                MutexGuard::unlock_fair(order);
            }));
            setting.until(|| mutex.waiting() == number + 1);
        }
        guard.push(100);
        MutexGuard::unlock_fair(guard);
        join_all(waiting);
        assert_eq!(*mutex.lock(), [100, 0, 1, 2, 3]);
    });
}

#[test]
fn a_guard_may_go_to_another_context() {
    settings::each(|setting| {
        let mutex = Arc::new(Mutex::new(String::new()));
        let mut guard = mutex.lock_arc();
        assert!(mutex.try_lock_arc().is_none());
        setting.spawn(move || guard.push_str("there")).join().unwrap();
        assert_eq!(*mutex.lock(), "there");
    });
}

#[test]
fn a_part_of_the_data_can_be_kept_locked() {
    let mutex = Mutex::new((1, "one"));
    let mut number = MutexGuard::map(mutex.lock(), |data| &mut data.0);
    *number += 1;
    assert!(mutex.is_locked());
    drop(number);
    assert_eq!(mutex.into_inner(), (2, "one"));
}

#[test]
fn its_owner_and_its_name_are_known() {
    settings::each(|setting| {
        static NAMED: Mutex<()> = Mutex::named("the only one", ());
        assert_eq!(NAMED.name(), Some("the only one"));
        let mutex = Arc::new(Mutex::new(()));
        assert_eq!((mutex.owner(), mutex.name()), (None, None));
        let (elsewhere, leave) = (Arc::clone(&mutex), Arc::new(AtomicBool::new(false)));
        let left = Arc::clone(&leave);
        let holder = setting.spawn(move || {
            let _guard = elsewhere.lock();
            while !left.load(Ordering::Relaxed) {
                yield_now();
            }
        });
        setting.until(|| mutex.owner() == Some(holder.id()));
        leave.store(true, Ordering::Relaxed);
        holder.join().unwrap();
        assert_eq!(mutex.owner(), None);
    });
}

#[test]
fn what_it_says_of_itself() {
    let mutex = Mutex::named("letters", vec!['a']);
    assert_eq!(format!("{mutex:?}"), r#"Mutex { name: "letters", data: ['a'] }"#);
    let guard = mutex.lock();
    assert_eq!(format!("{mutex:?}"), r#"Mutex { name: "letters", data: <locked> }"#);
    drop(guard);
    let mutex = ReentrantMutex::new(1);
    assert_eq!(format!("{mutex:?}"), "ReentrantMutex { data: 1 }");
}

/// Locks, timed locks and tries, of contexts that are cancelled at random moments: nobody stays outside for ever, and the mutex is free in the end.
#[test]
fn no_turn_is_lost_in_a_storm_of_cancellations() {
    settings::each(|setting| {
        let random = Random::new(random::seed());
        for _ in 0..30 {
            let mutex = Arc::new(Mutex::new(0_usize));
            let done = Arc::new(AtomicUsize::new(0));
            let contexts: Vec<_> = (0..12)
                .map(|_| {
                    let (mutex, done, random) =
                        (Arc::clone(&mutex), Arc::clone(&done), Random::new(random.next()));
                    setting.spawn(move || {
                        for _ in 0..20 {
                            let guard = match random.below(4) {
                                0 => mutex.try_lock(),
                                1 => mutex.lock_timeout(Duration::from_micros(random.below(200))),
                                2 => timeout(Duration::from_micros(random.below(200)), || mutex.lock()).ok(),
                                _ => Some(mutex.lock()),
                            };
                            if let Some(mut guard) = guard {
                                let seen = *guard;
                                if random.below(2) == 0 {
                                    shield(yield_now);
                                }
                                *guard = seen + 1;
                                done.fetch_add(1, Ordering::Relaxed);
                                if random.below(4) == 0 {
                                    MutexGuard::unlock_fair(guard);
                                }
                            }
                        }
                    })
                })
                .collect();
            settings::cancel_some(contexts, || random.below(3) == 0);
            assert_eq!((mutex.waiting(), mutex.is_locked()), (0, false));
            assert_eq!(*mutex.lock(), done.load(Ordering::Relaxed));
        }
    });
}

#[test]
fn every_schedule_keeps_the_turns_apart() {
    simulation::explore(200, || {
        let mutex = Arc::new(Mutex::new(0));
        let contexts: Vec<_> = (0..4)
            .map(|_| {
                let mutex = Arc::clone(&mutex);
                spawn(move || {
                    for _ in 0..3 {
                        let mut number = mutex.lock();
                        let seen = *number;
                        simulation::perhaps_yield();
                        *number = seen + 1;
                    }
                })
            })
            .collect();
        join_all(contexts);
        assert_eq!(*mutex.lock(), 12);
    });
}

#[test]
fn a_reentrant_mutex_counts_and_knows_its_owner() {
    settings::each(|setting| {
        let mutex = Arc::new(ReentrantMutex::new(Cell::new(0)));
        assert_eq!((mutex.count(), mutex.owner(), mutex.is_owned()), (0, None, false));
        let first = mutex.lock();
        let second = mutex.lock();
        let third = mutex.try_lock().unwrap();
        third.set(third.get() + 1);
        let me = fibra::current().id();
        assert_eq!((mutex.count(), mutex.owner(), mutex.is_owned()), (3, Some(me), true));
        let elsewhere = Arc::clone(&mutex);
        let seen = setting.spawn(move || {
            let seen = (elsewhere.count(), elsewhere.is_owned(), elsewhere.try_lock().is_some());
            let late = elsewhere.lock_timeout(Duration::from_millis(2)).is_some();
            (seen, elsewhere.owner(), late)
        });
        assert_eq!(seen.join().unwrap(), ((0, false, false), Some(me), false));
        // In any order.
        drop(first);
        drop(third);
        assert_eq!(mutex.count(), 1);
        let elsewhere = Arc::clone(&mutex);
        let next = setting.spawn(move || elsewhere.lock().get());
        setting.until(|| mutex.waiting() == 1);
        drop(second);
        assert_eq!(next.join().unwrap(), 1);
        assert_eq!((mutex.count(), mutex.owner()), (0, None));
    });
}

#[test]
fn the_owner_of_a_reentrant_mutex_is_the_coroutine_and_not_its_thread() {
    settings::in_one(Kind::OneWorker, |setting| {
        let mutex = Arc::new(ReentrantMutex::named("tree", Cell::new(0)));
        assert_eq!(mutex.name(), Some("tree"));
        let contexts = setting.spawn_all(4, {
            let mutex = Arc::clone(&mutex);
            move |_| {
                for _ in 0..20 {
                    let outer = mutex.lock();
                    let seen = outer.get();
                    yield_now();
                    let inner = mutex.lock();
                    yield_now();
                    inner.set(seen + 1);
                }
            }
        });
        join_all(contexts);
        assert_eq!(mutex.lock().get(), 80);
    });
}

#[test]
fn a_guard_of_a_reentrant_mutex_may_go_to_a_coroutine_of_the_same_worker() {
    limit::on_workers(1, || {
        let mutex = ReentrantMutex::from(Cell::new(0));
        let (first, second) = (mutex.lock(), mutex.lock());
        fibra::scope(|scope| {
            let other = scope.spawn_local(|| {
                second.set(1);
                assert_eq!((mutex.count(), mutex.is_owned(), mutex.try_lock().is_none()), (0, false, true));
                drop(second);
            });
            other.join().unwrap();
            assert_eq!((mutex.count(), first.get()), (1, 1));
            // The last one, too: then the mutex is free, and anybody's.
            let last = scope.spawn_local(|| {
                drop(first);
                mutex.lock().set(2);
                assert_eq!(mutex.owner(), None);
            });
            last.join().unwrap();
            assert_eq!((mutex.count(), mutex.lock().get()), (0, 2));
        });
    });
}

#[test]
fn a_cancelled_owner_of_a_reentrant_mutex_gives_all_its_locks_back() {
    settings::each(|setting| {
        let mutex = Arc::new(ReentrantMutex::new(()));
        let elsewhere = Arc::clone(&mutex);
        let owner = setting.spawn(move || {
            let _first = elsewhere.lock();
            let _second = elsewhere.lock();
            sleep(HOUR);
        });
        setting.until(|| mutex.owner().is_some());
        owner.cancel();
        assert!(owner.join().is_err());
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _first = mutex.lock();
            let _second = mutex.lock();
            std::panic::resume_unwind(Box::new("on purpose"));
        }));
        assert!(result.is_err());
        assert_eq!((mutex.owner(), mutex.count()), (None, 0));
    });
}
