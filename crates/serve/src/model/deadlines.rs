//! The time limits of a loop's conversations: which is the next, and which have passed.
//!
//! A limit moves with every request, and is hardly ever reached. So the heap is told of one only if it comes earlier than what the heap already
//! has for its conversation; when that entry comes up, the conversation is asked again, and mostly has moved on:
//!
//! ```text
//!  moved(key, to)   earlier than the entry? ──▶ another entry        later, as nearly always ──▶ nothing
//!  pass(now)        entry came up ──▶ asks the conversation: passed ──▶ told      not yet ──▶ another entry
//! ```
//!
//! An entry that is not its conversation's earliest (there was an earlier one since), or whose conversation is gone, is dropped when it comes up.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// Nobody lives to see the end of a longer wait: it is as good as none.
const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The end of a wait of `patience` from `now` on. A limit may be as large as [`Duration::MAX`], which no clock can be moved on by.
#[inline]
pub(super) fn after(now: Instant, patience: Duration) -> Instant {
    now + patience.min(CENTURY)
}

/// The limits of a loop.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// For each key the time of its earliest entry.
    scheduled: Vec<Option<Instant>>,
}

impl Deadlines {
    /// The conversation `key` now has until `deadline`.
    #[inline]
    pub(super) fn moved(&mut self, key: usize, deadline: Instant) {
        if key >= self.scheduled.len() {
            self.scheduled.resize(key + 1, None);
        }
        if self.scheduled[key].is_none_or(|scheduled| deadline < scheduled) {
            self.scheduled[key] = Some(deadline);
            self.heap.push(Reverse((deadline, key)));
        }
    }

    /// The conversation `key` has ended. Its key may be used again.
    #[inline]
    pub(super) fn ended(&mut self, key: usize) {
        if let Some(scheduled) = self.scheduled.get_mut(key) {
            *scheduled = None;
        }
    }

    /// When to look again.
    #[inline]
    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// A conversation whose deadline has passed at `now`; `deadline` says what it is at present.
    pub(super) fn pass(
        &mut self,
        now: Instant,
        mut deadline: impl FnMut(usize) -> Option<Instant>,
    ) -> Option<usize> {
        while self.next().is_some_and(|at| at <= now) {
            let Reverse((at, key)) = self.heap.pop().expect("there is a first");
            if self.scheduled[key] != Some(at) {
                continue;
            }
            self.scheduled[key] = None;
            match deadline(key) {
                Some(deadline) if deadline <= now => return Some(key),
                Some(deadline) => self.moved(key, deadline),
                None => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_any_patience_and_room_behind_it() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(60)), now + Duration::from_secs(60));
        let endless = after(now, Duration::MAX);
        assert!(endless > now + Duration::from_secs(99 * 365 * 86_400));
        assert!(after(endless, Duration::MAX) > endless);
    }

    #[test]
    fn limits_pass_in_order_and_only_if_they_still_hold() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut limits = [Some(at(5)), Some(at(3)), Some(at(4)), Some(at(2))];
        let mut deadlines = Deadlines::default();
        for (key, limit) in limits.iter().enumerate() {
            deadlines.moved(key, limit.unwrap());
        }
        assert_eq!(deadlines.next(), Some(at(2)));
        // One moves on, one ends, one becomes earlier.
        limits[3] = Some(at(9));
        deadlines.moved(3, at(9));
        limits[1] = None;
        deadlines.ended(1);
        limits[0] = Some(at(1));
        deadlines.moved(0, at(1));
        let mut passed = Vec::new();
        while let Some(key) = deadlines.pass(at(6), |key| limits[key]) {
            limits[key] = None;
            passed.push(key);
        }
        assert_eq!(passed, [0, 2]);
        assert_eq!(deadlines.pass(at(9), |key| limits[key]), Some(3));
        assert_eq!(deadlines.next(), None);
    }

    #[test]
    fn a_limit_that_keeps_moving_on_keeps_one_entry() {
        let begin = Instant::now();
        let mut deadlines = Deadlines::default();
        for millis in 0..10_000 {
            deadlines.moved(0, begin + Duration::from_millis(60_000 + millis));
        }
        assert_eq!(deadlines.heap.len(), 1);
    }

    #[test]
    fn a_key_that_is_used_again_is_held_to_its_new_limit() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut deadlines = Deadlines::default();
        deadlines.moved(0, at(1));
        deadlines.ended(0);
        deadlines.moved(0, at(5));
        assert_eq!(deadlines.pass(at(2), |_| Some(at(5))), None);
        assert_eq!(deadlines.pass(at(5), |_| Some(at(5))), Some(0));
    }
}
