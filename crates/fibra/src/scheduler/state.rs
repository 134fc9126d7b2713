//! The parking word: the one place where going to sleep meets being woken.
//!
//! Every context, coroutine or OS thread, has one. Its bits:
//!
//! ```text
//!  PARKED     the context sleeps (or is about to) and nobody has yet taken it upon himself to wake it
//!  ASLEEP     it is an OS thread, and has gone to the kernel for that     (until then it looks at the word itself)
//!  ON_TOKEN ON_CANCEL ON_KILL   which signals, besides Wake and Timeout, end this sleep
//!  WAKE       a Wake came while the context did not sleep            (exactly one Wake for each wait that was not left)
//!  TOKEN      `unpark` was called                                    (kept until a `park` takes it)
//!  CANCEL     somebody may have asked this context to stop           (kept until it has looked who, and for what: `park`)
//!  KILL       its runtime is ending                                  (sticky)
//!  REASON     why the last sleep ended                               (two bits)
//! ```
//!
//! ```text
//!            prepare                       wake(signal)                      reason
//!  running ───────────▶ PARKED, ON_* set ───────────────▶ REASON set ────────────────▶ running
//!     │                                  PARKED, ON_* clear;
//!     │                                  this waker enqueues the context
//!     └─ a bit is there already: no sleep, the reason at once
//! ```
//!
//! Every transition is one compare-exchange, so for each sleep exactly one waker sees `PARKED` go: it, and nobody else, puts
//! the context into its worker's queue ([`Wake::Enqueue`]), and its reason is the one that counts. A signal that comes when the context does
//! not sleep leaves its bit for the next `prepare`; only a timeout leaves none, for its wait is over.
//!
//! An OS thread that has prepared to sleep first looks at its word for a while ([`State::is_parked`]), and only then goes to sleep in the kernel
//! ([`State::fall_asleep`]). Who ends the sleep before that has nothing more to do. The kernel compares the word with what `fall_asleep` has left in it, so
//! a wake-up between the two is not slept over.
//!
//! **`Wake` is exact.** A context leaves a primitive's wait queue either because it was taken out by a waker, who then sends one `Wake`; or
//! because it took itself out, and then no waker has its token. If it wants to leave (timeout, cancel) and finds
//! that it has been taken out already, it first parks until that `Wake` arrives. So no wake-up is ever on its way
//! to a context that has gone on, and a waker needs no reference count to keep the context alive: it cannot end before it has the wake-up.

use super::sync::{AtomicU32, Ordering};

const PARKED: u32 = 1;
const WAKE: u32 = 1 << 1;
const TOKEN: u32 = 1 << 2;
const CANCEL: u32 = 1 << 3;
const KILL: u32 = 1 << 4;
const ON_TOKEN: u32 = 1 << 5;
const ON_CANCEL: u32 = 1 << 6;
const ON_KILL: u32 = 1 << 7;
const REASON: u32 = 0b11 << 8;
const TIMED_OUT: u32 = 0b01 << 8;
const CANCELLED: u32 = 0b10 << 8;
const ASLEEP: u32 = 1 << 10;
/// All that says how a sleep may end.
const SLEEP: u32 = PARKED | ON_TOKEN | ON_CANCEL | ON_KILL | ASLEEP;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// What was waited for has happened.
    Woken,
    /// The deadline came first.
    TimedOut,
    /// The context was asked to stop.
    Cancelled,
}

/// Who wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The primitive that is waited in.
    Wake,
    /// The timer of the wait.
    Timeout,
    /// `unpark`.
    Token,
    /// A request to stop.
    Cancel,
    /// The end of the runtime.
    Kill,
}

/// What ends a sleep besides `WAKE` and `TIMEOUT`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    /// An `unpark` token.
    pub(crate) token: bool,
    /// A request to stop.
    pub(crate) cancel: bool,
    /// The end of the runtime.
    pub(crate) kill: bool,
    /// The requests are left out only for the moment: [`State::allow`] follows.
    pub(crate) put_off: bool,
}

/// What the waker has to do.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Wake {
    /// Queue the context: this call ended its sleep.
    Enqueue,
    /// Nothing, and do not touch the context any more.
    Nothing,
}

/// The answer of [`State::prepare`].
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Prepare {
    /// Sleep now: a waker will enqueue the context.
    Sleep,
    /// There is a reason already.
    Ready(Reason),
}

impl Signal {
    /// The bits of which one has to be set for the signal to end a sleep.
    #[inline]
    const fn ends(self) -> u32 {
        match self {
            Signal::Wake | Signal::Timeout => PARKED,
            Signal::Token => ON_TOKEN,
            Signal::Cancel => ON_CANCEL,
            Signal::Kill => ON_KILL,
        }
    }

    /// The bits that it leaves when it ends a sleep.
    #[inline]
    const fn reason(self) -> u32 {
        match self {
            Signal::Wake | Signal::Token => 0,
            Signal::Timeout => TIMED_OUT,
            Signal::Cancel => CANCELLED | CANCEL,
            Signal::Kill => CANCELLED | KILL,
        }
    }

