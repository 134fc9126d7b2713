//! All the living contexts of the process, for those who look: the runtimes with their workers' [tables](super::started), and the OS threads that are contexts.
//!
//! A thread enters the list when it first waits by fibra's means, or begins a job or a closure of [`crate::thread`], and leaves it when that is over. The list
//! holds a reference, so that what is in it is alive.

use super::core::Core;
use super::park;
use super::shared::Shared;
use super::state::Signal;
use super::task::{Header, Kind, TaskPtr, TaskRef};
use fibra_driver::Token;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

/// By number.
static THREADS: Mutex<BTreeMap<u64, Thread>> = Mutex::new(BTreeMap::new());

static RUNTIMES: Mutex<Vec<Weak<Core>>> = Mutex::new(Vec::new());

/// An OS thread's context.
#[derive(Clone)]
struct Thread {
    task: TaskRef,
    /// The number of the runtime that what it spawns belongs to.
    runtime: Option<u64>,
}

/// A place in the list of threads, given up on drop.
#[must_use]
pub(crate) struct Listed(u64);

impl Drop for Listed {
    fn drop(&mut self) {
        unlist(self.0);
    }
}

/// Where a context was seen.
pub(crate) struct Sighting<'a> {
    pub(crate) context: &'a Header,
    pub(crate) runtime: Option<u64>,
    /// The index of its worker: the one that it is bound to, or that it is.
    pub(crate) worker: Option<usize>,
    /// Whether it is the context that its worker has resumed last, and has not gone to sleep since; for a worker, whether it is awake.
    pub(crate) resumed: bool,
}

/// A number for a runtime.
pub(super) fn next_runtime() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// There is a runtime.
pub(super) fn enter_runtime(core: &Arc<Core>) {
    let mut runtimes = lock(&RUNTIMES);
    runtimes.retain(|runtime| runtime.strong_count() > 0);
    runtimes.push(Arc::downgrade(core));
}

/// Puts an OS thread's context into the list.
pub(crate) fn list(task: TaskRef, runtime: Option<u64>) -> Listed {
    let id = task.header().id;
    let before = lock(&THREADS).insert(id, Thread { task, runtime });
    debug_assert!(before.is_none(), "a context is listed once");
    Listed(id)
}

/// Takes an OS thread's context out of the list.
pub(super) fn unlist(id: u64) {
    let thread = lock(&THREADS).remove(&id);
    // Not under the lock.
    drop(thread);
}

/// Asks the threads that were started in a runtime to stop.
pub(super) fn kill_threads(runtime: u64) {
    let ours =
        |thread: &&Thread| thread.runtime == Some(runtime) && thread.task.header().kind == Kind::Spawned;
    let threads: Vec<Thread> = lock(&THREADS).values().filter(ours).cloned().collect();
    for thread in threads {
        // SAFETY: `thread` has a reference.
        unsafe { park::signal(thread.task.ptr(), Signal::Kill) };
    }
}

/// Shows every context that has started and has not ended, `f` must neither wait nor end a coroutine.
pub(crate) fn each(mut f: impl FnMut(Sighting<'_>)) {
    let runtimes: Vec<Arc<Core>> = lock(&RUNTIMES).iter().filter_map(Weak::upgrade).collect();
    let threads: Vec<Thread> = lock(&THREADS).values().cloned().collect();
    let mut see = |sighting: Sighting<'_>| {
        if !sighting.context.join.is_done() {
            f(sighting);
        }
    };
    for Thread { task, runtime } in &threads {
        let context = task.header();
        let worker = context.worker.load(Ordering::Relaxed).cast_const();
        let worker = runtimes.iter().find_map(|core| {
            let index = core.workers.iter().position(|shared| std::ptr::eq(Arc::as_ptr(shared), worker))?;
            Some((core, index))
        });
        see(match worker {
            Some((core, index)) => Sighting {
                context,
                runtime: Some(core.number),
                worker: Some(index),
                resumed: !core.workers[index].mailbox.is_asleep(),
            },
            None => Sighting { context, runtime: *runtime, worker: None, resumed: true },
        });
    }
    for core in &runtimes {
        for (index, worker) in core.workers.iter().enumerate() {
            let awake = !worker.mailbox.is_asleep();
            worker.started.each(|token| {
                // SAFETY: a token in the table is a task's, which is alive while it is shown.
                let context = unsafe { TaskPtr::from_token(token).header() };
                let resumed = awake && worker.is_resumed(token);
                see(Sighting { context, runtime: Some(core.number), worker: Some(index), resumed });
            });
        }
    }
}

/// The number of the living context that a token names; the token may be of one that has ended.
pub(crate) fn id_of(token: Token) -> Option<u64> {
    let mut id = None;
    each(|sighting| {
        if std::ptr::from_ref(sighting.context).addr() == token.0 {
            id = Some(sighting.context.id);
        }
    });
    id
}

/// The worker that `context`, an OS thread's, is from now on.
pub(super) fn note_worker(context: &Header, worker: Option<&Arc<Shared>>) {
    let worker = worker.map_or(std::ptr::null_mut(), |worker| Arc::as_ptr(worker).cast_mut());
    context.worker.store(worker, Ordering::Relaxed);
}

fn lock<T>(list: &Mutex<T>) -> MutexGuard<'_, T> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
