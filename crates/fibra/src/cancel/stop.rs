//! One request to stop that many contexts listen to: [`Stop`].
//!
//! A context may listen to many requests and be in several regions at once, one inside the other. The parking word has one bit for them all, which only says
//! that a request may have been made: whoever's sleep it ends looks whether it was one of those around it, and else sleeps on ([`super::is_asked`]).

use super::Cancelled;
use super::region::{Bound, Region};
use crate::scheduler::park;
use crate::scheduler::state::Signal;
use crate::scheduler::task::TaskRef;
use fibra_driver::Token;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Whose it is. The place has a reference, so the name stays its own.
    context: Token,
    /// The place belongs to one context; another one of its thread takes a place of its own where it needs one.
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
        let context = task.ptr().token();
        listeners.enrolled[place] = Some(task);
        Enrolled { stop: self.clone(), place, context, not_send: std::marker::PhantomData }
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
        if park::token() != self.context {
            // It was handed to another coroutine of its worker, whom nobody would tell.
            let own = self.stop.enroll();
            return own.interruptible_here(f);
        }
        self.interruptible_here(f)
    }

    fn interruptible_here<T>(&self, f: impl FnOnce() -> T) -> Result<T, Cancelled> {
        let region = Region::new(Bound::Stop(&raw const self.stop));
        let result = catch_unwind(AssertUnwindSafe(|| {
            region.enter(|| {
                if self.stop.is_triggered() {
                    // It runs: this leaves the request for its next wait.
                    // SAFETY: the running context is alive.
                    park::with_current(|task| unsafe { park::signal(task, Signal::Cancel) });
                }
                f()
            })
        }));
        result.or_else(|payload| match payload.downcast::<Cancelled>() {
            Ok(cancelled) if self.stop.is_triggered() => {
                super::caught();
                Err(*cancelled)
            }
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
