//! What is registered with a loop: the kinds of watchers, and how each is called.
//!
//! A callback that may be called again is taken out of its place while it is called, and put back if the place is still its own afterwards. So it has `&mut` to itself *and* to
//! the loop, and may do there what it likes: register others, modify and remove others or itself. What it has removed of itself is dropped when it has returned.

use super::io::Io;
use super::remote::Flag;
use super::slots::Id;
use super::timers::Timer;
use super::{EventLoop, Panic};
use crate::cancel::Cancelled;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;

/// What is called once.
pub(super) type Once<D> = Box<dyn FnOnce(&mut EventLoop<D>)>;
/// What is called again and again; not there while it is being called.
pub(super) type Many<D> = Option<Box<dyn FnMut(&mut EventLoop<D>)>>;

pub(super) struct Watcher<D> {
    pub(super) kind: Kind<D>,
    /// Where it was registered.
    pub(super) at: &'static Location<'static>,
}

pub(super) enum Kind<D> {
    Soon(Once<D>),
    Timer(Timer<D>),
    Io(Io<D>),
    Wake(Many<D>, Arc<Flag>),
}

impl<D> EventLoop<D> {
    #[track_caller]
    pub(super) fn insert(&mut self, kind: Kind<D>) -> Id {
        self.registry.watchers.insert(Watcher { kind, at: Location::caller() })
    }

    /// Calls whatever is called so, if it is still there.
    pub(super) fn call(&mut self, id: Id) {
        match self.registry.watchers.get_mut(id).map(|watcher| &mut watcher.kind) {
            None => {}
            Some(Kind::Soon(_)) => {
                if let Some(Watcher { kind: Kind::Soon(callback), at }) = self.registry.watchers.remove(id) {
                    self.guard(at, callback);
                }
            }
            Some(Kind::Timer(_)) => self.call_timer(id),
            Some(Kind::Io(_)) => self.call_io(id),
            Some(Kind::Wake(callback, flag)) => {
                flag.lower();
                let callback = callback.take();
                self.call_many(id, callback, |kind| match kind {
                    Kind::Wake(place, _) => Some(place),
                    _ => None,
                });
            }
        }
    }

    /// Calls what has been taken out of its place, and puts it back.
    pub(super) fn call_many(
        &mut self,
        id: Id,
        callback: Many<D>,
        place: impl FnOnce(&mut Kind<D>) -> Option<&mut Many<D>>,
    ) {
        let (Some(mut callback), Some(at)) = (callback, self.place_of(id)) else { return };
        if !self.guard(at, |events| callback(events)) {
            self.remove(id);
        } else if let Some(place) =
            self.registry.watchers.get_mut(id).and_then(|watcher| place(&mut watcher.kind))
        {
            *place = Some(callback);
        }
    }

    pub(super) fn place_of(&self, id: Id) -> Option<&'static Location<'static>> {
        self.registry.watchers.get(id).map(|watcher| watcher.at)
    }

    /// Calls a callback; false when it has panicked, which is reported.
    pub(super) fn guard(
        &mut self,
        at: &'static Location<'static>,
        f: impl FnOnce(&mut EventLoop<D>),
    ) -> bool {
        self.called += 1;
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| f(self))) else { return true };
        if payload.is::<Cancelled>() {
            self.passing = Some(payload);
            return false;
        }
        let panic = Panic { payload, at };
        match self.on_panic.take() {
            None => panic.log(),
            Some(mut handler) => match catch_unwind(AssertUnwindSafe(|| handler(self, panic))) {
                // It may have set another in its stead.
                Ok(()) => drop(self.on_panic.get_or_insert(handler)),
                Err(payload) => self.passing = Some(payload),
            },
        }
        false
    }

    /// Removes a watcher of whatever kind.
    pub(super) fn remove(&mut self, id: Id) -> Option<Kind<D>> {
        let mut kind = self.registry.watchers.remove(id)?.kind;
        match &mut kind {
            Kind::Soon(_) | Kind::Wake(..) => {}
            Kind::Timer(timer) => {
                if let Some(key) = timer.key.take() {
                    self.timers.cancel(key);
                }
            }
            Kind::Io(io) => {
                if let Some(key) = io.timer.take() {
                    self.timers.cancel(key);
                }
                if io.leave(&mut self.registry.poller) {
                    self.registry.poller.settle();
                }
            }
        }
        Some(kind)
    }
}
