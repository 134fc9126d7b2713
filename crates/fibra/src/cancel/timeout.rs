//! Code with a time limit: [`timeout`], [`deadline`], [`move_on_after`].
//!
//! While the code does not wait a limit costs one look at the clock and a place in the context's list of regions. When it waits, the timer of that wait is set to the limit if
//! nothing else ends it sooner; there is no timer of its own that would have to be set and cleared.

use super::Cancelled;
use super::region::{Bound, Region};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

/// The time was up: the error of [`timeout`] and [`deadline`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Elapsed;

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time is up")
    }
}

impl std::error::Error for Elapsed {}

impl From<Elapsed> for std::io::Error {
    fn from(elapsed: Elapsed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed)
    }
}

/// Runs `f` for at most `limit`: when it waits then, or begins to wait later, it is unwound, and this returns `Err`.
///
/// Everything that parks can be ended so: sockets, locks, queues, sleeping, joining. What has arrived is returned and not lost; the
/// limit is then met at the next wait. A call on a file, or of the blocking pool, that has begun is waited for. Code that never waits is not interrupted
/// ([`cancel::checkpoint`](crate::cancel::checkpoint) does that); if it comes to its end, late or not, its value is returned.
///
/// Limits nest, and each ends its own code only:
///
/// ```
/// use fibra::{Elapsed, sleep, timeout};
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let outer = timeout(Duration::from_millis(30), || {
///         let inner = timeout(Duration::from_millis(1), || sleep(Duration::from_secs(3600)));
///         assert_eq!(inner, Err(Elapsed));
///         sleep(Duration::from_secs(3600));
///     });
///     assert_eq!(outer, Err(Elapsed));
/// });
/// ```
///
/// On an OS thread it works as well.
///
/// # Errors
/// [`Elapsed`] when the limit has ended `f`.
#[inline]
pub fn timeout<T>(limit: Duration, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    match crate::time::deadline(limit) {
        Some(instant) => deadline(instant, f),
        // There is no such instant: never.
        None => Ok(f()),
    }
}

/// The same until an instant, by the runtime's clock.
///
/// # Errors
/// As [`timeout`].
#[inline]
pub fn deadline<T>(instant: Instant, f: impl FnOnce() -> T) -> Result<T, Elapsed> {
    let region = Region::new(Bound::Deadline(instant));
    catch_unwind(AssertUnwindSafe(|| region.enter(f))).map_err(|payload| {
        if payload.is::<Cancelled>() && crate::time::now() >= instant {
            super::caught();
            return Elapsed;
        }
        // A panic, or another boundary's.
        resume_unwind(payload)
    })
}

/// [`timeout`] for when it is no error that the time was up: `None`.
///
/// ```
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let answer = fibra::move_on_after(Duration::from_millis(1), || {
///         fibra::sleep(Duration::from_secs(3600));
///         "slow"
///     });
///     assert_eq!(answer.unwrap_or("default"), "default");
/// });
/// ```
#[inline]
pub fn move_on_after<T>(limit: Duration, f: impl FnOnce() -> T) -> Option<T> {
    timeout(limit, f).ok()
}
