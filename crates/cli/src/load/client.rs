//! One thread's connections, and the loop that serves them.
//!
//! A connection is a *slot*, which has a socket or not, and goes through these states. Each request passes from `begin` to `settle` or `fail`,
//! and is counted once, there.
//!
//! ```text
//!   Unopened ─▶ Opening ─▶ Idle ─begin─▶ Connecting ─▶ Exchanging ─settle─▶ Idle (the same socket, or none)
//!                            ▲  └──── (has a socket) ──────▲    └─▶ Ending ───▶ Idle: the server closes
//!                            └─ Resting ◀─ could not connect ── fail ─▶ Idle, without a socket
//! ```
//! Sockets are registered edge-triggered, once. A receive that came back short has emptied its socket, so that an exchange costs a send, a receive
//! and a share of an `epoll_wait`. In a closed loop the next request leaves at once, before the answers of other connections are looked at: the
//! server need not wait for the client to get through them.

use super::conversation::{After, Answer, Conversation};
use super::fault::Fault;
use super::pace::{Length, Pace};
use super::plan::{Plan, Shared};
use super::tally::Tally;
use super::window::{Measured, Window};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, sockopt};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

const EVENTS_AT_ONCE: usize = 1_024;
const BUFFER: usize = 64 * 1024;
/// Receives on one connection before others have their turn.
const READS_AT_ONCE: usize = 16;
/// Connections that are being opened at once, before the start: less than any listener's queue.
const OPENING_AT_ONCE: usize = 100;
const MILLISECOND: u64 = 1_000_000;
/// How often the clock is looked at for timeouts, signals and the progress.
const TICK: u64 = 100 * MILLISECOND;
/// The longest rest of a connection that cannot be made, in doublings of a millisecond.
const LONGEST_REST: u32 = 7;
/// Shorter waits are made by `ppoll(2)`, which counts in nanoseconds; rustix's `epoll::wait` counts in milliseconds.
const PRECISE_BELOW: u64 = 10 * MILLISECOND;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Unopened,
    /// Connecting before the start, without a request.
    Opening,
    Idle,
    Connecting,
    Exchanging,
    /// Answered; the server is going to close.
    Ending,
    Resting,
}

struct Slot {
    state: State,
    socket: Option<OwnedFd>,
    /// Counts the slot's sockets, so that what is told of an earlier one is not taken for this one's.
    generation: u32,
    /// Connections in a row that could not be made.
    refusals: u32,
    /// The present request, on the run's clock: when it was due, when it was begun, and when it was answered.
    due: u64,
    began: u64,
    answered: u64,
    outcome: Result<(), Fault>,
    counted: bool,
    sent: usize,
    received: u64,
}

/// What came of a thread's part.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) measured: Measured,
}

pub(super) struct Client<'a, C> {
    plan: &'a Plan,
    shared: &'a Shared,
    conversation: C,
    thread: usize,
    /// Connections of the threads before this one.
    first: usize,
    epoll: OwnedFd,
    events: Vec<Event>,
    buffer: Vec<u8>,
    slots: Vec<Slot>,
    /// Slots in state Idle that wait for a request.
    idle: VecDeque<usize>,
    /// Slots in state Idle that have just lost a connection or rested, and may have a request.
    free: Vec<usize>,
    /// Slots that have more to read than one turn allows, by generation; true if the server had closed.
    unread: Vec<(usize, u32, bool)>,
    resting: BinaryHeap<Reverse<(u64, usize)>>,
    pace: Option<Pace>,
    /// Slots that have a request.
    under_way: usize,
    /// Slots in state Opening, and how many have left Unopened.
    opening: usize,
    opened: usize,
    turns: usize,
    said_ready: bool,
    window: Window,
    next_tick: u64,
    /// Answered and failed, counted or not; and what of that the progress knows.
    progress: [u64; 3],
    told: [u64; 3],
    tally: Tally,
}

