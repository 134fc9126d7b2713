//! Read-write locks, in every setting (row E1).

mod limit;
mod random;
mod settings;

use fibra::sync::{RwLock, RwLockReadGuard, RwLockUpgradableReadGuard, RwLockWriteGuard};
use fibra::{Cancelled, Elapsed, shield, timeout, yield_now};
use random::Random;
use settings::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn readers_are_inside_together_and_a_writer_alone() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(0));
        let (readers, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let contexts = setting.spawn_all(9, {
            let (lock, readers, most) = (Arc::clone(&lock), Arc::clone(&readers), Arc::clone(&most));
            move |number| {
                for _ in 0..30 {
                    if number % 3 == 0 {
                        let mut value = lock.write();
                        assert_eq!(readers.load(Ordering::Relaxed), 0);
                        let seen = *value;
                        yield_now();
                        *value = seen + 1;
                    } else {
                        let value = lock.read();
                        let inside = readers.fetch_add(1, Ordering::Relaxed) + 1;
                        most.fetch_max(inside, Ordering::Relaxed);
                        let seen = *value;
                        yield_now();
                        assert_eq!(*value, seen);
                        readers.fetch_sub(1, Ordering::Relaxed);
                    }
                }
            }
        });
        join_all(contexts);
        assert_eq!(*lock.read(), 90);
        assert!(most.load(Ordering::Relaxed) > 1, "readers never met");
        assert_eq!((lock.waiting(), lock.is_locked()), (0, false));
    });
}

#[test]
fn a_writer_is_not_starved_by_readers_that_keep_coming() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(()));
        let reading = lock.read();
        let elsewhere = Arc::clone(&lock);
        let writer = setting.spawn(move || drop(elsewhere.write()));
        setting.until(|| lock.waiting() == 1);
        assert!(lock.try_read().is_none(), "a writer waits");
        assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
        let elsewhere = Arc::clone(&lock);
        let reader = setting.spawn(move || drop(elsewhere.read()));
        setting.until(|| lock.waiting() == 2);
        drop(reading);
        writer.join().unwrap();
        reader.join().unwrap();
    });
}

#[test]
fn those_who_wait_are_let_in_in_the_order_in_which_they_came() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(Vec::new()));
        let mut writing = lock.write();
        let mut waiting = Vec::new();
        for (number, kind) in "rrwrrw".chars().enumerate() {
            let elsewhere = Arc::clone(&lock);
            waiting.push(setting.spawn(move || match kind {
                'r' => elsewhere.read().len(),
                _ => {
                    let mut list = elsewhere.write();
                    list.push(number);
                    list.len()
                }
            }));
            setting.until(|| lock.waiting() == number + 1);
        }
        writing.push(100);
        drop(writing);
        assert_eq!(join_all(waiting), [1, 1, 2, 2, 2, 3]);
        assert_eq!(*lock.read(), [100, 2, 5]);
    });
}

#[test]
fn readers_behind_a_writer_who_leaves_are_let_in() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(1));
        let reading = lock.read();
        let (for_writer, for_reader) = (Arc::clone(&lock), Arc::clone(&lock));
        let writer = setting.spawn(move || *for_writer.write() = 2);
        setting.until(|| lock.waiting() == 1);
        let reader = setting.spawn(move || *for_reader.read());
        setting.until(|| lock.waiting() == 2);
        writer.cancel();
        assert!(writer.join().unwrap_err().is::<Cancelled>());
        assert_eq!(reader.join().unwrap(), 1, "while the first one reads still");
        drop(reading);
    });
}

#[test]
fn timed_ways_fail_after_their_time_and_leave_no_trace() {
    settings::each(|_| {
        let lock = RwLock::new(());
        let writing = lock.write();
        assert!(
            lock.try_read().is_none() && lock.try_write().is_none() && lock.try_upgradable_read().is_none()
        );
        assert!(lock.read_timeout(Duration::from_millis(1)).is_none());
        assert!(lock.write_timeout(Duration::from_millis(1)).is_none());
        assert!(lock.read_deadline(Instant::now()).is_none());
        assert!(lock.write_deadline(Instant::now()).is_none());
        assert!(lock.try_read_recursive().is_none());
        assert!(lock.upgradable_read_timeout(Duration::ZERO).is_none());
        assert!(lock.upgradable_read_deadline(Instant::now()).is_none());
        assert_eq!(timeout(Duration::from_millis(1), || drop(lock.read())), Err(Elapsed));
        assert_eq!(lock.waiting(), 0);
        drop(writing);
        assert!(lock.upgradable_read_timeout(HOUR).is_some());
        assert!(lock.upgradable_read_timeout(Duration::MAX).is_some());
        assert!(lock.read_timeout(HOUR).is_some() && lock.write_timeout(Duration::MAX).is_some());
        let reading = lock.read();
        assert!(lock.try_write().is_none());
        assert!(lock.write_timeout(Duration::from_millis(1)).is_none());
        assert!(lock.try_read().is_some(), "the writer that left is forgotten");
        drop(reading);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn one_who_reads_already_can_read_again_although_a_writer_waits() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(0));
        let reading = lock.read();
        let elsewhere = Arc::clone(&lock);
        let writer = setting.spawn(move || *elsewhere.write() = 1);
        setting.until(|| lock.waiting() == 1);
        assert_eq!(*lock.read_recursive(), 0);
        assert!(lock.try_read_recursive().is_some() && lock.try_read().is_none());
        drop(reading);
        writer.join().unwrap();
        assert_eq!(*lock.read_recursive(), 1);
    });
}

