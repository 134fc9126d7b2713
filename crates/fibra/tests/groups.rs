//! Groups, and work that nobody waits for (rows H4, I1 and D5).

mod limit;
mod settings;
mod simulated;

use fibra::sync::{Barrier, Event};
use fibra::{
    Builder, Cancelled, Elapsed, Group, JoinHandle, Pool, shield, simulation, sleep, spawn, timeout,
};
use limit::on_any_workers;
use settings::each;
use simulated::explored;
use std::panic::{self, AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A panic that no hook reports.
fn fail(message: &'static str) -> ! {
    resume_unwind(Box::new(message))
}

#[test]
fn a_group_counts_its_members_and_is_joined_when_there_is_none() {
    each(|_| {
        let group = Group::new();
        assert_eq!((group.len(), group.is_empty(), group.join()), (0, true, Ok(())));
        let go = Arc::new(Event::new());
        let members: Vec<_> = (0..5)
            .map(|number| {
                let go = Arc::clone(&go);
                group.spawn(move || {
                    go.wait();
                    number
                })
            })
            .collect();
        assert_eq!((group.len(), group.is_empty()), (5, false));
        assert_eq!(group.join_timeout(Duration::from_millis(1)), Err(Elapsed));
        go.set();
        assert_eq!(group.join(), Ok(()));
        assert!(members.iter().all(JoinHandle::is_finished));
        assert_eq!(group.len(), 0);
        assert_eq!(settings::join_all(members), [0, 1, 2, 3, 4]);
    });
}

#[test]
fn one_that_was_joined_is_not_counted_any_more() {
    each(|_| {
        let group = Group::new();
        for _ in 0..100 {
            group.spawn(|| ()).join().unwrap();
            assert_eq!((group.len(), group.is_empty()), (0, true));
        }
    });
}

#[test]
fn join_waits_for_members_that_members_spawn() {
    fn spread(group: &Group, depth: usize, ended: &Arc<AtomicUsize>) {
        let (own, ended) = (group.clone(), Arc::clone(ended));
        group.spawn(move || {
            if depth > 0 {
                fibra::yield_now();
                spread(&own, depth - 1, &ended);
                spread(&own, depth - 1, &ended);
            }
            ended.fetch_add(1, Ordering::Relaxed);
        });
    }
    each(|_| {
        let (group, ended) = (Group::new(), Arc::default());
        spread(&group, 6, &ended);
        group.join().unwrap();
        assert_eq!(ended.load(Ordering::Relaxed), 127);
    });
}

#[test]
fn several_contexts_wait_for_the_same_group() {
    each(|setting| {
        let (group, go) = (Group::new(), Arc::new(Event::new()));
        group.spawn({
            let go = Arc::clone(&go);
            move || go.wait()
        });
        let waiting = setting.spawn_all(4, {
            let group = group.clone();
            move |_| group.join()
        });
        go.set();
        assert_eq!(settings::join_all(waiting), [Ok(()), Ok(()), Ok(()), Ok(())]);
    });
}

#[test]
fn the_first_panic_comes_out_of_join_once_with_its_name_and_its_words() {
    explored(|| {
        let group = Group::new();
        let second = group.spawn(|| {
            sleep(2 * SECOND);
            fail("later")
        });
        let first = Builder::new().name("fetch");
        let first = group
            .spawn_with(first, || {
                sleep(SECOND);
                resume_unwind(Box::new(String::from("no route")));
            })
            .unwrap();
        let last = group.spawn(|| sleep(3 * SECOND));
        assert_eq!(group.first_failure(), None);
        assert_eq!(group.join_timeout(2 * SECOND + SECOND / 2), Err(Elapsed));
        assert_eq!(group.first_failure().unwrap().id(), first.id());
        let failure = group.join().unwrap_err();
        assert_eq!(simulation::elapsed(), 3 * SECOND, "it disturbs no other");
        assert_eq!(
            (failure.id(), failure.name(), failure.message()),
            (first.id(), Some("fetch"), Some("no route"))
        );
        assert_eq!(failure.to_string(), "'fetch' has panicked: no route");
        assert_eq!((group.first_failure(), group.join()), (None, Ok(())), "it was told");
        // The payloads are the handles'.
        assert_eq!(first.join().unwrap_err().downcast_ref::<String>().unwrap(), "no route");
        assert_eq!(
            second.join().map(|never: std::convert::Infallible| never).unwrap_err().downcast_ref(),
            Some(&"later")
        );
        last.join().unwrap();
    });
}

#[test]
fn a_panic_that_can_be_joined_has_been_noted() {
    each(|_| {
        let group = Group::new();
        for _ in 0..100 {
            let member = group.spawn(|| fail("as planned"));
            let id = member.id();
            assert!(member.join().map(|never: std::convert::Infallible| never).is_err());
            assert_eq!(group.first_failure().unwrap().id(), id);
            assert_eq!(group.join().unwrap_err().message(), Some("as planned"));
        }
    });
}

#[test]
fn cancel_ends_the_members_of_now_and_a_cancellation_is_no_failure() {
    explored(|| {
        let group = Group::new();
        let members: Vec<_> = (0..3).map(|_| group.spawn(|| sleep(HOUR))).collect();
        sleep(SECOND);
        let unstarted = group.spawn(|| sleep(HOUR));
        group.cancel();
        let later = group.spawn(|| sleep(5 * SECOND));
        assert_eq!(group.join(), Ok(()));
        assert_eq!(simulation::elapsed(), 6 * SECOND, "one that comes later is not cancelled");
        later.join().unwrap();
        for member in members.into_iter().chain([unstarted]) {
            assert!(member.join().unwrap_err().is::<Cancelled>());
        }
    });
}

#[test]
fn cancel_and_join_ends_those_that_come_while_it_waits_and_then_the_group_is_as_new() {
    explored(|| {
        let group = Group::new();
        let late = Arc::new(Mutex::new(None));
        group.spawn({
            let (group, late) = (group.clone(), Arc::clone(&late));
            move || {
                shield(|| sleep(SECOND));
                *late.lock().unwrap() = Some(group.spawn(|| sleep(HOUR)));
            }
        });
        sleep(SECOND / 2);
        assert_eq!(group.cancel_and_join(), Ok(()));
        assert_eq!((group.len(), simulation::elapsed()), (0, SECOND));
        let late = late.lock().unwrap().take().expect("it was spawned");
        assert!(late.join().unwrap_err().is::<Cancelled>());
        group.spawn(|| sleep(SECOND));
        assert_eq!((group.join(), simulation::elapsed()), (Ok(()), 2 * SECOND));
    });
}

#[test]
fn a_wait_for_a_group_that_is_ended_leaves_nothing_behind() {
    explored(|| {
        let group = Group::new();
        let member = group.spawn(|| {
            shield(|| sleep(4 * SECOND));
            sleep(SECOND);
        });
        assert_eq!(timeout(SECOND, || group.join()), Err(Elapsed));
        assert_eq!(timeout(SECOND, || group.cancel_and_join()), Err(Elapsed));
        // Nobody waits in it any more: what comes now is not cancelled.
        let other = group.spawn(|| sleep(8 * SECOND));
        assert_eq!(group.join(), Ok(()));
        assert_eq!(simulation::elapsed(), 10 * SECOND);
        assert!(member.join().unwrap_err().is::<Cancelled>());
        other.join().unwrap();
    });
}

#[test]
fn a_member_that_waits_for_its_group_panics_instead_of_waiting_for_ever() {
    each(|_| {
        let group = Group::new();
        for wait in [
            (|group| drop(group.join())) as fn(&Group),
            |group| drop(group.join_timeout(HOUR)),
            |group| drop(group.cancel_and_join()),
        ] {
            let own = group.clone();
            let refused = group.spawn(move || catch_unwind(AssertUnwindSafe(|| wait(&own))).is_err());
            assert!(refused.join().unwrap());
        }
        group.join().unwrap();
    });
}

#[test]
fn a_group_that_is_dropped_lets_its_members_run_on() {
    on_any_workers(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let group = Group::new();
        let member = group.spawn({
            let ended = Arc::clone(&ended);
            move || {
                fibra::yield_now();
                ended.fetch_add(1, Ordering::Relaxed);
            }
        });
        drop(group);
        member.join().unwrap();
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn contexts_of_every_kind_are_added_and_count_waited_for_and_cancelled() {
    each(|setting| {
        let group = Group::new();
        let members = setting.spawn_all(4, |_| sleep(HOUR));
        members.iter().for_each(|member| group.add(member));
        group.add(&members[0]);
        assert_eq!(group.len(), 4, "a member twice is a member");
        assert_eq!(group.cancel_and_join(), Ok(()));
        assert!(members.into_iter().all(|member| member.join().unwrap_err().is::<Cancelled>()));

        let failed = setting.spawn(|| fail("before"));
        setting.until(|| failed.is_finished());
        group.add(&failed);
        assert!(group.is_empty());
        assert_eq!(group.join().unwrap_err().id(), failed.id());
        assert!(failed.join().is_err());
    });
}

#[test]
fn what_is_added_to_a_group_that_is_being_cancelled_is_cancelled() {
    explored(|| {
        let group = Group::new();
        group.spawn(|| shield(|| sleep(SECOND)));
        sleep(SECOND / 2);
        let cancelling = spawn({
            let group = group.clone();
            move || group.cancel_and_join()
        });
        sleep(SECOND / 4);
        let added = spawn(|| sleep(HOUR));
        group.add(&added);
        assert!(added.join().unwrap_err().is::<Cancelled>());
        cancelling.join().unwrap().unwrap();
        assert!(simulation::elapsed() < HOUR);
    });
}

/// Members come, end, fail and are cancelled at the same time; nobody waits for ever, and nobody is left.
#[test]
fn members_that_come_and_go_from_everywhere_are_all_counted_off() {
    each(|setting| {
        let group = Group::new();
        let barrier = Arc::new(Barrier::new(4));
        let spawning = setting.spawn_all(4, {
            let group = group.clone();
            move |number| {
                barrier.wait().unwrap();
                for round in 0..50 {
                    let member = group.spawn(move || {
                        if round % 3 == 0 {
                            fibra::yield_now();
                        }
                        if round % 5 == 0 {
                            fail("as planned");
                        }
                    });
                    match (round + number) % 4 {
                        0 => member.cancel(),
                        1 => drop(member.join()),
                        2 => drop(group.join_timeout(Duration::ZERO)),
                        _ => {}
                    }
                    if round == 40 && number == 0 {
                        group.cancel();
                    }
                }
            }
        });
        settings::join_all(spawning);
        drop(group.join());
        assert_eq!((group.len(), group.is_empty(), group.join()), (0, true, Ok(())));
    });
}

// Work that nobody waits for.

#[test]
fn detached_work_is_finished_before_run_returns() {
    for workers in [1, 2, 8] {
        let ended = Arc::new(AtomicUsize::new(0));
        let count = || {
            let ended = Arc::clone(&ended);
            move || {
                for _ in 0..10 {
                    fibra::yield_now();
                }
                sleep(Duration::from_millis(1));
                ended.fetch_add(1, Ordering::Relaxed);
            }
        };
        let detached = [(); 4].map(|()| count());
        let [plain, of_a_pool, of_a_group, of_a_daemon] = detached;
        limit::on_workers(workers, move || {
            drop(spawn(plain));
            drop(Pool::new(1).spawn(of_a_pool));
            drop(Group::new().spawn(of_a_group));
            Builder::new()
                .daemon(true)
                .spawn(|| drop(Builder::new().daemon(false).spawn(of_a_daemon).unwrap()))
                .unwrap()
                .join()
                .unwrap();
        });
        assert_eq!(ended.load(Ordering::Relaxed), 4);
    }
}

#[test]
fn detached_work_of_daemons_is_cut_short_unless_it_says_otherwise() {
    let ended = Arc::new(AtomicUsize::new(0));
    let after_run = Arc::clone(&ended);
    limit::on_workers(1, move || {
        Builder::new()
            .daemon(true)
            .spawn(move || {
                drop(spawn(move || {
                    sleep(HOUR);
                    ended.fetch_add(1, Ordering::Relaxed);
                }));
            })
            .unwrap()
            .join()
            .unwrap();
    });
    assert_eq!(after_run.load(Ordering::Relaxed), 0, "and `run` has not waited for an hour");
}

#[test]
fn a_panic_in_detached_work_is_reported() {
    const WORDS: &str = "nobody joins this one";
    let reports = Arc::new(AtomicUsize::new(0));
    let before = panic::take_hook();
    panic::set_hook({
        let reports = Arc::clone(&reports);
        Box::new(move |info| {
            if info.payload_as_str() == Some(WORDS) {
                reports.fetch_add(1, Ordering::Relaxed);
            } else {
                before(info);
            }
        })
    });
    limit::on_workers(2, || {
        drop(spawn(|| panic!("{WORDS}")));
        drop(Pool::new(1).spawn(|| panic!("{WORDS}")));
        drop(Group::new().spawn(|| panic!("{WORDS}")));
    });
    assert_eq!(reports.load(Ordering::Relaxed), 3);
}

#[test]
fn a_pool_bounds_detached_work_and_makes_who_brings_more_wait() {
    explored(|| {
        let pool = Pool::new(2);
        for number in 0..10 {
            drop(pool.spawn(|| sleep(SECOND)));
            assert_eq!(simulation::elapsed().as_secs(), (number / 2), "two at a time");
        }
        pool.join().unwrap();
        assert_eq!(simulation::elapsed(), 5 * SECOND);
    });
}
