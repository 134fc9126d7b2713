//! Signals arrive where they are waited for, and nowhere else.

use fibra::signal::{self, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, Signals};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::low_level::raise;
use std::cell::Cell;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Signals belong to the process, so those who raise them go one by one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn on_one_worker<T>(main: impl FnOnce() -> T) -> T {
    fibra::Runtime::builder().workers(1).run(main).unwrap()
}

fn send_to_self(signal: Signal) {
    kill_process(rustix::process::getpid(), signal).unwrap();
}

#[test]
fn a_coroutine_waits_for_a_signal_and_the_others_run_on() {
    let _alone = alone();
    on_one_worker(|| {
        let signals = Signals::new(&[SIGUSR1]).unwrap();
        let turns = Rc::new(Cell::new(0));
        let counting = Rc::clone(&turns);
        let other = fibra::spawn_local(move || {
            for _ in 0..10 {
                counting.set(counting.get() + 1);
                fibra::yield_now();
            }
            send_to_self(Signal::USR1);
        });
        assert_eq!(signals.wait(), SIGUSR1);
        assert_eq!(turns.get(), 10);
        other.join().unwrap();
    });
}

#[test]
fn a_signal_that_came_before_the_wait_counts_and_counts_once() {
    let _alone = alone();
    on_one_worker(|| {
        let signals = Signals::new(&[SIGUSR1, SIGUSR2]).unwrap();
        assert_eq!(signals.try_wait(), None);
        raise(SIGUSR2).unwrap();
        raise(SIGUSR1).unwrap();
        raise(SIGUSR1).unwrap();
        let mut both = [signals.wait(), signals.wait()];
        both.sort_unstable();
        assert_eq!(both, [SIGUSR1, SIGUSR2]);
        assert_eq!(signals.try_wait(), None);
        // The byte that was left over is not taken for a signal.
        raise(SIGUSR2).unwrap();
        assert_eq!(signals.iter().next(), Some(SIGUSR2));
    });
}

#[test]
fn every_set_hears_of_a_signal() {
    let _alone = alone();
    on_one_worker(|| {
        let sets: Vec<_> = (0..3).map(|_| Signals::new(&[SIGUSR1, SIGUSR2]).unwrap()).collect();
        let mut waiting: Vec<_> =
            sets.into_iter().map(|set| fibra::spawn(move || (set.wait(), set.wait()))).collect();
        let one = waiting.pop().unwrap();
        fibra::yield_now();
        raise(SIGUSR1).unwrap();
        // Each has had the first before there is a second.
        (0..100).for_each(|_| fibra::yield_now());
        raise(SIGUSR2).unwrap();
        for waiting in waiting.into_iter().chain([one]) {
            let (first, second) = waiting.join().unwrap();
            assert_eq!([first.min(second), first.max(second)], [SIGUSR1, SIGUSR2]);
        }
    });
}

#[test]
fn each_signal_of_a_set_goes_to_one_of_those_who_wait() {
    let _alone = alone();
    fibra::Runtime::builder()
        .workers(2)
        .run(|| {
            let signals = Arc::new(Signals::new(&[SIGUSR1, SIGUSR2]).unwrap());
            for _ in 0..200 {
                let waiting: Vec<_> = (0..2)
                    .map(|_| {
                        let signals = Arc::clone(&signals);
                        fibra::spawn(move || signals.wait())
                    })
                    .collect();
                raise(SIGUSR2).unwrap();
                raise(SIGUSR1).unwrap();
                let mut both: Vec<_> = waiting.into_iter().map(|waiting| waiting.join().unwrap()).collect();
                both.sort_unstable();
                assert_eq!(both, [SIGUSR1, SIGUSR2]);
            }
        })
        .unwrap();
}

#[test]
fn an_os_thread_waits_too() {
    let _alone = alone();
    let signals = Signals::new(&[SIGUSR1]).unwrap();
    let ready = AtomicBool::new(false);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            ready.store(true, Ordering::Release);
            signals.wait()
        });
        while !ready.load(Ordering::Acquire) {
            thread::yield_now();
        }
        send_to_self(Signal::USR1);
        assert_eq!(waiting.join().unwrap(), SIGUSR1);
    });
}

