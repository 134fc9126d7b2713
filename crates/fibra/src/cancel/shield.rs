//! Code that must not be interrupted: [`shield`].

use super::region::{Bound, Region};

/// Runs `f`, whose waits are not ended by a request to stop: not by a [`timeout`](crate::timeout()) or a [`Stop`](crate::Stop) further out, not by
/// [`JoinHandle::cancel`](crate::JoinHandle::cancel), nor by the end of the runtime (which waits for a second, and then leaves the coroutine
/// behind, suspended for ever).
///
/// The request stays, and is met at the first wait after the shield. Timeouts and stops *inside* of it work as always.
///
/// For what has to be completed once it has begun; and for callbacks from C, through whose frames nothing may unwind.
///
/// ```
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let mut saved = false;
///     let result = fibra::timeout(Duration::from_millis(1), || {
///         fibra::shield(|| {
///             fibra::sleep(Duration::from_millis(5));
///             saved = true;
///         });
///         fibra::sleep(Duration::from_secs(3600));
///     });
///     assert!(saved && result.is_err());
/// });
/// ```
pub fn shield<T>(f: impl FnOnce() -> T) -> T {
    Region::new(Bound::Shield).enter(f)
}
