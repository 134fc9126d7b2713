//! One-shot, broadcast and watch channels (row F4).

mod limit;
mod settings;

use fibra::queue::broadcast::{self, RecvError as BroadcastError};
use fibra::queue::oneshot::{self, RecvError, RecvTimeoutError, SendError, TryRecvError};
use fibra::queue::watch;
use fibra::{Cancelled, scope, timeout};
use limit::on_workers;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

const SHORT: Duration = Duration::from_millis(2);
const MINUTE: Duration = Duration::from_secs(60);

/// Counts how many of it are there, and how often one was cloned.
#[derive(Debug)]
struct Counted {
    there: Arc<AtomicUsize>,
    clones: Arc<AtomicUsize>,
}

impl Counted {
    fn new(there: &Arc<AtomicUsize>, clones: &Arc<AtomicUsize>) -> Counted {
        there.fetch_add(1, Relaxed);
        Counted { there: Arc::clone(there), clones: Arc::clone(clones) }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Counted {
        self.clones.fetch_add(1, Relaxed);
        Counted::new(&self.there, &self.clones)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.there.fetch_sub(1, Relaxed);
    }
}

mod of_one_item {
    use super::*;

    #[test]
    fn it_is_received_whether_it_was_sent_before_or_is_waited_for() {
        settings::each(|setting| {
            let (sender, receiver) = oneshot::channel();
            sender.send(1).unwrap();
            assert_eq!(receiver.recv(), Ok(1));
            for round in 0..50 {
                let (sender, receiver) = oneshot::channel();
                scope(|scope| {
                    let waits = setting.spawn_scoped(scope, || receiver.recv());
                    if round % 2 == 0 {
                        fibra::yield_now();
                    }
                    sender.send(round).unwrap();
                    assert_eq!(waits.join().unwrap(), Ok(round));
                });
            }
        });
    }

    #[test]
    fn a_receiver_that_gives_up_can_come_back() {
        settings::each(|setting| {
            let (sender, mut receiver) = oneshot::channel();
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
            assert_eq!(receiver.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
            assert_eq!(receiver.recv_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
            assert!(timeout(SHORT, || receiver.recv_timeout(MINUTE)).is_err());
            scope(|scope| {
                setting.spawn_scoped(scope, || sender.send(5).unwrap());
                assert_eq!(receiver.recv_timeout(MINUTE), Ok(5));
            });
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected), "it came once");
            assert_eq!(receiver.recv_timeout(MINUTE), Err(RecvTimeoutError::Disconnected));
            assert_eq!(receiver.recv(), Err(RecvError));
        });
    }

    #[test]
    fn the_sender_sees_that_the_receiver_is_gone_and_keeps_the_item() {
        settings::each(|setting| {
            let (sender, receiver) = oneshot::channel();
            assert!(!sender.is_closed());
            scope(|scope| {
                let waits = setting.spawn_scoped(scope, || receiver.recv());
                waits.cancel();
                assert!(waits.join().unwrap_err().is::<Cancelled>());
            });
            assert!(sender.is_closed());
            assert_eq!(sender.send("mine"), Err(SendError("mine")));
        });
    }

    #[test]
    fn the_receiver_sees_that_the_sender_is_gone() {
        settings::each(|setting| {
            let (sender, receiver) = oneshot::channel::<()>();
            scope(|scope| {
                let waits = setting.spawn_scoped(scope, || receiver.recv());
                fibra::yield_now();
                setting.spawn_scoped(scope, || drop(sender));
                assert_eq!(waits.join().unwrap(), Err(RecvError));
            });
        });
    }

    #[test]
    fn an_item_that_nobody_receives_is_dropped_once() {
        let (there, clones) = (Arc::default(), Arc::default());
        let (sender, receiver) = oneshot::channel();
        sender.send(Counted::new(&there, &clones)).unwrap();
        assert_eq!(there.load(Relaxed), 1);
        drop(receiver);
        assert_eq!(there.load(Relaxed), 0);
    }

    #[test]
    fn sending_meets_giving_up_and_the_item_is_with_one_of_them() {
        settings::each(|setting| {
            for round in 0..200_u64 {
                let (sender, mut receiver) = oneshot::channel();
                scope(|scope| {
                    let limit = Duration::from_micros(round % 30);
                    let received = setting.spawn_scoped(scope, move || {
                        let received = receiver.recv_timeout(limit).is_ok();
                        (received, receiver)
                    });
                    let sent = setting.spawn_scoped(scope, move || sender.send(round));
                    assert_eq!(sent.join().unwrap(), Ok(()), "the receiver is there");
                    let (received, mut receiver) = received.join().unwrap();
                    assert_eq!(receiver.try_recv().is_ok(), !received);
                });
            }
        });
    }
}

mod to_everybody {
    use super::*;

