//! [`select`]: the first of several that can be done is done.
//!
//! ```text
//!   ┌─▶ nothing of ours waits anywhere: try the arms, in random order ──── one is done ──▶ it
//!   │   put a waiter into each arm's list, all with one claim
//!   │      │ one could be done by now                │ none
//!   │      ▼                                         ▼
//!   │   win the own claim                          park ──Woken──▶ out of the other lists ──▶ the arm that the claim names
//!   │   │won        │lost: the wake-up is coming     │TimedOut, Cancelled
//!   │   │           ▼                                ▼
//!   │   │        park until woken ──▶ as Woken     win the own claim
//!   │   ▼                                          │won                             │lost: as above
//!   └── out of all lists ◀───────────── a timer ───┴──▶ out of all lists ──▶ the time is up, or unwind
//! ```
//!
//! Whoever would serve one of the waiters has to win the claim first ([`crate::sync::wait_list`]), so of all who might one does, and wakes the context once. To stop waiting
//! the context wins its claim itself: then nobody serves it, and nobody has to be waited for.
//!
//! A context that waits takes nothing and gives nothing: two that both wait in several lists would have to win two claims at once. One that finds, while it puts its waiters
//! in, that something can be done, withdraws them all and begins again. So whoever serves has no waiters, and wins one claim. A partner that is found so
//! may have withdrawn as well, when both begin again at the same time; they do so in random orders, and meet soon.
//!
//! A context that both puts into and gets from one rendezvous does not serve itself: it has no waiters while it tries, and its look for others leaves
//! out those with its own claim ([`Guard::has_other`](crate::sync::wait_list::Guard::has_other)).
//!
//! # More arms
//! What else can be waited for becomes [`Selectable`] by an [`Arm`]. For what comes to one context only (an item to a receiver), or stays as it is once it has happened (an
//! event, the end of a coroutine), [`When`](super::When) does all that: it needs a list in which those who wait stand, and the question whether it is there.

use super::by_order::Patience;
use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::{Worker, or_abort};
use crate::sync::wait_list::Claim;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

/// What [`select`] can choose:
///
/// | | made by |
/// |---|---|
/// | an item from a queue | [`select_get`](super::QueueBy::select_get) |
/// | an item into a queue | [`select_put`](super::QueueBy::select_put) |
/// | an item from a channel | [`oneshot`](super::oneshot::Receiver::select_recv), [`broadcast`](super::broadcast::Receiver::select_recv) |
/// | a new value | [`watch`](super::watch::Receiver::select_changed) |
/// | the end of a coroutine, thread or job | [`JoinHandle::select_join`](crate::JoinHandle::select_join) |
/// | an event | [`Event::select_wait`](crate::sync::Event::select_wait) |
/// | permits of a semaphore | [`Semaphore::select_acquire`](crate::sync::Semaphore::select_acquire) |
/// | a moment | [`after`](super::after), [`at`](super::at) |
pub trait Selectable: Arm {}

/// What a [`Selectable`] does; out of reach, since it goes by the rules of waiters.
pub trait Arm {
    /// Does it, if that needs no wait. What it did before, and nobody has asked for, counts as well.
    fn try_now(&mut self) -> bool;

    /// When it can be done, if only the clock decides that.
    fn due(&self) -> Option<Instant> {
        None
    }

    /// Makes a waiter for the calling context.
    fn begin(&mut self, claim: &Claim, index: u32);

    /// Puts the waiter into its list, unless it might be done by now. Whether there is nothing to be done but wait.
    ///
    /// # Safety
    /// The arm is not moved, nor borrowed mutably, before [`leave`](Self::leave) was called; and until the wake-up, if the claim was won by way of this arm. The claim is
    /// there as long.
    unsafe fn join(&self, claim: &Claim) -> bool;

    /// Takes the waiter out of its list, if it is there.
    fn leave(&self);

    /// The wait is over; if it was this arm that was served, the waiter has what it was given.
    fn end(&mut self, served: bool);
}

/// By this index a context wins its own claim.
const WITHDRAWN: u32 = u32::MAX - 1;

/// Waits until one of the arms can be done, does it, and returns its index. Among several that can be done it takes any, by chance; the others are not
/// touched.
///
/// The arm then has the outcome ([`Get::take`](super::Get::take), …), and can be used again. The macro [`select!`](crate::select!) does all that in one.
///
/// ```
/// use fibra::queue::{Queue, after, select};
/// use std::time::Duration;
///
/// let (letters, orders) = (Queue::<&str>::unbounded(), Queue::<u32>::unbounded());
/// orders.put(7).unwrap();
///
/// let (mut letter, mut order) = (letters.select_get(), orders.select_get());
/// let mut timer = after(Duration::from_secs(1));
/// assert_eq!(select(&mut [&mut letter, &mut order, &mut timer]), 1);
/// assert_eq!(order.take(), Some(Ok(7)));
/// assert_eq!(letter.take(), None);
/// ```
///
/// # Panics
/// Without arms there is nothing to wait for.
pub fn select(arms: &mut [&mut dyn Selectable]) -> usize {
    assert!(!arms.is_empty(), "select without an arm would wait for ever");
    choose(arms, Patience::Endless).expect("there is no deadline")
}

/// Does one of the arms if that needs no wait.
pub fn try_select(arms: &mut [&mut dyn Selectable]) -> Option<usize> {
    choose(arms, Patience::None)
}

