//! Who has ended, in order: an inbox into which those that are watched put their ends.
//!
//! ```text
//!   handle ──watch──▶ has ended? put at once
//!                     else its finisher puts it  ──────▶ [2, 0, …] ──next──▶ the one who waits
//! ```
//!
//! One context waits; any put, who are finishers of tasks, and therefore neither wait nor panic. That each is put once is the watchers' business
//! ([`crate::scheduler::watchers`]); here is only a list behind a lock.

use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::watchers::{Outcome, WatchKey};
use crate::spawn::JoinHandle;
use crate::sync::wait_list::{Place, WaitLists};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

/// The end of one of those that are watched.
#[derive(Clone, Copy)]
pub(super) struct End {
    pub(super) index: usize,
    pub(super) outcome: Outcome,
}

/// The inbox.
pub(super) struct Ends(Arc<WaitLists<VecDeque<End>>>);

impl Ends {
    pub(super) fn new() -> Ends {
        Ends(Arc::new(WaitLists::new(VecDeque::new())))
    }

    /// Has the end of this handle's context put in here, with this index. The key is for [`JoinHandle::unwatch`]; none when the context has ended already.
    ///
    /// # Panics
    /// When the caller is that context.
    pub(super) fn watch<T>(&self, handle: &JoinHandle<T>, index: usize) -> Option<WatchKey> {
        let own = !handle.is_finished() && park::token() == handle.task().ptr().token();
        assert!(!own, "a context cannot wait for its own end");
        let inbox = Arc::clone(&self.0);
        let put = move |outcome| put(&inbox, End { index, outcome });
        match handle.watch(Box::new(put)) {
            Ok(key) => Some(key),
            Err((put, outcome)) => {
                put(outcome);
                None
            }
        }
    }

    /// Waits for the next end until the deadline, if there is one; none when the time is up. Who is cancelled here has taken nothing out.
    pub(super) fn next(&self, deadline: Option<Instant>) -> Option<End> {
        loop {
            let mut inbox = self.0.lock();
            if let Some(end) = inbox.pop_front() {
                return Some(end);
            }
            match inbox.wait(0, Place::Back, (), deadline, WaitsFor::Select, |_| {}).0 {
                Reason::Woken => {}
                Reason::TimedOut => return None,
                Reason::Cancelled => cancel::unwind(),
            }
        }
    }
}

fn put(inbox: &WaitLists<VecDeque<End>>, end: End) {
    let mut inbox = inbox.lock();
    inbox.push_back(end);
    let waiting = inbox.next(0);
    drop(inbox);
    if let Some(waiting) = waiting {
        waiting.wake();
    }
}
