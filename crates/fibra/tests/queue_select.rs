//! `select`: the first of several that can be done is done, fairly, and nothing is lost (row F4).

mod limit;
mod random;
mod settings;
mod waiting;

use fibra::queue::{
    GetError, PutError, Queue, Selectable, Shutdown, after, at, select, select_deadline, select_timeout,
    try_select,
};
use fibra::sync::{Event, Semaphore};
use fibra::{Cancelled, scope, timeout};
use limit::on_workers;
use random::Random;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use waiting::waiting;

const SHORT: Duration = Duration::from_millis(2);
const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn what_can_be_done_is_done_and_the_rest_is_not_touched() {
    let (empty, full, room) = (Queue::<u32>::unbounded(), Queue::bounded(1), Queue::bounded(1));
    full.put(1).unwrap();
    let mut arms = (empty.select_get(), full.select_put(2), room.select_put(3));
    assert_eq!(select(&mut [&mut arms.0, &mut arms.1, &mut arms.2]), 2);
    assert_eq!(arms.2.take(), Some(Ok(())));
    assert_eq!((arms.0.take(), arms.1.take()), (None, None));
    assert_eq!(arms.1.into_item(), Some(2));
    assert_eq!((empty.len(), full.get(), full.len(), room.get()), (0, Ok(1), 0, Ok(3)));
}

#[test]
fn without_a_wait_or_in_time_nothing_is_done_if_nothing_can_be() {
    let (empty, full) = (Queue::<u32>::unbounded(), Queue::bounded(1));
    full.put(1).unwrap();
    let (mut get, mut put) = (empty.select_get(), full.select_put(2));
    assert_eq!(try_select(&mut [&mut get, &mut put]), None);
    assert_eq!(select_timeout(&mut [&mut get, &mut put], Duration::ZERO), None);
    assert_eq!(select_timeout(&mut [&mut get, &mut put], SHORT), None);
    assert_eq!(select_deadline(&mut [&mut get, &mut put], Instant::now()), None);
    assert_eq!((waiting(&empty, "getters"), waiting(&full, "putters")), (0, 0), "it has left");
    assert_eq!(put.into_item(), Some(2));
}

#[test]
fn it_waits_for_the_first_of_several() {
    settings::each(|setting| {
        let (one, other) = (Queue::unbounded(), Queue::rendezvous());
        scope(|scope| {
            for round in 0..40 {
                let chooser = setting.spawn_scoped(scope, || {
                    fibra::select! {
                        item = one.select_get() => (1, item),
                        item = other.select_get() => (2, item),
                    }
                });
                setting.until(|| waiting(&one, "getters") == 1 && waiting(&other, "getters") == 1);
                let queue = if round % 2 == 0 { &one } else { &other };
                queue.try_put(round).unwrap();
                assert_eq!(chooser.join().unwrap(), (1 + round % 2, Ok(round)));
                assert_eq!((waiting(&one, "getters"), waiting(&other, "getters")), (0, 0));
            }
        });
    });
}

#[test]
fn it_waits_for_room_and_keeps_the_items_that_were_not_put() {
    settings::each(|setting| {
        let (full, hand) = (Queue::bounded(1), Queue::rendezvous());
        full.put(0).unwrap();
        scope(|scope| {
            let chooser = setting.spawn_scoped(scope, || {
                let (mut one, mut other) = (full.select_put(1), hand.select_put(2));
                let chosen = select(&mut [&mut one, &mut other]);
                (chosen, one.into_item(), other.into_item())
            });
            setting.until(|| waiting(&hand, "putters") == 1 && waiting(&full, "putters") == 1);
            assert_eq!(hand.get(), Ok(2));
            assert_eq!(chooser.join().unwrap(), (1, Some(1), None));
            assert_eq!((full.get(), full.try_get()), (Ok(0), Err(GetError::Empty)));
        });
    });
}

