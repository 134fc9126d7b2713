//! How queues end, and how the end of their tasks is waited for (rows F2 and F3).

mod limit;
mod settings;
mod waiting;

use fibra::queue::{ExtraTaskDone, GetError, PriorityQueue, PutError, Queue, Shutdown};
use fibra::{Cancelled, scope};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use waiting::waiting;

const SHORT: Duration = Duration::from_millis(2);

#[test]
fn task_done_once_more_than_items_were_put_is_an_error_and_changes_nothing() {
    let queue = Queue::unbounded();
    assert_eq!(queue.task_done(), Err(ExtraTaskDone));
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    assert_eq!(queue.task_done(), Ok(()));
    assert!(!queue.join_timeout(Duration::ZERO), "one is left");
    assert_eq!(queue.task_done(), Ok(()));
    assert_eq!(queue.task_done(), Err(ExtraTaskDone));
    queue.join();
    queue.put(3).unwrap();
    assert!(!queue.join_deadline(Instant::now()), "the error has not been counted in advance");
}

#[test]
fn join_on_a_queue_that_was_never_used_does_not_wait_and_twice_is_fine() {
    let queue = Queue::<()>::unbounded();
    queue.join();
    queue.join();
    assert!(queue.join_timeout(Duration::ZERO));
}

#[test]
fn join_waits_until_every_item_is_done() {
    settings::each(|setting| {
        let queue = Queue::bounded(3);
        let done = AtomicUsize::new(0);
        scope(|scope| {
            for _ in 0..2 {
                setting.spawn_scoped(scope, || {
                    for _item in &queue {
                        done.fetch_add(1, Relaxed);
                        queue.task_done().unwrap();
                    }
                });
            }
            for round in 1..=2 {
                (0..50).for_each(|item| queue.put(item).unwrap());
                queue.join();
                assert_eq!(done.load(Relaxed), round * 50);
                queue.join();
            }
            queue.shutdown(Shutdown::Drain);
        });
    });
}

#[test]
fn everybody_who_joins_goes_on_when_all_is_done() {
    settings::each(|setting| {
        let queue = Queue::unbounded();
        queue.put(1).unwrap();
        scope(|scope| {
            let joiners: Vec<_> = (0..3).map(|_| setting.spawn_scoped(scope, || queue.join())).collect();
            assert!(!queue.join_timeout(SHORT));
            assert!(joiners.iter().all(|joiner| !joiner.is_finished()));
            assert_eq!(queue.get(), Ok(1));
            assert!(!queue.join_timeout(SHORT), "got is not done");
            queue.task_done().unwrap();
            // What comes now does not keep those who waited before.
            queue.put(2).unwrap();
            if setting.is_parallel() {
                // One who had not begun to wait then, waits for this one, too.
                queue.task_done().unwrap();
            }
            joiners.into_iter().for_each(|joiner| joiner.join().unwrap());
        });
    });
}

#[test]
fn a_cancelled_joiner_leaves_the_others_waiting() {
    settings::each(|setting| {
        let queue = Queue::unbounded();
        queue.put(1).unwrap();
        scope(|scope| {
            let cancelled = setting.spawn_scoped(scope, || queue.join());
            let patient = setting.spawn_scoped(scope, || queue.join());
            fibra::yield_now();
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            queue.task_done().unwrap();
            patient.join().unwrap();
        });
    });
}

#[test]
fn after_a_drain_items_can_be_got_and_then_getters_fail() {
    let queue = PriorityQueue::unbounded();
    (1..=3).for_each(|item| queue.put(item).unwrap());
    assert!(!queue.is_shut_down());
    queue.shutdown(Shutdown::Drain);
    assert!(queue.is_shut_down());
    assert_eq!(queue.put(4), Err(PutError::Shutdown(4)));
    assert_eq!(queue.try_put(4), Err(PutError::Shutdown(4)));
    assert_eq!(queue.put_timeout(4, SHORT), Err(PutError::Shutdown(4)));
    assert_eq!((queue.get(), queue.try_get(), queue.get_timeout(SHORT)), (Ok(3), Ok(2), Ok(1)));
    assert_eq!(queue.get(), Err(GetError::Shutdown));
    assert_eq!(queue.try_get(), Err(GetError::Shutdown));
    assert_eq!(queue.get_timeout(SHORT), Err(GetError::Shutdown));
}

#[test]
fn after_an_immediate_shutdown_nothing_is_left() {
    let queue = Queue::unbounded();
    (1..=3).for_each(|item| queue.put(item).unwrap());
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(queue.get(), Err(GetError::Shutdown));
    assert_eq!(queue.put(4), Err(PutError::Shutdown(4)));
    assert!(queue.is_empty());
    assert!(queue.join_timeout(Duration::ZERO), "what was dropped counts as done");
    assert_eq!(queue.task_done(), Err(ExtraTaskDone));
}

#[test]
fn an_immediate_shutdown_leaves_what_was_got_to_be_done() {
    let queue = Queue::unbounded();
    (1..=3).for_each(|item| queue.put(item).unwrap());
    queue.get().unwrap();
    queue.shutdown(Shutdown::Immediate);
    assert!(!queue.join_timeout(Duration::ZERO));
    assert_eq!(queue.task_done(), Ok(()));
    assert!(queue.join_timeout(Duration::ZERO));
}

