//! Watching descriptors: register, modify, unregister.
//!
//! ```text
//!            register, modify, after a call                      poll(2) says ready (level-triggered)
//!  unarmed ◀──────────────────────────────── called ◀─────────────────────────┐
//!     │ before the loop waits                   ▲                              │
//!     └──▶ one poll(2) for all of them ──not ready──▶ armed: the driver has it ─┤ the driver's answer
//!                      └───────────────────────────────────────────────────────┘
//! ```
//!
//! The epoll driver tells of events and not of states. So before a descriptor is left to it the loop asks whether it is ready already: for all that were called since the last
//! time in one `poll(2)`, and not at all for those that promise to have emptied it ([`Interest::edge`]). A ring looks for itself.

use super::interest::{Interest, Ready};
use super::poller::{Poller, Wait};
use super::slots::Id;
use super::watcher::Kind;
use super::{Event, EventLoop, Key};
use crate::time::timer_wheel::TimerKey;
use fibra_driver::Direction;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::any::Any;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

const BOTH: [Direction; 2] = [Direction::Read, Direction::Write];

/// How many descriptors one `poll(2)` asks for: it takes no more than the process may have.
const CHUNK: usize = 1024;

/// The place of a descriptor that is watched.
pub(super) struct Io<D> {
    /// What is watched, and its callback; not there while that is called.
    watched: Option<Box<dyn Watch<D>>>,
    wait: Rc<Wait>,
    interest: Interest,
    ready: Ready,
    /// Whether it is queued to be called.
    queued: bool,
    /// When it is called though nothing has come, and whether that has been.
    pub(super) timer: Option<TimerKey>,
    timed_out: bool,
    /// Whether events may have passed that nobody was told of: it is asked whether it is ready, once, though it is edge-triggered.
    missed: bool,
    /// Whether it is in the list of those that may have to be armed, which has each once.
    listed: bool,
}

impl<D> Io<D> {
    /// The driver forgets it: see [`Poller::leave`].
    pub(super) fn leave(&mut self, poller: &mut Poller) -> bool {
        // Without it is being called, and whoever calls it makes up for this.
        self.watched.as_ref().is_some_and(|watched| poller.leave(&self.wait, watched.fd()))
    }

    /// The directions that should be with the driver and are not.
    fn unarmed(&self) -> impl Iterator<Item = Direction> {
        let may = !self.queued && self.watched.is_some();
        BOTH.into_iter()
            .filter(move |&direction| may && self.interest.has(direction) && !self.wait.is_armed(direction))
    }
}

/// A source and its callback, whatever their types are.
trait Watch<D> {
    fn call(&mut self, events: &mut EventLoop<D>, event: Event<()>);
    fn fd(&self) -> BorrowedFd<'_>;
    fn source(&mut self) -> &mut dyn Any;
    fn into_source(self: Box<Self>) -> Box<dyn Any>;
}

struct Watched<S, F> {
    source: S,
    callback: F,
}

impl<D, S, F> Watch<D> for Watched<S, F>
where
    S: AsFd + 'static,
    F: FnMut(&mut S, &mut EventLoop<D>, Event<S>),
{
    fn call(&mut self, events: &mut EventLoop<D>, event: Event<()>) {
        let Event { key, readable, writable, timed_out } = event;
        (self.callback)(
            &mut self.source,
            events,
            Event { key: Key::new(key.id), readable, writable, timed_out },
        );
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.source.as_fd()
    }

    fn source(&mut self) -> &mut dyn Any {
        &mut self.source
    }

    fn into_source(self: Box<Self>) -> Box<dyn Any> {
        Box::new(self.source)
    }
}

impl<D> EventLoop<D> {
    /// Watches `source` and has `callback` called, with the source, when it is ready for what `interest` names.
    ///
    /// The loop owns the source until it is [unregistered](Self::unregister): a socket, or whatever has one together with the state of its conversation (the *user data*). So the
    /// descriptor stays open for as long as it is watched; it has to stay the same. (A source that others need too can be an [`Rc`].) The source should be in non-blocking mode, since "ready"
    /// may turn out not to be.
    ///
    /// # Errors
    /// That of the driver when it cannot watch the descriptor: with epoll, [`PermissionDenied`](io::ErrorKind::PermissionDenied) for a regular file. (A ring
    /// takes it, and it is always ready.)
    #[track_caller]
    pub fn register<S, F>(&mut self, source: S, interest: Interest, callback: F) -> io::Result<Key<S>>
    where
        S: AsFd + 'static,
        F: FnMut(&mut S, &mut EventLoop<D>, Event<S>) + 'static,
    {
        let key = self.enter(source, callback);
        let result = self.arm_new(key.id, interest);
        if result.is_err() {
            self.remove(key.id);
        }
        result.map(|()| key)
    }

