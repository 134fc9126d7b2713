//! How one context learns that a task has ended: the join word.
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

use super::sync::{AtomicUsize, Ordering};
use fibra_driver::Token;

const EMPTY: usize = 0;
const DONE: usize = 1;
const DETACHED: usize = 2;

#[derive(Debug)]
pub(crate) struct JoinWord(AtomicUsize);

/// What the finisher has to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Finish {
    /// Nobody waits yet; a handle is there.
    Nobody,
    /// Wake this waiter.
    Wake(Token),
    /// The handle is gone: drop the result.
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
        debug_assert!(token.0 > DETACHED, "a token is an address");
        self.0.compare_exchange(EMPTY, token.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The handle's side: leaves. True when the token was taken back; false when the finisher has it, and its wake-up is on the way.
    pub(crate) fn leave(&self, token: Token) -> bool {
        self.0.compare_exchange(token.0, EMPTY, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The handle goes. True when the task has ended, so that the handle has to drop the result.
    #[inline]
    pub(crate) fn detach(&self) -> bool {
        self.0.compare_exchange(EMPTY, DETACHED, Ordering::AcqRel, Ordering::Acquire).is_err()
    }

    /// The finisher's side, once, after the result was stored.
    #[inline]
    pub(crate) fn finish(&self) -> Finish {
        match self.0.swap(DONE, Ordering::AcqRel) {
            EMPTY => Finish::Nobody,
            DETACHED => Finish::Drop,
            token => Finish::Wake(Token(token)),
        }
    }
}
