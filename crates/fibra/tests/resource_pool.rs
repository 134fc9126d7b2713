//! Pools of resources that are lent to one at a time (row H5).

mod limit;
mod settings;
mod simulated;
mod storm;

use fibra::group::{Pooled, ResourceError, ResourcePool};
use fibra::sync::Event;
use fibra::{Cancelled, Elapsed, JoinHandle, simulation, sleep, spawn, timeout};
use settings::each;
use simulated::explored;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use storm::{Random, storm_end};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// Where resources come from: counts those that live, from when their making begins until their destructor is over.
#[derive(Default)]
struct Factory {
    made: AtomicUsize,
    alive: AtomicUsize,
    most: AtomicUsize,
}

/// A resource: its number, from 0 in the order of making.
#[derive(Debug)]
struct Resource {
    number: usize,
    broken: bool,
    /// Whether somebody has it.
    lent: AtomicBool,
    _life: Life,
}

/// One that lives, or is being made.
struct Life(Arc<Factory>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, SeqCst);
    }
}

impl std::fmt::Debug for Life {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Life")
    }
}

impl Factory {
    fn life(self: &Arc<Self>) -> Life {
        let alive = self.alive.fetch_add(1, SeqCst) + 1;
        self.most.fetch_max(alive, SeqCst);
        Life(Arc::clone(self))
    }

    fn make(self: &Arc<Self>) -> Resource {
        let life = self.life();
        let number = self.made.fetch_add(1, SeqCst);
        Resource { number, broken: false, lent: AtomicBool::new(false), _life: life }
    }

    fn alive(&self) -> usize {
        self.alive.load(SeqCst)
    }

    /// A pool of what it makes.
    fn pool(self: &Arc<Self>, size: usize) -> ResourcePool<Resource, &'static str> {
        let factory = Arc::clone(self);
        ResourcePool::new(size, move || Ok(factory.make()))
    }
}

/// Nobody else has it.
fn use_alone(resource: &Resource) {
    assert!(!resource.lent.swap(true, SeqCst), "lent twice");
    fibra::yield_now();
    resource.lent.store(false, SeqCst);
}

#[test]
fn resources_are_made_on_demand_and_kept() {
    each(|_| {
        let factory = Arc::<Factory>::default();
        let pool = factory.pool(3);
        assert_eq!((pool.size(), pool.idle(), pool.in_use(), factory.alive()), (3, 0, 0, 0));
        let first = pool.get().unwrap();
        assert_eq!((first.number, pool.idle(), pool.in_use()), (0, 0, 1));
        drop(first);
        assert_eq!((pool.idle(), pool.in_use()), (1, 0));
        for _ in 0..5 {
            assert_eq!(pool.get().unwrap().number, 0, "the same again");
        }
        let (one, mut other) = (pool.get().unwrap(), pool.get().unwrap());
        assert_eq!((one.number, other.number), (0, 1));
        other.broken = true;
        drop(other);
        drop(one);
        assert_eq!(pool.get().unwrap().number, 0, "the one that was used last");
        drop(pool);
        assert_eq!(factory.alive(), 0);
    });
}

#[test]
fn who_finds_none_waits_and_all_are_served_in_the_order_of_coming() {
    explored(|| {
        let factory = Arc::<Factory>::default();
        let pool = factory.pool(1);
        let taken = pool.get().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let waiting: Vec<_> = (1..=5)
            .map(|number| {
                let (pool, order) = (pool.clone(), Arc::clone(&order));
                spawn(move || {
                    sleep(number * SECOND);
                    let _resource = pool.get().unwrap();
                    order.lock().unwrap().push(number);
                    sleep(SECOND);
                })
            })
            .collect();
        sleep(10 * SECOND);
        assert_eq!(pool.waiting(), 5);
        drop(taken);
        assert!(pool.try_get().unwrap().is_none(), "it is for the first in line");
        settings::join_all(waiting);
        assert_eq!(*order.lock().unwrap(), [1, 2, 3, 4, 5]);
        assert_eq!((simulation::elapsed(), factory.made.load(SeqCst)), (15 * SECOND, 1));
    });
}