    #[test]
    fn each_receiver_sees_every_item_sent_since_it_subscribed() {
        settings::each(|setting| {
            let (sender, first) = broadcast::channel(1000);
            assert_eq!(sender.send(0), Ok(1));
            let second = sender.subscribe();
            scope(|scope| {
                let readers = [(first, 0), (second, 1)].map(|(mut receiver, from)| {
                    setting.spawn_scoped(scope, move || {
                        for item in from..500 {
                            assert_eq!(receiver.recv(), Ok(item));
                        }
                        assert_eq!(receiver.recv(), Err(BroadcastError::Disconnected));
                    })
                });
                for item in 1..500 {
                    assert_eq!(sender.send(item), Ok(2));
                }
                drop(sender);
                readers.into_iter().for_each(|reader| reader.join().unwrap());
            });
        });
    }

    #[test]
    fn who_lags_is_told_how_many_it_missed_and_goes_on_with_the_oldest() {
        let (sender, mut receiver) = broadcast::channel(3);
        (0..10).for_each(|item| assert_eq!(sender.send(item), Ok(1)));
        assert_eq!(receiver.recv(), Err(BroadcastError::Lagged(7)));
        assert_eq!((receiver.recv(), receiver.recv(), receiver.recv()), (Ok(7), Ok(8), Ok(9)));
        assert_eq!(receiver.try_recv(), Err(BroadcastError::Empty));
        (10..14).for_each(|item| assert_eq!(sender.send(item), Ok(1)));
        assert_eq!(receiver.try_recv(), Err(BroadcastError::Lagged(1)));
        assert_eq!(receiver.try_recv(), Ok(11));
    }

    #[test]
    fn what_was_received_and_what_was_missed_is_all_that_was_sent() {
        const ITEMS: u64 = 3000;
        settings::each(|setting| {
            let (sender, receiver) = broadcast::channel(8);
            let receivers = [receiver, sender.subscribe(), sender.subscribe()];
            scope(|scope| {
                let counts = receivers.map(|mut receiver| {
                    setting.spawn_scoped(scope, move || {
                        let (mut next, mut seen) = (0, 0);
                        loop {
                            match receiver.recv_timeout(Duration::from_micros(seen % 50)) {
                                Ok(item) => {
                                    assert_eq!(item, next, "in order, and none twice");
                                    next += 1;
                                    seen += 1;
                                }
                                Err(BroadcastError::Lagged(missed)) => next += missed,
                                Err(BroadcastError::Empty) => fibra::yield_now(),
                                Err(BroadcastError::Disconnected) => return next,
                            }
                        }
                    })
                });
                for item in 0..ITEMS {
                    assert_eq!(sender.send(item), Ok(3));
                    if item % 16 == 0 {
                        fibra::yield_now();
                    }
                }
                drop(sender);
                counts.into_iter().for_each(|count| assert_eq!(count.join().unwrap(), ITEMS));
            });
        });
    }

    #[test]
    fn everybody_who_waits_is_woken_by_one_item_and_by_the_end() {
        settings::each(|setting| {
            let (sender, receiver) = broadcast::channel(1);
            let receivers = [receiver, sender.subscribe(), sender.subscribe()];
            scope(|scope| {
                let waits = receivers.map(|mut receiver| {
                    setting.spawn_scoped(scope, move || (receiver.recv(), receiver.recv()))
                });
                fibra::yield_now();
                sender.send(1).unwrap();
                let other = sender.clone();
                drop(sender);
                assert!(!other.is_closed(), "one sender is left");
                drop(other);
                for wait in waits {
                    assert_eq!(wait.join().unwrap(), (Ok(1), Err(BroadcastError::Disconnected)));
                }
            });
        });
    }

    #[test]
    fn without_receivers_the_item_comes_back() {
        let (sender, receiver) = broadcast::channel(2);
        assert_eq!(sender.receivers(), 1);
        drop(receiver);
        assert_eq!(sender.send("mine"), Err(SendError("mine")));
        let mut receiver = sender.subscribe();
        assert_eq!(sender.send("yours"), Ok(1));
        assert_eq!(receiver.recv_timeout(MINUTE), Ok("yours"), "and what came back was not sent");
        sender.close();
        assert_eq!(sender.clone().send("mine"), Err(SendError("mine")));
    }

