//! Queues, channels and `select`, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never served is a deadlock, which loom reports.
//!
//! What goes through is [`Parcel`]s, which loom lets only those touch who see what the sender did. Whose deadline is in the past gives up whenever it is not served first.

use super::{GetError, PutError, Queue, Shutdown, broadcast, oneshot, select, watch};
use crate::cancel::Cancelled;
use crate::scheduler::park;
use crate::scheduler::state::Signal;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread::{self, JoinHandle};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// How many preemptions, besides the switches where a thread waits.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// A number in memory that its sender has written, and that counts how many of it are there.
struct Parcel {
    number: UnsafeCell<usize>,
    there: Arc<AtomicUsize>,
}

// SAFETY: loom sees to it.
unsafe impl Sync for Parcel {}
// SAFETY: it is a number.
unsafe impl Send for Parcel {}

impl Parcel {
    fn new(number: usize, there: &Arc<AtomicUsize>) -> Parcel {
        there.fetch_add(1, Ordering::Relaxed);
        Parcel { number: UnsafeCell::new(number), there: Arc::clone(there) }
    }

    fn number(&self) -> usize {
        // SAFETY: loom sees to it that nobody writes it meanwhile.
        self.number.with(|number| unsafe { *number })
    }
}

impl Drop for Parcel {
    fn drop(&mut self) {
        self.there.fetch_sub(1, Ordering::Relaxed);
    }
}

fn start<T: 'static, R: 'static>(shared: &Arc<T>, body: impl FnOnce(&T) -> R + 'static) -> JoinHandle<R> {
    let shared = Arc::clone(shared);
    thread::spawn(move || body(&shared))
}

/// Asks the calling context to stop, at some time.
fn cancel_this() -> JoinHandle<()> {
    let here = park::current();
    // SAFETY: it holds a reference.
    thread::spawn(move || unsafe { park::signal(here.ptr(), Signal::Kill) })
}

/// Nobody is in the lists.
fn assert_quiet<T>(queue: &Queue<T>) {
    let locked = queue.lists.lock();
    assert_eq!([0, 1, 2].map(|list| locked.len(list)), [0; 3], "somebody was left behind");
}

/// Caught: an `offer` that puts its item into the queue although somebody waits, or that wakes who waits without it.
#[test]
fn every_item_goes_to_one_of_those_who_wait() {
    for capacity in [0, 1] {
        with_preemptions(2, move || {
            let (queue, there) = (Arc::new(Queue::bounded(capacity)), Arc::default());
            let getters: Vec<_> = (0..2)
                .map(|_| start(&queue, |queue: &Queue<Parcel>| queue.get().map(|parcel| parcel.number())))
                .collect();
            for number in 1..=2 {
                assert!(queue.put(Parcel::new(number, &there)).is_ok());
            }
            let sum: usize = getters.into_iter().map(|getter| getter.join().unwrap().unwrap()).sum();
            assert_eq!((sum, there.load(Ordering::Relaxed)), (3, 0));
            assert_quiet(&queue);
        });
    }
}

/// Caught: a wait that says `TimedOut` although its waiter had been taken out (the item is lost).
#[test]
fn an_item_is_got_in_time_or_is_there_for_the_next() {
    with_preemptions(3, || {
        let (queue, there) = (Arc::new(Queue::bounded(1)), Arc::default());
        let past = Instant::now();
        let hasty = start(&queue, move |queue: &Queue<Parcel>| match queue.get_deadline(past) {
            Ok(parcel) => parcel.number(),
            Err(error) => {
                assert_eq!(error, GetError::Empty);
                0
            }
        });
        let patient = start(&queue, |queue: &Queue<Parcel>| queue.get().map_or(0, |parcel| parcel.number()));
        assert!(queue.put(Parcel::new(5, &there)).is_ok());
        let got = hasty.join().unwrap();
        if got != 0 {
            assert!(queue.put(Parcel::new(5, &there)).is_ok());
        }
        assert_eq!(patient.join().unwrap(), 5);
        assert_eq!(there.load(Ordering::Relaxed), 0);
        assert_quiet(&queue);
    });
}

