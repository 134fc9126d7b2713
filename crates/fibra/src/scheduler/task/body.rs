//! The part of a task whose types are known: its closure, and then its result.

use super::{Header, Outcome, Settings, TaskPtr, TaskRef, swallow};
use crate::cancel::Cancelled;
use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;
use std::thread;

/// What is done with a task whose types are forgotten.
pub(super) struct VTable {
    /// Runs the closure and stores the result.
    pub(super) run: unsafe fn(TaskPtr),
    /// Drops the closure of a task that never ran and stores `Cancelled`.
    pub(super) abandon: unsafe fn(TaskPtr),
    /// Moves the result to `*mut thread::Result<T>`.
    pub(super) take: unsafe fn(TaskPtr, *mut ()),
    /// Drops the result.
    pub(super) discard: unsafe fn(TaskPtr),
    /// Frees the allocation, whose stage is empty by now.
    pub(super) free: unsafe fn(TaskPtr),
}

/// A task whose closure and result are of known types.
#[repr(C)]
struct Cell<F, T> {
    header: Header,
    stage: UnsafeCell<Stage<F, T>>,
}

enum Stage<F, T> {
    Pending(F),
    Running,
    Done(thread::Result<T>),
    Taken,
}

impl<F, T> Cell<F, T>
where
    F: FnOnce() -> T,
{
    const VTABLE: VTable = VTable {
        run: Self::run,
        abandon: Self::abandon,
        take: Self::take,
        discard: Self::discard,
        free: Self::free,
    };

    /// The stage of `task`.
    ///
    /// # Safety
    /// `task` is a `Cell<F, T>` and the caller is the one who may touch its stage now.
    unsafe fn stage<'a>(task: TaskPtr) -> &'a mut Stage<F, T> {
        // SAFETY: `Cell` is `repr(C)` and begins with the header, and the header of this task was made as part of a
        // `Cell<F, T>` (the vtable is chosen with it); exclusive access is the caller's contract.
        unsafe { &mut *(*task.0.cast::<Self>().as_ptr()).stage.get() }
    }

    unsafe fn run(task: TaskPtr) {
        // SAFETY: the worker runs a task once, and nobody else touches the stage before it is done.
        let stage = unsafe { Self::stage(task) };
        let Stage::Pending(body) = std::mem::replace(stage, Stage::Running) else {
            unreachable!("a task is started once")
        };
        let result = catch_unwind(AssertUnwindSafe(body));
        if let Err(payload) = &result {
            let outcome = if payload.is::<Cancelled>() { Outcome::Cancelled } else { Outcome::Panicked };
            // SAFETY: the task is alive, and its word does not say `DONE` before this worker has finished it.
            unsafe { task.header() }.outcome.set(outcome);
        }
        // SAFETY: as above; the borrow before ended, since the body may have run for long.
        let stage = unsafe { Self::stage(task) };
        *stage = Stage::Done(result);
    }

    unsafe fn abandon(task: TaskPtr) {
        // SAFETY: the worker (or whoever holds the task before it started) calls this instead of `run`.
        let stage = unsafe { Self::stage(task) };
        let body = std::mem::replace(stage, Stage::Done(Err(Box::new(Cancelled(())))));
        // SAFETY: as in `run`.
        unsafe { task.header() }.outcome.set(Outcome::Cancelled);
        swallow(|| drop(body));
    }

    unsafe fn take(task: TaskPtr, result: *mut ()) {
        // SAFETY: only the handle calls this, after the join word said `DONE`; acquire made the result visible.
        let stage = unsafe { Self::stage(task) };
        let Stage::Done(value) = std::mem::replace(stage, Stage::Taken) else {
            panic!("the result was taken already: a future that was ready is not polled again, nor joined")
        };
        // SAFETY: the handle of a `Cell<_, T>` passes a pointer to room for a `thread::Result<T>`.
        unsafe { result.cast::<thread::Result<T>>().write(value) };
    }

    unsafe fn discard(task: TaskPtr) {
        // SAFETY: called once, by the handle or the finisher, as the join word decides.
        let stage = unsafe { Self::stage(task) };
        let stage = std::mem::replace(stage, Stage::Taken);
        swallow(|| drop(stage));
    }

    unsafe fn free(task: TaskPtr) {
        // SAFETY: the last reference is gone, so nobody can reach the allocation, which `new_task` made with `Box`.
        drop(unsafe { Box::from_raw(task.0.cast::<Self>().as_ptr()) });
    }
}

/// Makes a task with `references` to it, all of them the caller's: one comes back as a `TaskRef`, and each other has to be made
/// of the address with [`TaskPtr::into_ref`].
///
/// # Safety
/// `F` and `T` are kept alive by the caller until the task has ended and its result is gone, if they borrow; and the task runs on
/// a thread that may own `F`.
pub(crate) unsafe fn new_task<F, T>(settings: Settings, references: u32, body: F) -> TaskRef
where
    F: FnOnce() -> T,
{
    let header = Header::new(&Cell::<F, T>::VTABLE, settings, references);
    let cell = Box::new(Cell { header, stage: UnsafeCell::new(Stage::<F, T>::Pending(body)) });
    TaskRef(TaskPtr(NonNull::from(Box::leak(cell)).cast()))
}
