//! Starting coroutines, and what comes of them.

mod child;
mod limit;

use fibra::{Builder, Cancelled, Context, JoinHandle, Runtime, Stop, spawn, spawn_after, spawn_local};
use limit::{on_any_workers, on_workers, within};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// Counts its drops, and says where they happen.
#[derive(Clone, Default)]
struct Drops(Arc<Mutex<Vec<thread::ThreadId>>>);

impl Drop for Drops {
    fn drop(&mut self) {
        self.0.lock().unwrap().push(thread::current().id());
    }
}

/// The list without counting itself.
fn drops() -> (Drops, Arc<Mutex<Vec<thread::ThreadId>>>) {
    let drops = Drops::default();
    let list = Arc::clone(&drops.0);
    (drops, list)
}

#[test]
fn results_come_out_of_join() {
    on_any_workers(|| {
        let handles: Vec<_> = (0..1000_u64).map(|n| spawn(move || n * n)).collect();
        let sum: u64 = handles.into_iter().map(|handle| handle.join().unwrap()).sum();
        assert_eq!(sum, 332_833_500);
    });
}

#[test]
fn a_panic_comes_out_of_join_and_costs_nobody_else() {
    on_any_workers(|| {
        let neighbours: Vec<_> = (0..50)
            .map(|n| {
                spawn(move || {
                    for _ in 0..20 {
                        fibra::yield_now();
                    }
                    n
                })
            })
            .collect();
        let panicking: Vec<_> =
            (0..50).map(|n| spawn(move || if n >= 0 { std::panic::panic_any(n) } else { 1 })).collect();
        for (n, handle) in panicking.into_iter().enumerate() {
            assert_eq!(*handle.join().unwrap_err().downcast::<i32>().unwrap(), n as i32);
        }
        for (n, handle) in neighbours.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), n);
        }
        assert!(!thread::panicking());
    });
}

#[test]
fn a_detached_coroutine_runs_on_and_its_result_is_dropped_once() {
    on_any_workers(|| {
        let (result, list) = drops();
        let main = fibra::current();
        drop(spawn(move || {
            main.unpark();
            result
        }));
        fibra::park();
        while list.lock().unwrap().is_empty() {
            fibra::yield_now();
        }
        assert_eq!(list.lock().unwrap().len(), 1);
    });
}

#[test]
fn the_result_of_a_coroutine_that_has_ended_is_dropped_with_the_handle() {
    on_any_workers(|| {
        let (result, list) = drops();
        let handle = spawn(move || result);
        while !handle.is_finished() {
            fibra::yield_now();
        }
        assert!(list.lock().unwrap().is_empty());
        drop(handle);
        assert_eq!(*list.lock().unwrap(), [thread::current().id()]);
    });
}

#[test]
fn a_result_whose_destructor_panics_harms_nobody() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    on_any_workers(|| {
        drop(spawn(|| Bad));
        let ended = spawn(|| Bad);
        while !ended.is_finished() {
            fibra::yield_now();
        }
        drop(ended);
        drop(spawn(|| std::panic::panic_any(Bad)));
        assert_eq!(spawn(|| 1).join().unwrap(), 1);
    });
}

#[test]
fn a_result_that_nobody_wants_is_dropped_where_it_may_park() {
    struct Parks(Context);
    impl Drop for Parks {
        fn drop(&mut self) {
            assert!(fibra::current().is_coroutine());
            fibra::sleep(Duration::from_millis(1));
            self.0.unpark();
        }
    }
    on_any_workers(|| {
        let main = fibra::current();
        drop(spawn(move || Parks(main)));
        fibra::park();
    });
}

#[test]
fn names_and_numbers_are_seen_inside_and_outside() {
    on_any_workers(|| {
        let named =
            Builder::new().name("parser").spawn(|| (fibra::current().id(), fibra::current())).unwrap();
        assert_eq!(named.name(), Some("parser"));
        let (outside, context) = (named.id(), named.context());
        let (inside, current) = named.join().unwrap();
        assert_eq!(outside, inside);
        assert_eq!(context, current);
        assert_eq!(current.name(), Some("parser"));
        assert!(context.is_coroutine() && !context.is_daemon());
        assert_eq!(spawn(|| ()).name(), None);

        let ids: HashSet<u64> = (0..5000).map(|_| spawn(|| ()).id()).collect();
        assert_eq!(ids.len(), 5000);
        assert!(!ids.contains(&outside) && !ids.contains(&fibra::current().id()));
    });
}

