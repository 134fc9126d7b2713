//! The ways to take permits, which are the same for both kinds of semaphore.

use super::permit::Owner;
use super::{BoundedSemaphore, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
use std::sync::Arc;
use std::time::{Duration, Instant};

macro_rules! acquiring {
    ($type:ty, $own:path) => {
        impl $type {
            /// Takes a permit, and waits for one if there is none.
            #[inline]
            pub fn acquire(&self) -> SemaphorePermit<'_> {
                self.acquire_many(1)
            }

            /// Takes so many permits at once, and waits for them in line: no permit is taken before all are there, and none is given to those behind meanwhile.
            /// Who asks for 0 never waits.
            ///
            /// # Panics
            /// When there can never be so many.
            #[inline]
            pub fn acquire_many(&self, permits: usize) -> SemaphorePermit<'_> {
                let taken = self.plain().take(permits, || None);
                debug_assert!(taken, "there is no deadline");
                SemaphorePermit::new(self.plain(), permits)
            }

            /// Takes a permit if there is one and nobody waits for it.
            #[inline]
            pub fn try_acquire(&self) -> Option<SemaphorePermit<'_>> {
                self.try_acquire_many(1)
            }

            /// Takes so many permits if they are there and nobody waits.
            #[inline]
            pub fn try_acquire_many(&self, permits: usize) -> Option<SemaphorePermit<'_>> {
                self.plain().try_take(permits).then(|| SemaphorePermit::new(self.plain(), permits))
            }

            /// Takes a permit, and waits for it for at most `timeout`.
            #[inline]
            pub fn acquire_timeout(&self, timeout: Duration) -> Option<SemaphorePermit<'_>> {
                self.acquire_many_timeout(1, timeout)
            }

            /// Takes so many permits, and waits for them for at most `timeout`.
            ///
            /// # Panics
            /// As [`acquire_many`](Self::acquire_many).
            #[inline]
            pub fn acquire_many_timeout(
                &self,
                permits: usize,
                timeout: Duration,
            ) -> Option<SemaphorePermit<'_>> {
                let taken = self.plain().take(permits, || crate::time::deadline(timeout));
                taken.then(|| SemaphorePermit::new(self.plain(), permits))
            }

            /// Takes a permit, and waits for it until `deadline` at most.
            #[inline]
            pub fn acquire_deadline(&self, deadline: Instant) -> Option<SemaphorePermit<'_>> {
                self.acquire_many_deadline(1, deadline)
            }

            /// Takes so many permits, and waits for them until `deadline` at most.
            ///
            /// # Panics
            /// As [`acquire_many`](Self::acquire_many).
            #[inline]
            pub fn acquire_many_deadline(
                &self,
                permits: usize,
                deadline: Instant,
            ) -> Option<SemaphorePermit<'_>> {
                let taken = self.plain().take(permits, || Some(deadline));
                taken.then(|| SemaphorePermit::new(self.plain(), permits))
            }

            /// [`acquire`](Self::acquire), for a permit that borrows nothing.
            pub fn acquire_owned(self: &Arc<Self>) -> OwnedSemaphorePermit {
                self.acquire_many_owned(1)
            }

            /// [`acquire_many`](Self::acquire_many), for a permit that borrows nothing.
            ///
            /// # Panics
            /// As [`acquire_many`](Self::acquire_many).
            pub fn acquire_many_owned(self: &Arc<Self>, permits: usize) -> OwnedSemaphorePermit {
                self.own(self.acquire_many(permits))
            }

            /// [`try_acquire`](Self::try_acquire), for a permit that borrows nothing.
            pub fn try_acquire_owned(self: &Arc<Self>) -> Option<OwnedSemaphorePermit> {
                self.try_acquire_many_owned(1)
            }

            /// [`try_acquire_many`](Self::try_acquire_many), for a permit that borrows nothing.
            pub fn try_acquire_many_owned(self: &Arc<Self>, permits: usize) -> Option<OwnedSemaphorePermit> {
                self.try_acquire_many(permits).map(|permit| self.own(permit))
            }

            /// [`acquire_timeout`](Self::acquire_timeout), for a permit that borrows nothing.
            pub fn acquire_timeout_owned(
                self: &Arc<Self>,
                timeout: Duration,
            ) -> Option<OwnedSemaphorePermit> {
                self.acquire_timeout(timeout).map(|permit| self.own(permit))
            }

            /// [`acquire_deadline`](Self::acquire_deadline), for a permit that borrows nothing.
            pub fn acquire_deadline_owned(
                self: &Arc<Self>,
                deadline: Instant,
            ) -> Option<OwnedSemaphorePermit> {
                self.acquire_deadline(deadline).map(|permit| self.own(permit))
            }

            fn own(self: &Arc<Self>, permit: SemaphorePermit<'_>) -> OwnedSemaphorePermit {
                OwnedSemaphorePermit::new($own(Arc::clone(self)), permit.into_number())
            }
        }
    };
}

acquiring!(Semaphore, Owner::Plain);
acquiring!(BoundedSemaphore, Owner::Bounded);

impl Semaphore {
    #[inline(always)]
    fn plain(&self) -> &Semaphore {
        self
    }
}
