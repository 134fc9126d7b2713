//! The read-write lock, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never let in is a deadlock, which loom reports.

use super::raw::{READ, READ_UPGRADABLY, READING, READING_UPGRADABLY, RawRwLock, UPGRADE, WRITE, WRITING};
use crate::sync::mutex::raw::Until;
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

/// A number behind a lock: loom fails the model when somebody is inside together with a writer, or does not see what the last one wrote.
struct Guarded {
    lock: RawRwLock,
    number: UnsafeCell<usize>,
}

// SAFETY: loom sees to it.
unsafe impl Sync for Guarded {}
// SAFETY: numbers.
unsafe impl Send for Guarded {}

impl Guarded {
    fn new() -> Arc<Guarded> {
        Arc::new(Guarded { lock: RawRwLock::new(None), number: UnsafeCell::new(0) })
    }

    fn look(&self) -> usize {
        // SAFETY: loom sees to it that nobody writes meanwhile.
        self.number.with(|number| unsafe { *number })
    }

    fn add(&self) {
        // SAFETY: loom sees to it that nobody else is in here.
        self.number.with_mut(|number| unsafe { *number += 1 });
    }

    fn read(&self) -> usize {
        assert!(self.lock.acquire(READ, Until::Asked));
        let number = self.look();
        // SAFETY: we read.
        unsafe { self.lock.release(READING, 0) };
        number
    }

    fn write(&self) {
        assert!(self.lock.acquire(WRITE, Until::Asked));
        self.add();
        // SAFETY: we write.
        unsafe { self.lock.release(WRITING, 0) };
    }

    fn assert_quiet(&self, writes: usize) {
        assert_eq!(self.lock.waiting(), 0);
        assert!(self.lock.try_acquire(WRITE), "somebody is inside still, or WAITERS was left behind");
        assert_eq!(self.look(), writes);
        // SAFETY: we write.
        unsafe { self.lock.release(WRITING, 0) };
    }
}

fn start(guarded: &Arc<Guarded>, body: impl FnOnce(&Guarded) + 'static) -> JoinHandle<()> {
    let guarded = Arc::clone(guarded);
    thread::spawn(move || body(&guarded))
}

/// Caught: a `release` that changes the word while `WAITERS` is set, a `serve` that forgets who is still in line, a waiter that does not look again under the lock (deadlock); relaxed
/// exchanges (the number is not seen); a `serve` that lets in whoever is first (a writer is not alone).
#[test]
fn a_writer_is_alone_and_readers_see_what_was_written() {
    with_preemptions(2, || {
        let guarded = Guarded::new();
        let writers = [start(&guarded, Guarded::write), start(&guarded, Guarded::write)];
        assert!(guarded.read() <= 2);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        guarded.assert_quiet(2);
    });
}

/// One of them is let in by the writer, perhaps, and the other finds the way free. Caught: a relaxed store in `serve` (the number is not seen).
#[test]
fn readers_that_come_while_a_writer_leaves_see_what_it_wrote() {
    with_preemptions(3, || {
        let guarded = Guarded::new();
        assert!(guarded.lock.acquire(WRITE, Until::Asked));
        let readers = [(); 2].map(|()| start(&guarded, |guarded| assert_eq!(guarded.read(), 1)));
        guarded.add();
        // SAFETY: we write.
        unsafe { guarded.lock.release(WRITING, 0) };
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        guarded.assert_quiet(1);
    });
}

/// Caught: a waiter that leaves and does not serve those behind it (deadlock).
#[test]
fn readers_behind_a_writer_who_leaves_are_let_in() {
    with_preemptions(3, || {
        let guarded = Guarded::new();
        let past = Instant::now();
        assert!(guarded.lock.acquire(READ, Until::Asked));
        let writer = start(&guarded, move |guarded| {
            if guarded.lock.acquire(WRITE, Until::Deadline(past)) {
                // SAFETY: we write.
                unsafe { guarded.lock.release(WRITING, 0) };
            }
        });
        let reader = start(&guarded, |guarded| assert_eq!(guarded.read(), 0));
        reader.join().unwrap();
        // SAFETY: we read.
        unsafe { guarded.lock.release(READING, 0) };
        writer.join().unwrap();
        guarded.assert_quiet(0);
    });
}

/// Caught: an upgrade that goes to the end of the line (it and the writer before it wait for each other).
#[test]
fn nobody_writes_between_an_upgradable_read_and_its_upgrade() {
    with_preemptions(3, || {
        let guarded = Guarded::new();
        assert!(guarded.lock.acquire(READ, Until::Asked));
        let upgrader = start(&guarded, |guarded| {
            assert!(guarded.lock.acquire(READ_UPGRADABLY, Until::Asked));
            let seen = guarded.look();
            assert!(guarded.lock.acquire(UPGRADE, Until::Never));
            assert_eq!(guarded.look(), seen);
            guarded.add();
            // SAFETY: we write, and read from now on.
            unsafe { guarded.lock.release(WRITING, READING_UPGRADABLY) };
            assert_eq!(guarded.look(), seen + 1);
            // SAFETY: we read upgradably.
            unsafe { guarded.lock.release(READING_UPGRADABLY, 0) };
        });
        let writer = start(&guarded, Guarded::write);
        guarded.look();
        // SAFETY: we read.
        unsafe { guarded.lock.release(READING, 0) };
        upgrader.join().unwrap();
        writer.join().unwrap();
        guarded.assert_quiet(2);
    });
}

/// One tries to upgrade and another reads once more, whoever waits: they may go before those in line, and not beside a writer. Caught: a try without the lock (its exchange and
/// the store of one who serves the line undo each other), and one that does not look who is inside.
#[test]
fn who_is_inside_does_not_wait_for_those_in_line() {
    with_preemptions(2, || {
        let guarded = Guarded::new();
        let upgrader = start(&guarded, |guarded| {
            assert!(guarded.lock.acquire(READ_UPGRADABLY, Until::Asked));
            let mut inside = READING_UPGRADABLY;
            if guarded.lock.try_acquire_before_all(UPGRADE) {
                inside = WRITING;
                guarded.add();
            }
            // SAFETY: we are inside in this way.
            unsafe { guarded.lock.release(inside, 0) };
        });
        let writer = start(&guarded, Guarded::write);
        assert!(guarded.lock.acquire(READ, Until::Asked));
        let seen = guarded.look();
        assert!(guarded.lock.try_acquire_before_all(READ), "there is no writer beside a reader");
        for _ in 0..2 {
            assert_eq!(guarded.look(), seen);
            // SAFETY: we read, twice.
            unsafe { guarded.lock.release(READING, 0) };
        }
        upgrader.join().unwrap();
        writer.join().unwrap();
        assert_eq!(guarded.lock.waiting(), 0);
        assert!(!guarded.lock.is_held());
        assert!((1..=2).contains(&guarded.look()));
    });
}