#[test]
fn an_item_is_put_in_time_or_stays_with_the_caller() {
    for capacity in [0, 1] {
        with_preemptions(3, move || {
            let (queue, there) = (Arc::new(Queue::bounded(capacity)), Arc::default());
            (0..capacity).for_each(|_| assert!(queue.put(Parcel::new(1, &there)).is_ok()));
            let past = Instant::now();
            let hasty = start(&queue, {
                let there = Arc::clone(&there);
                move |queue: &Queue<Parcel>| match queue.put_deadline(Parcel::new(2, &there), past) {
                    Ok(()) => true,
                    Err(PutError::Full(parcel)) => {
                        assert_eq!(parcel.number(), 2);
                        false
                    }
                    Err(PutError::Shutdown(_)) => unreachable!("nobody shuts it down"),
                }
            });
            let got = queue.get_deadline(past).map_or(0, |parcel| parcel.number());
            let put = hasty.join().unwrap();
            let left = queue.try_get().map_or(0, |parcel| parcel.number());
            assert_eq!(got + left, capacity + 2 * usize::from(put));
            assert_eq!(there.load(Ordering::Relaxed), 0);
            assert_quiet(&queue);
        });
    }
}

/// Caught: a `take` that leaves the room to whoever comes (waits for ever); a shutdown that does not wake who waits to put.
#[test]
fn who_waits_for_room_has_it_or_gets_its_item_back() {
    for shut in [false, true] {
        with_preemptions(3, move || {
            let (queue, there) = (Arc::new(Queue::bounded(1)), Arc::default());
            assert!(queue.put(Parcel::new(1, &there)).is_ok());
            let putter = start(&queue, {
                let there = Arc::clone(&there);
                move |queue: &Queue<Parcel>| match queue.put(Parcel::new(2, &there)) {
                    Ok(()) => true,
                    Err(error) => {
                        assert!(error.is_shutdown() && error.into_item().number() == 2);
                        false
                    }
                }
            });
            if shut {
                queue.shutdown(Shutdown::Drain);
            } else {
                assert_eq!(queue.get().map_or(0, |parcel| parcel.number()), 1);
            }
            assert_eq!(putter.join().unwrap(), !shut);
            assert!(queue.get().is_ok());
            assert_eq!(there.load(Ordering::Relaxed), 0);
            assert_quiet(&queue);
        });
    }
}

/// Caught: the same of `Cancelled`.
#[test]
fn who_is_cancelled_in_the_moment_of_a_put_has_the_item_or_leaves_it() {
    with_preemptions(3, || {
        let (queue, there) = (Arc::new(Queue::bounded(1)), Arc::default());
        let canceller = cancel_this();
        let putter = start(&queue, {
            let there = Arc::clone(&there);
            move |queue: &Queue<Parcel>| assert!(queue.put(Parcel::new(7, &there)).is_ok())
        });
        let got = catch_unwind(AssertUnwindSafe(|| queue.get()));
        canceller.join().unwrap();
        putter.join().unwrap();
        let number = match got {
            Ok(parcel) => parcel.map_or(0, |parcel| parcel.number()),
            Err(payload) => {
                assert!(payload.is::<Cancelled>());
                queue.try_get().map_or(0, |parcel| parcel.number())
            }
        };
        assert_eq!((number, there.load(Ordering::Relaxed)), (7, 0));
        assert_quiet(&queue);
    });
}

/// Caught: a shutdown that does not wake who waits to get.
#[test]
fn a_shutdown_wakes_both_sides_and_leaves_no_item_behind() {
    for how in [Shutdown::Drain, Shutdown::Immediate] {
        with_preemptions(2, move || {
            let (queue, there) = (Arc::new(Queue::bounded(1)), Arc::default());
            let putter = start(&queue, {
                let there = Arc::clone(&there);
                move |queue| {
                    (1..=2).take_while(|&number| queue.put(Parcel::new(number, &there)).is_ok()).count()
                }
            });
            let getter = start(&queue, |queue: &Queue<Parcel>| queue.iter().count());
            queue.shutdown(how);
            let (put, got) = (putter.join().unwrap(), getter.join().unwrap());
            assert!(if how == Shutdown::Drain { put == got } else { put >= got });
            assert_eq!(there.load(Ordering::Relaxed), 0);
            assert_quiet(&queue);
        });
    }
}

