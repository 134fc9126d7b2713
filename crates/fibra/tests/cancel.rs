//! Cancellation and deadlines (row I2).

mod limit;

use fibra::{
    Builder, Cancelled, Elapsed, Stop, cancel, deadline, move_on_after, park, scope, shield, simulation,
    sleep, spawn, spawn_blocking, timeout,
};
use limit::{on_any_workers, on_workers, within};
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(5);

/// Sets a flag when it is dropped, perhaps after a wait.
struct OnDrop<F: FnMut()>(F);

impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn a_timeout_ends_every_kind_of_wait_and_its_destructors_run() {
    on_any_workers(|| {
        type Wait = Box<dyn FnOnce() + Send>;
        let waits: Vec<(&str, Wait)> = vec![
            ("sleep", Box::new(|| sleep(HOUR))),
            ("park", Box::new(park)),
            ("join", Box::new(|| drop(Builder::new().daemon(true).spawn(|| sleep(HOUR)).unwrap().join()))),
            (
                "read",
                Box::new(|| {
                    let (one, _other) = fibra::net::UnixStream::pair().unwrap();
                    let _ = (&one).read(&mut [0]);
                }),
            ),
            ("accept", Box::new(|| drop(fibra::net::TcpListener::bind("127.0.0.1:0").unwrap().accept()))),
            (
                "scope",
                Box::new(|| {
                    scope(|scope| {
                        scope.spawn(|| sleep(HOUR));
                    })
                }),
            ),
            (
                "nested",
                Box::new(|| {
                    let _ = timeout(HOUR, || sleep(HOUR));
                }),
            ),
        ];
        for (name, wait) in waits {
            let dropped = AtomicBool::new(false);
            let result = timeout(SHORT, || {
                let _guard = OnDrop(|| dropped.store(true, Ordering::Relaxed));
                wait();
            });
            assert_eq!(result, Err(Elapsed), "{name}");
            assert!(dropped.load(Ordering::Relaxed), "{name}");
        }
    });
}

#[test]
fn what_comes_to_its_end_is_returned_late_or_not() {
    on_any_workers(|| {
        assert_eq!(timeout(HOUR, || 5), Ok(5));
        assert_eq!(timeout(Duration::ZERO, || 5), Ok(5), "it did not wait");
        assert_eq!(timeout(Duration::MAX, || 5), Ok(5));
        assert_eq!(move_on_after(HOUR, || 5), Some(5));
        assert_eq!(move_on_after(SHORT, || sleep(HOUR)), None);
        assert_eq!(deadline(Instant::now(), || sleep(HOUR)), Err(Elapsed), "a deadline that is past");
        // Nothing is left of them.
        sleep(2 * SHORT);
    });
}

#[test]
fn an_inner_timeout_never_loses_the_outer_one() {
    on_any_workers(|| {
        for (outer, inner) in [(20, 5), (5, 20), (5, 5), (0, 5), (5, 0)] {
            let (outer, inner) = (Duration::from_millis(outer), Duration::from_millis(inner));
            let mut inner_result = None;
            let result = timeout(outer, || {
                inner_result = Some(timeout(inner, || sleep(HOUR)));
                sleep(HOUR);
            });
            assert_eq!(result, Err(Elapsed));
            // The inner one's own limit was reached first, or the outer one's unwound it.
            match inner_result {
                Some(result) => assert_eq!(result, Err(Elapsed)),
                None => assert!(outer <= inner),
            }
        }
    });
}

#[test]
fn many_nested_timeouts_each_end_their_own_code() {
    on_any_workers(|| {
        fn nest(depth: u64) -> u64 {
            if depth == 0 {
                sleep(HOUR);
                return 0;
            }
            // The innermost is the shortest.
            let ended = timeout(Duration::from_millis(30 - depth), || nest(depth - 1));
            match ended {
                Err(Elapsed) => 1,
                Ok(deeper) => {
                    assert_eq!(timeout(Duration::from_millis(1), || sleep(HOUR)), Err(Elapsed));
                    deeper + 1
                }
            }
        }
        assert!((1..=20).contains(&nest(20)));
    });
}

