//! Starting coroutines, and the handle by which their end is awaited.

use crate::cancel;
use crate::context::Context;
use crate::scheduler::core::Core;
use crate::scheduler::join_word::Detach;
use crate::scheduler::park;
use crate::scheduler::runtime::{check_stack_size, current_core};
use crate::scheduler::shared::Shared;
use crate::scheduler::state::{Reason, Signal};
use crate::scheduler::task::{Settings, TaskRef, new_task};
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::{Worker, or_abort};
use crate::scope::{Place, ScopeState};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

/// Starts a coroutine that runs `f`, and returns a handle for its result.
///
/// It belongs to the runtime of the caller, or to the default runtime (started on first use, with a worker for each core) when the caller is
/// an OS thread outside of any. Until it first runs any idle worker may take it; from then on it stays on its worker, so what lives on its stack
/// need not be `Send`. Dropping the handle lets it run on by itself.
///
/// ```
/// fibra::run(|| {
///     let handles: Vec<_> = (1..=3).map(|n| fibra::spawn(move || n * n)).collect();
///     let squares: Vec<i32> = handles.into_iter().map(|handle| handle.join().unwrap()).collect();
///     assert_eq!(squares, [1, 4, 9]);
/// });
/// ```
///
/// # Panics
/// When memory for stacks is out, as [`std::thread::spawn`] does; [`Builder::spawn`] returns that as an error.
#[inline]
pub fn spawn<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn(f).unwrap_or_else(|error| cannot(&error))
}

/// Starts a coroutine on the worker of the caller, where it stays; so `f` and its result need not be `Send`.
///
/// ```
/// use std::{cell::Cell, rc::Rc};
///
/// fibra::run(|| {
///     let count = Rc::new(Cell::new(0));
///     let shared = Rc::clone(&count);
///     fibra::spawn_local(move || shared.set(shared.get() + 1)).join().unwrap();
///     assert_eq!(count.get(), 1);
/// });
/// ```
///
/// # Panics
/// When the caller is no coroutine, and when memory for stacks is out.
pub fn spawn_local<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + 'static,
    T: 'static,
{
    Builder::new().spawn_local(f).unwrap_or_else(|error| cannot(&error))
}

/// Starts a coroutine once `delay` is over. Until then it has no stack (unless it is spawned from outside its runtime).
///
/// ```
/// use std::time::{Duration, Instant};
///
/// fibra::run(|| {
///     let began = Instant::now();
///     let later = fibra::spawn_after(Duration::from_millis(20), move || began.elapsed());
///     assert!(later.join().unwrap() >= Duration::from_millis(20));
/// });
/// ```
///
/// # Panics
/// As [`spawn`].
pub fn spawn_after<F, T>(delay: Duration, f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    Builder::new().spawn_after(delay, f).unwrap_or_else(|error| cannot(&error))
}

#[cold]
fn cannot(error: &io::Error) -> ! {
    panic!("cannot spawn a coroutine: {error}")
}

/// The settings of one coroutine.
///
/// ```
/// fibra::run(|| {
///     let parser = fibra::Builder::new()
///         .name("parser")
///         .stack_size(512 * 1024)
///         .spawn(|| fibra::current().name().map(str::to_owned))?;
///     assert_eq!(parser.name(), Some("parser"));
///     assert_eq!(parser.join().unwrap().as_deref(), Some("parser"));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    name: Option<Box<str>>,
    stack_size: Option<usize>,
    daemon: Option<bool>,
    /// The worker on which it waits for its time.
    delayed: Option<Arc<Shared>>,
}

