//! Callbacks and coroutines: a callback must not wait, and whoever runs the loop does.

use fibra::event_loop::{EventLoop, Interest};
use fibra::queue::Queue;
use fibra::sync::{Barrier, Condvar, Event, Mutex, OnceLock, RwLock, RwLockUpgradableReadGuard, Semaphore};
use fibra::{Elapsed, Reason};
use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(2);

/// On an OS thread, in a coroutine of one worker, and in one of several.
fn everywhere(f: fn()) {
    f();
    for workers in [1, 2] {
        fibra::Runtime::builder().workers(workers).run(f).unwrap();
    }
}

/// What the callback's panic says.
fn complaint(f: impl FnOnce() + 'static) -> Option<String> {
    let mut events = EventLoop::with_data((None, 0)).unwrap();
    events.on_panic(|events, panic| events.data.0 = panic.message().map(str::to_owned));
    events.call_soon(move |_| f());
    events.call_soon(|events| events.data.1 += 1);
    events.run().unwrap();
    assert_eq!(events.data.1, 1, "the loop goes on");
    events.data.0
}

#[track_caller]
fn assert_refused(waits_for: &str, f: impl FnOnce() + 'static) {
    let message = complaint(f).expect("a callback that would wait panics");
    assert!(message.contains("callback of an event loop must not wait"), "{message}");
    assert!(message.contains(&format!("({waits_for})")), "{message}");
}

#[test]
fn every_wait_in_a_callback_panics_and_says_for_what() {
    everywhere(|| {
        assert_refused("Unpark", fibra::park);
        assert_refused("Time", || fibra::sleep(Duration::from_secs(3600)));
        assert_refused("Event", || Event::new().wait());
        assert_refused("Get", || assert!(Queue::<i32>::bounded(1).get().is_ok()));
        assert_refused("Semaphore", || drop(Semaphore::new(0).acquire()));
        assert_refused("Barrier", || assert!(Barrier::new(2).wait().is_ok()));
        assert_refused("Scope", || fibra::scope(|_| {}));
        assert_refused("Event", || fibra::shield(|| Event::new().wait()));
        assert_refused("Event", || assert!(fibra::timeout(MOMENT, || Event::new().wait()).is_ok()));
        let (stream, _other) = fibra::net::UnixStream::pair().unwrap();
        assert_refused("Receive", move || drop((&stream).read(&mut [0; 1])));
        let never = Arc::new(Event::new());
        let set = Arc::clone(&never);
        let waits = fibra::Builder::new().daemon(true).spawn(move || never.wait()).unwrap();
        assert_refused("Join", move || drop(waits.join()));
        set.set();
    });
}

#[test]
fn primitives_are_whole_after_a_refused_wait() {
    everywhere(|| {
        let (event, queue, semaphore) =
            (Arc::new(Event::new()), Queue::bounded(1), Arc::new(Semaphore::new(0)));
        let queue = Arc::new(queue);
        let theirs = (Arc::clone(&event), Arc::clone(&queue), Arc::clone(&semaphore));
        assert_refused("Event", move || theirs.0.wait());
        assert_refused("Get", move || assert!(theirs.1.get().is_ok()));
        assert_refused("Semaphore", move || drop(theirs.2.acquire()));
        // Had a token been left behind in one of them, this would wake somebody who is not there.
        event.set();
        queue.put(1).unwrap();
        semaphore.release(1);
        event.wait();
        assert_eq!(queue.get(), Ok(1));
        semaphore.acquire().forget();
        assert_eq!(fibra::park_timeout(MOMENT), Reason::TimedOut);
    });
}

#[test]
fn locks_are_whole_after_a_refused_wait() {
    everywhere(|| {
        let (mutex, lock) = (Arc::new(Mutex::new(0)), Arc::new(RwLock::new(0)));
        let (changed, once) = (Arc::new(Condvar::new()), Arc::new(OnceLock::new()));
        let (held, reading) = (mutex.lock(), lock.read());
        let theirs = Arc::clone(&mutex);
        assert_refused("Mutex", move || drop(theirs.lock()));
        let theirs = Arc::clone(&lock);
        assert_refused("Write", move || drop(theirs.write()));
        let theirs = Arc::clone(&lock);
        assert_refused("Write", move || {
            drop(RwLockUpgradableReadGuard::upgrade(theirs.upgradable_read()));
        });
        let theirs: Arc<OnceLock<u32>> = Arc::clone(&once);
        assert_refused("Once", move || assert_eq!(theirs.wait(), &1));
        assert_eq!((mutex.waiting(), lock.waiting()), (0, 0));
        drop((held, reading));
        let theirs = (Arc::clone(&mutex), Arc::clone(&changed));
        assert_refused("Condvar", move || {
            let mut held = theirs.0.lock();
            let result = catch_unwind(AssertUnwindSafe(|| theirs.1.wait(&mut held)));
            *held += 1;
            assert!(!theirs.1.wait_timeout(&mut held, Duration::ZERO));
            drop(held);
            std::panic::resume_unwind(result.unwrap_err());
        });
        assert_eq!((changed.waiting(), *mutex.lock()), (0, 1));
        *lock.write() += 1;
        assert_eq!(once.set(1), Ok(()));
        assert_eq!(fibra::park_timeout(MOMENT), Reason::TimedOut);
    });
}

