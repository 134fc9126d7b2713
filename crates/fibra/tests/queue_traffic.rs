//! Many producers and consumers, held to each other's pace, with waits that end early at any moment (row F5).

mod limit;
mod settings;

use fibra::queue::{GetError, LifoQueue, Order, PriorityQueue, Queue, QueueBy, Shutdown};
use fibra::{scope, timeout};
use limit::on_workers;
use settings::Setting;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

/// Each getter gives up after a random time that is about as long as an item takes to come, and is cancelled as often.
#[test]
fn in_a_storm_of_timeouts_and_cancellations_every_item_comes_once() {
    const ITEMS: u64 = 2000;
    settings::each(|setting| {
        for capacity in [0, 1, 8, usize::MAX] {
            let queue = Queue::<u64>::bounded(capacity);
            let (got, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
            let note = |item: u64| {
                got.fetch_add(1, Relaxed);
                sum.fetch_add(item as usize, Relaxed);
            };
            scope(|scope| {
                let getters: Vec<_> = (0..3_u64)
                    .map(|number| {
                        let (queue, note) = (&queue, &note);
                        setting.spawn_scoped(scope, move || {
                            let mut patience = number;
                            loop {
                                patience = (patience + 7) % 23;
                                let limit = Duration::from_micros(patience);
                                let outcome = if patience % 2 == 0 {
                                    queue.get_timeout(limit)
                                } else {
                                    // What was got within the scope is returned, though the time is up.
                                    timeout(limit, || queue.get()).unwrap_or(Err(GetError::Empty))
                                };
                                match outcome {
                                    Ok(item) => note(item),
                                    Err(GetError::Empty) => {}
                                    Err(GetError::Shutdown) => return,
                                }
                                if patience == 3 {
                                    fibra::yield_now();
                                }
                            }
                        })
                    })
                    .collect();
                let putters: Vec<_> = (0..2)
                    .map(|number| {
                        let queue = &queue;
                        setting.spawn_scoped(scope, move || {
                            for item in (number..ITEMS).step_by(2) {
                                let mut item = item;
                                let mut patience = item % 11;
                                while let Err(error) =
                                    queue.put_timeout(item, Duration::from_micros(patience))
                                {
                                    assert!(error.is_full());
                                    item = error.into_item();
                                    patience += 5;
                                    fibra::yield_now();
                                }
                            }
                        })
                    })
                    .collect();
                putters.into_iter().for_each(|putter| putter.join().unwrap());
                queue.shutdown(Shutdown::Drain);
                getters.into_iter().for_each(|getter| getter.join().unwrap());
            });
            assert_eq!(got.load(Relaxed) as u64, ITEMS);
            assert_eq!(sum.load(Relaxed) as u64, ITEMS * (ITEMS - 1) / 2);
        }
    });
}

/// What a cancelled getter was given in that very moment it returns, and goes on.
#[test]
fn a_getter_that_is_cancelled_in_the_moment_of_a_put_has_the_item_or_leaves_it() {
    settings::each(|setting| {
        let queue = Queue::<u32>::unbounded();
        for round in 0..300 {
            scope(|scope| {
                let got = Arc::new(AtomicBool::new(false));
                let getter = setting.spawn_scoped(scope, {
                    let (got, queue) = (Arc::clone(&got), &queue);
                    move || {
                        assert_eq!(queue.get(), Ok(round));
                        got.store(true, Relaxed);
                    }
                });
                let putter = setting.spawn_scoped(scope, || queue.put(round).unwrap());
                if round % 3 == 0 {
                    fibra::yield_now();
                }
                getter.cancel();
                putter.join().unwrap();
                let ended = getter.join();
                assert_eq!(ended.is_ok(), got.load(Relaxed));
                assert_eq!(queue.try_get().is_err(), got.load(Relaxed), "in hand or in the queue");
            });
        }
    });
}

#[test]
fn many_producers_and_consumers_pass_every_item_once() {
    const EACH: u64 = 500;
    settings::each(|setting| {
        of_many(setting, &Queue::bounded(0), EACH);
        of_many(setting, &Queue::bounded(1), EACH);
        of_many(setting, &Queue::bounded(16), EACH);
        of_many(setting, &Queue::unbounded(), EACH);
        of_many(setting, &LifoQueue::bounded(4), EACH);
        of_many(setting, &PriorityQueue::bounded(4), EACH);
    });
}

fn of_many<O: Order<Item = u64> + Send>(setting: &Setting, queue: &QueueBy<O>, each: u64) {
    const SIDE: u64 = 4;
    scope(|scope| {
        let consumers: Vec<_> = (0..SIDE)
            .map(|_| {
                setting.spawn_scoped(scope, || {
                    queue.iter().fold((0, 0), |(count, sum), item| (count + 1, sum + item))
                })
            })
            .collect();
        let producers: Vec<_> = (0..SIDE)
            .map(|number| {
                setting.spawn_scoped(scope, move || {
                    (0..each).for_each(|item| queue.put(number * each + item).unwrap())
                })
            })
            .collect();
        producers.into_iter().for_each(|producer| producer.join().unwrap());
        queue.shutdown(Shutdown::Drain);
        let (count, sum) = consumers
            .into_iter()
            .map(|consumer| consumer.join().unwrap())
            .fold((0, 0), |(count, sum), (more, items)| (count + more, sum + items));
        let all = SIDE * each;
        assert_eq!((count, sum), (all, all * (all - 1) / 2));
    });
}

#[test]
fn items_of_one_producer_come_in_order_at_one_consumer() {
    settings::each(|setting| {
        for capacity in [0, 1, 7, usize::MAX] {
            let queue = Queue::bounded(capacity);
            scope(|scope| {
                setting.spawn_scoped(scope, || {
                    (0..2000).for_each(|item| queue.put(item).unwrap());
                    queue.shutdown(Shutdown::Drain);
                });
                assert!(queue.iter().eq(0..2000));
            });
        }
    });
}

#[test]
fn a_fast_producer_is_held_to_the_consumers_pace() {
    settings::each(|setting| {
        let queue = Queue::bounded(3);
        let made = AtomicUsize::new(0);
        scope(|scope| {
            setting.spawn_scoped(scope, || {
                for item in 0..100 {
                    made.store(item + 1, Relaxed);
                    queue.put(item).unwrap();
                }
            });
            for item in 0..100 {
                assert_eq!(queue.get(), Ok(item));
                // In the queue, in its hands, and those that were got.
                assert!(made.load(Relaxed) <= item + 1 + 3 + 1 + 1);
            }
        });
    });
}

#[test]
fn a_pair_that_never_waits_lets_the_others_of_its_worker_run() {
    on_workers(1, || {
        let queue = Queue::unbounded();
        let seen = AtomicBool::new(false);
        scope(|scope| {
            scope.spawn(|| seen.store(true, Relaxed));
            while !seen.load(Relaxed) {
                queue.put(1).unwrap();
                queue.get().unwrap();
            }
        });
    });
}
