//! [`Condvar`]: waiting until the data of a mutex is as one wants it.
//!
//! ```text
//!   waiter, has the mutex                       notifier
//!   into the list; give the mutex back          (takes the mutex; changes the data; gives it back)
//!        │ park ◀────────── wake ────────────── out of the list
//!        ▼
//!   take the mutex again, whatever has ended the wait
//!        ├─ notified, or the time is up: return
//!        └─ asked to stop: unwind; the guard gives the mutex back
//! ```
//!
//! * The waiter is in the list before it gives the mutex back. So whoever changes the data with the mutex, after that, finds it there: no notification falls in between.
//! * The mutex is taken again by a wait that nothing ends, since the guard stands for having it.
//! * Who is asked to stop, or whose time is up, in the moment in which it is notified has been notified: it returns, and meets the request at its next wait. So no
//!   notification is used up by one who does not look.
//! * A wait ends for no other reason: none is spurious. Yet between the notification and the mutex others may have changed the data, so look
//!   again; [`Condvar::wait_while`] does.

#[cfg(all(test, loom))]
mod models;

#[cfg(not(loom))]
use super::MutexGuard;
use super::mutex::raw::{RawMutex, Until};
use super::wait_list::{Place, WaitLists};
use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use std::fmt;
#[cfg(not(loom))]
use std::time::Duration;
use std::time::Instant;

/// Contexts that wait until the data of a [`Mutex`](super::Mutex) has changed.
///
/// ```
/// use fibra::sync::{Condvar, Mutex};
///
/// let (letters, arrived) = (Mutex::new(Vec::new()), Condvar::new());
/// fibra::run(|| {
///     fibra::scope(|scope| {
///         let reader = scope.spawn(|| {
///             let mut letters = letters.lock();
///             arrived.wait_while(&mut letters, |letters| letters.is_empty());
///             letters.pop()
///         });
///         letters.lock().push("hello");
///         arrived.notify_one();
///         assert_eq!(reader.join().unwrap(), Some("hello"));
///     });
/// });
/// ```
///
/// Those who wait are notified in the order in which they came. One who is cancelled while it waits has the mutex again when it unwinds.
pub struct Condvar {
    waiters: WaitLists<(), ()>,
}

impl Condvar {
    /// One for whom nobody waits.
    #[cfg(not(loom))]
    pub const fn new() -> Condvar {
        Condvar { waiters: WaitLists::new(()) }
    }

    /// For models.
    #[cfg(loom)]
    pub fn new() -> Condvar {
        Condvar { waiters: WaitLists::new(()) }
    }

    /// Notifies the one that has waited longest. Whether there was one.
    ///
    /// It wants the mutex then: one that the caller still has it waits for.
    pub fn notify_one(&self) -> bool {
        let first = self.waiters.lock().next(0);
        first.map(|waiter| waiter.wake()).is_some()
    }

    /// Notifies so many of those who wait, those that have waited longest first. How many there were.
    pub fn notify(&self, most: usize) -> usize {
        let mut guard = self.waiters.lock();
        (0..most).map_while(|_| guard.next(0)).map(|waiter| waiter.wake()).count()
    }

    /// Notifies all who wait at this moment. How many there were.
    pub fn notify_all(&self) -> usize {
        self.notify(usize::MAX)
    }

    /// How many wait. A snapshot.
    pub fn waiting(&self) -> usize {
        self.waiters.lock().len(0)
    }

    /// # Safety
    /// The mutex is held, and its data is not in use. It is held again when this returns, or unwinds.
    unsafe fn wait_with(&self, mutex: &RawMutex, deadline: Option<Instant>) -> bool {
        if cancel::is_in_callback() && deadline.is_none_or(|deadline| deadline > crate::time::now()) {
            // Refused before the mutex is given back, since it would have to be waited for.
            cancel::forbid(WaitsFor::Condvar);
        }
        let (reason, ()) = self.waiters.lock().wait_by(
            0,
            Place::Back,
            (),
            WaitsFor::Condvar,
            |_| {},
            || {
                // SAFETY: our caller's promise. (In here a panic aborts, so what comes behind is reached.)
                unsafe { mutex.release() };
                park::park(deadline)
            },
        );
        let held = mutex.acquire(Until::Never);
        debug_assert!(held, "nothing ends the wait");
        match reason {
            Reason::Woken => true,
            Reason::TimedOut => false,
            Reason::Cancelled => cancel::unwind(),
        }
    }
}

#[cfg(not(loom))]
impl Condvar {
    /// Gives the mutex back, waits for a notification, and takes the mutex again.
    pub fn wait<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>) {
        let notified = self.wait_until(guard, None);
        debug_assert!(notified, "there is no deadline");
    }

    /// The same for at most `timeout`. Whether there was a notification. The mutex is taken again in either case, however long that takes.
    pub fn wait_timeout<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> bool {
        self.wait_until(guard, crate::time::deadline(timeout))
    }

    /// The same until `deadline` at most.
    pub fn wait_deadline<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline: Instant) -> bool {
        self.wait_until(guard, Some(deadline))
    }

    /// Waits as long as `condition` is true of the data.
    pub fn wait_while<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
    ) {
        while condition(guard) {
            self.wait(guard);
        }
    }

    /// Waits as long as `condition` is true of the data, for at most `timeout`. Whether it has become false.
    ///
    /// ```
    /// use fibra::sync::{Condvar, Mutex};
    /// use std::time::Duration;
    ///
    /// let (empty, arrived) = (Mutex::new(true), Condvar::new());
    /// let mut guard = empty.lock();
    /// assert!(!arrived.wait_while_timeout(&mut guard, |empty| *empty, Duration::from_millis(1)));
    /// ```
    pub fn wait_while_timeout<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        timeout: Duration,
    ) -> bool {
        self.wait_while_until(guard, condition, crate::time::deadline(timeout))
    }

    /// Waits as long as `condition` is true of the data, until `deadline` at most. Whether it has become false.
    pub fn wait_while_deadline<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        condition: impl FnMut(&mut T) -> bool,
        deadline: Instant,
    ) -> bool {
        self.wait_while_until(guard, condition, Some(deadline))
    }

    fn wait_until<T: ?Sized>(&self, guard: &mut MutexGuard<'_, T>, deadline: Option<Instant>) -> bool {
        // SAFETY: `wait_with` gives the mutex back once, and has taken it again when it returns or unwinds.
        let mutex = unsafe { MutexGuard::mutex(guard).raw() };
        // SAFETY: the guard has the mutex, and is borrowed mutably: nobody uses the data meanwhile.
        unsafe { self.wait_with(mutex, deadline) }
    }

    fn wait_while_until<T: ?Sized>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        mut condition: impl FnMut(&mut T) -> bool,
        deadline: Option<Instant>,
    ) -> bool {
        loop {
            if !condition(guard) {
                return true;
            }
            if !self.wait_until(guard, deadline) {
                return !condition(guard);
            }
        }
    }
}

impl Default for Condvar {
    fn default() -> Condvar {
        Condvar::new()
    }
}

impl fmt::Debug for Condvar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Condvar").field("waiting", &self.waiting()).finish()
    }
}
