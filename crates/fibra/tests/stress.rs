//! Storms: many coroutines and threads that do everything at once, at random.
//!
//! A storm lasts two seconds, or `FIBRA_STRESS_SECONDS`. It prints its seed; `FIBRA_SEED` sets it. (With one worker and no threads a seed
//! makes the same choices again, though time may pass otherwise.)

mod limit;

use fibra::{Builder, Context, Runtime, Stop, park_timeout, scope, spawn, spawn_local};
use fibra_context::Generator;
use limit::{LIMIT, within};
use std::cell::{Cell, RefCell};
use std::panic::{catch_unwind, panic_any, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long a storm lasts.
fn storm_time() -> Duration {
    match std::env::var("FIBRA_STRESS_SECONDS") {
        Ok(text) => Duration::from_secs(text.parse().expect("FIBRA_STRESS_SECONDS is a number")),
        Err(_) => Duration::from_secs(2),
    }
}

fn seed() -> u64 {
    let seed = match std::env::var("FIBRA_SEED") {
        Ok(text) => text.parse().expect("FIBRA_SEED is a number"),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64),
    };
    println!("FIBRA_SEED={seed}");
    seed
}

/// Marsaglia's xorshift64, from a seed that is scrambled first (splitmix64).
struct Random(Cell<u64>);

impl Random {
    fn new(seed: u64) -> Random {
        let x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Random(Cell::new((x ^ (x >> 31)) | 1))
    }

    fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.set(x);
        x >> 8
    }

    fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Mostly short.
    fn duration(&self) -> Duration {
        let bits = self.below(12);
        Duration::from_micros(self.below(1 << bits))
    }
}

/// What all of a storm share.
#[derive(Default)]
struct World {
    /// Whoever may be woken, at any time and for no reason.
    contexts: Mutex<Vec<Context>>,
    living: AtomicUsize,
    threads: AtomicUsize,
    steps: AtomicUsize,
}

/// One that lives, until its destructor has run.
struct Living(Arc<World>);

