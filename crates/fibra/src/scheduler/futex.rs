//! Sleeping in the kernel while a word has a value: `futex(2)`.

use super::sync::AtomicU32;
use std::time::Duration;

#[cfg(loom)]
pub(super) use model::{wait, wake};

/// Waits while the word is `value`; may return early for many reasons.
#[cfg(not(loom))]
pub(super) fn wait(word: &AtomicU32, value: u32, timeout: Option<Duration>) {
    use rustix::thread::futex::{Flags, Timespec, wait};
    let timeout = timeout.map(|timeout| Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    });
    let _ = wait(word, Flags::PRIVATE, value, timeout.as_ref());
}

/// Wakes one who waits.
#[cfg(not(loom))]
pub(super) fn wake(word: &AtomicU32) {
    use rustix::thread::futex::{Flags, wake};
    let _ = wake(word, Flags::PRIVATE, 1);
}

/// Models do not reach the kernel: who sleeps is in a list, and on one condition variable, so that a wake-up which is lost is a deadlock, which loom sees.
#[cfg(loom)]
mod model {
    use super::{AtomicU32, Duration};
    use loom::sync::atomic::Ordering;
    use loom::sync::{Condvar, Mutex};
    use std::ptr;
    use std::sync::PoisonError;

    loom::lazy_static! {
        /// The next number, and of each sleeper the word's address and its number.
        static ref SLEEPERS: (Mutex<(u32, Vec<(usize, u32)>)>, Condvar) = (Mutex::default(), Condvar::new());
    }

    pub(in super::super) fn wait(word: &AtomicU32, value: u32, _: Option<Duration>) {
        let mut sleepers = SLEEPERS.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The kernel compares under a lock of its own, which who wakes takes, too.
        if word.load(Ordering::SeqCst) != value {
            return;
        }
        let sleeper = (ptr::from_ref(word).addr(), sleepers.0);
        sleepers.0 += 1;
        sleepers.1.push(sleeper);
        while sleepers.1.contains(&sleeper) {
            sleepers = SLEEPERS.1.wait(sleepers).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(in super::super) fn wake(word: &AtomicU32) {
        let mut sleepers = SLEEPERS.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = ptr::from_ref(word).addr();
        if let Some(first) = sleepers.1.iter().position(|sleeper| sleeper.0 == address) {
            sleepers.1.remove(first);
            SLEEPERS.1.notify_all();
        }
    }
}
