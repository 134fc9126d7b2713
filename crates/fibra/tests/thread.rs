//! OS threads under the vocabulary of coroutines (rows A2, A3).

mod limit;

use fibra::thread::{self, Builder};
use fibra::{Cancelled, Outcome, Runtime, inspect, park, scope, sleep, spawn, timeout};
use limit::{LIMIT, on_any_workers, on_workers, within};
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn flag() -> (Flag, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (Flag(Arc::clone(&flag)), flag)
}

/// Inside of a runtime and outside of any.
fn anywhere(test: impl Fn() + Clone + Send + 'static) {
    within(LIMIT, test.clone());
    on_any_workers(test);
}

#[test]
fn results_and_panics_come_out_of_join() {
    anywhere(|| {
        assert_eq!(thread::spawn(|| 6 * 7).join().unwrap(), 42);
        let payload = thread::spawn(|| resume_unwind(Box::new(7_u8))).join().map(|()| ()).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&7_u8));
        let detached = thread::spawn(park);
        let context = detached.context();
        drop(detached);
        context.unpark();
    });
}

#[test]
fn it_is_a_thread_of_its_own_and_the_current_context_there() {
    anywhere(|| {
        let here = std::thread::current().id();
        let thread = thread::spawn(move || {
            assert_ne!(std::thread::current().id(), here);
            let current = fibra::current();
            assert!(!current.is_coroutine());
            assert_eq!(current, fibra::current());
            current.id()
        });
        let (id, context) = (thread.id(), thread.context());
        assert_eq!(thread.join().unwrap(), id);
        assert_eq!(context.id(), id);
        assert_ne!(fibra::current().id(), id);
    });
}

#[test]
fn names_are_the_context_s_std_s_and_the_kernel_s() {
    anywhere(|| {
        let name = "more-than-fifteen-bytes";
        let thread = Builder::new().name(name).stack_size(256 * 1024).spawn(|| {
            let kernel = std::fs::read_to_string("/proc/thread-self/comm").unwrap();
            (
                fibra::current().name().map(str::to_owned),
                std::thread::current().name().map(str::to_owned),
                kernel,
            )
        });
        let thread = thread.unwrap();
        assert_eq!(thread.name(), Some(name));
        let (own, std, kernel) = thread.join().unwrap();
        assert_eq!((own.as_deref(), std.as_deref()), (Some(name), Some(name)));
        assert_eq!(kernel.trim_end(), &name[..15]);
        assert_eq!(thread::spawn(|| fibra::current().name().map(str::to_owned)).join().unwrap(), None);
        let error = Builder::new().name("nul\0byte").spawn(|| ()).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    });
}

#[test]
fn join_parks_the_coroutine_and_not_its_worker() {
    on_workers(1, || {
        let (told, tell) = mpsc::channel::<()>();
        let thread = thread::spawn(move || tell.recv().unwrap());
        let joining = spawn(move || thread.join().unwrap());
        fibra::yield_now();
        // The only worker goes on.
        let other = spawn(|| 1);
        assert_eq!(other.join().unwrap(), 1);
        assert!(!joining.is_finished());
        told.send(()).unwrap();
        joining.join().unwrap();
    });
}

#[test]
fn join_with_a_limit_gives_the_handle_back() {
    anywhere(|| {
        let thread = thread::spawn(park);
        assert!(!thread.is_finished());
        let thread = thread.join_timeout(Duration::from_millis(2)).unwrap_err();
        let thread = thread.join_deadline(std::time::Instant::now()).unwrap_err();
        thread.context().unpark();
        assert!(thread.join_timeout(HOUR).unwrap().is_ok());
    });
}

#[test]
fn whoever_asks_is_told_of_the_end() {
    anywhere(|| {
        let (told, tell) = mpsc::channel();
        let thread = thread::spawn(park);
        assert_eq!(thread.outcome(), None);
        thread.on_done(move |outcome| told.send(outcome).unwrap());
        thread.context().unpark();
        thread.join().unwrap();
        let outcome = thread::spawn(move || tell.recv().unwrap());
        assert_eq!(outcome.join().unwrap(), Outcome::Returned);
    });
}

#[test]
fn it_is_cancelled_where_it_waits_and_its_destructors_run() {
    anywhere(|| {
        for wait in [
            park,
            || sleep(HOUR),
            || drop(timeout(HOUR, park)),
            || {
                let _ = spawn(|| 5).join();
                scope(|scope| {
                    scope.spawn(|| sleep(HOUR));
                });
            },
        ] {
            let (guard, dropped) = flag();
            let thread = thread::spawn(move || {
                let _guard = guard;
                wait();
            });
            thread.cancel();
            assert!(thread.join().unwrap_err().is::<Cancelled>());
            assert!(dropped.load(Ordering::SeqCst));
        }
        // One that waits for nothing of the library's keeps its result.
        let thread = thread::spawn(|| 5);
        while !thread.is_finished() {
            std::thread::yield_now();
        }
        thread.cancel();
        assert_eq!(thread.join().unwrap(), 5);
    });
}

