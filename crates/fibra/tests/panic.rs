//! Panics stay in their coroutine, also when two of one worker unwind at the same time.

mod child;
mod limit;

use fibra::{Builder, Runtime, spawn, spawn_local};
use limit::{on_any_workers, on_workers, within};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, panic_any};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Lets others run in its destructor, several times and in several ways.
struct Dallies;

impl Drop for Dallies {
    fn drop(&mut self) {
        for _ in 0..3 {
            fibra::yield_now();
            fibra::sleep(Duration::from_micros(300));
        }
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    }
}

#[test]
fn coroutines_that_are_suspended_while_they_unwind_disturb_nobody() {
    on_any_workers(|| {
        let handles: Vec<_> = (0..30)
            .map(|n| {
                spawn(move || {
                    fibra::sleep(Duration::from_micros(n * 100));
                    let _dallies = Dallies;
                    if n % 3 == 0 {
                        return n;
                    }
                    panic_any(n)
                })
            })
            .collect();
        for (n, handle) in (0..).zip(handles) {
            match handle.join() {
                Ok(value) => assert_eq!((value, value % 3), (n, 0)),
                Err(payload) => assert_eq!(payload.downcast_ref(), Some(&n)),
            }
        }
        assert!(!thread::panicking(), "nobody unwinds any more");
    });
}

#[test]
fn meanwhile_every_coroutine_of_the_worker_seems_to_panic_and_a_std_mutex_is_poisoned() {
    on_workers(1, || {
        let (mutex, neighbour) = (Arc::new(Mutex::new(0)), Arc::new(Mutex::new(0)));
        let unwinding = spawn(|| {
            let _dallies = Dallies;
            panic_any(1)
        });
        let held = neighbour.lock().unwrap();
        fibra::yield_now();
        // The other one is in its destructor now.
        assert!(thread::panicking());
        // Begun and ended meanwhile: std compares before and after.
        *mutex.lock().unwrap() += 1;
        assert!(!mutex.is_poisoned());
        // Begun before: poisoned, although nothing went wrong here.
        drop(held);
        assert!(neighbour.is_poisoned());
        assert!(unwinding.join().is_err());
        assert!(!thread::panicking());
    });
}

#[test]
fn a_panic_caught_while_a_neighbour_unwinds_is_an_ordinary_one() {
    on_workers(1, || {
        let unwinding = spawn(|| {
            let _dallies = Dallies;
            panic_any(1)
        });
        fibra::yield_now();
        assert!(thread::panicking());
        for n in 0..10 {
            let caught = catch_unwind(|| {
                let _dallies = Dallies;
                panic_any(n)
            });
            assert_eq!(caught.unwrap_err().downcast_ref(), Some(&n));
        }
        assert_eq!(*unwinding.join().unwrap_err().downcast::<i32>().unwrap(), 1);
    });
}

#[test]
fn unwinds_that_cross_in_every_order_find_their_own_ends() {
    /// Logs its end; unwinding is suspended until the turn comes.
    struct Turn(Rc<RefCell<Vec<usize>>>, usize);
    impl Drop for Turn {
        fn drop(&mut self) {
            while self.0.borrow().len() != self.1 {
                fibra::yield_now();
            }
            self.0.borrow_mut().push(self.1);
        }
    }
    on_workers(1, || {
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let log = Rc::new(RefCell::new(Vec::new()));
            let handles: Vec<_> = order
                .iter()
                .map(|&turn| {
                    let log = Rc::clone(&log);
                    spawn_local(move || {
                        let _turn = Turn(log, turn);
                        panic_any(turn)
                    })
                })
                .collect();
            for (turn, handle) in order.into_iter().zip(handles) {
                let payload = handle.join().map(|_: ()| ()).unwrap_err();
                assert_eq!(*payload.downcast::<usize>().unwrap(), turn);
            }
            assert_eq!(*log.borrow(), [0, 1, 2]);
        }
    });
}

#[test]
fn the_panic_of_main_comes_out_of_run_after_everything_else_has_ended() {
    for workers in [1, 2] {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&ended);
        let caught = within(limit::LIMIT, move || {
            catch_unwind(AssertUnwindSafe(|| {
                Runtime::builder().workers(workers).run(|| {
                    for _ in 0..10 {
                        let count = Arc::clone(&count);
                        spawn(move || {
                            fibra::sleep(Duration::from_millis(5));
                            count.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                    panic_any("main's");
                })
            }))
        });
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"main's"));
        assert_eq!(ended.load(Ordering::Relaxed), 10);
    }
}

/// What the children below play: panics on the default stack, with what std prints.
fn panics() {
    #[inline(never)]
    fn deep(levels: usize) {
        if levels == 0 {
            panic!("from the depths: {}", fibra::current().id());
        }
        deep(std::hint::black_box(levels) - 1);
        std::hint::black_box(levels);
    }
    on_workers(1, || {
        assert!(spawn(|| deep(0)).join().is_err());
        assert!(spawn(|| deep(20)).join().is_err());
        // std prints a full backtrace when the thread seems to panic already.
        let unwinding = spawn(|| {
            let _dallies = Dallies;
            panic_any(1)
        });
        fibra::yield_now();
        assert!(thread::panicking());
        assert!(spawn(|| deep(3)).join().is_err());
        assert!(unwinding.join().is_err());
        println!("survived");
    });
}