#[test]
fn an_upgrade_waits_for_the_readers_and_nobody_writes_before_it() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(0));
        let (reading, upgradable) = (lock.read(), lock.upgradable_read());
        assert!(lock.try_upgradable_read().is_none(), "there is one at a time");
        let upgradable = RwLockUpgradableReadGuard::try_upgrade(upgradable).unwrap_err();
        let elsewhere = Arc::clone(&lock);
        let writer = setting.spawn(move || {
            let mut value = elsewhere.write();
            *value *= 10;
        });
        setting.until(|| lock.waiting() == 1);
        drop(reading);
        let mut writing = RwLockUpgradableReadGuard::upgrade(upgradable);
        assert_eq!(*writing, 0);
        *writing = 7;
        let upgradable = RwLockWriteGuard::downgrade_to_upgradable(writing);
        assert_eq!(*upgradable, 7);
        drop(RwLockUpgradableReadGuard::downgrade(upgradable));
        writer.join().unwrap();
        assert_eq!(*lock.read(), 70);
    });
}

#[test]
fn an_upgrade_is_had_at_once_when_nobody_else_is_inside_whoever_waits() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(1));
        let upgradable = lock.upgradable_read();
        let elsewhere = Arc::clone(&lock);
        let writer = setting.spawn(move || *elsewhere.write() *= 10);
        setting.until(|| lock.waiting() == 1);
        let mut writing = RwLockUpgradableReadGuard::try_upgrade(upgradable).expect("it is alone inside");
        *writing += 1;
        drop(writing);
        writer.join().unwrap();
        assert_eq!((*lock.read(), lock.waiting()), (20, 0));
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_the_readers_in() {
    settings::each(|setting| {
        let lock = Arc::new(RwLock::new(1));
        let mut writing = lock.write();
        let elsewhere = Arc::clone(&lock);
        let reader = setting.spawn(move || *elsewhere.read());
        setting.until(|| lock.waiting() == 1);
        *writing = 2;
        let reading = RwLockWriteGuard::downgrade(writing);
        assert_eq!(reader.join().unwrap(), 2);
        assert!(lock.try_write().is_none());
        drop(reading);
        assert!(lock.try_write().is_some());
    });
}

#[test]
fn parts_names_and_what_it_says_of_itself() {
    let lock = RwLock::named("table", (1, 2));
    assert_eq!(lock.name(), Some("table"));
    assert_eq!(format!("{lock:?}"), r#"RwLock { name: "table", data: (1, 2) }"#);
    let second = RwLockReadGuard::map(lock.read(), |pair| &pair.1);
    assert_eq!((*second, lock.is_locked()), (2, true));
    drop(second);
    *RwLockWriteGuard::map(lock.write(), |pair| &mut pair.0) = 3;
    assert_eq!(lock.into_inner(), (3, 2));
    let mut lock = RwLock::from(1);
    *lock.get_mut() = 2;
    assert_eq!(*lock.read(), 2);
}

#[test]
fn nobody_is_left_outside_or_inside_in_a_storm_of_cancellations() {
    settings::each(|setting| {
        let random = Random::new(random::seed());
        for _ in 0..30 {
            let (lock, written) = (Arc::new(RwLock::new(0_usize)), Arc::new(AtomicUsize::new(0)));
            let contexts: Vec<_> = (0..12)
                .map(|_| {
                    let (lock, written) = (Arc::clone(&lock), Arc::clone(&written));
                    let random = Random::new(random.next());
                    setting.spawn(move || {
                        let write = |mut value: RwLockWriteGuard<'_, usize>, pause: bool| {
                            let seen = *value;
                            if pause {
                                shield(yield_now);
                            }
                            *value = seen + 1;
                            written.fetch_add(1, Ordering::Relaxed);
                        };
                        for _ in 0..20 {
                            let limit = Duration::from_micros(random.below(200));
                            let pause = random.below(2) == 0;
                            match random.below(6) {
                                0 => drop(lock.read()),
                                1 => drop(lock.read_timeout(limit)),
                                2 => write(lock.write(), pause),
                                3 => {
                                    if let Some(value) = lock.write_timeout(limit) {
                                        write(value, pause);
                                    }
                                }
                                4 => {
                                    let value = lock.upgradable_read();
                                    write(RwLockUpgradableReadGuard::upgrade(value), pause);
                                }
                                _ => drop(timeout(limit, || drop(lock.read()))),
                            }
                        }
                    })
                })
                .collect();
            settings::cancel_some(contexts, || random.below(3) == 0);
            assert_eq!((lock.waiting(), lock.is_locked()), (0, false));
            assert_eq!(*lock.read(), written.load(Ordering::Relaxed));
        }
    });
}
