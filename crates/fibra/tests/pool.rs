//! Pools of at most so many coroutines (row H4).

mod limit;
mod settings;
mod simulated;
mod storm;

use fibra::group::PoolFull;
use fibra::sync::Event;
use fibra::{Cancelled, Elapsed, JoinHandle, Pool, simulation, sleep, spawn, timeout};
use settings::each;
use simulated::explored;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use storm::{Random, storm_end};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A panic that no hook reports.
fn fail() -> ! {
    resume_unwind(Box::new("failed"))
}

/// Counts how many are inside, and the most that have been.
#[derive(Default)]
struct Inside {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Inside {
    /// Inside until the guard is dropped.
    fn enter(self: &Arc<Self>) -> impl Drop + use<> {
        struct Leave(Arc<Inside>);
        impl Drop for Leave {
            fn drop(&mut self) {
                self.0.now.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        Leave(Arc::clone(self))
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

#[test]
fn spawn_waits_while_the_pool_is_full() {
    explored(|| {
        let pool = Pool::new(2);
        assert_eq!((pool.size(), pool.free_count(), pool.len()), (2, 2, 0));
        assert!(pool.is_empty() && !pool.is_full());
        pool.spawn(|| sleep(2 * SECOND));
        pool.spawn(|| sleep(SECOND));
        assert_eq!((pool.free_count(), pool.len(), simulation::elapsed()), (0, 2, Duration::ZERO));
        assert!(!pool.is_empty() && pool.is_full());
        let third = pool.spawn(|| 3);
        assert_eq!(simulation::elapsed(), SECOND);
        assert_eq!(third.join().unwrap(), 3);
        assert_eq!(pool.free_count(), 1, "its place is free when it can be joined");
        assert_eq!(pool.join(), Ok(()));
        assert_eq!(simulation::elapsed(), 2 * SECOND);
    });
}

#[test]
fn never_more_than_so_many_are_inside() {
    each(|setting| {
        let (pool, inside) = (Pool::new(3), Arc::<Inside>::default());
        let spawning = setting.spawn_all(4, {
            let (pool, inside) = (pool.clone(), Arc::clone(&inside));
            move |_| {
                for _ in 0..25 {
                    let inside = Arc::clone(&inside);
                    pool.spawn(move || {
                        let _inside = inside.enter();
                        fibra::yield_now();
                    });
                }
            }
        });
        settings::join_all(spawning);
        pool.join().unwrap();
        assert!((1..=3).contains(&inside.most()), "{}", inside.most());
        assert_eq!((pool.free_count(), pool.waiting()), (3, 0));
    });
}

#[test]
fn places_are_given_in_the_order_in_which_they_were_asked_for() {
    explored(|| {
        let pool = Pool::new(1);
        pool.spawn(|| sleep(10 * SECOND));
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (0..5)
            .map(|number| {
                let (pool, order) = (pool.clone(), Arc::clone(&order));
                spawn(move || {
                    sleep(number * SECOND);
                    pool.spawn(move || order.lock().unwrap().push(number)).join().unwrap();
                })
            })
            .collect();
        settings::join_all(waiting);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn try_spawn_and_spawn_timeout_give_the_closure_back_when_the_pool_is_full() {
    explored(|| {
        let pool = Pool::new(1);
        let first = pool.try_spawn(|| sleep(5 * SECOND)).expect("a place");
        let PoolFull(work) = pool.try_spawn(|| 5).unwrap_err();
        let full = pool.spawn_timeout(SECOND, work).unwrap_err();
        assert_eq!((simulation::elapsed(), full.to_string()), (SECOND, "the pool is full".into()));
        let full = pool.spawn_deadline(simulation::now() + SECOND, full.into_inner()).unwrap_err();
        assert_eq!(simulation::elapsed(), 2 * SECOND);
        let late = pool.spawn_timeout(HOUR, full.into_inner()).unwrap();
        assert_eq!((simulation::elapsed(), late.join().unwrap()), (5 * SECOND, 5));
        first.join().unwrap();
    });
}

#[test]
fn a_try_does_not_overtake_who_waits() {
    explored(|| {
        let pool = Pool::new(1);
        pool.spawn(|| sleep(SECOND));
        let waiting = spawn({
            let pool = pool.clone();
            move || pool.spawn(|| sleep(SECOND)).join().unwrap()
        });
        sleep(SECOND / 2);
        assert_eq!(pool.waiting(), 1);
        for _ in 0..30 {
            assert!(pool.try_spawn(|| ()).is_err());
            sleep(SECOND / 20);
        }
        waiting.join().unwrap();
        pool.try_spawn(|| ()).unwrap().join().unwrap();
    });
}

#[test]
fn a_panic_or_a_cancellation_frees_the_place_also_of_one_that_never_ran() {
    each(|_| {
        let pool = Pool::new(1);
        for round in 0..30 {
            match round % 3 {
                0 => assert!(pool.spawn(|| fail()).join().is_err()),
                1 => {
                    let idle = pool.spawn(|| sleep(HOUR));
                    idle.cancel();
                    assert!(idle.join().unwrap_err().is::<Cancelled>());
                }
                _ => {
                    // It may have begun, or never will.
                    let idle = pool.spawn(|| sleep(HOUR));
                    fibra::yield_now();
                    idle.cancel();
                }
            }
        }
        assert_eq!(pool.join().unwrap_err().message(), Some("failed"));
        assert_eq!(pool.free_count(), 1);
    });
}

#[test]
fn a_spawn_that_is_ended_while_it_waits_takes_no_place_and_starts_nothing() {
    explored(|| {
        let pool = Pool::new(1);
        pool.spawn(|| sleep(10 * SECOND));
        let started = Arc::new(AtomicUsize::new(0));
        let count = || {
            let started = Arc::clone(&started);
            move || {
                started.fetch_add(1, Ordering::Relaxed);
            }
        };
        assert_eq!(timeout(SECOND, || pool.spawn(count())).map(|_| ()), Err(Elapsed));
        let waiting = spawn({
            let (pool, work) = (pool.clone(), count());
            move || drop(pool.spawn(work))
        });
        sleep(SECOND);
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert_eq!((pool.waiting(), Arc::strong_count(&started)), (0, 1), "the closures are gone");
        pool.spawn(count()).join().unwrap();
        assert_eq!((started.load(Ordering::Relaxed), pool.free_count()), (1, 1));
    });
}

#[test]
fn cancel_and_join_empties_the_pool_which_can_be_used_further() {
    explored(|| {
        let pool = Pool::new(3);
        let members: Vec<_> = (0..3).map(|_| pool.spawn(|| sleep(HOUR))).collect();
        sleep(SECOND);
        assert_eq!(pool.cancel_and_join(), Ok(()));
        assert_eq!((simulation::elapsed(), pool.free_count()), (SECOND, 3));
        assert!(members.into_iter().all(|member| member.join().unwrap_err().is::<Cancelled>()));
        let later = pool.spawn(|| 1);
        pool.join().unwrap();
        assert_eq!(later.join().unwrap(), 1);
        pool.spawn(|| sleep(2 * SECOND));
        pool.cancel();
        assert_eq!((pool.join(), simulation::elapsed()), (Ok(()), SECOND));
    });
}

#[test]
fn a_pool_without_places_is_refused() {
    assert!(catch_unwind(|| Pool::new(0)).is_err());
}

#[test]
fn a_pool_that_is_dropped_lets_its_coroutines_run_on() {
    explored(|| {
        let pool = Pool::new(1);
        let member = pool.spawn(|| sleep(SECOND));
        drop(pool);
        assert!(member.join().is_ok());
    });
}

// map.

#[test]
fn map_keeps_the_order_and_the_bound_and_panics_come_out_at_their_items() {
    each(|_| {
        let (pool, inside) = (Pool::new(4), Arc::<Inside>::default());
        let results = pool.map(0..40_u64, {
            let inside = Arc::clone(&inside);
            move |number| {
                let _inside = inside.enter();
                fibra::yield_now();
                if number % 7 == 3 {
                    fail();
                }
                number * number
            }
        });
        assert_eq!(results.len(), 40);
        for (number, result) in (0..).zip(results) {
            assert_eq!(result.ok(), (number % 7 != 3).then_some(number * number));
        }
        assert!(inside.most() <= 4);
        assert_eq!(pool.free_count(), 4);
        assert!(pool.map([] as [u32; 0], |number| number).is_empty());
    });
}

#[test]
fn a_map_that_is_ended_cancels_what_is_under_way() {
    explored(|| {
        let pool = Pool::new(2);
        let inside = Arc::<Inside>::default();
        for items in [2, 20] {
            let entered = Arc::clone(&inside);
            let nap = move |_| {
                let _inside = entered.enter();
                sleep(HOUR);
            };
            assert_eq!(timeout(SECOND, || pool.map(0..items, nap).len()), Err(Elapsed));
            assert_eq!(pool.join(), Ok(()));
        }
        assert_eq!(simulation::elapsed(), 2 * SECOND);
        assert_eq!((inside.most(), pool.free_count()), (2, 2));
    });
}

#[test]
fn cancelling_the_pool_comes_out_of_a_map_at_the_items_that_it_met() {
    explored(|| {
        let pool = Pool::new(2);
        spawn({
            let pool = pool.clone();
            move || {
                sleep(SECOND + SECOND / 2);
                pool.cancel();
            }
        });
        let results = pool.map([1, 2, 3, 4], |seconds| sleep(seconds * SECOND));
        // When it was cancelled the second and the third were under way.
        let cancelled =
            results.into_iter().map(|result| result.is_err_and(|payload| payload.is::<Cancelled>()));
        assert_eq!(cancelled.collect::<Vec<_>>(), [false, true, true, false]);
    });
}

// imap.

#[test]
fn imap_gives_results_in_the_order_of_the_items_and_unordered_in_that_of_their_ends() {
    explored(|| {
        let nap = |seconds| {
            sleep(seconds * SECOND);
            seconds
        };
        let pool = Pool::new(4);
        let ordered: Vec<_> = pool.imap([4, 1, 3, 2], 4, nap).map(Result::unwrap).collect();
        assert_eq!((ordered, simulation::elapsed()), (vec![4, 1, 3, 2], 4 * SECOND));
        let unordered: Vec<_> = pool.imap_unordered([4, 1, 3, 2], 4, nap).map(Result::unwrap).collect();
        assert_eq!((unordered, simulation::elapsed()), (vec![1, 2, 3, 4], 8 * SECOND));
        assert!(pool.imap([] as [u32; 0], 1, nap).next().is_none());
        assert!(pool.imap_unordered([] as [u32; 0], 1, nap).next().is_none());
    });
}

#[test]
fn imap_has_every_item_once_in_every_setting() {
    each(|_| {
        for ahead in [1, 2, 7, usize::MAX] {
            let pool = Pool::new(3);
            let work = |number: usize| {
                if number % 2 == 0 {
                    fibra::yield_now();
                }
                number
            };
            let ordered: Vec<_> = pool.imap(0..40, ahead, work).map(Result::unwrap).collect();
            assert!(ordered.into_iter().eq(0..40));
            let mut unordered: Vec<_> = pool.imap_unordered(0..40, ahead, work).map(Result::unwrap).collect();
            unordered.sort_unstable();
            assert!(unordered.into_iter().eq(0..40));
            assert_eq!(pool.free_count(), 3);
        }
    });
}

/// gevent's behaviour: with a bound of 1 there is the one that has come out, and one more.
#[test]
fn imap_never_runs_ahead_further_than_its_bound_however_slow_the_consumer_and_large_the_pool() {
    for (pool_size, ahead) in [(1, 1), (10, 1), (10, 3), (2, 5)] {
        for ordered in [true, false] {
            explored(move || {
                let pool = Pool::new(pool_size);
                let [taken, started] = [Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0))];
                let items = {
                    let taken = Arc::clone(&taken);
                    (0..20).inspect(move |_| {
                        taken.fetch_add(1, Ordering::Relaxed);
                    })
                };
                let work = {
                    let started = Arc::clone(&started);
                    move |number: usize| {
                        started.fetch_add(1, Ordering::Relaxed);
                        number
                    }
                };
                let mut results = if ordered {
                    pool.imap(items, ahead, work)
                } else {
                    pool.imap_unordered(items, ahead, work)
                };
                sleep(SECOND);
                assert_eq!(started.load(Ordering::Relaxed), ahead, "it begins by itself");
                for given in 0..20 {
                    results.next().unwrap().unwrap();
                    let furthest = given + 1 + ahead;
                    assert!(started.load(Ordering::Relaxed) <= furthest);
                    sleep(SECOND);
                    assert_eq!(started.load(Ordering::Relaxed), furthest.min(20), "and it does run ahead");
                    assert_eq!(taken.load(Ordering::Relaxed), furthest.min(20));
                }
                assert!(results.next().is_none() && results.next().is_none());
            });
        }
    }
}

#[test]
fn imap_gives_panics_and_cancellations_at_their_items_and_goes_on() {
    explored(|| {
        let pool = Pool::new(2);
        let results = pool.imap(0..6, 6, |number| match number {
            1 => fail(),
            3 => {
                sleep(HOUR);
                number
            }
            _ => number,
        });
        spawn({
            let pool = pool.clone();
            move || {
                sleep(SECOND);
                pool.cancel();
            }
        });
        let results: Vec<_> =
            results.map(|result| result.map_err(|payload| payload.is::<Cancelled>())).collect();
        assert_eq!(results, [Ok(0), Err(false), Ok(2), Err(true), Ok(4), Ok(5)]);
    });
}

#[test]
fn a_panic_of_the_items_comes_out_after_the_results_of_those_before() {
    each(|_| {
        let pool = Pool::new(2);
        let items = (0..5).map(|number| if number == 3 { fail() } else { number });
        let mut results = pool.imap(items, 2, |number| number);
        for number in 0..3 {
            assert_eq!(results.next().unwrap().unwrap(), number);
        }
        let payload = catch_unwind(AssertUnwindSafe(|| results.next().is_none())).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"failed"));
        assert!(results.next().is_none());
    });
}

#[test]
fn a_next_that_is_ended_loses_nothing() {
    explored(|| {
        let pool = Pool::new(2);
        let mut naps = pool.imap([3, 1, 2], 3, |seconds| {
            sleep(seconds * SECOND);
            seconds
        });
        assert!(timeout(SECOND, || naps.next()).is_err());
        assert!(timeout(SECOND, || naps.next()).is_err());
        assert_eq!(naps.map(Result::unwrap).collect::<Vec<_>>(), [3, 1, 2]);
        assert_eq!(simulation::elapsed(), 3 * SECOND);
    });
}

#[test]
fn to_drop_an_imap_is_to_cancel_what_is_under_way_and_to_start_no_more() {
    explored(|| {
        for pool_size in [1, 2, 5] {
            let began = simulation::elapsed();
            let (pool, started) = (Pool::new(pool_size), Arc::new(AtomicUsize::new(0)));
            let work = {
                let started = Arc::clone(&started);
                move |number: u32| {
                    started.fetch_add(1, Ordering::Relaxed);
                    sleep(if number == 0 { SECOND } else { HOUR });
                }
            };
            let mut results = pool.imap(0.., 3, work);
            results.next().unwrap().unwrap();
            drop(results);
            pool.join().unwrap();
            assert_eq!(simulation::elapsed() - began, SECOND);
            sleep(HOUR);
            assert!(started.load(Ordering::Relaxed) <= 4);
            assert_eq!((Arc::strong_count(&started), pool.free_count()), (1, pool_size), "nothing is left");
        }
    });
}

#[test]
fn one_that_never_runs_ahead_is_refused() {
    assert!(catch_unwind(|| Pool::new(1).imap([1], 0, |number| number)).is_err());
}

// Storm.

/// What can be done to a pool, at random, and cancelled at random moments: no place is lost, and never are more inside.
#[test]
fn storm_of_spawns_that_are_cancelled_while_they_wait_and_while_they_run() {
    const SIZE: usize = 3;
    fn spawn_one(pool: &Pool, inside: &Arc<Inside>, random: &Random) {
        let (inside, work) = (Arc::clone(inside), random.split());
        let work = move || {
            let (_inside, work) = (inside.enter(), work);
            match work.below(4) {
                0 => {}
                1 => fibra::yield_now(),
                2 => sleep(work.micros(200)),
                _ => fail(),
            }
        };
        let started = match random.below(4) {
            0 => pool.try_spawn(work).ok(),
            1 => pool.spawn_timeout(random.micros(200), work).ok(),
            2 => timeout(random.micros(200), || pool.spawn(work)).ok(),
            _ => Some(pool.spawn(work)),
        };
        let Some(member) = started else { return };
        match random.below(3) {
            0 => member.cancel(),
            1 => drop(member.join()),
            _ => {}
        }
    }
    let random = Arc::new(Mutex::new(Random::seeded()));
    each(move |setting| {
        let (pool, inside, until) = (Pool::new(SIZE), Arc::<Inside>::default(), storm_end());
        let random = random.lock().unwrap().split();
        while Instant::now() < until {
            let contexts: Vec<JoinHandle<()>> = (0..6)
                .map(|_| {
                    let (pool, inside, random) = (pool.clone(), Arc::clone(&inside), random.split());
                    setting.spawn(move || (0..20).for_each(|_| spawn_one(&pool, &inside, &random)))
                })
                .collect();
            for context in &contexts {
                if random.below(2) == 0 {
                    sleep(random.micros(300));
                    context.cancel();
                }
            }
            if random.below(8) == 0 {
                pool.cancel();
            }
            fibra::join_all(contexts);
            drop(pool.join());
            assert_eq!((pool.free_count(), pool.waiting(), pool.len()), (SIZE, 0, 0));
            assert_eq!(inside.now.load(Ordering::SeqCst), 0);
        }
        assert!((1..=SIZE).contains(&inside.most()), "{} inside", inside.most());
    });
}

/// Consumers whose waits are ended at random, and who go at random: each result comes once and at its place, and nothing is left under way.
#[test]
fn storm_of_imaps_whose_consumers_are_ended_and_go() {
    const SIZE: usize = 3;
    const ITEMS: usize = 20;
    fn consume(pool: &Pool, inside: &Arc<Inside>, random: &Random) {
        let (ordered, stays) = (random.below(2) == 0, random.below(3) > 0);
        let (inside, seed) = (Arc::clone(inside), random.split());
        let work = move |number: usize| {
            let (_inside, random) = (inside.enter(), seed.clone());
            match (random.next() as usize + number) % 5 {
                0 => fibra::yield_now(),
                1 => sleep(random.micros(100)),
                2 => fail(),
                _ => {}
            }
            number
        };
        let ahead = 1 + random.below(5) as usize;
        let mut results = if ordered {
            pool.imap(0..ITEMS, ahead, work)
        } else {
            pool.imap_unordered(0..ITEMS, ahead, work)
        };
        let mut seen = Vec::new();
        loop {
            let limit = random.micros(200) + Duration::from_micros(1);
            match timeout(limit, || results.next()) {
                Ok(Some(result)) => seen.push(result.ok()),
                Ok(None) => break,
                Err(Elapsed) if stays || random.below(4) > 0 => {}
                Err(Elapsed) => return,
            }
        }
        assert_eq!(seen.len(), ITEMS);
        if ordered {
            assert!((0..).zip(&seen).all(|(place, number)| number.is_none_or(|number| number == place)));
        } else {
            let mut numbers: Vec<_> = seen.into_iter().flatten().collect();
            numbers.sort_unstable();
            assert!(numbers.is_sorted_by(|one, other| one < other), "each comes once");
        }
    }
    let random = Arc::new(Mutex::new(Random::seeded()));
    each(move |setting| {
        let (pool, inside, until) = (Pool::new(SIZE), Arc::<Inside>::default(), storm_end());
        let random = random.lock().unwrap().split();
        while Instant::now() < until {
            let consumers: Vec<JoinHandle<()>> = (0..4)
                .map(|_| {
                    let (pool, inside, random) = (pool.clone(), Arc::clone(&inside), random.split());
                    setting.spawn(move || consume(&pool, &inside, &random))
                })
                .collect();
            for consumer in &consumers {
                if random.below(3) == 0 {
                    sleep(random.micros(500));
                    consumer.cancel();
                }
            }
            for ended in fibra::join_all(consumers) {
                assert!(ended.is_ok() || ended.is_err_and(|payload| payload.is::<Cancelled>()));
            }
            // Feeders that were told to go may still be about to.
            setting.until(|| Arc::strong_count(&inside) == 1);
            drop(pool.join());
            assert_eq!((pool.free_count(), pool.waiting()), (SIZE, 0));
        }
        assert!((1..=SIZE).contains(&inside.most()), "{} inside", inside.most());
    });
}

/// A producer that is far quicker than the pool is held to its pace.
#[test]
fn an_event_holds_the_whole_pool_and_its_spawners_back() {
    each(|setting| {
        let (pool, go) = (Pool::new(2), Arc::new(Event::new()));
        let producer = setting.spawn({
            let (pool, go) = (pool.clone(), Arc::clone(&go));
            move || {
                for _ in 0..10 {
                    let go = Arc::clone(&go);
                    pool.spawn(move || go.wait());
                }
            }
        });
        setting.until(|| pool.waiting() == 1);
        assert_eq!((pool.len(), producer.is_finished()), (2, false));
        go.set();
        producer.join().unwrap();
        pool.join().unwrap();
    });
}
