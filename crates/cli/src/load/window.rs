//! The measured time of one thread, and what it computed in it.

use super::pace::Length;
use super::plan::Plan;
use super::processor_time::ProcessorTime;

/// From the end of the warm-up to the end of the time that counts, in nanoseconds of the run's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    /// None until all connections are open.
    pub(super) start: Option<u64>,
    /// `u64::MAX` if it ends with its requests.
    pub(super) end: u64,
    /// When the last counted request was done.
    last: u64,
    opened: Option<(u64, ProcessorTime)>,
    closed: Option<(u64, ProcessorTime)>,
}

/// How long the measured time was, and what was computed in it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Measured {
    /// Nanoseconds; 0 if it never began.
    pub(super) time: u64,
    pub(super) computed: ProcessorTime,
    /// The time over which `computed` was taken: the same, to the nearest wake-up.
    pub(super) watched: u64,
}

impl Window {
    pub(super) fn new() -> Window {
        Window { start: None, end: u64::MAX, last: 0, opened: None, closed: None }
    }

    /// All connections were open at `ready`.
    pub(super) fn set(&mut self, ready: u64, plan: &Plan) {
        let start = ready + plan.warm_up;
        self.start = Some(start);
        if let Length::Time(time) = plan.length {
            self.end = start + time;
        }
    }

    /// Looks at the processor's clock where the measured time begins and ends; true when it has just ended.
    pub(super) fn follow(&mut self, now: u64) -> bool {
        if self.opened.is_none() && self.start.is_some_and(|start| now >= start) {
            self.opened = Some((now, ProcessorTime::of_this_thread()));
        }
        let ends = self.closed.is_none() && now >= self.end;
        if ends {
            self.closed = Some((now, ProcessorTime::of_this_thread()));
        }
        ends
    }

    pub(super) fn has_begun(&self) -> bool {
        self.opened.is_some()
    }

    /// A counted request was done.
    pub(super) fn note(&mut self, done: u64) {
        self.last = self.last.max(done);
    }

    pub(super) fn measured(&self, now: u64, interrupted: bool) -> Measured {
        let (Some(start), Some((opened, before))) = (self.start, self.opened) else {
            return Measured::default();
        };
        let (closed, after) = self.closed.unwrap_or_else(|| (now, ProcessorTime::of_this_thread()));
        let end = match self.end {
            end if end <= now => end,
            _ if interrupted => now,
            _ => self.last.max(start),
        };
        Measured { time: end - start.min(end), computed: after.since(before), watched: closed - opened }
    }
}
