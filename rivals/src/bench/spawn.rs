//! Spawn and join of one empty task at a time, warm.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Aim, Experiment, NANOSECONDS, measure_alone, repeat_for, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;
use crate::runtime::{Blocking, May, Thread, Tokio};

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let experiment = Experiment {
        key: "spawn".into(),
        title: "Spawn and join".into(),
        about: "An empty task is spawned and joined, then the next; everything warm.".into(),
        metrics: NANOSECONDS,
        rivals: vec![Rival::TokioCt, Rival::Fibra, Rival::May, Rival::Smol, Rival::TokioMt1, Rival::Thread],
        baseline: Some(Rival::TokioCt),
        aims: vec![
            Aim::at_most(Rival::Fibra, "ns", 100.0),
            Aim::at_most(Rival::Fibra, "ns", 0.3).times(Rival::TokioCt),
        ],
        measure: measure_alone(settings, Work::Spawn, 0),
    };
    vec![experiment.choose(settings)]
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra => blocking::<crate::runtime::Fibra>(one.seconds),
        Rival::May => blocking::<May>(one.seconds),
        Rival::Thread => blocking::<Thread>(one.seconds),
        Rival::Smol => smol(one.seconds),
        Rival::TokioCt | Rival::TokioMt1 => tokio(one),
        _ => takes_no_part(one),
    }
}

fn blocking<R: Blocking>(seconds: f64) -> Result<Figures> {
    R::run(move || {
        repeat_for(seconds, |repetitions| {
            let start = Instant::now();
            for _ in 0..repetitions {
                R::join(R::spawn(|| {}));
            }
            start.elapsed()
        })
    })
}

fn tokio(one: &One) -> Result<Figures> {
    async fn turns(repetitions: u64) -> Duration {
        let start = Instant::now();
        for _ in 0..repetitions {
            tokio::spawn(async {}).await.expect("measured tasks do not panic");
        }
        start.elapsed()
    }
    let runtime = Tokio::new(one.rival);
    repeat_for(one.seconds, |repetitions| runtime.run(turns(repetitions)))
}

fn smol(seconds: f64) -> Result<Figures> {
    let executor: &'static smol::LocalExecutor<'static> = Box::leak(Box::default());
    repeat_for(seconds, |repetitions| {
        smol::block_on(executor.run(executor.spawn(async move {
            let start = Instant::now();
            for _ in 0..repetitions {
                executor.spawn(async {}).await;
            }
            start.elapsed()
        })))
    })
}