impl Builder {
    /// The defaults: no name, the runtime's stack size, a daemon if the creator is one.
    #[inline]
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name, for messages about the coroutine.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into().into_boxed_str());
        self
    }

    /// The size of its stack in bytes: 16 KiB to 1 GiB, rounded up.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether the runtime's end cuts it short, or waits for it.
    ///
    /// Unless said here it is as the context that starts it: what a daemon starts is a daemon, and what others start is none. That is settled with its start;
    /// there is nothing by which it could be changed later.
    ///
    /// ```
    /// fibra::run(|| {
    ///     let server = fibra::Builder::new().daemon(true).spawn(|| {
    ///         let handler = fibra::spawn(|| fibra::current().is_daemon());
    ///         let saver = fibra::Builder::new().daemon(false).spawn(|| fibra::current().is_daemon())?;
    ///         Ok::<_, std::io::Error>((handler.join().unwrap(), saver.join().unwrap()))
    ///     })?;
    ///     assert_eq!(server.join().unwrap()?, (true, false));
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn daemon(mut self, daemon: bool) -> Builder {
        self.daemon = Some(daemon);
        self
    }

    /// Starts the coroutine, as [`spawn`](crate::spawn()).
    ///
    /// # Errors
    /// A stack size out of bounds, or no memory or mappings for another stack.
    #[inline]
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        if let Some(worker) = Worker::here() {
            // SAFETY: `F` and `T` are `'static` and may cross threads.
            let (task, handle) = unsafe { self.task(&worker.core, None, f) }?;
            worker.core.place(task);
            return Ok(handle);
        }
        self.spawn_in(&*current_core()?, f)
    }

    /// Starts the coroutine once `prepare` has seen its handle: who keeps a list of it has it there before it runs, and it can be cancelled before.
    ///
    /// `prepare` must not panic.
    pub(crate) fn spawn_prepared<F, T>(
        self,
        f: F,
        prepare: impl FnOnce(&JoinHandle<T>),
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let core = current_core()?;
        // SAFETY: `F` and `T` are `'static` and may cross threads.
        let (task, handle) = unsafe { self.task(&core, None, f) }?;
        prepare(&handle);
        core.place(task);
        Ok(handle)
    }

    pub(crate) fn spawn_in<F, T>(self, core: &Core, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `F` and `T` are `'static` and may cross threads.
        let (task, handle) = unsafe { self.task(core, None, f) }?;
        core.place(task);
        Ok(handle)
    }

    /// Starts the coroutine on the caller's worker, as [`spawn_local`].
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    ///
    /// # Panics
    /// When the caller is no coroutine.
    pub fn spawn_local<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + 'static,
        T: 'static,
    {
        let worker = here();
        // SAFETY: `F` and `T` are `'static`, and the task is placed on this thread and not offered to others.
        let (task, handle) = unsafe { self.task(&worker.core, None, f) }?;
        Core::place_here(worker, task);
        Ok(handle)
    }

    /// Starts the coroutine later, as [`spawn_after`].
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn spawn_after<F, T>(self, delay: Duration, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let Some(worker) = Worker::here().filter(|worker| worker.current().is_some()) else {
            // A timer needs a worker to be in; from outside the coroutine itself waits.
            return self.spawn(move || {
                crate::sleep(delay);
                f()
            });
        };
        let delayed = Some(Arc::clone(&worker.shared));
        // SAFETY: `F` and `T` are `'static` and may cross threads.
        let (task, handle) = unsafe { Builder { delayed, ..self }.task(&worker.core, None, f) }?;
        let now = worker.core.now();
        let start = now.checked_add(delay).unwrap_or(now + crate::time::FAR);
        Core::place_later(worker, task, start);
        Ok(handle)
    }

    /// Makes the task and its handle.
    ///
    /// # Safety
    /// As [`new_task`].
    #[inline]
    pub(crate) unsafe fn task<F, T>(
        self,
        core: &Core,
        scope: Option<&Arc<ScopeState>>,
        f: F,
    ) -> io::Result<(TaskRef, JoinHandle<T>)>
    where
        F: FnOnce() -> T,
    {
        let stack_size =
            self.stack_size.map_or(Ok(0), |size| check_stack_size(size).map(|()| size as u32))?;
        core.check_stacks()?;
        let mut settings = Settings::of_a_child();
        settings.daemon = self.daemon.unwrap_or(settings.daemon);
        settings.name = self.name;
        settings.delayed = self.delayed;
        settings.stack_size = stack_size;
        // Last, since from here on the scope waits for the child.
        settings.scope = scope.map(Place::new);
        // SAFETY: the caller's contract; and of the two references the second is the handle's.
        let (task, second) = unsafe {
            let task = new_task(settings, 2, f);
            let second = task.ptr().into_ref();
            (task, second)
        };
        task.header().join_scope(&task);
        let handle = JoinHandle { task: second, result: PhantomData };
        Ok((task, handle))
    }
}

/// The worker of the calling coroutine.
pub(crate) fn here() -> &'static Worker {
    Worker::here()
        .filter(|worker| worker.current().is_some())
        .expect("this needs a coroutine: call it inside fibra::run or fibra::spawn")
}

/// See [`JoinHandle::cancel`].
pub(crate) fn cancel_task(task: &TaskRef) {
    // SAFETY: `task` is a reference.
    unsafe { park::signal(task.ptr(), Signal::Kill) };
    if let Some(worker) = task.header().delayed_on() {
        worker.start_cancelled();
    }
}

/// The result of a coroutine, a [thread](crate::thread) or a [job](crate::spawn_blocking) that may still be running.
///
/// Dropping the handle detaches the coroutine: it runs on, and its result is dropped. A handle does not keep the coroutine's stack.
pub struct JoinHandle<T> {
    task: TaskRef,
    result: PhantomData<T>,
}

impl<T> JoinHandle<T> {
    pub(crate) fn new(task: TaskRef) -> JoinHandle<T> {
        JoinHandle { task, result: PhantomData }
    }