#[test]
fn a_callback_takes_what_is_there() {
    everywhere(|| {
        let (event, queue) = (Event::new(), Arc::new(Queue::bounded(2)));
        event.set();
        queue.put(1).unwrap();
        let theirs = Arc::clone(&queue);
        fibra::current().unpark();
        let done = complaint(move || {
            event.wait();
            assert_eq!(theirs.get(), Ok(1));
            theirs.put(2).unwrap();
            fibra::park();
            assert_eq!(fibra::park_timeout(Duration::ZERO), Reason::TimedOut);
            assert!(!Event::new().wait_timeout(Duration::ZERO));
            fibra::yield_now();
        });
        assert_eq!((done, queue.get()), (None, Ok(2)));
    });
}

#[test]
fn a_callback_starts_a_coroutine_that_may_wait() {
    everywhere(|| {
        let mut events = EventLoop::with_data(Vec::new()).unwrap();
        let remote = events.remote();
        let started = Arc::new(Event::new());
        let set = Arc::clone(&started);
        events.call_soon(move |events| {
            fibra::spawn(move || {
                started.wait();
                fibra::sleep(MOMENT);
                remote.call_soon(|events| events.data.push("from a coroutine")).unwrap();
            });
            events.data.push("spawned");
        });
        events.call_soon(move |_| set.set());
        events.run().unwrap();
        assert_eq!(events.data, ["spawned", "from a coroutine"]);
    });
}

#[test]
fn a_destructor_that_waits_while_a_callback_panics_is_let() {
    struct Waits(Rc<Cell<bool>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            self.0.set(fibra::park_timeout(MOMENT) == Reason::TimedOut);
        }
    }
    everywhere(|| {
        let waited = Rc::new(Cell::new(false));
        let waits = Waits(Rc::clone(&waited));
        let message = complaint(move || {
            let _waits = waits;
            panic!("its own");
        });
        assert_eq!((message.as_deref(), waited.get()), (Some("its own"), true));
    });
}

#[test]
fn a_loop_is_not_run_within_a_callback() {
    everywhere(|| {
        let mut events = EventLoop::with_data(Vec::new()).unwrap();
        events.call_soon(|events| {
            let kind = events.run().map_err(|error| error.kind());
            events.data.push(kind);
            let mut other = EventLoop::new().unwrap();
            other.call_later(MOMENT, |_| {});
            events.data.push(other.run().map_err(|error| error.kind()));
            assert_eq!(other.run_once(Some(Duration::ZERO)).unwrap(), 0, "that does not wait");
        });
        events.run().unwrap();
        assert_eq!(events.data, [Err(ErrorKind::Deadlock); 2]);
    });
}

#[test]
fn in_a_coroutine_the_loop_parks_and_the_others_run() {
    fibra::Runtime::builder()
        .workers(1)
        .run(|| {
            let (mut one, other) = UnixStream::pair().unwrap();
            other.set_nonblocking(true).unwrap();
            let order = Rc::new(RefCell::new(Vec::new()));
            let theirs = Rc::clone(&order);
            let writer = fibra::spawn_local(move || {
                for round in 0..3 {
                    fibra::sleep(MOMENT);
                    theirs.borrow_mut().push(format!("write {round}"));
                    one.write_all(&[round]).unwrap();
                    // The loop is on the same worker: it can only go on because this one waits.
                    fibra::sleep(10 * MOMENT);
                }
            });
            let mut events = EventLoop::new().unwrap();
            let ours = Rc::clone(&order);
            events
                .register(other, Interest::READABLE, move |other, events, event| {
                    let mut round = [0];
                    match other.read(&mut round).unwrap() {
                        0 => drop(events.unregister(event.key)),
                        _ => ours.borrow_mut().push(format!("read {}", round[0])),
                    }
                })
                .unwrap();
            events.run().unwrap();
            writer.join().unwrap();
            let expected: Vec<_> =
                (0..3).flat_map(|round| [format!("write {round}"), format!("read {round}")]).collect();
            assert_eq!(*order.borrow(), expected);
        })
        .unwrap();
}

