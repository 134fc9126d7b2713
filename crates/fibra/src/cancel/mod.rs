//! Being asked to stop: [`Cancelled`], and the regions of code that say what ends a wait.
//!
//! | file | idea |
//! |---|---|
//! | `region` | the list of regions around the present code: what ends its waits |
//! | [`timeout`] | [`timeout`](timeout()), [`deadline`], [`move_on_after`]: regions with a time limit |
//! | `stop` | [`Stop`]: one request for many contexts |
//! | [`shield`] | [`shield`](shield()): a region that nothing ends |
//! | `callback` | a region in which there is to be no wait |
//!
//! A request is delivered where a context parks. There the primitive first cleans up (a result that has come in
//! that moment is returned instead, and the request stays), and then `unwind` unwinds the stack with [`Cancelled`] as the
//! payload, silently, so that destructors run. The boundary whose request it was catches it: a region, or the root of a coroutine that was
//! [cancelled](crate::JoinHandle::cancel) or whose runtime ends. The payload does not say whose it was. Each boundary on the way looks whether
//! *its own* request has been made, and passes the payload on if not; a boundary further out, whose request was made too, meets its request again at the next
//! wait. So each of several nested regions ends exactly its own code.
//!
//! **Level-triggered.** A request is a state, not an event: who catches the payload and goes on meets it again at the next wait.
//!
//! **Never while the stack is already unwinding**, since a second unwind out of a destructor would abort the process. Destructors may wait: for locks and joins as
//! long as it takes, with a warning in the log after `PATIENCE`; for sockets for at most `UNWINDING_IO`, and then they fail with `TimedOut`.

mod callback;
mod region;
mod shield;
mod stop;
mod timeout;

#[cfg(panic = "abort")]
compile_error!(
    "fibra stops coroutines by unwinding their stacks, so that destructors run; with `panic = \"abort\"` a cancelled coroutine would end the process: \
     remove that line from the profile in Cargo.toml"
);

pub(crate) use callback::{forbid, without_waiting};
pub(crate) use region::{Region, Requests, is_asked, is_in_callback, requests};
pub use shield::shield;
pub use stop::{Enrolled, Stop};
pub use timeout::{Elapsed, deadline, move_on_after, timeout};

use crate::scheduler::park;
use crate::scheduler::task::{Header, TaskPtr};
use std::fmt;
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

/// How long a destructor of a cancelled context waits before the log says so.
pub(crate) const PATIENCE: Duration = Duration::from_secs(1);

/// How long a destructor of a cancelled context may wait for a socket.
pub(crate) const UNWINDING_IO: Duration = Duration::from_secs(1);

/// A context was asked to stop, and has: the payload of the unwind, and the error at the boundary.
///
/// Code that catches panics should pass it on ([`std::panic::resume_unwind`]); code that does not meets it again at its next wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cancelled(pub(crate) ());

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl std::error::Error for Cancelled {}

/// After `park` has answered `Cancelled`: unwinds the running context. In a callback, which must not wait, with a panic that says so.
#[cold]
pub(crate) fn unwind() -> ! {
    if is_in_callback() {
        // SAFETY: the running context is alive.
        callback::complain(park::with_current(|task| unsafe { task.header() }.waiting.get().0));
    }
    unwind_now()
}

/// Unwinds the running context with [`Cancelled`]. Only where it does not unwind already.
#[cold]
pub(crate) fn unwind_now() -> ! {
    // SAFETY: the running context is alive.
    park::with_current(|task| unsafe { task.header() }.unwinding.set(true));
    resume_unwind(Box::new(Cancelled(())))
}

/// A boundary has caught the payload.
fn caught() {
    // SAFETY: the running context is alive.
    park::with_current(|task| unsafe { task.header() }.unwinding.set(false));
}

/// Whether the running context unwinds because it was cancelled: in a destructor.
///
/// std counts unwinds by thread, and another coroutine of this worker may be suspended in the middle of one; so the context's own flag
/// counts too. (It stays after the payload was caught. But then std's count says that nobody unwinds, or, while another does, this one's
/// waits for sockets are bounded a little longer than they need be.)
#[inline]
pub(crate) fn is_unwinding() -> bool {
    std::thread::panicking() && is_unwinding_slow()
}

#[cold]
fn is_unwinding_slow() -> bool {
    // SAFETY: the running context is alive.
    park::with_current(|task| unsafe { task.header() }.unwinding.get())
}

/// Says in the log that a destructor has been waiting for a while.
#[cold]
pub(crate) fn report_unwinding(header: &Header) {
    let (kind, object) = header.waiting.get();
    tracing::warn!(
        id = header.id,
        name = header.name(),
        waits_for = ?kind,
        object,
        "a destructor has been waiting for a second; its context was cancelled, and cannot end before"
    );
}

/// Whether the code that runs has been asked to stop: it would be unwound if it had to wait now.
///
/// For long computations that never wait; [`checkpoint`] does the rest, too.
pub fn is_requested() -> bool {
    // SAFETY: the running context is alive, and is the calling thread's.
    park::with_current(|task| unsafe { is_asked_at_all(task) })
}

/// Unwinds if the code that runs has been asked to stop; else does nothing. For long computations that never wait.
///
/// ```
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let mut rounds = 0_u64;
///     let result = fibra::timeout(Duration::from_millis(5), || loop {
///         rounds += 1;
///         fibra::cancel::checkpoint();
///     });
///     assert_eq!(result, Err(fibra::Elapsed));
///     assert!(rounds > 0);
/// });
/// ```
pub fn checkpoint() {
    if is_requested() && !std::thread::panicking() {
        unwind_now();
    }
}

/// The limit of the regions that the calling context is in; none while it unwinds. For waits that are not made by parking.
pub(crate) fn limit() -> Option<Instant> {
    if std::thread::panicking() {
        return None;
    }
    // SAFETY: the running context is the calling thread's.
    park::with_current(|task| unsafe { requests(task) }.limit)
}

/// # Safety
/// As [`is_asked`].
unsafe fn is_asked_at_all(task: TaskPtr) -> bool {
    // SAFETY: our caller's promise.
    unsafe {
        let killed = task.header().state.is_killed();
        (killed && !requests(task).shielded) || is_asked(task)
    }
}
