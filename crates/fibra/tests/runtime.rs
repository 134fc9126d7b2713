//! Runtimes: their beginning, their workers, their end.

mod child;
mod limit;

use fibra::{
    Builder, Cancelled, Context, DriverKind, JoinHandle, Runtime, Schedule, park, spawn, spawn_local,
};
use limit::{LIMIT, on_workers, within};
use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::panic::catch_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn daemon<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    Builder::new().daemon(true).spawn(body).unwrap()
}

fn local_daemon(body: impl FnOnce() + 'static) -> JoinHandle<()> {
    Builder::new().daemon(true).spawn_local(body).unwrap()
}

/// Adds one when it is dropped.
struct Count(Arc<AtomicUsize>);

impl Drop for Count {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

// --- Running ----------------------------------------------------------------------------------------------------------------------

#[test]
fn run_returns_the_value_of_main_when_all_others_have_ended() {
    for workers in [1, 2, 8] {
        within(LIMIT, move || {
            let ended = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&ended);
            let value = Runtime::builder().workers(workers).run(move || {
                for n in 0..50 {
                    let count = Arc::clone(&count);
                    spawn(move || {
                        fibra::sleep(Duration::from_micros(n * 50));
                        let count = Arc::clone(&count);
                        // Spawned when main may have ended.
                        spawn(move || count.fetch_add(1, Ordering::Relaxed));
                    });
                }
                "value"
            });
            assert_eq!(value.unwrap(), "value");
            assert_eq!(ended.load(Ordering::Relaxed), 50);
        });
    }
}

#[test]
fn main_stays_on_the_calling_thread_may_borrow_and_need_not_be_send() {
    let local = Rc::new(Cell::new(1));
    let mut borrowed = vec![1, 2, 3];
    let here = thread::current().id();
    let result = fibra::run(|| {
        assert_eq!(thread::current().id(), here);
        assert!(fibra::current().is_coroutine());
        assert_eq!(fibra::current().name(), Some("main"));
        local.set(2);
        fibra::yield_now();
        borrowed.push(4);
        Rc::clone(&local)
    });
    assert_eq!((result.get(), borrowed.len()), (2, 4));
}

#[test]
fn a_thread_may_run_one_runtime_after_the_other() {
    within(LIMIT, || {
        for n in 0..50 {
            assert_eq!(fibra::run(|| spawn(move || n).join().unwrap()), n);
        }
    });
}

#[test]
fn run_inside_of_run_is_a_clear_panic() {
    let text = fibra::run(|| {
        let caught = catch_unwind(|| fibra::run(|| ()));
        *caught.unwrap_err().downcast::<&str>().unwrap()
    });
    assert!(text.contains("inside a runtime") && text.contains("fibra::spawn"), "{text}");
}

#[test]
fn a_blocking_call_may_run_a_runtime_of_its_own() {
    on_workers(2, || {
        let workers = fibra::spawn_blocking(|| {
            Runtime::builder().workers(1).run(|| {
                // In the inner one, also through a scope.
                let here = thread::current().id();
                let there = fibra::scope(|scope| scope.spawn(|| thread::current().id()).join().unwrap());
                assert_eq!(there, here);
                fibra::current_runtime().0
            })
        });
        assert_eq!(workers.join().unwrap().unwrap(), 1);
    });
}

#[test]
fn a_runtime_in_the_background_serves_many_threads() {
    within(LIMIT, || {
        let builder = Runtime::builder().workers(2).name("background").driver(DriverKind::Epoll);
        let runtime = Arc::new(builder.build().unwrap());
        assert_eq!((runtime.workers(), runtime.driver()), (2, "epoll"));
        let threads: Vec<_> = (0..4)
            .map(|t: u64| {
                let runtime = Arc::clone(&runtime);
                thread::spawn(move || {
                    (0..500).map(|n| runtime.spawn(move || n * t).join().unwrap()).sum::<u64>()
                })
            })
            .collect();
        let sums: Vec<u64> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(sums, [0, 124_750, 249_500, 374_250]);
        let name = runtime.spawn(|| thread::current().name().map(str::to_owned)).join().unwrap().unwrap();
        assert!(name.starts_with("background-"), "{name}");
    });
}

