//! One operation on its way through the kernel, as whoever waits for it sees it.
//!
//! ```text
//!            start                        the kernel answers            start, finish
//!   ready ──────────▶ under way ─────────────────────────▶ answered ──────────────────▶ ready
//!                         │   ▲
//!                  cancel │   │ (the cancellation's own answer is no answer to the operation; after ENOENT
//!                         ▼   │  it is repeated, for as long as the operation is under way)
//!                    cancelling ─────────────────────────▶ answered
//! ```
//!
//! # Why borrowed buffers are sound
//! An operation that is under way lends its buffers to the kernel, and [`Flight`] is where the answer is put: both stand on the stack of the
//! context that waits. The only way out of *under way* is the kernel's answer, which a driver takes out of its completion queue and after which the kernel does
//! not touch the buffers any more. So as long as the context neither returns nor unwinds before its token came back, nothing that was lent is used
//! by another, or gone. That is what [`Driver::start`](crate::Driver::start) asks of its caller. Whatever ends a wait early (a timeout, a request to stop,
//! the end of the runtime) therefore asks the kernel to cancel and goes on waiting, for the answer, which then is either a result, and is returned,
//! or `ECANCELED`. A context that is never resumed again keeps its stack for ever.

use crate::Token;
use std::cell::Cell;

/// Where the kernel's answer to one operation is put, and whose token then comes back.
///
/// It belongs to one thread, that of the driver. It stays in its place while an operation is under way.
#[derive(Debug)]
#[repr(align(16))]
pub struct Flight {
    token: Token,
    stage: Cell<Stage>,
    answer: Cell<Answer>,
}

/// How far an operation has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The kernel has nothing of it.
    Ready,
    /// The kernel has the operation, and what it borrows.
    UnderWay,
    /// The kernel has been asked to tell when an attempt is worth while.
    Polling,
    /// There is an answer to the operation.
    Answered,
    /// There is an answer to the question of readiness.
    Polled,
}

/// What a completion says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    /// As a system call's: a count or a descriptor, or the error negated.
    pub(crate) result: i32,
    /// `IORING_CQE_F_*`.
    pub(crate) flags: u32,
}

impl Flight {
    /// For the context whose token this is.
    #[inline]
    pub fn new(token: Token) -> Flight {
        Flight { token, stage: Cell::new(Stage::Ready), answer: Cell::default() }
    }

    /// Whose it is.
    #[inline]
    pub fn token(&self) -> Token {
        self.token
    }

    #[inline]
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    #[inline]
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }

    /// The kernel has answered.
    #[inline]
    pub(crate) fn land(&self, answer: Answer) {
        self.answer.set(answer);
        self.stage.set(match self.stage.get() {
            Stage::UnderWay => Stage::Answered,
            Stage::Polling => Stage::Polled,
            Stage::Ready | Stage::Answered | Stage::Polled => unreachable!("one answer for each submission"),
        });
    }

    /// Takes the answer.
    #[inline]
    pub(crate) fn take(&self) -> Answer {
        self.stage.set(Stage::Ready);
        self.answer.get()
    }
}