#[test]
fn a_request_to_stop_ends_the_wait() {
    let _alone = alone();
    on_one_worker(|| {
        let stop = fibra::Stop::new();
        let stopped = stop.clone();
        let waiting = fibra::spawn(move || {
            let signals = Signals::new(&[SIGUSR1]).unwrap();
            stopped.enroll().interruptible(|| signals.wait())
        });
        fibra::yield_now();
        stop.trigger();
        assert!(waiting.join().unwrap().is_err());
    });
}

#[test]
fn a_dropped_set_gives_its_descriptors_back_and_the_signal_has_no_effect() {
    let _alone = alone();
    let open = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let ends = |signals: &[i32]| drop(Signals::new(signals).unwrap());
    on_one_worker(|| {
        ends(&[SIGUSR1, SIGUSR2]);
        let before = open();
        (0..100).for_each(|_| ends(&[SIGUSR1, SIGUSR2]));
        // Tests beside this one may open a few.
        assert!(open() < before + 50, "{} descriptors, and {before} before", open());
        raise(SIGUSR1).unwrap();
    });
}

#[test]
fn what_cannot_be_waited_for_is_an_error() {
    let _alone = alone();
    for forbidden in [9, 19, 11, 4, 8] {
        assert_eq!(Signals::new(&[SIGUSR1, forbidden]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
    for no_signal in [0, -1, 1000] {
        assert_eq!(Signals::new(&[SIGUSR1, no_signal]).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}

#[test]
fn a_storm_of_signals_finds_room_on_small_stacks() {
    let _alone = alone();
    fibra::Runtime::builder()
        .workers(2)
        .stack_size(16 * 1024)
        .run(|| {
            let signals = Signals::new(&[SIGUSR1]).unwrap();
            let over = Arc::new(AtomicBool::new(false));
            let working: Vec<_> = (0..4)
                .map(|_| {
                    let over = Arc::clone(&over);
                    fibra::spawn(move || {
                        while !over.load(Ordering::Relaxed) {
                            fibra::yield_now();
                        }
                    })
                })
                .collect();
            let sending = fibra::spawn_blocking(|| (0..2000).for_each(|_| send_to_self(Signal::USR1)));
            sending.join().unwrap();
            assert_eq!(signals.wait(), SIGUSR1);
            over.store(true, Ordering::Relaxed);
            working.into_iter().for_each(|working| working.join().unwrap());
        })
        .unwrap();
}

/// A process of its own, which has said that it listens: this very test, which in there finds the variable.
fn child(test: &str) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("FIBRA_TEST_CHILD", test)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.as_mut().unwrap());
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child has ended");
    }
    child
}

fn is_child() -> bool {
    std::env::var_os("FIBRA_TEST_CHILD").is_some()
}

/// Sends a signal and returns what the child said then, and whether it ended well.
fn end(mut child: Child, signal: Signal) -> (String, Option<i32>) {
    kill_process(Pid::from_child(&child), signal).unwrap();
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    (said, child.wait().unwrap().signal())
}

#[test]
fn interrupt_and_terminate_end_the_wait_for_the_end() {
    const NAME: &str = "interrupt_and_terminate_end_the_wait_for_the_end";
    if is_child() {
        let signal = on_one_worker(|| {
            // What is printed by then has been said after the handlers were there.
            fibra::spawn(|| println!("listening"));
            signal::terminated().unwrap()
        });
        println!("ended by {signal}");
        return;
    }
    for (signal, number) in [(Signal::INT, SIGINT), (Signal::TERM, SIGTERM)] {
        let (said, killed) = end(child(NAME), signal);
        assert!(said.contains(&format!("ended by {number}")), "{said}");
        assert_eq!(killed, None);
    }
}

#[test]
fn a_signal_that_nobody_waits_for_has_its_usual_effect() {
    const NAME: &str = "a_signal_that_nobody_waits_for_has_its_usual_effect";
    if is_child() {
        on_one_worker(|| {
            let signals = Signals::new(&[SIGINT]).unwrap();
            println!("listening");
            signals.wait();
        });
        return;
    }
    let (_, killed) = end(child(NAME), Signal::TERM);
    assert_eq!(killed, Some(SIGTERM));
}
