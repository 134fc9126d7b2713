//! What a context waits for: noted by each primitive before it parks, so that a listing can say it.
//!
//! Three plain stores a wait. Who looks from another thread may see the kind of one wait and the object of another, when the context goes on
//! meanwhile: a listing is a snapshot that nothing is built upon.

use rustix::time::{ClockId, clock_gettime};
use std::fmt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// A kind of wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(u8)]
pub enum WaitsFor {
    /// [`Context::unpark`](crate::Context::unpark).
    Unpark,
    /// The time.
    Time,
    /// The end of another context.
    Join,
    /// The ends of a scope's children, or of a group's members.
    Scope,
    /// Data or connections that come in; the object is the descriptor.
    Receive,
    /// Room for data that goes out, or a connection; the object is the descriptor.
    Send,
    /// A call on a file.
    File,
    /// A call of the blocking pool.
    Blocking,
    /// A [`Mutex`](crate::sync::Mutex).
    Mutex,
    /// A [`RwLock`](crate::sync::RwLock), to read.
    Read,
    /// A [`RwLock`](crate::sync::RwLock), to write.
    Write,
    /// A [`Condvar`](crate::sync::Condvar).
    Condvar,
    /// An [`Event`](crate::sync::Event).
    Event,
    /// Permits of a [`Semaphore`](crate::sync::Semaphore).
    Semaphore,
    /// The others at a [`Barrier`](crate::sync::Barrier).
    Barrier,
    /// What is done [once](crate::sync::Once).
    Once,
    /// An item of a queue.
    Get,
    /// Room in a queue.
    Put,
    /// The end of a queue's tasks.
    QueueJoin,
    /// The first of several.
    Select,
}

/// All kinds, in order.
const KINDS: [WaitsFor; 20] = [
    WaitsFor::Unpark,
    WaitsFor::Time,
    WaitsFor::Join,
    WaitsFor::Scope,
    WaitsFor::Receive,
    WaitsFor::Send,
    WaitsFor::File,
    WaitsFor::Blocking,
    WaitsFor::Mutex,
    WaitsFor::Read,
    WaitsFor::Write,
    WaitsFor::Condvar,
    WaitsFor::Event,
    WaitsFor::Semaphore,
    WaitsFor::Barrier,
    WaitsFor::Once,
    WaitsFor::Get,
    WaitsFor::Put,
    WaitsFor::QueueJoin,
    WaitsFor::Select,
];

/// Which one a context waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Object {
    /// The context with this [number](crate::Context::id).
    Context(u64),
    /// So many, of which the end or the first is waited for.
    Several(usize),
    /// A file descriptor.
    Descriptor(i32),
    /// The lock or queue that stands at this address, or begins a little before it.
    Address(usize),
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Object::Context(id) => write!(f, "of {id}"),
            Object::Several(count) => write!(f, "of {count}"),
            Object::Descriptor(descriptor) => write!(f, "on {descriptor}"),
            Object::Address(address) => write!(f, "at {address:#x}"),
        }
    }
}

impl WaitsFor {
    /// The object that such a wait has noted as a word.
    pub(crate) fn object(self, word: usize) -> Option<Object> {
        match self {
            WaitsFor::Unpark | WaitsFor::Time | WaitsFor::File | WaitsFor::Blocking => None,
            WaitsFor::Join => Some(Object::Context(word as u64)),
            WaitsFor::Scope | WaitsFor::Select => Some(Object::Several(word)),
            WaitsFor::Receive | WaitsFor::Send => Some(Object::Descriptor(word as i32)),
            // A lock or a queue.
            _ => (word != 0).then_some(Object::Address(word)),
        }
    }

    /// Whether the kernel, or a thread that calls it, ends the wait.
    pub(crate) fn is_outside(self) -> bool {
        matches!(self, WaitsFor::Receive | WaitsFor::Send | WaitsFor::File | WaitsFor::Blocking)
    }
}

/// Milliseconds of the kernel's coarse clock, which is cheap to read and moves a few hundred times a second. It turns over after seven weeks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick(u32);

impl Tick {
    pub(crate) fn now() -> Tick {
        let now = clock_gettime(ClockId::MonotonicCoarse);
        Tick((now.tv_sec as u32).wrapping_mul(1000).wrapping_add((now.tv_nsec / 1_000_000) as u32))
    }

    /// How much later it is than another; nothing if it is not.
    pub(crate) fn since(self, earlier: Tick) -> Duration {
        let milliseconds = self.0.wrapping_sub(earlier.0);
        Duration::from_millis(if milliseconds > u32::MAX / 2 { 0 } else { milliseconds.into() })
    }
}

/// What a context's last wait was for, and since when.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    kind: AtomicU8,
    /// A tick.
    since: AtomicU32,
    /// An address, a descriptor, the number of a context; 0 for none.
    object: AtomicUsize,
}

impl Waiting {
    #[inline(always)]
    pub(crate) fn set(&self, kind: WaitsFor, object: usize, since: Tick) {
        self.kind.store(kind as u8, Ordering::Relaxed);
        self.since.store(since.0, Ordering::Relaxed);
        self.object.store(object, Ordering::Relaxed);
    }

    /// What the last wait is for, and its object.
    pub(crate) fn get(&self) -> (WaitsFor, usize) {
        let kind = usize::from(self.kind.load(Ordering::Relaxed));
        (KINDS[kind], self.object.load(Ordering::Relaxed))
    }

    /// When the last wait began.
    pub(crate) fn since(&self) -> Tick {
        Tick(self.since.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_comes_back_as_what_it_was() {
        let waiting = Waiting::default();
        for (number, kind) in KINDS.into_iter().enumerate() {
            assert_eq!(kind as usize, number);
            waiting.set(kind, number, Tick::now());
            assert_eq!(waiting.get(), (kind, number));
        }
    }
}