#[test]
fn in_a_coroutine_timers_and_other_threads_reach_the_loop() {
    fibra::Runtime::builder()
        .workers(2)
        .run(|| {
            let mut events = EventLoop::with_data(Vec::new()).unwrap();
            let remote = events.remote();
            events.call_later(MOMENT, |events| events.data.push("timer"));
            let thread = std::thread::spawn(move || {
                for _ in 0..100 {
                    let (sender, receiver) = std::sync::mpsc::channel();
                    remote.call_soon(move |_| sender.send(()).unwrap()).unwrap();
                    receiver.recv().unwrap();
                }
                remote.call_soon(|events| events.data.push("thread")).unwrap();
            });
            events.run().unwrap();
            events.data.sort_unstable();
            assert_eq!(events.data, ["thread", "timer"]);
            thread.join().unwrap();
        })
        .unwrap();
}

#[test]
fn a_time_limit_ends_a_loop_that_waits_and_it_can_go_on() {
    everywhere(|| {
        let mut events = EventLoop::with_data(0).unwrap();
        let remote = events.remote();
        let began = Instant::now();
        assert_eq!(fibra::timeout(MOMENT, || events.run().unwrap()), Err(Elapsed));
        assert!(began.elapsed() >= MOMENT);
        remote.call_soon(|events| events.data += 1).unwrap();
        drop(remote);
        events.run().unwrap();
        assert_eq!(events.data, 1);
    });
}

#[test]
fn a_coroutine_that_is_cancelled_in_a_callback_unwinds_out_of_the_loop() {
    fibra::run(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let runs = fibra::spawn_local(move || {
            let mut events = EventLoop::new().unwrap();
            let own = fibra::current();
            events.call_soon(move |_| {
                sender.send(own).unwrap();
                fibra::yield_now();
                fibra::cancel::checkpoint();
                unreachable!("it has been cancelled");
            });
            events.on_panic(|_, _| unreachable!("that is no panic"));
            events.run().unwrap();
        });
        fibra::yield_now();
        receiver.recv().unwrap();
        runs.cancel();
        assert!(runs.join().unwrap_err().is::<fibra::Cancelled>());
    });
}

#[test]
fn one_loop_runs_on_a_thread_and_then_in_a_coroutine() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let (one, mut other) = UnixStream::pair().unwrap();
    one.set_nonblocking(true).unwrap();
    events
        .register(one, Interest::READABLE, |one, events, _| {
            let mut byte = [0];
            one.read_exact(&mut byte).unwrap();
            events.data.push((byte[0], fibra::current().is_coroutine()));
        })
        .unwrap();
    for round in 0..3 {
        other.write_all(&[2 * round]).unwrap();
        assert_eq!(events.run_once(None).unwrap(), 1);
        other.write_all(&[2 * round + 1]).unwrap();
        let called = fibra::Runtime::builder().workers(1).run(|| events.run_once(None).unwrap());
        assert_eq!(called.unwrap(), 1);
    }
    let expected: Vec<_> = (0..6).map(|number| (number, number % 2 == 1)).collect();
    assert_eq!(events.data, expected);
}

#[test]
fn a_callback_that_panics_while_it_waits_in_vain_keeps_its_peers() {
    let mut events = EventLoop::with_data(0).unwrap();
    let caught = Rc::new(Cell::new(false));
    let seen = Rc::clone(&caught);
    events.call_soon(move |_| {
        // Who catches the panic goes on in the callback, and is refused again.
        for _ in 0..3 {
            assert!(catch_unwind(AssertUnwindSafe(fibra::park)).is_err());
        }
        seen.set(true);
    });
    events.call_soon(|events| events.data += 1);
    events.run().unwrap();
    assert_eq!((events.data, caught.get()), (1, true));
}

#[test]
fn in_a_simulation_the_hours_of_a_loop_are_over_at_once() {
    fibra::simulation::run(|| {
        let mut events = EventLoop::with_data(Vec::new()).unwrap();
        events.call_later(Duration::from_secs(3600), |events| events.data.push(fibra::simulation::elapsed()));
        events.call_every(Duration::from_secs(60), Duration::from_secs(60), |events| {
            events.data.push(fibra::simulation::elapsed());
            if events.data.len() == 3 {
                events.cancel_current();
            }
        });
        events.run().unwrap();
        assert_eq!(events.data, [60, 120, 180, 3600].map(Duration::from_secs));
    });
}