    /// Makes a place for a source that is not waited for yet.
    #[track_caller]
    pub(super) fn enter<S, F>(&mut self, source: S, callback: F) -> Key<S>
    where
        S: AsFd + 'static,
        F: FnMut(&mut S, &mut EventLoop<D>, Event<S>) + 'static,
    {
        let wait = Wait::new(self.registry.watchers.next_id());
        Key::new(self.insert(Kind::Io(Io {
            watched: Some(Box::new(Watched { source, callback })),
            wait,
            interest: Interest::NONE,
            ready: Ready::default(),
            queued: false,
            timer: None,
            timed_out: false,
            missed: false,
            listed: false,
        })))
    }

    /// The driver has not seen the descriptor yet, so it will tell of what is there.
    fn arm_new(&mut self, id: Id, interest: Interest) -> io::Result<()> {
        let Some(io) = io_mut(&mut self.registry.watchers, id) else { return Ok(()) };
        io.interest = interest;
        let mut ready = Ready::default();
        for direction in io.unarmed() {
            let Some(watched) = &io.watched else { continue };
            if self.registry.poller.arm(&io.wait, watched.fd(), direction)? {
                ready.add(direction);
            }
        }
        self.note_all(id, ready);
        Ok(())
    }

    /// What a machine waits for.
    pub(super) fn watch_for<S>(&mut self, key: Key<S>, interest: Interest, timeout: Option<Duration>) {
        if let Some(io) = io_mut(&mut self.registry.watchers, key.id) {
            // After its call it is looked at in any case.
            (io.missed, io.interest) = (io.missed || io.interest != interest, interest);
            if timeout.is_some() || io.timer.is_some() {
                self.set_timeout(key, timeout);
            }
        }
    }