impl Living {
    fn new(world: &Arc<World>) -> Living {
        world.living.fetch_add(1, Ordering::Relaxed);
        Living(Arc::clone(world))
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.0.living.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Lets others run in its destructor, also while it unwinds.
struct Dallies(u64);

impl Drop for Dallies {
    fn drop(&mut self) {
        match self.0 % 3 {
            0 => fibra::yield_now(),
            1 => fibra::sleep(Duration::from_micros(self.0)),
            _ => {
                let _ = park_timeout(Duration::from_micros(self.0));
            }
        }
    }
}

impl World {
    /// Puts a context up to be woken.
    fn publish(&self, random: &Random, context: Context) {
        let mut contexts = self.contexts.lock().unwrap();
        if contexts.len() < 64 {
            contexts.push(context);
        } else {
            let place = random.below(64) as usize;
            // Dropped only when the lock has been released, since it may be the last reference.
            let before = std::mem::replace(&mut contexts[place], context);
            drop(contexts);
            drop(before);
        }
    }

    fn wake_somebody(&self, random: &Random) {
        let context = {
            let contexts = self.contexts.lock().unwrap();
            if contexts.is_empty() {
                return;
            }
            contexts[random.below(contexts.len() as u64) as usize].clone()
        };
        context.unpark();
    }
}

/// Does one thing after the other until the storm is over.
fn act(world: &Arc<World>, seed: u64, end: Instant, depth: u32) {
    let random = Random::new(seed);
    while Instant::now() < end {
        world.steps.fetch_add(1, Ordering::Relaxed);
        step(world, &random, end, depth);
    }
}

fn step(world: &Arc<World>, random: &Random, end: Instant, depth: u32) {
    let n = random.next();
    let living = || Living::new(world);
    match random.below(20) {
        0 | 1 => fibra::yield_now(),
        2 => fibra::sleep(random.duration()),
        3 => {
            let (living, nap) = (living(), random.duration());
            let child = spawn(move || {
                let _living = living;
                if n % 2 == 0 {
                    fibra::sleep(nap);
                }
                n
            });
            assert_eq!(child.join().unwrap(), n);
        }
        4 => {
            let (living, dallies) = (living(), Dallies(n % 100));
            drop(spawn(move || (living, dallies)));
        }
        5 => {
            let (living, nap) = (living(), random.duration());
            let child = spawn(move || {
                let _living = living;
                let _ = park_timeout(nap);
                n
            });
            match child.join_timeout(random.duration()) {
                Ok(result) => assert_eq!(result.unwrap(), n),
                Err(child) if n % 3 == 0 => drop(child),
                Err(child) => {
                    child.context().unpark();
                    assert_eq!(child.join().unwrap(), n);
                }
            }
        }
        6 => {
            world.publish(random, fibra::current());
            let _ = park_timeout(random.duration());
        }
        7 | 8 => world.wake_somebody(random),
        9 => {
            let mut places = [0; 5];
            let local = Rc::new(Cell::new(0));
            scope(|scope| {
                for (place, slot) in places.iter_mut().enumerate() {
                    let nap = random.duration();
                    scope.spawn(move || {
                        fibra::sleep(nap);
                        *slot = place + 1;
                    });
                    let local = Rc::clone(&local);
                    drop(scope.spawn_local(move || local.set(local.get() + 1)));
                }
            });
            assert_eq!((places, local.get()), ([1, 2, 3, 4, 5], 5));
        }
        10 => {
            let (living, delay) = (living(), random.duration());
            let later = fibra::spawn_after(delay, move || drop(living));
            if n % 2 == 0 {
                later.join().unwrap();
            }
        }
        11 => {
            let living = living();
            let child = spawn(move || {
                let _living = living;
                let _dallies = Dallies(n % 200);
                if n % 2 == 0 { panic_any(n) } else { resume_unwind(Box::new(n)) }
            });
            if n % 5 > 0 {
                let payload = child.join().unwrap_err();
                assert_eq!(payload.downcast_ref(), Some(&n));
            }
        }
        12 => {
            let living = living();
            let daemon = Builder::new().daemon(true);
            let body = move || {
                let _living = living;
                let _dallies = Dallies(n % 50);
                loop {
                    fibra::sleep(Duration::from_micros(n % 5000));
                    if n % 7 == 0 {
                        fibra::park();
                    }
                    if n % 3 == 0 {
                        break;
                    }
                }
            };
            // Not too many, for they last.
            if world.living.load(Ordering::Relaxed) < 300 {
                drop(daemon.spawn(body).unwrap());
            }
        }
        13 => {
            let (stop, nap) = (Stop::new(), random.duration());
            let children: Vec<_> = (0..3)
                .map(|child| {
                    let (stop, living) = (stop.clone(), living());
                    spawn(move || {
                        let _living = living;
                        let enrolled = stop.enroll();
                        let result = enrolled.interruptible(|| {
                            let _dallies = Dallies(n % 100);
                            match child {
                                0 => fibra::sleep(nap * 2),
                                1 => drop(park_timeout(nap)),
                                _ => scope(|scope| drop(scope.spawn(|| fibra::sleep(nap)).join())),
                            }
                        });
                        (result, stop.is_triggered())
                    })
                })
                .collect();
            fibra::sleep(nap);
            if n % 4 > 0 {
                stop.trigger();
            }
            for child in children {
                let (result, triggered) = child.join().unwrap();
                assert!(result.is_ok() || triggered, "nobody asked it to");
            }
        }
        14 => {
            let living = living();
            let job = fibra::spawn_blocking(move || {
                drop(living);
                n
            });
            if n % 2 == 0 {
                assert_eq!(job.join().unwrap(), n);
            }
        }
        15 if world.threads.fetch_add(1, Ordering::Relaxed) < 4 => {
            // A thread that joins a coroutine of ours, wakes others, and is waited for by parking.
            let (world, living, main) = (Arc::clone(world), living(), fibra::current());
            let done = Arc::new(AtomicUsize::new(0));
            let (told, nap) = (Arc::clone(&done), random.duration());
            let child = spawn(move || {
                fibra::sleep(nap);
                n
            });
            let seed = random.next();
            thread::spawn(move || {
                let random = Random::new(seed);
                world.publish(&random, fibra::current());
                for _ in 0..20 {
                    world.wake_somebody(&random);
                    let _ = park_timeout(random.duration() / 8);
                }
                assert_eq!(child.join().unwrap(), n);
                drop(living);
                world.threads.fetch_sub(1, Ordering::Relaxed);
                told.store(1, Ordering::Release);
                main.unpark();
            });
            while done.load(Ordering::Acquire) == 0 {
                fibra::park();
            }
        }
        15 => {
            world.threads.fetch_sub(1, Ordering::Relaxed);
        }
        16 => {
            let numbers = Generator::new(move |handle, ()| {
                for number in 0..4 {
                    fibra::sleep(Duration::from_micros(n % 60));
                    handle.suspend(number);
                }
            });
            let some = numbers.take((n % 5) as usize).sum::<i32>();
            assert_eq!(some, [0, 0, 1, 3, 6][(n % 5) as usize]);
        }
        17 => {
            // Local ones may share what is not atomic, as long as they do not wait in between.
            let shared = Rc::new(RefCell::new(Vec::new()));
            let children: Vec<_> = (0..4)
                .map(|child| {
                    let shared = Rc::clone(&shared);
                    spawn_local(move || {
                        for _ in 0..3 {
                            shared.borrow_mut().push(child);
                            fibra::yield_now();
                        }
                    })
                })
                .collect();
            children.into_iter().for_each(|child| child.join().unwrap());
            assert_eq!(shared.borrow().len(), 12);
        }
        18 if depth < 3 => {
            let (world, living, seed) = (Arc::clone(world), living(), random.next());
            let end = end.min(Instant::now() + Duration::from_millis(n % 20));
            let child = spawn(move || {
                let _living = living;
                act(&world, seed, end, depth + 1);
            });
            if n % 2 == 0 {
                child.join().unwrap();
            }
        }
        _ => {
            let caught = catch_unwind(|| {
                let _dallies = Dallies(n % 10);
                resume_unwind(Box::new(n));
            });
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&n));
        }
    }
}

