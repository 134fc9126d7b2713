//! What reaches an event loop from outside: other threads, signals, the ends of children.

use fibra::event_loop::EventLoop;
use fibra::signal::{SIGUSR1, SIGUSR2};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use rustix::time::{ClockId, clock_gettime};
use std::cell::Cell;
use std::io::ErrorKind;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(2);

/// Signals belong to the process, so those who raise them go one by one.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn a_loop_that_sleeps_is_woken_by_another_thread() {
    let mut events = EventLoop::with_data(0).unwrap();
    let remote = events.remote();
    let thread = thread::spawn(move || {
        for _ in 0..20 {
            let (sender, receiver) = std::sync::mpsc::channel();
            remote
                .call_soon(move |events| {
                    events.data += 1;
                    sender.send(()).unwrap();
                })
                .unwrap();
            // So each finds the loop asleep, or about to.
            receiver.recv().unwrap();
        }
        remote.stop();
    });
    events.run().unwrap();
    assert_eq!(events.data, 20);
    thread.join().unwrap();
}

#[test]
fn in_a_storm_from_many_threads_nothing_is_lost_and_each_ones_order_is_kept() {
    const THREADS: usize = 4;
    const EACH: usize = 5_000;
    let mut events = EventLoop::with_data(vec![0; THREADS]).unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let remote = events.remote();
            thread::spawn(move || {
                for number in 0..EACH {
                    let call = move |events: &mut EventLoop<Vec<usize>>| {
                        assert_eq!(events.data[thread], number);
                        events.data[thread] += 1;
                    };
                    remote.call_soon(call).unwrap();
                }
            })
        })
        .collect();
    events.on_panic(|_, panic| std::panic::resume_unwind(panic.payload));
    // It ends because the threads have dropped their handles.
    events.run().unwrap();
    assert_eq!(events.data, vec![EACH; THREADS]);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn the_last_remote_that_is_dropped_ends_a_loop_that_waits_for_nothing_else() {
    let mut events = EventLoop::new().unwrap();
    let remote = events.remote();
    let (going, gone) = std::sync::mpsc::channel();
    let thread = thread::spawn(move || {
        gone.recv().unwrap();
        drop(remote.clone());
        drop(remote);
    });
    events.call_soon(move |_| going.send(()).unwrap());
    events.run().unwrap();
    thread.join().unwrap();
}

#[test]
fn a_loop_that_is_gone_gives_the_closure_back() {
    let dropped = Arc::new(());
    let events = EventLoop::new().unwrap();
    let remote = events.remote();
    let held = Arc::clone(&dropped);
    remote.call_soon(move |_| drop(held)).unwrap();
    drop(events);
    assert_eq!(Arc::strong_count(&dropped), 1, "what it did not call is dropped with it");
    let held = Arc::clone(&dropped);
    let error = remote.call_soon(move |_| drop(held)).unwrap_err();
    assert_eq!((error.to_string().as_str(), Arc::strong_count(&dropped)), ("the event loop is gone", 2));
    remote.stop();
}

#[test]
fn wakes_count_once_until_the_watcher_is_called_and_none_is_lost() {
    const THREADS: usize = 4;
    const EACH: usize = 20_000;
    let mut events = EventLoop::with_data((0, 0)).unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&asked);
    let (handle, waker) = events.on_wake(move |events| {
        events.data.0 += 1;
        events.data.1 = seen.load(Ordering::SeqCst);
    });
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (asked, waker) = (Arc::clone(&asked), waker.clone());
            thread::spawn(move || {
                for _ in 0..EACH {
                    asked.fetch_add(1, Ordering::SeqCst);
                    waker.wake();
                }
            })
        })
        .collect();
    drop(waker);
    // It ends because nobody has a waker any more.
    events.run().unwrap();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(events.data.1, THREADS * EACH, "the last wake was seen");
    assert!((1..=THREADS * EACH).contains(&events.data.0));
    assert!(events.cancel(handle));
}

#[test]
fn a_waker_of_a_watcher_that_was_cancelled_wakes_nobody() {
    let mut events = EventLoop::with_data(0).unwrap();
    let (handle, waker) = events.on_wake(|events| events.data += 1);
    waker.wake();
    assert!(events.cancel(handle));
    events.run().unwrap();
    waker.wake();
    events.call_soon(|_| {});
    events.run().unwrap();
    assert_eq!(events.data, 0);
}