    /// Changes what is waited for. From within its callback too.
    ///
    /// # Errors
    /// [`NotFound`](io::ErrorKind::NotFound) when it is not registered any more.
    pub fn modify<S>(&mut self, key: Key<S>, interest: Interest) -> io::Result<()> {
        let Some(io) = io_mut(&mut self.registry.watchers, key.id) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the descriptor is not registered"));
        };
        io.interest = interest;
        io.missed = true;
        self.list(key.id);
        Ok(())
    }

    /// Has the callback called when `timeout` has passed, whatever has come meanwhile, once: then [`timed_out`](Event::timed_out) is set. In place of the timeout that was
    /// set before; `None` for none. False when the watcher is not registered any more.
    ///
    /// Putting it off at each sign of life makes it an idle timeout; leaving it alone, a deadline.
    pub fn set_timeout<S>(&mut self, key: Key<S>, timeout: Option<Duration>) -> bool {
        let Some(io) = io_mut(&mut self.registry.watchers, key.id) else { return false };
        if let Some(timer) = io.timer.take() {
            self.timers.cancel(timer);
        }
        io.timed_out = false;
        let deadline = timeout.and_then(crate::time::deadline);
        io.timer = deadline.map(|deadline| self.timers.insert(deadline, key.id));
        true
    }

    /// Ends the watching and gives the source back. Its callback is not called any more, whatever has come meanwhile.
    ///
    /// None when it is not registered any more; or when it is its own callback that does this: that has the source, which is dropped when it returns.
    pub fn unregister<S: 'static>(&mut self, key: Key<S>) -> Option<S> {
        let Some(Kind::Io(io)) = self.remove(key.id) else { return None };
        io.watched?.into_source().downcast().ok().map(|source| *source)
    }

    /// Whether it is registered.
    pub fn is_registered<S>(&self, key: Key<S>) -> bool {
        self.registry.watchers.get(key.id).is_some()
    }

    /// What is watched for; none when it is not registered any more.
    pub fn interest<S>(&self, key: Key<S>) -> Option<Interest> {
        match &self.registry.watchers.get(key.id)?.kind {
            Kind::Io(io) => Some(io.interest),
            _ => None,
        }
    }

    /// The source of another watcher. None when it is not registered any more, or its own callback is being called (which has it).
    pub fn source<S: 'static>(&mut self, key: Key<S>) -> Option<&mut S> {
        io_mut(&mut self.registry.watchers, key.id)?.watched.as_mut()?.source().downcast_mut()
    }

    /// The driver says that a direction is ready.
    pub(super) fn note_ready(&mut self, id: Id, direction: Direction) {
        let Some(io) = io_mut(&mut self.registry.watchers, id) else { return };
        io.ready.add(direction);
        self.queue(id);
    }

    /// The time of its timeout has come.
    pub(super) fn note_timeout(&mut self, id: Id) {
        let Some(io) = io_mut(&mut self.registry.watchers, id) else { return };
        (io.timer, io.timed_out) = (None, true);
        self.queue(id);
    }

    fn queue(&mut self, id: Id) {
        let Some(io) = io_mut(&mut self.registry.watchers, id) else { return };
        if !io.queued {
            io.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Before the loop waits it is looked at.
    fn list(&mut self, id: Id) {
        let Some(io) = io_mut(&mut self.registry.watchers, id) else { return };
        if !io.listed {
            io.listed = true;
            self.unarmed.push(id);
        }
    }

    pub(super) fn call_io(&mut self, id: Id) {
        let Some(at) = self.place_of(id) else { return };
        let Some(io) = io_mut(&mut self.registry.watchers, id) else { return };
        io.queued = false;
        let ready = std::mem::take(&mut io.ready).of(io.interest);
        let timed_out = std::mem::take(&mut io.timed_out);
        if ready.is_none() && !timed_out {
            // It is not waited for any more; what is, may not be armed.
            self.list(id);
            return;
        }
        let Some(mut watched) = io.watched.take() else { return };
        let wait = Rc::clone(&io.wait);
        let Ready { readable, writable } = ready;
        let event = Event { key: Key::new(id), readable, writable, timed_out };
        if !self.guard(at, |events| watched.call(events, event)) {
            self.remove(id);
        }
        match io_mut(&mut self.registry.watchers, id) {
            Some(io) => {
                io.watched = Some(watched);
                self.list(id);
            }
            None => {
                if self.registry.poller.leave(&wait, watched.fd()) {
                    self.registry.poller.settle();
                }
            }
        }
    }

    /// Before the loop waits: gives to the driver what is to be waited for, and queues what need not be.
    pub(super) fn arm(&mut self) -> io::Result<()> {
        let mut unarmed = std::mem::take(&mut self.unarmed);
        let mut chunks = unarmed.chunks(CHUNK);
        let result = chunks.try_for_each(|ids| self.arm_some(ids));
        if result.is_ok() {
            unarmed.clear();
        }
        self.unarmed = unarmed;
        result
    }

    fn arm_some(&mut self, ids: &[Id]) -> io::Result<()> {
        if self.registry.poller.is_told_of_events() {
            self.ask(ids)?;
        }
        for &id in ids {
            let Some(io) = io_mut(&mut self.registry.watchers, id) else { continue };
            (io.listed, io.missed) = (false, false);
            let mut ready = Ready::default();
            for direction in io.unarmed() {
                let Some(watched) = &io.watched else { continue };
                match self.registry.poller.arm(&io.wait, watched.fd(), direction) {
                    Ok(false) => {}
                    // The callback meets the error at its next call.
                    Ok(true) | Err(_) => ready.add(direction),
                }
            }
            self.note_all(id, ready);
        }
        Ok(())
    }

    /// Queues those that are ready already.
    fn ask(&mut self, ids: &[Id]) -> io::Result<()> {
        let mut asked = Vec::with_capacity(ids.len());
        let mut set = Vec::with_capacity(ids.len());
        for &id in ids {
            let Some(Kind::Io(io)) = self.registry.watchers.get(id).map(|watcher| &watcher.kind) else {
                continue;
            };
            let Some(watched) = &io.watched else { continue };
            let mut flags = PollFlags::empty();
            if !io.interest.is_edge() || io.missed {
                io.unarmed().for_each(|direction| flags |= flag(direction));
            }
            if !flags.is_empty() {
                asked.push(id);
                set.push(PollFd::from_borrowed_fd(watched.fd(), flags));
            }
        }
        if set.is_empty() {
            return Ok(());
        }
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        while let Err(error) = rustix::event::poll(&mut set, Some(&zero)) {
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        let broken = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        let ready: Vec<_> = set
            .iter()
            .map(|fd| Ready {
                readable: fd.revents().intersects(broken | PollFlags::IN),
                writable: fd.revents().intersects(broken | PollFlags::OUT),
            })
            .collect();
        drop(set);
        for (id, ready) in asked.into_iter().zip(ready) {
            if let Some(io) = io_mut(&mut self.registry.watchers, id) {
                let ready = ready.of(io.interest);
                self.note_all(id, ready);
            }
        }
        Ok(())
    }

    fn note_all(&mut self, id: Id, ready: Ready) {
        if ready.readable {
            self.note_ready(id, Direction::Read);
        }
        if ready.writable {
            self.note_ready(id, Direction::Write);
        }
    }
}

fn io_mut<D>(watchers: &mut super::Watchers<D>, id: Id) -> Option<&mut Io<D>> {
    match &mut watchers.get_mut(id)?.kind {
        Kind::Io(io) => Some(io),
        _ => None,
    }
}

fn flag(direction: Direction) -> PollFlags {
    match direction {
        Direction::Read => PollFlags::IN,
        Direction::Write => PollFlags::OUT,
    }
}
