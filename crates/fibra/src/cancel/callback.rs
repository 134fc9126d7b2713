//! Code that must not wait: the callbacks of an event loop, which would stand still meanwhile.
//!
//! A wait there is *refused*: the primitive is told that it was cancelled, so it cleans up as it always does, and the unwind that follows is an ordinary panic that names what
//! was to be waited for. What is there already is returned, and what has no time to wait (`get_timeout(Duration::ZERO)`) is told so. Waits that nothing ends once they have
//! begun are refused before that ([`forbid`]).
//!
//! A region marks the code, so whoever is in none pays nothing for it.

use super::region::{self, Bound, Region};
use crate::scheduler::park;
use crate::scheduler::task::TaskPtr;
use crate::scheduler::waiting::WaitsFor;

/// Runs `f`, in which every wait is refused.
pub(crate) fn without_waiting<T>(f: impl FnOnce() -> T) -> T {
    Region::new(Bound::Callback).enter(f)
}

/// Whether the running context, which this is, must not wait.
pub(crate) fn is_refused(task: TaskPtr) -> bool {
    // SAFETY: the running context is alive, and is the calling thread's.
    unsafe { region::is_in_callback(task) }
}

/// Whether the code that runs must not wait.
pub(crate) fn is_in_callback() -> bool {
    park::with_current(is_refused)
}

/// Panics if the code that runs must not wait: before something that cannot be given up once it has begun.
pub(crate) fn forbid(kind: WaitsFor) {
    if is_in_callback() {
        complain(kind);
    }
}

/// Panics if the code that runs must not wait: after its primitive has cleaned up.
pub(super) fn report(task: TaskPtr) {
    if is_refused(task) {
        // SAFETY: the running context is alive.
        let (kind, _) = unsafe { task.header() }.waiting.get();
        complain(kind);
    }
}

#[cold]
fn complain(kind: WaitsFor) -> ! {
    panic!(
        "a callback of an event loop must not wait, since the loop would stand still, and this one was about to wait ({kind:?}): \
         spawn a coroutine for what waits"
    )
}
