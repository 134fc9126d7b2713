//! Time: sleeping, timers and clocks.

pub(crate) mod clock;
pub(crate) mod timer_wheel;

pub use clock::Clock;

use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::Worker;
use std::time::{Duration, Instant};

/// What stands for "never" where a deadline is needed: ten years.
pub(crate) const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The present, by the runtime's clock.
pub(crate) fn now() -> Instant {
    match Worker::here() {
        Some(worker) => worker.core.now(),
        None => Instant::now(),
    }
}

/// The instant `timeout` from now; none when there is no such instant.
pub(crate) fn deadline(timeout: Duration) -> Option<Instant> {
    now().checked_add(timeout)
}

/// Sleeps for at least `duration`: the coroutine parks, an OS thread blocks.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// fibra::run(|| {
///     let began = Instant::now();
///     let sleepers: Vec<_> = (0..1000).map(|_| fibra::spawn(|| fibra::sleep(Duration::from_millis(50)))).collect();
///     sleepers.into_iter().for_each(|sleeper| sleeper.join().unwrap());
///     assert!(began.elapsed() < Duration::from_secs(25), "they slept at the same time");
/// });
/// ```
pub fn sleep(duration: Duration) {
    sleep_by(deadline(duration));
}

/// Sleeps until `deadline`, or not at all when that is past.
pub fn sleep_until(deadline: Instant) {
    sleep_by(Some(deadline));
}

fn sleep_by(deadline: Option<Instant>) {
    park::waits_for(WaitsFor::Time, 0);
    loop {
        match park::park(deadline) {
            // Nobody has our token, so nothing but the clock and a request to stop ends this.
            Reason::Woken => {}
            Reason::TimedOut => return,
            Reason::Cancelled => cancel::unwind(),
        }
    }
}
