//! Code that must not wait: the callbacks of an event loop, which would stand still meanwhile.
//!
//! A wait there is *refused*: the primitive is told that it was cancelled, so it cleans up as it always does, and the unwind that follows is an ordinary panic that names what
//! was to be waited for. What is there already is returned, and what has no time to wait (`get_timeout(Duration::ZERO)`) is told so. Waits that nothing ends once they have
//! begun are refused before that ([`forbid`]).
//!
//! A region marks the code, so whoever is in none pays nothing for it.

#![forbid(unsafe_code)]

use super::region::{self, Bound, Region};
use crate::scheduler::waiting::WaitsFor;

/// Runs `f`, in which every wait is refused.
pub(crate) fn without_waiting<T>(f: impl FnOnce() -> T) -> T {
    Region::new(Bound::Callback).enter(f)
}

/// Panics if the code that runs must not wait: before something that cannot be given up once it has begun.
pub(crate) fn forbid(kind: WaitsFor) {
    if region::is_in_callback() {
        complain(kind);
    }
}

#[cold]
pub(super) fn complain(kind: WaitsFor) -> ! {
    panic!(
        "a callback of an event loop must not wait, since the loop would stand still, and this one was about to wait ({kind:?}): \
         spawn a coroutine for what waits"
    )
}
