//! How others learn that a task has ended: the join word.
//!
//! ```text
//!  EMPTY ──wait──▶ token ──finish──▶ DONE     the finisher has the token and wakes it
//!    │  ◀──leave──┘
//!    ├──detach──▶ DETACHED ──finish──▶ DONE   the finisher drops the result
//!    └──finish──▶ DONE                        the handle finds the result
//! ```
//!
//! There is one handle, so at most one waiter. Each edge is one atomic exchange; whoever comes second learns what the first did and
//! does the rest: the result is dropped by the handle or by the finisher, never by both and never by the
//! last reference (which any thread may hold, while the result need not be `Send`).
//!
//! Beside each of the states but `DONE` the bit `WATCHED` may stand: somebody is in the list of [watchers](super::watchers), which the finisher then has to tell. It
//! comes with the same exchange that says all the rest, so a task that nobody watches pays nothing for it. Once set it stays, though the list may be empty again.

use super::sync::{AtomicUsize, Ordering};
use fibra_driver::Token;

const EMPTY: usize = 0;
const DONE: usize = 1;
const DETACHED: usize = 2;
/// Tokens are addresses of headers, whose alignment leaves three bits.
const WATCHED: usize = 4;

#[derive(Debug)]
pub(crate) struct JoinWord(AtomicUsize);

/// What the finisher has to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) struct Finish {
    pub(crate) handle: Handle,
    /// Tell the watchers.
    pub(crate) watched: bool,
}

/// What the finisher has to do about the handle.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Handle {
    /// Nobody waits yet; a handle is there.
    Idle,
    /// Wake this waiter.
    Waits(Token),
    /// The handle is gone: drop the result.
    Gone,
}

/// What the handle has to do that goes.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Detach {
    /// The task has not ended, and will drop its result.
    Nothing,
    /// The same; and watchers may have been left that only the handle wanted.
    Watched,
    /// The task has ended: drop the result.
    Drop,
}

impl JoinWord {
    pub(crate) fn new() -> JoinWord {
        JoinWord(AtomicUsize::new(EMPTY))
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.0.load(Ordering::Acquire) == DONE
    }

    /// The handle's side: waits. True when the token was left; false when the task has ended.
    #[inline]
    pub(crate) fn wait(&self, token: Token) -> bool {
        debug_assert!(
            token.0 > WATCHED && token.0 & (DONE | DETACHED | WATCHED) == 0,
            "a token is an address"
        );
        self.replace(EMPTY, token.0)
    }

    /// The handle's side: leaves. True when the token was taken back; false when the finisher has it, and its wake-up is on the way.
    pub(crate) fn leave(&self, token: Token) -> bool {
        self.replace(token.0, EMPTY)
    }

    /// The handle goes.
    #[inline]
    pub(crate) fn detach(&self) -> Detach {
        match self.0.compare_exchange(EMPTY, DETACHED, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Detach::Nothing,
            Err(DONE) => Detach::Drop,
            Err(_) if self.replace_watched(EMPTY, DETACHED) => Detach::Watched,
            Err(_) => Detach::Drop,
        }
    }

    /// Somebody has come into the list of watchers. True when the finisher will look there; false when the task has ended, so that it may not.
    pub(crate) fn watch(&self) -> bool {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            if now == DONE {
                return false;
            }
            if now & WATCHED != 0 {
                return true;
            }
            match self.0.compare_exchange_weak(now, now | WATCHED, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(actual) => now = actual,
            }
        }
    }

    /// The finisher's side, once, after the result was stored.
    #[inline]
    pub(crate) fn finish(&self) -> Finish {
        let before = self.0.swap(DONE, Ordering::AcqRel);
        let handle = match before & !WATCHED {
            EMPTY => Handle::Idle,
            DETACHED => Handle::Gone,
            token => Handle::Waits(Token(token)),
        };
        Finish { handle, watched: before & WATCHED != 0 }
    }

    /// The handle's side: from one state to another, watched or not. False when the task has ended.
    #[inline]
    fn replace(&self, from: usize, to: usize) -> bool {
        match self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(DONE) => false,
            Err(_) => self.replace_watched(from, to),
        }
    }

    /// The same when it is watched, which it is for good: the one thing that others than the handle and the finisher change.
    #[cold]
    fn replace_watched(&self, from: usize, to: usize) -> bool {
        self.0.compare_exchange(from | WATCHED, to | WATCHED, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
