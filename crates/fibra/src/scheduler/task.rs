//! The task: one allocation that holds a context's parking word, its coroutine, its closure and then its result.
//!
//! ```text
//!  Cell<F, T>   ┌───────────────────────────────────────────────────────────────┐
//!               │ Header   state · join · worker · id        any thread         │ ◀── TaskPtr, Token (thin, uncounted)
//!               │          coroutine · yielder · slot        its worker only    │ ◀── TaskRef       (thin, counted)
//!               │ stage    Pending(F) → Running → Done(T) → Taken               │
//!               └───────────────────────────────────────────────────────────────┘
//! ```
//!
//! # Who may touch what
//! * The atomics: anybody who has a counted reference, or a token whose wake-up has not been delivered yet.
//! * `coroutine`, `yielder`, `slot`, `region`, `put_off`, `unwinding`, `locals`: the thread of the worker that the task is bound to. A task is bound when it is first
//!   resumed and never moves after that; before, they are whoever's the task is.
//! * `stage`: the worker until the join word says `DONE`; then the handle, or the worker if the handle has been dropped. So neither
//!   the closure nor the result ever meets a thread that the types do not allow: the *last reference* never drops them.
//! * `outcome`: the worker until the join word says `DONE`; then anybody may read it, and nobody writes.
//!
//! # References
//! A started task holds one reference to itself, given back when it has ended. A queue holds one for a task that has not started, none
//! for one that has. A suspended coroutine that will never be resumed (its runtime is gone and it did not end) keeps its own
//! reference for ever: its memory is never freed, so whatever points into its stack stays valid.
//!
//! The closure and the result are in [`body`], where their types are known.
//!
//! OS threads have a header too, without a coroutine: that is what makes every primitive work for both.

mod body;

use super::core::Core;
use super::join_word::{Finish, Handle, JoinWord};
use super::park;
use super::shared::Shared;
use super::state::{Signal, State};
use super::sync::{AtomicU32, Ordering, fence};
use super::waiting::Waiting;
use super::watchers::{Callback, List, Outcome, WatchKey, Watchers};
use super::worker::Pause;
use crate::cancel::{self, Region};
use crate::scope::Place;
use crate::task_local::Locals;
use body::VTable;
pub(crate) use body::new_task;
use fibra_context::{Coroutine, Yielder};
use fibra_driver::Token;
use fibra_driver::prefetch::prefetch;
use std::cell::{Cell as StdCell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU64};
use std::task::Waker;
use std::thread;

/// What is common to all tasks, whatever they run. What parking and resuming touch stands first, in as few cache lines as can be:
/// with thousands of coroutines each line is a miss.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) state: State,
    references: AtomicU32,
    /// The worker that the task is bound to; null before it has started, and for OS threads but those that are a worker.
    pub(crate) worker: AtomicPtr<Shared>,
    pub(crate) kind: Kind,
    /// How the task has ended, once it has.
    outcome: StdCell<Outcome>,
    /// Whether the runtime's end cuts it short; what it starts is a daemon too, unless something else is said.
    daemon: bool,
    /// Whether the sleep that has begun last cannot be cancelled only because the thread was unwinding.
    pub(crate) put_off: StdCell<bool>,
    /// Whether the context has begun to unwind because it was cancelled, and no boundary of the library has caught that.
    pub(crate) unwinding: StdCell<bool>,
    /// What the last wait was for. Any thread may look.
    pub(crate) waiting: Waiting,
    /// The innermost of the regions around the present code that say what ends its waits; null for none.
    pub(crate) region: StdCell<*const Region>,
    yielder: StdCell<*const Yielder<(), Pause>>,
    pub(crate) coroutine: UnsafeCell<Option<Coroutine<(), Pause, ()>>>,
    /// About where the stack's top was when the coroutine was suspended: a hint for the cache, and no more.
    stack_pointer: StdCell<usize>,
    pub(crate) join: JoinWord,
    vtable: &'static VTable,
    extra: Option<Box<Extra>>,
    /// What `task_local!` has for this context.
    pub(crate) locals: Locals,
    pub(crate) id: u64,
    /// Bytes of stack; 0 for the runtime's default.
    pub(crate) stack_size: u32,
    /// The place in the worker's list of started tasks.
    pub(crate) slot: StdCell<u32>,
    /// Who is told of the end, besides the handle.
    watchers: Watchers,
}

/// What only some tasks have.
#[derive(Default)]
struct Extra {
    name: Option<Box<str>>,
    scope: Option<Place>,
    delayed: Option<Arc<Shared>>,
    simulation: Option<Arc<Core>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Coroutine,
    /// An OS thread from outside, or a worker outside of its coroutines.
    Thread,
    /// An OS thread of [`crate::thread`].
    Spawned,
    /// A closure for the blocking pool: while it runs, it is the context of its thread.
    Job,
}

