//! Permits of a semaphore, as an arm of [`select`](crate::queue::select()).
//!
//! The waiter stands in the same line as all others. When the arm leaves, because another was chosen or the time is up, it serves those behind it, as everybody does who leaves
//! ([`super`]). It takes nothing while it waits elsewhere too: what is there it sees before it gets in line, and then begins again.

use super::{BoundedSemaphore, PERMIT, Semaphore, SemaphorePermit, WAITERS};
use crate::queue::Selectable;
use crate::queue::select::Arm;
use crate::scheduler::sync::Ordering;
use crate::sync::wait_list::{Claim, Waiter};
use std::fmt;

/// To take permits of a semaphore, as an arm of [`select`](crate::queue::select()): see [`Semaphore::select_acquire`].
pub struct Acquire<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
    waiter: Option<Waiter<usize>>,
    outcome: Option<SemaphorePermit<'a>>,
}

impl Semaphore {
    /// To take so many permits, as an arm of [`select`](crate::queue::select()). It waits in line with all others. Once it was chosen it has the permit.
    ///
    /// ```
    /// use fibra::queue::after;
    /// use fibra::sync::Semaphore;
    /// use std::time::Duration;
    ///
    /// let semaphore = Semaphore::new(1);
    /// let permit = fibra::select! {
    ///     permit = semaphore.select_acquire(1) => Some(permit),
    ///     () = after(Duration::from_secs(1)) => None,
    /// };
    /// assert!(permit.is_some());
    /// assert_eq!(semaphore.available_permits(), 0);
    /// ```
    ///
    /// # Panics
    /// When there can never be so many.
    pub fn select_acquire(&self, permits: usize) -> Acquire<'_> {
        assert!(permits <= self.bound, "there will never be so many permits");
        Acquire { semaphore: self, permits, waiter: None, outcome: None }
    }
}

impl BoundedSemaphore {
    /// To take so many permits, as an arm of [`select`](crate::queue::select()): see [`Semaphore::select_acquire`].
    ///
    /// # Panics
    /// When there can never be so many.
    pub fn select_acquire(&self, permits: usize) -> Acquire<'_> {
        self.plain().select_acquire(permits)
    }
}

impl<'a> Acquire<'a> {
    /// The permit, if this arm was chosen.
    pub fn take(&mut self) -> Option<SemaphorePermit<'a>> {
        self.outcome.take()
    }
}

impl Selectable for Acquire<'_> {}

impl Arm for Acquire<'_> {
    fn try_now(&mut self) -> bool {
        if self.outcome.is_none() && self.semaphore.try_take(self.permits) {
            self.outcome = Some(SemaphorePermit::new(self.semaphore, self.permits));
        }
        self.outcome.is_some()
    }

    fn begin(&mut self, claim: &Claim, index: u32) {
        self.waiter = Some(Waiter::new(self.permits, claim, index));
    }

    unsafe fn join(&self, _: &Claim) -> bool {
        let mut guard = self.semaphore.waiters.lock();
        let mut word = self.semaphore.word.load(Ordering::Relaxed);
        while word & WAITERS == 0 {
            if word / PERMIT >= self.permits {
                return false;
            }
            let next = word | WAITERS;
            match self.semaphore.word.compare_exchange_weak(word, next, Ordering::Acquire, Ordering::Relaxed)
            {
                Ok(_) => break,
                Err(now) => word = now,
            }
        }
        if let Some(waiter) = &self.waiter {
            // SAFETY: our caller's promise.
            unsafe { guard.join(0, waiter) };
        }
        true
    }

    fn leave(&self) {
        let Some(waiter) = &self.waiter else { return };
        let mut guard = self.semaphore.waiters.lock();
        // SAFETY: it was put into this list.
        unsafe { guard.leave(0, waiter) };
        // What was too little for it may be enough for those behind it.
        if self.semaphore.word.load(Ordering::Relaxed) & WAITERS != 0 {
            let last = self.semaphore.serve(&mut guard, 0);
            drop(guard);
            drop(last);
        }
    }

    fn end(&mut self, served: bool) {
        self.waiter = None;
        if served {
            self.outcome = Some(SemaphorePermit::new(self.semaphore, self.permits));
        }
    }
}

impl fmt::Debug for Acquire<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acquire")
            .field("semaphore", self.semaphore)
            .field("permits", &self.permits)
            .finish_non_exhaustive()
    }
}
