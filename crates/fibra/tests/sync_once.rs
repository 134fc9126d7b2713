//! What is done once, in every setting (row E6).

mod limit;
mod settings;

use fibra::sync::{LazyLock, Once, OnceLock};
use fibra::{Cancelled, sleep, spawn, yield_now};
use settings::join_all;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn of_many_who_come_one_does_it_and_all_find_it_done() {
    settings::each(|setting| {
        let (once, times) = (Arc::new(Once::new()), Arc::new(AtomicUsize::new(0)));
        let contexts = setting.spawn_all(8, {
            let (once, times) = (Arc::clone(&once), Arc::clone(&times));
            move |_| {
                once.call_once(|| {
                    (0..5).for_each(|_| yield_now());
                    times.fetch_add(1, Ordering::Relaxed);
                });
                times.load(Ordering::Relaxed)
            }
        });
        assert_eq!(join_all(contexts), [1; 8]);
        assert!(once.is_completed());
    });
}

#[test]
fn when_it_fails_one_of_those_who_wait_does_it() {
    settings::each(|setting| {
        let place = Arc::new(OnceLock::new());
        let tries = Arc::new(AtomicUsize::new(0));
        let contexts = setting.spawn_all(6, {
            let (place, tries) = (Arc::clone(&place), Arc::clone(&tries));
            move |number| {
                place
                    .get_or_try_init(|| {
                        (0..5).for_each(|_| yield_now());
                        match tries.fetch_add(1, Ordering::Relaxed) {
                            0 => Err("an error"),
                            1 => std::panic::resume_unwind(Box::new("on purpose")),
                            _ => Ok(number),
                        }
                    })
                    .copied()
            }
        });
        let results: Vec<_> = contexts.into_iter().map(fibra::JoinHandle::join).collect();
        assert_eq!(tries.load(Ordering::Relaxed), 3);
        assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1, "the one that has panicked");
        assert_eq!(results.iter().filter(|result| matches!(result, Ok(Err(_)))).count(), 1);
        let value = *place.get().unwrap();
        assert_eq!(
            results.iter().filter(|result| matches!(result, Ok(Ok(seen)) if *seen == value)).count(),
            4
        );
    });
}

#[test]
fn when_it_is_cancelled_the_next_one_does_it_and_who_is_cancelled_waiting_is_forgotten() {
    settings::each(|setting| {
        let place = Arc::new(OnceLock::new());
        let elsewhere = Arc::clone(&place);
        let slow = setting.spawn(move || {
            elsewhere.get_or_init(|| {
                sleep(HOUR);
                1
            });
        });
        setting.until(|| is_asleep(&slow));
        let (first, second) = (Arc::clone(&place), Arc::clone(&place));
        let first = setting.spawn(move || *first.get_or_init(|| 2));
        setting.until(|| is_asleep(&first));
        let second = setting.spawn(move || *second.get_or_init(|| 3));
        setting.until(|| is_asleep(&second));
        let elsewhere = Arc::clone(&place);
        let onlooker = setting.spawn(move || *elsewhere.wait());
        setting.until(|| is_asleep(&onlooker));
        first.cancel();
        assert!(first.join().unwrap_err().is::<Cancelled>());
        slow.cancel();
        assert!(slow.join().unwrap_err().is::<Cancelled>());
        assert_eq!((second.join().unwrap(), onlooker.join().unwrap()), (3, 3));
    });
}

/// Whether the context waits.
fn is_asleep<T>(handle: &fibra::JoinHandle<T>) -> bool {
    let id = handle.id();
    fibra::inspect::contexts()
        .iter()
        .any(|context| context.id == id && matches!(context.state, fibra::inspect::State::Parked { .. }))
}

#[test]
fn who_needs_it_in_order_to_do_it_learns_that() {
    settings::each(|_| {
        let place = OnceLock::new();
        let result = catch_unwind(AssertUnwindSafe(|| {
            place.get_or_init(|| {
                place.get_or_init(|| 1);
                2
            });
        }));
        assert!(result.is_err());
        assert_eq!(*place.get_or_init(|| 3), 3);
    });
}

/// What the hook does while a context is told that it waits for itself must not be in anybody's way.
#[test]
fn a_panic_hook_that_waits_keeps_nobody_from_what_is_done_once() {
    limit::on_workers(1, || {
        let once = Arc::new(Once::new());
        let told = Arc::new(AtomicUsize::new(0));
        let (seen, before) = (Arc::clone(&told), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload_as_str().is_some_and(|message| message.contains("needs itself")) {
                seen.fetch_add(1, Ordering::Relaxed);
                (0..3).for_each(|_| yield_now());
            } else {
                before(panic);
            }
        }));
        let elsewhere = Arc::clone(&once);
        let other = spawn(move || elsewhere.call_once(|| ()));
        let result = catch_unwind(AssertUnwindSafe(|| once.call_once(|| once.call_once(|| ()))));
        drop(std::panic::take_hook());
        assert!(result.is_err());
        other.join().unwrap();
        assert_eq!((told.load(Ordering::Relaxed), once.is_completed()), (1, true));
    });
}

#[test]
fn a_place_is_set_once_and_gives_a_second_value_back() {
    let mut place = OnceLock::new();
    assert_eq!(place.get(), None);
    assert_eq!(place.get_mut(), None);
    assert_eq!(format!("{place:?}"), "OnceLock(<unset>)");
    assert_eq!(place.set(String::from("one")), Ok(()));
    assert_eq!(place.set(String::from("two")), Err(String::from("two")));
    assert_eq!(format!("{place:?}"), r#"OnceLock("one")"#);
    place.get_mut().unwrap().push('!');
    assert_eq!(place.take().as_deref(), Some("one!"));
    assert_eq!(place.take(), None);
    assert_eq!(place.set(String::from("three")), Ok(()));
    assert_eq!(place.into_inner().as_deref(), Some("three"));
    let five = OnceLock::from(5);
    assert_eq!(five.get(), Some(&5));
    assert_eq!((five.clone() == five, five == OnceLock::new()), (true, false));
    assert_eq!(OnceLock::<u32>::new().clone().into_inner(), None);
}

#[test]
fn a_value_is_dropped_once() {
    let counted = Arc::new(());
    let place = OnceLock::from(Arc::clone(&counted));
    assert_eq!(Arc::strong_count(&counted), 2);
    drop(place);
    assert_eq!(Arc::strong_count(&counted), 1);
    drop(OnceLock::<Arc<()>>::new());
}

#[test]
fn a_lazy_value_is_made_when_it_is_needed_and_not_at_all_if_that_panics() {
    settings::each(|setting| {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        MADE.store(0, Ordering::Relaxed);
        let lazy = Arc::new(LazyLock::new(|| {
            (0..5).for_each(|_| yield_now());
            MADE.fetch_add(1, Ordering::Relaxed) + 41
        }));
        assert_eq!(format!("{lazy:?}"), "LazyLock(<not made>)");
        let elsewhere = Arc::clone(&lazy);
        assert_eq!(join_all(setting.spawn_all(4, move |_| **elsewhere)), [41; 4]);
        assert_eq!(format!("{lazy:?}"), "LazyLock(41)");

        let broken: LazyLock<u32> = LazyLock::new(|| std::panic::resume_unwind(Box::new("on purpose")));
        assert!(catch_unwind(AssertUnwindSafe(|| *broken)).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| *broken)).is_err(), "there is nothing to make it with");
    });
}