// SAFETY: the fields that are not thread-safe (`slot`, `region`, `put_off`, `unwinding`, `locals`, `yielder`, `coroutine`, `outcome`, and the stage behind the header) are touched
// by one thread at a time, as the module's documentation says: the bound worker's, or for the stage the holder of the handle.
unsafe impl Send for Header {}
// SAFETY: as above.
unsafe impl Sync for Header {}

/// A task by address: no reference is counted. Whoever has one knows why the task is alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TaskPtr(NonNull<Header>);

// SAFETY: an address; what may be done with it is the business of `Header`, which is `Sync`.
unsafe impl Send for TaskPtr {}
// SAFETY: as above.
unsafe impl Sync for TaskPtr {}

/// A counted reference to a task.
pub(crate) struct TaskRef(TaskPtr);

/// How a task is to be.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) name: Option<Box<str>>,
    pub(crate) scope: Option<Place>,
    /// On which worker it waits for its time to start.
    pub(crate) delayed: Option<Arc<Shared>>,
    /// Of a thread that has a hold: see [`super::virtual_time`].
    pub(crate) simulation: Option<Arc<Core>>,
    pub(crate) stack_size: u32,
    pub(crate) kind: Option<Kind>,
    pub(crate) daemon: bool,
    pub(crate) locals: Locals,
}

impl Settings {
    /// What is handed down to what the running context starts: whether it is a daemon, and copies of its task-locals that are inherited.
    ///
    /// # Panics
    /// When a user's `Clone` does.
    #[inline]
    pub(crate) fn of_a_child() -> Settings {
        park::with_existing(|creator| match creator {
            None => Settings::default(),
            Some(creator) => Settings {
                daemon: creator.daemon,
                locals: creator.locals.for_a_child(),
                ..Settings::default()
            },
        })
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// Identifiers that this thread may give out: taken in blocks, so that spawning shares nothing.
    static IDS: StdCell<(u64, u64)> = const { StdCell::new((0, 0)) };
}

fn next_id() -> u64 {
    const BLOCK: u64 = 1024;
    IDS.with(|ids| {
        let (mut next, mut end) = ids.get();
        if next == end {
            next = NEXT_ID.fetch_add(BLOCK, Ordering::Relaxed);
            end = next + BLOCK;
        }
        ids.set((next + 1, end));
        next
    })
}

/// Runs a user's destructor or callback; a panic in it has been reported by the hook and goes no further.
pub(crate) fn swallow(f: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(f)) {
        std::mem::forget(payload);
    }
}

/// Tells a watcher. It may wait, also where the context has been asked to stop: the request is not about this.
pub(crate) fn tell(callback: Callback, outcome: Outcome) {
    swallow(|| cancel::shield(|| callback(outcome)));
}

/// The context of an OS thread.
pub(crate) fn new_thread(name: Option<Box<str>>) -> TaskRef {
    // SAFETY: the body owns nothing and is never run; taking it out leaves an empty stage.
    unsafe {
        let settings = Settings { name, kind: Some(Kind::Thread), ..Settings::default() };
        let task = new_task(settings, 1, || ());
        (task.header().vtable.discard)(task.ptr());
        task
    }
}

impl Header {
    #[inline]
    fn new(vtable: &'static VTable, settings: Settings, references: u32) -> Header {
        let Settings { name, scope, stack_size, kind, daemon, locals, delayed, simulation } = settings;
        let extra = (name.is_some() || scope.is_some() || delayed.is_some() || simulation.is_some())
            .then(|| Box::new(Extra { name, scope, delayed, simulation }));
        Header {
            state: State::new(),
            references: AtomicU32::new(references),
            vtable,
            worker: AtomicPtr::new(ptr::null_mut()),
            join: JoinWord::new(),
            id: next_id(),
            extra,
            locals,
            kind: kind.unwrap_or(Kind::Coroutine),
            daemon,
            outcome: StdCell::new(Outcome::Returned),
            stack_size,
            watchers: Watchers::default(),
            slot: StdCell::new(u32::MAX),
            region: StdCell::new(ptr::null()),
            put_off: StdCell::new(false),
            unwinding: StdCell::new(false),
            waiting: Waiting::default(),
            yielder: StdCell::new(ptr::null()),
            stack_pointer: StdCell::new(0),
            coroutine: UnsafeCell::new(None),
        }
    }

    /// The scope that the task belongs to learns of it: `task`, whose header this is.
    pub(crate) fn join_scope(&self, task: &TaskRef) {
        if let Some(place) = self.extra.as_ref().and_then(|extra| extra.scope.as_ref()) {
            place.adopt(task.clone());
        }
    }

