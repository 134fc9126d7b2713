//! A worker with nothing to do: it looks for mail if that has been worth it, sleeps in its driver, and gives memory back when it has slept for a while.

use super::{RESUMES_PER_LOOK, STARVED, TRIM, Worker};
use crate::scheduler::spin::LONG;
use crate::scheduler::waiting::Tick;
use fibra_context::arena;
use std::time::{Duration, Instant};

/// How many unused stacks a worker keeps when it has nothing to do.
const IDLE_STACKS: usize = 64;

/// How long a worker has nothing to do before it gives memory back.
const IDLE: Duration = Duration::from_millis(500);

/// How many turns of coroutines a look for letters stands for, until the timers and the driver are looked at.
const TURNS_PER_LOOKOUT: u32 = 8;

impl Worker {
    /// Nothing can run: waits for the outside.
    pub(super) fn sleep(&self, over: &dyn Fn() -> bool) {
        self.ready.borrow_mut().shrink();
        if let Some(time) = &self.core.virtual_time {
            return self.stand_still(time, over);
        }
        let starved = !self.starved.borrow().is_empty();
        if self.look_out() || !self.shared.lie_down() {
            return;
        }
        // From here on a letter, a backlog and a change of phase ring the notifier, so each is looked at once more.
        if over() || !self.ready.borrow().is_empty() || self.core.backlog_besides(self.index) {
            self.shared.mailbox.get_up();
            return;
        }
        let mut timeout = self.timers.borrow().next_deadline().map(|deadline| self.core.until(deadline));
        let tidy = self.untidy.get() && timeout.is_none_or(|timeout| timeout > IDLE);
        if starved {
            timeout = Some(timeout.map_or(STARVED, |timeout| timeout.min(STARVED)));
        } else if tidy {
            timeout = Some(IDLE);
        }
        if let Some(patience) = self.core.patience() {
            timeout = Some(timeout.map_or(patience, |timeout| timeout.min(patience)));
        }
        let slept = (tidy && !starved).then(Instant::now);
        self.ask_driver(timeout);
        self.shared.mailbox.get_up();
        if self.shared.mailbox.is_full() {
            self.lookout.note_letter();
        }
        self.tick.set(Tick::now());
        self.until_look.set(RESUMES_PER_LOOK);
        if starved {
            self.feed(usize::MAX);
        }
        if slept.is_some_and(|began| began.elapsed() >= IDLE) && self.ready.borrow().is_empty() {
            self.tidy();
        }
    }

    /// Looks for letters for a while, if that may be worth it. Whether there is something to do.
    fn look_out(&self) -> bool {
        // A timer that is due soon is waited for asleep, where it is met.
        let is_due = |deadline| self.core.until(deadline) < 2 * LONG;
        if !self.lookout.is_expectant() || self.timers.borrow().next_deadline().is_some_and(is_due) {
            return false;
        }
        // What coroutines have handed to the driver goes out first.
        if self.driver.borrow_mut().has_unsubmitted() {
            self.ask_driver(Some(Duration::ZERO));
            if !self.ready.borrow().is_empty() {
                return true;
            }
        }
        let found = self.lookout.look(|| self.has_arrivals());
        if found {
            // A look is worth some turns: so sockets and timers are not forgotten over the letters.
            self.until_look.set(self.until_look.get().saturating_sub(TURNS_PER_LOOKOUT).max(1));
        }
        found
    }

    /// Gives back memory that the last burst of work needed.
    #[cold]
    fn tidy(&self) {
        self.untidy.set(false);
        self.stacks.borrow_mut().trim(IDLE_STACKS);
        self.tasks.borrow_mut().shrink(&self.shared.started);
        // A long backlog takes a while: whatever happens meanwhile comes first.
        while arena::trim_some(TRIM, IDLE_STACKS) > 0 {
            self.ask_driver(Some(Duration::ZERO));
            if !self.ready.borrow().is_empty() || self.has_arrivals() {
                self.untidy.set(true);
                return;
            }
        }
    }
}
