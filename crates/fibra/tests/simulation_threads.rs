//! Threads of `fibra::thread` in a simulation: the time waits for them, and they wait for the time.

mod limit;
mod simulated;

use fibra::queue::Queue;
use fibra::simulation::elapsed;
use fibra::sync::Event;
use fibra::thread::Builder;
use fibra::{Reason, park, park_timeout, scope, sleep, spawn, timeout};
use simulated::{failure, simulated};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const NANO: Duration = Duration::from_nanos(1);
/// Of the real time.
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn no_timeout_overtakes_a_thread_that_works() {
    simulated(|| {
        let joined = timeout(NANO, || fibra::thread::spawn(|| thread::sleep(SHORT)).join().unwrap());
        assert_eq!(joined, Ok(()), "one that is joined");
        let event = Arc::new(Event::new());
        let set = Arc::clone(&event);
        drop(fibra::thread::spawn(move || {
            thread::sleep(SHORT);
            spawn(move || set.set());
        }));
        assert!(event.wait_timeout(NANO), "what a thread has spawned");
        // By the library's means, but it wakes by itself.
        let slept = timeout(NANO, || fibra::thread::spawn(|| sleep(SHORT)).join().unwrap());
        assert_eq!(slept, Ok(()), "one that sleeps");
        let scoped = scope(|scope| {
            let thread = Builder::new().spawn_scoped(scope, || thread::sleep(SHORT)).unwrap();
            timeout(NANO, || thread.join().unwrap())
        });
        assert_eq!(scoped, Ok(()), "one that borrows");
        assert_eq!(elapsed(), Duration::ZERO);
        sleep(HOUR);
        assert_eq!(elapsed(), HOUR, "nothing is held for when they have ended");
    });
}

#[test]
fn who_waits_for_no_one_but_a_thread_is_not_taken_for_waiting_in_vain() {
    simulated(|| {
        for _ in 0..50 {
            let thread = fibra::thread::spawn(|| thread::sleep(Duration::from_micros(200)));
            thread.join().unwrap();
        }
    });
    // Nor is it the end when only the thread is left.
    simulated(|| drop(fibra::thread::spawn(|| thread::sleep(SHORT))));
}

#[test]
fn the_time_does_not_wait_for_a_thread_that_waits_for_a_coroutine() {
    simulated(|| {
        let queue = Arc::new(Queue::unbounded());
        let putter = {
            let queue = Arc::clone(&queue);
            spawn(move || {
                for hour in 1..=24_u32 {
                    sleep(HOUR);
                    queue.put(hour).unwrap();
                    // What the thread does between two waits takes no time.
                    assert_eq!(elapsed(), HOUR * hour);
                }
            })
        };
        let getter = fibra::thread::spawn(move || {
            for hour in 1..=24 {
                assert_eq!(queue.get(), Ok(hour));
                thread::sleep(Duration::from_micros(100));
            }
            // It spawns, and waits for that.
            spawn(|| sleep(HOUR)).join().unwrap();
        });
        getter.join().unwrap();
        putter.join().unwrap();
        assert_eq!(elapsed(), 25 * HOUR);
    });
}

#[test]
fn a_wait_with_a_limit_that_is_woken_leaves_no_hold_behind() {
    simulated(|| {
        for _ in 0..50 {
            let thread = fibra::thread::spawn(|| park_timeout(HOUR));
            thread.context().unpark();
            assert_eq!(thread.join().unwrap(), Reason::Woken);
            let thread = fibra::thread::spawn(|| park_timeout(Duration::from_micros(100)));
            assert_eq!(thread.join().unwrap(), Reason::TimedOut);
            let thread = fibra::thread::spawn(park);
            thread.cancel();
            assert!(thread.join().is_err());
        }
        sleep(HOUR);
        assert_eq!(elapsed(), HOUR);
    });
}

#[test]
fn a_thread_that_waits_in_vain_is_reported_and_unwound() {
    let text = failure(|| {
        let thread = Builder::new().name("in vain").spawn(|| Event::new().wait()).unwrap();
        let _ = thread.join();
    });
    assert!(text.starts_with("deadlock"), "{text}");
    assert!(text.contains("'main' waits for Join"), "{text}");
    assert!(text.contains("'in vain', a thread, waits for Event"), "{text}");
}

#[test]
fn a_daemon_holds_nothing_and_the_report_says_what_does() {
    let text = failure(|| {
        let (_send, receive) = std::sync::mpsc::channel::<()>();
        let daemon = Builder::new().daemon(true).spawn(move || receive.recv_timeout(10 * SHORT));
        let _ = daemon.unwrap().join();
    });
    assert!(text.contains("'main' waits for Join") && text.contains("simulation::hold"), "{text}");
    assert!(!text.contains("a thread, "), "it works: {text}");
}
