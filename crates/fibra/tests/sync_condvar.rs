//! Condition variables, in every setting (row E2).

mod limit;
mod random;
mod settings;

use fibra::sync::{Condvar, Mutex};
use fibra::{Cancelled, simulation, spawn, timeout, yield_now};
use random::Random;
use settings::{Setting, join_all};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Shared {
    mutex: Mutex<Vec<usize>>,
    changed: Condvar,
}

/// So many contexts that wait and, when they are notified, put their number into the list.
fn waiting(setting: &Setting, shared: &Arc<Shared>, count: usize) -> Vec<fibra::JoinHandle<()>> {
    (0..count)
        .map(|number| {
            let elsewhere = Arc::clone(shared);
            let handle = setting.spawn(move || {
                let mut list = elsewhere.mutex.lock();
                elsewhere.changed.wait(&mut list);
                list.push(number);
            });
            setting.until(|| shared.changed.waiting() == number + 1);
            handle
        })
        .collect()
}

#[test]
fn three_notified_among_five_are_three_and_those_who_came_first() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        let handles = waiting(setting, &shared, 5);
        assert_eq!(shared.changed.notify(3), 3);
        setting.until(|| shared.mutex.lock().len() == 3);
        assert_eq!(shared.changed.waiting(), 2);
        let mut first = shared.mutex.lock().clone();
        first.sort_unstable();
        assert_eq!(first, [0, 1, 2]);
        assert_eq!(handles.iter().filter(|handle| !handle.is_finished()).count().max(2), 2);
        assert_eq!(shared.changed.notify_all(), 2);
        join_all(handles);
        assert_eq!(shared.mutex.lock().len(), 5);
    });
}

#[test]
fn a_notification_for_nobody_is_for_nobody() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        assert!(!shared.changed.notify_one());
        assert_eq!((shared.changed.notify_all(), shared.changed.notify(7)), (0, 0));
        let handles = waiting(setting, &shared, 1);
        assert!(!handles[0].is_finished(), "it was not kept");
        assert!(shared.changed.notify_one());
        join_all(handles);
    });
}

#[test]
fn one_after_the_other_is_notified_in_the_order_of_coming() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        let handles = waiting(setting, &shared, 4);
        for done in 1..=4 {
            assert!(shared.changed.notify_one());
            setting.until(|| shared.mutex.lock().len() == done);
        }
        join_all(handles);
        assert_eq!(*shared.mutex.lock(), [0, 1, 2, 3]);
    });
}

#[test]
fn a_wait_has_the_mutex_again_when_its_time_is_up() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        let mut list = shared.mutex.lock();
        assert!(!shared.changed.wait_timeout(&mut list, Duration::from_millis(1)));
        assert!(!shared.changed.wait_timeout(&mut list, Duration::ZERO));
        assert!(!shared.changed.wait_deadline(&mut list, Instant::now()));
        assert_eq!(shared.changed.waiting(), 0);
        list.push(1);
        let elsewhere = Arc::clone(&shared);
        assert!(setting.spawn(move || elsewhere.mutex.try_lock().is_none()).join().unwrap());
        let elsewhere = Arc::clone(&shared);
        let notifier = setting.spawn(move || {
            elsewhere.mutex.lock().push(2);
            elsewhere.changed.notify_one();
        });
        assert!(shared.changed.wait_timeout(&mut list, HOUR));
        assert_eq!(*list, [1, 2]);
        notifier.join().unwrap();
    });
}

#[test]
fn wait_while_looks_before_and_after() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        let elsewhere = Arc::clone(&shared);
        let reader = setting.spawn(move || {
            let mut list = elsewhere.mutex.lock();
            elsewhere.changed.wait_while(&mut list, |list| list.len() < 3);
            list.len()
        });
        for number in 0..3 {
            setting.until(|| shared.changed.waiting() == 1);
            shared.mutex.lock().push(number);
            shared.changed.notify_all();
        }
        assert_eq!(reader.join().unwrap(), 3);
        let mut list = shared.mutex.lock();
        shared.changed.wait_while(&mut list, |list| list.is_empty());
        assert!(shared.changed.wait_while_timeout(&mut list, |list| list.is_empty(), Duration::ZERO));
        assert!(!shared.changed.wait_while_timeout(
            &mut list,
            |list| list.len() < 9,
            Duration::from_millis(1)
        ));
        assert!(!shared.changed.wait_while_deadline(&mut list, |list| list.len() < 9, Instant::now()));
    });
}

#[test]
fn the_time_is_the_runtimes() {
    simulation::run(|| {
        let shared = Shared::default();
        let mut list = shared.mutex.lock();
        assert!(!shared.changed.wait_while_timeout(&mut list, |list| list.is_empty(), HOUR));
        assert_eq!(simulation::elapsed(), HOUR);
    });
}

