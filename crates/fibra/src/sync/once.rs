//! [`Once`], [`OnceLock`], [`LazyLock`]: what is done by the first that needs it, while the others wait.
//!
//! ```text
//!   NEW ──the first──▶ RUNNING ──done──▶ DONE        whoever finds RUNNING waits
//!    ▲                    │
//!    └──── unwound ───────┘                         one of those who wait is the next first
//! ```
//!
//! The state is changed under the lock of the list, and read without it: who finds DONE sees what was done. There is no poisoning: when it panics, or is
//! cancelled, it has not been done, and who comes next does it.

#[cfg(not(loom))]
mod cell;
#[cfg(not(loom))]
mod lazy;
#[cfg(all(test, loom))]
mod models;

#[cfg(not(loom))]
pub use cell::OnceLock;
#[cfg(not(loom))]
pub use lazy::LazyLock;

use super::wait_list::{Place, Served, WaitLists};
use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::sync::{AtomicU8, Ordering};
use crate::scheduler::waiting::WaitsFor;
use std::convert::Infallible;
use std::fmt;

const NEW: u8 = 0;
const RUNNING: u8 = 1;
const DONE: u8 = 2;

/// Who has come to do it.
const CALLERS: usize = 0;
/// Who waits until it has been done, and would not do it.
const WAITERS: usize = 1;

/// Something that is done once.
///
/// ```
/// use fibra::sync::Once;
///
/// static ONCE: Once = Once::new();
/// let mut times = 0;
/// for _ in 0..3 {
///     ONCE.call_once(|| times += 1);
/// }
/// assert_eq!(times, 1);
/// ```
pub struct Once {
    state: AtomicU8,
    /// The number of the context that does it, while it does.
    waiters: WaitLists<u64, (), 2>,
}

impl Once {
    /// Something that has not been done.
    #[cfg(not(loom))]
    pub const fn new() -> Once {
        Once { state: AtomicU8::new(NEW), waiters: WaitLists::new(0) }
    }

    /// For models.
    #[cfg(loom)]
    pub fn new() -> Once {
        Once { state: AtomicU8::new(NEW), waiters: WaitLists::new(0) }
    }

    /// Calls `f` if no call has been completed before; if another context is about it, waits until that is done. When this returns it has been done.
    ///
    /// If `f` panics, or is cancelled, it has not been done: that is passed on, and one of those who wait calls its own `f`.
    ///
    /// # Panics
    /// When `f` itself comes here again: it would wait for itself.
    #[inline]
    pub fn call_once(&self, f: impl FnOnce()) {
        if !self.is_completed() {
            let done = self.call(&mut Some(|| {
                f();
                Ok::<(), Infallible>(())
            }));
            debug_assert!(done.is_ok());
        }
    }

    /// The same with an `f` that may fail, and then has not been done.
    ///
    /// # Errors
    /// Those of `f`.
    ///
    /// # Panics
    /// As [`call_once`](Self::call_once).
    pub fn try_call_once<E>(&self, f: impl FnOnce() -> Result<(), E>) -> Result<(), E> {
        if self.is_completed() { Ok(()) } else { self.call(&mut Some(f)) }
    }

    /// Whether it has been done.
    #[inline]
    pub fn is_completed(&self) -> bool {
        self.state.load(Ordering::Acquire) == DONE
    }

    /// Waits until it has been done, by whomever.
    pub fn wait(&self) {
        while !self.is_completed() {
            let guard = self.waiters.lock();
            if self.state.load(Ordering::Acquire) == DONE {
                return;
            }
            if guard.wait(WAITERS, Place::Back, (), None, WaitsFor::Once, |_| {}).0 == Reason::Cancelled {
                cancel::unwind();
            }
        }
    }

    #[cold]
    fn call<E, F: FnOnce() -> Result<(), E>>(&self, f: &mut Option<F>) -> Result<(), E> {
        // SAFETY: the running context is alive.
        let me = park::with_current(|task| unsafe { task.header() }.id);
        loop {
            let mut guard = self.waiters.lock();
            match self.state.load(Ordering::Acquire) {
                DONE => return Ok(()),
                NEW => {
                    self.state.store(RUNNING, Ordering::Relaxed);
                    *guard = me;
                    drop(guard);
                    let mut ending = Ending { once: self, then: NEW };
                    f.take().expect("it is called once")()?;
                    ending.then = DONE;
                    return Ok(());
                }
                _ => {
                    if *guard == me {
                        // Without the lock: a panic hook may come here, too.
                        drop(guard);
                        panic!("what is done once needs itself to be done");
                    }
                    if guard.wait(CALLERS, Place::Back, (), None, WaitsFor::Once, |_| {}).0
                        == Reason::Cancelled
                    {
                        cancel::unwind();
                    }
                }
            }
        }
    }
}

/// What becomes of it when the call is over, or unwinds.
struct Ending<'a> {
    once: &'a Once,
    then: u8,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut guard = self.once.waiters.lock();
        *guard = 0;
        self.once.state.store(self.then, Ordering::Release);
        if self.then == NEW {
            // That one does it, or finds that another has begun to.
            guard.next(CALLERS).into_iter().for_each(Served::wake);
            return;
        }
        for list in [CALLERS, WAITERS] {
            while let Some(waiter) = guard.next(list) {
                waiter.wake();
            }
        }
    }
}

impl Default for Once {
    fn default() -> Once {
        Once::new()
    }
}

impl fmt::Debug for Once {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Once").field("completed", &self.is_completed()).finish_non_exhaustive()
    }
}