#[test]
fn each_is_lent_to_one_at_a_time_and_never_are_there_more_than_so_many() {
    each(|setting| {
        let factory = Arc::<Factory>::default();
        let pool = factory.pool(3);
        let users = setting.spawn_all(8, {
            let pool = pool.clone();
            move |_| (0..25).for_each(|_| use_alone(&pool.get().unwrap()))
        });
        settings::join_all(users);
        assert!((1..=3).contains(&factory.most.load(SeqCst)));
        assert_eq!((pool.in_use(), pool.idle(), pool.waiting()), (0, factory.alive(), 0));
    });
}

#[test]
fn get_timeout_is_for_waiting_checking_and_making_together() {
    explored(|| {
        let factory = Arc::<Factory>::default();
        let checking = Arc::new(AtomicBool::new(false));
        let pool = ResourcePool::<_, &str>::builder(1, {
            let factory = Arc::clone(&factory);
            move || {
                let life = factory.life();
                sleep(4 * SECOND);
                drop(life);
                Ok(factory.make())
            }
        })
        .check({
            let checking = Arc::clone(&checking);
            move |_| {
                if checking.load(SeqCst) {
                    sleep(4 * SECOND);
                }
                true
            }
        })
        .build();
        let slow = pool.get_timeout(3 * SECOND);
        assert!(matches!(slow, Err(ResourceError::TimedOut)), "{slow:?}");
        assert_eq!((simulation::elapsed(), pool.in_use(), factory.alive()), (3 * SECOND, 0, 0));

        let taken = pool.get_timeout(5 * SECOND).unwrap();
        assert_eq!(simulation::elapsed(), 7 * SECOND);
        assert!(pool.get_timeout(3 * SECOND).is_err());
        assert!(pool.get_deadline(simulation::now()).is_err());
        assert_eq!((simulation::elapsed(), pool.waiting()), (10 * SECOND, 0));
        let giver = spawn(move || {
            sleep(2 * SECOND);
            drop(taken);
        });
        checking.store(true, SeqCst);
        assert!(pool.get_timeout(5 * SECOND).is_err(), "two to wait, and four to check");
        assert_eq!(simulation::elapsed(), 15 * SECOND);
        assert_eq!((pool.idle(), factory.alive()), (0, 0), "nobody knows what the check has left");
        giver.join().unwrap();
        assert_eq!(pool.get_timeout(Duration::MAX).unwrap().number, 1);
    });
}

#[test]
fn an_error_of_making_is_the_asker_s_and_the_place_is_for_the_next() {
    explored(|| {
        let attempts = Arc::new(AtomicUsize::new(0));
        let pool = ResourcePool::new(1, {
            let attempts = Arc::clone(&attempts);
            move || {
                sleep(SECOND);
                match attempts.fetch_add(1, SeqCst) {
                    attempt @ 0..=2 => Err(attempt),
                    attempt => Ok(attempt),
                }
            }
        });
        let askers: Vec<_> = (0..5_u32)
            .map(|number| {
                let pool = pool.clone();
                spawn(move || {
                    sleep(number * SECOND / 10);
                    pool.get().map(|resource| *resource)
                })
            })
            .collect();
        assert_eq!(settings::join_all(askers), [Err(0), Err(1), Err(2), Ok(3), Ok(3)]);
        assert_eq!((pool.in_use(), pool.idle()), (0, 1));
    });
    let failing = ResourcePool::<(), _>::new(1, || Err("no route"));
    let error = failing.get_timeout(SECOND).unwrap_err();
    assert_eq!(error.to_string(), "a resource could not be made: no route");
    assert!(failing.try_get().is_err());
    assert_eq!(failing.in_use(), 0);
}

