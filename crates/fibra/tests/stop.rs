//! Requests to stop.

mod limit;

use fibra::{Builder, Cancelled, Reason, Stop, park, park_timeout, sleep, spawn};
use fibra_context::Generator;
use limit::{on_any_workers, on_workers, within};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_request_ends_every_wait_that_listens_and_no_other() {
    on_any_workers(|| {
        let stop = Stop::new();
        let listening: Vec<_> = (0..20)
            .map(|n| {
                let stop = stop.clone();
                spawn(move || {
                    stop.enroll().interruptible(|| match n % 4 {
                        0 => sleep(HOUR),
                        1 => park(),
                        2 => drop(park_timeout(HOUR)),
                        _ => drop(Builder::new().daemon(true).spawn_after(HOUR, || ()).unwrap().join()),
                    })
                })
            })
            .collect();
        let enrolled_only = {
            let stop = stop.clone();
            spawn(move || {
                let _enrolled = stop.enroll();
                park_timeout(Duration::from_millis(30))
            })
        };
        let others = spawn(|| park_timeout(Duration::from_millis(30)));
        sleep(Duration::from_millis(5));
        stop.trigger();
        for handle in listening {
            assert!(handle.join().unwrap().is_err());
        }
        assert_eq!(enrolled_only.join().unwrap(), Reason::TimedOut);
        assert_eq!(others.join().unwrap(), Reason::TimedOut);
    });
}

#[test]
fn a_request_that_was_made_before_is_met_at_the_first_wait() {
    on_any_workers(|| {
        let stop = Stop::new();
        stop.trigger();
        assert!(stop.is_triggered());
        let enrolled = stop.enroll();
        assert_eq!(enrolled.interruptible(|| 5), Ok(5), "no wait, no interruption");
        for _ in 0..3 {
            assert!(enrolled.interruptible(|| sleep(HOUR)).is_err());
        }
        // Outside of a region nothing is interrupted.
        sleep(Duration::from_millis(1));
    });
}

#[test]
fn who_catches_a_request_meets_it_again() {
    on_any_workers(|| {
        let stop = Stop::new();
        let listener = stop.clone();
        let stubborn = spawn(move || {
            let mut caught = 0;
            let result = listener.enroll().interruptible(|| {
                for _ in 0..5 {
                    let payload = catch_unwind(|| sleep(HOUR)).unwrap_err();
                    assert!(payload.is::<Cancelled>());
                    caught += 1;
                }
                "goes on all the same"
            });
            (caught, result)
        });
        sleep(Duration::from_millis(2));
        stop.trigger();
        assert_eq!(stubborn.join().unwrap(), (5, Ok("goes on all the same")));
    });
}

#[test]
fn destructors_run_and_may_wait_while_a_request_unwinds() {
    struct Waits(Arc<AtomicUsize>);
    impl Drop for Waits {
        fn drop(&mut self) {
            let began = Instant::now();
            sleep(Duration::from_millis(3));
            assert!(began.elapsed() >= Duration::from_millis(3));
            spawn(fibra::yield_now).join().unwrap();
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    on_any_workers(|| {
        let (stop, dropped) = (Stop::new(), Arc::new(AtomicUsize::new(0)));
        let handles: Vec<_> = (0..10)
            .map(|_| {
                let (stop, dropped) = (stop.clone(), Arc::clone(&dropped));
                spawn(move || {
                    stop.enroll().interruptible(|| {
                        let _waits = Waits(dropped);
                        sleep(HOUR);
                    })
                })
            })
            .collect();
        sleep(Duration::from_millis(2));
        stop.trigger();
        for handle in handles {
            assert!(handle.join().unwrap().is_err());
        }
        assert_eq!(dropped.load(Ordering::Relaxed), 10);
    });
}

#[test]
fn a_request_reaches_those_who_began_to_wait_while_a_neighbour_was_unwinding() {
    struct Waits(Duration);
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(self.0);
        }
    }
    on_workers(1, || {
        let stop = Stop::new();
        let (before, during) = (Duration::from_millis(5), Duration::from_millis(15));
        // Suspended in the middle of a panic.
        let unwinding = spawn(move || {
            let _waits = Waits(before + during);
            std::panic::resume_unwind(Box::new(()));
        });
        sleep(before / 2);
        let listeners: Vec<_> = (0..4)
            .map(|n| {
                let stop = stop.clone();
                spawn(move || {
                    assert!(thread::panicking(), "std's count is the thread's");
                    stop.enroll().interruptible(|| if n % 2 == 0 { park() } else { sleep(HOUR) })
                })
            })
            .collect();
        fibra::yield_now();
        // While the neighbour unwinds, and afterwards.
        stop.trigger();
        sleep(before);
        assert!(listeners.iter().all(|listener| !listener.is_finished()), "it is put off");
        assert!(unwinding.join().is_err());
        for listener in listeners {
            assert!(listener.join().unwrap().is_err());
        }
    });
}

#[test]
fn a_request_that_comes_after_a_neighbour_has_unwound_reaches_who_waited_meanwhile() {
    struct Waits;
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(Duration::from_millis(10));
        }
    }
    on_workers(1, || {
        let stop = Stop::new();
        let unwinding = spawn(|| {
            let _waits = Waits;
            std::panic::resume_unwind(Box::new(()));
        });
        sleep(Duration::from_millis(2));
        let listener = stop.clone();
        let listener = spawn(move || listener.enroll().interruptible(park));
        assert!(unwinding.join().is_err());
        sleep(Duration::from_millis(2));
        assert!(!thread::panicking());
        stop.trigger();
        assert!(listener.join().unwrap().is_err());
    });
}

