//! Children that borrow: [`scope`], as std's for threads.

use crate::cancel::{self, Cancelled};
use crate::scheduler::core::Core;
use crate::scheduler::park;
use crate::scheduler::runtime::current_core;
use crate::scheduler::sync::{Mutex, MutexGuard};
use crate::scheduler::worker::Worker;
use crate::spawn::{Builder, JoinHandle};
use fibra_driver::Token;
use std::any::Any;
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, PoisonError};
use std::thread;

/// Runs `f`, which may spawn coroutines that borrow from the caller; returns when all of them have ended.
///
/// ```
/// fibra::run(|| {
///     let words = vec!["write", "threads"];
///     let (first, second) = fibra::scope(|scope| {
///         let first = scope.spawn(|| words[0].len());
///         let second = scope.spawn(|| words[1].len());
///         (first.join().unwrap(), second.join().unwrap())
///     });
///     assert_eq!((first, second), (5, 7));
/// });
/// ```
///
/// The wait for the children cannot be interrupted, since they borrow.
///
/// # Panics
/// When `f` does, after the children have ended; and when a child panicked whose handle was not joined. When a child was cut short by the
/// end of its runtime and its handle was not joined, this unwinds with [`Cancelled`](crate::Cancelled) too (but not in a destructor that runs because the
/// stack unwinds already, which would abort; there only a handle's `join` tells).
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    let scope = Scope { state: Arc::default(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    scope.state.wait();
    match result {
        Ok(value) => {
            let failed = scope.state.lock().failed;
            assert!(failed.panicked == 0, "a scoped coroutine panicked");
            // The caller's runtime is ending as well; it must not take the work for done. (In a destructor that runs because of that, it is told already.)
            if failed.cancelled > 0 && !thread::panicking() {
                cancel::unwind();
            }
            value
        }
        Err(payload) => resume_unwind(payload),
    }
}

/// Runs `f` as a coroutine of `core` and waits for it.
pub(crate) fn run_in<F, T>(core: &Core, f: F) -> thread::Result<T>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    let state: Arc<ScopeState> = Arc::default();
    state.enter();
    // SAFETY: `wait` returns when the coroutine has ended, and its result is taken here; so what it borrows outlives it.
    let started = unsafe { Builder::new().task(core, Some(Arc::clone(&state)), f) };
    let (task, handle) = started.unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"));
    core.place(task);
    state.wait();
    handle.join()
}

/// Where borrowing children are spawned: see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    state: Arc<ScopeState>,
    /// Invariant, as std's, so that a scope cannot be made to look shorter than it is.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// How many children live, and who waits for the last.
#[derive(Debug, Default)]
pub(crate) struct ScopeState(Mutex<Children>);

#[derive(Debug, Default)]
struct Children {
    living: usize,
    waiting: Option<Token>,
    failed: Failed,
}

/// How many children have failed, of those whose payload nobody has taken.
#[derive(Clone, Copy, Debug, Default)]
struct Failed {
    panicked: usize,
    /// By the end of their runtime.
    cancelled: usize,
}

impl Failed {
    fn count(&mut self, payload: &(dyn Any + Send)) -> &mut usize {
        if payload.is::<Cancelled>() { &mut self.cancelled } else { &mut self.panicked }
    }
}

impl ScopeState {
    fn lock(&self) -> MutexGuard<'_, Children> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn enter(&self) {
        self.lock().living += 1;
    }

    /// A child was dropped before it ran.
    pub(crate) fn note_unrun(&self) {
        self.lock().failed.cancelled += 1;
    }

    /// A child has ended, and its closure and result are gone or its handle's.
    pub(crate) fn leave(&self) {
        let mut children = self.lock();
        children.living -= 1;
        if children.living > 0 {
            return;
        }
        let waiting = children.waiting.take();
        drop(children);
        if let Some(token) = waiting {
            park::wake(token);
        }
    }

    /// Waits until no child lives.
    pub(crate) fn wait(&self) {
        {
            let mut children = self.lock();
            if children.living == 0 {
                return;
            }
            children.waiting = Some(park::token());
        }
        park::park_until_woken();
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Starts a coroutine that may borrow what lives longer than the scope.
    ///
    /// # Panics
    /// When memory for stacks is out.
    pub fn spawn<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        self.spawn_with(Builder::new(), f).unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
    }

    /// The same, with settings.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn_with<F, T>(&'scope self, settings: Builder, f: F) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        let core = current_core()?;
        // SAFETY: `F` and `T` may cross threads, and live as long as the scope, which waits for the task.
        let (task, handle) = unsafe { self.task(settings, &core, f) }?;
        core.place(task);
        Ok(handle)
    }

    /// Starts a coroutine on the caller's worker, so that `f` and its result need not be `Send`.
    ///
    /// # Panics
    /// When the caller is no coroutine, and when memory for stacks is out.
    pub fn spawn_local<F, T>(&'scope self, f: F) -> ScopedJoinHandle<'scope, T>
    where
        F: FnOnce() -> T + 'scope,
        T: 'scope,
    {
        let worker: &Worker = crate::spawn::here();
        // SAFETY: as in `spawn_with`; and the task stays on this thread.
        let started = unsafe { self.task(Builder::new(), &worker.core, f) };
        let (task, handle) = started.unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"));
        Core::place_here(worker, task);
        handle
    }

    /// # Safety
    /// As [`new_task`](crate::scheduler::task::new_task); the scope sees to the lifetimes.
    unsafe fn task<F, T>(
        &self,
        settings: Builder,
        core: &Core,
        f: F,
    ) -> io::Result<(crate::scheduler::task::TaskRef, ScopedJoinHandle<'scope, T>)>
    where
        F: FnOnce() -> T,
    {
        let state = Arc::clone(&self.state);
        let body = move || match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => value,
            Err(payload) => {
                *state.lock().failed.count(&*payload) += 1;
                resume_unwind(payload)
            }
        };
        self.state.enter();
        // SAFETY: the caller's contract.
        match unsafe { settings.task(core, Some(Arc::clone(&self.state)), body) } {
            Ok((task, handle)) => {
                let handle = ScopedJoinHandle { handle, state: Arc::clone(&self.state), scope: PhantomData };
                Ok((task, handle))
            }
            Err(error) => {
                self.state.leave();
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("living", &self.state.lock().living).finish()
    }
}

/// The result of a scoped coroutine.
#[derive(Debug)]
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    state: Arc<ScopeState>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the coroutine: see [`JoinHandle::join`].
    ///
    /// # Errors
    /// The panic's payload.
    pub fn join(self) -> thread::Result<T> {
        let result = self.handle.join();
        if let Err(payload) = &result {
            // The payload is the caller's now, and so is the decision what becomes of it.
            *self.state.lock().failed.count(&**payload) -= 1;
        }
        result
    }
}

impl<T> Deref for ScopedJoinHandle<'_, T> {
    type Target = JoinHandle<T>;

    fn deref(&self) -> &JoinHandle<T> {
        &self.handle
    }
}
