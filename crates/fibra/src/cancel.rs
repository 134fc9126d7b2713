//! Being asked to stop: [`Cancelled`] and [`Stop`].
//!
//! A request to stop is delivered where a context parks. There the primitive first cleans up (a result that has come in
//! that moment is returned instead, and the request stays), and then [`unwind`] unwinds the stack with [`Cancelled`] as the
//! payload, silently, so that destructors run; the boundary that asked for it catches it: [`Enrolled::interruptible`], or
//! the root of a coroutine whose runtime ends.
//!
//! Never while the stack is already unwinding, since a second unwind out of a destructor would abort the process.

use crate::scheduler::park;
use crate::scheduler::state::Signal;
use crate::scheduler::task::TaskRef;
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

/// Unwinds the running context with [`Cancelled`]. Only after `park` has answered `Cancelled`, which it never does while unwinding.
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

    /// Makes the request: every wait that can be interrupted ends, now and from now on.
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
        if self.is_triggered() {
            // SAFETY: we hold a reference.
            unsafe { park::signal(task.ptr(), Signal::Cancel) };
        }
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
        /// Ends the region also when `f` panics.
        struct Region;
        impl Drop for Region {
            fn drop(&mut self) {
                park::with_current(|task| {
                    // SAFETY: the running context is alive, and the field is its own.
                    let armed = unsafe { &task.header().armed };
                    armed.set(armed.get() - 1);
                });
            }
        }
        park::with_current(|task| {
            // SAFETY: as above.
            let armed = unsafe { &task.header().armed };
            armed.set(armed.get() + 1);
        });
        let region = Region;
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
        if let Some(task) = task {
            task.header().state.clear_cancel();
        }
    }
}