#[test]
fn a_loop_that_waits_costs_no_processor_time() {
    fn cpu_time() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }
    let mut events = EventLoop::new().unwrap();
    let _remote = events.remote();
    let (before, began) = (cpu_time(), Instant::now());
    assert_eq!(events.run_once(Some(50 * MOMENT)).unwrap(), 0);
    assert!(began.elapsed() >= 50 * MOMENT);
    assert!((cpu_time() - before) * 10 < began.elapsed(), "it slept");
}

#[test]
fn a_signal_is_told_to_each_watcher_of_it() {
    let _alone = alone();
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    for watcher in 0..2 {
        events
            .on_signal(SIGUSR1, move |events, signal| {
                assert_eq!(signal, SIGUSR1);
                events.data.push(watcher);
                events.cancel_current();
            })
            .unwrap();
    }
    events.call_soon(|_| kill_process(rustix::process::getpid(), Signal::USR1).unwrap());
    events.run().unwrap();
    events.data.sort_unstable();
    assert_eq!(events.data, [0, 1]);
}

#[test]
fn signals_come_again_and_again() {
    let _alone = alone();
    let mut events = EventLoop::with_data(0).unwrap();
    events
        .on_signal(SIGUSR2, |events, _| {
            events.data += 1;
            match events.data {
                10 => events.stop(),
                _ => kill_process(rustix::process::getpid(), Signal::USR2).unwrap(),
            }
        })
        .unwrap();
    kill_process(rustix::process::getpid(), Signal::USR2).unwrap();
    events.run().unwrap();
    assert_eq!(events.data, 10);
}

#[test]
fn a_signal_that_cannot_be_caught_is_refused() {
    let mut events = EventLoop::new().unwrap();
    let error = events.on_signal(9, |_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(events.is_empty());
}

#[test]
fn the_ends_of_children_are_told_with_their_status_in_the_order_in_which_they_come() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let slow = Command::new("sleep").arg("3600").spawn().unwrap();
    let killed = Pid::from_raw(slow.id() as i32).unwrap();
    events.on_exit(slow, |events, status| events.data.push(status.unwrap().signal())).unwrap();
    let quick = Command::new("sh").args(["-c", "exit 7"]).spawn().unwrap();
    events
        .on_exit(quick, move |events, status| {
            assert_eq!(status.unwrap().code(), Some(7));
            events.data.push(None);
            kill_process(killed, Signal::KILL).unwrap();
        })
        .unwrap();
    events.run().unwrap();
    assert_eq!(events.data, [None, Some(9)]);
    let reaped = waitpid(Some(killed), WaitOptions::NOHANG);
    assert_eq!(reaped.unwrap_err(), rustix::io::Errno::CHILD, "nothing is left to be reaped");
}

#[test]
fn a_child_that_has_been_waited_for_already_has_its_status_told() {
    let mut events = EventLoop::with_data(None).unwrap();
    let mut child = Command::new("true").spawn().unwrap();
    assert!(child.wait().unwrap().success());
    events.on_exit(child, |events, status| events.data = Some(status.unwrap().success())).unwrap();
    events.run().unwrap();
    assert_eq!(events.data, Some(true));
}

#[test]
fn a_child_whose_watcher_is_cancelled_is_not_told_of() {
    let mut events = EventLoop::new().unwrap();
    let child = Command::new("sleep").arg("3600").spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32).unwrap();
    let handle = events.on_exit(child, |_, _| unreachable!()).unwrap();
    events.call_later(MOMENT, move |events| {
        assert!(events.cancel(handle));
        kill_process(pid, Signal::KILL).unwrap();
    });
    events.run().unwrap();
    assert!(waitpid(Some(pid), WaitOptions::empty()).unwrap().is_some());
}

#[test]
fn many_children_are_each_told_of_once() {
    const COUNT: i32 = 30;
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let order = Rc::new(Cell::new(0));
    for code in 0..COUNT {
        let child = Command::new("sh").args(["-c", &format!("exit {code}")]).spawn().unwrap();
        let order = Rc::clone(&order);
        events
            .on_exit(child, move |events, status| {
                order.set(order.get() + 1);
                events.data.push(status.unwrap().code().unwrap());
            })
            .unwrap();
    }
    events.run().unwrap();
    events.data.sort_unstable();
    assert_eq!((events.data, order.get()), ((0..COUNT).collect::<Vec<_>>(), COUNT));
}