/// Caught: a `task_done` that wakes nobody.
#[test]
fn who_waits_for_the_end_of_all_tasks_sees_it() {
    with_preemptions(3, || {
        let queue = Arc::new(Queue::bounded(1));
        let worker = start(&queue, |queue: &Queue<usize>| {
            assert_eq!(queue.get(), Ok(1));
            queue.task_done().unwrap();
        });
        queue.put(1).unwrap();
        queue.join();
        assert!(queue.task_done().is_err());
        worker.join().unwrap();
        assert_quiet(&queue);
    });
}

// --- select -----------------------------------------------------------------------------------------------------------------------

type Two = [Queue<Parcel>; 2];

fn two(capacity: usize) -> Arc<Two> {
    Arc::new([Queue::bounded(capacity), Queue::bounded(capacity)])
}

/// Gets from whichever is first; nothing when that was shut down.
fn get_from_either(queues: &Two) -> Option<Parcel> {
    let (mut one, mut other) = (queues[0].select_get(), queues[1].select_get());
    select(&mut [&mut one, &mut other]);
    let (one, other) = (one.take(), other.take());
    assert!(one.is_some() != other.is_some(), "one is done");
    one.or(other).and_then(Result::ok)
}

/// Caught: a `Get::join` that does not look whether the queue was shut down (waits for ever).
#[test]
fn of_two_selectors_one_has_the_item() {
    with_preemptions(2, || {
        let (queues, there) = (two(1), Arc::default());
        let selectors: Vec<_> =
            (0..2).map(|_| start(&queues, |queues| get_from_either(queues).is_some())).collect();
        assert!(queues[0].put(Parcel::new(1, &there)).is_ok());
        queues.iter().for_each(|queue| queue.shutdown(Shutdown::Drain));
        // The one that was shut down may be chosen before the one with the item.
        let got = selectors.into_iter().map(|selector| usize::from(selector.join().unwrap())).sum::<usize>();
        let left = usize::from(queues[0].try_get().is_ok());
        assert_eq!((got + left, there.load(Ordering::Relaxed)), (1, 0));
        queues.iter().for_each(assert_quiet);
    });
}

/// Caught: a claim that everybody wins; a `Get::join` that does not look for items (waits for ever).
#[test]
fn a_selector_that_waits_in_two_lists_is_served_once() {
    with_preemptions(2, || {
        let (queues, there) = (two(1), Arc::default());
        let putters: Vec<_> = (0..2)
            .map(|number| {
                let there = Arc::clone(&there);
                start(&queues, move |queues| assert!(queues[number].put(Parcel::new(number, &there)).is_ok()))
            })
            .collect();
        let first = get_from_either(&queues).map(|parcel| parcel.number());
        let second = get_from_either(&queues).map(|parcel| parcel.number());
        assert_eq!(first.zip(second).map(|(first, second)| first + second), Some(1));
        putters.into_iter().for_each(|putter| putter.join().unwrap());
        assert_eq!(there.load(Ordering::Relaxed), 0);
        queues.iter().for_each(assert_quiet);
    });
}

/// Caught: a select that leaves without winning its own claim (the item is lost).
#[test]
fn a_selector_that_is_cancelled_has_the_item_or_leaves_it() {
    with_preemptions(2, || {
        let (queues, there) = (two(1), Arc::default());
        let canceller = cancel_this();
        let putter = start(&queues, {
            let there = Arc::clone(&there);
            move |queues: &Two| assert!(queues[1].put(Parcel::new(4, &there)).is_ok())
        });
        let (mut one, mut other) = (queues[0].select_get(), queues[1].select_get());
        let chosen = catch_unwind(AssertUnwindSafe(|| select(&mut [&mut one, &mut other])));
        canceller.join().unwrap();
        putter.join().unwrap();
        assert!(one.take().is_none());
        let got = other.take().and_then(Result::ok).map(|parcel| parcel.number());
        assert_eq!(chosen.is_ok(), got.is_some(), "what was given is returned");
        let left = queues[1].try_get().ok().map(|parcel| parcel.number());
        assert_eq!((got.or(left), got.and(left)), (Some(4), None));
        assert_eq!(there.load(Ordering::Relaxed), 0);
        queues.iter().for_each(assert_quiet);
    });
}

