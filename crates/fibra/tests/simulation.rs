//! Virtual time, schedules from a seed, and deadlocks that are reported (row L2).

mod child;
mod limit;
mod simulated;

use fibra::simulation::{self, Simulation, advance, elapsed, explore, hold, perhaps_yield};
use fibra::sync::Event;
use fibra::{
    Builder, Cancelled, Elapsed, Reason, deadline, move_on_after, park, park_timeout, scope, shield, sleep,
    sleep_until, spawn, spawn_after, spawn_blocking, timeout, yield_now,
};
use limit::within;
use simulated::{failure, simulated};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);

/// What several coroutines have noted, in order.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

#[test]
fn a_day_of_sleeps_is_over_at_once_and_took_a_day() {
    let began = Instant::now();
    simulated(|| {
        let trace = Trace::default();
        for hour in (1..=24).rev() {
            let trace = trace.clone();
            spawn(move || {
                sleep(HOUR * hour);
                assert_eq!(elapsed(), HOUR * hour);
                trace.note(hour.to_string());
            });
        }
        sleep(HOUR * 24 + SECOND);
        assert_eq!(elapsed(), HOUR * 24 + SECOND, "and not a nanosecond more");
        assert_eq!(trace.take(), (1..=24).map(|hour| hour.to_string()).collect::<Vec<_>>());
    });
    assert!(began.elapsed() < HOUR);
}

#[test]
fn every_wait_with_a_limit_goes_by_the_virtual_clock() {
    simulated(|| {
        let mut total = Duration::ZERO;
        let mut took = |what: &str, duration: Duration| {
            total += duration;
            assert_eq!(elapsed(), total, "{what}");
        };
        assert_eq!(timeout(HOUR, park), Err(Elapsed));
        took("timeout", HOUR);
        assert_eq!(deadline(simulation::now() + HOUR, || sleep(HOUR * 2)), Err(Elapsed));
        took("deadline", HOUR);
        assert_eq!(move_on_after(HOUR, || timeout(HOUR * 2, park)), None);
        took("nested", HOUR);
        assert_eq!(park_timeout(HOUR), Reason::TimedOut);
        took("park_timeout", HOUR);
        sleep_until(simulation::now() + HOUR);
        took("sleep_until", HOUR);
        spawn_after(HOUR, || ()).join().unwrap();
        took("spawn_after", HOUR);
        let idle = spawn(|| sleep(HOUR * 3));
        let idle = idle.join_timeout(HOUR).expect_err("it sleeps");
        took("join_timeout", HOUR);
        idle.cancel();
        let event = Event::new();
        assert!(!event.wait_timeout(HOUR));
        assert!(!event.wait_deadline(simulation::now() + HOUR));
        took("Event", HOUR * 2);
        let (mut one, _other) = fibra::net::UnixStream::pair().unwrap();
        one.set_read_timeout(Some(HOUR)).unwrap();
        assert!(one.read(&mut [0]).is_err());
        took("a socket's timeout", HOUR);
        one.set_read_timeout(None).unwrap();
        assert_eq!(timeout(HOUR, || one.read(&mut [0]).is_ok()), Err(Elapsed));
        took("a timeout around a socket", HOUR);
    });
}

#[test]
fn what_is_returned_after_the_limit_but_without_waiting_is_not_lost() {
    simulated(|| {
        let fired = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&fired);
        spawn_after(SECOND, move || told.store(true, Ordering::Relaxed));
        assert_eq!(timeout(SECOND, || advance(SECOND * 5)), Ok(()));
        assert_eq!(elapsed(), SECOND * 5);
        assert!(!fired.load(Ordering::Relaxed), "nobody else ran");
        sleep(Duration::from_nanos(1));
        assert!(fired.load(Ordering::Relaxed), "what is overdue comes first");
    });
}

#[test]
fn who_polls_in_a_loop_sees_the_time_come() {
    simulated(|| {
        let due = simulation::now() + SECOND;
        let polls = spawn(move || {
            while simulation::now() < due {
                yield_now();
            }
        });
        let done = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&done);
        spawn_after(SECOND, move || told.store(true, Ordering::Relaxed));
        while !done.load(Ordering::Relaxed) {
            yield_now();
        }
        polls.join().unwrap();
    });
}