#[test]
fn a_moment_is_an_arm() {
    settings::each(|setting| {
        let queue = Queue::<u32>::unbounded();
        let began = Instant::now();
        let (mut get, mut soon, mut late) = (queue.select_get(), after(SHORT), at(began + MINUTE));
        assert_eq!(select(&mut [&mut get, &mut late, &mut soon]), 2);
        assert!(began.elapsed() >= SHORT && soon.is_due() && !late.is_due());
        assert_eq!(select(&mut [&mut late, &mut soon]), 1, "used again it is the same moment");
        scope(|scope| {
            setting.spawn_scoped(scope, || queue.put(1).unwrap());
            assert_eq!(select(&mut [&mut late, &mut get]), 1);
        });
        let mut never = after(Duration::MAX);
        assert_eq!(try_select(&mut [&mut never]), None);
    });
}

#[test]
fn with_a_default_it_does_not_wait() {
    let queue = Queue::<u32>::unbounded();
    let got = fibra::select! {
        item = queue.select_get() => item.ok(),
        default => None,
    };
    assert_eq!(got, None);
}

#[test]
fn a_queue_that_is_shut_down_can_be_chosen_and_says_so() {
    settings::each(|setting| {
        let (one, other) = (Queue::<u32>::unbounded(), Queue::bounded(1));
        other.put(1).unwrap();
        scope(|scope| {
            let chooser = setting.spawn_scoped(scope, || {
                fibra::select! {
                    item = one.select_get() => item.map_err(drop),
                    put = other.select_put(7) => {
                        assert_eq!(put, Err(PutError::Shutdown(7)));
                        Err(())
                    },
                }
            });
            setting.until(|| waiting(&other, "putters") == 1);
            other.shutdown(Shutdown::Drain);
            assert_eq!(chooser.join().unwrap(), Err(()));
            let getter = setting.spawn_scoped(scope, || select(&mut [&mut one.select_get()]));
            setting.until(|| waiting(&one, "getters") == 1);
            one.shutdown(Shutdown::Immediate);
            assert_eq!(getter.join().unwrap(), 0);
        });
    });
}

#[test]
#[should_panic(expected = "without an arm")]
fn without_arms_there_is_nothing_to_wait_for() {
    select(&mut []);
}

#[test]
fn of_many_arms_each_can_be_chosen() {
    let queues: Vec<_> = (0..100).map(|_| Queue::unbounded()).collect();
    for number in 0..100 {
        queues[number].put(number).unwrap();
        let mut arms: Vec<_> = queues.iter().map(Queue::select_get).collect();
        let mut borrowed: Vec<_> = arms.iter_mut().map(|arm| arm as &mut dyn Selectable).collect();
        assert_eq!(select(&mut borrowed), number);
        assert_eq!(arms[number].take(), Some(Ok(number)));
    }
}

#[test]
fn among_several_that_can_be_done_each_is_chosen_as_often() {
    settings::each(|_| {
        let queues = [(); 4].map(|()| Queue::unbounded());
        for queue in &queues {
            (0..4000).for_each(|item| queue.put(item).unwrap());
        }
        let mut times = [0; 4];
        for _ in 0..4000 {
            let mut arms = queues.each_ref().map(Queue::select_get);
            times[select(&mut arms.each_mut().map(|arm| arm as &mut dyn Selectable))] += 1;
        }
        // Each about 1000 times, with a deviation of 27.
        assert!(times.iter().all(|times| (800..1200).contains(times)), "{times:?}");
    });
}

#[test]
fn two_that_both_wait_in_two_queues_share_what_comes() {
    settings::each(|setting| {
        let queues = [Queue::bounded(0), Queue::bounded(1)];
        scope(|scope| {
            let choosers: Vec<_> = (0..2)
                .map(|_| {
                    setting.spawn_scoped(scope, || {
                        let mut items = Vec::new();
                        while let Ok(item) = fibra::select! {
                            item = queues[0].select_get() => item,
                            item = queues[1].select_get() => item,
                        } {
                            items.push(item);
                        }
                        items
                    })
                })
                .collect();
            (0..1000).for_each(|item| queues[item % 2].put(item).unwrap());
            // The last items may still be on their way out of the second.
            setting.until(|| queues[1].is_empty());
            queues.iter().for_each(|queue| queue.shutdown(Shutdown::Drain));
            let mut items: Vec<_> =
                choosers.into_iter().flat_map(|chooser| chooser.join().unwrap()).collect();
            items.sort_unstable();
            assert!(items.into_iter().eq(0..1000));
        });
    });
}