#[test]
fn what_it_starts_belongs_to_its_runtime() {
    for workers in [1, 3] {
        on_workers(workers, move || {
            let here = inspect::contexts().entry(fibra::current().id()).unwrap().runtime;
            let there = thread::spawn(move || {
                assert_eq!(fibra::current_runtime().0, workers);
                let coroutine = spawn(|| {
                    let id = fibra::current().id();
                    inspect::contexts().entry(id).unwrap().runtime
                });
                let thread = inspect::contexts().entry(fibra::current().id()).unwrap().runtime;
                (coroutine.join().unwrap(), thread)
            });
            assert_eq!(there.join().unwrap(), (here, here));
        });
    }
}

#[test]
fn it_may_borrow_in_a_scope_beside_coroutines() {
    anywhere(|| {
        let numbers = [1, 2, 3];
        let sum = AtomicUsize::new(0);
        let first = scope(|scope| {
            let thread = Builder::new().name("scoped").spawn_scoped(scope, || numbers[0]).unwrap();
            for index in 1..3 {
                let (numbers, sum) = (&numbers, &sum);
                Builder::new()
                    .spawn_scoped(scope, move || sum.fetch_add(numbers[index], Ordering::SeqCst))
                    .unwrap();
            }
            scope.spawn(|| sum.fetch_add(100, Ordering::SeqCst));
            thread.join().unwrap()
        });
        assert_eq!((first, sum.load(Ordering::SeqCst)), (1, 105), "the scope waits for threads too");
        // And cancels them.
        let (started, (guard, dropped)) = (AtomicBool::new(false), flag());
        scope(|scope| {
            let thread = Builder::new().spawn_scoped(scope, || {
                let _guard = guard;
                started.store(true, Ordering::SeqCst);
                sleep(HOUR);
            });
            thread.unwrap();
            while !started.load(Ordering::SeqCst) {
                fibra::yield_now();
            }
            scope.cancel();
        });
        assert!(dropped.load(Ordering::SeqCst));
    });
}

#[test]
fn one_that_the_system_refuses_is_an_error_and_nobody_waits_for_it() {
    anywhere(|| {
        let (guard, dropped) = flag();
        let refused = Builder::new().stack_size(1 << 46).spawn(move || drop(guard));
        assert!(refused.is_err());
        assert!(dropped.load(Ordering::SeqCst), "its closure is gone");
        // The same in a scope, which does not wait for it either.
        scope(|scope| {
            assert!(Builder::new().stack_size(1 << 46).spawn_scoped(scope, || ()).is_err());
        });
    });
}

#[test]
fn a_dropped_runtime_waits_for_its_threads() {
    within(LIMIT, || {
        let done = Arc::new(AtomicBool::new(false));
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let (told, tell) = mpsc::channel::<()>();
        let flag = Arc::clone(&done);
        runtime.run(move || {
            drop(thread::spawn(move || {
                tell.recv().unwrap();
                // It may still use its runtime.
                spawn(|| sleep(Duration::from_millis(1))).join().unwrap();
                flag.store(true, Ordering::SeqCst);
            }));
        });
        let teller = std::thread::spawn(move || {
            std::thread::yield_now();
            told.send(()).unwrap();
        });
        drop(runtime);
        assert!(done.load(Ordering::SeqCst));
        teller.join().unwrap();
    });
}

#[test]
fn a_thread_parks_and_is_unparked_by_anybody() {
    on_any_workers(|| {
        const ROUNDS: usize = 1000;
        let turn = Arc::new(AtomicUsize::new(0));
        let main = fibra::current();
        let other = {
            let turn = Arc::clone(&turn);
            thread::spawn(move || {
                for round in 0..ROUNDS {
                    while turn.load(Ordering::Acquire) != 2 * round + 1 {
                        park();
                    }
                    turn.store(2 * round + 2, Ordering::Release);
                    main.unpark();
                }
            })
        };
        let thread = other.context();
        for round in 0..ROUNDS {
            turn.store(2 * round + 1, Ordering::Release);
            thread.unpark();
            while turn.load(Ordering::Acquire) != 2 * round + 2 {
                park();
            }
        }
        other.join().unwrap();
    });
}

#[test]
fn std_s_words_are_here_too() {
    assert!(thread::available_parallelism().is_ok_and(|count| count.get() >= 1));
    assert!(!thread::panicking());
    let result: thread::Result<()> = thread::spawn(thread::yield_now).join();
    assert!(result.is_ok());
    thread::sleep(Duration::from_micros(1));
    assert_eq!(thread::current(), fibra::current());
    assert_eq!(thread::park_timeout(Duration::from_micros(1)), fibra::Reason::TimedOut);
}

#[test]
fn hundreds_start_and_end_at_once() {
    on_any_workers(|| {
        let sum: usize = (0..300)
            .map(|number| thread::spawn(move || spawn(move || number).join().unwrap()))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum();
        assert_eq!(sum, 299 * 150);
    });
}
