//! Barriers: nobody goes on before all have come, in every setting (row E5).

mod limit;
mod random;
mod settings;

use fibra::sync::{Barrier, BrokenBarrier};
use fibra::{Cancelled, Elapsed, simulation, sleep, spawn, timeout};
use random::Random;
use settings::{Setting, join_all};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Whether somebody passed.
type Passed = Result<(), BrokenBarrier>;

/// So many contexts that wait there by now.
fn waiting(setting: &Setting, barrier: &Arc<Barrier>, count: usize) -> Vec<fibra::JoinHandle<Passed>> {
    let before = barrier.waiting();
    let of_waiter = Arc::clone(barrier);
    let handles = setting.spawn_all(count, move |_| of_waiter.wait().map(|_| ()));
    setting.until(|| barrier.waiting() == before + count);
    handles
}

#[test]
fn nobody_goes_on_before_all_have_come_again_and_again() {
    settings::each(|setting| {
        const PARTIES: usize = 5;
        let (barrier, come) = (Arc::new(Barrier::new(PARTIES)), Arc::new(AtomicUsize::new(0)));
        let parties = setting.spawn_all(PARTIES, {
            let (barrier, come) = (Arc::clone(&barrier), Arc::clone(&come));
            move |_| {
                for round in 1..=100 {
                    come.fetch_add(1, Ordering::SeqCst);
                    barrier.wait().unwrap();
                    let now = come.load(Ordering::SeqCst);
                    // The fast may have come for the next round already; nobody can for the one after.
                    assert!((round * PARTIES..(round + 1) * PARTIES).contains(&now), "round {round}: {now}");
                }
            }
        });
        join_all(parties);
        assert_eq!((barrier.parties(), barrier.waiting(), barrier.is_broken()), (PARTIES, 0, false));
    });
}

#[test]
fn each_round_has_one_leader_and_each_its_own_number() {
    settings::each(|setting| {
        let barrier = Arc::new(Barrier::new(4));
        for _ in 0..20 {
            let of_party = Arc::clone(&barrier);
            let mut results = join_all(setting.spawn_all(4, move |_| of_party.wait().unwrap()));
            results.sort_by_key(|result| result.index());
            assert_eq!(results.iter().map(|result| result.index()).collect::<Vec<_>>(), [0, 1, 2, 3]);
            let leaders: Vec<bool> = results.iter().map(|result| result.is_leader()).collect();
            assert_eq!(leaders, [false, false, false, true], "the last to come");
        }
    });
}

#[test]
fn one_party_never_waits() {
    settings::each(|_| {
        for parties in [0, 1] {
            let barrier = Barrier::new(parties);
            for _ in 0..3 {
                let result = barrier.wait_timeout(Duration::ZERO).unwrap();
                assert!(result.is_leader() && result.index() == 0);
            }
        }
    });
}

#[test]
fn an_action_runs_once_a_round_before_anybody_goes_on() {
    settings::each(|setting| {
        let (rounds, come) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let barrier = Arc::new({
            let (rounds, come) = (Arc::clone(&rounds), Arc::clone(&come));
            Barrier::with_action(3, move || {
                assert_eq!(come.swap(0, Ordering::SeqCst), 3, "all have come");
                // It may wait.
                sleep(Duration::from_micros(50));
                fibra::yield_now();
                rounds.fetch_add(1, Ordering::SeqCst);
            })
        });
        // So that none comes for the next round before all have looked.
        let looked = Arc::new(Barrier::new(3));
        let parties = setting.spawn_all(3, {
            let (barrier, rounds, come) = (Arc::clone(&barrier), Arc::clone(&rounds), Arc::clone(&come));
            move |_| {
                for round in 1..=20 {
                    come.fetch_add(1, Ordering::SeqCst);
                    barrier.wait().unwrap();
                    assert_eq!(rounds.load(Ordering::SeqCst), round);
                    looked.wait().unwrap();
                }
            }
        });
        join_all(parties);
    });
}

#[test]
fn a_panic_of_the_action_is_the_leaders_and_breaks_the_barrier() {
    settings::each(|setting| {
        let fails = Arc::new(AtomicBool::new(true));
        let barrier = Arc::new({
            let fails = Arc::clone(&fails);
            Barrier::with_action(3, move || {
                if fails.load(Ordering::SeqCst) {
                    resume_unwind(Box::new("the action's"));
                }
            })
        });
        let others = waiting(setting, &barrier, 2);
        let payload = catch_unwind(AssertUnwindSafe(|| barrier.wait())).unwrap_err();
        assert_eq!(payload.downcast_ref(), Some(&"the action's"));
        assert_eq!(join_all(others), [Err(BrokenBarrier); 2]);
        assert!(barrier.is_broken());
        assert_eq!(barrier.wait().map(|_| ()), Err(BrokenBarrier));
        // It is there again in the next round.
        fails.store(false, Ordering::SeqCst);
        barrier.reset();
        let others = waiting(setting, &barrier, 2);
        assert!(barrier.wait().unwrap().is_leader());
        assert_eq!(join_all(others), [Ok(()); 2]);
    });
}