    /// Waits for the coroutine to end and returns its result, or the payload of its panic.
    ///
    /// # Errors
    /// The panic's payload; [`Cancelled`](crate::Cancelled) when the coroutine was [cancelled](Self::cancel), or cut short by the end of its runtime.
    ///
    /// # Panics
    /// When the coroutine joins itself.
    #[inline]
    pub fn join(self) -> thread::Result<T> {
        match self.wait(None) {
            Reason::Woken => {}
            Reason::TimedOut | Reason::Cancelled => {
                drop(self);
                cancel::unwind();
            }
        }
        self.take()
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// The handle itself, when the coroutine has not ended by then.
    ///
    /// # Panics
    /// When the coroutine joins itself.
    pub fn join_timeout(self, timeout: Duration) -> Result<thread::Result<T>, JoinHandle<T>> {
        self.join_until(crate::time::deadline(timeout))
    }

    /// Waits until `deadline` at most.
    ///
    /// # Errors
    /// As [`join_timeout`](Self::join_timeout).
    ///
    /// # Panics
    /// When the coroutine joins itself.
    pub fn join_deadline(self, deadline: Instant) -> Result<thread::Result<T>, JoinHandle<T>> {
        self.join_until(Some(deadline))
    }

    pub(crate) fn join_until(self, deadline: Option<Instant>) -> Result<thread::Result<T>, JoinHandle<T>> {
        match self.wait(deadline) {
            Reason::Woken => Ok(self.take()),
            Reason::TimedOut => Err(self),
            Reason::Cancelled => {
                drop(self);
                cancel::unwind();
            }
        }
    }

    /// Asks the coroutine to stop: where it waits, now or next, it unwinds, and then [`join`](Self::join) returns [`Cancelled`](crate::Cancelled) (in the
    /// box of a panic's payload).
    ///
    /// One that has not started never runs: its closure is dropped, on its worker. One that has ended, or ends without waiting again, keeps its
    /// result. Inside a [`shield`](crate::shield()) the request waits for its end. A job of [`spawn_blocking`](crate::spawn_blocking) stops where it waits by the
    /// library's means, and is not made if no thread has begun it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fibra::run(|| {
    ///     let idle = fibra::spawn(|| fibra::sleep(Duration::from_secs(3600)));
    ///     idle.cancel();
    ///     assert!(idle.join().unwrap_err().is::<fibra::Cancelled>());
    /// });
    /// ```
    pub fn cancel(&self) {
        cancel_task(&self.task);
    }

    /// The task, for those who watch it.
    pub(crate) fn task(&self) -> &TaskRef {
        &self.task
    }

    /// Whether the coroutine has ended, so that [`join`](Self::join) would not wait.
    pub fn is_finished(&self) -> bool {
        self.task.header().join.is_done()
    }

    /// The coroutine, for its name, its id and [`unpark`](Context::unpark).
    pub fn context(&self) -> Context {
        Context(self.task.clone())
    }

    /// The coroutine's number, which no other context of this process has or had.
    pub fn id(&self) -> u64 {
        self.task.header().id
    }

    /// The coroutine's name.
    pub fn name(&self) -> Option<&str> {
        self.task.header().name()
    }

    fn wait(&self, deadline: Option<Instant>) -> Reason {
        let join = &self.task.header().join;
        if join.is_done() {
            // The caller may be this very context, at its end: a done callback.
            return Reason::Woken;
        }
        let token = park::token();
        assert!(token != self.task.ptr().token(), "a context cannot join itself");
        if !join.wait(token) {
            return Reason::Woken;
        }
        park::waits_for(WaitsFor::Join, self.id() as usize);
        // With the token in the word it must not unwind, as it would if a user's clock panicked.
        or_abort(|| {
            let reason = park::park(deadline);
            if reason == Reason::Woken || join.leave(token) {
                return reason;
            }
            park::park_until_woken();
            Reason::Woken
        })
    }

    /// The result of a task that has ended.
    fn take(self) -> thread::Result<T> {
        let this = ManuallyDrop::new(self);
        // SAFETY: `this` is not used again, nor dropped, so the reference moves out.
        let task = unsafe { std::ptr::read(&this.task) };
        // SAFETY: the task has ended; this is its handle, which is used up; and `T` is what it returns.
        unsafe { task.take_result() }
    }

    /// The result, if the task has ended, which the handle then has no more.
    pub(crate) fn poll_result(&mut self, waker: &Waker) -> Poll<thread::Result<T>> {
        let header = self.task.header();
        if !header.join.is_done() && header.watch_by(waker) {
            return Poll::Pending;
        }
        // SAFETY: the task has ended; this is its handle; and `T` is what it returns.
        Poll::Ready(unsafe { self.task.take_result() })
    }
}

impl<T> Drop for JoinHandle<T> {
    #[inline]
    fn drop(&mut self) {
        match self.task.header().join.detach() {
            Detach::Nothing => {}
            Detach::Watched => self.task.header().forget_waker(),
            // SAFETY: the task has ended, and this is its handle, whose last act this is.
            Detach::Drop => unsafe { self.task.discard_result() },
        }
    }
}

// SAFETY: the handle gives the result to whoever has it, so it goes where the result may go; everything else in it is atomic.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: through a shared handle only atomics and immutable fields are reached.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("id", &self.id())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}
