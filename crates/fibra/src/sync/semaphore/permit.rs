//! What one has of a semaphore: given back when it is dropped.

use super::{BoundedSemaphore, Semaphore};
use std::fmt;
use std::sync::Arc;

/// Permits of a [`Semaphore`] or a [`BoundedSemaphore`], given back on drop.
#[must_use = "a permit is given back when it is dropped"]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// Permits that keep their semaphore by an [`Arc`], so that they can go anywhere; given back on drop.
///
/// ```
/// use fibra::sync::Semaphore;
/// use std::sync::Arc;
///
/// fibra::run(|| {
///     let admission = Arc::new(Semaphore::new(100));
///     let permit = admission.acquire_owned();
///     fibra::spawn(move || {
///         // ... serve the connection ...
///         drop(permit);
///     });
/// });
/// ```
#[must_use = "a permit is given back when it is dropped"]
pub struct OwnedSemaphorePermit {
    semaphore: Owner,
    permits: usize,
}

#[derive(Clone)]
pub(super) enum Owner {
    Plain(Arc<Semaphore>),
    Bounded(Arc<BoundedSemaphore>),
}

impl Owner {
    fn semaphore(&self) -> &Semaphore {
        match self {
            Owner::Plain(semaphore) => semaphore,
            Owner::Bounded(semaphore) => semaphore.plain(),
        }
    }
}

impl<'a> SemaphorePermit<'a> {
    pub(super) fn new(semaphore: &'a Semaphore, permits: usize) -> SemaphorePermit<'a> {
        SemaphorePermit { semaphore, permits }
    }

    /// How many permits these are.
    pub fn num_permits(&self) -> usize {
        self.permits
    }

    /// Does not give them back: the semaphore has so many fewer from now on, until somebody calls
    /// [`release`](Semaphore::release).
    pub fn forget(self) {
        self.into_number();
    }

    /// Takes so many out of these; `None` when these are fewer.
    pub fn split(&mut self, permits: usize) -> Option<SemaphorePermit<'a>> {
        self.permits = self.permits.checked_sub(permits)?;
        Some(SemaphorePermit { semaphore: self.semaphore, permits })
    }

    /// Adds others to these.
    ///
    /// # Panics
    /// When they are another semaphore's.
    pub fn merge(&mut self, other: SemaphorePermit<'a>) {
        assert!(std::ptr::eq(self.semaphore, other.semaphore), "these are permits of another semaphore");
        self.permits += other.into_number();
    }

    /// Makes a mere number of them, which the caller has to account for.
    pub(super) fn into_number(mut self) -> usize {
        std::mem::take(&mut self.permits)
    }
}

impl OwnedSemaphorePermit {
    pub(super) fn new(semaphore: Owner, permits: usize) -> OwnedSemaphorePermit {
        OwnedSemaphorePermit { semaphore, permits }
    }

    /// How many permits these are.
    pub fn num_permits(&self) -> usize {
        self.permits
    }

    /// Does not give them back, as [`SemaphorePermit::forget`].
    pub fn forget(self) {
        self.into_number();
    }

    /// Takes so many out of these; `None` when these are fewer.
    pub fn split(&mut self, permits: usize) -> Option<OwnedSemaphorePermit> {
        self.permits = self.permits.checked_sub(permits)?;
        Some(OwnedSemaphorePermit { semaphore: self.semaphore.clone(), permits })
    }

    /// Adds others to these.
    ///
    /// # Panics
    /// When they are another semaphore's.
    pub fn merge(&mut self, other: OwnedSemaphorePermit) {
        assert!(
            std::ptr::eq(self.semaphore.semaphore(), other.semaphore.semaphore()),
            "these are permits of another semaphore"
        );
        self.permits += other.into_number();
    }

    fn into_number(mut self) -> usize {
        std::mem::take(&mut self.permits)
    }
}

impl Drop for SemaphorePermit<'_> {
    #[inline]
    fn drop(&mut self) {
        give_back(self.semaphore, self.permits);
    }
}

impl Drop for OwnedSemaphorePermit {
    fn drop(&mut self) {
        give_back(self.semaphore.semaphore(), self.permits);
    }
}

#[inline]
fn give_back(semaphore: &Semaphore, permits: usize) {
    if permits > 0 && semaphore.give(permits).is_err() {
        report(semaphore, permits);
    }
}

/// Somebody gave them back by number before, so that they are there already; a destructor is no place for a panic.
#[cold]
fn report(semaphore: &Semaphore, permits: usize) {
    tracing::error!(?semaphore, permits, "permits are given back that were given back before, by number");
}

impl fmt::Debug for SemaphorePermit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SemaphorePermit").field("permits", &self.permits).finish_non_exhaustive()
    }
}

impl fmt::Debug for OwnedSemaphorePermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedSemaphorePermit").field("permits", &self.permits).finish_non_exhaustive()
    }
}