    /// The bit that it leaves otherwise.
    #[inline]
    const fn pending(self) -> u32 {
        match self {
            Signal::Wake => WAKE,
            Signal::Timeout => 0,
            Signal::Token => TOKEN,
            Signal::Cancel => CANCEL,
            Signal::Kill => KILL,
        }
    }
}

impl Mode {
    #[inline]
    const fn bits(self) -> u32 {
        (if self.token { ON_TOKEN } else { 0 })
            | (if self.cancel { ON_CANCEL } else { 0 })
            | (if self.kill { ON_KILL } else { 0 })
    }
}

#[derive(Debug)]
pub(crate) struct State(AtomicU32);

impl State {
    pub(crate) fn new() -> State {
        State(AtomicU32::new(0))
    }

    /// Goes to sleep, unless something has come already. Called by the context itself.
    #[inline]
    pub(crate) fn prepare(&self, mode: Mode) -> Prepare {
        let mut now = self.0.load(Ordering::Acquire);
        loop {
            debug_assert_eq!(now & SLEEP, 0, "a context parks once at a time");
            let (next, answer) = match pending(now, mode.bits()) {
                Some((reason, taken)) => (now & !taken, Prepare::Ready(reason)),
                None => ((now & !REASON) | PARKED | mode.bits(), Prepare::Sleep),
            };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return answer,
                Err(actual) => now = actual,
            }
        }
    }

    /// Delivers a signal. Any thread.
    #[inline]
    pub(crate) fn wake(&self, signal: Signal) -> Wake {
        match self.deliver(signal) {
            Some(_) => Wake::Enqueue,
            None => Wake::Nothing,
        }
    }

    /// Delivers a signal to an OS thread. Whether it sleeps in the kernel, and is to be woken there.
    #[inline]
    pub(crate) fn wake_thread(&self, signal: Signal) -> bool {
        self.deliver(signal).is_some_and(|before| before & ASLEEP != 0)
    }

    /// The word before, if this has ended a sleep.
    #[inline]
    fn deliver(&self, signal: Signal) -> Option<u32> {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            let ends = now & PARKED != 0 && now & signal.ends() != 0;
            let next = if ends { (now & !SLEEP) | signal.reason() } else { now | signal.pending() };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(before) => return ends.then_some(before),
                Err(actual) => now = actual,
            }
        }
    }

    /// Lets more signals end a sleep that has begun already. For the worker of a context that sleeps, or has been woken and not run yet.
    #[inline]
    pub(crate) fn allow(&self, mode: Mode) -> Wake {
        let mut now = self.0.load(Ordering::Relaxed);
        loop {
            if now & PARKED == 0 {
                return Wake::Nothing;
            }
            let on = (now & SLEEP) | mode.bits();
            let ends = matches!(pending(now, on), Some((Reason::Cancelled, _)));
            let next = if ends { (now & !SLEEP) | CANCELLED } else { now | on };
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return if ends { Wake::Enqueue } else { Wake::Nothing },
                Err(actual) => now = actual,
            }
        }
    }

    /// Why the last sleep ended. Called by the context itself, when it runs again.
    #[inline]
    pub(crate) fn reason(&self) -> Reason {
        let now = self.0.load(Ordering::Acquire);
        debug_assert_eq!(now & SLEEP, 0, "a context runs only after a waker has ended its sleep");
        match now & REASON {
            TIMED_OUT => Reason::TimedOut,
            CANCELLED => Reason::Cancelled,
            _ => Reason::Woken,
        }
    }

    /// Whether the context sleeps. A thread looks at it until it does not.
    #[inline]
    pub(crate) fn is_parked(&self) -> bool {
        self.0.load(Ordering::Acquire) & PARKED != 0
    }

    /// An OS thread whose sleep has not been ended is going to sleep in the kernel, for as long as the word is the one returned. Called by the context itself.
    pub(crate) fn fall_asleep(&self) -> Option<u32> {
        let mut now = self.0.load(Ordering::Acquire);
        while now & PARKED != 0 {
            let next = now | ASLEEP;
            match self.0.compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next),
                Err(actual) => now = actual,
            }
        }
        None
    }

    /// The word itself, for `futex(2)`.
    pub(crate) fn word(&self) -> &AtomicU32 {
        &self.0
    }

    /// Forgets that somebody asked the context to stop. Called by the context itself.
    pub(crate) fn clear_cancel(&self) {
        self.0.fetch_and(!CANCEL, Ordering::AcqRel);
    }

    /// Whether the runtime is ending.
    pub(crate) fn is_killed(&self) -> bool {
        self.0.load(Ordering::Relaxed) & KILL != 0
    }
}

/// A reason not to sleep that has come before, and the bit that it uses up. What was waited for counts more than a request to
/// stop, so that a result which is there is returned and not lost.
#[inline]
fn pending(now: u32, on: u32) -> Option<(Reason, u32)> {
    if now & WAKE != 0 {
        Some((Reason::Woken, WAKE))
    } else if now & TOKEN != 0 && on & ON_TOKEN != 0 {
        Some((Reason::Woken, TOKEN))
    } else if (now & CANCEL != 0 && on & ON_CANCEL != 0) || (now & KILL != 0 && on & ON_KILL != 0) {
        Some((Reason::Cancelled, 0))
    } else {
        None
    }
}