#[test]
fn a_backtrace_fits_on_a_default_stack() {
    if child::part().is_some() {
        return panics();
    }
    for backtrace in ["0", "1", "full"] {
        let mut command = child::command("a_backtrace_fits_on_a_default_stack", "panics");
        let said = child::run(command.env("RUST_BACKTRACE", backtrace));
        said.has(&["from the depths", "survived"]);
        said.well();
    }
}

#[test]
fn a_panic_out_of_a_destructor_during_an_unwind_aborts_as_with_threads() {
    if child::part().is_some() {
        struct Bad;
        impl Drop for Bad {
            fn drop(&mut self) {
                panic!("the second");
            }
        }
        fibra::run(|| {
            let _ = spawn(|| {
                let _bad = Bad;
                panic!("the first");
            })
            .join();
            println!("survived");
        });
        return;
    }
    let said = child::run(&mut child::command(
        "a_panic_out_of_a_destructor_during_an_unwind_aborts_as_with_threads",
        "panics twice",
    ));
    said.has(&["the first", "the second"]);
    assert!(!said.output.status.success() && !said.text.contains("survived"));
}

#[test]
fn a_destructor_may_spawn_while_its_daemon_is_unwound_by_the_end() {
    struct Spawns(Arc<Mutex<Vec<bool>>>);
    impl Drop for Spawns {
        fn drop(&mut self) {
            let cut =
                |result: thread::Result<()>| result.is_err_and(|payload| payload.is::<fibra::Cancelled>());
            let results = [cut(spawn(|| ()).join()), cut(spawn_local(|| ()).join())];
            let later = fibra::spawn_after(Duration::from_secs(3600), || ());
            self.0.lock().unwrap().extend(results.into_iter().chain([cut(later.join())]));
        }
    }
    for workers in [1, 2] {
        let list = Arc::new(Mutex::new(Vec::new()));
        let spawns = Spawns(Arc::clone(&list));
        on_workers(workers, move || {
            Builder::new()
                .daemon(true)
                .spawn(move || {
                    let _spawns = spawns;
                    fibra::park();
                })
                .unwrap();
            fibra::sleep(Duration::from_millis(5));
        });
        assert_eq!(
            *list.lock().unwrap(),
            [true; 3],
            "what is spawned at the end is cut short, and that is no panic"
        );
    }
}

#[test]
fn a_schedule_that_panics_aborts_and_says_so() -> ExitCode {
    const NAME: &str = "a_schedule_that_panics_aborts_and_says_so";
    struct Bad;
    impl fibra::Schedule for Bad {
        fn choose(&self, runnable: usize) -> usize {
            assert!(runnable < 3, "too many");
            0
        }
    }
    if child::part().is_some() {
        let mut borrowed = 0;
        let caught = catch_unwind(AssertUnwindSafe(|| {
            Runtime::builder().workers(1).schedule(Bad).run(|| {
                for _ in 0..3 {
                    spawn(|| ());
                }
                fibra::yield_now();
                borrowed += 1;
            })
        }));
        println!("survived {}", caught.is_err());
        return ExitCode::FAILURE;
    }
    let said = child::run(&mut child::command(NAME, "panics"));
    said.has(&["too many", "a worker has panicked"]);
    assert!(!said.text.contains("survived"));
    ExitCode::SUCCESS
}

#[test]
fn a_clock_that_panics_while_a_scope_waits_aborts_and_the_children_keep_what_they_borrow() -> ExitCode {
    const NAME: &str =
        "a_clock_that_panics_while_a_scope_waits_aborts_and_the_children_keep_what_they_borrow";
    static BROKEN: AtomicUsize = AtomicUsize::new(0);
    struct Bad;
    impl fibra::time::Clock for Bad {
        fn now(&self) -> Instant {
            assert!(BROKEN.swap(0, Ordering::Relaxed) == 0, "no time");
            Instant::now()
        }
    }
    if child::part().is_some() {
        let caught = catch_unwind(|| {
            Runtime::builder().workers(1).clock(Bad).run(|| {
                let stop = fibra::Stop::new();
                let enrolled = stop.enroll();
                let hour = Duration::from_secs(3600);
                let waits = AssertUnwindSafe(|| {
                    fibra::timeout(hour, || {
                        fibra::scope(|scope| {
                            scope.spawn(|| {
                                // The next to look is who waits for this: was it his time that is up?
                                BROKEN.store(1, Ordering::Relaxed);
                                stop.trigger();
                                fibra::yield_now();
                                fibra::sleep(Duration::from_millis(5));
                                println!("survived");
                            });
                        })
                    })
                });
                let _ = enrolled.interruptible(|| catch_unwind(waits).is_err());
                fibra::sleep(Duration::from_millis(50));
            })
        });
        println!("survived {}", caught.is_err());
        return ExitCode::FAILURE;
    }
    let said = child::run(&mut child::command(NAME, "panics"));
    said.has(&["no time", "a worker has panicked"]);
    assert!(!said.text.contains("survived"));
    ExitCode::SUCCESS
}
