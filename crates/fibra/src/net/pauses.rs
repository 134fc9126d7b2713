//! Pauses between attempts, for the few waits whose end nobody reports.

use crate::scheduler::worker::Worker;
use crate::time;
use std::time::{Duration, Instant};

/// The longest pause: how late such a wait may notice that it is over.
pub(super) const LONGEST: Duration = Duration::from_millis(50);

/// Pauses that grow from a millisecond to [`LONGEST`]. In a coroutine a request to stop ends them as it ends any sleep.
pub(super) struct Pauses {
    next: Duration,
}

impl Pauses {
    /// The first is a millisecond.
    pub(super) fn new() -> Pauses {
        Pauses { next: Duration::from_millis(1) }
    }

    /// Sleeps for one pause, but not beyond `deadline`.
    ///
    /// Contexts that began to wait at the same moment must not try at the same moment again and again, when there may be room for one at a time; so
    /// each sleeps between half of the pause and the whole.
    pub(super) fn wait(&mut self, deadline: Option<Instant>) {
        let half = self.next / 2;
        let share = Worker::here().map_or(1024, |worker| (worker.random() >> 54) as u32);
        let pause = half + half * share / 1024;
        self.next = (self.next * 2).min(LONGEST);
        let end = time::now() + pause;
        time::sleep_until(deadline.map_or(end, |deadline| deadline.min(end)));
    }
}
