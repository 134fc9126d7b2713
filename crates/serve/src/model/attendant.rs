//! All of a single-threaded server but the waiting: the door, the guests, their time limits, and the end.
//!
//! The models with a loop have this in common, so that each model's own file shows how it learns who is ready, and no more:
//!
//! ```text
//!  loop {
//!      wait, at most attendant.timeout()          ◀── the model: spin, select, poll, epoll …
//!      attendant.woke()                               the time is read, once for all
//!      the bell rang?     attendant.hear()            a signal, or a place at the door
//!      the door?          attendant.admit()           a new guest
//!      a guest?           attendant.step(key)         receive, answer, send; never wait
//!      attendant.due()    step(key) for each          a time limit has passed, the server stops, there was more to do
//!  } until attendant.is_over()
//! ```
//!
//! An event may come for a key whose guest has left, and even for its successor, if both happen in one batch. It costs one call that finds
//! nothing; the successor is in no other state than after a readiness that somebody else used up.

use super::admission::Admission;
use super::conversation::Desk;
use super::deadlines::Deadlines;
use super::door::{Door, Visitor};
use super::guest::{Guest, READ, Step};
use super::stopping::{Bell, Ending, tell, tell_cut_off};
use super::{Options, Summary};
use rustix::event::Timespec;
use slab::Slab;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What one loop keeps.
#[derive(Debug)]
pub(super) struct Attendant {
    /// None once the server stops.
    pub(super) door: Option<Door>,
    pub(super) bell: Bell,
    pub(super) guests: Slab<Guest>,
    deadlines: Deadlines,
    desk: Desk,
    input: Box<[u8]>,
    ending: Ending,
    due: Vec<usize>,
    summary: Summary,
}

impl Attendant {
    /// # Errors
    /// When descriptors are out.
    pub(super) fn new(
        options: &Options,
        listener: Arc<TcpListener>,
        admission: &Arc<Admission>,
    ) -> io::Result<Attendant> {
        let bell = Bell::new()?;
        Ok(Attendant {
            door: Some(Door::new(listener, Arc::clone(admission), bell.waker())),
            bell,
            guests: Slab::new(),
            deadlines: Deadlines::default(),
            desk: Desk::new(options.protocol, Arc::clone(&options.service)),
            input: vec![0; READ].into_boxed_slice(),
            ending: Ending::No,
            due: Vec::new(),
            summary: Summary::default(),
        })
    }

