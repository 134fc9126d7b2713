//! Looking for a while before sleeping.
//!
//! To fall asleep in the kernel and to be woken costs some microseconds on both sides, more on a virtual machine, whose cores halt. What another
//! core is about to do is often done sooner than that; so who would sleep looks first, for about as long as the sleep would cost.
//! On a machine with one core that is never worth it: nobody else runs meanwhile.
//!
//! Nobody offers his core to others meanwhile (`sched_yield`): on a machine that is busy with other programs whoever does so waits for all their slices, milliseconds, where one who has slept and is woken
//! is let in at once.
//!
//! Two who pass something to and fro, and who both sleep each time, stay like that if each looks for less long than it takes the other to be woken (25 µs on a virtual machine of two cores): neither ever finds
//! anything. So a worker that has a reason to look does so for longer than that ([`LONG`]), and rarely where it finds nothing.

use rustix::process::getpid;
use rustix::thread::sched_getaffinity;
use std::cell::Cell;
use std::hint;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

/// How often is looked, each time after twice as many pauses of the processor: 127 pauses, two to six microseconds.
const LOOKS: u32 = 7;

/// How long a worker looks that has a reason to.
pub(super) const LONG: Duration = Duration::from_micros(50);

/// Looks for a while whether `over`. False when it is time to sleep.
pub(crate) fn until(over: impl Fn() -> bool) -> bool {
    if !is_worthwhile() {
        return over();
    }
    for look in 0..LOOKS {
        if over() {
            return true;
        }
        (0..1 << look).for_each(|_| hint::spin_loop());
    }
    over()
}

/// Looks on until so much time has passed.
fn until_after(patience: Duration, over: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < patience {
        for _ in 0..8 {
            (0..8).for_each(|_| hint::spin_loop());
            if over() {
                return true;
            }
        }
    }
    over()
}

/// Whether a worker looks for mail before it sleeps in its driver.
///
/// It does so only while that is worth it: a worker whose sleeps are ended by sockets and timers never looks. Once a letter has ended a sleep it looks
/// before the next one, and does so until no letter comes soon. Once, but not twice in a row, *soon* is [`LONG`]: so long takes another to be woken that is with it the next time, but
/// who takes so long each time is better waited for asleep. Then some more sleeps have to be ended by a letter before it looks again: after each failure twice as
/// many, and one, up to 127; after each success half as many.
#[derive(Debug, Default)]
pub(crate) struct Lookout {
    expectant: Cell<bool>,
    /// The last letter took long.
    late: Cell<bool>,
    sleeps_left: Cell<u32>,
    sleeps_next: Cell<u32>,
}

impl Lookout {
    /// Whether looking may be worth it.
    #[inline]
    pub(crate) fn is_expectant(&self) -> bool {
        self.expectant.get()
    }

    /// Looks for a while whether something has `come`.
    pub(crate) fn look(&self, come: impl Fn() -> bool) -> bool {
        if until(&come) {
            self.late.set(false);
            self.sleeps_next.set(self.sleeps_next.get() / 2);
            return true;
        }
        let late = !self.late.get() && until_after(LONG, come);
        self.late.set(late);
        if !late {
            self.expectant.set(false);
            self.sleeps_next.set((self.sleeps_next.get() * 2 + 1).min(127));
            self.sleeps_left.set(self.sleeps_next.get());
        }
        late
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
    if cfg!(loom) {
        return false;
    }
    static CORES: AtomicU8 = AtomicU8::new(0);
    match CORES.load(Ordering::Relaxed) {
        0 => {
            // The main thread's: the calling one may have a core of its own.
            let cores = sched_getaffinity(Some(getpid())).map_or(1, |cores| cores.count());
            CORES.store(cores.clamp(1, 2) as u8, Ordering::Relaxed);
            cores > 1
        }
        cores => cores > 1,
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    /// How many of so many sleeps, each ended by a letter, were looked before, if that is found or not.
    fn looks(sleeps: u32, found: impl Fn(u32) -> bool) -> u32 {
        let (lookout, mut looks) = (Lookout::default(), 0);
        for sleep in 0..sleeps {
            let looked = Cell::new(false);
            let come = || {
                looked.set(true);
                found(sleep)
            };
            if !(lookout.is_expectant() && lookout.look(come)) {
                lookout.note_letter();
            }
            looks += u32::from(looked.get());
        }
        looks
    }

    #[test]
    fn whoever_finds_nothing_looks_ever_less() {
        let cores = u32::from(is_worthwhile());
        assert_eq!(looks(1, |_| true), 0, "nothing has come yet");
        assert_eq!(looks(1_000, |_| true), 999 * cores);
        // After 1, 3, 7, …, and then 127 sleeps.
        assert_eq!(looks(1_000, |_| false), 13 * cores);
        let half = looks(1_000, |sleep| sleep % 2 == 0);
        assert!(half < 500, "{half}");
    }

    #[test]
    fn whoever_is_always_late_is_waited_for_asleep() {
        if !is_worthwhile() {
            return;
        }
        let lookout = Lookout::default();
        let (mut found, mut slept) = (0, 0);
        for _ in 0..1_000 {
            let looks = Cell::new(0);
            // More looks than the short time has.
            let come = || {
                looks.set(looks.get() + 1);
                looks.get() > LOOKS + 3
            };
            if lookout.is_expectant() && lookout.look(come) {
                found += 1;
            } else {
                slept += 1;
                lookout.note_letter();
            }
        }
        assert!((1..=15).contains(&found), "{found} found, {slept} slept");
    }

    #[test]
    fn a_worker_that_is_woken_by_other_things_never_looks() {
        assert!(!Lookout::default().is_expectant());
    }

    #[test]
    fn looking_ends() {
        assert!(until(|| true));
        assert!(!until(|| false));
        assert!(!until_after(LONG, || false));
    }
}