    #[test]
    fn waits_end_without_a_trace() {
        settings::each(|setting| {
            let (sender, mut receiver) = broadcast::channel(4);
            let cancelled = sender.subscribe();
            assert_eq!(receiver.recv_timeout(SHORT), Err(BroadcastError::Empty));
            assert_eq!(receiver.recv_deadline(Instant::now()), Err(BroadcastError::Empty));
            assert!(timeout(SHORT, || receiver.recv()).is_err());
            scope(|scope| {
                let mut cancelled = cancelled;
                let waits = setting.spawn_scoped(scope, move || cancelled.recv());
                fibra::yield_now();
                waits.cancel();
                assert!(waits.join().unwrap_err().is::<Cancelled>());
            });
            assert_eq!(sender.send(3), Ok(1));
            assert_eq!(receiver.recv(), Ok(3));
        });
    }

    #[test]
    fn an_item_is_dropped_when_the_last_has_seen_it_and_the_last_needs_no_clone() {
        let (there, clones) = (Arc::default(), Arc::default());
        let (sender, mut one) = broadcast::channel(4);
        let mut other = sender.subscribe();
        assert!(sender.send(Counted::new(&there, &clones)).is_ok());
        drop(one.recv().unwrap());
        assert_eq!((there.load(Relaxed), clones.load(Relaxed)), (1, 1));
        drop(other.recv().unwrap());
        assert_eq!((there.load(Relaxed), clones.load(Relaxed)), (0, 1));
        // Those who have not seen it may also go.
        assert!(sender.send(Counted::new(&there, &clones)).is_ok());
        drop(one.recv().unwrap());
        drop(other);
        assert_eq!(there.load(Relaxed), 0);
        // Or it gives way.
        for _ in 0..6 {
            assert!(sender.send(Counted::new(&there, &clones)).is_ok());
        }
        assert_eq!(there.load(Relaxed), 4);
        drop(one);
        assert_eq!(there.load(Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "without room")]
    fn without_room_there_is_no_channel() {
        drop(broadcast::channel::<()>(0));
    }
}

#[test]
fn who_only_sends_lets_the_others_of_its_worker_run() {
    on_workers(1, || {
        let (news, mut heard) = broadcast::channel(1);
        let (state, seen) = watch::channel(0);
        let over = AtomicUsize::new(0);
        scope(|scope| {
            scope.spawn(|| {
                heard.recv().ok();
                over.fetch_add(1, Relaxed);
            });
            while over.load(Relaxed) == 0 {
                news.send(1).unwrap();
            }
            scope.spawn(|| over.fetch_add(1, Relaxed));
            while over.load(Relaxed) == 1 {
                state.send(1).unwrap();
            }
        });
        assert_eq!(seen.get(), 1);
    });
}

mod of_the_latest_value {
    use super::*;

    #[test]
    fn the_newest_value_is_seen_and_the_last_one_never_missed() {
        settings::each(|setting| {
            let (sender, receiver) = watch::channel(0);
            scope(|scope| {
                let watchers = [receiver.clone(), receiver.clone(), receiver].map(|mut receiver| {
                    setting.spawn_scoped(scope, move || {
                        let mut last = 0;
                        while let Ok(value) = receiver.changed() {
                            assert!(*value > last, "it never goes back, and none is seen twice");
                            last = *value;
                        }
                        last
                    })
                });
                for value in 1..=1000 {
                    sender.send(value).unwrap();
                    if value % 10 == 0 {
                        fibra::yield_now();
                    }
                }
                drop(sender);
                watchers.into_iter().for_each(|watcher| assert_eq!(watcher.join().unwrap(), 1000));
            });
        });
    }

    #[test]
    fn looking_does_not_make_it_seen() {
        let (sender, mut receiver) = watch::channel("a");
        assert_eq!((receiver.get(), *receiver.borrow()), ("a", "a"));
        assert_eq!(receiver.try_changed(), Err(TryRecvError::Empty), "the first value has been seen");
        sender.send("b").unwrap();
        assert_eq!((receiver.get(), *sender.borrow()), ("b", "b"));
        let mut clone = receiver.clone();
        let held = receiver.try_changed().unwrap();
        sender.send("c").unwrap();
        assert_eq!(*held, "b", "what one holds stays what it is");
        assert_eq!(clone.try_changed().as_deref(), Ok(&"c"), "what is in between is missed");
        assert_eq!(clone.try_changed(), Err(TryRecvError::Empty));
        assert_eq!(sender.subscribe().try_changed(), Err(TryRecvError::Empty));
        drop(sender);
        assert_eq!(receiver.changed().as_deref(), Ok(&"c"), "also when the sender is gone");
        assert_eq!(receiver.changed(), Err(RecvError));
        assert_eq!(receiver.try_changed(), Err(TryRecvError::Disconnected));
        assert_eq!(receiver.get(), "c");
    }

