//! Idle tasks by the million: what each holds in memory, and how long creating and waking all of them takes.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::Result;
use tokio::sync::Notify;

use super::{Aim, Experiment, Metric, measure_alone, takes_no_part};
use crate::cli::{One, Settings, Work};
use crate::process::{Figures, Memory};
use crate::rival::Rival;
use crate::runtime::{Blocking, May, Thread, Tokio};

/// Tasks that have come as far as their wait, and tasks that have been woken from it.
static WAITING: AtomicUsize = AtomicUsize::new(0);
static WOKEN: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    let mut aims = vec![Aim::at_most(Rival::Fibra, "bytes", 4_608.0)];
    if settings.idle_tasks == 1_000_000 {
        aims.push(Aim::at_most(Rival::Fibra, "create_s", 2.5));
        aims.push(Aim::at_most(Rival::Fibra, "wake_s", 0.3));
    }
    let experiment = Experiment {
        key: "memory".into(),
        title: format!("{} idle tasks", crate::report::grouped(settings.idle_tasks as f64, 0)),
        about: "Each task starts, leaves a handle to wake it by (tokio's wait on one Notify), and parks. Bytes are VmRSS \
                after less before, over the tasks; with tables adds VmPTE. Stacks are of each runtime's default size. \
                Tasks says how many there were: see the README for what holds some of them back."
            .into(),
        metrics: &[
            Metric { key: "bytes", title: "bytes each", decimals: 0, compared: true },
            Metric { key: "bytes_tables", title: "with page tables", decimals: 0, compared: true },
            Metric { key: "create_s", title: "create all, s", decimals: 2, compared: false },
            Metric { key: "wake_s", title: "wake all, s", decimals: 2, compared: false },
            Metric { key: "tasks", title: "tasks", decimals: 0, compared: false },
        ],
        rivals: vec![Rival::TokioCt, Rival::Fibra, Rival::May, Rival::Thread],
        baseline: Some(Rival::TokioCt),
        aims,
        measure: measure_alone(settings, Work::Memory, settings.idle_tasks),
    };
    vec![experiment.choose(settings)]
}

pub(crate) fn one(one: &One) -> Result<Figures> {
    let tasks = one.count;
    match one.rival {
        #[cfg(feature = "fibra")]
        Rival::Fibra => blocking::<crate::runtime::Fibra>(tasks),
        Rival::May => blocking::<May>(tasks),
        Rival::Thread => blocking::<Thread>(tasks),
        Rival::TokioCt => tokio(one),
        _ => takes_no_part(one),
    }
}

/// A list whose memory is resident already, so that filling it is not taken for the tasks' memory.
fn resident_list<T>(length: usize) -> Vec<T> {
    let mut list = Vec::with_capacity(length);
    list.spare_capacity_mut().fill_with(MaybeUninit::zeroed);
    list
}

fn figures(tasks: usize, before: Memory, after: Memory, create: f64, wake: f64) -> Figures {
    let resident = after.resident - before.resident;
    let tables = after.page_tables - before.page_tables;
    Figures::default()
        .with("bytes", resident / tasks as f64)
        .with("bytes_tables", (resident + tables) / tasks as f64)
        .with("create_s", create)
        .with("wake_s", wake)
        .with("tasks", tasks as f64)
}

fn blocking<R: Blocking>(tasks: usize) -> Result<Figures> {
    /// Counts one more; the last one wakes the main task, which is parked meanwhile: yielding in a loop, it would keep
    /// some schedulers from ever looking at what has been spawned.
    fn count<R: Blocking>(counter: &AtomicUsize, tasks: usize, main: &R::Handle) {
        if counter.fetch_add(1, Ordering::Relaxed) + 1 == tasks {
            R::unpark(main);
        }
    }
    fn wait_for_all<R: Blocking>(counter: &AtomicUsize, tasks: usize) {
        while counter.load(Ordering::Relaxed) < tasks {
            R::park();
        }
    }
    R::run(move || {
        let main = R::current();
        let handles = Arc::new(Mutex::new(resident_list::<R::Handle>(tasks)));
        let before = Memory::of_this_process()?;
        let start = Instant::now();
        for _ in 0..tasks {
            let (main, handles) = (main.clone(), Arc::clone(&handles));
            let _detached = R::spawn(move || {
                handles.lock().expect("nobody panics").push(R::current());
                drop(handles);
                count::<R>(&WAITING, tasks, &main);
                R::park();
                count::<R>(&WOKEN, tasks, &main);
            });
        }
        wait_for_all::<R>(&WAITING, tasks);
        let create = start.elapsed().as_secs_f64();
        let after = Memory::of_this_process()?;
        let start = Instant::now();
        for handle in handles.lock().expect("nobody panics").iter() {
            R::unpark(handle);
        }
        wait_for_all::<R>(&WOKEN, tasks);
        Ok(figures(tasks, before, after, create, start.elapsed().as_secs_f64()))
    })
}

fn tokio(one: &One) -> Result<Figures> {
    let tasks = one.count;
    Tokio::new(one.rival).run(async move {
        let notify = Arc::new(Notify::new());
        let before = Memory::of_this_process()?;
        let start = Instant::now();
        for _ in 0..tasks {
            let notify = Arc::clone(&notify);
            tokio::spawn(async move {
                let woken = notify.notified();
                WAITING.fetch_add(1, Ordering::Relaxed);
                woken.await;
                WOKEN.fetch_add(1, Ordering::Relaxed);
            });
        }
        while WAITING.load(Ordering::Relaxed) < tasks {
            tokio::task::yield_now().await;
        }
        let create = start.elapsed().as_secs_f64();
        let after = Memory::of_this_process()?;
        let start = Instant::now();
        notify.notify_waiters();
        while WOKEN.load(Ordering::Relaxed) < tasks {
            tokio::task::yield_now().await;
        }
        Ok(figures(tasks, before, after, create, start.elapsed().as_secs_f64()))
    })
}