#[test]
fn a_cancelled_waiter_has_the_mutex_again_while_it_unwinds() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        let elsewhere = Arc::clone(&shared);
        let waiter = setting.spawn(move || {
            let mut list = elsewhere.mutex.lock();
            let result = catch_unwind(AssertUnwindSafe(|| elsewhere.changed.wait(&mut list)));
            // Nobody else can be in here.
            list.push(1);
            yield_now();
            list.push(2);
            drop(list);
            std::panic::resume_unwind(result.unwrap_err());
        });
        setting.until(|| shared.changed.waiting() == 1);
        let list = shared.mutex.lock();
        waiter.cancel();
        (0..5).for_each(|_| yield_now());
        assert!(!waiter.is_finished() && list.is_empty(), "it waits for the mutex");
        drop(list);
        assert!(waiter.join().unwrap_err().is::<Cancelled>());
        assert_eq!(*shared.mutex.lock(), [1, 2]);
        assert_eq!((shared.changed.waiting(), shared.mutex.waiting()), (0, 0));
    });
}

#[test]
fn a_notification_goes_to_the_next_when_the_first_in_line_was_cancelled() {
    settings::each(|setting| {
        let shared = Arc::new(Shared::default());
        let mut handles = waiting(setting, &shared, 2);
        let first = handles.remove(0);
        first.cancel();
        assert!(first.join().is_err());
        assert!(shared.changed.notify_one());
        join_all(handles);
        assert_eq!(*shared.mutex.lock(), [1]);
    });
}

/// A bounded buffer as in the textbooks, with timeouts and cancellations at random moments: what was put is got, once.
#[test]
fn nothing_is_lost_in_a_storm_of_cancellations() {
    struct Buffer {
        items: Mutex<VecDeque<usize>>,
        not_empty: Condvar,
        not_full: Condvar,
    }
    impl Buffer {
        fn put(&self, item: usize) {
            let mut items = self.items.lock();
            self.not_full.wait_while(&mut items, |items| items.len() == 2);
            items.push_back(item);
            self.not_empty.notify_one();
        }

        fn get(&self, limit: Duration) -> Option<usize> {
            let mut items = self.items.lock();
            self.not_empty.wait_while_timeout(&mut items, |items| items.is_empty(), limit);
            let item = items.pop_front()?;
            self.not_full.notify_one();
            Some(item)
        }
    }
    settings::each(|setting| {
        let random = Random::new(random::seed());
        for _ in 0..20 {
            let (items, not_empty, not_full) = (Mutex::default(), Condvar::new(), Condvar::new());
            let buffer = Arc::new(Buffer { items, not_empty, not_full });
            let (put, got) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            let putters: Vec<_> = (0..4)
                .map(|_| {
                    let (buffer, put, random) =
                        (Arc::clone(&buffer), Arc::clone(&put), Random::new(random.next()));
                    setting.spawn(move || {
                        for item in 1..=30 {
                            let limit = Duration::from_micros(random.below(300));
                            if timeout(limit, || buffer.put(item)).is_ok() {
                                put.fetch_add(item, Ordering::Relaxed);
                            }
                        }
                    })
                })
                .collect();
            let getters: Vec<_> = (0..4)
                .map(|_| {
                    let (buffer, got, random) =
                        (Arc::clone(&buffer), Arc::clone(&got), Random::new(random.next()));
                    setting.spawn(move || {
                        loop {
                            if let Some(item) = buffer.get(Duration::from_micros(random.below(300))) {
                                got.fetch_add(item, Ordering::Relaxed);
                            }
                            yield_now();
                            fibra::cancel::checkpoint();
                        }
                    })
                })
                .collect();
            join_all(putters);
            // Between two gets, or while they wait for an item: never with one in the hand.
            getters.iter().for_each(fibra::JoinHandle::cancel);
            for getter in getters {
                assert!(getter.join().unwrap_err().is::<Cancelled>());
            }
            let rest: usize = buffer.items.lock().iter().sum();
            assert_eq!(got.load(Ordering::Relaxed) + rest, put.load(Ordering::Relaxed));
            assert_eq!((buffer.not_empty.waiting(), buffer.not_full.waiting()), (0, 0));
            assert!(!buffer.items.is_locked());
        }
    });
}

#[test]
fn in_every_schedule_each_letter_finds_a_reader() {
    simulation::explore(200, || {
        let shared = Arc::new(Shared::default());
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let shared = Arc::clone(&shared);
                spawn(move || {
                    let mut list = shared.mutex.lock();
                    shared.changed.wait_while(&mut list, |list| list.is_empty());
                    list.pop().unwrap()
                })
            })
            .collect();
        for number in 0..3 {
            simulation::perhaps_yield();
            shared.mutex.lock().push(number);
            shared.changed.notify_one();
        }
        let mut got = join_all(readers);
        got.sort_unstable();
        assert_eq!(got, [0, 1, 2]);
    });
}