#[test]
fn a_panic_in_making_or_checking_frees_the_place() {
    each(|_| {
        let factory = Arc::<Factory>::default();
        let panics = Arc::new(AtomicBool::new(true));
        let fail_if = |flag: &AtomicBool| {
            if flag.load(SeqCst) {
                resume_unwind(Box::new(()));
            }
        };
        let pool = ResourcePool::<_, &str>::builder(1, {
            let (factory, panics) = (Arc::clone(&factory), Arc::clone(&panics));
            move || {
                fail_if(&panics);
                Ok(factory.make())
            }
        })
        .check({
            let panics = Arc::clone(&panics);
            move |_| {
                fail_if(&panics);
                true
            }
        })
        .build();
        assert!(catch_unwind(AssertUnwindSafe(|| pool.get().is_ok())).is_err());
        panics.store(false, SeqCst);
        drop(pool.get().unwrap());
        panics.store(true, SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| pool.get().is_ok())).is_err());
        assert_eq!((pool.in_use(), factory.alive()), (0, 0));
        panics.store(false, SeqCst);
        assert_eq!(pool.get().unwrap().number, 1);
    });
}

#[test]
fn an_unhealthy_one_is_replaced_by_the_next_idle_one_or_a_new_one() {
    each(|_| {
        let factory = Arc::<Factory>::default();
        let pool = ResourcePool::<_, &str>::builder(3, {
            let factory = Arc::clone(&factory);
            move || Ok(factory.make())
        })
        .check(|resource: &mut Resource| !resource.broken)
        .build();
        let mut taken: Vec<Pooled<Resource, _>> = (0..3).map(|_| pool.get().unwrap()).collect();
        taken[1].broken = true;
        taken[2].broken = true;
        // 0 is given back first, so 2 and 1 are looked at before.
        taken.into_iter().for_each(drop);
        assert_eq!((pool.idle(), factory.alive()), (3, 3));
        let healthy = pool.get().unwrap();
        assert_eq!((healthy.number, pool.idle(), factory.alive()), (0, 0, 1));
        assert_eq!((pool.get().unwrap().number, factory.most.load(SeqCst)), (3, 3));
    });
}

#[test]
fn one_that_is_discarded_is_gone_and_its_place_is_for_the_next() {
    each(|setting| {
        let factory = Arc::<Factory>::default();
        let pool = factory.pool(1);
        let taken = pool.get().unwrap();
        let waiting = setting.spawn({
            let pool = pool.clone();
            move || pool.get().unwrap().number
        });
        setting.until(|| pool.waiting() == 1);
        Pooled::discard(taken);
        assert_eq!(waiting.join().unwrap(), 1);
        assert_eq!((factory.alive(), factory.most.load(SeqCst)), (1, 1));
    });
}

#[test]
fn one_comes_back_also_when_a_panic_or_a_cancellation_unwinds_its_user() {
    each(|setting| {
        let factory = Arc::<Factory>::default();
        let pool = factory.pool(1);
        let user = |work: fn()| {
            let pool = pool.clone();
            setting.spawn(move || {
                let _resource = pool.get().unwrap();
                work();
            })
        };
        assert!(user(|| resume_unwind(Box::new(()))).join().is_err());
        assert_eq!((pool.idle(), pool.in_use()), (1, 0));
        let idle = user(|| sleep(HOUR));
        setting.until(|| pool.in_use() == 1);
        idle.cancel();
        assert!(idle.join().unwrap_err().is::<Cancelled>());
        assert_eq!((pool.get().unwrap().number, factory.alive()), (0, 1));
    });
}

#[test]
fn a_get_that_is_ended_leaves_the_line() {
    each(|setting| {
        let factory = Arc::<Factory>::default();
        let pool = factory.pool(1);
        let taken = pool.get().unwrap();
        let wait = |pool: &ResourcePool<Resource, &'static str>| {
            let pool = pool.clone();
            setting.spawn(move || pool.get().unwrap().number)
        };
        let first = wait(&pool);
        setting.until(|| pool.waiting() == 1);
        let second = wait(&pool);
        setting.until(|| pool.waiting() == 2);
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert_eq!(pool.waiting(), 1);
        assert_eq!(timeout(Duration::from_millis(1), || pool.get().is_ok()), Err(Elapsed));
        drop(taken);
        assert_eq!(second.join().unwrap(), 0);
        assert_eq!((pool.in_use(), pool.idle(), pool.waiting()), (0, 1, 0));
    });
}