#[test]
fn nested_limits_each_end_exactly_their_own_code_at_exactly_their_time() {
    // (outer, middle, inner) in seconds; which of them ends its code, and when: in each, what follows sleeps for ever.
    let cases = [
        ([9, 6, 3], [9, 6, 3]),
        ([9, 3, 6], [9, 3, 0]),
        ([3, 6, 9], [3, 0, 0]),
        ([3, 9, 6], [3, 0, 0]),
        ([6, 3, 9], [6, 3, 0]),
        ([6, 9, 3], [6, 0, 3]),
        ([5, 5, 5], [5, 5, 5]),
        ([0, 5, 5], [0, 0, 0]),
    ];
    for (limits, expected) in cases {
        simulation::explore(5, move || {
            let [outer, middle, inner] = limits.map(Duration::from_secs);
            let ended = [(); 3].map(|()| AtomicUsize::new(0));
            let began = simulation::elapsed();
            let note = |place: usize| {
                ended[place].store((simulation::elapsed() - began).as_secs() as usize, Ordering::Relaxed);
            };
            let result = timeout(outer, || {
                let result = timeout(middle, || {
                    let result = timeout(inner, || sleep(HOUR));
                    assert_eq!(result, Err(Elapsed));
                    note(2);
                    sleep(HOUR);
                });
                assert_eq!(result, Err(Elapsed));
                note(1);
                sleep(HOUR);
            });
            assert_eq!(result, Err(Elapsed));
            note(0);
            assert_eq!(ended.map(AtomicUsize::into_inner), expected, "{limits:?}");
            // Nothing is left of them.
            sleep(HOUR);
        });
    }
}

#[test]
fn limits_one_after_the_other_do_not_add_up_or_disturb() {
    simulation::explore(20, || {
        let result = timeout(Duration::from_secs(10), || {
            for round in 1..=3 {
                assert_eq!(timeout(Duration::from_secs(2), || sleep(HOUR)), Err(Elapsed));
                assert_eq!(timeout(Duration::from_secs(2), || sleep(Duration::from_secs(1))), Ok(()));
                assert_eq!(simulation::elapsed(), Duration::from_secs(3 * round));
            }
            sleep(HOUR);
        });
        assert_eq!((result, simulation::elapsed()), (Err(Elapsed), Duration::from_secs(10)));
        // Each of many contexts has its own.
        let contexts: Vec<_> = (1..=20)
            .map(|seconds| {
                spawn(move || (timeout(Duration::from_secs(seconds), || sleep(HOUR)), simulation::elapsed()))
            })
            .collect();
        for (handle, seconds) in contexts.into_iter().zip(1..) {
            assert_eq!(handle.join().unwrap(), (Err(Elapsed), Duration::from_secs(10 + seconds)));
        }
    });
}

#[test]
fn who_swallows_the_payload_meets_it_again() {
    on_any_workers(|| {
        let mut met = 0;
        let result = timeout(SHORT, || {
            for _ in 0..5 {
                let payload = catch_unwind(|| sleep(HOUR)).unwrap_err();
                assert!(payload.is::<Cancelled>());
                met += 1;
            }
            sleep(HOUR);
        });
        assert_eq!((result, met), (Err(Elapsed), 5));
    });
}

#[test]
fn a_shield_holds_and_what_is_inside_of_it_still_works() {
    on_any_workers(|| {
        let mut done = false;
        let result = timeout(SHORT, || {
            shield(|| {
                assert_eq!(timeout(SHORT, || sleep(HOUR)), Err(Elapsed), "inside of the shield");
                sleep(4 * SHORT);
                assert!(!cancel::is_requested());
                done = true;
            });
            assert!(cancel::is_requested());
            sleep(HOUR);
        });
        assert_eq!(result, Err(Elapsed));
        assert!(done);
        // Against the handle's request, and against one that was made before.
        let (told, tell) = mpsc::channel();
        let shielded = spawn(move || {
            shield(|| {
                told.send(()).unwrap();
                sleep(4 * SHORT);
                told.send(()).unwrap();
            });
            sleep(HOUR);
        });
        while tell.try_recv().is_err() {
            fibra::yield_now();
        }
        shielded.cancel();
        assert!(shielded.join().unwrap_err().is::<Cancelled>());
        assert!(tell.try_recv().is_ok(), "the shielded part was completed");
    });
}