/// A program of coroutines that sleep, yield, wait for and wake each other, and stop each other, as `random` says; and what happened.
fn random_program(program: u64, seed: u64) -> Vec<String> {
    const OF: usize = 6;
    let trace = Trace::default();
    let told = trace.clone();
    Simulation::new().seed(seed).run(move || {
        let events: Arc<[Event; 3]> = Arc::default();
        let tasks: Vec<_> = (0..OF)
            .map(|me| {
                let (trace, events) = (told.clone(), Arc::clone(&events));
                spawn(move || {
                    let mut random = Random(program * 1000 + me as u64);
                    for step in 0..12 {
                        let event = &events[random.below(3)];
                        let what = random.below(9);
                        match what {
                            0 => sleep(Duration::from_millis(random.below(3) as u64)),
                            1 => yield_now(),
                            2 => event.set(),
                            3 => event.clear(),
                            4 => drop(event.wait_timeout(SECOND)),
                            5 => drop(timeout(Duration::from_millis(2), || event.wait())),
                            6 => perhaps_yield(),
                            7 => drop(spawn(yield_now).join()),
                            _ => {
                                let (mut one, mut other) = fibra::net::UnixStream::pair().unwrap();
                                let reader = spawn(move || other.read(&mut [0]).unwrap());
                                one.write_all(&[1]).unwrap();
                                reader.join().unwrap();
                            }
                        }
                        trace.note(format!("{me}.{step}: {what} at {:?}", elapsed()));
                    }
                })
            })
            .collect();
        sleep(Duration::from_millis(3));
        tasks[0].cancel();
        told.note(format!("{:?}", tasks.into_iter().map(|task| task.join().is_ok()).collect::<Vec<_>>()));
    });
    trace.take()
}

/// Marsaglia's xorshift64, from any number.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        let mut x = self.0.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15).max(1);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0 = x;
        (x >> 33) as usize % bound
    }
}

#[test]
fn a_seed_determines_the_run_and_another_makes_another() {
    within(limit::LIMIT, || {
        for program in 0..20 {
            let runs: Vec<_> = (0..8).map(|seed| random_program(program, seed)).collect();
            for (seed, run) in runs.iter().enumerate() {
                assert_eq!(random_program(program, seed as u64), *run, "program {program}, seed {seed}");
            }
            let different: HashSet<_> = runs.iter().collect();
            assert!(different.len() >= 7, "{} of 8 are different", different.len());
        }
    });
}

#[test]
fn every_order_of_what_can_run_comes_up() {
    type Start = fn(usize, Trace);
    let starts: [(&str, Start); 4] = [
        ("new ones", |n, trace| trace.note(n.to_string())),
        ("timers that fire together", |n, trace| {
            sleep(SECOND);
            trace.note(n.to_string());
        }),
        ("yielded ones", |n, trace| {
            (0..3).for_each(|_| yield_now());
            trace.note(n.to_string());
        }),
        ("a socket and a timer", |n, trace| {
            let (mut one, mut other) = fibra::net::UnixStream::pair().unwrap();
            one.write_all(&[1]).unwrap();
            other.read_exact(&mut [0]).unwrap();
            trace.note(n.to_string());
        }),
    ];
    within(limit::LIMIT, move || {
        for (name, start) in starts {
            let mut orders = HashSet::new();
            for seed in 0..200 {
                let trace = Trace::default();
                Simulation::new().seed(seed).run(|| {
                    for n in 0..3 {
                        let trace = trace.clone();
                        spawn(move || start(n, trace));
                    }
                });
                orders.insert(trace.take());
            }
            assert_eq!(orders.len(), 6, "{name}: {orders:?}");
        }
    });
}

#[test]
fn a_sleep_that_is_over_at_once_is_no_last_resort() {
    within(limit::LIMIT, || {
        let mut orders = HashSet::new();
        for seed in 0..100 {
            let trace = Trace::default();
            let (sleeps, yields) = (trace.clone(), trace.clone());
            Simulation::new().seed(seed).run(|| {
                spawn(move || {
                    sleep(Duration::ZERO);
                    sleeps.note("sleeps");
                });
                spawn(move || {
                    (0..3).for_each(|_| yield_now());
                    yields.note("yields");
                });
            });
            orders.insert(trace.take());
        }
        assert_eq!(orders.len(), 2, "{orders:?}");
    });
}

#[test]
fn in_order_runs_as_a_runtime_does_whatever_the_seed() {
    within(limit::LIMIT, || {
        for seed in 0..10 {
            let trace = Trace::default();
            Simulation::new().seed(seed).in_order().run(|| {
                for n in 0..5 {
                    let trace = trace.clone();
                    spawn(move || {
                        perhaps_yield();
                        trace.note(n.to_string());
                    });
                }
                sleep(HOUR);
            });
            assert_eq!(trace.take(), ["0", "1", "2", "3", "4"]);
        }
    });
}

/// Two deposits, of which one can be lost.
fn lost_update() {
    let account = Arc::new(AtomicUsize::new(0));
    let deposits = [(); 2].map(|()| {
        let account = Arc::clone(&account);
        spawn(move || {
            let balance = account.load(Ordering::Relaxed);
            perhaps_yield();
            account.store(balance + 1, Ordering::Relaxed);
        })
    });
    for deposit in deposits {
        deposit.join().unwrap();
    }
    assert_eq!(account.load(Ordering::Relaxed), 2, "a deposit is lost");
}