#[test]
fn threads_are_interrupted_too() {
    within(limit::LIMIT, || {
        let stop = Stop::new();
        let threads: Vec<_> = (0..4)
            .map(|n| {
                let stop = stop.clone();
                thread::spawn(move || {
                    stop.enroll().interruptible(|| match n {
                        0 => park(),
                        1 => sleep(HOUR),
                        2 => drop(park_timeout(HOUR)),
                        _ => drop(fibra::spawn_after(HOUR, || ()).join()),
                    })
                })
            })
            .collect();
        thread::sleep(Duration::from_millis(5));
        stop.trigger();
        for thread in threads {
            assert!(thread.join().unwrap().is_err());
        }
    });
}

#[test]
fn a_result_that_is_there_counts_more_than_a_request() {
    on_any_workers(|| {
        let stop = Stop::new();
        let enrolled = stop.enroll();
        let ended = spawn(|| 5);
        while !ended.is_finished() {
            fibra::yield_now();
        }
        fibra::current().unpark();
        stop.trigger();
        let result = enrolled.interruptible(|| {
            park();
            ended.join().unwrap()
        });
        assert_eq!(result, Ok(5));
    });
}

#[test]
fn an_enrollment_that_ends_takes_its_request_with_it() {
    on_any_workers(|| {
        let (first, second) = (Stop::new(), Stop::new());
        first.trigger();
        drop(first.enroll());
        let enrolled = second.enroll();
        assert_eq!(enrolled.interruptible(|| sleep(Duration::from_millis(1))), Ok(()));
    });
}

#[test]
fn other_panics_pass_through_a_region() {
    on_any_workers(|| {
        let enrolled = Stop::new().enroll();
        let caught = catch_unwind(AssertUnwindSafe(|| enrolled.interruptible(|| std::panic::panic_any(3))));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&3));
        // And leave it closed behind them.
        enrolled.stop().trigger();
        sleep(Duration::from_millis(1));
    });
}

#[test]
fn one_of_two_enrolments_that_ends_leaves_the_request_to_the_other() {
    on_any_workers(|| {
        let stop = Stop::new();
        let outer = stop.enroll();
        stop.trigger();
        drop(stop.enroll());
        assert!(outer.interruptible(|| sleep(HOUR)).is_err());
        let other = Stop::new();
        other.trigger();
        drop(other.enroll());
        assert!(outer.interruptible(|| sleep(HOUR)).is_err());
    });
}

#[test]
fn a_request_reaches_the_region_that_listens_to_it_and_no_other() {
    on_any_workers(|| {
        let (one, other) = (Stop::new(), Stop::new());
        let (first, second) = (one.enroll(), other.enroll());
        one.trigger();
        // Not within a region of the first: this sleep is none of its business, before it begins and while it lasts.
        assert!(second.interruptible(|| sleep(Duration::from_millis(5))).is_ok());
        let third = Stop::new();
        let listening = third.enroll();
        let later = third.clone();
        let trigger = spawn(move || later.trigger());
        assert!(second.interruptible(|| sleep(Duration::from_millis(20))).is_ok());
        trigger.join().unwrap();
        // Within one, at whatever depth, it goes up to the region that it is for.
        let inner = AtomicBool::new(false);
        let result = first.interruptible(|| {
            let _ = second.interruptible(|| sleep(HOUR));
            inner.store(true, Ordering::Relaxed);
        });
        assert!(result.is_err());
        assert!(!inner.load(Ordering::Relaxed), "the inner region is another's");
        drop(listening);
        assert!(second.interruptible(|| sleep(Duration::from_millis(1))).is_ok());
        other.trigger();
        assert!(second.interruptible(|| sleep(HOUR)).is_err());
    });
}

/// A generator is suspended inside a region, and resumed by a coroutine that has none.
#[test]
fn a_region_that_ends_in_another_coroutine_leaves_the_first_alone() {
    on_any_workers(|| {
        let stop = Stop::new();
        let inside = stop.clone();
        let mut generator = Generator::<(), (), ()>::new(move |suspend, ()| {
            let enrolled = inside.enroll();
            let _ = enrolled.interruptible(|| suspend.suspend(()));
        });
        let generator = {
            let _ = generator.resume(());
            Rc::new(RefCell::new(generator))
        };
        let taken = Rc::clone(&generator);
        fibra::spawn_local(move || {
            let _ = taken.borrow_mut().resume(());
            fibra::yield_now();
        })
        .join()
        .unwrap();
        stop.trigger();
        sleep(Duration::from_millis(1));
    });
}

#[test]
fn a_place_that_was_handed_to_another_coroutine_ends_the_waits_of_that_one() {
    on_any_workers(|| {
        let stop = Stop::new();
        let enrolled = stop.enroll();
        let other = fibra::spawn_local(move || enrolled.interruptible(|| sleep(HOUR)));
        fibra::yield_now();
        stop.trigger();
        assert!(other.join().unwrap().is_err());
    });
}
