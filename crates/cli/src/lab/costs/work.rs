//! Work that only computes: one after the other, and shared among two threads, two processes, and coroutines.

use super::peer::{Peer, Role};
use super::{Measure, in_words, with_workers};
use crate::lab::results::{Figure, Unit};
use std::hint::black_box;
use std::thread;
use std::time::Instant;

/// Steps of about a nanosecond.
const STEPS: u64 = 400_000_000;
/// Coroutines that share the work.
const COROUTINES: u64 = 8;

pub(super) const MEASURES: &[Measure] = &[
    work("work.serial", "one after the other", None, serial),
    work("work.threads", "two threads", None, two_threads),
    work("work.processes", "two processes", Some("Their start is counted."), two_processes),
    work(
        "work.coroutines-1",
        "8 coroutines, one worker",
        Some("Coroutines of one worker take turns on one core: nothing to gain."),
        coroutines_on_one,
    ),
    work("work.coroutines-n", "8 coroutines, a worker a core", None, coroutines_on_all),
];

const fn work(
    id: &'static str,
    what: &'static str,
    note: Option<&'static str>,
    run: fn(u64) -> Result<f64, String>,
) -> Measure {
    Measure { id, what, unit: Unit::Milliseconds, published: None, note, count: STEPS, one_core: false, run }
}

/// Does so many steps, each of which needs the one before.
pub(super) fn compute(steps: u64) {
    let mut value = black_box(0x9e37_79b9_7f4a_7c15_u64);
    for _ in 0..steps {
        value ^= value << 13;
        value ^= value >> 7;
        value ^= value << 17;
    }
    black_box(value);
}

fn milliseconds(f: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let began = Instant::now();
    f()?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

fn serial(count: u64) -> Result<f64, String> {
    milliseconds(|| {
        compute(count / 2);
        compute(count / 2);
        Ok(())
    })
}

fn two_threads(count: u64) -> Result<f64, String> {
    milliseconds(|| {
        let threads = [(); 2].map(|()| thread::spawn(move || compute(count / 2)));
        threads.into_iter().try_for_each(|one| one.join().map_err(|_| "a thread panicked".to_owned()))
    })
}

fn two_processes(count: u64) -> Result<f64, String> {
    milliseconds(|| {
        let (one, other) = (Peer::start(Role::Work, count / 2)?, Peer::start(Role::Work, count / 2)?);
        one.wait()?;
        other.wait()
    })
}

fn coroutines_on_one(count: u64) -> Result<f64, String> {
    with_workers(1, || coroutines(count))
}

fn coroutines_on_all(count: u64) -> Result<f64, String> {
    let workers = thread::available_parallelism().map_err(in_words)?.get();
    with_workers(workers, || coroutines(count))
}

fn coroutines(count: u64) -> Result<f64, String> {
    milliseconds(|| {
        let share = move || compute(count / COROUTINES);
        let all: Vec<_> = (0..COROUTINES).map(|_| fibra::spawn(share)).collect();
        all.into_iter().try_for_each(|one| one.join().map_err(|_| "a coroutine panicked".to_owned()))
    })
}

/// How many times as fast as one after the other, round by round.
pub(super) fn speed_ups(figures: &[Figure]) -> Vec<Figure> {
    let Some(serial) = figures.iter().find(|figure| figure.id == "work.serial") else {
        return Vec::new();
    };
    let others = figures.iter().filter(|figure| figure.id.starts_with("work.") && figure.id != serial.id);
    others
        .map(|other| Figure {
            id: other.id.replacen("work.", "speed-up.", 1),
            what: format!("{}, against one after the other", other.what),
            unit: Unit::Ratio,
            tried: other.tried,
            values: serial.values.iter().zip(&other.values).map(|(serial, other)| serial / other).collect(),
            spread: None,
            published: (other.id == "work.processes").then_some(1.9),
            note: None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_work_is_done_by_threads_and_coroutines() {
        for measure in MEASURES.iter().filter(|measure| measure.id != "work.processes") {
            assert!((measure.run)(1_000).unwrap() > 0.0, "{}", measure.id);
        }
    }

    #[test]
    fn speed_ups_compare_within_a_round() {
        let figure = |id: &str, values: &[f64]| Figure {
            id: id.into(),
            what: id.into(),
            unit: Unit::Milliseconds,
            values: values.into(),
            tried: values.len(),
            spread: None,
            published: None,
            note: None,
        };
        let figures = [
            figure("work.serial", &[10.0, 40.0]),
            figure("work.processes", &[5.0, 20.0]),
            figure("idle.x", &[1.0]),
        ];
        let derived = speed_ups(&figures);
        assert_eq!(derived.len(), 1);
        assert_eq!((derived[0].id.as_str(), derived[0].published), ("speed-up.processes", Some(1.9)));
        assert_eq!(derived[0].values, [2.0, 2.0]);
    }
}