#[test]
fn a_lost_update_is_found_and_its_seed_repeats_it() {
    if child::part().is_some() {
        return explore(100, lost_update);
    }
    let explored = |seed: &str| {
        let test = "a_lost_update_is_found_and_its_seed_repeats_it";
        child::run(child::command(test, "explorer").env("FIBRA_SEED", seed))
    };
    let found = explored("");
    assert!(!found.output.status.success());
    found.has(&["a deposit is lost", "cargo test a_lost_update_is_found_and_its_seed_repeats_it"]);
    let seed = found.text.split("FIBRA_SEED=").nth(1).and_then(|text| text.split(' ').next()).unwrap();
    let again = explored(seed);
    assert!(!again.output.status.success());
    again.has(&["a deposit is lost", &format!("FIBRA_SEED={seed} ")]);
    assert!(!again.text.contains("before it"), "it is the only run:\n{}", again.text);
    let passes =
        (0..100).find(|&seed| catch_unwind(|| Simulation::new().seed(seed).run(lost_update)).is_ok());
    explored(&passes.expect("not every seed finds it").to_string()).well();
}

#[test]
fn a_seed_that_is_no_number_is_refused() {
    if child::part().is_some() {
        return simulation::run(|| ());
    }
    let test = "a_seed_that_is_no_number_is_refused";
    let refused = child::run(child::command(test, "runner").env("FIBRA_SEED", "seven"));
    assert!(!refused.output.status.success());
    refused.has(&["FIBRA_SEED is 'seven'"]);
}

#[test]
fn who_waits_for_ever_is_reported_and_unwound() {
    let dropped = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&dropped);
    let text = failure(move || {
        struct Count(Arc<AtomicUsize>);
        impl Drop for Count {
            fn drop(&mut self) {
                // A destructor may wait, also in virtual time.
                sleep(HOUR);
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let event = Arc::new(Event::new());
        let waits = Arc::clone(&event);
        let count = Count(Arc::clone(&counted));
        let waiter = Builder::new().name("waiter").spawn(move || {
            let _count = count;
            waits.wait();
        });
        let _count = Count(counted);
        let _daemon = Builder::new().daemon(true).spawn(park);
        waiter.unwrap().join().unwrap();
    });
    assert!(text.starts_with("deadlock"), "{text}");
    for part in ["'main' waits for Join of ", "'waiter' waits for Event at 0x", "a daemon, waits for Unpark"]
    {
        assert!(text.contains(part), "no '{part}' in {text}");
    }
    assert_eq!(dropped.load(Ordering::Relaxed), 2, "their destructors have run");
}

#[test]
fn who_waits_for_each_other_is_reported_though_the_main_coroutine_has_ended() {
    let text = failure(|| {
        let (one, other) = (Arc::new(Event::new()), Arc::new(Event::new()));
        let (one_too, other_too) = (Arc::clone(&one), Arc::clone(&other));
        spawn(move || {
            one.wait();
            other.set();
        });
        spawn(move || {
            other_too.wait();
            one_too.set();
        });
    });
    assert_eq!(text.matches("waits for Event").count(), 2, "{text}");
}

#[test]
fn a_deadlock_is_one_also_for_children_that_borrow() {
    let text = failure(|| {
        let event = Event::new();
        scope(|scope| {
            scope.spawn(|| event.wait());
            scope.spawn(|| sleep(HOUR));
        });
    });
    assert!(text.contains("'main' waits for Scope"), "{text}");
    assert!(!text.contains("Time"), "the other has ended: {text}");
}

#[test]
fn a_coroutine_in_a_shield_is_reported_and_left_behind() {
    let text = failure(|| {
        spawn(|| shield(park));
    });
    assert!(text.contains("waits for Unpark"), "{text}");
}

#[test]
fn a_main_coroutine_in_a_shield_cannot_be_ended_and_the_process_says_so() {
    let test = "a_main_coroutine_in_a_shield_cannot_be_ended_and_the_process_says_so";
    if child::part().is_some() {
        return simulation::run(|| shield(park));
    }
    let died = child::run(&mut child::command(test, "shielded"));
    assert!(!died.output.status.success());
    died.has(&["deadlock", "'main' waits for Unpark", "in a shield"]);
}

#[test]
fn daemons_may_wait_for_ever() {
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    simulated(move || {
        Builder::new()
            .daemon(true)
            .spawn(move || {
                let unwound = catch_unwind(park);
                told.store(unwound.unwrap_err().is::<Cancelled>(), Ordering::Relaxed);
            })
            .unwrap();
        yield_now();
        sleep(SECOND);
    });
    assert!(ended.load(Ordering::Relaxed));
}

#[test]
fn a_panic_comes_out_as_from_any_runtime() {
    assert_eq!(failure(|| panic!("of main")), "of main");
    simulated(|| assert!(spawn(|| std::panic::resume_unwind(Box::new(7))).join().is_err()));
}

#[test]
fn no_timeout_overtakes_a_call_that_is_under_way() {
    simulated(|| {
        const REAL: Duration = Duration::from_millis(20);
        let job = timeout(Duration::from_nanos(1), || spawn_blocking(|| thread::sleep(REAL)).join().unwrap());
        assert_eq!(job, Ok(()), "a job of the pool");
        let path = std::env::temp_dir().join(format!("fibra-simulation-{}", std::process::id()));
        let file = timeout(Duration::from_nanos(1), || {
            fibra::fs::write(&path, "text")?;
            let text = fibra::fs::read_to_string(&path)?;
            fibra::fs::remove_file(&path)?;
            Ok::<_, std::io::Error>(text)
        });
        assert_eq!(file.unwrap().unwrap(), "text", "files");
        // Detached jobs, too, and those that spawn.
        let event = Arc::new(Event::new());
        let set = Arc::clone(&event);
        drop(spawn_blocking(move || {
            thread::sleep(REAL);
            spawn(move || set.set());
        }));
        assert!(event.wait_timeout(Duration::from_nanos(1)), "what a job has spawned");
        assert_eq!(elapsed(), Duration::ZERO);
    });
}

#[test]
fn who_is_held_for_is_waited_for_in_real_time() {
    simulated(|| {
        for _ in 0..50 {
            let event = Arc::new(Event::new());
            let (set, hold) = (Arc::clone(&event), hold());
            let thread = thread::spawn(move || {
                thread::sleep(Duration::from_micros(200));
                set.set();
                drop(hold);
            });
            assert!(event.wait_timeout(Duration::from_nanos(1)));
            thread.join().unwrap();
        }
        assert_eq!(elapsed(), Duration::ZERO);
    });
    let text = failure(|| {
        let hold = hold();
        let held = spawn_after(HOUR, || ());
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(5));
            drop(hold);
        });
        held.join().unwrap();
        park();
    });
    assert!(text.contains("'main' waits for Unpark"), "when the hold is gone it is over: {text}");
}

