//! The resource pool, model-checked: see `crate::scheduler::models`. The contexts are OS threads; one that is never served is a deadlock, which loom reports.

use super::{Pooled, ResourcePool};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::thread;
use std::time::Instant;

/// How many preemptions, besides the switches where a thread waits.
fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

/// Counts those that live.
struct Life(Arc<AtomicUsize>);

impl Drop for Life {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

type Lives = ResourcePool<Life, ()>;

/// A pool of `size` whose making fails when there are that many already.
fn pool(size: usize) -> (Arc<AtomicUsize>, Lives) {
    let alive = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&alive);
    let make = move || {
        assert!(counted.fetch_add(1, Ordering::Relaxed) < size, "one too many");
        Ok(Life(Arc::clone(&counted)))
    };
    (alive, ResourcePool::new(size, make))
}

fn assert_quiet(pool: &Lives, alive: &AtomicUsize) {
    assert_eq!((pool.in_use(), pool.waiting()), (0, 0));
    assert_eq!(pool.idle(), alive.load(Ordering::Relaxed));
}

/// Caught: a resource that is put among the idle ones after its place was given back (one too many).
#[test]
fn one_that_comes_back_is_lent_again_and_no_other_is_made() {
    with_preemptions(3, || {
        let (alive, pool) = pool(1);
        let user = {
            let pool = pool.clone();
            thread::spawn(move || drop(pool.get()))
        };
        drop(pool.get());
        user.join().unwrap();
        assert_quiet(&pool, &alive);
        assert_eq!(alive.load(Ordering::Relaxed), 1);
    });
}

/// Caught: a discard that gives the place back before the resource is dropped (one too many).
#[test]
fn one_that_is_discarded_is_gone_before_another_is_made() {
    with_preemptions(3, || {
        let (alive, pool) = pool(1);
        let user = {
            let pool = pool.clone();
            thread::spawn(move || Pooled::discard(pool.get().expect("making does not fail")))
        };
        drop(pool.get());
        user.join().unwrap();
        assert_quiet(&pool, &alive);
    });
}

/// Caught: what the first catches.
#[test]
fn one_whose_time_is_up_leaves_nothing_behind() {
    with_preemptions(3, || {
        let (alive, pool) = pool(1);
        let past = Instant::now();
        let user = {
            let pool = pool.clone();
            thread::spawn(move || drop(pool.get_deadline(past)))
        };
        drop(pool.get());
        user.join().unwrap();
        assert_quiet(&pool, &alive);
    });
}
