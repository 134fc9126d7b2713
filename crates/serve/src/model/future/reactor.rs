//! Who waits for which descriptor, and until when: wakes the wakers that futures have left.
//!
//! Each descriptor is registered once, edge-triggered. A future leaves its waker only after the kernel has said that nothing is there; what comes
//! after that is an edge, and stays one until the next wait here. So none is missed, and an edge that nobody waits for means nothing.

use super::super::deadlines::Deadlines;
use super::super::epoll::EVENTS;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// The descriptors of one thread.
pub(super) struct Reactor {
    epoll: OwnedFd,
    waiting: Rc<RefCell<Waiting>>,
    events: RefCell<Vec<Event>>,
    now: Cell<Instant>,
}

#[derive(Default)]
struct Waiting {
    sources: Slab<Source>,
    deadlines: Deadlines,
}

#[derive(Default)]
struct Source {
    waker: Option<Waker>,
    /// Until when its future waits at most.
    deadline: Option<Instant>,
    hung_up: bool,
    event: bool,
}

/// A descriptor's entry; the descriptor has to be closed soon after this is dropped.
pub(super) struct Registration {
    waiting: Rc<RefCell<Waiting>>,
    key: usize,
}

impl Reactor {
    pub(super) fn new() -> io::Result<Reactor> {
        Ok(Reactor {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            waiting: Rc::default(),
            events: RefCell::new(Vec::with_capacity(EVENTS)),
            now: Cell::new(Instant::now()),
        })
    }

    /// Adds a descriptor.
    ///
    /// # Errors
    /// When the kernel has no memory for it, or the user may watch no more.
    pub(super) fn register(&self, descriptor: &impl AsFd) -> io::Result<Registration> {
        let mut waiting = self.waiting.borrow_mut();
        let entry = waiting.sources.vacant_entry();
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, descriptor, EventData::new_u64(entry.key() as u64), flags)?;
        let key = entry.key();
        entry.insert(Source::default());
        Ok(Registration { waiting: Rc::clone(&self.waiting), key })
    }

    /// The present, as of the end of the last wait.
    pub(super) fn now(&self) -> Instant {
        self.now.get()
    }

    /// Waits for events and time limits, and wakes those whom they concern; until the `deadline` at most, and not at all if others are `busy`.
    ///
    /// # Errors
    /// None that is known.
    pub(super) fn wait(&self, busy: bool, deadline: Option<Instant>) -> io::Result<()> {
        let mut events = self.events.borrow_mut();
        events.clear();
        let next = [self.waiting.borrow().deadlines.next(), deadline].into_iter().flatten().min();
        let timeout = if busy { Some(Timespec::default()) } else { next.map(until) };
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        self.now.set(Instant::now());
        let waiting = &mut *self.waiting.borrow_mut();
        for event in events.iter() {
            if let Some(source) = waiting.sources.get_mut(event.data.u64() as usize) {
                let flags = event.flags;
                source.event = true;
                source.hung_up |= flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
                source.wake();
            }
        }
        let sources = &mut waiting.sources;
        while let Some(key) = waiting.deadlines.pass(self.now(), |key| sources.get(key)?.deadline) {
            sources[key].deadline = None;
            sources[key].wake();
        }
        Ok(())
    }

    /// Wakes everybody.
    pub(super) fn wake_all(&self) {
        for (_, source) in &mut self.waiting.borrow_mut().sources {
            source.wake();
        }
    }
}

impl Source {
    fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

impl Registration {
    /// Has `waker` woken at the next edge, or at the deadline.
    pub(super) fn wait(&self, waker: &Waker, deadline: Option<Instant>) {
        let waiting = &mut *self.waiting.borrow_mut();
        let source = &mut waiting.sources[self.key];
        // A future keeps its task, and so its waker, for life: it is cloned once.
        if !source.waker.as_ref().is_some_and(|other| other.will_wake(waker)) {
            source.waker = Some(waker.clone());
        }
        source.deadline = deadline;
        if let Some(deadline) = deadline {
            waiting.deadlines.moved(self.key, deadline);
        }
    }

    /// Whether the peer has sent its last byte.
    pub(super) fn has_hung_up(&self) -> bool {
        self.waiting.borrow().sources[self.key].hung_up
    }

    /// Whether an edge has come since this was asked last.
    pub(super) fn take_event(&self) -> bool {
        std::mem::take(&mut self.waiting.borrow_mut().sources[self.key].event)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let waiting = &mut *self.waiting.borrow_mut();
        waiting.deadlines.ended(self.key);
        waiting.sources.remove(self.key);
    }
}

/// How long it is until then; rounded up to milliseconds, in which the kernel counts.
fn until(deadline: Instant) -> Timespec {
    let left = deadline.saturating_duration_since(Instant::now()).min(Duration::from_secs(86_400));
    let millis = left.as_nanos().div_ceil(1_000_000) as u64;
    Duration::from_millis(millis).try_into().expect("a day fits into a Timespec")
}