#[test]
fn a_socket_is_no_deadlock_for_somebody_outside_may_write() {
    simulated(|| {
        let (mut inside, outside) = fibra::net::UnixStream::pair().unwrap();
        let mut outside = std::os::unix::net::UnixStream::from(std::os::fd::OwnedFd::from(outside));
        let thread = thread::spawn(move || {
            thread::sleep(Duration::from_millis(10));
            outside.write_all(&[7]).unwrap();
        });
        let mut byte = [0];
        inside.read_exact(&mut byte).unwrap();
        assert_eq!((byte, elapsed()), ([7], Duration::ZERO));
        thread.join().unwrap();
    });
}

#[test]
fn a_connection_inside_is_faster_than_any_timeout() {
    within(limit::LIMIT, || {
        let echo = || {
            let listener = fibra::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let server = spawn(move || {
                let mut stream = listener.accept().unwrap().0;
                let mut buffer = [0; 8];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    stream.write_all(&buffer[..length]).unwrap();
                }
            });
            let mut client = fibra::net::TcpStream::connect(address).unwrap();
            for round in 0..10 {
                client.write_all(&[round; 8]).unwrap();
                let mut answer = [0; 8];
                timeout(HOUR, || client.read_exact(&mut answer)).expect("the server is there").unwrap();
                assert_eq!(answer, [round; 8]);
                sleep(SECOND);
            }
            drop(client);
            server.join().unwrap();
        };
        explore(20, echo);
        Simulation::new().in_order().run(echo);
    });
}

#[test]
fn it_runs_on_one_worker_and_helpers_mean_nothing_outside() {
    simulated(|| assert_eq!(fibra::current_runtime().0, 1));
    within(limit::LIMIT, || {
        perhaps_yield();
        drop(hold());
        let before = Instant::now();
        assert!(simulation::now() >= before);
        fibra::run(|| {
            perhaps_yield();
            drop(hold());
            assert!(simulation::now() >= before);
            assert!(catch_unwind(elapsed).is_err());
            assert!(catch_unwind(|| advance(SECOND)).is_err());
        });
        assert!(catch_unwind(elapsed).is_err());
    });
}

#[test]
fn many_simulations_one_after_another_and_at_the_same_time() {
    within(limit::LIMIT, || {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                thread::spawn(|| {
                    explore(50, || {
                        let sleepers: Vec<_> = (0..10).map(|n| spawn(move || sleep(HOUR * n))).collect();
                        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
                        assert_eq!(elapsed(), HOUR * 9);
                    });
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