#[test]
fn who_comes_while_the_action_runs_waits_for_the_next_round() {
    settings::each(|setting| {
        let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let barrier = Arc::new({
            let (begun, go, setting) = (Arc::clone(&begun), Arc::clone(&go), setting.clone());
            Barrier::with_action(2, move || {
                begun.fetch_add(1, Ordering::SeqCst);
                setting.until(|| go.load(Ordering::SeqCst));
            })
        });
        let pass = |_| {
            let barrier = Arc::clone(&barrier);
            setting.spawn(move || barrier.wait().map(|_| ()))
        };
        let first: Vec<_> = (0..2).map(pass).collect();
        setting.until(|| begun.load(Ordering::SeqCst) == 1);
        let second: Vec<_> = (0..2).map(pass).collect();
        for _ in 0..20 {
            fibra::yield_now();
        }
        assert_eq!(begun.load(Ordering::SeqCst), 1, "one round after the other");
        assert!(first.iter().chain(&second).all(|handle| !handle.is_finished()));
        go.store(true, Ordering::SeqCst);
        assert_eq!(join_all(first), [Ok(()); 2]);
        assert_eq!(join_all(second), [Ok(()); 2]);
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    });
}

#[test]
fn abort_while_the_action_runs_fails_the_round() {
    settings::each(|setting| {
        let (begun, go) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let barrier = Arc::new({
            let (begun, go, setting) = (Arc::clone(&begun), Arc::clone(&go), setting.clone());
            Barrier::with_action(2, move || {
                begun.store(true, Ordering::SeqCst);
                setting.until(|| go.load(Ordering::SeqCst));
            })
        });
        let of_parties = Arc::clone(&barrier);
        let parties = setting.spawn_all(2, move |_| of_parties.wait().map(|_| ()));
        setting.until(|| begun.load(Ordering::SeqCst));
        barrier.abort();
        go.store(true, Ordering::SeqCst);
        assert_eq!(join_all(parties), [Err(BrokenBarrier); 2]);
        assert!(barrier.is_broken());
    });
}

#[test]
fn abort_ends_the_waits_of_now_and_of_all_to_come() {
    settings::each(|setting| {
        let barrier = Arc::new(Barrier::new(4));
        let now = waiting(setting, &barrier, 3);
        barrier.abort();
        assert_eq!(join_all(now), [Err(BrokenBarrier); 3]);
        let of_later = Arc::clone(&barrier);
        let later = setting.spawn_all(5, move |_| of_later.wait().map(|_| ()));
        assert_eq!(join_all(later), [Err(BrokenBarrier); 5]);
        assert_eq!((barrier.is_broken(), barrier.waiting()), (true, 0));
        assert_eq!(BrokenBarrier.to_string(), "the barrier is broken");
        // Until somebody resets it.
        barrier.reset();
        assert!(!barrier.is_broken());
        let others = waiting(setting, &barrier, 3);
        assert!(barrier.wait().is_ok());
        assert_eq!(join_all(others), [Ok(()); 3]);
    });
}

#[test]
fn reset_ends_the_waits_of_now_and_the_next_round_needs_all() {
    settings::each(|setting| {
        let barrier = Arc::new(Barrier::new(3));
        let now = waiting(setting, &barrier, 2);
        barrier.reset();
        assert!(!barrier.is_broken());
        let next = waiting(setting, &barrier, 2);
        assert_eq!(join_all(now), [Err(BrokenBarrier); 2]);
        assert!(next.iter().all(|handle| !handle.is_finished()));
        assert_eq!(barrier.wait().unwrap().index(), 2);
        assert_eq!(join_all(next), [Ok(()); 2]);
        barrier.reset();
        assert!(!barrier.is_broken(), "of one where nobody is nothing comes");
    });
}

#[test]
fn who_loses_patience_breaks_it_for_all() {
    settings::each(|setting| {
        let barrier = Arc::new(Barrier::new(4));
        let others = waiting(setting, &barrier, 2);
        assert_eq!(barrier.wait_timeout(Duration::from_millis(2)).map(|_| ()), Err(BrokenBarrier));
        assert_eq!(join_all(others), [Err(BrokenBarrier); 2]);
        assert!(barrier.is_broken());
        // Who comes last is not asked for how long it would have waited.
        barrier.reset();
        let others = waiting(setting, &barrier, 3);
        assert!(barrier.wait_timeout(Duration::ZERO).unwrap().is_leader());
        assert_eq!(join_all(others), [Ok(()); 3]);
    });
}

