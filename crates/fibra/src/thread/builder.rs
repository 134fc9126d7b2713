//! Starting a thread, and what it does at both ends.
//!
//! ```text
//!  who starts it                          the thread
//!  counted as spawned in the runtime      listed; the ambient runtime and the context are set
//!  std's thread is started ─────────────▶ the closure, the task-locals, the result
//!                                         unlisted; counted as ended
//! ```

use super::JoinHandle;
use crate::scheduler::core::{Core, Phase};
use crate::scheduler::living;
use crate::scheduler::park;
use crate::scheduler::runtime::{enter_ambient, existing_core};
use crate::scheduler::state::Signal;
use crate::scheduler::task::{Kind, Settings, TaskRef, new_task};
use crate::scheduler::virtual_time::Hold;
use crate::scope::{Place, Scope, ScopeState, ScopedJoinHandle};
use std::io;
use std::sync::Arc;

/// The settings of one thread.
///
/// ```
/// fibra::run(|| {
///     let watcher = fibra::thread::Builder::new()
///         .name("watcher")
///         .stack_size(256 * 1024)
///         .daemon(true)
///         .spawn(|| fibra::current().name().map(str::to_owned))?;
///     assert_eq!(watcher.name(), Some("watcher"));
///     assert_eq!(watcher.join().unwrap().as_deref(), Some("watcher"));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Builder {
    name: Option<String>,
    stack_size: Option<usize>,
    daemon: Option<bool>,
}

impl Builder {
    /// The defaults: no name, std's stack size, a daemon if the creator is one.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A name: for [`Context::name`](crate::Context::name), messages and listings; and, cut to 15 bytes, the kernel's name of the thread (`top -H`, `/proc/…/comm`).
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The size of its stack in bytes; see [`std::thread::Builder::stack_size`].
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Whether the runtime's end waits for it, or not: see [the module](crate::thread).
    ///
    /// Unless said here it is as the context that starts it: what a daemon starts is a daemon, and what others start is none. That is settled with its start;
    /// there is nothing by which it could be changed later. A thread that is started outside of any runtime is never waited for.
    pub fn daemon(mut self, daemon: bool) -> Builder {
        self.daemon = Some(daemon);
        self
    }

    /// Starts the thread, as [`spawn`](super::spawn()). In a runtime that is at its end already it is cancelled before it begins.
    ///
    /// # Errors
    /// The system has no thread left, or no memory for its stack; or the name has a NUL byte.
    pub fn spawn<F, T>(self, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: `F` and `T` are `'static` and may cross threads.
        unsafe { self.start(None, f) }
    }

    /// Starts a thread that may borrow what lives longer than the scope, as [`Scope::spawn_with`] starts a coroutine.
    ///
    /// ```
    /// fibra::run(|| {
    ///     let numbers = vec![1, 2, 3];
    ///     fibra::scope(|scope| {
    ///         let sum = fibra::thread::Builder::new().spawn_scoped(scope, || numbers.iter().sum::<i32>())?;
    ///         assert_eq!(sum.join().unwrap(), 6);
    ///         Ok::<(), std::io::Error>(())
    ///     })
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`spawn`](Self::spawn).
    pub fn spawn_scoped<'scope, F, T>(
        self,
        scope: &'scope Scope<'scope, '_>,
        f: F,
    ) -> io::Result<ScopedJoinHandle<'scope, T>>
    where
        F: FnOnce() -> T + Send + 'scope,
        T: Send + 'scope,
    {
        // SAFETY: `F` and `T` may cross threads, and live as long as the scope, which waits for the thread.
        let handle = unsafe { self.start(Some(scope.state()), scope.body(f)) }?;
        Ok(scope.handle(handle))
    }

    /// # Safety
    /// As [`new_task`], on a thread of its own.
    unsafe fn start<F, T>(self, scope: Option<&Arc<ScopeState>>, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T,
    {
        let mut thread = std::thread::Builder::new();
        if let Some(name) = &self.name {
            if name.contains('\0') {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidInput,
                    "the name of a thread has a NUL byte",
                ));
            }
            thread = thread.name(name.clone());
        }
        if let Some(size) = self.stack_size {
            thread = thread.stack_size(size);
        }
        let mut settings = Settings::of_a_child();
        settings.daemon = self.daemon.unwrap_or(settings.daemon);
        settings.name = self.name.map(String::into_boxed_str);
        settings.kind = Some(Kind::Spawned);
        let core = existing_core();
        let hold = core.as_ref().filter(|_| !settings.daemon).and_then(Hold::new);
        settings.simulation = hold.as_ref().and(core.clone());
        // Last, since from here on the scope waits for the child.
        settings.scope = scope.map(Place::new);
        // SAFETY: the caller's contract.
        let task = unsafe { new_task(settings, 1, f) };
        task.header().join_scope(&task);
        let handle = JoinHandle::new(task.clone());
        let counted = core.as_ref().filter(|_| !task.header().is_daemon());
        if let Some(core) = counted {
            core.note_thread();
        }
        let started = thread.spawn({
            let (task, core) = (task.clone(), core.clone());
            move || live(&task, core, hold)
        });
        if let Err(error) = started {
            // SAFETY: no thread has it, and the closure is on its maker's thread.
            unsafe { task.ptr().abandon() };
            if let Some(core) = counted {
                core.note_thread_end();
            }
            return Err(error);
        }
        Ok(handle)
    }
}

/// The thread's life.
fn live(task: &TaskRef, core: Option<Arc<Core>>, hold: Option<Hold>) {
    let header = task.header();
    enter_ambient(core.clone(), || {
        let listed = living::list(task.clone(), core.as_ref().map(|core| core.number));
        // Behind the list: who ends the runtime says so and then looks there.
        if core.as_ref().is_some_and(|core| core.phase() == Phase::Killing) {
            // There is no sleep that this could end.
            let _ = header.state.wake(Signal::Kill);
        }
        // SAFETY: the reference is `task`; it is run once, or else abandoned, and by the thread that is its context.
        park::run_as(task.ptr(), || unsafe {
            if header.state.is_killed() { task.ptr().abandon() } else { task.ptr().run(None) }
        });
        drop(listed);
    });
    if let Some(core) = core.filter(|_| !header.is_daemon()) {
        core.note_thread_end();
    }
    drop(hold);
}
