//! What a worker does in a simulation only, above all when nothing can run: the time goes on, or it is the end.
//!
//! ```text
//!   nothing can run ──▶ somebody outside is at work for us (a hold) ──────────▶ wait for the driver or a letter, in real time
//!                   ├─▶ a timer is set ──▶ a descriptor is ready? no, nor after a moment ─▶ it is the timer's time
//!                   ├─▶ a coroutine waits for a descriptor ───────────────────▶ wait for it, in real time
//!                   └─▶ else nobody will ever be woken: a deadlock
//!                         first: it is reported, and the runtime ends, so that all unwind; what they do then may take time and wait as ever
//!                         again: what is left is shielded, and is given up
//! ```

use super::{BUDGET, Phase, STARVED, Worker};
use crate::scheduler::living::{self, Sighting};
use crate::scheduler::task::{Header, Kind};
use crate::scheduler::virtual_time::VirtualTime;
use std::fmt::Write;
use std::time::Duration;

/// How long, in real time, those who wait for the outside are given before a timer is due. What goes from one socket to another within the process is there at once, unless the
/// kernel puts it off: on a busy machine it leaves such work to a thread of its own (`ksoftirqd`).
const GRACE: Duration = Duration::from_millis(5);

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
            if self.ready.borrow().is_empty()
                && self.timers.borrow().next_deadline().is_some()
                && self.waits_outside()
            {
                self.ask_driver(Some(GRACE));
            }
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
        if self.waits_outside() {
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

    /// Whether a coroutine waits for what the kernel, or a thread, has to bring.
    fn waits_outside(&self) -> bool {
        // SAFETY: a started task is alive until `bury`, which is this thread's.
        self.tasks.borrow().iter().any(|task| unsafe { task.header() }.waiting.get().0.is_outside())
    }

    /// Who waits for what.
    fn describe(&self) -> String {
        let mut text = String::from(
            "deadlock: every context waits, no timer is set, and nobody outside is known who could wake one",
        );
        for task in self.tasks.borrow().iter() {
            // SAFETY: as above.
            describe(unsafe { task.header() }, &mut text);
        }
        living::each(|Sighting { context, runtime, .. }| {
            // A daemon may be at work.
            let waits = context.kind == Kind::Spawned && context.state.is_parked();
            if waits && runtime == Some(self.core.number) {
                describe(context, &mut text);
            }
        });
        text + "\n  (where an OS thread is to wake one that is a daemon, or is not of `fibra::thread`, it needs a `fibra::simulation::hold`)"
    }
}

fn describe(context: &Header, text: &mut String) {
    let name = context.name().map_or_else(|| "(no name)".into(), |name| format!("'{name}'"));
    let thread = if context.is_thread() { ", a thread," } else { "" };
    let daemon = if context.is_daemon() { ", a daemon," } else { "" };
    let (kind, object) = context.waiting.get();
    let object = kind.object(object).map_or_else(String::new, |object| format!(" {object}"));
    let _ = write!(text, "\n  {} {name}{thread}{daemon} waits for {kind:?}{object}", context.id);
}