    /// How long the next wait may take; for ever, if none is said.
    pub(super) fn timeout(&self) -> Option<Duration> {
        if !self.due.is_empty() {
            return Some(Duration::ZERO);
        }
        let door = self.door.as_ref().and_then(Door::opens_at);
        let next = [self.deadlines.next(), door, self.ending.deadline()].into_iter().flatten().min()?;
        let left = next.saturating_duration_since(Instant::now());
        // The kernel counts milliseconds: rounded down, the last one would be spent spinning.
        Some(Duration::from_millis(left.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX)))
    }

    /// The same as the kernel takes it.
    pub(super) fn timespec(&self) -> Option<Timespec> {
        // Longer than the kernel's clock can hold is as good as a day.
        self.timeout().map(|timeout| {
            timeout.min(Duration::from_secs(86_400)).try_into().expect("a day fits into a Timespec")
        })
    }

    /// A wait is over: reads the clock, and ends the patience with those whose time limit has passed.
    pub(super) fn woke(&mut self) {
        let now = Instant::now();
        self.desk.now = now;
        let guests = &mut self.guests;
        while let Some(key) =
            self.deadlines.pass(now, |key| guests.get(key).map(|guest| guest.conversation.deadline()))
        {
            let guest = &mut guests[key];
            guest.conversation.expire(&mut self.desk);
            if !std::mem::replace(&mut guest.due, true) {
                self.due.push(key);
            }
        }
    }

    /// Whether the door is to be watched.
    pub(super) fn is_door_open(&mut self) -> bool {
        let now = self.desk.now;
        self.door.as_mut().is_some_and(|door| door.is_open(now))
    }

    /// Notes that a wait ended because somebody seemed to be at the door.
    pub(super) fn called_to_the_door(&mut self) {
        self.summary.wakeups += 1;
    }

    /// Takes in the next guest, if there is one and a place for it.
    pub(super) fn admit(&mut self) -> Visit {
        match self.door.as_mut().map(|door| door.accept(self.desk.now)) {
            Some(Visitor::One(socket, place)) => {
                let guest = Guest::new(socket, place, &self.desk);
                Visit::One(self.seat(guest))
            }
            Some(Visitor::Nobody) | None => Visit::Nobody,
            Some(Visitor::Later) => Visit::Later,
        }
    }

    fn seat(&mut self, guest: Guest) -> usize {
        let deadline = guest.conversation.deadline();
        let key = self.guests.insert(guest);
        self.deadlines.moved(key, deadline);
        self.summary.accepted += 1;
        key
    }

    /// One step of a guest, who is gone when it says [`Step::Over`].
    #[inline]
    pub(super) fn step(&mut self, key: usize) -> Step {
        self.step_by(key, Guest::step)
    }

    /// The same for a model that has steps of its own.
    #[inline]
    pub(super) fn step_by(
        &mut self,
        key: usize,
        step: impl FnOnce(&mut Guest, &mut [u8], &mut Desk) -> Step,
    ) -> Step {
        let Some(guest) = self.guests.get_mut(key) else { return Step::Over };
        let step = step(guest, &mut self.input, &mut self.desk);
        match step {
            Step::Over => self.dismiss(key),
            step => {
                self.deadlines.moved(key, guest.conversation.deadline());
                if self.ending != Ending::No && matches!(step, Step::Went { .. }) {
                    // Looked at until there is nothing more, for then it may be over.
                    self.again(key);
                }
            }
        }
        step
    }

    /// Sends a guest away.
    pub(super) fn dismiss(&mut self, key: usize) {
        self.deadlines.ended(key);
        self.guests.remove(key);
    }

    /// Tells a client that there is no room for it, if the protocol has a word for that, and sends it away.
    pub(super) fn turn_away(&mut self, key: usize) {
        if let Some(guest) = self.guests.get_mut(key) {
            guest.refuse(&self.desk);
            self.dismiss(key);
        }
    }

    /// Sees to it that a guest is [due](Self::due) at once.
    pub(super) fn again(&mut self, key: usize) {
        if let Some(guest) = self.guests.get_mut(key)
            && !guest.due
        {
            guest.due = true;
            self.due.push(key);
        }
    }

    /// Those who are to be looked at without an event.
    pub(super) fn due(&mut self) -> Vec<usize> {
        for &key in &self.due {
            if let Some(guest) = self.guests.get_mut(key) {
                guest.due = false;
            }
        }
        std::mem::take(&mut self.due)
    }

    /// The bell has rung: a signal has come, or somebody has left.
    pub(super) fn hear(&mut self) {
        self.bell.silence();
        if let Some(door) = &mut self.door {
            door.woken();
        }
        while let Some(signal) = self.bell.signal() {
            let first = self.ending.asked(self.desk.service.limits().stop_deadline);
            if first {
                self.stop();
            }
            tell(signal, first);
        }
    }

    /// Takes those who have come already, closes the door, and has everybody looked at once more.
    fn stop(&mut self) {
        if let Some(mut door) = self.door.take() {
            while let Some((socket, place)) = door.accept_last() {
                let guest = Guest::new(socket, place, &self.desk);
                self.seat(guest);
            }
        }
        for (key, guest) in &mut self.guests {
            guest.conversation.stop();
            if !std::mem::replace(&mut guest.due, true) {
                self.due.push(key);
            }
        }
    }

    /// Whether the server has stopped: everybody has left, or the time for it is over.
    pub(super) fn is_over(&self) -> bool {
        self.ending != Ending::No && (self.guests.is_empty() || self.ending.is_over(self.desk.now))
    }

    /// What became of the connections.
    pub(super) fn end(self) -> Summary {
        tell_cut_off(self.guests.len());
        Summary { cut_off: self.guests.len(), ..self.summary }
    }
}

/// Who came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Visit {
    One(usize),
    /// The queue at the door is empty.
    Nobody,
    /// There may be somebody, who has to wait until [`Attendant::is_door_open`].
    Later,
}
