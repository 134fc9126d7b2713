//! What `select` can choose besides queues: the ends of coroutines, events, channels, permits (row F4).

mod limit;
mod settings;
mod waiting;

use fibra::queue::{Queue, Selectable, after, broadcast, oneshot, select, select_timeout, try_select, watch};
use fibra::sync::{BoundedSemaphore, Event, Semaphore};
use fibra::{Cancelled, scope};
use std::time::Duration;
use waiting::waiting;

const SHORT: Duration = Duration::from_millis(2);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn the_end_of_a_coroutine_is_an_arm() {
    settings::each(|setting| {
        let (go, other) = (Event::new(), Event::new());
        scope(|scope| {
            let idle = setting.spawn_scoped(scope, || other.wait());
            let work = setting.spawn_scoped(scope, || {
                go.wait();
                42
            });
            assert_eq!(select_timeout(&mut [&mut work.select_join(), &mut idle.select_join()], SHORT), None);
            // That arm is gone before the end; and two contexts wait at once.
            let (mut first, mut second) = (idle.select_join(), work.select_join());
            fibra::scope(|inner| {
                let observer = setting
                    .spawn_scoped(inner, || select(&mut [&mut after(MINUTE), &mut work.select_join()]));
                assert_eq!(select_timeout(&mut [&mut first, &mut second], SHORT), None);
                go.set();
                assert_eq!(select(&mut [&mut first, &mut second]), 1);
                assert_eq!((first.take(), second.take()), (None, Some(())));
                assert_eq!(observer.join().unwrap(), 1);
            });
            assert_eq!(select(&mut [&mut work.select_join()]), 0, "it has ended for good");
            drop(second);
            assert_eq!(work.join().unwrap(), 42);
            idle.cancel();
            assert_eq!(select(&mut [&mut first]), 0, "cancelled is ended, too");
            drop(first);
            assert!(idle.join().unwrap_err().is::<Cancelled>());
        });
    });
}

#[test]
fn the_first_of_many_that_end_is_found_again_and_again() {
    settings::each(|setting| {
        let count = 20;
        scope(|scope| {
            let mut handles: Vec<_> = (0..count)
                .map(|number| {
                    setting.spawn_scoped(scope, move || {
                        fibra::sleep(Duration::from_micros(number * 50 % 300));
                        number
                    })
                })
                .collect();
            let mut sum = 0;
            while !handles.is_empty() {
                let chosen = {
                    let mut arms: Vec<_> = handles.iter().map(|handle| handle.select_join()).collect();
                    select(&mut arms.iter_mut().map(|arm| arm as &mut dyn Selectable).collect::<Vec<_>>())
                };
                sum += handles.swap_remove(chosen).join().unwrap();
            }
            assert_eq!(sum, count * (count - 1) / 2);
        });
    });
}

#[test]
fn an_event_is_an_arm_and_who_waited_when_it_was_set_goes_on_though_it_is_cleared() {
    settings::each(|setting| {
        let (event, queue) = (Event::new(), Queue::<u32>::unbounded());
        scope(|scope| {
            for _ in 0..50 {
                let waits = setting.spawn_scoped(scope, || {
                    fibra::select! {
                        _item = queue.select_get() => false,
                        () = event.select_wait() => true,
                    }
                });
                setting.until(|| event.waiting() == 1 && waiting(&queue, "getters") == 1);
                event.set();
                event.clear();
                assert!(waits.join().unwrap());
                assert_eq!((event.waiting(), waiting(&queue, "getters")), (0, 0));
            }
        });
        event.set();
        assert_eq!(try_select(&mut [&mut event.select_wait()]), Some(0));
    });
}