/// A panic that is part of the storm says nothing.
fn hush() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<u64>() {
                before(info);
            }
        }));
    });
}

/// A storm of `actors`, of which the first is main; afterwards nobody lives.
fn storm(workers: usize, actors: u64) {
    hush();
    let (seed, time) = (seed(), storm_time());
    let world = Arc::new(World::default());
    let all = Arc::clone(&world);
    within(LIMIT + time, move || {
        Runtime::builder()
            .workers(workers)
            .run(|| {
                let end = Instant::now() + time;
                for actor in 1..actors {
                    let (world, living) = (Arc::clone(&all), Living::new(&all));
                    spawn(move || {
                        let _living = living;
                        act(&world, seed.wrapping_add(actor), end, 0);
                    });
                }
                act(&all, seed, end, 0);
            })
            .unwrap();
        all.contexts.lock().unwrap().clear();
    });
    // Jobs of the blocking pool are not waited for by the runtime.
    let patience = Instant::now() + LIMIT;
    while world.living.load(Ordering::Relaxed) > 0 && Instant::now() < patience {
        thread::yield_now();
    }
    assert_eq!(world.living.load(Ordering::Relaxed), 0, "left over");
    println!("{workers} workers: {} steps", world.steps.load(Ordering::Relaxed));
}

#[test]
fn a_storm_on_one_worker() {
    storm(1, 50);
}

#[test]
fn a_storm_on_two_workers() {
    storm(2, 50);
}

#[test]
fn a_storm_on_eight_workers() {
    storm(8, 100);
}

