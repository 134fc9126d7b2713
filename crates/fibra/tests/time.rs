//! Sleeping, timers and clocks.

mod limit;

use fibra::time::Clock;
use fibra::{Builder, Reason, Runtime, park_timeout, sleep, sleep_until, spawn};
use fibra_context::arena::GuardKind;
use limit::{on_any_workers, on_workers, within};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn nobody_wakes_early() {
    on_any_workers(|| {
        let sleepers: Vec<_> = (0..400_u64)
            .map(|n| {
                spawn(move || {
                    // Around the milliseconds and the wheel's ticks, which the kernel's calls and the slots round to.
                    let duration = Duration::from_nanos(n * 63_977 + n % 7);
                    for _ in 0..3 {
                        let began = Instant::now();
                        sleep(duration);
                        assert!(began.elapsed() >= duration);
                    }
                })
            })
            .collect();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
    });
}

#[test]
fn sleepers_wake_in_the_order_of_their_deadlines() {
    on_workers(1, || {
        let order = Arc::new(Mutex::new(Vec::new()));
        let base = Instant::now() + Duration::from_millis(20);
        let sleepers: Vec<_> = [7_u64, 3, 9, 1, 1, 5, 0, 8]
            .into_iter()
            .map(|n| {
                let order = Arc::clone(&order);
                spawn(move || {
                    sleep_until(base + Duration::from_micros(n * 300));
                    order.lock().unwrap().push(n);
                })
            })
            .collect();
        sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 1, 1, 3, 5, 7, 8, 9]);
    });
}

#[test]
fn sleeping_until_a_time_that_has_passed_returns() {
    on_any_workers(|| {
        let past = Instant::now();
        for _ in 0..1000 {
            sleep_until(past);
            sleep(Duration::ZERO);
        }
    });
}

#[test]
fn a_hundred_thousand_sleep_at_the_same_time() {
    // Guards of mappings end sooner, and there must be stacks for the tests beside this one.
    let count = match fibra_context::arena::guard_kind() {
        GuardKind::Lightweight => 100_000_u64,
        GuardKind::Mprotect => 10_000,
    };
    for workers in [1, 2] {
        on_workers(workers, move || {
            let woken = Arc::new(AtomicUsize::new(0));
            let sleepers: Vec<_> = (0..count)
                .map(|n| {
                    let woken = Arc::clone(&woken);
                    spawn(move || {
                        let began = Instant::now();
                        let duration = Duration::from_micros(n * 7 % 100_003);
                        sleep(duration);
                        assert!(began.elapsed() >= duration);
                        woken.fetch_add(1, Ordering::Relaxed);
                    })
                })
                .collect();
            sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
            assert_eq!(woken.load(Ordering::Relaxed), count as usize);
        });
    }
}

#[test]
fn timers_of_waits_that_ended_otherwise_do_not_fire_later() {
    on_any_workers(|| {
        for _ in 0..200 {
            let main = fibra::current();
            let waker = spawn(move || main.unpark());
            // The timer is still in the wheel when the token comes, or fires at the same time.
            let _ = park_timeout(Duration::from_micros(50));
            waker.join().unwrap();
            // Takes the token, if it came late.
            let _ = park_timeout(Duration::ZERO);
            let began = Instant::now();
            assert_eq!(park_timeout(Duration::from_micros(500)), Reason::TimedOut);
            assert!(began.elapsed() >= Duration::from_micros(500));
        }
    });
}

#[test]
fn a_sleep_without_end_does_not_overflow() {
    on_any_workers(|| {
        let never = Builder::new().daemon(true).spawn(|| sleep(Duration::MAX)).unwrap();
        let far = Builder::new().daemon(true).spawn(|| sleep(Duration::from_secs(1 << 40))).unwrap();
        sleep(Duration::from_millis(5));
        assert!(!never.is_finished() && !far.is_finished());
    });
}

#[test]
fn a_busy_worker_still_looks_at_its_timers() {
    on_workers(1, || {
        let woken = Arc::new(AtomicUsize::new(0));
        let told = Arc::clone(&woken);
        spawn(move || {
            sleep(Duration::from_millis(5));
            told.store(1, Ordering::Relaxed);
        });
        while woken.load(Ordering::Relaxed) == 0 {
            fibra::yield_now();
        }
    });
}

#[test]
fn os_threads_sleep_too() {
    within(limit::LIMIT, || {
        let began = Instant::now();
        sleep(Duration::from_millis(3));
        assert!(began.elapsed() >= Duration::from_millis(3));
        sleep_until(began + Duration::from_millis(6));
        assert!(began.elapsed() >= Duration::from_millis(6));
        sleep_until(began);
    });
}

