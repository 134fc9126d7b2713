//! Looking for a while before sleeping.
//!
//! To fall asleep in the kernel and to be woken costs some microseconds on both sides, more on a virtual machine, whose cores halt. What another
//! core is about to do is often done sooner than that; so who would sleep looks first, for about as long as the sleep would cost.
//! On a machine with one core that is never worth it: nobody else runs meanwhile.

use rustix::thread::sched_getaffinity;
use std::cell::Cell;
use std::hint;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;

/// How often is looked, each time after twice as many pauses of the processor: 127 pauses, two to six microseconds.
const LOOKS: u32 = 7;

/// How often the core is offered to other threads then, with a look after each.
const OFFERS: u32 = 3;

/// Looks for a while whether `over`. False when it is time to sleep.
pub(crate) fn until(over: impl Fn() -> bool) -> bool {
    if cfg!(loom) || !is_worthwhile() {
        return over();
    }
    for look in 0..LOOKS {
        if over() {
            return true;
        }
        (0..1 << look).for_each(|_| hint::spin_loop());
    }
    for _ in 0..OFFERS {
        if over() {
            return true;
        }
        thread::yield_now();
    }
    over()
}

/// Whether a worker looks for mail before it sleeps in its driver.
///
/// It does so only while that is worth it: a worker whose sleeps are ended by sockets and timers never looks. Once a letter has ended a sleep it looks
/// before the next one; and does so until no letter comes meanwhile. Then it waits for that many more sleeps that a letter ends, before it looks again, as it has
/// failed in a row: 1, 3, 7, up to 63.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    expectant: Cell<bool>,
    failed: Cell<u32>,
    sleeps_left: Cell<u32>,
}

impl Lookout {
    /// Looks for a while whether something has `come`, if that may be worth it.
    #[inline]
    pub(crate) fn look(&self, come: impl Fn() -> bool) -> bool {
        if !self.expectant.get() {
            return false;
        }
        if until(come) {
            self.failed.set(0);
            return true;
        }
        self.expectant.set(false);
        self.failed.set((self.failed.get() * 2 + 1).min(63));
        self.sleeps_left.set(self.failed.get());
        false
    }

    /// A letter has ended a sleep.
    #[inline]
    pub(crate) fn note_letter(&self) {
        match self.sleeps_left.get() {
            0 => self.expectant.set(is_worthwhile()),
            left => self.sleeps_left.set(left - 1),
        }
    }
}

/// Whether this process has more than one core.
pub(crate) fn is_worthwhile() -> bool {
    static CORES: AtomicU8 = AtomicU8::new(0);
    match CORES.load(Ordering::Relaxed) {
        0 => {
            let cores = sched_getaffinity(None).map_or(1, |cores| cores.count());
            CORES.store(cores.clamp(1, 2) as u8, Ordering::Relaxed);
            cores > 1
        }
        cores => cores > 1,
    }
}