#[test]
fn cancelling_by_the_handle_is_defined_for_every_state() {
    on_any_workers(|| {
        // Waiting.
        let dropped = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&dropped);
        let waiting = spawn(move || {
            let _guard = OnDrop(|| flag.store(true, Ordering::Relaxed));
            sleep(HOUR);
        });
        sleep(SHORT);
        waiting.cancel();
        waiting.cancel();
        assert!(waiting.join().unwrap_err().is::<Cancelled>());
        assert!(dropped.load(Ordering::Relaxed));
        // Ended.
        let ended = spawn(|| 5);
        while !ended.is_finished() {
            fibra::yield_now();
        }
        ended.cancel();
        assert_eq!(ended.join().unwrap(), 5);
        // Never waits again.
        let (told, tell) = mpsc::channel::<()>();
        let busy = spawn(move || {
            while tell.try_recv().is_err() {
                fibra::yield_now();
            }
            6
        });
        busy.cancel();
        told.send(()).unwrap();
        match busy.join() {
            Ok(value) => assert_eq!(value, 6),
            Err(payload) => assert!(payload.is::<Cancelled>(), "it had not started"),
        }
        // Not started: its closure is dropped, and what that owns.
        let ran = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&ran);
        let later = Builder::new().spawn_after(HOUR, move || flag.store(true, Ordering::Relaxed)).unwrap();
        later.cancel();
        assert!(later.join().unwrap_err().is::<Cancelled>());
        assert!(!ran.load(Ordering::Relaxed));
        assert_eq!(Arc::strong_count(&ran), 1);
    });
}

#[test]
fn one_that_waits_for_its_time_to_start_need_not_wait_when_it_is_cancelled() {
    on_any_workers(|| {
        // From another worker, from an OS thread, and when the worker sleeps already.
        let later: Vec<_> =
            (0..30).map(|_| Builder::new().spawn_after(HOUR, || unreachable!("it ran")).unwrap()).collect();
        let cancelling = later.into_iter().enumerate().map(|(number, later)| match number % 3 {
            0 => spawn(move || {
                later.cancel();
                later.join().unwrap_err()
            }),
            1 => spawn(move || {
                sleep(SHORT);
                later.cancel();
                later.join().unwrap_err()
            }),
            _ => spawn_blocking(move || {
                later.cancel();
                later.join().unwrap_err()
            }),
        });
        for cancelled in cancelling.collect::<Vec<_>>() {
            assert!(cancelled.join().unwrap().is::<Cancelled>());
        }
    });
}

