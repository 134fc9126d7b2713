//! Locks: what one costs that nobody else wants, and what four tasks get through that all want the same.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Aim, Experiment, NANOSECONDS, measure_alone, measure_on_two, repeat_for, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;
use crate::runtime::{Blocking, May, MayTwo, Thread, Tokio};
#[cfg(feature = "fibra")]
use crate::runtime::{Fibra, FibraTwo};

/// How many tasks want the contended lock.
const TASKS: u64 = 4;

/// Every so many times its holder lets others run.
const YIELDS: u64 = 16;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let free =
        |key: &str, title: &str, about: &str, work: Work, rivals: Vec<Rival>, aims: Vec<Aim>| Experiment {
            key: key.into(),
            title: title.into(),
            about: about.into(),
            metrics: NANOSECONDS,
            baseline: rivals.first().copied(),
            rivals,
            aims,
            measure: measure_alone(settings, work, 0),
        };
    let everybody = || {
        vec![Rival::ParkingLot, Rival::Thread, Rival::Fibra, Rival::FibraThread, Rival::May, Rival::TokioCt]
    };
    let aims = || {
        vec![
            Aim::at_most(Rival::Fibra, "ns", 1.2).times(Rival::ParkingLot),
            Aim::at_most(Rival::FibraThread, "ns", 1.2).times(Rival::ParkingLot),
        ]
    };
    let contended = "Four tasks lock a mutex, add one to a number and unlock it, again and again; every sixteenth time the holder yields \
                     before it unlocks. The time is per turn of any of them.";
    [
        free(
            "mutex",
            "Mutex, uncontended",
            "Lock, add one, unlock: on a task (or a thread) that is alone.",
            Work::Mutex,
            everybody(),
            aims(),
        ),
        free(
            "rwlock-read",
            "RwLock, read, uncontended",
            "Lock to read, read, unlock.",
            Work::RwLockRead,
            everybody(),
            aims(),
        ),
        free(
            "rwlock-write",
            "RwLock, write, uncontended",
            "Lock to write, add one, unlock.",
            Work::RwLockWrite,
            everybody(),
            aims(),
        ),
        free(
            "semaphore",
            "Semaphore, uncontended",
            "Acquire one of eight permits, give it back. std and parking_lot have none.",
            Work::Semaphore,
            vec![Rival::TokioCt, Rival::Fibra, Rival::FibraThread, Rival::May],
            vec![],
        ),
        Experiment {
            key: "mutex-one".into(),
            title: "Mutex, four tasks on one worker".into(),
            about: contended.into(),
            metrics: NANOSECONDS,
            rivals: vec![Rival::TokioCt, Rival::Fibra, Rival::May, Rival::TokioMt1],
            baseline: Some(Rival::TokioCt),
            aims: vec![],
            measure: measure_alone(settings, Work::MutexContended, 0),
        },
        Experiment {
            key: "mutex-two".into(),
            title: "Mutex, four tasks on two cores".into(),
            about: format!("{contended} Two workers, or four OS threads."),
            metrics: NANOSECONDS,
            rivals: vec![
                Rival::ParkingLot,
                Rival::Thread,
                Rival::FibraTwo,
                Rival::FibraThread,
                Rival::MayTwo,
                Rival::TokioMt2,
            ],
            baseline: Some(Rival::ParkingLot),
            aims: vec![],
            measure: measure_on_two(settings, Work::MutexContended, 0),
        },
    ]
    .into_iter()
    .map(|experiment| experiment.choose(settings))
    .collect()
}

/// A lock around a number. (What is asked for is the time of the lock, so the closure is as small as can be.)
trait Lock: Send + Sync + 'static {
    fn new() -> Self;
    /// Adds one while the lock is held, after `pause`.
    fn add(&self, pause: impl FnOnce());
}

impl Lock for std::sync::Mutex<u64> {
    fn new() -> Self {
        std::sync::Mutex::new(0)
    }

    #[inline]
    fn add(&self, pause: impl FnOnce()) {
        let mut number = self.lock().expect("nobody panics");
        pause();
        *number += 1;
    }
}

impl Lock for parking_lot::Mutex<u64> {
    fn new() -> Self {
        parking_lot::Mutex::new(0)
    }

    #[inline]
    fn add(&self, pause: impl FnOnce()) {
        let mut number = self.lock();
        pause();
        *number += 1;
    }
}

impl Lock for may::sync::Mutex<u64> {
    fn new() -> Self {
        may::sync::Mutex::new(0)
    }

    #[inline]
    fn add(&self, pause: impl FnOnce()) {
        let mut number = self.lock().expect("nobody panics");
        pause();
        *number += 1;
    }
}