#[test]
fn selectors_meet_selectors_in_a_rendezvous() {
    settings::each(|setting| {
        let hand = Queue::rendezvous();
        let sum = AtomicUsize::new(0);
        scope(|scope| {
            for _ in 0..2 {
                setting.spawn_scoped(scope, || {
                    for item in 1..=200 {
                        let put = fibra::select! {
                            put = hand.select_put(item) => put.is_ok(),
                            () = after(MINUTE) => false,
                        };
                        assert!(put);
                    }
                });
                setting.spawn_scoped(scope, || {
                    for _ in 1..=200 {
                        let item = fibra::select! {
                            item = hand.select_get() => item.unwrap(),
                            () = after(MINUTE) => 0,
                        };
                        sum.fetch_add(item, Relaxed);
                    }
                });
            }
        });
        assert_eq!(sum.load(Relaxed), 2 * 200 * 201 / 2);
    });
}

#[test]
fn who_puts_and_gets_in_one_rendezvous_does_not_serve_itself() {
    settings::each(|setting| {
        let hand = Queue::rendezvous();
        let (mut put, mut get) = (hand.select_put(1), hand.select_get());
        assert_eq!(select_timeout(&mut [&mut put, &mut get], SHORT), None);
        scope(|scope| {
            // Two of them serve each other.
            let swap = |mine: u32| {
                let hand = &hand;
                move || {
                    fibra::select! {
                        put = hand.select_put(mine) => put.map(|()| None).unwrap(),
                        theirs = hand.select_get() => Some(theirs.unwrap()),
                    }
                }
            };
            for _ in 0..100 {
                let [one, other] = [swap(1), swap(2)].map(|swap| setting.spawn_scoped(scope, swap));
                let outcome = (one.join().unwrap(), other.join().unwrap());
                assert!(matches!(outcome, (None, Some(1)) | (Some(2), None)), "{outcome:?}");
            }
        });
    });
}

#[test]
fn a_cancelled_selector_leaves_all_its_lists() {
    settings::each(|setting| {
        let (one, other, event) = (Queue::<u32>::unbounded(), Queue::rendezvous(), Event::new());
        scope(|scope| {
            let cancelled = setting.spawn_scoped(scope, || {
                select(&mut [&mut one.select_get(), &mut other.select_put(1), &mut event.select_wait()])
            });
            setting.until(|| event.waiting() == 1);
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            assert_eq!((waiting(&one, "getters"), waiting(&other, "putters"), event.waiting()), (0, 0, 0));
            assert!(timeout(SHORT, || select(&mut [&mut one.select_get()])).is_err());
            one.put(1).unwrap();
            assert_eq!(one.len(), 1);
        });
    });
}

