//! One request on one connection, from its beginning to its being counted.
//!
//! ```text
//!   begin ─▶ dial (unless there is a socket) ─▶ send ─▶ receive ─▶ settle ─▶ complete ─▶ count ─▶ the next one
//!                    └───────────┴───────────┴─────────┴────────▶ fail ───────────────▶ count
//! ```

use super::slot::State;
use super::{BUFFER, Client, LONGEST_REST, MILLISECOND, READABLE};
use crate::load::conversation::{After, Answer, Conversation};
use crate::load::fault::Fault;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::cmp::Reverse;
use std::os::fd::OwnedFd;

/// Receives on one connection before others have their turn.
const READS_AT_ONCE: usize = 16;

impl<C: Conversation> Client<'_, C> {
    /// Begins a request on an idle slot.
    pub(super) fn begin(&mut self, index: usize, due: u64, counted: bool, now: u64) {
        self.conversation.begin(index);
        self.under_way += 1;
        let slot = &mut self.slots[index];
        (slot.due, slot.began, slot.counted) = (due, now, counted);
        if slot.silent_since == 0 {
            slot.silent_since = now;
        }
        (slot.sent, slot.received, slot.outcome) = (0, 0, Ok(()));
        if slot.socket.is_none() {
            match self.dial(index) {
                Ok(true) => {}
                Ok(false) => {
                    self.slots[index].state = State::Connecting;
                    return;
                }
                Err(error) => {
                    self.slots[index].state = State::Connecting;
                    return self.fail(index, Fault::of(error));
                }
            }
        }
        self.slots[index].state = State::Exchanging;
        self.send(index);
    }

    /// Begins to connect a slot; true if that is done.
    pub(super) fn dial(&mut self, slot: usize) -> Result<bool, Errno> {
        self.turns += 1;
        let (socket, connected) = self.plan.dialer.dial(self.first + self.turns)?;
        self.adopt(slot, socket, connected)?;
        Ok(connected)
    }

    /// Gives a slot its socket.
    pub(super) fn adopt(&mut self, index: usize, socket: OwnedFd, connected: bool) -> Result<(), Errno> {
        let slot = &mut self.slots[index];
        slot.generation = slot.generation.wrapping_add(1);
        let data = EventData::new_u64(u64::from(slot.generation) << 32 | index as u64);
        // Room to send is not waited for unless it is wanted: it would be told at once.
        let wanted = if connected { EventFlags::empty() } else { EventFlags::OUT };
        epoll::add(&self.epoll, &socket, data, READABLE | wanted)?;
        slot.socket = Some(socket);
        if connected {
            self.connected(index);
        }
        Ok(())
    }

    fn connected(&mut self, slot: usize) {
        self.tally.connections_made += 1;
        self.progress[0] += 1;
        self.slots[slot].refusals = 0;
    }

    /// Sends what is left of the request.
    fn send(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let request = self.conversation.request(index);
        let Some(socket) = &slot.socket else { return };
        while slot.sent < request.len() {
            match rustix::net::send(socket, &request[slot.sent..], SendFlags::NOSIGNAL) {
                Ok(sent) => slot.sent += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let data = EventData::new_u64(u64::from(slot.generation) << 32 | index as u64);
                    if let Err(error) = epoll::modify(&self.epoll, socket, data, READABLE | EventFlags::OUT) {
                        return self.fail(index, Fault::of(error));
                    }
                    return;
                }
                Err(error) => return self.fail(index, Fault::of(error)),
            }
        }
    }

    /// Something has happened on a slot's socket.
    pub(super) fn ready(&mut self, index: usize, generation: u32, flags: EventFlags) {
        let slot = &mut self.slots[index];
        if slot.generation != generation {
            return;
        }
        let Some(socket) = &slot.socket else { return };
        let readable = flags.intersects(READABLE | EventFlags::HUP | EventFlags::ERR);
        let closed = flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR);
        match slot.state {
            State::Opening | State::Connecting => {
                let result = sockopt::socket_error(socket).and_then(|result| result);
                let opening = slot.state == State::Opening;
                if result.is_ok() {
                    self.connected(index);
                }
                match (opening, result) {
                    (true, result) => {
                        self.opening -= 1;
                        self.opened_with(index, result.map_err(Fault::of));
                    }
                    (false, Ok(())) => {
                        if self.slots[index].joins {
                            self.opening -= 1;
                        }
                        self.slots[index].state = State::Exchanging;
                        self.send(index);
                        if closed && self.slots[index].state == State::Exchanging {
                            self.receive(index, true);
                        }
                    }
                    (false, Err(error)) => self.fail(index, Fault::of(error)),
                }
            }
            State::Exchanging => {
                if flags.contains(EventFlags::OUT) && slot.sent < self.conversation.request(index).len() {
                    self.send(index);
                }
                if readable && self.slots[index].state == State::Exchanging {
                    self.receive(index, closed);
                }
            }
            State::Ending if closed => self.complete(index, true),
            State::Ending => {}
            // Nothing was asked: the server is leaving, or talks nonsense. The next request opens another.
            State::Idle if readable => slot.socket = None,
            State::Idle | State::Unopened | State::Resting => {}
        }
    }

    /// Receives what there is of the answer; `closed` if its end was seen, too.
    pub(super) fn receive(&mut self, index: usize, closed: bool) {
        for _ in 0..READS_AT_ONCE {
            let slot = &mut self.slots[index];
            let Some(socket) = &slot.socket else { return };
            let received = match rustix::net::recv(socket, &mut self.buffer[..], RecvFlags::empty()) {
                Ok((0, _)) => {
                    return match self.conversation.end(index) {
                        Answer::Whole(outcome, _) => self.settle(index, outcome, After::Close),
                        Answer::Wrong(fault) => self.fail(index, fault),
                        Answer::More => self.fail(index, Fault::ClosedEarly),
                    };
                }
                Ok((received, _)) => received,
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => return,
                Err(error) => return self.fail(index, Fault::of(error)),
            };
            slot.received += received as u64;
            match self.conversation.answer(index, &self.buffer[..received]) {
                // A short receive has emptied the socket; what comes is told.
                Answer::More if received < BUFFER && !closed => return,
                Answer::More => {}
                Answer::Whole(outcome, _) if closed => return self.settle(index, outcome, After::Close),
                Answer::Whole(outcome, after) => return self.settle(index, outcome, after),
                Answer::Wrong(fault) => return self.fail(index, fault),
            }
        }
        self.unread.push((index, self.slots[index].generation, closed));
    }

    /// The request has its answer.
    fn settle(&mut self, index: usize, outcome: Result<(), Fault>, after: After) {
        let slot = &mut self.slots[index];
        // An answer before the whole of the request is none.
        if slot.sent < self.conversation.request(index).len() {
            return self.fail(index, Fault::BadAnswer);
        }
        (slot.answered, slot.served) = (self.shared.now(), true);
        slot.outcome = outcome;
        match after {
            After::Keep => self.complete(index, false),
            After::Close => self.complete(index, true),
            After::AwaitEnd => slot.state = State::Ending,
        }
    }

    /// The request is done; the next one may begin at once.
    fn complete(&mut self, index: usize, close: bool) {
        let slot = &mut self.slots[index];
        let (outcome, now) = (slot.outcome, slot.answered);
        if close {
            slot.socket = None;
        }
        self.count(index, outcome, now);
        // The connection's end came later than the answer.
        let now = if self.slots[index].state == State::Ending { self.shared.now() } else { now };
        self.slots[index].state = State::Idle;
        self.next(index, now);
    }

    /// The request has failed, and its connection with it.
    pub(super) fn fail(&mut self, index: usize, fault: Fault) {
        let now = self.shared.now();
        self.count(index, Err(fault), now);
        let slot = &mut self.slots[index];
        slot.socket = None;
        if slot.state == State::Connecting {
            // Not again at once, but soon: it may be that a server restarts.
            let rest = MILLISECOND << slot.refusals.min(LONGEST_REST);
            slot.refusals += 1;
            slot.state = State::Resting;
            self.resting.push(Reverse((now + rest, index)));
        } else {
            // Later, and not from here: a server may fail one request after the other.
            slot.state = State::Idle;
            self.free.push(index);
        }
    }

    fn count(&mut self, index: usize, outcome: Result<(), Fault>, answered: u64) {
        self.under_way -= 1;
        let slot = &mut self.slots[index];
        self.progress[if outcome.is_ok() { 1 } else { 2 }] += 1;
        if outcome != Err(Fault::TimedOut) {
            slot.silent_since = 0;
        }
        if std::mem::take(&mut slot.joins) {
            self.joining -= 1;
            if slot.state == State::Connecting {
                self.opening -= 1;
                // That there is no connection counts whenever it is.
                slot.counted = true;
            }
        }
        if !slot.counted {
            return;
        }
        let slot = &self.slots[index];
        self.window.note(answered);
        self.tally.bytes_in += slot.received;
        self.tally.bytes_out += slot.sent as u64;
        match outcome {
            Ok(()) => self.tally.answered(answered.saturating_sub(slot.due)),
            Err(fault) => self.tally.failed(fault, 1),
        }
    }
}
