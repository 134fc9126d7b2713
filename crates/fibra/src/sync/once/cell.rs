//! [`OnceLock`]: a value that is set once.

use super::Once;
use std::cell::UnsafeCell;
use std::convert::Infallible;
use std::fmt;
use std::panic::{RefUnwindSafe, UnwindSafe};

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
    /// Written while `once` is running, by its call; there when `once` is done, and only then.
    value: UnsafeCell<Option<T>>,
}

// SAFETY: the value is written by one context, and shared with others once it is there; and it may be dropped by yet another one.
unsafe impl<T: Send + Sync> Sync for OnceLock<T> {}

/// A call that panics leaves no value, rather than half of one.
impl<T: RefUnwindSafe + UnwindSafe> RefUnwindSafe for OnceLock<T> {}

impl<T> OnceLock<T> {
    /// An empty place.
    pub const fn new() -> OnceLock<T> {
        OnceLock { once: Once::new(), value: UnsafeCell::new(None) }
    }

    /// The value, if it is there.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        // SAFETY: when it has been set, it is not written again while it is shared.
        if self.once.is_completed() { unsafe { (*self.value.get()).as_ref() } } else { None }
    }

    /// The value, if it is there.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.get_mut().as_mut()
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
            unsafe { *self.value.get() = Some(value) };
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
    pub fn into_inner(self) -> Option<T> {
        self.value.into_inner()
    }

    /// Takes the value out, and leaves an empty place.
    pub fn take(&mut self) -> Option<T> {
        self.once = Once::new();
        self.value.get_mut().take()
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

impl<T: Clone> Clone for OnceLock<T> {
    fn clone(&self) -> OnceLock<T> {
        self.get().cloned().map_or_else(OnceLock::new, OnceLock::from)
    }
}

impl<T: PartialEq> PartialEq for OnceLock<T> {
    fn eq(&self, other: &OnceLock<T>) -> bool {
        self.get() == other.get()
    }
}

impl<T: Eq> Eq for OnceLock<T> {}

impl<T: fmt::Debug> fmt::Debug for OnceLock<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(value) => f.debug_tuple("OnceLock").field(value).finish(),
            None => f.write_str("OnceLock(<unset>)"),
        }
    }
}
