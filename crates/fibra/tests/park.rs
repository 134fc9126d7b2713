//! Parking and waking: tokens, timeouts, coroutines and OS threads.

mod limit;

use fibra::{Builder, Context, Reason, Runtime, park, park_timeout, spawn, spawn_local};
use limit::{on_any_workers, on_workers, within};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_token_that_came_first_ends_the_next_park() {
    on_any_workers(|| {
        fibra::current().unpark();
        park();
        assert_eq!(park_timeout(Duration::from_millis(2)), Reason::TimedOut, "it is used up");
    });
}

#[test]
fn tokens_are_not_counted() {
    on_any_workers(|| {
        let here = fibra::current();
        here.unpark();
        here.unpark();
        here.unpark();
        assert_eq!(park_timeout(Duration::from_secs(60)), Reason::Woken);
        assert_eq!(park_timeout(Duration::from_millis(2)), Reason::TimedOut);
    });
}

#[test]
fn a_token_outlasts_waits_for_other_things() {
    on_any_workers(|| {
        let began = Instant::now();
        fibra::current().unpark();
        fibra::sleep(Duration::from_millis(10));
        assert!(began.elapsed() >= Duration::from_millis(10), "a sleep is not ended by it");
        spawn(fibra::yield_now).join().unwrap();
        fibra::yield_now();
        assert_eq!(park_timeout(Duration::from_secs(60)), Reason::Woken);
    });
}

#[test]
fn park_timeout_says_why_it_ended() {
    on_any_workers(|| {
        let began = Instant::now();
        assert_eq!(park_timeout(Duration::from_millis(5)), Reason::TimedOut);
        assert!(began.elapsed() >= Duration::from_millis(5));
        assert_eq!(park_timeout(Duration::ZERO), Reason::TimedOut);
        let main = fibra::current();
        spawn(move || main.unpark());
        assert_eq!(park_timeout(Duration::from_secs(60)), Reason::Woken);
    });
}

#[test]
fn an_endless_timeout_is_no_timeout() {
    on_any_workers(|| {
        let main = fibra::current();
        spawn(move || {
            fibra::sleep(Duration::from_millis(2));
            main.unpark();
        });
        assert_eq!(park_timeout(Duration::MAX), Reason::Woken);
    });
}

#[test]
fn waking_one_that_has_ended_does_nothing() {
    on_any_workers(|| {
        let ended = spawn(|| ());
        let context = ended.context();
        ended.join().unwrap();
        context.unpark();
        // The same for a thread.
        let (send, receive) = std::sync::mpsc::channel();
        thread::spawn(move || send.send(fibra::current()).unwrap()).join().unwrap();
        let context = receive.recv().unwrap();
        assert!(!context.is_coroutine());
        context.unpark();
    });
}

#[test]
fn one_that_has_not_started_keeps_the_token() {
    on_workers(1, || {
        let later = spawn(park);
        later.context().unpark();
        later.join().unwrap();
    });
}

/// The two take turns, so that each wake-up matters.
fn take_turns(turn: &AtomicUsize, mine: usize, other: &Context, rounds: usize) {
    for round in 0..rounds {
        while turn.load(Ordering::Acquire) != 2 * round + mine {
            park();
        }
        turn.store(2 * round + mine + 1, Ordering::Release);
        other.unpark();
    }
}

fn take_turns_with_a_thread() {
    let turn = Arc::new(AtomicUsize::new(0));
    let (shared, main) = (Arc::clone(&turn), fibra::current());
    let (send, receive) = std::sync::mpsc::channel();
    let other = thread::spawn(move || {
        send.send(fibra::current()).unwrap();
        take_turns(&shared, 1, &main, 10_000);
    });
    take_turns(&turn, 0, &receive.recv().unwrap(), 10_000);
    other.join().unwrap();
}

#[test]
fn coroutines_of_one_worker_take_turns() {
    on_workers(1, || {
        let turn = Arc::new(AtomicUsize::new(0));
        let (shared, main) = (Arc::clone(&turn), fibra::current());
        let other = spawn(move || take_turns(&shared, 1, &main, 100_000));
        take_turns(&turn, 0, &other.context(), 100_000);
        other.join().unwrap();
    });
}

