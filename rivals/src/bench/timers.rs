//! Timers. Set and cancelled: the ping-pong of `park` with a timeout of an hour on each wait, as every read with a
//! deadline does. Fired: many tasks asleep, due at moments spread over a second.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Experiment, Metric, NANOSECONDS, measure_alone, park, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::{CpuClock, Figures};
use crate::rival::Rival;
use crate::runtime::{Blocking, May, Thread, Tokio};

const RIVALS: [Rival; 5] = [Rival::TokioCt, Rival::Fibra, Rival::May, Rival::TokioMt1, Rival::Thread];
const AN_HOUR: Duration = Duration::from_secs(3_600);
/// Between the start and the first timer due: time to spawn all of the tasks.
const HEAD_START: Duration = Duration::from_millis(500);
/// The moments the timers are due at are spread over this.
const SPREAD: Duration = Duration::from_secs(1);

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let cancel = Experiment {
        key: "timers-cancel".into(),
        title: "Timers set and cancelled".into(),
        about: "The ping-pong of park and unpark, with a timeout of an hour on each wait; the time is per wake. What it \
                exceeds the table above by is the price of a timer."
            .into(),
        metrics: NANOSECONDS,
        rivals: RIVALS.to_vec(),
        baseline: Some(Rival::TokioCt),
        aims: vec![],
        measure: measure_alone(settings, Work::TimersCancel, 0),
    };
    let fire = Experiment {
        key: "timers-fire".into(),
        title: format!("{} timers fired", crate::report::grouped(settings.timers as f64, 0)),
        about: "Each task is spawned, sleeps until its moment within one second, and ends; processor time is per task, \
                lateness is against the moment."
            .into(),
        metrics: &[
            Metric { key: "cpu_ns", title: "ns of processor time", decimals: 0, compared: true },
            Metric { key: "late_p50_us", title: "late p50, µs", decimals: 0, compared: false },
            Metric { key: "late_p99_us", title: "late p99, µs", decimals: 0, compared: false },
            Metric { key: "tasks", title: "tasks", decimals: 0, compared: false },
        ],
        rivals: RIVALS.to_vec(),
        baseline: Some(Rival::TokioCt),
        aims: vec![],
        measure: measure_alone(settings, Work::TimersFire, settings.timers),
    };
    vec![cancel.choose(settings), fire.choose(settings)]
}

pub(crate) fn one_cancel(one: &One) -> Result<Figures> {
    match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra => park::blocking::<crate::runtime::Fibra>(one.seconds, Some(AN_HOUR)),
        Rival::May => park::blocking::<May>(one.seconds, Some(AN_HOUR)),
        Rival::Thread => park::blocking::<Thread>(one.seconds, Some(AN_HOUR)),
        Rival::TokioCt | Rival::TokioMt1 => park::tokio(one, Some(AN_HOUR)),
        _ => takes_no_part(one),
    }
}

pub(crate) fn one_fire(one: &One) -> Result<Figures> {
    let lateness = Box::leak(Box::new(Lateness::new(one.count)));
    let cpu = CpuClock::of(std::process::id())?;
    let before = cpu.nanoseconds()?;
    match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra => blocking::<crate::runtime::Fibra>(lateness),
        Rival::May => blocking::<May>(lateness),
        Rival::Thread => blocking::<Thread>(lateness),
        Rival::TokioCt | Rival::TokioMt1 => tokio(one.rival, lateness),
        _ => return takes_no_part(one),
    }
    let used = cpu.nanoseconds()? - before;
    Ok(lateness.figures().with("cpu_ns", used as f64 / one.count as f64).with("tasks", one.count as f64))
}

/// By how much each timer was late, in nanoseconds.
struct Lateness {
    by: Vec<AtomicU64>,
    recorded: AtomicUsize,
}

impl Lateness {
    fn new(timers: usize) -> Self {
        Self { by: (0..timers).map(|_| AtomicU64::new(0)).collect(), recorded: AtomicUsize::new(0) }
    }

    fn record(&self, due: Instant) {
        let late = due.elapsed().as_nanos() as u64;
        self.by[self.recorded.fetch_add(1, Ordering::Relaxed)].store(late, Ordering::Relaxed);
    }

    fn figures(&self) -> Figures {
        let mut sorted: Vec<u64> = self.by.iter().map(|late| late.load(Ordering::Relaxed)).collect();
        sorted.sort_unstable();
        let microseconds =
            |quantile: f64| sorted[(quantile * (sorted.len() - 1) as f64) as usize] as f64 / 1e3;
        Figures::default().with("late_p50_us", microseconds(0.5)).with("late_p99_us", microseconds(0.99))
    }
}

/// The moments, the same ones for every rival.
fn moments(timers: usize) -> impl Iterator<Item = Instant> {
    let first = Instant::now() + HEAD_START;
    let mut rng = fastrand::Rng::with_seed(1);
    (0..timers).map(move |_| first + SPREAD.mul_f64(rng.f64()))
}

fn blocking<R: Blocking>(lateness: &'static Lateness) {
    R::run(move || {
        let tasks: Vec<R::Join> = moments(lateness.by.len())
            .map(|due| {
                R::spawn(move || {
                    R::sleep(due.saturating_duration_since(Instant::now()));
                    lateness.record(due);
                })
            })
            .collect();
        tasks.into_iter().for_each(R::join);
    });
}

fn tokio(rival: Rival, lateness: &'static Lateness) {
    Tokio::new(rival).run(async move {
        let tasks: Vec<_> = moments(lateness.by.len())
            .map(|due| {
                tokio::spawn(async move {
                    tokio::time::sleep(due.saturating_duration_since(Instant::now())).await;
                    lateness.record(due);
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("measured tasks do not panic");
        }
    });
}