/// Waits for at most `timeout`; `None` when none of the arms could be done in that time.
pub fn select_timeout(arms: &mut [&mut dyn Selectable], timeout: Duration) -> Option<usize> {
    choose(arms, Patience::For(timeout))
}

/// Waits until `deadline` at most; `None` when none of the arms could be done by then.
pub fn select_deadline(arms: &mut [&mut dyn Selectable], deadline: Instant) -> Option<usize> {
    choose(arms, Patience::Until(deadline))
}

fn choose(arms: &mut [&mut dyn Selectable], patience: Patience) -> Option<usize> {
    let mut deadline = None;
    loop {
        for index in Shuffled::new(arms.len()) {
            if arms[index].try_now() {
                if let Some(worker) = Worker::here() {
                    worker.spend();
                }
                return Some(index);
            }
        }
        let deadline = match deadline {
            Some(deadline) => deadline,
            None => *deadline.insert(patience.deadline()?),
        };
        if deadline.is_some_and(|deadline| deadline <= crate::time::now()) {
            return None;
        }
        let claim = Claim::new();
        arms.iter_mut().zip(0..).for_each(|(arm, index)| arm.begin(&claim, index));
        let ended = wait(arms, &claim, deadline);
        for (index, arm) in arms.iter_mut().enumerate() {
            arm.end(ended == Ended::Served(index));
        }
        match ended {
            Ended::Served(index) => return Some(index),
            Ended::Withdrawn => {}
            Ended::Cancelled => cancel::unwind(),
        }
    }
}

/// How a wait for several has ended.
#[derive(PartialEq, Eq)]
enum Ended {
    /// This arm has been served.
    Served(usize),
    /// None has; one of them might be done, or the time is up.
    Withdrawn,
    /// The context was asked to stop.
    Cancelled,
}

/// Waits in all the lists. When this returns no waiter is in any.
fn wait(arms: &[&mut dyn Selectable], claim: &Claim, deadline: Option<Instant>) -> Ended {
    let deadline = arms.iter().filter_map(|arm| arm.due()).chain(deadline).min();
    or_abort(|| {
        let refused = arms.iter().position(|arm| {
            // SAFETY: `arms` is borrowed, and shared, until this function returns; all arms leave before, and the wake-up has come if the claim was won by
            // another. The claim is there as long. A panic aborts; a stack that is suspended for ever is never freed, nor is what it borrows.
            !unsafe { arm.join(claim) }
        });
        let reason = match refused {
            None => {
                park::waits_for(WaitsFor::Select, arms.len());
                park::park(deadline)
            }
            Some(_) => Reason::TimedOut,
        };
        if reason != Reason::Woken && !claim.win(WITHDRAWN) {
            park::park_until_woken();
        }
        let served = claim.winner().filter(|&index| index != WITHDRAWN).map(|index| index as usize);
        // A waiter that was served is in no list any more.
        let joined = &arms[..refused.unwrap_or(arms.len())];
        joined.iter().zip(0..).filter(|&(_, index)| Some(index) != served).for_each(|(arm, _)| arm.leave());
        match served {
            Some(index) => Ended::Served(index),
            None if reason == Reason::Cancelled => Ended::Cancelled,
            None => Ended::Withdrawn,
        }
    })
}

/// The numbers below some bound in random order; those past the first few as they come.
struct Shuffled {
    first: [u8; Shuffled::FEW],
    len: usize,
    next: usize,
    /// Where the others begin.
    start: usize,
}

impl Shuffled {
    const FEW: usize = 32;

    fn new(len: usize) -> Shuffled {
        let mut random = random();
        let mut first = std::array::from_fn(|index| index as u8);
        // Fisher and Yates.
        for last in (1..len.min(Shuffled::FEW)).rev() {
            first.swap(last, (random % (last as u64 + 1)) as usize);
            random = random.rotate_right(7).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        Shuffled { first, len, next: 0, start: (random % len.max(1) as u64) as usize }
    }
}

impl Iterator for Shuffled {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let at = self.next;
        if at >= self.len {
            return None;
        }
        self.next += 1;
        Some(if self.len <= Shuffled::FEW { self.first[at].into() } else { (self.start + at) % self.len })
    }
}

fn random() -> u64 {
    match Worker::here() {
        Some(worker) => worker.random(),
        // A model is repeated, and has to be the same each time.
        None if cfg!(loom) => 0,
        None => RandomState::new().build_hasher().finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once_and_each_comes_first_as_often_as_the_others() {
        for len in [0, 1, 2, 3, 7, 32, 33, 100] {
            let mut firsts = vec![0; len];
            for _ in 0..len * 200 {
                let mut order: Vec<_> = Shuffled::new(len).collect();
                firsts[order[0]] += 1;
                order.sort_unstable();
                assert!(order.into_iter().eq(0..len));
            }
            assert!(firsts.iter().all(|&times| (100..400).contains(&times)), "{firsts:?}");
        }
    }

    #[test]
    fn of_three_every_two_come_in_either_order_as_often() {
        let mut before = [[0; 3]; 3];
        for _ in 0..6000 {
            let order: Vec<_> = Shuffled::new(3).collect();
            for (one, other) in [(0, 1), (0, 2), (1, 2)] {
                before[order[one]][order[other]] += 1;
            }
        }
        for (one, other) in [(0, 1), (0, 2), (1, 2)] {
            assert!((2500..3500).contains(&before[one][other]), "{before:?}");
        }
    }
}