#[test]
fn numbers_differ_between_threads_and_coroutines() {
    let mut ids: Vec<u64> = (0..4)
        .map(|_| thread::spawn(|| fibra::run(|| (0..3000).map(|_| spawn(|| ()).id()).collect::<Vec<_>>())))
        .flat_map(|thread| thread.join().unwrap())
        .collect();
    ids.push(fibra::current().id());
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len());
}

#[test]
fn local_coroutines_share_what_is_not_send() {
    on_any_workers(|| {
        let list = Rc::new(RefCell::new(Vec::new()));
        let handles: Vec<JoinHandle<Rc<usize>>> = (0..10)
            .map(|n| {
                let list = Rc::clone(&list);
                spawn_local(move || {
                    fibra::yield_now();
                    list.borrow_mut().push(n);
                    Rc::new(n)
                })
            })
            .collect();
        let sum: usize = handles.into_iter().map(|handle| *handle.join().unwrap()).sum();
        assert_eq!(sum, 45);
        assert_eq!(*list.borrow(), (0..10).collect::<Vec<_>>());
    });
}

#[test]
fn local_coroutines_stay_with_their_spawner_however_busy_it_is() {
    on_workers(4, || {
        let here = thread::current().id();
        let handles: Vec<_> = (0..200).map(|_| spawn_local(|| thread::current().id())).collect();
        // The others are idle, and would take what may be taken.
        let end = Instant::now() + Duration::from_millis(20);
        while Instant::now() < end {}
        for handle in handles {
            assert_eq!(handle.join().unwrap(), here);
        }
    });
}

#[test]
fn a_result_that_is_not_send_is_dropped_on_its_own_thread_whoever_holds_the_last_reference() {
    on_workers(2, || {
        let (result, list) = drops();
        let local = Rc::new(Cell::new(0));
        let kept = Rc::clone(&local);
        let handle = spawn_local(move || (result, kept));
        let context = handle.context();
        // Another thread has the last reference to the task.
        let elsewhere = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            drop(context);
        });
        drop(handle);
        fibra::sleep(Duration::from_millis(5));
        assert_eq!(*list.lock().unwrap(), [thread::current().id()]);
        assert_eq!(Rc::strong_count(&local), 1);
        fibra::sleep(Duration::from_millis(40));
        elsewhere.join().unwrap();
    });
}

#[test]
fn join_timeout_gives_the_handle_back() {
    on_any_workers(|| {
        let mut handle = spawn(|| {
            fibra::park();
            "done"
        });
        for _ in 0..3 {
            handle = handle.join_timeout(Duration::from_millis(3)).expect_err("it is parked");
        }
        assert!(!handle.is_finished());
        handle.context().unpark();
        assert_eq!(handle.join_timeout(Duration::from_secs(60)).expect("it has ended").unwrap(), "done");
        // Zero is a look, and one that finds a result returns it.
        let handle = spawn(|| 5);
        while !handle.is_finished() {
            fibra::yield_now();
        }
        assert_eq!(handle.join_timeout(Duration::ZERO).expect("it has ended").unwrap(), 5);
    });
}

#[test]
fn join_timeout_works_on_os_threads() {
    within(limit::LIMIT, || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let handle = runtime.spawn(fibra::park);
        let began = Instant::now();
        let handle = handle.join_timeout(Duration::from_millis(10)).expect_err("it is parked");
        assert!(began.elapsed() >= Duration::from_millis(10));
        handle.context().unpark();
        handle.join().unwrap();
    });
}

