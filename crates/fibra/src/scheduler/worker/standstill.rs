//! What a worker does in a simulation only, above all when nothing can run: the time goes on, or it is the end.
//!
//! ```text
//!   nothing can run ──▶ somebody outside is at work for us (a hold) ──────────▶ wait for the driver or a letter, in real time
//!                   ├─▶ a timer is set ──▶ a descriptor is ready? no ─────────▶ it is the timer's time
//!                   ├─▶ a coroutine waits for a descriptor ───────────────────▶ wait for it, in real time
//!                   └─▶ else nobody will ever be woken: a deadlock
//!                         first: it is reported, and the runtime ends, so that all unwind; what they do then may take time and wait as ever
//!                         again: what is left is shielded, and is given up
//! ```

use super::{BUDGET, Phase, STARVED, Worker};
use crate::scheduler::virtual_time::VirtualTime;
use crate::scheduler::waiting::WaitsFor;
use std::fmt::Write;
use std::time::Duration;

impl Worker {
    /// Yields or not, as the seed of the simulation says.
    pub(crate) fn perhaps_yield(&self) {
        if self.allowance != BUDGET && self.random() % 2 == 0 {
            self.yield_now();
        }
    }

    /// The time of a simulation goes on while the running coroutine does not wait: whoever is late now is so at its next choice.
    pub(crate) fn advance(&self, time: &VirtualTime, duration: Duration) {
        time.advance(duration);
        self.until_look.set(1);
    }

    /// In place of sleep.
    pub(super) fn stand_still(&self, time: &VirtualTime, over: &dyn Fn() -> bool) {
        time.rest();
        if !self.shared.lie_down() {
            return;
        }
        if !over() && self.ready.borrow().is_empty() {
            self.go_on_in_time(time);
        }
        self.shared.mailbox.get_up();
        self.until_look.set(self.resumes_per_look);
    }

    fn go_on_in_time(&self, time: &VirtualTime) {
        if time.is_held() {
            return self.ask_driver(self.patience_left());
        }
        if self.driver.borrow().has_sources() {
            self.ask_driver(Some(Duration::ZERO));
        }
        // What held for something has delivered it before it let go.
        if !self.ready.borrow().is_empty() || self.has_arrivals() || !self.shared.mailbox.is_asleep() {
            return;
        }
        if !self.starved.borrow().is_empty() {
            self.ask_driver(Some(STARVED));
            return self.feed(usize::MAX);
        }
        let next = self.timers.borrow().next_deadline();
        if let Some(deadline) = next {
            return time.jump(deadline);
        }
        if self.tasks.borrow().iter().any(|task| self.waits_for(task).0.is_outside()) {
            return self.ask_driver(self.patience_left());
        }
        if self.core.phase() == Phase::Killing {
            return time.give_up();
        }
        time.report(self.describe());
        self.core.kill();
    }

    /// How long to wait for the outside: until it is over, or at the end until patience is.
    fn patience_left(&self) -> Option<Duration> {
        self.core.patience().filter(|left| !left.is_zero())
    }

    fn waits_for(&self, task: super::TaskPtr) -> (WaitsFor, usize) {
        // SAFETY: a started task is alive until `bury`, which is this thread's.
        unsafe { task.header() }.waiting.get()
    }

    /// Who waits for what.
    fn describe(&self) -> String {
        let mut text = String::from(
            "deadlock: every context waits, no timer is set, and nobody outside is known who could wake one",
        );
        for task in self.tasks.borrow().iter() {
            // SAFETY: as above.
            let header = unsafe { task.header() };
            let name = header.name().map_or_else(|| "(no name)".into(), |name| format!("'{name}'"));
            let daemon = if header.is_daemon() { ", a daemon," } else { "" };
            let (kind, object) = self.waits_for(task);
            let object = kind.object(object).map_or_else(String::new, |object| format!(" {object}"));
            let _ = write!(text, "\n  {} {name}{daemon} waits for {kind:?}{object}", header.id);
        }
        text
    }
}
