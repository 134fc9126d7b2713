//! What is done once, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never woken is a deadlock, which loom reports.

use super::Once;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

/// How many preemptions, besides the switches where a thread waits.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// Something that is done once, and how often it was tried: loom fails the model when two try it at the same time, or one who finds it done does not see that.
struct Work {
    once: Once,
    tries: UnsafeCell<usize>,
}

// SAFETY: loom sees to it.
unsafe impl Sync for Work {}
// SAFETY: a number.
unsafe impl Send for Work {}

impl Work {
    fn new() -> Arc<Work> {
        Arc::new(Work { once: Once::new(), tries: UnsafeCell::new(0) })
    }

    /// Does it, which fails so often before it succeeds. Whether it is done.
    fn call(&self, failures: usize) -> bool {
        let result = self.once.try_call_once(|| {
            // SAFETY: loom sees to it that nobody else is in here.
            let earlier = self.tries.with_mut(|tries| unsafe {
                *tries += 1;
                *tries - 1
            });
            if earlier < failures { Err(()) } else { Ok(()) }
        });
        result.is_ok()
    }

    fn tries(&self) -> usize {
        // SAFETY: loom sees to it that nobody writes meanwhile.
        self.tries.with(|tries| unsafe { *tries })
    }
}

/// Caught: an end that wakes the callers only, or the onlookers only, or that says `DONE` when it has given the lock back (deadlock); a `wait` that does not look again under the
/// lock (the same); a relaxed store of `DONE`, or a relaxed look for it (what was done is not seen); a call that does not say that it is `RUNNING` (two do it at the same time).
#[test]
fn one_does_it_and_all_see_what_was_done() {
    with_preemptions(2, || {
        let work = Work::new();
        let (caller, onlooker) = (Arc::clone(&work), Arc::clone(&work));
        let caller = thread::spawn(move || {
            assert!(caller.call(0));
            assert_eq!(caller.tries(), 1);
        });
        let onlooker = thread::spawn(move || {
            onlooker.once.wait();
            assert_eq!(onlooker.tries(), 1);
        });
        assert!(work.call(0));
        assert_eq!(work.tries(), 1);
        caller.join().unwrap();
        onlooker.join().unwrap();
    });
}

/// Caught: a failed call that wakes nobody, or an onlooker (deadlock).
#[test]
fn when_one_fails_another_who_waits_does_it() {
    with_preemptions(2, || {
        let work = Work::new();
        let (caller, onlooker) = (Arc::clone(&work), Arc::clone(&work));
        let caller = thread::spawn(move || caller.call(1));
        let onlooker = thread::spawn(move || {
            onlooker.once.wait();
            assert_eq!(onlooker.tries(), 2);
        });
        let here = work.call(1);
        assert!(caller.join().unwrap() != here, "one has failed");
        onlooker.join().unwrap();
        assert!(work.once.is_completed());
        assert_eq!(work.tries(), 2);
    });
}