#[cfg(feature = "fibra")]
impl Lock for fibra::sync::Mutex<u64> {
    fn new() -> Self {
        fibra::sync::Mutex::new(0)
    }

    #[inline]
    fn add(&self, pause: impl FnOnce()) {
        let mut number = self.lock();
        pause();
        *number += 1;
    }
}

/// Runs `turn` again and again on a task of `R` that is alone.
fn alone<R: Blocking>(seconds: f64, mut turn: impl FnMut() + Send + 'static) -> Result<Figures> {
    R::run(move || {
        repeat_for(seconds, |repetitions| {
            let start = Instant::now();
            for _ in 0..repetitions {
                turn();
            }
            start.elapsed()
        })
    })
}

/// [`alone`] on a lock that nobody else has.
fn free<R: Blocking, L: Lock>(seconds: f64) -> Result<Figures> {
    let lock = L::new();
    alone::<R>(seconds, move || black_box(&lock).add(|| {}))
}

/// The same for a tokio task.
macro_rules! alone_on_tokio {
    ($one:expr, $value:expr, |$lock:ident| $turn:expr) => {{
        let runtime = Tokio::new($one.rival);
        let $lock = Arc::new($value);
        repeat_for($one.seconds, |repetitions| {
            let $lock = Arc::clone(&$lock);
            runtime.run(async move {
                let start = Instant::now();
                for _ in 0..repetitions {
                    $turn;
                }
                start.elapsed()
            })
        })
    }};
}

pub(crate) fn one_mutex(one: &One) -> Result<Figures> {
    match one.rival {
        Rival::Thread => free::<Thread, std::sync::Mutex<u64>>(one.seconds),
        Rival::ParkingLot => free::<Thread, parking_lot::Mutex<u64>>(one.seconds),
        #[cfg(feature = "fibra")]
        Rival::Fibra => free::<Fibra, fibra::sync::Mutex<u64>>(one.seconds),
        #[cfg(feature = "fibra")]
        Rival::FibraThread => free::<Thread, fibra::sync::Mutex<u64>>(one.seconds),
        Rival::May => free::<May, may::sync::Mutex<u64>>(one.seconds),
        Rival::TokioCt => {
            alone_on_tokio!(one, tokio::sync::Mutex::new(0_u64), |lock| *black_box(&lock).lock().await += 1)
        }
        _ => takes_no_part(one),
    }
}

pub(crate) fn one_read(one: &One) -> Result<Figures> {
    match one.rival {
        Rival::Thread => {
            let lock = std::sync::RwLock::new(0_u64);
            alone::<Thread>(one.seconds, move || {
                black_box(*black_box(&lock).read().expect("nobody panics"));
            })
        }
        Rival::ParkingLot => {
            let lock = parking_lot::RwLock::new(0_u64);
            alone::<Thread>(one.seconds, move || {
                black_box(*black_box(&lock).read());
            })
        }
        #[cfg(feature = "fibra")]
        Rival::Fibra | Rival::FibraThread => {
            let lock = fibra::sync::RwLock::new(0_u64);
            let turn = move || {
                black_box(*black_box(&lock).read());
            };
            if one.rival == Rival::Fibra {
                alone::<Fibra>(one.seconds, turn)
            } else {
                alone::<Thread>(one.seconds, turn)
            }
        }
        Rival::May => {
            let lock = may::sync::RwLock::new(0_u64);
            alone::<May>(one.seconds, move || {
                black_box(*black_box(&lock).read().expect("nobody panics"));
            })
        }
        Rival::TokioCt => {
            alone_on_tokio!(one, tokio::sync::RwLock::new(0_u64), |lock| black_box(
                *black_box(&lock).read().await
            ))
        }
        _ => takes_no_part(one),
    }
}

pub(crate) fn one_write(one: &One) -> Result<Figures> {
    match one.rival {
        Rival::Thread => {
            let lock = std::sync::RwLock::new(0_u64);
            alone::<Thread>(one.seconds, move || *black_box(&lock).write().expect("nobody panics") += 1)
        }
        Rival::ParkingLot => {
            let lock = parking_lot::RwLock::new(0_u64);
            alone::<Thread>(one.seconds, move || *black_box(&lock).write() += 1)
        }
        #[cfg(feature = "fibra")]
        Rival::Fibra | Rival::FibraThread => {
            let lock = fibra::sync::RwLock::new(0_u64);
            let turn = move || *black_box(&lock).write() += 1;
            if one.rival == Rival::Fibra {
                alone::<Fibra>(one.seconds, turn)
            } else {
                alone::<Thread>(one.seconds, turn)
            }
        }
        Rival::May => {
            let lock = may::sync::RwLock::new(0_u64);
            alone::<May>(one.seconds, move || *black_box(&lock).write().expect("nobody panics") += 1)
        }
        Rival::TokioCt => {
            alone_on_tokio!(one, tokio::sync::RwLock::new(0_u64), |lock| *black_box(&lock).write().await += 1)
        }
        _ => takes_no_part(one),
    }
}