impl<'a, C: Conversation> Client<'a, C> {
    /// For thread `thread`; `reached` is a connection that is already made, if there is one.
    ///
    /// # Errors
    ///
    /// When there can be no epoll instance.
    pub(super) fn new(
        plan: &'a Plan,
        shared: &'a Shared,
        thread: usize,
        conversation: C,
        reached: Option<OwnedFd>,
    ) -> io::Result<Client<'a, C>> {
        let (first, count) = plan.share(thread);
        let slot = || Slot {
            state: State::Unopened,
            socket: None,
            generation: 0,
            refusals: 0,
            due: 0,
            began: 0,
            answered: 0,
            outcome: Ok(()),
            counted: false,
            sent: 0,
            received: 0,
        };
        let mut client = Client {
            plan,
            shared,
            conversation,
            thread,
            first,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_AT_ONCE),
            buffer: vec![0; BUFFER],
            slots: std::iter::repeat_with(slot).take(count).collect(),
            idle: VecDeque::with_capacity(count),
            free: Vec::new(),
            unread: Vec::new(),
            resting: BinaryHeap::new(),
            pace: None,
            under_way: 0,
            opening: 0,
            opened: 0,
            turns: 0,
            said_ready: false,
            window: Window::new(),
            next_tick: 0,
            progress: [0; 3],
            told: [0; 3],
            tally: Tally::new(),
        };
        if let Some(socket) = reached {
            client.adopt(0, socket, true)?;
            client.slots[0].state = State::Idle;
            client.free.push(0);
            client.opened = 1;
        }
        Ok(client)
    }

    /// Does the thread's part of the plan.
    ///
    /// # Errors
    ///
    /// When the wait for events fails, which leaves nothing to go on with.
    pub(super) fn run(mut self) -> io::Result<Outcome> {
        loop {
            let now = self.shared.now();
            if self.shared.stopped() {
                break;
            }
            if now >= self.next_tick {
                self.tick(now);
            }
            self.open(now);
            self.follow_window(now);
            self.distribute(now);
            if self.is_done(now) {
                break;
            }
            self.wait(now)?;
        }
        Ok(self.finish())
    }

    /// Opens what is due to be opened, and begins when all are there.
    fn open(&mut self, now: u64) {
        while self.opened < self.slots.len() && self.opening < OPENING_AT_ONCE && now >= self.opens_at() {
            let slot = self.opened;
            self.opened += 1;
            if !self.plan.keep_alive {
                // Each request opens its own.
                self.slots[slot].state = State::Idle;
                self.free.push(slot);
                continue;
            }
            self.slots[slot].began = now;
            match self.dial(slot) {
                Ok(true) => self.opened_with(slot, Ok(())),
                Ok(false) => {
                    self.slots[slot].state = State::Opening;
                    self.opening += 1;
                }
                Err(error) => self.opened_with(slot, Err(Fault::of(error))),
            }
        }
        if !self.said_ready && self.opened == self.slots.len() && self.opening == 0 {
            self.said_ready = true;
            self.shared.ready(self.plan.threads, now);
        }
    }

    /// When the next slot is opened: evenly over the ramp, over all threads.
    fn opens_at(&self) -> u64 {
        let before = (self.first + self.opened) as u128;
        (u128::from(self.plan.ramp) * before / self.plan.connections as u128) as u64
    }

    /// A slot has its first connection, or could not have it, which counts whenever it is.
    fn opened_with(&mut self, slot: usize, result: Result<(), Fault>) {
        if let Err(fault) = result {
            self.progress[2] += 1;
            self.tally.failed(fault, 1);
            self.slots[slot].socket = None;
        }
        self.slots[slot].state = State::Idle;
        self.free.push(slot);
    }

    /// Begins and ends the measured time.
    fn follow_window(&mut self, now: u64) {
        if self.window.start.is_none() {
            let Some(ready) = self.shared.start() else { return };
            self.window.set(ready, self.plan);
            self.pace = self.plan.rate.map(|rate| {
                let (threads, warm_up) = (self.plan.threads, self.plan.warm_up);
                Pace::new(rate, self.thread, threads, ready, warm_up, self.plan.length)
            });
            self.free.extend(self.idle.drain(..));
        }
        let ends = self.window.follow(now);
        if self.window.has_begun() {
            self.shared.measuring();
        }
        if ends {
            let unsent = self.pace.as_mut().map_or(0, Pace::give_up);
            self.progress[2] += unsent;
            self.tally.failed(Fault::NotSent, unsent);
        }
    }

    /// Gives requests to those that are without.
    fn distribute(&mut self, now: u64) {
        while self.resting.peek().is_some_and(|Reverse((until, _))| *until <= now) {
            if let Some(Reverse((_, slot))) = self.resting.pop() {
                self.slots[slot].state = State::Idle;
                self.free.push(slot);
            }
        }
        // Those that fail at once have their turn after the next look at the sockets.
        for slot in std::mem::take(&mut self.free) {
            self.next(slot, now);
        }
        // In turn, so that all connections are used.
        while let Some(slot) = self.idle.front().copied() {
            let Some(due) = self.pace.as_mut().and_then(|pace| pace.take(now)) else { break };
            self.idle.pop_front();
            self.begin(slot, due.at, due.counted, now);
        }
    }

    /// Lets an idle slot have its next request, or wait for one.
    fn next(&mut self, slot: usize, now: u64) {
        let due = match (&mut self.pace, self.plan.rate) {
            (Some(pace), _) => pace.take(now).map(|due| (due.at, due.counted)),
            (None, Some(_)) => None,
            (None, None) => self.may_begin(now).map(|counted| (now, counted)),
        };
        match due {
            Some((at, counted)) => self.begin(slot, at, counted, now),
            None => self.idle.push_back(slot),
        }
    }

    /// In a closed loop: whether there is another request, and whether it counts.
    fn may_begin(&mut self, now: u64) -> Option<bool> {
        match self.window.start {
            // While others are still being opened.
            None => (self.plan.ramp > 0).then_some(false),
            Some(start) if now < start => Some(false),
            Some(_) => match self.plan.length {
                Length::Time(_) => (now < self.window.end).then_some(true),
                Length::Count(count) => self.shared.take(count).then_some(true),
            },
        }
    }

    /// Begins a request on an idle slot.
    fn begin(&mut self, index: usize, due: u64, counted: bool, now: u64) {
        self.conversation.begin(index);
        self.under_way += 1;
        let slot = &mut self.slots[index];
        (slot.due, slot.began, slot.counted) = (due, now, counted);
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
    fn dial(&mut self, slot: usize) -> Result<bool, Errno> {
        self.turns += 1;
        let (socket, connected) = self.plan.dialer.dial(self.first + self.turns)?;
        self.adopt(slot, socket, connected)?;
        Ok(connected)
    }

    /// Gives a slot its socket.
    fn adopt(&mut self, index: usize, socket: OwnedFd, connected: bool) -> Result<(), Errno> {
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

    /// Waits until something is to be done, and does what sockets ask for.
    fn wait(&mut self, now: u64) -> io::Result<()> {
        let mut until = self.next_tick;
        if !self.said_ready && self.opened < self.slots.len() && self.opening < OPENING_AT_ONCE {
            until = until.min(self.opens_at());
        }
        match self.window.start {
            // Other threads are not ready, and do not tell.
            None if self.said_ready => until = until.min(now + MILLISECOND),
            None => {}
            Some(start) if now < start => until = until.min(start),
            Some(_) => {}
        }
        if now < self.window.end {
            until = until.min(self.window.end);
        }
        if let Some(Reverse((ends, _))) = self.resting.peek() {
            until = until.min(*ends);
        }
        if let (Some(pace), false) = (&self.pace, self.idle.is_empty()) {
            until = until.min(pace.next_at().unwrap_or(u64::MAX));
        }
        if !self.free.is_empty() || !self.unread.is_empty() {
            until = now;
        }

        let mut timeout = until.saturating_sub(now);
        if timeout > 0 && timeout < PRECISE_BELOW {
            let mut set = [PollFd::new(&self.epoll, PollFlags::IN)];
            match rustix::event::poll(&mut set, Some(&timespec(timeout))) {
                Ok(_) | Err(Errno::INTR) => timeout = 0,
                Err(error) => return Err(error.into()),
            }
        }
        let mut events = std::mem::take(&mut self.events);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&timespec(timeout))) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let unread = std::mem::take(&mut self.unread);
        for event in events.drain(..) {
            let data = event.data.u64();
            self.ready(data as u32 as usize, (data >> 32) as u32, event.flags);
        }
        self.events = events;
        for (slot, generation, closed) in unread {
            if self.slots[slot].generation == generation && self.slots[slot].state == State::Exchanging {
                self.receive(slot, closed);
            }
        }
        Ok(())
    }

    /// Something has happened on a slot's socket.
    fn ready(&mut self, index: usize, generation: u32, flags: EventFlags) {
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
                        self.slots[index].state = State::Exchanging;
                        self.send(index);
                        if closed {
                            self.receive_if_exchanging(index);
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

    fn receive_if_exchanging(&mut self, index: usize) {
        if self.slots[index].state == State::Exchanging {
            self.receive(index, true);
        }
    }

    /// Receives what there is of the answer; `closed` if its end was seen, too.
    fn receive(&mut self, index: usize, closed: bool) {
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
        slot.answered = self.shared.now();
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
    fn fail(&mut self, index: usize, fault: Fault) {
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
        let slot = &self.slots[index];
        self.progress[if outcome.is_ok() { 1 } else { 2 }] += 1;
        // One from the warm-up that has no answer after the end kept its connection waiting for the whole of the measured time.
        let overdue = outcome.is_err() && answered >= self.window.end;
        if !slot.counted && !overdue {
            return;
        }
        self.window.note(answered);
        self.tally.bytes_in += slot.received;
        self.tally.bytes_out += slot.sent as u64;
        match outcome {
            Ok(()) => self.tally.answered(answered.saturating_sub(slot.due)),
            Err(fault) => self.tally.failed(fault, 1),
        }
    }

    /// What is done several times a second.
    fn tick(&mut self, now: u64) {
        let often = (self.plan.timeout / 8).clamp(MILLISECOND, TICK);
        self.next_tick = now + often;
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            if now.saturating_sub(slot.began) < self.plan.timeout {
                continue;
            }
            match slot.state {
                State::Opening => {
                    self.opening -= 1;
                    self.opened_with(index, Err(Fault::TimedOut));
                }
                State::Connecting | State::Exchanging => self.fail(index, Fault::TimedOut),
                State::Ending => self.fail(index, Fault::NotClosed),
                State::Unopened | State::Idle | State::Resting => {}
            }
        }
        let counters = [&self.shared.opened, &self.shared.answered, &self.shared.failed];
        for (counter, (progress, told)) in counters.iter().zip(self.progress.iter().zip(&mut self.told)) {
            counter.fetch_add(progress - *told, Ordering::Relaxed);
            *told = *progress;
        }
    }

    fn is_done(&self, now: u64) -> bool {
        let Some(start) = self.window.start else { return false };
        let over = match (self.plan.length, &self.pace) {
            (Length::Time(_), _) => now >= self.window.end,
            (Length::Count(_), Some(pace)) => pace.next_at().is_none(),
            (Length::Count(count), None) => now >= start && self.shared.all_taken(count),
        };
        over && self.under_way == 0
    }

    fn finish(mut self) -> Outcome {
        let now = self.shared.now();
        let open =
            |slot: &Slot| slot.socket.is_some() && !matches!(slot.state, State::Opening | State::Connecting);
        self.tally.connections_open = self.slots.iter().filter(|slot| open(slot)).count();
        Outcome { tally: self.tally, measured: self.window.measured(now, self.shared.stopped()) }
    }
}

/// What every socket is watched for.
const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
        tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
    }
}