#[test]
fn receivers_of_channels_are_arms() {
    settings::each(|setting| {
        let (answer, mut answered) = oneshot::channel();
        let (news, mut heard) = broadcast::channel(4);
        let (state, mut seen) = watch::channel(0);
        let told = Queue::unbounded();
        scope(|scope| {
            setting.spawn_scoped(scope, || {
                for _ in 0..3 {
                    let line = fibra::select! {
                        one = answered.select_recv() => format!("answer {}", one.unwrap()),
                        item = heard.select_recv() => format!("news {}", item.unwrap()),
                        value = seen.select_changed() => format!("state {}", value.unwrap()),
                    };
                    told.put(line).unwrap();
                }
            });
            news.send("x").unwrap();
            assert_eq!(told.get().as_deref(), Ok("news x"));
            state.send(3).unwrap();
            assert_eq!(told.get().as_deref(), Ok("state 3"));
            answer.send(7).unwrap();
            assert_eq!(told.get().as_deref(), Ok("answer 7"));
        });
    });
}

#[test]
fn a_channels_end_is_chosen_too() {
    settings::each(|setting| {
        let (sender, mut receiver) = oneshot::channel::<()>();
        let (news, mut heard) = broadcast::channel::<()>(1);
        let (state, mut seen) = watch::channel(());
        scope(|scope| {
            let ends = setting.spawn_scoped(scope, || {
                let never = Queue::<()>::unbounded();
                let first = fibra::select! {
                    end = receiver.select_recv() => end.is_err(),
                    _ = never.select_get() => false,
                };
                let second = fibra::select! {
                    end = heard.select_recv() => end == Err(broadcast::RecvError::Disconnected),
                    _ = never.select_get() => false,
                };
                let third = fibra::select! {
                    end = seen.select_changed() => end.is_err(),
                    _ = never.select_get() => false,
                };
                [first, second, third]
            });
            fibra::yield_now();
            drop(sender);
            drop(news);
            drop(state);
            assert_eq!(ends.join().unwrap(), [true; 3]);
        });
    });
}

#[test]
fn permits_of_a_semaphore_are_an_arm_that_waits_in_line() {
    settings::each(|setting| {
        let (semaphore, queue) = (Semaphore::new(1), Queue::<u32>::unbounded());
        let choose = || {
            let permit = fibra::select! {
                permit = semaphore.select_acquire(1) => Some(permit),
                _ = queue.select_get() => None,
            };
            permit.is_some_and(|permit| {
                permit.forget();
                true
            })
        };
        scope(|scope| {
            let held = semaphore.acquire();
            let first = setting.spawn_scoped(scope, choose);
            setting.until(|| semaphore.waiting() == 1);
            let second = setting.spawn_scoped(scope, || semaphore.acquire().forget());
            setting.until(|| semaphore.waiting() == 2);
            assert!(semaphore.try_acquire().is_none());
            drop(held);
            assert!(first.join().unwrap());
            assert!(!second.is_finished());
            semaphore.release(1);
            second.join().unwrap();
            assert_eq!((semaphore.available_permits(), waiting(&queue, "getters")), (0, 0));
        });
    });
}

#[test]
fn a_selector_that_leaves_a_semaphores_line_lets_those_behind_it_pass() {
    settings::each(|setting| {
        let (semaphore, queue) = (Semaphore::new(1), Queue::unbounded());
        scope(|scope| {
            let greedy = setting.spawn_scoped(scope, || {
                fibra::select! {
                    permit = semaphore.select_acquire(2) => { permit.forget(); 0 },
                    item = queue.select_get() => item.unwrap(),
                }
            });
            setting.until(|| semaphore.waiting() == 1);
            let modest = setting.spawn_scoped(scope, || semaphore.acquire().forget());
            setting.until(|| semaphore.waiting() == 2);
            queue.put(5).unwrap();
            assert_eq!(greedy.join().unwrap(), 5);
            modest.join().unwrap();
            assert_eq!((semaphore.available_permits(), semaphore.waiting()), (0, 0));
            semaphore.release(1);
            assert!(semaphore.try_acquire().is_some(), "nothing is left of the line");
        });
        let bounded = BoundedSemaphore::new(1);
        let mut arm = bounded.select_acquire(1);
        assert_eq!(select(&mut [&mut arm]), 0);
        assert_eq!(bounded.available_permits(), 0);
        drop(arm);
        assert_eq!(bounded.available_permits(), 1, "what it has and nobody took is given back");
    });
}
