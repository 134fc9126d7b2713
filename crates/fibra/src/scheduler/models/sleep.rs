//! The models of a worker's sleep: letters, tasks that have not started, and the end of the runtime.

use super::super::core::{Core, Phase};
use super::super::mailbox::{Mailbox, Ring};
use super::super::shared::{Shared, count};
use super::super::task::TaskPtr;
use super::{Bell, with_preemptions};
use fibra_driver::{Driver, Token};
use loom::sync::Arc;
use loom::thread;
use std::sync::Arc as StdArc;

/// Caught: a `lie_down` that does not look for mail, or looks before it says that it sleeps, or says so with a store; a `send` that rings first; a `rouse` that
/// leaves the sleep to others (deadlock, all).
#[test]
fn no_letter_is_slept_over() {
    with_preemptions(3, || {
        let mailbox = Arc::new(Mailbox::new());
        let bell = Arc::new(Bell::default());
        let senders: Vec<_> = (0..2)
            .map(|letter| {
                let (mailbox, bell) = (Arc::clone(&mailbox), Arc::clone(&bell));
                thread::spawn(move || {
                    if mailbox.send(letter) == Ring::Yes {
                        bell.ring();
                    }
                })
            })
            .collect();
        let (mut letters, mut read, mut rung, mut slept) = (Vec::new(), 0, 0, 0);
        while read < 2 {
            if mailbox.is_full() {
                mailbox.take(&mut letters);
                read += letters.drain(..).count();
                continue;
            }
            slept += 1;
            if mailbox.lie_down() {
                rung += bell.wait();
                mailbox.get_up();
            } else {
                thread::yield_now();
            }
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        assert!(rung + bell.rung() <= slept, "one ring a sleep");
    });
}

/// The workers of a runtime, without their threads.
fn core(workers: usize) -> StdArc<Core> {
    let notifier = Driver::epoll(fibra_driver::RingSettings::default()).unwrap().notifier();
    let workers = (0..workers).map(|_| StdArc::new(Shared::new(notifier.clone()))).collect();
    StdArc::new(Core::new(workers, 0, "none", None, None, None))
}

/// Something to be counted.
fn unstarted() -> TaskPtr {
    // SAFETY: it is never looked into.
    unsafe { TaskPtr::from_token(Token(64)) }
}

/// As `Worker::run`, as far as it concerns sleep: until `got` tasks that have not started have been taken, from itself or others.
fn work_until(core: &Core, index: usize, got: usize) {
    let shared = &core.workers[index];
    let mut taken = 0;
    loop {
        taken += std::iter::from_fn(|| shared.pop_unstarted()).count();
        for victim in core.workers.iter().filter(|victim| !StdArc::ptr_eq(victim, shared)) {
            taken += victim.steal().len();
        }
        if taken == got {
            return;
        }
        sleep(core, index);
    }
}

/// As `Worker::sleep`.
fn sleep(core: &Core, index: usize) {
    let shared = &core.workers[index];
    if !shared.lie_down() {
        return thread::yield_now();
    }
    if core.watch_end(shared) == Phase::Killing || core.backlog_besides(index) {
        shared.mailbox.get_up();
        return thread::yield_now();
    }
    shared.bell.wait();
    shared.mailbox.get_up();
}

/// As `Worker::run` of a worker that runs one task, and never gets round to another.
fn run_one(core: &Core, index: usize) {
    let shared = &core.workers[index];
    while shared.pop_unstarted().is_none() && core.steal(index, 0).is_none() {
        sleep(core, index);
    }
}

/// The same of a worker that gets a letter, which comes first and keeps it busy for ever. What it may steal instead spawns another task first.
fn run_a_letter_or_steal(core: &Core, index: usize) {
    let shared = &core.workers[index];
    let steal = || core.steal(index, 0).map(|task| shared.push_unstarted(task).unwrap()).is_some();
    loop {
        if shared.mailbox.is_full() {
            return;
        }
        if steal() {
            return core.wake_a_thief(index);
        }
        sleep(core, index);
        if shared.mailbox.is_full() {
            if core.backlog_besides(index) {
                core.wake_a_thief(index);
            }
            return;
        }
        if steal() {
            return core.wake_a_thief(index);
        }
    }
}

/// Caught: a worker that does not look at its own backlog once it has said that it sleeps, or says so with a store (deadlock).
#[test]
fn a_task_that_is_sent_to_a_worker_is_not_slept_over() {
    loom::model(|| {
        let core = core(1);
        let sender = thread::spawn({
            let core = StdArc::clone(&core);
            move || {
                core.workers[0].push_unstarted(unstarted()).unwrap();
                core.workers[0].rouse();
            }
        });
        work_until(&core, 0, 1);
        sender.join().unwrap();
    });
}

/// Two workers that do not get round to what they have spawned, and an idle one.
///
/// Caught: a spawner that looks who sleeps before it says what it has; a thief that looks round before it says that it sleeps; a worker
/// without the fence in `watch_end` between saying that it sleeps and looking at the others (deadlock, all).
#[test]
fn an_idle_worker_finds_what_others_do_not_get_round_to() {
    with_preemptions(3, || {
        let core = core(3);
        let spawners: Vec<_> = (0..2)
            .map(|index| {
                let core = StdArc::clone(&core);
                thread::spawn(move || {
                    core.workers[index].push_unstarted(unstarted()).unwrap();
                    core.wake_a_thief(index);
                })
            })
            .collect();
        work_until(&core, 2, 2);
        spawners.into_iter().for_each(|spawner| spawner.join().unwrap());
    });
}

/// One worker has three tasks and runs one of them; each of two idle workers takes what it finds, runs one of it, and is busy for ever.
///
/// Caught: a thief that wakes nobody for what it has taken and does not get round to, or nobody for what it has left (deadlock, both).
#[test]
fn what_a_thief_cannot_get_round_to_is_found_by_another() {
    with_preemptions(2, || {
        let core = core(3);
        let thieves: Vec<_> = [1, 2]
            .map(|index| {
                let core = StdArc::clone(&core);
                thread::spawn(move || run_one(&core, index))
            })
            .into();
        for _ in 0..3 {
            core.workers[0].push_unstarted(unstarted()).unwrap();
        }
        core.wake_a_thief(0);
        let _ = core.workers[0].pop_unstarted();
        thieves.into_iter().for_each(|thief| thief.join().unwrap());
    });
}

/// A task is sent to a worker that is awake and does not get round to it.
///
/// Caught: a `send` that is content when the worker is awake (deadlock).
#[test]
fn what_is_sent_to_a_busy_worker_is_found_by_an_idle_one() {
    loom::model(|| {
        let core = core(2);
        let thief = thread::spawn({
            let core = StdArc::clone(&core);
            move || run_one(&core, 1)
        });
        core.send(0, unstarted());
        thief.join().unwrap();
    });
}

/// A task that its worker does not get round to; of two sleepers one gets a letter of its own, perhaps just when it is woken for the task.
///
/// Caught: a worker with a letter that does not pass on what it was woken for (deadlock).
#[test]
fn who_is_woken_to_steal_and_has_a_letter_wakes_another() {
    with_preemptions(2, || {
        let core = core(3);
        let (reader, thief, sender) = (StdArc::clone(&core), StdArc::clone(&core), StdArc::clone(&core));
        let threads = [
            thread::spawn(move || run_a_letter_or_steal(&reader, 1)),
            thread::spawn(move || run_one(&thief, 2)),
            thread::spawn(move || sender.workers[1].post(unstarted())),
        ];
        core.workers[0].push_unstarted(unstarted()).unwrap();
        core.wake_a_thief(0);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

/// Caught: without the fence in `watch_end` or the one in `all_done`, or when the worker does not look before it sleeps, the end is missed (deadlock).
#[test]
fn the_end_of_the_last_task_is_seen() {
    with_preemptions(4, || {
        let core = core(2);
        let workers: Vec<_> = (0..2)
            .map(|index| {
                count(&core.workers[index].spawned);
                let core = StdArc::clone(&core);
                thread::spawn(move || {
                    let shared = &core.workers[index];
                    core.note_end(shared, false);
                    // It has nothing more to do, and goes to sleep.
                    if shared.lie_down() {
                        let _ = core.watch_end(shared);
                    }
                })
            })
            .collect();
        core.drain();
        core.wait_until_done();
        workers.into_iter().for_each(|worker| worker.join().unwrap());
        assert!(core.all_done());
    });
}
