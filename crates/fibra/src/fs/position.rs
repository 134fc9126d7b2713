//! The position of an open file, and who may wait for it.
//!
//! The kernel lets one call at a time use a file's position, and a call that must not wait for the disk waits nevertheless for
//! another that does (`f_pos_lock`; `RWF_NOWAIT` does not look at it). A worker must not get into that line. So there are quick uses, on
//! the worker, and slow ones, on a thread that may block:
//!
//! ```text
//!   quick   add QUICK; a slow one is there? subtract it, and become slow : make the call
//!   slow    add SLOW; while a quick one is there, wait for it            : make the call
//! ```
//!
//! Both counts are in one word, so of a quick and a slow use that begin together one sees the other. Slow ones do not wait for one another
//! here; the kernel sees to that.

use std::sync::atomic::{AtomicU64, Ordering};

/// One slow use; their number is in the lower half of the word.
const SLOW: u64 = 1;
/// One quick use; their number is in the upper half of the word.
const QUICK: u64 = 1 << 32;

/// Counts the calls that use a file's position.
#[derive(Debug, Default)]
pub(super) struct Position(AtomicU64);

/// A call that uses the position is being made.
#[must_use]
pub(super) struct Use<'a> {
    position: &'a Position,
    one: u64,
}

impl Position {
    /// A use that does not wait: `None` while another may be waiting for the disk.
    pub(super) fn quick(&self) -> Option<Use<'_>> {
        let before = self.0.fetch_add(QUICK, Ordering::Acquire);
        let quick = Use { position: self, one: QUICK };
        before.is_multiple_of(QUICK).then_some(quick)
    }

    /// A use that may take its time, on a thread that may block.
    pub(super) fn slow(&self) -> Use<'_> {
        let mut now = self.0.fetch_add(SLOW, Ordering::Acquire);
        let slow = Use { position: self, one: SLOW };
        while now >= QUICK {
            // For the length of one system call that does not wait.
            std::thread::yield_now();
            now = self.0.load(Ordering::Acquire);
        }
        slow
    }
}

impl Drop for Use<'_> {
    fn drop(&mut self) {
        self.position.0.fetch_sub(self.one, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_use_gives_way_to_a_slow_one() {
        let position = Position::default();
        let slow = position.slow();
        assert!(position.quick().is_none());
        drop(slow);
        assert!(position.quick().is_some());
    }

    #[test]
    fn quick_uses_and_slow_uses_each_go_together() {
        let position = Position::default();
        let (one, other) = (position.quick(), position.quick());
        assert!(one.is_some() && other.is_some());
        drop((one, other));
        let _slow = (position.slow(), position.slow());
    }

    #[test]
    fn a_slow_use_waits_for_the_quick_ones() {
        use std::sync::atomic::AtomicBool;
        use std::thread;
        let position = Position::default();
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let quick = position.quick().unwrap();
            scope.spawn(|| {
                let _slow = position.slow();
                assert!(over.load(Ordering::Acquire), "the quick use was still there");
            });
            while position.0.load(Ordering::Acquire).is_multiple_of(QUICK) {
                thread::yield_now();
            }
            over.store(true, Ordering::Release);
            drop(quick);
        });
    }
}
