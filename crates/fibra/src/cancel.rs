//! Being asked to stop: [`Cancelled`] and [`Stop`].
//!
//! A request to stop is delivered where a context parks. There the primitive first cleans up (a result that has come in
//! that moment is returned instead, and the request stays), and then [`unwind`] unwinds the stack with [`Cancelled`] as the
//! payload, silently, so that destructors run; the boundary that asked for it catches it: [`Enrolled::interruptible`], or
//! the root of a coroutine whose runtime ends.
//!
//! A context may listen to many requests and be in several regions at once, one inside the other. The parking word has one bit for them all, which only says
//! that a request may have been made: whoever's sleep it ends looks whether it was one of those around it, and else sleeps on ([`is_asked`]).
//!
//! Never while the stack is already unwinding, since a second unwind out of a destructor would abort the process.

use crate::scheduler::park;
use crate::scheduler::state::Signal;
use crate::scheduler::task::{TaskPtr, TaskRef};
use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A context was asked to stop, and has: the payload of the unwind, and the error at the boundary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled(pub(crate) ());

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// Unwinds the running context with [`Cancelled`]. Only where it does not unwind already, as after `park` has answered `Cancelled`.
#[cold]
pub(crate) fn unwind() -> ! {
    resume_unwind(Box::new(Cancelled(())))
}

/// A request to stop that many contexts listen to: how a server ends its accepts and idle reads.
///
/// A context [`enroll`](Self::enroll)s once, and then says for which of its waits it may be interrupted:
///
/// ```
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let stop = fibra::Stop::new();
///     let stopped = stop.clone();
///     let idle = fibra::spawn(move || {
///         let enrolled = stopped.enroll();
///         enrolled.interruptible(|| fibra::sleep(Duration::from_secs(3600)))
///     });
///     fibra::yield_now();
///     stop.trigger();
///     assert!(idle.join().unwrap().is_err());
/// });
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<Request>);

#[derive(Debug, Default)]
struct Request {
    /// Written under the lock of `listeners`.
    triggered: AtomicBool,
    listeners: Mutex<Listeners>,
}

#[derive(Default)]
struct Listeners {
    enrolled: Vec<Option<TaskRef>>,
    free: Vec<usize>,
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners").field("enrolled", &(self.enrolled.len() - self.free.len())).finish()
    }
}

/// A context's place among the listeners of a [`Stop`], until it is dropped.
#[derive(Debug)]
pub struct Enrolled {
    stop: Stop,
    place: usize,
    /// The place belongs to one context, which alone can be interrupted through it.
    not_send: std::marker::PhantomData<*const ()>,
}

impl Stop {
    /// A request that has not been made.
    pub fn new() -> Stop {
        Stop::default()
    }

    /// Makes the request: every wait that can be interrupted by it ends, now and from now on.
    pub fn trigger(&self) {
        let listeners = self.lock();
        self.0.triggered.store(true, Ordering::Release);
        for task in listeners.enrolled.iter().flatten() {
            // SAFETY: the list holds a reference.
            unsafe { park::signal(task.ptr(), Signal::Cancel) };
        }
    }

    /// Whether the request has been made.
    #[inline]
    pub fn is_triggered(&self) -> bool {
        self.0.triggered.load(Ordering::Acquire)
    }

    /// Makes the calling context listen.
    pub fn enroll(&self) -> Enrolled {
        let task = park::current();
        let mut listeners = self.lock();
        let place = match listeners.free.pop() {
            Some(place) => place,
            None => {
                listeners.enrolled.push(None);
                listeners.enrolled.len() - 1
            }
        };
        listeners.enrolled[place] = Some(task);
        Enrolled { stop: self.clone(), place, not_send: std::marker::PhantomData }
    }

    fn lock(&self) -> MutexGuard<'_, Listeners> {
        self.0.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Enrolled {
    /// Runs `f`, whose waits end when the request is made: `f` then unwinds, and this returns `Err`.
    ///
    /// A wait that is over already is not interrupted: what has arrived is returned, and the request is met at the next wait. On an
    /// OS thread (outside a runtime) a wait for a socket goes on; parking, sleeping and joining end.
    ///
    /// # Errors
    /// [`Cancelled`] when the request was made and `f` has been interrupted.
    pub fn interruptible<T>(&self, f: impl FnOnce() -> T) -> Result<T, Cancelled> {
        let task = park::current();
        let header = task.header();
        let armed = Armed { stop: &raw const self.stop, outer: Cell::new(header.armed.get()) };
        header.armed.set(&raw const armed);
        if self.stop.is_triggered() {
            // It runs: this leaves the request for its next wait.
            let _ = header.state.wake(Signal::Cancel);
        }
        let region = Region { task, armed: &armed };
        let result = catch_unwind(AssertUnwindSafe(f));
        drop(region);
        result.or_else(|payload| match payload.downcast::<Cancelled>() {
            Ok(cancelled) if self.stop.is_triggered() => Err(*cancelled),
            // Another boundary's.
            Ok(cancelled) => resume_unwind(cancelled),
            Err(payload) => resume_unwind(payload),
        })
    }

    /// The request that this listens to.
    pub fn stop(&self) -> &Stop {
        &self.stop
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        let mut listeners = self.stop.lock();
        let task = listeners.enrolled[self.place].take();
        listeners.free.push(self.place);
        drop(listeners);
        drop(task);
    }
}

/// A region that can be cancelled: a local variable of [`Enrolled::interruptible`], in a list that begins in the context's header.
///
/// It points to the stop of an [`Enrolled`] that is borrowed while the region lasts, also if its stack is never unwound: the bodies of coroutines and generators
/// are `'static` (or somebody waits for their end), so whatever they borrow from is kept by that same stack. No reference is counted, because that
/// count would be shared by all workers.
pub(crate) struct Armed {
    stop: *const Stop,
    outer: Cell<*const Armed>,
}

/// Takes a region out of its context's list, also when the code in it panics.
///
/// Regions nest, so it is the first; but a generator can be suspended inside of one and be resumed, or dropped, elsewhere on its thread.
struct Region<'a> {
    task: TaskRef,
    armed: &'a Armed,
}

impl Drop for Region<'_> {
    fn drop(&mut self) {
        let mut place = &self.task.header().armed;
        while !std::ptr::eq(place.get(), self.armed) {
            // SAFETY: what is in the list is alive: its `Region` has not been dropped, and a stack that is never unwound is never freed. The list
            // belongs to this thread, which neither a coroutine nor a generator leaves.
            place = &unsafe { &*place.get() }.outer;
        }
        place.set(self.armed.outer.get());
    }
}

/// Whether one of the requests has been made that the code of a context can be interrupted by where it is now.
///
/// # Safety
/// The context is the calling thread's: it runs here, or is a coroutine of this worker.
pub(crate) unsafe fn is_asked(task: TaskPtr) -> bool {
    // SAFETY: it is alive, and its list belongs to this thread.
    let mut region = unsafe { task.header() }.armed.get();
    // SAFETY: as in `Region::drop`.
    while let Some(armed) = unsafe { region.as_ref() } {
        // SAFETY: it is borrowed for as long as the region is in the list; see `Armed`.
        if unsafe { &*armed.stop }.is_triggered() {
            return true;
        }
        region = armed.outer.get();
    }
    false
}
