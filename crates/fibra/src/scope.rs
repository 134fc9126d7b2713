//! Children that borrow: [`scope`], as std's for threads.

use crate::cancel::{self, Cancelled};
use crate::scheduler::core::{Core, Phase};
use crate::scheduler::park;
use crate::scheduler::runtime::current_core;
use crate::scheduler::state::{Reason, Signal};
use crate::scheduler::sync::{Mutex, MutexGuard};
use crate::scheduler::task::TaskRef;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::{Worker, or_abort};
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
/// Since the children borrow, they are always waited for. When the caller is asked to stop while it waits for them (or when `f` is), they are
/// [cancelled](Scope::cancel), and this unwinds when the last has ended. A child that panics does not disturb the others, unless
/// [`Scope::cancel_on_failure`] was called.
///
/// # Panics
/// When `f` does, after the children have ended; and when a child panicked whose handle was not joined. When a child was cut short by the
/// end of its runtime and its handle was not joined, this unwinds with [`Cancelled`](crate::Cancelled) too (but not in a destructor that runs because the
/// stack unwinds already, which would abort; there only a handle's `join` tells).
pub fn scope<'env, F, T>(f: F) -> T
where
    F: for<'scope> FnOnce(&'scope Scope<'scope, 'env>) -> T,
{
    // Its children are waited for whatever happens.
    cancel::forbid(WaitsFor::Scope);
    let scope = Scope { state: Arc::default(), scope: PhantomData, env: PhantomData };
    let result = catch_unwind(AssertUnwindSafe(|| f(&scope)));
    if result.as_ref().is_err_and(|payload| payload.is::<Cancelled>() || scope.state.lock().strict) {
        scope.cancel();
    }
    scope.state.wait();
    match result {
        Ok(value) => {
            let failed = scope.state.lock().failed;
            assert!(failed.panicked == 0, "a scoped coroutine panicked");
            // When the caller has been asked to stop as well, it must not take the work for done. (In a destructor that runs because of that, it is told
            // already.) A child that somebody cancelled by its handle is that somebody's business.
            let ending = || Worker::here().is_some_and(|worker| worker.core.phase() == Phase::Killing);
            if failed.cancelled > 0 && !thread::panicking() && (cancel::is_requested() || ending()) {
                cancel::unwind_now();
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
    cancel::forbid(WaitsFor::Join);
    let state: Arc<ScopeState> = Arc::default();
    // SAFETY: `wait_shielded` returns when the coroutine has ended, and its result is taken here; so what it borrows outlives it.
    let started = unsafe { Builder::new().daemon(false).task(core, Some(&state), f) };
    let (task, handle) = started.unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"));
    core.place(task);
    state.wait_shielded();
    handle.join()
}

/// Where borrowing children are spawned: see [`scope`].
pub struct Scope<'scope, 'env: 'scope> {
    state: Arc<ScopeState>,
    /// Invariant, as std's, so that a scope cannot be made to look shorter than it is.
    scope: PhantomData<&'scope mut &'scope ()>,
    env: PhantomData<&'env mut &'env ()>,
}

/// Which children live, and who waits for the last.
#[derive(Default)]
pub(crate) struct ScopeState(Mutex<Children>);

#[derive(Default)]
struct Children {
    living: usize,
    waiting: Option<Token>,
    failed: Failed,
    /// Whether the children have been cancelled, and those to come are.
    cancelled: bool,
    /// Whether the failure of one cancels the others.
    strict: bool,
    /// The living ones that have been made, by place.
    tasks: Vec<Option<TaskRef>>,
    free: Vec<usize>,
}

/// A child's place in its scope.
pub(crate) struct Place {
    state: Arc<ScopeState>,
    index: usize,
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

    /// A child has failed, and its payload was not taken yet.
    fn note_failure(&self, payload: &(dyn Any + Send)) {
        let mut children = self.lock();
        *children.failed.count(payload) += 1;
        if children.strict && children.failed.panicked > 0 && !children.cancelled {
            children.cancel();
        }
    }

    /// Waits until no child lives. When the caller is asked to stop meanwhile the children are too.
    pub(crate) fn wait(&self) {
        if !self.begin_to_wait() {
            return;
        }
        // The children borrow from the caller: it must not unwind, as it would if a user's clock panicked.
        or_abort(|| {
            if park::park(None) != Reason::Woken {
                self.lock().cancel();
                park::park_until_woken();
            }
        });
    }

    fn wait_shielded(&self) {
        if self.begin_to_wait() {
            park::park_until_woken();
        }
    }

    /// False when there is nothing to wait for.
    fn begin_to_wait(&self) -> bool {
        let mut children = self.lock();
        if children.living == 0 {
            return false;
        }
        children.waiting = Some(park::token());
        park::waits_for(WaitsFor::Scope, children.living);
        true
    }
}

impl Children {
    fn cancel(&mut self) {
        self.cancelled = true;
        for task in self.tasks.iter().flatten() {
            // SAFETY: the list holds a reference.
            unsafe { park::signal(task.ptr(), Signal::Kill) };
        }
    }
}

impl Place {
    /// For a child that is about to be made.
    pub(crate) fn new(state: &Arc<ScopeState>) -> Place {
        let mut children = state.lock();
        children.living += 1;
        let index = children.free.pop().unwrap_or_else(|| {
            children.tasks.push(None);
            children.tasks.len() - 1
        });
        Place { state: Arc::clone(state), index }
    }

    /// The child has been made, and will run, or else be abandoned.
    pub(crate) fn adopt(&self, task: TaskRef) {
        let mut children = self.state.lock();
        if children.cancelled {
            // SAFETY: `task` is a reference.
            unsafe { park::signal(task.ptr(), Signal::Kill) };
        }
        children.tasks[self.index] = Some(task);
    }

    /// The child was dropped before it ran.
    pub(crate) fn note_unrun(&self) {
        self.state.lock().failed.cancelled += 1;
    }

    /// The child has ended, and its closure and result are gone or its handle's.
    pub(crate) fn leave(&self) {
        let mut children = self.state.lock();
        let task = children.tasks[self.index].take();
        children.free.push(self.index);
        children.living -= 1;
        let waiting = if children.living == 0 { children.waiting.take() } else { None };
        drop(children);
        // Not the last reference, for the child is not over yet; and not under the lock, either.
        drop(task);
        if let Some(token) = waiting {
            park::wake(token);
        }
    }
}

impl<'scope, 'env> Scope<'scope, 'env> {
    /// Cancels the children that live, and those that are started from now on: see [`JoinHandle::cancel`].
    pub fn cancel(&self) {
        self.state.lock().cancel();
    }

    /// From now on the first failure, of a child or of the scope's own closure, cancels the children that are left: as a group of tasks that make sense only
    /// together.
    ///
    /// ```
    /// use std::panic::catch_unwind;
    /// use std::time::Duration;
    ///
    /// fibra::run(|| {
    ///     let result = catch_unwind(|| {
    ///         fibra::scope(|scope| {
    ///             scope.cancel_on_failure();
    ///             scope.spawn(|| fibra::sleep(Duration::from_secs(3600)));
    ///             scope.spawn(|| panic!("no use to go on"));
    ///         })
    ///     });
    ///     assert!(result.is_err(), "and it did not take an hour");
    /// });
    /// ```
    pub fn cancel_on_failure(&self) {
        let mut children = self.state.lock();
        children.strict = true;
        if children.failed.panicked > 0 {
            children.cancel();
        }
    }

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
    ) -> io::Result<(TaskRef, ScopedJoinHandle<'scope, T>)>
    where
        F: FnOnce() -> T,
    {
        let body = self.body(f);
        // SAFETY: the caller's contract.
        let (task, handle) = unsafe { settings.task(core, Some(&self.state), body) }?;
        Ok((task, self.handle(handle)))
    }

    /// What a child runs whose work is `f`.
    pub(crate) fn body<F, T>(&self, f: F) -> impl FnOnce() -> T + use<F, T>
    where
        F: FnOnce() -> T,
    {
        let state = Arc::clone(&self.state);
        move || match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => value,
            Err(payload) => {
                state.note_failure(&*payload);
                resume_unwind(payload)
            }
        }
    }

    /// The handle of a child.
    pub(crate) fn handle<T>(&self, handle: JoinHandle<T>) -> ScopedJoinHandle<'scope, T> {
        ScopedJoinHandle { handle, state: Arc::clone(&self.state), scope: PhantomData }
    }

    pub(crate) fn state(&self) -> &Arc<ScopeState> {
        &self.state
    }
}

impl fmt::Debug for Scope<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").field("living", &self.state.lock().living).finish()
    }
}

/// The result of a scoped coroutine.
pub struct ScopedJoinHandle<'scope, T> {
    handle: JoinHandle<T>,
    state: Arc<ScopeState>,
    scope: PhantomData<&'scope ()>,
}

impl<T> ScopedJoinHandle<'_, T> {
    /// Waits for the coroutine: see [`JoinHandle::join`].
    ///
    /// # Errors
    /// The panic's payload; [`Cancelled`](crate::Cancelled) when it was cancelled.
    pub fn join(self) -> thread::Result<T> {
        let result = self.handle.join();
        if let Err(payload) = &result {
            // The payload is the caller's now, and so is the decision what becomes of it.
            *self.state.lock().failed.count(&**payload) -= 1;
        }
        result
    }
}

impl<T> fmt::Debug for ScopedJoinHandle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.handle.fmt(f)
    }
}

impl<T> Deref for ScopedJoinHandle<'_, T> {
    type Target = JoinHandle<T>;

    fn deref(&self) -> &JoinHandle<T> {
        &self.handle
    }
}
