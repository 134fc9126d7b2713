//! One lock for a whole table, or one for each of its places: what contention costs whom.
//!
//! Four contexts change places of a table, drawn at random, and hold a lock while they do: for some fifty nanoseconds, as long as an entry of a hash table is
//! changed. A value is the time that all of them take together, for one change.

use super::{Measure, in_words, with_workers};
use crate::lab::results::Unit;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

const PLACES: usize = 64;
const CONTEXTS: u64 = 4;

pub(super) const MEASURES: &[Measure] = &[
    locks("lock.threads-coarse", "4 threads, one lock", |count| threads(count, 1)),
    locks("lock.threads-fine", "4 threads, a lock a place", |count| threads(count, PLACES)),
    locks("lock.coroutines-1-coarse", "4 coroutines of one worker, one lock", |count| on_one(count, 1)),
    locks("lock.coroutines-1-fine", "4 coroutines of one worker, a lock a place", |count| {
        on_one(count, PLACES)
    }),
    locks("lock.coroutines-n-coarse", "4 coroutines, a worker a core, one lock", |count| on_all(count, 1)),
    locks("lock.coroutines-n-fine", "4 coroutines, a worker a core, a lock a place", |count| {
        on_all(count, PLACES)
    }),
];

const fn locks(id: &'static str, what: &'static str, run: fn(u64) -> Result<f64, String>) -> Measure {
    Measure {
        id,
        what,
        unit: Unit::Nanoseconds,
        published: None,
        note: None,
        count: 1_600_000,
        one_core: false,
        run,
    }
}

/// A place of the table, on cache lines of its own. It is changed under a lock only, in two steps that would lose changes without one.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Place(AtomicU64);

impl Place {
    fn change(&self) {
        let mut value = self.0.load(Ordering::Relaxed);
        for _ in 0..16 {
            value = black_box(value);
        }
        self.0.store(value + 1, Ordering::Relaxed);
    }
}

/// Runs over the table as one of the contexts: `with_lock` holds the lock of that number while it calls.
fn change(
    of: u64,
    changes: u64,
    table: &[Place],
    locks: usize,
    mut with_lock: impl FnMut(usize, &mut dyn FnMut()) -> Result<(), String>,
) -> Result<(), String> {
    let mut random = of.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for _ in 0..changes {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let place = (random >> 32) as usize % table.len();
        with_lock(place % locks, &mut || table[place].change())?;
    }
    Ok(())
}

fn table() -> Arc<Vec<Place>> {
    Arc::new((0..PLACES).map(|_| Place::default()).collect())
}

/// The time for a change, once it is sure that none was lost.
fn value(began: Instant, changes: u64, table: &[Place]) -> Result<f64, String> {
    let took = began.elapsed();
    let made: u64 = table.iter().map(|place| place.0.load(Ordering::Relaxed)).sum();
    if made == changes * CONTEXTS {
        Ok(took.as_nanos() as f64 / made as f64)
    } else {
        Err(format!("the locks did not exclude: {made} changes of {}", changes * CONTEXTS))
    }
}

fn threads(count: u64, locks: usize) -> Result<f64, String> {
    let changes = count / CONTEXTS;
    let table = table();
    let mutexes: Arc<Vec<Mutex<()>>> = Arc::new((0..locks).map(|_| Mutex::new(())).collect());
    let began = Instant::now();
    let threads: Vec<_> = (0..CONTEXTS)
        .map(|of| {
            let (table, mutexes) = (Arc::clone(&table), Arc::clone(&mutexes));
            thread::spawn(move || {
                change(of, changes, &table, locks, |lock, change| {
                    let _held = mutexes[lock].lock().map_err(in_words)?;
                    change();
                    Ok(())
                })
            })
        })
        .collect();
    threads.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread panicked".to_owned())?)?;
    value(began, changes, &table)
}

fn on_one(count: u64, locks: usize) -> Result<f64, String> {
    with_workers(1, || coroutines(count, locks))
}

fn on_all(count: u64, locks: usize) -> Result<f64, String> {
    let workers = thread::available_parallelism().map_err(in_words)?.get();
    with_workers(workers, || coroutines(count, locks))
}

fn coroutines(count: u64, locks: usize) -> Result<f64, String> {
    let changes = count / CONTEXTS;
    let table = table();
    let mutexes: Arc<Vec<fibra::sync::Mutex<()>>> =
        Arc::new((0..locks).map(|_| fibra::sync::Mutex::new(())).collect());
    let began = Instant::now();
    let coroutines: Vec<_> = (0..CONTEXTS)
        .map(|of| {
            let (table, mutexes) = (Arc::clone(&table), Arc::clone(&mutexes));
            fibra::spawn(move || {
                change(of, changes, &table, locks, |lock, change| {
                    let _held = mutexes[lock].lock();
                    change();
                    Ok(())
                })
            })
        })
        .collect();
    coroutines
        .into_iter()
        .try_for_each(|one| one.join().map_err(|_| "a coroutine panicked".to_owned())?)?;
    value(began, changes, &table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_change_is_lost_under_any_lock() {
        for measure in MEASURES {
            assert!((measure.run)(4_000).unwrap() > 0.0, "{}", measure.id);
        }
    }
}