#[test]
fn a_coroutine_that_joins_itself_panics_instead_of_waiting_for_ever() {
    on_any_workers(|| {
        let slot: Arc<Mutex<Option<JoinHandle<()>>>> = Arc::default();
        let other = Arc::clone(&slot);
        let main = fibra::current();
        let handle = spawn(move || {
            fibra::park();
            let own = other.lock().unwrap().take().unwrap();
            let caught = catch_unwind(AssertUnwindSafe(|| own.join()));
            assert!(caught.unwrap_err().downcast::<&str>().unwrap().contains("cannot join itself"));
            main.unpark();
        });
        let context = handle.context();
        *slot.lock().unwrap() = Some(handle);
        context.unpark();
        fibra::park();
    });
}

#[test]
fn spawn_after_starts_in_the_order_of_the_delays_and_never_early() {
    on_any_workers(|| {
        let order = Arc::new(Mutex::new(Vec::new()));
        let began = Instant::now();
        let handles: Vec<_> = [30_u64, 10, 20, 0, 5]
            .into_iter()
            .map(|millis| {
                let order = Arc::clone(&order);
                let delay = Duration::from_millis(millis);
                spawn_after(delay, move || {
                    assert!(began.elapsed() >= delay);
                    order.lock().unwrap().push(millis);
                })
            })
            .collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 5, 10, 20, 30]);
    });
}

#[test]
fn spawn_after_works_on_os_threads_and_for_delays_without_end() {
    within(limit::LIMIT, || {
        let began = Instant::now();
        spawn_after(Duration::from_millis(10), || ()).join().unwrap();
        assert!(began.elapsed() >= Duration::from_millis(10));
        fibra::run(|| {
            let never = Builder::new().daemon(true).spawn_after(Duration::MAX, || ()).unwrap();
            fibra::sleep(Duration::from_millis(5));
            assert!(!never.is_finished());
        });
    });
}

#[test]
fn a_handle_may_be_joined_elsewhere() {
    on_workers(2, || {
        let handle = spawn(|| {
            fibra::sleep(Duration::from_millis(5));
            7
        });
        let joined = spawn(move || handle.join().unwrap() + 1);
        let from_thread = thread::spawn(move || joined.join().unwrap() + 1);
        assert_eq!(fibra::spawn_blocking(move || from_thread.join().unwrap()).join().unwrap(), 9);
    });
}

#[test]
fn who_is_stopped_while_joining_detaches() {
    on_any_workers(|| {
        let stop = Stop::new();
        let listener = stop.clone();
        let (result, list) = drops();
        let slow = spawn(move || {
            fibra::park();
            result
        });
        let sleeper = slow.context();
        let joining = spawn(move || listener.enroll().interruptible(|| drop(slow.join())));
        fibra::sleep(Duration::from_millis(5));
        stop.trigger();
        assert!(joining.join().unwrap().is_err());
        assert!(list.lock().unwrap().is_empty());
        sleeper.unpark();
        while list.lock().unwrap().is_empty() {
            fibra::yield_now();
        }
    });
}

#[test]
fn a_hundred_thousand_are_spawned_and_joined() {
    on_any_workers(|| {
        let ran = Arc::new(AtomicUsize::new(0));
        let handles: Vec<_> = (0..100_000)
            .map(|_| {
                let ran = Arc::clone(&ran);
                spawn(move || ran.fetch_add(1, Ordering::Relaxed))
            })
            .collect();
        for handle in handles {
            handle.join().unwrap();
        }
        assert_eq!(ran.load(Ordering::Relaxed), 100_000);
    });
}

#[test]
fn a_stack_size_out_of_bounds_is_an_error() {
    fibra::run(|| {
        for bytes in [0, 1, 16 * 1024 - 1, (1 << 30) + 1, usize::MAX] {
            let error = Builder::new().stack_size(bytes).spawn(|| ()).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&bytes.to_string()), "{error}");
        }
        for bytes in [16 * 1024, 100_000, 8 << 20] {
            Builder::new().stack_size(bytes).spawn(|| ()).unwrap().join().unwrap();
        }
    });
}

#[test]
fn a_large_stack_holds_what_a_small_one_does_not() {
    fn deep(levels: usize) -> usize {
        let frame = std::hint::black_box([levels; 64]);
        if levels == 0 { 0 } else { deep(levels - 1) + usize::from(frame[63] == levels) }
    }
    on_any_workers(|| {
        let deep = Builder::new().stack_size(16 << 20).spawn(|| deep(8000)).unwrap();
        assert_eq!(deep.join().unwrap(), 8000);
    });
}