/// Time that passes only when nobody can run.
struct Skipping {
    began: Instant,
    nanos: Arc<AtomicU64>,
}

impl Clock for Skipping {
    fn now(&self) -> Instant {
        self.began + Duration::from_nanos(self.nanos.load(Ordering::Relaxed))
    }

    fn until(&self, deadline: Instant) -> Duration {
        let nanos = deadline.saturating_duration_since(self.began).as_nanos() as u64;
        self.nanos.fetch_max(nanos, Ordering::Relaxed);
        Duration::ZERO
    }
}

#[test]
fn with_a_clock_of_its_own_a_runtime_sleeps_for_a_day_in_no_time() {
    let passed = within(limit::LIMIT, || {
        let nanos = Arc::new(AtomicU64::new(0));
        let clock = Skipping { began: Instant::now(), nanos: Arc::clone(&nanos) };
        let order = Runtime::builder()
            .workers(1)
            .clock(clock)
            .run(|| {
                let order = Arc::new(Mutex::new(Vec::new()));
                let sleepers: Vec<_> = (0..24_u64)
                    .rev()
                    .map(|hour| {
                        let order = Arc::clone(&order);
                        spawn(move || {
                            sleep(Duration::from_secs(hour * 3600));
                            order.lock().unwrap().push(hour);
                        })
                    })
                    .collect();
                assert_eq!(park_timeout(Duration::from_secs(90)), Reason::TimedOut);
                let later = fibra::spawn_after(Duration::from_secs(7200), || ());
                let later = later.join_timeout(Duration::from_secs(3600)).expect_err("an hour too early");
                later.join().unwrap();
                sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
                Arc::try_unwrap(order).unwrap().into_inner().unwrap()
            })
            .unwrap();
        assert_eq!(order, (0..24).collect::<Vec<_>>());
        Duration::from_nanos(nanos.load(Ordering::Relaxed))
    });
    assert_eq!(passed, Duration::from_secs(23 * 3600), "and no longer than asked for");
}

/// A clock that is slow to read, so that a worker takes long from its last look at what has come to its sleep.
struct Slow;

impl Clock for Slow {
    fn now(&self) -> Instant {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(200) {}
        Instant::now()
    }

    fn until(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(Instant::now())
    }
}

#[test]
fn a_task_that_comes_as_the_worker_falls_asleep_is_not_slept_over() {
    within(limit::LIMIT, || {
        let runtime = Runtime::builder().workers(1).clock(Slow).build().unwrap();
        // With a timer in the wheel the worker asks for the time before it sleeps.
        runtime.spawn_with(Builder::new().daemon(true), || sleep(Duration::from_secs(3600))).unwrap();
        let mut slept_over = 0;
        for round in 0..400 {
            let began = Instant::now();
            let task = runtime.spawn(|| ());
            while !task.is_finished() {
                thread::yield_now();
            }
            // Without a ring the worker wakes half a second later at the best, to give memory back.
            slept_over += u32::from(began.elapsed() > Duration::from_millis(400));
            let pause = Instant::now();
            while pause.elapsed() < Duration::from_micros(round % 500) {}
        }
        assert!(slept_over < 20, "{slept_over} of 400");
    });
}

#[test]
fn a_clock_that_waits_does_not_take_the_wake_up_of_who_asks_it() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    static WAITS: AtomicBool = AtomicBool::new(false);
    static PUT: AtomicBool = AtomicBool::new(false);
    struct Waiting;
    impl Clock for Waiting {
        fn now(&self) -> Instant {
            if ASKED.swap(false, Ordering::SeqCst) {
                WAITS.store(true, Ordering::SeqCst);
                while !PUT.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                // The wake-up has come for the coroutine that asks.
                park_timeout(Duration::from_millis(1));
            }
            Instant::now()
        }
    }
    let got = within(limit::LIMIT, || {
        let queue = Arc::new(fibra::queue::Queue::unbounded());
        let putter = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                while !WAITS.load(Ordering::SeqCst) {
                    thread::yield_now();
                }
                queue.put(7).unwrap();
                PUT.store(true, Ordering::SeqCst);
            }
        });
        let got = Runtime::builder().workers(1).clock(Waiting).run(move || {
            let stop = fibra::Stop::new();
            let enrolled = stop.enroll();
            spawn(move || {
                ASKED.store(true, Ordering::SeqCst);
                stop.trigger();
            });
            // When the request ends the wait, it is asked whether it was the time.
            enrolled.interruptible(|| fibra::timeout(Duration::from_secs(3600), || queue.get()))
        });
        putter.join().unwrap();
        got.unwrap()
    });
    assert_eq!(got, Ok(Ok(Ok(7))));
}
