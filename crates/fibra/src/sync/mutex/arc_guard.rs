//! The guard that keeps its mutex. (lock_api's is made by its own ways to lock only.)

use super::data::Mutex;
use std::fmt;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

/// What it is to have a [`Mutex`], which is kept by an [`Arc`]. Dropping it gives the mutex back.
#[must_use = "the mutex is given back when its guard is dropped"]
pub struct ArcMutexGuard<T: ?Sized> {
    mutex: Arc<Mutex<T>>,
    /// It is shared and sent as the data may be.
    data: PhantomData<T>,
}

impl<T: ?Sized> ArcMutexGuard<T> {
    /// # Safety
    /// The mutex has been taken, and there is no guard for that yet.
    pub(super) unsafe fn new(mutex: Arc<Mutex<T>>) -> ArcMutexGuard<T> {
        ArcMutexGuard { mutex, data: PhantomData }
    }

    /// The mutex.
    pub fn mutex(this: &Self) -> &Arc<Mutex<T>> {
        &this.mutex
    }
}

impl<T: ?Sized> Deref for ArcMutexGuard<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard has the mutex.
        unsafe { &*self.mutex.0.data_ptr() }
    }
}

impl<T: ?Sized> DerefMut for ArcMutexGuard<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the guard has the mutex, and is borrowed mutably.
        unsafe { &mut *self.mutex.0.data_ptr() }
    }
}

impl<T: ?Sized> Drop for ArcMutexGuard<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard has the mutex, and this is its end.
        unsafe { self.mutex.raw().release() }
    }
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for ArcMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}