#[test]
fn a_storm_from_threads_outside() {
    hush();
    let (seed, time) = (seed(), storm_time());
    let world = Arc::new(World::default());
    let all = Arc::clone(&world);
    within(LIMIT + time, move || {
        let runtime = Arc::new(Runtime::builder().workers(2).build().unwrap());
        let end = Instant::now() + time;
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (runtime, world) = (Arc::clone(&runtime), Arc::clone(&all));
                thread::spawn(move || {
                    let random = Random::new(seed ^ thread);
                    while Instant::now() < end {
                        let (n, nap) = (random.next(), random.duration());
                        let living = Living::new(&world);
                        world.steps.fetch_add(1, Ordering::Relaxed);
                        match n % 5 {
                            0 => {
                                let child = runtime.spawn(move || {
                                    drop(living);
                                    n
                                });
                                assert_eq!(child.join().unwrap(), n);
                            }
                            1 => {
                                let mut here = 0;
                                runtime.run(|| {
                                    fibra::sleep(nap);
                                    here = n;
                                });
                                assert_eq!(here, n);
                            }
                            2 => {
                                let child = runtime.spawn(move || {
                                    let _living = living;
                                    let _ = park_timeout(nap * 2);
                                });
                                child.context().unpark();
                                if let Err(child) = child.join_timeout(nap) {
                                    drop(child);
                                }
                            }
                            3 => {
                                let (inner, seed) = (Arc::clone(&world), random.next());
                                let until = end.min(Instant::now() + nap);
                                runtime.run(move || act(&inner, seed, until, 1));
                            }
                            _ => {
                                world.publish(&random, fibra::current());
                                let _ = park_timeout(nap);
                                world.wake_somebody(&random);
                            }
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(runtime);
        all.contexts.lock().unwrap().clear();
    });
    let patience = Instant::now() + LIMIT;
    while world.living.load(Ordering::Relaxed) > 0 && Instant::now() < patience {
        thread::yield_now();
    }
    assert_eq!(world.living.load(Ordering::Relaxed), 0, "left over");
    println!("outside: {} steps", world.steps.load(Ordering::Relaxed));
}

#[test]
fn a_storm_of_runtimes() {
    hush();
    let (seed, time) = (seed(), storm_time());
    within(LIMIT + time, move || {
        let random = Random::new(seed);
        let end = Instant::now() + time;
        let mut rounds = 0;
        while Instant::now() < end {
            rounds += 1;
            let world = Arc::new(World::default());
            let workers = 1 + random.below(4) as usize;
            let parts = random.below(30);
            let spawn_all = |start: &dyn Fn(Builder, Box<dyn FnOnce() + Send>)| {
                for _ in 0..parts {
                    let (living, n, nap) = (Living::new(&world), random.next(), random.duration());
                    let daemon = Builder::new().daemon(n % 2 == 0);
                    let body = move || {
                        let _living = living;
                        let _dallies = Dallies(n % 300);
                        match n % 6 {
                            0 => fibra::park(),
                            2 => loop {
                                fibra::sleep(nap);
                                fibra::yield_now();
                            },
                            4 => drop(Builder::new().daemon(true).spawn(fibra::park).unwrap().join()),
                            1 => drop(spawn(move || fibra::sleep(nap))),
                            _ => fibra::sleep(nap),
                        }
                    };
                    start(daemon, Box::new(body));
                }
            };
            if random.below(2) == 0 {
                let runtime = Runtime::builder().workers(workers).build().unwrap();
                spawn_all(&|settings, body| drop(runtime.spawn_with(settings, body).unwrap()));
                thread::sleep(random.duration());
                drop(runtime);
            } else {
                Runtime::builder()
                    .workers(workers)
                    .run(|| {
                        spawn_all(&|settings, body| drop(settings.spawn(body).unwrap()));
                        fibra::sleep(random.duration());
                    })
                    .unwrap();
            }
            assert_eq!(world.living.load(Ordering::Relaxed), 0, "left over in round {rounds}");
        }
        println!("{rounds} runtimes");
    });
}