    /// Where the task waits for its time to start, if it was made to.
    pub(crate) fn delayed_on(&self) -> Option<&Shared> {
        self.extra.as_ref()?.delayed.as_deref()
    }

    /// The simulation in which this context, a thread, has a hold.
    #[inline]
    pub(super) fn simulation(&self) -> Option<&Core> {
        self.extra.as_ref()?.simulation.as_deref()
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.extra.as_ref()?.name.as_deref()
    }

    /// How the task has ended; none if it has not.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.join.is_done().then(|| self.outcome.get())
    }

    /// Has the callback called when the task has ended. Gives it back when it has: the caller calls it, with what [`outcome`](Self::outcome) says.
    pub(crate) fn watch(&self, callback: Callback) -> Result<WatchKey, Callback> {
        self.watchers.add(&self.join, callback)
    }

    /// Takes a callback back; none when it has been called, or will be.
    pub(crate) fn unwatch(&self, key: WatchKey) -> Option<Callback> {
        self.watchers.remove(key)
    }

    /// Has the waker woken when the task has ended; false if it has.
    pub(crate) fn watch_by(&self, waker: &Waker) -> bool {
        self.watchers.set_waker(&self.join, waker)
    }

    /// The handle goes, and with it the waker that it was polled with.
    #[cold]
    pub(crate) fn forget_waker(&self) {
        self.watchers.forget_waker();
    }

    #[cold]
    fn tell_watchers(&self) {
        let List { callbacks, waker, .. } = self.watchers.take();
        if let Some(waker) = waker {
            swallow(|| waker.wake());
        }
        for (_, callback) in callbacks {
            tell(callback, self.outcome.get());
        }
    }

    /// Whether it waits as an OS thread does.
    #[inline]
    pub(crate) fn is_thread(&self) -> bool {
        self.kind != Kind::Coroutine
    }

    pub(crate) fn is_daemon(&self) -> bool {
        self.daemon
    }
}

impl TaskPtr {
    /// The header.
    ///
    /// # Safety
    /// The task is alive for as long as the reference is used.
    #[inline]
    pub(crate) unsafe fn header<'a>(self) -> &'a Header {
        // SAFETY: the caller's contract; headers are only shared, never borrowed mutably.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(crate) fn token(self) -> Token {
        Token(self.0.as_ptr() as usize)
    }

    /// The task that a token names.
    ///
    /// # Safety
    /// The token came from [`token`](Self::token) of a task.
    #[inline]
    pub(crate) unsafe fn from_token(token: Token) -> TaskPtr {
        // SAFETY: the address of a header is not null. (Provenance: the header's address was exposed by the cast in `token`.)
        unsafe { TaskPtr(NonNull::new_unchecked(ptr::with_exposed_provenance_mut(token.0))) }
    }

    /// Takes over one counted reference.
    ///
    /// # Safety
    /// The caller owns one, and gives it away.
    #[inline]
    pub(crate) unsafe fn into_ref(self) -> TaskRef {
        TaskRef(self)
    }

    /// Another counted reference.
    ///
    /// # Safety
    /// The task is alive.
    #[inline]
    pub(crate) unsafe fn add_ref(self) -> TaskRef {
        // SAFETY: the caller's contract.
        let before = unsafe { self.header() }.references.fetch_add(1, Ordering::Relaxed);
        if before > u32::MAX / 2 {
            // As std's `Arc`: only leaked handles get there, and an overflow would free what is in use.
            std::process::abort();
        }
        TaskRef(self)
    }

    /// The body of the task's coroutine: runs the closure, destroys the task-locals, then tells whoever waits. On the coroutine's stack, so that the
    /// destructors of a result that nobody wants may park too.
    ///
    /// # Safety
    /// Called once, by the worker that the task is bound to, which holds a reference.
    pub(crate) unsafe fn run(self, yielder: Option<&Yielder<(), Pause>>) {
        // SAFETY: the worker's reference keeps the task alive.
        let header = unsafe { self.header() };
        header.yielder.set(yielder.map_or(ptr::null(), ptr::from_ref));
        // SAFETY: called once, by the bound worker.
        unsafe { (header.vtable.run)(self) };
        // SAFETY: the result has been stored.
        unsafe { self.end() };
    }