#[test]
fn in_a_storm_of_selects_with_timeouts_and_cancellations_nothing_is_lost_or_doubled() {
    const ITEMS: u64 = 1500;
    let seed = random::seed();
    settings::each(move |setting| {
        for capacity in [0, 1, 5] {
            let queues = [Queue::bounded(capacity), Queue::bounded(capacity)];
            let (count, sum) = (AtomicU64::new(0), AtomicU64::new(0));
            scope(|scope| {
                let getters: Vec<_> = (0..3)
                    .map(|number| {
                        let (queues, count, sum) = (&queues, &count, &sum);
                        setting.spawn_scoped(scope, move || {
                            let random = Random::new(seed + 2 * number);
                            let mut open = true;
                            while open {
                                let patience = Duration::from_micros(random.below(40));
                                let (mut one, mut other) = (queues[0].select_get(), queues[1].select_get());
                                let mut arms: [&mut dyn Selectable; 2] = [&mut one, &mut other];
                                // The scope is left by an unwind: what the arms have then is what was lost, were there anything.
                                let _ = match random.below(3) {
                                    0 => select_timeout(&mut arms, patience),
                                    1 => timeout(patience, || select(&mut arms)).ok(),
                                    _ => try_select(&mut arms),
                                };
                                let mut note = |outcome: Option<Result<u64, GetError>>| match outcome {
                                    Some(Ok(item)) => {
                                        count.fetch_add(1, Relaxed);
                                        sum.fetch_add(item, Relaxed);
                                    }
                                    Some(Err(error)) => open = error != GetError::Shutdown,
                                    None => {}
                                };
                                note(one.take());
                                note(other.take());
                                if random.below(4) == 0 {
                                    fibra::yield_now();
                                }
                            }
                        })
                    })
                    .collect();
                let putters: Vec<_> = (0..2)
                    .map(|number| {
                        let queues = &queues;
                        setting.spawn_scoped(scope, move || {
                            let random = Random::new(seed + 2 * (number + 10));
                            for item in (number..ITEMS).step_by(2) {
                                let mut item = Some(item);
                                while let Some(back) = item.take() {
                                    let patience = Duration::from_micros(random.below(40));
                                    // One of the two, or only the one.
                                    if random.below(2) == 0 {
                                        item = queues[0]
                                            .put_timeout(back, patience)
                                            .err()
                                            .map(PutError::into_item);
                                    } else {
                                        let mut put = queues[1].select_put(back);
                                        let _ = timeout(patience, || select(&mut [&mut put]));
                                        item = put.into_item();
                                    }
                                    if random.below(4) == 0 {
                                        fibra::yield_now();
                                    }
                                }
                            }
                        })
                    })
                    .collect();
                putters.into_iter().for_each(|putter| putter.join().unwrap());
                // Those that are left in one are got there before its end is seen; the other's end may be seen first.
                setting.until(|| queues.iter().all(Queue::is_empty));
                queues.iter().for_each(|queue| queue.shutdown(Shutdown::Drain));
                getters.into_iter().for_each(|getter| getter.join().unwrap());
            });
            assert_eq!(count.load(Relaxed), ITEMS, "of the seed {seed}");
            assert_eq!(sum.load(Relaxed), ITEMS * (ITEMS - 1) / 2, "of the seed {seed}");
        }
    });
}

#[test]
fn in_a_storm_of_selects_over_a_semaphore_no_permit_is_lost_or_doubled() {
    let seed = random::seed();
    settings::each(move |setting| {
        let semaphores = [Semaphore::new(2), Semaphore::new(1)];
        let inside = [AtomicUsize::new(0), AtomicUsize::new(0)];
        scope(|scope| {
            for number in 0..4 {
                let (semaphores, inside) = (&semaphores, &inside);
                setting.spawn_scoped(scope, move || {
                    let random = Random::new(seed + 2 * number);
                    for _ in 0..300 {
                        let many = 1 + random.below(2) as usize;
                        let (mut one, mut other) =
                            (semaphores[0].select_acquire(many), semaphores[1].select_acquire(1));
                        let patience = Duration::from_micros(random.below(40));
                        let _ = timeout(patience, || select(&mut [&mut one, &mut other]));
                        for (place, permit, most) in [(0, one.take(), 2), (1, other.take(), 1)] {
                            if let Some(permit) = permit {
                                let before = inside[place].fetch_add(permit.num_permits(), Relaxed);
                                assert!(before + permit.num_permits() <= most, "of the seed {seed}");
                                fibra::yield_now();
                                inside[place].fetch_sub(permit.num_permits(), Relaxed);
                            }
                        }
                    }
                });
            }
        });
        for (semaphore, permits) in semaphores.iter().zip([2, 1]) {
            assert_eq!(
                (semaphore.available_permits(), semaphore.waiting()),
                (permits, 0),
                "of the seed {seed}"
            );
            assert!(semaphore.try_acquire_many(permits).is_some());
        }
    });
}

#[test]
fn a_select_that_never_waits_lets_the_others_of_its_worker_run() {
    on_workers(1, || {
        let (queue, seen) = (Queue::unbounded(), Event::new());
        scope(|scope| {
            scope.spawn(|| seen.set());
            while !seen.is_set() {
                queue.put(1).unwrap();
                assert_eq!(select(&mut [&mut queue.select_get(), &mut after(MINUTE)]), 0);
            }
        });
    });
}