#[test]
fn one_that_is_cancelled_while_it_makes_passes_its_place_on() {
    explored(|| {
        let factory = Arc::<Factory>::default();
        let pool = ResourcePool::<_, &str>::new(1, {
            let factory = Arc::clone(&factory);
            move || {
                let resource = factory.make();
                sleep(2 * SECOND);
                Ok(resource)
            }
        });
        let get = || {
            let pool = pool.clone();
            spawn(move || pool.get().unwrap().number)
        };
        let first = get();
        sleep(SECOND);
        let second = get();
        sleep(SECOND / 2);
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        assert_eq!(second.join().unwrap(), 1);
        assert_eq!((simulation::elapsed(), factory.most.load(SeqCst)), (3 * SECOND + SECOND / 2, 1));
    });
}

#[test]
fn one_that_is_too_old_is_not_lent_and_goes_when_it_comes_back() {
    explored(|| {
        let factory = Arc::<Factory>::default();
        let pool = ResourcePool::<_, &str>::builder(2, {
            let factory = Arc::clone(&factory);
            move || Ok(factory.make())
        })
        .max_lifetime(10 * SECOND)
        .build();
        drop(pool.get().unwrap());
        sleep(9 * SECOND);
        assert_eq!(pool.get().unwrap().number, 0, "use makes it no older");
        sleep(SECOND);
        let second = pool.get().unwrap();
        assert_eq!((second.number, factory.alive()), (1, 1));
        sleep(10 * SECOND);
        assert_eq!(second.number, 1, "it is not taken away");
        drop(second);
        assert_eq!((pool.idle(), factory.alive()), (0, 0));
    });
}

#[test]
fn one_that_was_idle_for_too_long_is_not_lent_and_can_be_dropped_before() {
    explored(|| {
        let factory = Arc::<Factory>::default();
        let pool = ResourcePool::<_, &str>::builder(3, {
            let factory = Arc::clone(&factory);
            move || Ok(factory.make())
        })
        .idle_timeout(10 * SECOND)
        .build();
        let taken: Vec<_> = (0..3).map(|_| pool.get().unwrap()).collect();
        drop(taken);
        sleep(6 * SECOND);
        assert_eq!((pool.drop_expired(), pool.get().unwrap().number), (0, 2));
        sleep(6 * SECOND);
        assert_eq!((pool.idle(), factory.alive()), (3, 3));
        assert_eq!((pool.drop_expired(), factory.alive()), (2, 1));
        assert_eq!(pool.get().unwrap().number, 2);
        sleep(11 * SECOND);
        assert_eq!((pool.get().unwrap().number, factory.alive()), (3, 1));
        sleep(11 * SECOND);
        let lent = pool.get().unwrap();
        assert_eq!((lent.number, pool.drop_expired()), (4, 0), "what is lent is not idle");
    });
}