#[test]
fn spawn_local_needs_a_coroutine_and_says_so() {
    let caught = catch_unwind(|| spawn_local(|| ()));
    let message = caught
        .err()
        .unwrap()
        .downcast::<&str>()
        .map_or_else(|payload| *payload.downcast::<String>().unwrap(), |text| text.to_string());
    assert!(message.contains("fibra::run"), "{message}");
}

#[test]
fn an_os_thread_spawns_in_the_default_runtime() {
    if child::part().is_some() {
        let here = thread::current().id();
        let there = spawn(|| (thread::current().id(), fibra::current_runtime().0)).join().unwrap();
        assert_ne!(there.0, here);
        assert_eq!(there.1, 3);
        assert_eq!(fibra::current_runtime().0, 3);
        // Also out of a thread-local's destructor, when other thread-locals are gone.
        struct Late;
        impl Drop for Late {
            fn drop(&mut self) {
                assert_eq!(spawn(|| 3).join().unwrap(), 3);
                println!("late: {}", fibra::current().is_coroutine());
            }
        }
        thread_local!(static LATE: Late = const { Late });
        for early in [false, true] {
            thread::spawn(move || {
                if early {
                    LATE.with(|_| ());
                }
                spawn(|| ()).join().unwrap();
                LATE.with(|_| ());
            })
            .join()
            .unwrap();
        }
        return;
    }
    let said = child::run(
        child::command("an_os_thread_spawns_in_the_default_runtime", "spawns").env("FIBRA_WORKERS", "3"),
    );
    assert_eq!(said.well().matches("late: false").count(), 2);
}

#[test]
fn without_stacks_spawn_is_an_error_until_others_have_ended() {
    const NAME: &str = "without_stacks_spawn_is_an_error_until_others_have_ended";
    if child::part().is_some() {
        return within(limit::LIMIT, || {
            Runtime::builder().workers(1).run(|| {
                let mut parked = Vec::new();
                let error = loop {
                    match Builder::new().spawn(fibra::park) {
                        Ok(handle) => parked.push(handle),
                        Err(error) => break error,
                    }
                    fibra::yield_now();
                };
                assert_eq!(error.kind(), std::io::ErrorKind::OutOfMemory, "{error}");
                println!("{} parked, then: {error}", parked.len());
                assert!(parked.len() > 1000, "{}", parked.len());
                // `spawn` panics in the caller, and nobody else is hurt.
                let caught = catch_unwind(|| spawn(|| ()));
                assert!(caught.is_err());
                parked.iter().for_each(|handle| handle.context().unpark());
                parked.into_iter().for_each(|handle| handle.join().unwrap());
                for _ in 0..1000 {
                    spawn(|| ()).join().unwrap();
                }
                println!("spawns again");
            })
        })
        .unwrap();
    }
    // So many mappings, two for each stack.
    let said = child::run(child::command(NAME, "mappings").env("FIBRA_GUARD", "mprotect"));
    said.has(&["spawns again", "max_map_count"]);
    said.well();
    // So much address space.
    let mut limited = std::process::Command::new("sh");
    limited.args(["-c", "ulimit -v 3000000; exec \"$0\" \"$@\""]);
    let child = child::command(NAME, "address space");
    limited.arg(child.get_program()).args(child.get_args());
    limited.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let said = child::run(&mut limited);
    said.has(&["spawns again"]);
    said.well();
}

#[test]
fn a_handle_of_a_runtime_that_has_ended_still_has_the_result() {
    within(limit::LIMIT, || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let (left, cut) = (runtime.spawn(|| 5), {
            let daemon = Builder::new().daemon(true);
            runtime.spawn_with(daemon, fibra::park).unwrap()
        });
        drop(runtime);
        assert_eq!(left.join().unwrap(), 5);
        assert!(cut.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn contexts_and_handles_go_where_threads_do() {
    fn both<T: Send + Sync>() {}
    both::<Context>();
    both::<JoinHandle<i32>>();
    both::<Runtime>();
    both::<Stop>();
}