/// Caught: a `Get::join` that does not look for putters (both wait for ever).
#[test]
fn two_selectors_meet_in_a_rendezvous() {
    with_preemptions(2, || {
        let (queues, there) = (two(0), Arc::default());
        let putter = start(&queues, {
            let there = Arc::clone(&there);
            move |queues| {
                let mut put = queues[0].select_put(Parcel::new(6, &there));
                select(&mut [&mut put, &mut queues[1].select_get()]);
                put.take().is_some_and(|put| put.is_ok())
            }
        });
        let got = get_from_either(&queues).map(|parcel| parcel.number());
        assert_eq!(got, Some(6));
        assert!(putter.join().unwrap());
        assert_eq!(there.load(Ordering::Relaxed), 0);
        queues.iter().for_each(assert_quiet);
    });
}

// --- Channels ---------------------------------------------------------------------------------------------------------------------

#[test]
fn a_single_item_is_received_or_comes_back_or_is_dropped() {
    with_preemptions(4, || {
        let there = Arc::default();
        let (sender, mut receiver) = oneshot::channel();
        let parcel = Parcel::new(3, &there);
        let past = Instant::now();
        let hasty = thread::spawn(move || {
            receiver.recv_deadline(past).is_ok_and(|parcel: Parcel| {
                assert_eq!(parcel.number(), 3);
                true
            })
        });
        let back = sender.send(parcel);
        let received = hasty.join().unwrap();
        assert!(!received || back.is_ok());
        drop(back);
        assert_eq!(there.load(Ordering::Relaxed), 0);
    });
}

/// Caught: a sender that wakes nobody when it goes; a `wait` that does not look again under the lock.
#[test]
fn a_receiver_learns_of_the_item_or_of_the_senders_end() {
    for send in [true, false] {
        with_preemptions(4, move || {
            let there = Arc::default();
            let (sender, receiver) = oneshot::channel();
            let sending = thread::spawn(move || {
                if send {
                    assert!(sender.send(Parcel::new(3, &there)).is_ok());
                }
            });
            assert_eq!(receiver.recv().is_ok_and(|parcel| parcel.number() == 3), send);
            sending.join().unwrap();
        });
    }
}

/// What can be cloned.
type Share = Arc<Parcel>;

/// Caught: a `wake_all` that wakes one.
#[test]
fn everybody_receives_what_is_sent_to_all_and_learns_of_the_end() {
    with_preemptions(2, || {
        let there = Arc::default();
        let (sender, receiver) = broadcast::channel::<Share>(1);
        let other = sender.subscribe();
        let readers = [receiver, other].map(|mut receiver| {
            thread::spawn(move || {
                assert!(receiver.recv().is_ok_and(|parcel| parcel.number() == 8));
                assert!(matches!(receiver.recv(), Err(broadcast::RecvError::Disconnected)));
            })
        });
        assert!(sender.send(Arc::new(Parcel::new(8, &there))).is_ok());
        drop(sender);
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(there.load(Ordering::Relaxed), 0);
    });
}

/// Caught: a sender that wakes nobody when there is a new value, or when it goes; a `When::join` that does not look again under the lock.
#[test]
fn the_last_value_is_seen_by_who_waits_alone_or_in_a_select() {
    with_preemptions(2, || {
        let there = Arc::default();
        let (sender, mut receiver) = watch::channel(Parcel::new(0, &there));
        let mut other = receiver.clone();
        let waits = thread::spawn(move || receiver.wait_for(|parcel| parcel.number() == 2).is_ok());
        let selects = thread::spawn(move || {
            let never = Queue::<()>::bounded(1);
            let mut last = 0;
            loop {
                let mut changed = other.select_changed();
                select(&mut [&mut changed, &mut never.select_get()]);
                match changed.take() {
                    Some(Ok(parcel)) => last = parcel.number(),
                    _ => return last,
                }
            }
        });
        for number in 1..=2 {
            drop(sender.replace(Parcel::new(number, &there)));
        }
        assert!(waits.join().unwrap());
        drop(sender);
        assert_eq!(selects.join().unwrap(), 2);
        assert_eq!(there.load(Ordering::Relaxed), 0);
    });
}