#[test]
fn who_is_cancelled_breaks_it_for_all() {
    settings::each(|setting| {
        let barrier = Arc::new(Barrier::new(4));
        let others = waiting(setting, &barrier, 2);
        let cancelled = waiting(setting, &barrier, 1).remove(0);
        cancelled.cancel();
        assert!(cancelled.join().unwrap_err().is::<Cancelled>());
        assert_eq!(join_all(others), [Err(BrokenBarrier); 2]);
        barrier.reset();
        let other = waiting(setting, &barrier, 1).remove(0);
        assert_eq!(timeout(Duration::from_millis(2), || barrier.wait()), Err(Elapsed));
        assert_eq!(other.join().unwrap(), Err(BrokenBarrier));
    });
}

#[test]
fn limits_are_met_exactly_in_every_order() {
    simulation::explore(50, || {
        let barrier = Arc::new(Barrier::new(3));
        let come = |after: u64, patience: u64| {
            let barrier = Arc::clone(&barrier);
            spawn(move || {
                sleep(Duration::from_secs(after));
                let passed = barrier.wait_timeout(Duration::from_secs(patience)).is_ok();
                (passed, simulation::elapsed().as_secs())
            })
        };
        let in_time = [come(0, 6), come(1, 6), come(5, 0)];
        assert_eq!(in_time.map(|party| party.join().unwrap()), [(true, 5); 3]);
        // The second gives up 3 s later, before the third comes.
        let late = [come(0, 60), come(1, 2), come(4, 60)];
        assert_eq!(late.map(|party| party.join().unwrap()), [(false, 8), (false, 8), (false, 9)]);
        barrier.reset();
        let again = [come(0, 60), come(1, 60), come(4, 60)];
        assert_eq!(again.map(|party| party.join().unwrap()), [(true, 13); 3]);
        let alone = simulation::now() + HOUR;
        assert_eq!(barrier.wait_deadline(alone).map(|_| ()), Err(BrokenBarrier));
    });
}

#[test]
fn it_can_be_a_static_and_tells_what_it_is() {
    static BARRIER: Barrier = Barrier::new(2);
    settings::each(|setting| {
        let other = setting.spawn(|| BARRIER.wait().map(|_| ()));
        setting.until(|| BARRIER.waiting() == 1);
        assert_eq!(format!("{BARRIER:?}"), "Barrier { parties: 2, waiting: 1, broken: false }");
        BARRIER.wait().unwrap();
        assert_eq!(other.join().unwrap(), Ok(()));
    });
}

/// Rounds that pass and rounds that fail, at random: in each round that passes as many pass as there are parties, and nobody waits for ever.
#[test]
fn a_storm_of_limits_aborts_resets_and_cancellations_lets_only_whole_rounds_pass() {
    const PARTIES: usize = 3;
    let seed = random::seed();
    settings::each(move |setting| {
        let (barrier, passed) = (Arc::new(Barrier::new(PARTIES)), Arc::new(AtomicUsize::new(0)));
        let leaders = Arc::new(AtomicUsize::new(0));
        let part = |seed: u64, rounds: usize| {
            let (barrier, passed, leaders) =
                (Arc::clone(&barrier), Arc::clone(&passed), Arc::clone(&leaders));
            setting.spawn(move || {
                let random = Random::new(seed);
                for _ in 0..rounds {
                    let result = barrier.wait_timeout(Duration::from_micros(50 + random.below(500)));
                    match result {
                        Ok(result) => {
                            passed.fetch_add(1, Ordering::SeqCst);
                            leaders.fetch_add(usize::from(result.is_leader()), Ordering::SeqCst);
                        }
                        Err(BrokenBarrier) => barrier.reset(),
                    }
                    match random.below(40) {
                        0 => barrier.abort(),
                        1 => barrier.reset(),
                        2..10 => random.pause(),
                        _ => {}
                    }
                }
            })
        };
        let random = Random::new(seed);
        let steady: Vec<_> = (0..PARTIES + 1).map(|_| part(random.next(), 200)).collect();
        for _ in 0..20 {
            let doomed = part(random.next(), usize::MAX);
            random.pause();
            doomed.cancel();
            assert!(doomed.join().unwrap_err().is::<Cancelled>());
        }
        join_all(steady);
        assert_eq!(barrier.waiting(), 0);
        let (passed, leaders) = (passed.load(Ordering::SeqCst), leaders.load(Ordering::SeqCst));
        assert_eq!(passed, leaders * PARTIES, "only whole rounds pass");
    });
}