#[test]
fn coroutines_of_different_workers_take_turns() {
    within(limit::LIMIT, || {
        let runtimes: Vec<_> = (0..2).map(|_| Runtime::builder().workers(1).build().unwrap()).collect();
        let turn = Arc::new(AtomicUsize::new(0));
        let contexts: Arc<std::sync::Mutex<Vec<Option<Context>>>> =
            Arc::new(std::sync::Mutex::new(vec![None, None]));
        let handles: Vec<_> = (0..2)
            .map(|mine| {
                let (turn, contexts) = (Arc::clone(&turn), Arc::clone(&contexts));
                runtimes[mine].spawn(move || {
                    let other = loop {
                        if let Some(other) = &contexts.lock().unwrap()[1 - mine] {
                            break other.clone();
                        }
                        fibra::yield_now();
                    };
                    take_turns(&turn, mine, &other, 20_000);
                })
            })
            .collect();
        *contexts.lock().unwrap() = handles.iter().map(|handle| Some(handle.context())).collect();
        handles.into_iter().for_each(|handle| handle.join().unwrap());
    });
}

#[test]
fn a_coroutine_and_a_thread_take_turns() {
    on_any_workers(take_turns_with_a_thread);
}

#[test]
fn two_threads_take_turns() {
    within(limit::LIMIT, take_turns_with_a_thread);
}

#[test]
fn many_wakers_lose_no_wake_up() {
    on_any_workers(|| {
        let count = Arc::new(AtomicUsize::new(0));
        let main = fibra::current();
        let coroutines: Vec<_> = (0..50)
            .map(|_| {
                let (count, main) = (Arc::clone(&count), main.clone());
                spawn(move || {
                    for _ in 0..200 {
                        count.fetch_add(1, Ordering::AcqRel);
                        main.unpark();
                        fibra::yield_now();
                    }
                })
            })
            .collect();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let (count, main) = (Arc::clone(&count), main.clone());
                thread::spawn(move || {
                    for _ in 0..5000 {
                        count.fetch_add(1, Ordering::AcqRel);
                        main.unpark();
                    }
                })
            })
            .collect();
        while count.load(Ordering::Acquire) < 20_000 {
            park();
        }
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_coroutine_whose_token_is_always_there_lets_others_run() {
    on_workers(1, || {
        let over = Rc::new(Cell::new(false));
        let told = Rc::clone(&over);
        spawn_local(move || told.set(true));
        while !over.get() {
            fibra::current().unpark();
            park();
        }
    });
}

#[test]
fn thousands_park_and_are_woken_by_a_thread() {
    on_any_workers(|| {
        let woken = Arc::new(AtomicUsize::new(0));
        let parked: Vec<_> = (0..5000)
            .map(|_| {
                let woken = Arc::clone(&woken);
                spawn(move || {
                    park();
                    woken.fetch_add(1, Ordering::Relaxed);
                })
            })
            .collect();
        let contexts: Vec<_> = parked.iter().map(|handle| handle.context()).collect();
        let waker = thread::spawn(move || contexts.iter().for_each(Context::unpark));
        parked.into_iter().for_each(|handle| handle.join().unwrap());
        waker.join().unwrap();
        assert_eq!(woken.load(Ordering::Relaxed), 5000);
    });
}

#[test]
fn a_thread_that_ends_right_after_it_was_woken_is_not_touched_any_more() {
    within(limit::LIMIT, || {
        for _ in 0..2000 {
            let (send, receive) = std::sync::mpsc::channel();
            let parked = thread::spawn(move || {
                send.send(fibra::current()).unwrap();
                park();
            });
            receive.recv().unwrap().unpark();
            parked.join().unwrap();
        }
    });
}

#[test]
fn a_worker_that_sleeps_is_woken_for_one_of_its_coroutines() {
    within(limit::LIMIT, || {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (send, receive) = std::sync::mpsc::channel();
        let over = Arc::clone(&stop);
        let parked = runtime
            .spawn_with(Builder::new(), move || {
                while !over.load(Ordering::Acquire) {
                    park();
                    send.send(()).unwrap();
                }
            })
            .unwrap();
        for _ in 0..200 {
            // Long enough for the worker to sleep, now and then.
            thread::sleep(Duration::from_micros(300));
            parked.context().unpark();
            receive.recv().unwrap();
        }
        stop.store(true, Ordering::Release);
        parked.context().unpark();
        parked.join().unwrap();
    });
}
