//! One test body in each setting: between coroutines of one worker, of several workers, between OS threads outside of any runtime, and between both.
//!
//! ```text
//! settings::each(|setting| {
//!     let event = Arc::new(Event::new());
//!     let waiting = { let event = Arc::clone(&event); setting.spawn(move || event.wait()) };
//!     setting.until(|| event.waiting() == 1);
//!     event.set();
//!     waiting.join().unwrap();
//! });
//! ```
//!
//! The body itself is a context of its setting. A test file that uses this also has `mod limit;`: a body that hangs fails, with a list of who waits for what.

#![allow(dead_code, reason = "each test file uses its own part")]

use crate::limit::{LIMIT, on_workers, within};
use fibra::{Cancelled, JoinHandle, Scope, ScopedJoinHandle};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Workers where there are several.
const WORKERS: usize = 3;

/// What the contexts of a test are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    OneWorker,
    SeveralWorkers,
    /// OS threads, outside of any runtime.
    Threads,
    /// Coroutines of several workers and OS threads, by turns.
    Mixed,
}

const KINDS: [Kind; 4] = [Kind::OneWorker, Kind::SeveralWorkers, Kind::Threads, Kind::Mixed];

/// The present setting: starts contexts in it.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) kind: Kind,
    spawned: Arc<AtomicUsize>,
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            Kind::OneWorker => "coroutines of one worker",
            Kind::SeveralWorkers => "coroutines of several workers",
            Kind::Threads => "OS threads",
            Kind::Mixed => "coroutines and OS threads",
        })
    }
}

/// Runs `body` in each setting, one after the other.
pub(crate) fn each(body: impl Fn(&Setting) + Clone + Send + 'static) {
    for kind in KINDS {
        in_one(kind, body.clone());
    }
}

/// Runs `body` in one setting.
pub(crate) fn in_one(kind: Kind, body: impl Fn(&Setting) + Send + 'static) {
    let setting = Setting { kind, spawned: Arc::default() };
    let told = setting.clone();
    let body = move || body(&setting);
    let result = catch_unwind(AssertUnwindSafe(|| match kind {
        Kind::OneWorker => on_workers(1, body),
        Kind::SeveralWorkers | Kind::Mixed => on_workers(WORKERS, body),
        Kind::Threads => within(LIMIT, body),
    }));
    if let Err(payload) = result {
        eprintln!("failed in the setting: {told}");
        resume_unwind(payload);
    }
}

impl Setting {
    /// Starts a context. All of them have the same handle, whatever they are.
    pub(crate) fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if self.next_is_thread() { fibra::thread::spawn(f) } else { fibra::spawn(f) }
    }

    /// Starts so many, each with its number from 0.
    pub(crate) fn spawn_all<F, T>(&self, count: usize, f: F) -> Vec<JoinHandle<T>>
    where
        F: Fn(usize) -> T + Clone + Send + 'static,
        T: Send + 'static,
    {
        (0..count)
            .map(|number| {
                let f = f.clone();
                self.spawn(move || f(number))
            })
            .collect()
    }

    /// Starts a context that may borrow: in a [`fibra::scope`].
    pub(crate) fn spawn_scoped<'scope, F, T>(
        &self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        if self.next_is_thread() {
            fibra::thread::Builder::new().spawn_scoped(scope, f).expect("a thread")
        } else {
            scope.spawn(f)
        }
    }

    /// Lets the others run until they have brought something about. A test that waits for what never comes is ended by the limit.
    pub(crate) fn until(&self, condition: impl Fn() -> bool) {
        while !condition() {
            fibra::yield_now();
        }
    }

    /// Whether the contexts run at the same time, so that their order is not determined.
    pub(crate) fn is_parallel(&self) -> bool {
        self.kind != Kind::OneWorker
    }

    fn next_is_thread(&self) -> bool {
        match self.kind {
            Kind::OneWorker | Kind::SeveralWorkers => false,
            Kind::Threads => true,
            Kind::Mixed => self.spawned.fetch_add(1, Ordering::Relaxed) % 2 == 1,
        }
    }
}

/// Joins them all; the first panic comes out.
pub(crate) fn join_all<T>(handles: impl IntoIterator<Item = JoinHandle<T>>) -> Vec<T> {
    let join = |handle: JoinHandle<T>| handle.join().unwrap_or_else(|payload| resume_unwind(payload));
    handles.into_iter().map(join).collect()
}

/// Cancels those contexts for which `chosen` says so, one after the other while they run, and joins them all: who has not come to its end was cancelled.
pub(crate) fn cancel_some<T>(contexts: Vec<JoinHandle<T>>, chosen: impl Fn() -> bool) {
    for context in contexts.iter().filter(|_| chosen()) {
        context.cancel();
        fibra::yield_now();
    }
    for context in contexts {
        if let Err(payload) = context.join() {
            assert!(payload.is::<Cancelled>());
        }
    }
}
