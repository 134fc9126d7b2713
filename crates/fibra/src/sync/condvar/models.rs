//! The condition variable, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never notified is a deadlock, which loom reports.

use super::Condvar;
use crate::sync::mutex::raw::{RawMutex, Until};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread::{self, JoinHandle};
use std::time::Instant;

/// How many preemptions, besides the switches where a thread waits.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// So many letters, behind a mutex, and those who wait for one.
struct Box {
    mutex: RawMutex,
    arrived: Condvar,
    letters: UnsafeCell<usize>,
}

// SAFETY: loom sees to it.
unsafe impl Sync for Box {}
// SAFETY: a number.
unsafe impl Send for Box {}

impl Box {
    fn new() -> Arc<Box> {
        Arc::new(Box { mutex: RawMutex::new(None), arrived: Condvar::new(), letters: UnsafeCell::new(0) })
    }

    fn with<R>(&self, f: impl FnOnce(&Box) -> R) -> R {
        assert!(self.mutex.acquire(Until::Asked));
        let result = f(self);
        // SAFETY: it is held.
        unsafe { self.mutex.release() };
        result
    }

    fn letters(&self) -> usize {
        // SAFETY: loom sees to it that nobody writes meanwhile.
        self.letters.with(|letters| unsafe { *letters })
    }

    fn change(&self, by: isize) {
        // SAFETY: loom sees to it that nobody else is here.
        self.letters.with_mut(|letters| unsafe { *letters = (*letters).checked_add_signed(by).unwrap() });
    }

    /// Waits for a letter, and takes it.
    fn take(&self) {
        self.with(|this| {
            while this.letters() == 0 {
                // SAFETY: the mutex is held.
                assert!(unsafe { this.arrived.wait_with(&this.mutex, None) });
            }
            this.change(-1);
        });
    }

    /// Waits once, until a time that is over already. Whether it was notified.
    fn wait_in_vain(&self, past: Instant) -> bool {
        // SAFETY: the mutex is held.
        self.with(|this| unsafe { this.arrived.wait_with(&this.mutex, Some(past)) })
    }

    fn put(&self) {
        self.with(|this| this.change(1));
        self.arrived.notify_one();
    }
}

fn start(letters: &Arc<Box>, body: impl FnOnce(&Box) + 'static) -> JoinHandle<()> {
    let letters = Arc::clone(letters);
    thread::spawn(move || body(&letters))
}

/// Caught: a wait that gives the mutex back before it is in the list (the notification falls in between: deadlock).
#[test]
fn no_notification_falls_between_the_look_and_the_wait() {
    with_preemptions(3, || {
        let letters = Box::new();
        let reader = start(&letters, Box::take);
        letters.put();
        reader.join().unwrap();
        assert_eq!(letters.letters(), 0);
    });
}

/// Caught: a wait that is over before the mutex has been taken again (two are inside).
#[test]
fn each_of_two_readers_gets_one_of_two_letters() {
    with_preemptions(2, || {
        let letters = Box::new();
        let readers = [start(&letters, Box::take), start(&letters, Box::take)];
        letters.put();
        letters.put();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(letters.letters(), 0);
        assert_eq!(letters.arrived.waiting(), 0);
    });
}

/// One notification, and one who may leave in that moment: if it was notified it has it, and passes it on; if it was not, the other one has.
/// Caught: a waiter whose time is up and that says so although it was taken out of the list (the other one sleeps for ever).
#[test]
fn a_notification_is_not_used_up_by_one_who_leaves() {
    with_preemptions(2, || {
        let letters = Box::new();
        let past = Instant::now();
        let hurried = start(&letters, move |letters| {
            if letters.wait_in_vain(past) {
                letters.arrived.notify_one();
            }
        });
        let reader = start(&letters, Box::take);
        letters.put();
        hurried.join().unwrap();
        reader.join().unwrap();
        assert_eq!(letters.letters(), 0);
    });
}
