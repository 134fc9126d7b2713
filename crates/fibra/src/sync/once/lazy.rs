//! [`LazyLock`]: a value that is made when it is first needed.

use super::OnceLock;
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;
use std::panic::{RefUnwindSafe, UnwindSafe};

/// A value that the first who needs it makes, while others wait.
///
/// ```
/// use fibra::sync::LazyLock;
///
/// static TABLE: LazyLock<Vec<u32>> = LazyLock::new(|| (0..5).map(|n| n * n).collect());
/// assert_eq!(TABLE[3], 9);
/// ```
///
/// # Panics
/// When the closure has panicked or was cancelled: it can be called once only, so there will be no value, and everybody who comes learns that by a panic. This is the one
/// thing here that remembers a panic.
pub struct LazyLock<T, F = fn() -> T> {
    value: OnceLock<T>,
    /// Taken by the one call that makes the value.
    make: Cell<Option<F>>,
}

// SAFETY: the closure is taken and called by one context only: the one that makes the value, for which `OnceLock` sees to it that there is one at a time.
unsafe impl<T: Send + Sync, F: Send> Sync for LazyLock<T, F> {}

/// When the closure panics it is gone, so nobody sees what it left behind.
impl<T: RefUnwindSafe + UnwindSafe, F: UnwindSafe> RefUnwindSafe for LazyLock<T, F> {}

impl<T, F: FnOnce() -> T> LazyLock<T, F> {
    /// A value that `f` will make.
    pub const fn new(f: F) -> LazyLock<T, F> {
        LazyLock { value: OnceLock::new(), make: Cell::new(Some(f)) }
    }

    /// The value, which is made now if it has not been.
    #[inline]
    pub fn force(this: &LazyLock<T, F>) -> &T {
        this.value.get_or_init(|| this.make.take().expect("what was to make the value has panicked")())
    }
}

impl<T, F: FnOnce() -> T> Deref for LazyLock<T, F> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        LazyLock::force(self)
    }
}

impl<T: Default> Default for LazyLock<T> {
    fn default() -> LazyLock<T> {
        LazyLock::new(T::default)
    }
}

impl<T: fmt::Debug, F> fmt::Debug for LazyLock<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value.get() {
            Some(value) => f.debug_tuple("LazyLock").field(value).finish(),
            None => f.write_str("LazyLock(<not made>)"),
        }
    }
}
