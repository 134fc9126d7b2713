//! The running context, as a handle: a coroutine, or an OS thread.

use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::{Reason, Signal};
use crate::scheduler::task::{Kind, TaskRef};
use crate::scheduler::waiting::WaitsFor;
use std::fmt;
use std::time::Duration;

/// A coroutine or an OS thread: whatever can run, and can wait.
///
/// ```
/// fibra::run(|| {
///     let main = fibra::current();
///     fibra::spawn(move || main.unpark());
///     fibra::park();
/// });
/// ```
#[derive(Clone)]
pub struct Context(pub(crate) TaskRef);

/// The context that is running.
pub fn current() -> Context {
    Context(park::current())
}

impl Context {
    /// Ends the context's [`park`], or else its next one: the token is kept, but not counted. As
    /// [`std::thread::Thread::unpark`].
    #[inline]
    pub fn unpark(&self) {
        // SAFETY: `self` holds a reference.
        unsafe { park::signal(self.0.ptr(), Signal::Token) };
    }

    /// A number that no other context of this process has or had.
    pub fn id(&self) -> u64 {
        self.0.header().id
    }

    /// The name it was given.
    pub fn name(&self) -> Option<&str> {
        self.0.header().name()
    }

    /// Whether it is a coroutine; else it is an OS thread, or a job of [`spawn_blocking`](crate::spawn_blocking).
    pub fn is_coroutine(&self) -> bool {
        self.0.header().kind == Kind::Coroutine
    }

    /// Whether it is a daemon, for which the runtime's end does not wait. A job of [`spawn_blocking`](crate::spawn_blocking), for which it never does, says here
    /// whether what it starts is one.
    pub fn is_daemon(&self) -> bool {
        self.0.header().is_daemon()
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("coroutine", &self.is_coroutine())
            .finish()
    }
}

impl PartialEq for Context {
    fn eq(&self, other: &Self) -> bool {
        self.id() == other.id()
    }
}

impl Eq for Context {}

/// Sleeps until [`Context::unpark`] is called, or was called since the last park.
///
/// Unlike std's it never returns for no reason.
pub fn park() {
    park::waits_for(WaitsFor::Unpark, 0);
    match park::park_for_token(None) {
        Reason::Woken | Reason::TimedOut => {}
        Reason::Cancelled => cancel::unwind(),
    }
}

/// The same for at most `timeout`; the reason tells which it was, [`Reason::Woken`] or [`Reason::TimedOut`].
pub fn park_timeout(timeout: Duration) -> Reason {
    park::waits_for(WaitsFor::Unpark, 0);
    match park::park_for_token(crate::time::deadline(timeout)) {
        Reason::Cancelled => cancel::unwind(),
        reason => reason,
    }
}

/// Lets the other coroutines of this worker run, and goes on when it is this one's turn again. On an OS thread it is
/// [`std::thread::yield_now`].
///
/// Those run that can run. Whether a timer is due, or a socket ready, a worker looks when nobody can run, and else after 64 turns, whosever they are. So who polls in a loop and
/// yields in between sees the time come and lets others be served, but up to 64 turns late; and where turns are long, so is that. What other threads wake or spawn here
/// comes with the next turn. (In a [simulation](crate::simulation), unless it runs in order, there is a look after each turn.)
#[inline]
pub fn yield_now() {
    match crate::scheduler::worker::Worker::here() {
        Some(worker) if worker.current().is_some() => worker.yield_now(),
        _ => std::thread::yield_now(),
    }
}