    /// The body of the coroutine of a task that shall not run: drops its closure there. What parks meanwhile is asked to stop.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    pub(crate) unsafe fn unwind_unrun(self, yielder: &Yielder<(), Pause>) {
        // SAFETY: the worker's reference keeps the task alive; called once, by the bound worker, on the task's own stack.
        unsafe {
            let header = self.header();
            header.yielder.set(ptr::from_ref(yielder));
            // The task runs, so there is no sleep that this could end.
            let _ = header.state.wake(Signal::Kill);
            self.abandon();
        }
    }

    /// Ends a task that never ran: its closure is dropped here, and its handle finds [`Cancelled`].
    ///
    /// # Safety
    /// The caller holds the reference of a task that has not been started and will not be, on a thread that may drop the closure.
    pub(crate) unsafe fn abandon(self) {
        // SAFETY: the caller's contract.
        unsafe {
            let header = self.header();
            (header.vtable.abandon)(self);
            if let Some(scope) = header.extra.as_ref().and_then(|extra| extra.scope.as_ref()) {
                scope.note_unrun();
            }
            self.end();
        }
    }

    /// The context's last steps: destroys its task-locals and publishes the result.
    ///
    /// # Safety
    /// As [`finish`](Self::finish); and the context, or its maker, is on this thread.
    unsafe fn end(self) {
        // SAFETY: the caller's reference keeps the task alive.
        unsafe {
            self.header().locals.destroy();
            self.finish();
            // A result that nobody wants has been dropped, and its destructor may have used some.
            self.header().locals.destroy();
        }
    }

    /// Publishes the result.
    ///
    /// # Safety
    /// The stage is `Done`, the caller holds a reference, and this is called once.
    unsafe fn finish(self) {
        // SAFETY: the caller's reference keeps the task alive.
        let header = unsafe { self.header() };
        let Finish { handle, watched } = header.join.finish();
        match handle {
            Handle::Idle => {}
            Handle::Waits(token) => park::wake(token),
            // SAFETY: the join word gave the result to us.
            Handle::Gone => unsafe { (header.vtable.discard)(self) },
        }
        if watched {
            header.tell_watchers();
        }
        if let Some(scope) = header.extra.as_ref().and_then(|extra| extra.scope.as_ref()) {
            scope.leave();
        }
    }

    /// Suspends the coroutine: control goes to its worker, and comes back when that resumes it.
    ///
    /// # Safety
    /// Called on the task's own stack, while it runs.
    #[inline]
    pub(crate) unsafe fn suspend(self, pause: Pause) {
        let here = 0_u8;
        // SAFETY: `run` stored the yielder, which lives at the base of the stack that we are on.
        unsafe {
            let header = self.header();
            header.stack_pointer.set((&raw const here).addr());
            (*header.yielder.get()).suspend(pause);
        }
    }

    /// Has the processor fetch the header.
    #[inline(always)]
    pub(crate) fn fetch_header(self) {
        let header = self.0.as_ptr().cast::<u8>().cast_const();
        prefetch(header);
        prefetch(header.wrapping_add(64));
    }

    /// Has the processor fetch what the coroutine will touch first on its stack.
    ///
    /// # Safety
    /// The task is alive, and bound to the calling thread's worker or not bound.
    #[inline(always)]
    pub(crate) unsafe fn fetch_stack(self) {
        // SAFETY: the caller's contract.
        let top = unsafe { self.header() }.stack_pointer.get() as *const u8;
        for line in 0..5 {
            prefetch(top.wrapping_add(64 * line));
        }
    }
}

impl TaskRef {
    #[inline]
    pub(crate) fn header(&self) -> &Header {
        // SAFETY: the counted reference keeps the task alive.
        unsafe { self.0.header() }
    }

    #[inline]
    pub(crate) fn ptr(&self) -> TaskPtr {
        self.0
    }

    /// Gives the reference to a queue.
    #[inline]
    pub(crate) fn into_ptr(self) -> TaskPtr {
        let ptr = self.0;
        std::mem::forget(self);
        ptr
    }

    /// Moves the result out.
    ///
    /// # Safety
    /// The task returns `T`, its join word says `DONE`, and the caller is its handle.
    ///
    /// # Panics
    /// When it was moved out before.
    pub(crate) unsafe fn take_result<T>(&self) -> thread::Result<T> {
        let mut result = std::mem::MaybeUninit::<thread::Result<T>>::uninit();
        // SAFETY: the caller's contract; `take` writes the result.
        unsafe {
            (self.header().vtable.take)(self.0, result.as_mut_ptr().cast());
            result.assume_init()
        }
    }

    /// Drops the result.
    ///
    /// # Safety
    /// As [`take_result`](Self::take_result).
    pub(crate) unsafe fn discard_result(&self) {
        // SAFETY: the caller's contract.
        unsafe { (self.header().vtable.discard)(self.0) }
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> Self {
        // SAFETY: `self` keeps the task alive.
        unsafe { self.0.add_ref() }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        let header = self.header();
        // The only reference needs no exchange to learn that it is the last.
        if header.references.load(Ordering::Acquire) == 1
            || header.references.fetch_sub(1, Ordering::Release) == 1
        {
            fence(Ordering::Acquire);
            // SAFETY: this was the last reference, and all that others did with theirs happened before.
            unsafe { (header.vtable.free)(self.0) }
        }
    }
}
