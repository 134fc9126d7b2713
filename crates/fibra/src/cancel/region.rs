//! The regions around the present code of a context: a list that begins in its header, the innermost first.
//!
//! ```text
//!   header.region ──▶ timeout 1 s ──▶ shield ──▶ stop ──▶ (end)
//!                     └── ends waits ──┘│        └ not heeded, nor the cancellation of the coroutine, nor the end of the runtime
//! ```
//!
//! A region is a local variable of the function that made it, and is taken out of the list when that returns or unwinds. It belongs to its
//! context: only the thread on which that runs touches it. How a wait may end is read off the list when the wait begins ([`requests`]); whose request ended it, if
//! anybody's, when it is over ([`is_asked`]).

use super::stop::Stop;
use crate::scheduler::park;
use crate::scheduler::task::{TaskPtr, TaskRef};
use std::cell::Cell;
use std::time::Instant;

/// What ends the waits in a region.
pub(crate) enum Bound {
    /// A request that many listen to.
    ///
    /// It points to the stop of an [`Enrolled`](super::Enrolled) that is borrowed while the region lasts, also if its stack is never unwound: the bodies of coroutines and
    /// generators are `'static` (or somebody waits for their end), so whatever they borrow from is kept by that same stack. No reference is counted,
    /// because that count would be shared by all workers.
    Stop(*const Stop),
    /// The time.
    Deadline(Instant),
    /// Nothing: neither this region nor one further out.
    Shield,
    /// There is to be no wait: a callback runs here, on the loop that would stand still.
    Callback,
}

/// A region, as the list has it.
pub(crate) struct Region {
    bound: Bound,
    outer: Cell<*const Region>,
}

/// What may end a wait that begins now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Requests {
    /// Somebody's request, that is made by a signal.
    pub(crate) armed: bool,
    /// The earliest deadline.
    pub(crate) limit: Option<Instant>,
    /// Regions further out, the cancellation of the coroutine and the end of the runtime do not count.
    pub(crate) shielded: bool,
}

/// Takes a region out of its context's list, also when the code in it panics.
///
/// Regions nest, so it is the first; but a generator can be suspended inside of one and be resumed, or dropped, elsewhere on its thread.
struct Leave<'a> {
    task: TaskRef,
    region: &'a Region,
}

impl Region {
    pub(super) fn new(bound: Bound) -> Region {
        Region { bound, outer: Cell::new(std::ptr::null()) }
    }

    /// Runs `f` in this region.
    #[inline]
    pub(super) fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        let task = park::current();
        let header = task.header();
        self.outer.set(header.region.get());
        header.region.set(self);
        let _leave = Leave { task, region: self };
        f()
    }
}

impl Drop for Leave<'_> {
    #[inline]
    fn drop(&mut self) {
        let mut place = &self.task.header().region;
        while !std::ptr::eq(place.get(), self.region) {
            // SAFETY: what is in the list is alive: its `Leave` has not been dropped, and a stack that is never unwound is never freed. The list
            // belongs to this thread, which neither a coroutine nor a generator leaves.
            place = &unsafe { &*place.get() }.outer;
        }
        place.set(self.region.outer.get());
    }
}

/// The regions of a context that count, the innermost first; and, as the last, the shield if there is one.
///
/// # Safety
/// The context is the calling thread's: it runs here, or is a coroutine of this worker. The list is not changed meanwhile.
unsafe fn regions<'a>(task: TaskPtr) -> impl Iterator<Item = &'a Bound> {
    // SAFETY: the context is alive, and its list belongs to this thread.
    let mut next = unsafe { task.header() }.region.get();
    std::iter::from_fn(move || {
        // SAFETY: as in `Leave::drop`.
        let region = unsafe { next.as_ref() }?;
        next = if matches!(region.bound, Bound::Shield) { std::ptr::null() } else { region.outer.get() };
        Some(&region.bound)
    })
}

/// What may end a wait of a context where it is now.
///
/// # Safety
/// The context is the calling thread's: it runs here, or is a coroutine of this worker.
pub(crate) unsafe fn requests(task: TaskPtr) -> Requests {
    let mut requests = Requests::default();
    // SAFETY: our caller's promise.
    for bound in unsafe { regions(task) } {
        match bound {
            Bound::Stop(_) => requests.armed = true,
            Bound::Deadline(instant) => {
                requests.limit = Some(requests.limit.map_or(*instant, |limit| limit.min(*instant)));
            }
            Bound::Shield => requests.shielded = true,
            Bound::Callback => {}
        }
    }
    requests
}

/// Whether one of the requests has been made, or one of the deadlines has passed, that the code of a context can be interrupted by where it is now.
///
/// # Safety
/// As [`requests`].
pub(crate) unsafe fn is_asked(task: TaskPtr) -> bool {
    // SAFETY: our caller's promise.
    unsafe { regions(task) }.any(|bound| match bound {
        // SAFETY: it is borrowed for as long as the region is in the list; see `Bound`.
        Bound::Stop(stop) => unsafe { &**stop }.is_triggered(),
        Bound::Deadline(instant) => crate::time::now() >= *instant,
        Bound::Shield | Bound::Callback => false,
    })
}

/// Whether the code that runs is in a callback, be it behind a shield, and must not wait. Destructors may, in an unwind.
pub(crate) fn is_in_callback() -> bool {
    park::with_current(|task| {
        // SAFETY: the running context is alive, and its list belongs to this thread.
        let mut next = unsafe { task.header() }.region.get();
        // SAFETY: as in `Leave::drop`.
        while let Some(region) = unsafe { next.as_ref() } {
            if matches!(region.bound, Bound::Callback) {
                return !std::thread::panicking();
            }
            next = region.outer.get();
        }
        false
    })
}