/// A destructor that takes its time: nobody makes another before it is over.
#[test]
fn one_that_is_thrown_away_counts_until_its_destructor_is_over() {
    struct Slow(#[expect(dead_code, reason = "dropped")] Life);
    impl Drop for Slow {
        fn drop(&mut self) {
            sleep(SECOND);
        }
    }
    explored(|| {
        let factory = Arc::<Factory>::default();
        let pool = ResourcePool::<_, &str>::builder(2, {
            let factory = Arc::clone(&factory);
            move || Ok(Slow(factory.life()))
        })
        .idle_timeout(10 * SECOND)
        .build();
        let use_all = || {
            let users: Vec<_> = (0..6)
                .map(|number| {
                    let pool = pool.clone();
                    spawn(move || {
                        let lent = pool.get().unwrap();
                        fibra::yield_now();
                        if number % 2 == 0 {
                            Pooled::discard(lent);
                        }
                    })
                })
                .collect();
            settings::join_all(users);
        };
        use_all();
        sleep(11 * SECOND);
        let sweeper = spawn({
            let pool = pool.clone();
            move || pool.drop_expired()
        });
        use_all();
        sweeper.join().unwrap();
        assert_eq!(factory.most.load(SeqCst), 2);
        drop(pool);
        assert_eq!(factory.alive(), 0);
    });
}

#[test]
fn a_guard_outlives_the_pool_and_goes_to_other_threads() {
    let factory = Arc::<Factory>::default();
    let pool = factory.pool(1);
    let lent = pool.get().unwrap();
    drop(pool);
    std::thread::spawn(move || assert_eq!(lent.number, 0)).join().unwrap();
    assert_eq!(factory.alive(), 0);
    assert!(catch_unwind(|| ResourcePool::<(), ()>::new(0, || Ok(()))).is_err());
}

#[test]
fn a_whole_crowd_is_held_back_by_one_who_does_not_give_back() {
    each(|setting| {
        let (factory, go) = (Arc::<Factory>::default(), Arc::new(Event::new()));
        let pool = factory.pool(1);
        let holder = setting.spawn({
            let (pool, go) = (pool.clone(), Arc::clone(&go));
            move || {
                let _lent = pool.get().unwrap();
                go.wait();
            }
        });
        setting.until(|| pool.in_use() == 1);
        let crowd = setting.spawn_all(5, {
            let pool = pool.clone();
            move |_| pool.get().unwrap().number
        });
        setting.until(|| pool.waiting() == 5);
        go.set();
        holder.join().unwrap();
        assert_eq!(settings::join_all(crowd), [0; 5]);
    });
}

/// Everything at random, and cancelled at random moments: nothing is lent twice, lost or leaked, and never are there more than so many.
#[test]
fn storm_of_gets_that_are_cancelled_in_line_while_they_check_and_while_they_make() {
    const SIZE: usize = 3;
    type Storming = ResourcePool<Resource, &'static str>;

    fn use_one(pool: &Storming, random: &Random) {
        let lent = match random.below(5) {
            0 => pool.try_get().ok().flatten(),
            1 => pool.get_timeout(random.micros(200)).ok(),
            2 => timeout(random.micros(200), || pool.get()).ok().and_then(Result::ok),
            3 => {
                pool.drop_expired();
                None
            }
            _ => pool.get().ok(),
        };
        let Some(mut lent) = lent else { return };
        use_alone(&lent);
        match random.below(6) {
            0 => Pooled::discard(lent),
            1 => lent.broken = true,
            2 => sleep(random.micros(100)),
            3 => drop(catch_unwind(AssertUnwindSafe(move || {
                let _lent = lent;
                resume_unwind(Box::new(()))
            }))),
            _ => {}
        }
    }

    let seed = Arc::new(Mutex::new(Random::seeded()));
    each(move |setting| {
        let (factory, until) = (Arc::<Factory>::default(), storm_end());
        let random = seed.lock().unwrap().split();
        let chance = Arc::new(Mutex::new(random.split()));
        let roll = move |sides| chance.lock().unwrap().below(sides);
        let pool: Storming = ResourcePool::builder(SIZE, {
            let (factory, roll) = (Arc::clone(&factory), roll.clone());
            move || {
                let life = factory.life();
                match roll(4) {
                    0 => return Err("as planned"),
                    1 => sleep(Duration::from_micros(roll(100))),
                    _ => {}
                }
                let number = factory.made.fetch_add(1, SeqCst);
                Ok(Resource { number, broken: false, lent: AtomicBool::new(false), _life: life })
            }
        })
        .check(move |resource| {
            if roll(4) == 0 {
                sleep(Duration::from_micros(roll(100)));
            }
            !resource.broken
        })
        .max_lifetime(Duration::from_millis(2))
        .idle_timeout(Duration::from_micros(500))
        .build();
        while Instant::now() < until {
            let users: Vec<JoinHandle<()>> = (0..6)
                .map(|_| {
                    let (pool, random) = (pool.clone(), random.split());
                    setting.spawn(move || (0..20).for_each(|_| use_one(&pool, &random)))
                })
                .collect();
            for user in &users {
                if random.below(2) == 0 {
                    sleep(random.micros(300));
                    user.cancel();
                }
            }
            for ended in fibra::join_all(users) {
                assert!(ended.is_ok() || ended.is_err_and(|payload| payload.is::<Cancelled>()));
            }
            assert_eq!((pool.in_use(), pool.waiting()), (0, 0));
            assert_eq!(pool.idle(), factory.alive());
        }
        let most = factory.most.load(SeqCst);
        assert!((1..=SIZE).contains(&most), "{most} lived");
        drop(pool);
        assert_eq!(factory.alive(), 0);
    });
}
