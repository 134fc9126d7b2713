//! Many empty tasks spawned, then all of them joined: fresh, when the process does it for the first time and has to
//! ask the system for the memory, and warm.

use std::time::{Duration, Instant};

use anyhow::Result;

use super::{Aim, Experiment, Metric, measure_alone, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;
use crate::runtime::{Blocking, May, Thread, Tokio};
use crate::stats;

/// How often the work is done again once it is warm.
const WARM: usize = 5;

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let experiment = Experiment {
        key: "spawn-many".into(),
        title: format!("{} spawned, then joined", crate::report::grouped(settings.tasks as f64, 0)),
        about: format!(
            "Per task; fresh: the first time in the process; warm: the median of the {WARM} times after it. Tasks says \
             how many there were at once: threads, and runtimes whose stacks are mappings of their own, are held to what \
             the system allows."
        ),
        metrics: &[
            Metric { key: "warm_ns", title: "ns, warm", decimals: 0, compared: true },
            Metric { key: "fresh_ns", title: "ns, fresh", decimals: 0, compared: true },
            Metric { key: "tasks", title: "tasks", decimals: 0, compared: false },
        ],
        rivals: vec![Rival::TokioCt, Rival::Fibra, Rival::May, Rival::Smol, Rival::TokioMt1, Rival::Thread],
        baseline: Some(Rival::TokioCt),
        aims: vec![Aim::at_most(Rival::Fibra, "warm_ns", 1.0).times(Rival::TokioCt)],
        measure: measure_alone(settings, Work::SpawnMany, settings.tasks),
    };
    vec![experiment.choose(settings)]
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    let tasks = one.count;
    let figures = match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra => blocking::<crate::runtime::Fibra>(tasks),
        Rival::May => blocking::<May>(tasks),
        Rival::Thread => blocking::<Thread>(tasks),
        Rival::Smol => smol(tasks),
        Rival::TokioCt | Rival::TokioMt1 => tokio(one),
        _ => return takes_no_part(one),
    };
    Ok(figures.with("tasks", tasks as f64))
}

fn first_and_later(tasks: usize, mut run: impl FnMut() -> Duration) -> Figures {
    let mut each = || run().as_secs_f64() * 1e9 / tasks as f64;
    let fresh = each();
    let warm: Vec<f64> = (0..WARM).map(|_| each()).collect();
    let warm = stats::median(&warm).expect("WARM is not zero");
    Figures::default().with("fresh_ns", fresh).with("warm_ns", warm)
}

fn blocking<R: Blocking>(tasks: usize) -> Figures {
    R::run(move || {
        first_and_later(tasks, || {
            let start = Instant::now();
            let spawned: Vec<R::Join> = (0..tasks).map(|_| R::spawn(|| {})).collect();
            spawned.into_iter().for_each(R::join);
            start.elapsed()
        })
    })
}

fn tokio(one: &One) -> Figures {
    async fn turn(tasks: usize) -> Duration {
        let start = Instant::now();
        let spawned: Vec<_> = (0..tasks).map(|_| tokio::spawn(async {})).collect();
        for task in spawned {
            task.await.expect("measured tasks do not panic");
        }
        start.elapsed()
    }
    let runtime = Tokio::new(one.rival);
    first_and_later(one.count, || runtime.run(turn(one.count)))
}

fn smol(tasks: usize) -> Figures {
    let executor: &'static smol::LocalExecutor<'static> = Box::leak(Box::default());
    first_and_later(tasks, || {
        smol::block_on(executor.run(executor.spawn(async move {
            let start = Instant::now();
            let spawned: Vec<_> = (0..tasks).map(|_| executor.spawn(async {})).collect();
            for task in spawned {
                task.await;
            }
            start.elapsed()
        })))
    })
}