    #[test]
    fn without_receivers_the_value_comes_back_and_the_old_one_stays() {
        let (sender, receiver) = watch::channel(1);
        assert_eq!(sender.receivers(), 1);
        drop(receiver);
        assert_eq!(sender.send(2), Err(SendError(2)));
        assert_eq!(*sender.borrow(), 1);
        assert_eq!(*sender.replace(3), 1);
        assert_eq!(sender.subscribe().get(), 3);
    }

    #[test]
    fn waits_end_in_time_and_without_a_trace() {
        settings::each(|setting| {
            let (sender, mut receiver) = watch::channel(0);
            assert_eq!(receiver.changed_timeout(SHORT), Err(RecvTimeoutError::Timeout));
            assert_eq!(receiver.changed_deadline(Instant::now()), Err(RecvTimeoutError::Timeout));
            assert_eq!(receiver.wait_for_timeout(|&value| value > 0, SHORT), Err(RecvTimeoutError::Timeout));
            assert_eq!(
                receiver.wait_for_deadline(|&value| value > 0, Instant::now()),
                Err(RecvTimeoutError::Timeout)
            );
            assert!(timeout(SHORT, || receiver.changed()).is_err());
            scope(|scope| {
                let mut clone = receiver.clone();
                let waits = setting.spawn_scoped(scope, move || clone.changed().map(drop));
                fibra::yield_now();
                waits.cancel();
                assert!(waits.join().unwrap_err().is::<Cancelled>());
                let waits =
                    setting.spawn_scoped(scope, || receiver.changed_timeout(MINUTE).map(|value| *value));
                sender.send(4).unwrap();
                assert_eq!(waits.join().unwrap(), Ok(4));
            });
        });
    }

    #[test]
    fn wait_for_returns_at_once_in_the_end_or_never() {
        settings::each(|setting| {
            let (sender, receiver) = watch::channel(0);
            scope(|scope| {
                let waits = [1, 50, 100, 101].map(|wanted| {
                    let mut receiver = receiver.clone();
                    setting.spawn_scoped(scope, move || {
                        receiver.wait_for(|&value| value >= wanted).map(|value| *value >= wanted)
                    })
                });
                assert_eq!(
                    receiver.clone().wait_for(|&value| value < 101).map(|value| *value < 101),
                    Ok(true)
                );
                (1..=100).for_each(|value| sender.send(value).unwrap());
                drop(sender);
                let [first, second, third, fourth] = waits.map(|wait| wait.join().unwrap());
                assert_eq!((first, second, third), (Ok(true), Ok(true), Ok(true)));
                assert_eq!(fourth, Err(RecvError), "the last value is not as wanted");
            });
        });
    }

    #[test]
    fn what_is_asked_for_may_wait_and_use_the_channel() {
        settings::each(|setting| {
            let (sender, mut receiver) = watch::channel(0);
            scope(|scope| {
                setting.spawn_scoped(scope, || {
                    for value in 1..=5 {
                        sender.send(value).unwrap();
                        fibra::sleep(Duration::from_micros(100));
                    }
                    sender
                });
                let other = receiver.clone();
                let value = receiver.wait_for(|&value| {
                    fibra::sleep(Duration::from_micros(50));
                    value <= other.get() && value >= 5
                });
                assert_eq!(*value.unwrap(), 5);
            });
        });
    }

    #[test]
    fn each_value_is_dropped_once() {
        let (there, clones) = (Arc::default(), Arc::default());
        let (sender, receiver) = watch::channel(Counted::new(&there, &clones));
        sender.send(Counted::new(&there, &clones)).unwrap();
        assert_eq!(there.load(Relaxed), 1);
        drop(sender);
        assert_eq!(there.load(Relaxed), 1);
        drop(receiver);
        assert_eq!((there.load(Relaxed), clones.load(Relaxed)), (0, 0));
    }
}
