//! How long the calling thread has computed.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

/// Seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct ProcessorTime {
    pub(super) user: f64,
    pub(super) system: f64,
}

impl ProcessorTime {
    /// Of the calling thread since it began.
    pub(super) fn of_this_thread() -> ProcessorTime {
        // It fails for a wrong argument only.
        getrusage(UsageWho::RUSAGE_THREAD).map_or_else(
            |_| ProcessorTime::default(),
            |usage| ProcessorTime {
                user: usage.user_time().num_microseconds() as f64 / 1e6,
                system: usage.system_time().num_microseconds() as f64 / 1e6,
            },
        )
    }

    pub(super) fn since(self, before: ProcessorTime) -> ProcessorTime {
        ProcessorTime { user: self.user - before.user, system: self.system - before.system }
    }

    pub(super) fn total(self) -> f64 {
        self.user + self.system
    }
}
