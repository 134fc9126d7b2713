//! [`BoundedSemaphore`]: one that notices when more is given back than was taken.

use super::Semaphore;
use std::fmt;

/// A [`Semaphore`] that never has more permits than it began with: to give back one too many is an error, where the
/// plain one would from then on let one more in than it should.
///
/// ```
/// use fibra::sync::{BoundedSemaphore, TooManyPermits};
///
/// let semaphore = BoundedSemaphore::new(2);
/// semaphore.acquire().forget();
/// assert_eq!(semaphore.release(1), Ok(()));
/// assert_eq!(semaphore.release(1), Err(TooManyPermits));
/// assert_eq!(semaphore.available_permits(), 2);
/// ```
pub struct BoundedSemaphore(Semaphore);

/// More permits were given back than had been taken: the error of [`BoundedSemaphore::release`], which has then changed nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TooManyPermits;

impl BoundedSemaphore {
    /// A semaphore with so many permits, and never more.
    ///
    /// # Panics
    /// When they are more than [`Semaphore::MAX_PERMITS`].
    #[cfg(not(loom))]
    pub const fn new(permits: usize) -> BoundedSemaphore {
        BoundedSemaphore(Semaphore::bounded(permits, permits))
    }

    /// For models.
    #[cfg(loom)]
    pub fn new(permits: usize) -> BoundedSemaphore {
        BoundedSemaphore(Semaphore::bounded(permits, permits))
    }

    /// Gives permits back by number: those of permits that were [forgotten](super::SemaphorePermit::forget).
    ///
    /// # Errors
    /// [`TooManyPermits`] when there would be more than at the beginning; nothing is changed then. (Who gives back by number what
    /// somebody still holds as a permit finds out only when there is nobody else's to make up for it: when *that* is dropped then, there is
    /// no error to return, and the log says it.)
    #[inline]
    pub fn release(&self, permits: usize) -> Result<(), TooManyPermits> {
        self.0.give(permits)
    }

    /// How many permits there are when nobody has one.
    pub fn bound(&self) -> usize {
        self.0.bound
    }

    /// How many permits could be taken. A snapshot.
    #[inline]
    pub fn available_permits(&self) -> usize {
        self.0.available_permits()
    }

    /// How many contexts wait. A snapshot.
    pub fn waiting(&self) -> usize {
        self.0.waiting()
    }

    #[inline(always)]
    pub(super) fn plain(&self) -> &Semaphore {
        &self.0
    }
}

impl fmt::Debug for BoundedSemaphore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoundedSemaphore")
            .field("permits", &self.available_permits())
            .field("bound", &self.bound())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for TooManyPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("more permits were given back than had been taken")
    }
}

impl std::error::Error for TooManyPermits {}
