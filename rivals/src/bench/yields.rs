//! `yield_now` between two tasks of one worker: what a pass through the scheduler costs.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Aim, Experiment, NANOSECONDS, measure_alone, repeat_for, switch, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;
use crate::runtime::{Blocking, May, Thread, Tokio};

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let experiment = Experiment {
        key: "yield".into(),
        title: "Yield".into(),
        about:
            "Two tasks of one worker yield in turn; the time is per yield. corosensei's is the bare round \
                trip of `switch`; threads share one core and call sched_yield."
                .into(),
        metrics: NANOSECONDS,
        rivals: vec![
            Rival::Corosensei,
            Rival::Fibra,
            Rival::May,
            Rival::Smol,
            Rival::TokioCt,
            Rival::TokioMt1,
            Rival::Thread,
        ],
        baseline: Some(Rival::Corosensei),
        aims: vec![Aim::at_most(Rival::Fibra, "ns", 3.0).times(Rival::Corosensei)],
        measure: measure_alone(settings, Work::Yield, 0),
    };
    vec![experiment.choose(settings)]
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    match one.rival {
        Rival::Corosensei => switch::a_number_each_way(one.seconds),
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
            let tasks = [(); 2].map(|()| {
                R::spawn(move || {
                    for _ in 0..repetitions / 2 {
                        R::yield_now();
                    }
                })
            });
            tasks.into_iter().for_each(R::join);
            start.elapsed()
        })
    })
}

fn tokio(one: &One) -> Result<Figures> {
    async fn turns(repetitions: u64) -> Duration {
        let start = Instant::now();
        let tasks = [(); 2].map(|()| {
            tokio::spawn(async move {
                for _ in 0..repetitions / 2 {
                    tokio::task::yield_now().await;
                }
            })
        });
        for task in tasks {
            task.await.expect("measured tasks do not panic");
        }
        start.elapsed()
    }
    let runtime = Tokio::new(one.rival);
    repeat_for(one.seconds, |repetitions| runtime.run(turns(repetitions)))
}

fn smol(seconds: f64) -> Result<Figures> {
    let executor: &'static smol::LocalExecutor<'static> = Box::leak(Box::default());
    repeat_for(seconds, |repetitions| {
        let start = Instant::now();
        let tasks = [(); 2].map(|()| {
            executor.spawn(async move {
                for _ in 0..repetitions / 2 {
                    smol::future::yield_now().await;
                }
            })
        });
        smol::block_on(executor.run(async {
            for task in tasks {
                task.await;
            }
        }));
        start.elapsed()
    })
}
