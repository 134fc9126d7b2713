//! Where a worker's time comes from.

use std::time::{Duration, Instant};

/// A source of time for a runtime: the system's monotonic clock, unless another is given to
/// [`RuntimeBuilder::clock`](crate::RuntimeBuilder::clock), as tests do that do not want to wait.
///
/// ```
/// use std::sync::Mutex;
/// use std::time::{Duration, Instant};
///
/// /// Time that passes only when nobody can run: an hour's sleep is over at once.
/// struct Skipping(Mutex<Instant>);
/// impl fibra::time::Clock for Skipping {
///     fn now(&self) -> Instant {
///         *self.0.lock().unwrap()
///     }
///     fn until(&self, deadline: Instant) -> Duration {
///         let mut now = self.0.lock().unwrap();
///         *now = deadline.max(*now);
///         Duration::ZERO
///     }
/// }
///
/// let clock = Skipping(Mutex::new(Instant::now()));
/// let before = Instant::now();
/// fibra::Runtime::builder().workers(1).clock(clock).run(|| fibra::sleep(Duration::from_secs(3600)))?;
/// assert!(before.elapsed() < Duration::from_secs(60));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A clock is asked in the middle of waits. So it must not wait itself by fibra's means: if it does, it blocks its worker. A panic may abort the process.
pub trait Clock: Send + Sync + 'static {
    /// The present. It never goes back.
    fn now(&self) -> Instant;

    /// How long a worker that has nothing else to do may sleep in the kernel, when its next timer is due at `deadline`. A clock that is
    /// not the system's can move itself here.
    fn until(&self, deadline: Instant) -> Duration {
        deadline.saturating_duration_since(self.now())
    }
}
