//! Waiting for several, model-checked: whoever waits is told of the end that it waits for.

use super::*;
use crate::group::{Group, WaitFor, as_completed, wait};
use std::time::Duration;

type Job = JoinHandle<Arc<()>>;

/// A job, and the thread that makes it.
fn under_way() -> (Job, thread::JoinHandle<()>) {
    let (task, handle) = job(Arc::new(()));
    (handle, thread::spawn(move || make(task)))
}

/// Caught: a `put` that does not wake (waits for ever).
#[test]
fn the_ends_of_several_come_out_and_each_once() {
    with_preemptions(3, || {
        let ((one, first), (other, second)) = (under_way(), under_way());
        let mut seen: Vec<usize> = as_completed([one, other]).map(|done| done.index).collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// Caught: a `wait` that does not wait for an end (nothing is done).
#[test]
fn who_does_not_wait_any_more_is_not_in_the_way_of_who_comes_later() {
    with_preemptions(3, || {
        let (handle, maker) = under_way();
        wait([&handle], WaitFor::All, Some(Duration::ZERO));
        let (done, pending) = wait([&handle], WaitFor::First, None);
        assert_eq!((done.len(), pending.len()), (1, 0));
        maker.join().unwrap();
    });
}

/// Caught: a `leave` that wakes only one of those who wait (the other waits for ever).
#[test]
fn all_who_wait_for_a_group_go_on_when_its_last_member_has_ended() {
    with_preemptions(2, || {
        let ((one, first), (other, second)) = (under_way(), under_way());
        let group = Group::new();
        group.add(&one);
        group.add(&other);
        let joined = {
            let group = group.clone();
            thread::spawn(move || group.join().unwrap())
        };
        group.join().unwrap();
        assert!(one.is_finished() && other.is_finished());
        joined.join().unwrap();
        first.join().unwrap();
        second.join().unwrap();
    });
}