#[test]
fn a_shutdown_wakes_getters_and_leaves_putters_their_items() {
    settings::each(|setting| {
        for how in [Shutdown::Drain, Shutdown::Immediate] {
            let (empty, full) = (Queue::<usize>::unbounded(), Queue::bounded(1));
            full.put(7).unwrap();
            scope(|scope| {
                let getters: Vec<_> = (0..3).map(|_| setting.spawn_scoped(scope, || empty.get())).collect();
                let putters: Vec<_> = (0..3)
                    .map(|number| {
                        let full = &full;
                        setting.spawn_scoped(scope, move || full.put(number))
                    })
                    .collect();
                setting.until(|| waiting(&empty, "getters") == 3 && waiting(&full, "putters") == 3);
                empty.shutdown(how);
                full.shutdown(how);
                for getter in getters {
                    assert_eq!(getter.join().unwrap(), Err(GetError::Shutdown));
                }
                for (number, putter) in putters.into_iter().enumerate() {
                    assert_eq!(putter.join().unwrap(), Err(PutError::Shutdown(number)));
                }
            });
            assert_eq!(full.get().ok(), (how == Shutdown::Drain).then_some(7));
            assert_eq!(full.get(), Err(GetError::Shutdown));
        }
    });
}

#[test]
fn a_rendezvous_that_is_shut_down_fails_on_both_sides() {
    settings::each(|setting| {
        let hand = Queue::rendezvous();
        scope(|scope| {
            let putter = setting.spawn_scoped(scope, || hand.put(1));
            setting.until(|| waiting(&hand, "putters") == 1);
            hand.shutdown(Shutdown::Drain);
            assert_eq!(putter.join().unwrap(), Err(PutError::Shutdown(1)));
            assert_eq!(hand.get(), Err(GetError::Shutdown));
        });
    });
}

#[test]
fn a_shutdown_releases_those_who_join_when_it_drops_what_they_wait_for() {
    settings::each(|setting| {
        let queue = Queue::unbounded();
        queue.put(1).unwrap();
        scope(|scope| {
            let joiner = setting.spawn_scoped(scope, || queue.join());
            queue.shutdown(Shutdown::Drain);
            assert!(!queue.join_timeout(SHORT), "it can still be got, and done");
            queue.shutdown(Shutdown::Immediate);
            joiner.join().unwrap();
        });
    });
}

#[test]
fn shut_down_twice_is_shut_down() {
    let queue = Queue::unbounded();
    queue.put(1).unwrap();
    queue.shutdown(Shutdown::Immediate);
    queue.shutdown(Shutdown::Drain);
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(queue.get(), Err(GetError::Shutdown));
}

#[test]
fn iteration_ends_with_the_queue() {
    settings::each(|setting| {
        let queue = Queue::bounded(2);
        scope(|scope| {
            let reader = setting.spawn_scoped(scope, || {
                let mut items = queue.iter();
                let all: Vec<_> = items.by_ref().collect();
                assert_eq!(items.next(), None, "and stays at its end");
                all
            });
            (0..10).for_each(|item| queue.put(item).unwrap());
            queue.shutdown(Shutdown::Drain);
            assert_eq!(reader.join().unwrap(), (0..10).collect::<Vec<_>>());
        });
    });
}

/// Uses its queue as it is dropped.
struct Meddler(Arc<Queue<Meddler>>, Arc<AtomicUsize>);

impl Drop for Meddler {
    fn drop(&mut self) {
        assert!(self.0.is_shut_down());
        self.1.fetch_add(1, Relaxed);
    }
}

#[test]
fn what_a_shutdown_drops_may_use_the_queue() {
    let (queue, dropped) = (Arc::new(Queue::unbounded()), Arc::new(AtomicUsize::new(0)));
    for _ in 0..3 {
        assert!(queue.put(Meddler(Arc::clone(&queue), Arc::clone(&dropped))).is_ok());
    }
    queue.shutdown(Shutdown::Immediate);
    assert_eq!(dropped.load(Relaxed), 3);
}

#[test]
fn a_shutdown_in_the_middle_of_traffic_loses_nothing_that_was_put() {
    settings::each(|setting| {
        for _ in 0..20 {
            let queue = Queue::bounded(2);
            let (put, got) = (AtomicUsize::new(0), AtomicUsize::new(0));
            scope(|scope| {
                for _ in 0..2 {
                    setting.spawn_scoped(scope, || {
                        while queue.put(1_usize).is_ok() {
                            put.fetch_add(1, Relaxed);
                        }
                    });
                    setting.spawn_scoped(scope, || {
                        while let Ok(one) = queue.get() {
                            got.fetch_add(one, Relaxed);
                        }
                    });
                }
                setting.until(|| got.load(Relaxed) > 20);
                queue.shutdown(Shutdown::Drain);
            });
            assert_eq!(put.load(Relaxed), got.load(Relaxed));
        }
    });
}
