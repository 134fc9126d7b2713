//! [`Event`]: a flag that many wait for.
//!
//! The flag is changed under the lock of the list, and read without it: who finds it set need not take the lock; who does not looks again under the lock before it joins
//! the list, so no `set` comes between the look and the wait. `set` takes the waiters of that moment out of the list; that they
//! go on does not depend on the flag, which may be cleared before they run.

#[cfg(all(test, loom))]
mod models;

use super::wait_list::{Place, WaitLists};
use crate::cancel;
use crate::queue::When;
use crate::queue::when::Source;
use crate::scheduler::state::Reason;
use crate::scheduler::sync::{AtomicBool, Ordering};
use crate::scheduler::waiting::WaitsFor;
use std::fmt;
use std::time::{Duration, Instant};

/// A flag that contexts wait for until somebody sets it: "the server is up", "the configuration is loaded".
///
/// ```
/// use fibra::sync::Event;
/// use std::sync::Arc;
///
/// fibra::run(|| {
///     let ready = Arc::new(Event::new());
///     let waiting: Vec<_> = (0..3)
///         .map(|_| {
///             let ready = Arc::clone(&ready);
///             fibra::spawn(move || ready.wait())
///         })
///         .collect();
///     ready.set();
///     waiting.into_iter().for_each(|handle| handle.join().unwrap());
/// });
/// ```
pub struct Event {
    /// Written under the lock.
    set: AtomicBool,
    waiters: WaitLists<(), ()>,
}

impl Event {
    /// An event that is not set.
    #[cfg(not(loom))]
    pub const fn new() -> Event {
        Event { set: AtomicBool::new(false), waiters: WaitLists::new(()) }
    }

    /// For models.
    #[cfg(loom)]
    pub fn new() -> Event {
        Event { set: AtomicBool::new(false), waiters: WaitLists::new(()) }
    }

    /// Sets the flag: every context that waits now goes on, and those to come do not wait.
    pub fn set(&self) {
        let mut guard = self.waiters.lock();
        self.set.store(true, Ordering::Release);
        while let Some(waiter) = guard.next(0) {
            waiter.wake();
        }
    }

    /// Clears the flag: those to come wait. Who waited when it was set goes on all the same.
    pub fn clear(&self) {
        let _guard = self.waiters.lock();
        self.set.store(false, Ordering::Release);
    }

    /// Whether the flag is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.set.load(Ordering::Acquire)
    }

    /// How many contexts wait. A snapshot.
    pub fn waiting(&self) -> usize {
        self.waiters.lock().len(0)
    }

    /// Waits until the flag is set.
    pub fn wait(&self) {
        let set = self.wait_until(None);
        debug_assert!(set, "there is no deadline");
    }

    /// Waits for at most `timeout`. Whether the flag was set.
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        self.is_set() || self.wait_until(crate::time::deadline(timeout))
    }

    /// Waits until `deadline` at most. Whether the flag was set.
    pub fn wait_deadline(&self, deadline: Instant) -> bool {
        self.wait_until(Some(deadline))
    }

    /// That the flag is set, as an arm of [`select`](crate::queue::select()).
    ///
    /// ```
    /// use fibra::queue::Queue;
    /// use fibra::sync::Event;
    ///
    /// let (jobs, stop) = (Queue::<u32>::unbounded(), Event::new());
    /// stop.set();
    /// let stopped = fibra::select! {
    ///     _job = jobs.select_get() => false,
    ///     () = stop.select_wait() => true,
    /// };
    /// assert!(stopped);
    /// ```
    pub fn select_wait(&self) -> When<&Event> {
        When::new(self)
    }

    fn wait_until(&self, deadline: Option<Instant>) -> bool {
        if self.is_set() {
            return true;
        }
        let guard = self.waiters.lock();
        if self.is_set() {
            return true;
        }
        match guard.wait(0, Place::Back, (), deadline, WaitsFor::Event, |_| {}).0 {
            Reason::Woken => true,
            Reason::TimedOut => false,
            Reason::Cancelled => cancel::unwind(),
        }
    }
}

impl Source for &Event {
    type State = ();
    type Outcome = ();

    fn lists(&self) -> &WaitLists<()> {
        &self.waiters
    }

    fn is_ready(&self, _: &()) -> bool {
        self.is_set()
    }

    fn try_take(&mut self) -> Option<()> {
        self.is_set().then_some(())
    }

    /// It may have been cleared since.
    fn take_served(&mut self) {}
}

impl Default for Event {
    fn default() -> Event {
        Event::new()
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event").field("set", &self.is_set()).finish_non_exhaustive()
    }
}