#[test]
fn one_that_was_cancelled_before_it_started_on_one_worker_never_runs() {
    on_workers(1, || {
        let handle = spawn(|| panic!("it ran"));
        handle.cancel();
        assert!(handle.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_job_of_the_pool_can_be_cancelled_where_it_waits() {
    on_any_workers(|| {
        let job = spawn_blocking(|| sleep(HOUR));
        sleep(SHORT);
        job.cancel();
        assert!(job.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn an_unhandled_payload_in_a_destructor_does_not_abort_and_destructors_may_wait() {
    on_any_workers(|| {
        let order = AtomicUsize::new(0);
        let result = timeout(SHORT, || {
            let _outer = OnDrop(|| {
                // Neither the limit, which is long past, nor anything else ends these waits.
                sleep(2 * SHORT);
                spawn(|| sleep(SHORT)).join().unwrap();
                order.store(1, Ordering::Relaxed);
            });
            sleep(HOUR);
        });
        assert_eq!(result, Err(Elapsed));
        assert_eq!(order.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_socket_in_a_destructor_is_waited_for_only_so_long() {
    on_any_workers(|| {
        let (one, _other) = fibra::net::UnixStream::pair().unwrap();
        let mut kind = None;
        let result = timeout(SHORT, || {
            let _guard = OnDrop(|| kind = (&one).read(&mut [0]).err().map(|error| error.kind()));
            sleep(HOUR);
        });
        assert_eq!(result, Err(Elapsed));
        assert!(
            matches!(kind, Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)),
            "{kind:?}"
        );
    });
}

#[test]
fn a_neighbour_is_not_disturbed_by_one_that_unwinds() {
    on_workers(1, || {
        let (told, tell) = mpsc::channel::<()>();
        let unwinding = spawn(move || {
            timeout(SHORT, || {
                let _guard = OnDrop(|| {
                    while tell.try_recv().is_err() {
                        sleep(SHORT);
                    }
                });
                sleep(HOUR);
            })
        });
        sleep(4 * SHORT);
        // Meanwhile std says on this thread that somebody panics: a limit of ours is put off, not lost.
        assert!(std::thread::panicking(), "the other one is suspended in mid-unwind");
        let neighbour = spawn(|| timeout(SHORT, || sleep(HOUR)));
        let (one, mut other) = fibra::net::UnixStream::pair().unwrap();
        let reader = spawn(move || (&one).read(&mut [0; 8]));
        sleep(cancel_bound() + 4 * SHORT);
        std::io::Write::write_all(&mut other, b"late").unwrap();
        assert_eq!(reader.join().unwrap().unwrap(), 4, "an innocent one's reads are not bounded");
        told.send(()).unwrap();
        assert_eq!(unwinding.join().unwrap(), Err(Elapsed));
        assert_eq!(neighbour.join().unwrap(), Err(Elapsed));
    });
}

/// A little more than a destructor may wait for a socket.
fn cancel_bound() -> Duration {
    Duration::from_millis(1100)
}

#[test]
fn a_panic_and_another_s_payload_pass_through() {
    on_any_workers(|| {
        let caught = catch_unwind(|| timeout(HOUR, || resume_unwind(Box::new(7_u8))));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7_u8));
        // The handle's request goes through a region whose time is not up.
        let inner = spawn(|| timeout(HOUR, || sleep(HOUR)));
        sleep(SHORT);
        inner.cancel();
        assert!(inner.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_stop_and_a_timeout_end_their_own_code() {
    on_any_workers(|| {
        let stop = Stop::new();
        let enrolled = stop.enroll();
        let trigger = stop.clone();
        spawn(move || {
            sleep(2 * SHORT);
            trigger.trigger();
        });
        let result = enrolled.interruptible(|| {
            assert_eq!(timeout(SHORT, || sleep(HOUR)), Err(Elapsed));
            let _: Result<(), Elapsed> = timeout(HOUR, || sleep(HOUR));
            unreachable!("the stop unwinds through the timeout");
        });
        assert!(result.is_err());
    });
}

#[test]
fn it_works_on_an_os_thread_too() {
    within(limit::LIMIT, || {
        assert_eq!(timeout(SHORT, || sleep(HOUR)), Err(Elapsed));
        assert_eq!(timeout(SHORT, park), Err(Elapsed));
        assert_eq!(timeout(SHORT, || timeout(HOUR, || sleep(HOUR))), Err(Elapsed));
        let (one, _other) = fibra::net::UnixStream::pair().unwrap();
        assert!(timeout(SHORT, || (&one).read(&mut [0])).is_err(), "a socket");
        assert_eq!(timeout(HOUR, || 5), Ok(5));
        sleep(SHORT);
    });
}

#[test]
fn a_scope_cancels_its_children_with_its_caller_and_by_itself() {
    on_any_workers(|| {
        let ended = AtomicUsize::new(0);
        let child = || {
            let _guard = OnDrop(|| {
                ended.fetch_add(1, Ordering::Relaxed);
            });
            sleep(HOUR);
        };
        let result = timeout(SHORT, || {
            scope(|scope| {
                for _ in 0..10 {
                    scope.spawn(child);
                }
            });
        });
        assert_eq!(result, Err(Elapsed));
        // By itself: the scope's caller is not asked, and goes on.
        let value = scope(|scope| {
            for _ in 0..10 {
                scope.spawn(child);
            }
            sleep(SHORT);
            scope.cancel();
            scope.spawn(|| unreachable!("it is cancelled before it starts"));
            5
        });
        assert_eq!((value, ended.load(Ordering::Relaxed)), (5, 20));
        // One by its handle.
        scope(|scope| {
            let one = scope.spawn(child);
            sleep(SHORT);
            one.cancel();
        });
        assert_eq!(ended.load(Ordering::Relaxed), 21);
    });
}

#[test]
fn the_first_failure_cancels_the_others_where_that_is_asked_for() {
    on_any_workers(|| {
        let ended = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                scope.cancel_on_failure();
                for _ in 0..10 {
                    scope.spawn(|| {
                        let _guard = OnDrop(|| {
                            ended.fetch_add(1, Ordering::Relaxed);
                        });
                        sleep(HOUR);
                    });
                }
                sleep(SHORT);
                scope.spawn(|| resume_unwind(Box::new("failed")));
            })
        }));
        assert!(caught.is_err());
        assert_eq!(ended.load(Ordering::Relaxed), 10);
        // Its own closure counts as well.
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                scope.cancel_on_failure();
                scope.spawn(|| sleep(HOUR));
                resume_unwind(Box::new("failed"))
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"failed"));
    });
}

#[test]
fn code_that_never_waits_can_ask() {
    on_any_workers(|| {
        assert!(!cancel::is_requested());
        cancel::checkpoint();
        let result = timeout(SHORT, || {
            loop {
                cancel::checkpoint();
            }
        });
        assert_eq!(result, Err::<(), _>(Elapsed));
    });
}