// --- Order ------------------------------------------------------------------------------------------------------------------------

#[test]
fn coroutines_that_yield_take_turns_in_order() {
    on_workers(1, || {
        let log = Rc::new(std::cell::RefCell::new(Vec::new()));
        let handles: Vec<_> = (0..3)
            .map(|n| {
                let log = Rc::clone(&log);
                spawn_local(move || {
                    for _ in 0..100 {
                        log.borrow_mut().push(n);
                        fibra::yield_now();
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(*log.borrow(), [0, 1, 2].repeat(100));
    });
}

#[test]
fn between_waits_nobody_else_of_the_worker_runs() {
    on_workers(2, || {
        // Not atomic, and so shared by the coroutines of one worker only.
        let count = Rc::new(Cell::new(0_u64));
        let handles: Vec<_> = (0..8)
            .map(|_| {
                let count = Rc::clone(&count);
                spawn_local(move || {
                    for _ in 0..300 {
                        let before = count.get();
                        for _ in 0..50 {
                            std::hint::spin_loop();
                            // Spawning is no wait.
                            if before % 100 == 0 {
                                drop(spawn(|| ()));
                            }
                        }
                        count.set(before + 1);
                        fibra::yield_now();
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(count.get(), 2400);
    });
}

/// A schedule that a number determines (xorshift64).
struct Seeded(AtomicU64);

impl Schedule for Seeded {
    fn choose(&self, runnable: usize) -> usize {
        let mut x = self.0.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.store(x, Ordering::Relaxed);
        (x % runnable as u64) as usize
    }
}

#[test]
fn a_seed_replays_a_schedule() {
    fn log(seed: u64) -> Vec<u32> {
        within(LIMIT, move || {
            Runtime::builder()
                .workers(1)
                .schedule(Seeded(AtomicU64::new(seed)))
                .run(|| {
                    let log = Arc::new(Mutex::new(Vec::new()));
                    let handles: Vec<_> = (0..10)
                        .map(|n| {
                            let log = Arc::clone(&log);
                            spawn(move || {
                                for _ in 0..10 {
                                    log.lock().unwrap().push(n);
                                    fibra::yield_now();
                                }
                            })
                        })
                        .collect();
                    handles.into_iter().for_each(|handle| handle.join().unwrap());
                    Arc::try_unwrap(log).unwrap().into_inner().unwrap()
                })
                .unwrap()
        })
    }
    let first = log(0x5eed);
    assert_eq!(first, log(0x5eed));
    assert_ne!(first, log(0xfeed));
    assert_eq!(first.iter().filter(|&&n| n == 3).count(), 10);
}

#[test]
fn a_choice_out_of_bounds_is_the_last() {
    struct TooMuch;
    impl Schedule for TooMuch {
        fn choose(&self, _: usize) -> usize {
            usize::MAX
        }
    }
    within(LIMIT, || {
        let ran = Runtime::builder().workers(1).schedule(TooMuch).run(|| {
            let handles: Vec<_> = (0..10).map(|n| spawn(move || n)).collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).sum::<i32>()
        });
        assert_eq!(ran.unwrap(), 45);
    });
}

// --- Several workers --------------------------------------------------------------------------------------------------------------

#[test]
fn busy_coroutines_run_on_as_many_threads_at_once_as_there_are_workers() {
    for workers in [2, 4] {
        on_workers(workers, move || {
            let running = Arc::new(AtomicUsize::new(0));
            let busy: Vec<_> = (0..workers)
                .map(|_| {
                    let running = Arc::clone(&running);
                    spawn(move || {
                        running.fetch_add(1, Ordering::Relaxed);
                        // None of them waits; so they come to an end only if all of them run.
                        while running.load(Ordering::Relaxed) < workers {
                            thread::yield_now();
                        }
                        thread::current().id()
                    })
                })
                .collect();
            let threads: HashSet<_> = busy.into_iter().map(|handle| handle.join().unwrap()).collect();
            assert_eq!(threads.len(), workers);
        });
    }
}

#[test]
fn idle_workers_take_what_a_busy_one_has_not_started() {
    on_workers(2, || {
        let here = thread::current().id();
        // Main never gives its worker away; only another one can run these, and they end only together.
        let started = Arc::new(AtomicUsize::new(0));
        for _ in 0..100 {
            let started = Arc::clone(&started);
            spawn(move || {
                assert_ne!(thread::current().id(), here);
                started.fetch_add(1, Ordering::Relaxed);
            });
        }
        while started.load(Ordering::Relaxed) < 100 {
            std::hint::spin_loop();
        }
        // Also one by one, each when the other worker has gone to sleep.
        for n in 0..200 {
            let pause = Instant::now();
            while pause.elapsed() < Duration::from_micros(n) {}
            let handle = spawn(|| ());
            while !handle.is_finished() {
                std::hint::spin_loop();
            }
        }
    });
}

#[test]
fn what_several_busy_workers_spawn_is_found_by_an_idle_one() {
    on_workers(3, || {
        let busy = |rounds: u64| {
            move || {
                for n in 0..rounds {
                    let handle = spawn(|| ());
                    while !handle.is_finished() {
                        thread::yield_now();
                    }
                    let pause = Instant::now();
                    while pause.elapsed() < Duration::from_micros(n % 50) {}
                }
            }
        };
        let other = spawn(busy(300));
        busy(300)();
        other.join().unwrap();
    });
}

#[test]
fn a_started_coroutine_never_changes_its_thread() {
    on_workers(4, || {
        let handles: Vec<_> = (0..200)
            .map(|n| {
                spawn(move || {
                    let here = thread::current().id();
                    for step in 0..50 {
                        match (n + step) % 4 {
                            0 => fibra::yield_now(),
                            1 => fibra::sleep(Duration::from_micros(step)),
                            2 => spawn(|| ()).join().unwrap(),
                            _ => drop(fibra::park_timeout(Duration::from_micros(10))),
                        }
                        assert_eq!(thread::current().id(), here);
                    }
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn an_accepting_coroutine_spreads_a_thousand_connections_over_two_workers() {
    on_workers(2, || {
        let places = Arc::new(Mutex::new(HashMap::new()));
        let connections: Vec<_> = (0..1000)
            .map(|n| {
                let places = Arc::clone(&places);
                let handle = spawn(move || {
                    *places.lock().unwrap().entry(thread::current().id()).or_insert(0) += 1;
                    park();
                });
                // As an accept loop, which waits now and then.
                if n % 10 == 0 {
                    fibra::sleep(Duration::from_micros(100));
                }
                handle
            })
            .collect();
        while places.lock().unwrap().values().sum::<usize>() < 1000 {
            fibra::yield_now();
        }
        let places = places.lock().unwrap().clone();
        assert_eq!(places.len(), 2);
        // About half each; but a worker that the system does not let run loses what it has not started to the other.
        assert!(places.values().all(|&count| count > 20), "{places:?}");
        connections.iter().for_each(|connection| connection.context().unpark());
        connections.into_iter().for_each(|connection| connection.join().unwrap());
    });
}

// --- The end ----------------------------------------------------------------------------------------------------------------------

#[test]
fn dropping_a_runtime_waits_for_what_is_not_a_daemon() {
    for workers in [1, 2] {
        within(LIMIT, move || {
            let runtime = Runtime::builder().workers(workers).build().unwrap();
            let ended = Arc::new(AtomicUsize::new(0));
            for n in 0..20 {
                let count = Count(Arc::clone(&ended));
                runtime.spawn(move || {
                    fibra::sleep(Duration::from_micros(n * 300));
                    spawn(move || drop(count));
                });
            }
            drop(runtime);
            assert_eq!(ended.load(Ordering::Relaxed), 20);
        });
    }
}

/// The last coroutine may end in the very moment in which the runtime is dropped.
#[test]
fn dropping_a_runtime_as_its_last_coroutine_ends_is_not_missed() {
    within(LIMIT, || {
        for round in 0..1500_u32 {
            let runtime = Runtime::builder().workers(1 + round as usize % 2).build().unwrap();
            let ready = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&ready);
            drop(runtime.spawn(move || told.store(true, Ordering::Relaxed)));
            while !ready.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            for _ in 0..round % 60 {
                std::hint::spin_loop();
            }
            drop(runtime);
        }
    });
}

#[test]
fn parked_daemons_unwind_at_the_end_and_their_destructors_run_once() {
    for workers in [1, 2, 8] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&dropped);
        on_workers(workers, move || {
            let daemons: Vec<_> = (0..40)
                .map(|n| {
                    let count = Count(Arc::clone(&counts));
                    daemon(move || {
                        let _count = count;
                        match n % 5 {
                            0 => park(),
                            1 => fibra::sleep(Duration::from_secs(3600)),
                            2 => drop(local_daemon(park).join()),
                            3 => loop {
                                fibra::yield_now();
                                fibra::sleep(Duration::from_millis(1));
                            },
                            _ => fibra::scope(|scope| {
                                scope.spawn_with(Builder::new().daemon(true), park).unwrap();
                            }),
                        }
                    })
                })
                .collect();
            fibra::sleep(Duration::from_millis(10));
            drop(daemons);
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 40, "{workers} workers");
    }
}

#[test]
fn a_daemon_that_parks_is_ended_at_once_and_not_when_the_worker_happens_to_wake() {
    within(LIMIT, || {
        let began = Instant::now();
        for workers in [1, 2] {
            for _ in 0..10 {
                Runtime::builder()
                    .workers(workers)
                    .run(|| {
                        let daemons: Vec<_> = (0..3).map(|_| daemon(park)).collect();
                        fibra::sleep(Duration::from_millis(1));
                        drop(daemons);
                    })
                    .unwrap();
            }
        }
        // Asleep, each round took half a second.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

#[test]
fn a_daemon_that_has_not_started_is_dropped_where_its_destructors_may_wait() {
    struct Waits(Arc<AtomicUsize>, Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            assert!(fibra::current().is_coroutine());
            // Nobody ever starts it, and so it does not unwind: it meets the end at its first wait, as all do.
            if !thread::panicking() {
                let caught = catch_unwind(|| fibra::sleep(Duration::from_secs(3600)));
                assert!(caught.unwrap_err().is::<Cancelled>());
                self.1.fetch_add(1, Ordering::Relaxed);
            }
            fibra::yield_now();
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for workers in [1, 2] {
        let (dropped, unstarted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&dropped), Arc::clone(&unstarted));
        on_workers(workers, move || {
            // Main ends before all of them have had their turn.
            for _ in 0..2000 {
                let waits = Waits(Arc::clone(&counts.0), Arc::clone(&counts.1));
                daemon(move || {
                    let _waits = waits;
                    park();
                });
            }
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 2000);
        // With two, the other worker may start all of them in time.
        assert!(workers > 1 || unstarted.load(Ordering::Relaxed) > 0);
    }
}

#[test]
fn one_that_was_to_start_later_is_dropped_at_the_end() {
    for workers in [1, 2] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = Count(Arc::clone(&dropped));
        let handle = on_workers(workers, move || {
            Builder::new().daemon(true).spawn_after(Duration::from_secs(3600), move || drop(count)).unwrap()
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
        assert!(handle.join().unwrap_err().is::<Cancelled>());
    }
}

#[test]
fn a_daemon_that_refuses_to_end_is_left_suspended_and_nothing_dangles() {
    struct Parks;
    impl Drop for Parks {
        fn drop(&mut self) {
            loop {
                park();
            }
        }
    }
    for workers in [1, 2] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&dropped);
        let (contexts, joins) = on_workers(workers, move || {
            let handles = [
                // Catches the request for ever.
                daemon({
                    let count = Count(Arc::clone(&counts));
                    move || {
                        let _count = count;
                        loop {
                            let _ = catch_unwind(|| fibra::sleep(Duration::from_secs(3600)));
                        }
                    }
                }),
                // Parks in a destructor.
                daemon({
                    let count = Count(Arc::clone(&counts));
                    move || {
                        let _count = count;
                        let _parks = Parks;
                        park();
                    }
                }),
                // Yields in an endless loop, and never waits.
                daemon({
                    let count = Count(Arc::clone(&counts));
                    move || {
                        let _count = count;
                        loop {
                            fibra::yield_now();
                        }
                    }
                }),
            ];
            let contexts: Vec<Context> = handles.iter().map(JoinHandle::context).collect();
            fibra::sleep(Duration::from_millis(5));
            (contexts, handles)
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 0, "left as they are");
        for context in &contexts {
            context.unpark();
            context.unpark();
            assert!(context.is_daemon());
        }
        for handle in joins {
            let handle = handle.join_timeout(Duration::from_millis(1)).expect_err("it never ends");
            assert!(!handle.is_finished());
        }
        // Their threads are gone; from another one it is the same.
        thread::spawn(move || contexts.iter().for_each(Context::unpark)).join().unwrap();
        assert_eq!(dropped.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn a_runtime_may_be_dropped_by_its_own_coroutine() {
    for workers in [1, 2] {
        within(LIMIT, move || {
            let runtime = Runtime::builder().workers(workers).build().unwrap();
            let (send, receive) = mpsc::channel();
            let (last, ended) = (send.clone(), Arc::new(AtomicUsize::new(0)));
            let count = Count(Arc::clone(&ended));
            let slot: Arc<Mutex<Option<Runtime>>> = Arc::default();
            let own = Arc::clone(&slot);
            let handle = runtime.spawn(move || {
                park();
                daemon(move || {
                    let _count = count;
                    park();
                });
                fibra::yield_now();
                let runtime = own.lock().unwrap().take();
                drop(runtime);
                // It goes on, and so do those that it spawns.
                spawn(move || {
                    fibra::sleep(Duration::from_millis(5));
                    last.send("child").unwrap();
                })
                .join()
                .unwrap();
                send.send("parent").unwrap();
            });
            *slot.lock().unwrap() = Some(runtime);
            handle.context().unpark();
            handle.join().unwrap();
            assert_eq!(receive.iter().collect::<Vec<_>>(), ["child", "parent"]);
            while ended.load(Ordering::Relaxed) == 0 {
                thread::yield_now();
            }
        });
    }
}

#[test]
fn a_runtime_may_be_dropped_by_a_coroutine_of_another_which_parks_meanwhile() {
    on_workers(1, || {
        let other = Runtime::builder().workers(1).build().unwrap();
        other.spawn(|| fibra::sleep(Duration::from_millis(30)));
        let turns = Rc::new(Cell::new(0));
        let counted = Rc::clone(&turns);
        local_daemon(move || {
            loop {
                counted.set(counted.get() + 1);
                fibra::sleep(Duration::from_millis(1));
            }
        });
        drop(other);
        assert!(turns.get() > 3, "{}", turns.get());
    });
}

#[test]
fn what_is_spawned_into_a_runtime_that_is_gone_is_cut_short() {
    within(LIMIT, || {
        let (send, receive) = mpsc::channel::<()>();
        let (job, ended) = (Arc::new(Mutex::new(None)), Arc::new(AtomicUsize::new(0)));
        let count = Count(Arc::clone(&ended));
        let slot = Arc::clone(&job);
        Runtime::builder()
            .workers(1)
            .run(move || {
                // A blocking call outlives the runtime, to which what it spawns belongs.
                let outlasts = fibra::spawn_blocking(move || {
                    let _ = receive.recv();
                    spawn(move || drop(count)).join()
                });
                *slot.lock().unwrap() = Some(outlasts);
            })
            .unwrap();
        drop(send);
        let result = job.lock().unwrap().take().unwrap().join().unwrap();
        assert!(result.unwrap_err().is::<Cancelled>());
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn waits_of_other_threads_for_a_runtime_end_with_it() {
    within(LIMIT, || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let cut = runtime.spawn_with(Builder::new().daemon(true), park).unwrap();
        let waiting = thread::spawn(move || cut.join().map_err(|payload| payload.is::<Cancelled>()));
        thread::sleep(Duration::from_millis(5));
        drop(runtime);
        assert_eq!(waiting.join().unwrap(), Err(true));
    });
}

#[test]
fn runtimes_come_and_go_without_leaving_threads_or_descriptors() {
    fn count(folder: &str) -> usize {
        std::fs::read_dir(folder).unwrap().count()
    }
    if child::part().is_none() {
        // By itself, since other tests of this process come and go as well.
        let mut command =
            child::command("runtimes_come_and_go_without_leaving_threads_or_descriptors", "alone");
        child::run(&mut command).well();
        return;
    }
    let round = || {
        let runtime = Runtime::builder().workers(3).build().unwrap();
        let daemons: Vec<_> =
            (0..10).map(|_| runtime.spawn_with(Builder::new().daemon(true), park).unwrap()).collect();
        runtime.run(|| fibra::sleep(Duration::from_micros(100)));
        drop(runtime);
        daemons.into_iter().for_each(|daemon| drop(daemon.join()));
        fibra::run(|| spawn(|| ()).join().unwrap());
    };
    round();
    let before = (count("/proc/self/task"), count("/proc/self/fd"));
    (0..50).for_each(|_| round());
    assert_eq!((count("/proc/self/task"), count("/proc/self/fd")), before);
}

// --- The environment --------------------------------------------------------------------------------------------------------------

#[test]
fn bad_settings_are_clear_errors() {
    const NAME: &str = "bad_settings_are_clear_errors";
    if let Some(part) = child::part() {
        if part == "panics" {
            fibra::run(|| ());
        }
        let error = Runtime::builder().build().unwrap_err();
        println!("error: {error}");
        let error = Runtime::builder().run(|| ()).unwrap_err();
        println!("error: {error}");
        let default = catch_unwind(|| spawn(|| ())).map(|_| ()).unwrap_err();
        println!("default: {}", default.downcast::<String>().unwrap());
        return;
    }
    for (variable, value, parts) in [
        ("FIBRA_WORKERS", "0", ["FIBRA_WORKERS is '0'", "1 to 1024"]),
        ("FIBRA_WORKERS", "many", ["FIBRA_WORKERS is 'many'", "1 to 1024"]),
        ("FIBRA_WORKERS", "-1", ["FIBRA_WORKERS is '-1'", "1 to 1024"]),
        ("FIBRA_WORKERS", "1025", ["FIBRA_WORKERS is '1025'", "1 to 1024"]),
        ("FIBRA_DRIVER", "kqueue", ["FIBRA_DRIVER is 'kqueue'", "'epoll'"]),
        ("FIBRA_STACK_SIZE", "huge", ["FIBRA_STACK_SIZE is \"huge\"", "number of bytes"]),
        ("FIBRA_STACK_SIZE", "2000m", ["FIBRA_STACK_SIZE is \"2000m\"", "1024m"]),
        ("FIBRA_STACK_SIZE", "1", ["FIBRA_STACK_SIZE", "16384"]),
        ("FIBRA_GUARD", "brick", ["FIBRA_GUARD is \"brick\"", "mprotect"]),
    ] {
        let said = child::run(child::command(NAME, "errors").env(variable, value));
        said.has(&parts);
        // Returned, and the message of the panic.
        let text = said.well();
        for line in ["error: ", "default: "] {
            assert!(text.lines().any(|said| said.contains(line) && said.contains(parts[0])), "{text}");
        }
        let said = child::run(child::command(NAME, "panics").env(variable, value));
        said.has(&["fibra cannot start", parts[0]]);
    }
}

#[test]
fn settings_in_code_are_checked_and_count_more_than_the_environment() {
    const NAME: &str = "settings_in_code_are_checked_and_count_more_than_the_environment";
    if child::part().is_some() {
        let workers = Runtime::builder().workers(2).run(fibra::current_runtime).unwrap();
        assert_eq!(workers, (2, "epoll"));
        assert_eq!(fibra::run(|| fibra::current_runtime().0), 3);
        return;
    }
    child::run(child::command(NAME, "workers").env("FIBRA_WORKERS", "3").env("FIBRA_DRIVER", "epoll")).well();
    for workers in [0, 1025, usize::MAX] {
        let error = Runtime::builder().workers(workers).build().unwrap_err();
        assert!(error.to_string().contains("1 to 1024"), "{error}");
    }
    for bytes in [0, 100, (1 << 30) + 1] {
        let error = Runtime::builder().stack_size(bytes).build().unwrap_err();
        assert!(error.to_string().contains(&bytes.to_string()), "{error}");
    }
}

/// A coroutine of a worker of two that does not give way; while it runs, whoever sleeps has to take what is sent to that worker.
#[test]
fn a_task_that_is_sent_to_a_busy_worker_is_run_by_an_idle_one() {
    within(LIMIT, || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let busy = {
            let over = Arc::clone(&over);
            runtime.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop()
                }
            })
        };
        // In turn to the one, to the other, and to whichever has less to do.
        for _ in 0..5 {
            // By then the idle one has tidied up, and sleeps without an end.
            thread::sleep(Duration::from_millis(600));
            assert!(runtime.spawn(|| ()).join_timeout(Duration::from_secs(10)).is_ok(), "it was left lying");
        }
        over.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    });
}

#[test]
fn a_destructor_that_opens_a_scope_when_the_runtime_ends_does_not_abort() {
    struct Scopes(Arc<AtomicUsize>);
    impl Drop for Scopes {
        fn drop(&mut self) {
            fibra::scope(|scope| {
                scope.spawn(|| ());
            });
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for workers in [1, 2] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&dropped);
        on_workers(workers, move || {
            let scopes = Scopes(count);
            daemon(move || {
                let _scopes = scopes;
                park();
            });
            fibra::sleep(Duration::from_millis(5));
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 1);
    }
}

/// Destructors of what was never started wait, for ever if nobody asks them to stop.
#[test]
fn what_has_not_started_is_dropped_on_a_stack_whatever_it_was_waiting_for() {
    struct Parks(Arc<AtomicUsize>);
    impl Drop for Parks {
        fn drop(&mut self) {
            assert!(fibra::current().is_coroutine());
            let caught = catch_unwind(park);
            assert!(thread::panicking() || caught.unwrap_err().is::<Cancelled>());
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for workers in [1, 2] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&dropped);
        on_workers(workers, move || {
            let later = Parks(Arc::clone(&count));
            let hour = Duration::from_secs(3600);
            drop(Builder::new().daemon(true).spawn_after(hour, move || drop(later)).unwrap());
            for n in 0..200 {
                let last = (n == 199).then(|| Parks(Arc::clone(&count)));
                daemon(move || drop(last));
            }
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
