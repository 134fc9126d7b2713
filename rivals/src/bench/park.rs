//! Ping-pong of park and unpark between two tasks of one worker: each wakes the other, then waits to be woken.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::sync::Notify;

use super::{Experiment, NANOSECONDS, measure_alone, repeat_for, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::Figures;
use crate::rival::Rival;
use crate::runtime::{Blocking, May, Thread, Tokio};

/// How long the first task waits before it looks again whether the second has started.
const A_MOMENT: Duration = Duration::from_micros(100);

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let experiment = Experiment {
        key: "park".into(),
        title: "Park and unpark".into(),
        about: "Two tasks of one worker wake each other in turn; the time is per wake. tokio's tasks wait on a Notify; \
                threads share one core."
            .into(),
        metrics: NANOSECONDS,
        rivals: vec![Rival::TokioCt, Rival::Fibra, Rival::May, Rival::TokioMt1, Rival::Thread],
        baseline: Some(Rival::TokioCt),
        aims: vec![],
        measure: measure_alone(settings, Work::Park, 0),
    };
    vec![experiment.choose(settings)]
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra => blocking::<crate::runtime::Fibra>(one.seconds, None),
        Rival::May => blocking::<May>(one.seconds, None),
        Rival::Thread => blocking::<Thread>(one.seconds, None),
        Rival::TokioCt | Rival::TokioMt1 => tokio(one, None),
        _ => takes_no_part(one),
    }
}

/// The ping-pong; with `timeout`, each wait sets a timer and, being woken first, cancels it.
pub(super) fn blocking<R: Blocking>(seconds: f64, timeout: Option<Duration>) -> Result<Figures> {
    fn wait<R: Blocking>(timeout: Option<Duration>) {
        match timeout {
            None => R::park(),
            Some(timeout) => R::park_timeout(timeout),
        }
    }
    R::run(move || {
        repeat_for(seconds, |repetitions| {
            let turns = repetitions / 2;
            let first = R::current();
            let meeting = Arc::new(Mutex::new(None));
            let their_meeting = Arc::clone(&meeting);
            let task = R::spawn(move || {
                *their_meeting.lock().expect("nobody panics") = Some(R::current());
                for _ in 0..turns {
                    wait::<R>(timeout);
                    R::unpark(&first);
                }
            });
            let second = loop {
                if let Some(second) = meeting.lock().expect("nobody panics").take() {
                    break second;
                }
                // Not by parking: a wake more than counted would be kept, and put the two out of step.
                R::sleep(A_MOMENT);
            };
            let start = Instant::now();
            for _ in 0..turns {
                R::unpark(&second);
                wait::<R>(timeout);
            }
            let took = start.elapsed();
            R::join(task);
            took
        })
    })
}

/// The same between two tokio tasks.
pub(super) fn tokio(one: &One, timeout: Option<Duration>) -> Result<Figures> {
    async fn wait(notify: &Notify, timeout: Option<Duration>) {
        match timeout {
            None => notify.notified().await,
            Some(timeout) => {
                tokio::time::timeout(timeout, notify.notified()).await.expect("woken long before");
            }
        }
    }
    async fn turns(turns: u64, timeout: Option<Duration>) -> Duration {
        let first = Arc::new(Notify::new());
        let second = Arc::new(Notify::new());
        let task = tokio::spawn({
            let (first, second) = (Arc::clone(&first), Arc::clone(&second));
            async move {
                for _ in 0..turns {
                    wait(&second, timeout).await;
                    first.notify_one();
                }
            }
        });
        let start = Instant::now();
        for _ in 0..turns {
            second.notify_one();
            wait(&first, timeout).await;
        }
        let took = start.elapsed();
        task.await.expect("measured tasks do not panic");
        took
    }
    let runtime = Tokio::new(one.rival);
    repeat_for(one.seconds, |repetitions| runtime.run(turns(repetitions / 2, timeout)))
}