pub(crate) fn one_semaphore(one: &One) -> Result<Figures> {
    const PERMITS: usize = 8;
    match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra | Rival::FibraThread => {
            let semaphore = fibra::sync::Semaphore::new(PERMITS);
            let turn = move || drop(black_box(&semaphore).acquire());
            if one.rival == Rival::Fibra {
                alone::<Fibra>(one.seconds, turn)
            } else {
                alone::<Thread>(one.seconds, turn)
            }
        }
        Rival::May => {
            let semaphore = may::sync::Semphore::new(PERMITS);
            alone::<May>(one.seconds, move || {
                black_box(&semaphore).wait();
                semaphore.post();
            })
        }
        Rival::TokioCt => {
            alone_on_tokio!(one, tokio::sync::Semaphore::new(PERMITS), |semaphore| drop(
                black_box(&semaphore).acquire().await.expect("nobody closes it")
            ))
        }
        _ => takes_no_part(one),
    }
}

pub(crate) fn one_contended(one: &One) -> Result<Figures> {
    let seconds = one.seconds;
    match one.rival {
        Rival::Thread => contended::<Thread, std::sync::Mutex<u64>>(seconds, 2),
        Rival::ParkingLot => contended::<Thread, parking_lot::Mutex<u64>>(seconds, 2),
        #[cfg(feature = "fibra")]
        Rival::Fibra => contended::<Fibra, fibra::sync::Mutex<u64>>(seconds, 1),
        #[cfg(feature = "fibra")]
        Rival::FibraTwo => contended::<FibraTwo, fibra::sync::Mutex<u64>>(seconds, 2),
        #[cfg(feature = "fibra")]
        Rival::FibraThread => contended::<Thread, fibra::sync::Mutex<u64>>(seconds, 2),
        Rival::May => contended::<May, may::sync::Mutex<u64>>(seconds, 1),
        Rival::MayTwo => contended::<MayTwo, may::sync::Mutex<u64>>(seconds, 2),
        Rival::TokioCt | Rival::TokioMt1 => contended_on_tokio(one, 1),
        Rival::TokioMt2 => contended_on_tokio(one, 2),
        _ => takes_no_part(one),
    }
}

/// Holds tasks back until so many of them run at the same time: on several cores, each on its own.
#[derive(Default)]
pub(super) struct Together(AtomicUsize);

impl Together {
    pub(super) fn wait(&self, count: usize) {
        self.0.fetch_add(1, Ordering::Relaxed);
        while self.0.load(Ordering::Relaxed) < count {
            std::hint::spin_loop();
        }
    }
}

/// Tasks that all want one lock; `cores` of them begin on threads of their own.
fn contended<R: Blocking, L: Lock>(seconds: f64, cores: usize) -> Result<Figures> {
    R::run(move || {
        repeat_for(seconds, |repetitions| {
            let (lock, together) = (Arc::new(L::new()), Arc::new(Together::default()));
            let tasks: Vec<R::Join> = (0..TASKS)
                .map(|_| {
                    let (lock, together) = (Arc::clone(&lock), Arc::clone(&together));
                    R::spawn(move || {
                        together.wait(cores);
                        for turn in 0..repetitions / TASKS {
                            lock.add(|| {
                                if turn % YIELDS == 0 {
                                    R::yield_now();
                                }
                            });
                        }
                    })
                })
                .collect();
            let start = Instant::now();
            tasks.into_iter().for_each(R::join);
            start.elapsed()
        })
    })
}

fn contended_on_tokio(one: &One, cores: usize) -> Result<Figures> {
    async fn turns(repetitions: u64, cores: usize) -> Duration {
        let (lock, together) = (Arc::new(tokio::sync::Mutex::new(0_u64)), Arc::new(Together::default()));
        let tasks: Vec<_> = (0..TASKS)
            .map(|_| {
                let (lock, together) = (Arc::clone(&lock), Arc::clone(&together));
                tokio::spawn(async move {
                    together.wait(cores);
                    for turn in 0..repetitions / TASKS {
                        let mut number = lock.lock().await;
                        if turn % YIELDS == 0 {
                            tokio::task::yield_now().await;
                        }
                        *number += 1;
                    }
                })
            })
            .collect();
        let start = Instant::now();
        for task in tasks {
            task.await.expect("measured tasks do not panic");
        }
        start.elapsed()
    }
    let runtime = Tokio::new(one.rival);
    repeat_for(one.seconds, |repetitions| runtime.run(turns(repetitions, cores)))
}
