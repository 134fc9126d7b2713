//! [`OnceLock`]: a value that is set once.

use super::Once;
use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::mem::MaybeUninit;

/// A place for a value that is set once, and read by all.
///
/// ```
/// use fibra::sync::OnceLock;
///
/// static CONFIG: OnceLock<String> = OnceLock::new();
///
/// fibra::run(|| {
///     let readers: Vec<_> = (0..3).map(|_| fibra::spawn(|| CONFIG.get_or_init(|| "loaded".to_owned()))).collect();
///     for reader in readers {
///         assert_eq!(reader.join().unwrap(), "loaded");
///     }
/// });
/// ```
pub struct OnceLock<T> {
    once: Once,
    /// Written while `once` is running, by its call; there when `once` is done.
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value is written by one context, and shared with others once it is there; and it may be dropped by yet another one.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}
// SAFETY: the value goes along.
unsafe impl<T: Send> Send for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// An empty place.
    pub const fn new() -> OnceLock<T> {
        OnceLock { once: Once::new(), value: UnsafeCell::new(MaybeUninit::uninit()) }
    }

    /// The value, if it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: it is there, and is not written again while it is shared.
        self.once.is_completed().then(|| unsafe { (*self.value.get()).assume_init_ref() })
    }

    /// The value, if it is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: it is there.
        self.once.is_completed().then(|| unsafe { self.value.get_mut().assume_init_mut() })
    }

    /// Sets the value. If another context is about it, waits for that.
    ///
    /// # Errors
    /// The value comes back when there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        let mut value = Some(value);
        self.get_or_init(|| value.take().expect("it is called once"));
        value.map_or(Ok(()), Err)
    }

    /// The value; if there is none `f` makes it. If another context is about it, waits for that. `f` is not called otherwise, and when it panics or is cancelled there is no
    /// value: one of those who wait calls its own.
    ///
    /// # Panics
    /// When `f` itself comes here again: it would wait for itself.
    #[inline]
    pub fn get_or_init(&self, f: impl FnOnce() -> T) -> &T {
        match self.get_or_try_init(|| Ok::<T, Infallible>(f())) {
            Ok(value) => value,
            Err(never) => match never {},
        }
    }

    /// The same with an `f` that may fail.
    ///
    /// # Errors
    /// Those of `f`; then there is no value, and one of those who wait calls its own.
    ///
    /// # Panics
    /// As [`get_or_init`](Self::get_or_init).
    pub fn get_or_try_init<E>(&self, f: impl FnOnce() -> Result<T, E>) -> Result<&T, E> {
        if let Some(value) = self.get() {
            return Ok(value);
        }
        self.once.try_call_once(|| {
            let value = f()?;
            // SAFETY: only the call that is running is here, and nobody reads before it is over.
            unsafe { (*self.value.get()).write(value) };
            Ok(())
        })?;
        Ok(self.get().expect("it has been set"))
    }

    /// Waits until there is a value.
    pub fn wait(&self) -> &T {
        self.once.wait();
        self.get().expect("it has been set")
    }

    /// The value, if it is there.
    pub fn into_inner(mut self) -> Option<T> {
        self.take()
    }

    /// Takes the value out, and leaves an empty place.
    pub fn take(&mut self) -> Option<T> {
        let once = std::mem::take(&mut self.once);
        // SAFETY: it is there, and `once` says no more that it is.
        once.is_completed().then(|| unsafe { self.value.get_mut().assume_init_read() })
    }
}

impl<T> Drop for OnceLock<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

impl<T> Default for OnceLock<T> {
    fn default() -> OnceLock<T> {
        OnceLock::new()
    }
}

impl<T> From<T> for OnceLock<T> {
    fn from(value: T) -> OnceLock<T> {
        let place = OnceLock::new();
        place.get_or_init(|| value);
        place
    }
}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(value) => f.debug_tuple("OnceLock").field(value).finish(),
            None => f.write_str("OnceLock(<unset>)"),
        }
    }
}
