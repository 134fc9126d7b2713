//! How other threads reach a worker that may be asleep.
//!
//! ```text
//!  sender                               worker
//!  1  lock; push; full = true; unlock   a  asleep = true
//!  2  if asleep.swap(false): ring       b  full? then asleep = false, and go on with the mail
//!                                       c  sleep in the driver
//!                                       d  asleep = false
//! ```
//!
//! **No letter is slept over.** 1 and 2, a and b are sequentially consistent: either the sender's swap comes after a, and then it rings
//! (and a ring before c makes c return at once: the driver's notifier keeps it); or it comes before a, and
//! then 1 came before b, which sees the letter. **One ring a sleep:** the swap lets only one of many senders ring, so a burst of letters costs
//! one system call, and none while the worker is awake.

use super::lock::Lock;
use super::sync::{AtomicBool, Ordering, in_order};

/// Letters for one owner, from any thread.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    letters: Lock<Vec<T>>,
    full: AtomicBool,
    asleep: AtomicBool,
}

/// What a sender has to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Ring {
    /// The owner sleeps: ring its driver's notifier.
    Yes,
    /// It is awake, or somebody else rings.
    No,
}

impl<T> Mailbox<T> {
    pub(crate) fn new() -> Self {
        Mailbox {
            letters: Lock::new(Vec::new()),
            full: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
        }
    }

    /// Sends a letter.
    pub(crate) fn send(&self, letter: T) -> Ring {
        {
            let mut letters = self.letters.lock();
            letters.push(letter);
            self.full.store(true, Ordering::SeqCst);
        }
        self.rouse()
    }

    /// Wakes the owner without a letter.
    #[inline]
    pub(crate) fn rouse(&self) -> Ring {
        in_order();
        if self.asleep.swap(false, Ordering::SeqCst) { Ring::Yes } else { Ring::No }
    }

    /// Whether the owner sleeps, or is about to.
    #[inline]
    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::SeqCst)
    }

    /// Whether there is mail.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Takes all letters: `into`, which must be empty, changes places with them.
    pub(crate) fn take(&self, into: &mut Vec<T>) {
        let mut letters = self.letters.lock();
        self.full.store(false, Ordering::SeqCst);
        std::mem::swap(&mut *letters, into);
    }

    /// Announces sleep. False when there is mail: do not sleep.
    pub(crate) fn lie_down(&self) -> bool {
        // An exchange and not a store: if a sender's exchange came before, this one reads its value, and so its letter is seen.
        self.asleep.swap(true, Ordering::SeqCst);
        in_order();
        if self.full.load(Ordering::SeqCst) {
            self.get_up();
            return false;
        }
        true
    }

    /// Ends sleep.
    pub(crate) fn get_up(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}
