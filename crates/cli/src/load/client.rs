//! One thread's connections, and the loop that serves them.
//!
//! A connection is a *slot*, which has a socket or not, and goes through these states. Each request passes from `begin` to `settle` or `fail`,
//! and is counted once, there. Where a connection is open only when it has been answered (see [`Plan::opens_with_an_answer`]), it is opened by such a
//! request, and does without Opening.
//!
//! ```text
//!   Unopened ─▶ Opening ─▶ Idle ─begin─▶ Connecting ─▶ Exchanging ─settle─▶ Idle (the same socket, or none)
//!                            ▲  └──── (has a socket) ──────▲    └─▶ Ending ───▶ Idle: the server closes
//!                            └─ Resting ◀─ could not connect ── fail ─▶ Idle, without a socket
//! ```
//! Sockets are registered edge-triggered, once. A receive that came back short has emptied its socket, so that an exchange costs a send, a receive
//! and a share of an `epoll_wait`. In a closed loop the next request leaves at once, before the answers of other connections are looked at: the
//! server need not wait for the client to get through them.

mod exchange;
mod slot;

use super::conversation::Conversation;
use super::fault::Fault;
use super::pace::{Length, Pace};
use super::plan::{Plan, Shared};
use super::tally::Tally;
use super::window::{Measured, Window};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use slot::{Slot, State};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

const EVENTS_AT_ONCE: usize = 1_024;
const BUFFER: usize = 64 * 1024;
/// What every socket is watched for.
const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);
/// Connections that are being opened at once, before the start: less than any listener's queue.
const OPENING_AT_ONCE: usize = 100;
const MILLISECOND: u64 = 1_000_000;
/// How often the clock is looked at for timeouts, signals and the progress.
const TICK: u64 = 100 * MILLISECOND;
/// The longest rest of a connection that cannot be made, in doublings of a millisecond.
const LONGEST_REST: u32 = 7;
/// Shorter waits for the next request that is due are made by `ppoll(2)`, which counts in nanoseconds; rustix's `epoll::wait` counts in
/// milliseconds.
const PRECISE_BELOW: u64 = 10 * MILLISECOND;

/// What came of a thread's part.
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) measured: Measured,
}

/// A thread's part of the load.
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
    /// Slots that are being connected before the start, those that have no answer to the request which opens them, and how many have left Unopened.
    opening: usize,
    joining: usize,
    opened: usize,
    /// Whether this thread's slots are open or left out, and the others know.
    said_ready: bool,
    /// The measured time is over, and those who were silent in it are to be given up when all that has come by then has been read.
    gives_up: bool,
    /// Connections begun.
    turns: usize,
    window: Window,
    next_tick: u64,
    /// Connections made, requests answered and failed, counted or not; and what of that the progress knows.
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
        let mut client = Client {
            plan,
            shared,
            conversation,
            thread,
            first,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            events: Vec::with_capacity(EVENTS_AT_ONCE),
            buffer: vec![0; BUFFER],
            slots: std::iter::repeat_with(Slot::new).take(count).collect(),
            idle: VecDeque::with_capacity(count),
            free: Vec::new(),
            unread: Vec::new(),
            resting: BinaryHeap::new(),
            pace: None,
            under_way: 0,
            opening: 0,
            joining: 0,
            opened: 0,
            turns: 0,
            said_ready: false,
            gives_up: false,
            window: Window::new(),
            next_tick: 0,
            progress: [0; 3],
            told: [0; 3],
            tally: Tally::new(),
        };
        if let Some(socket) = reached {
            client.adopt(0, socket, true)?;
            client.slots[0].state = State::Idle;
            client.opened = 1;
            if plan.opens_with_an_answer() {
                client.join(0, shared.now());
            } else {
                client.free.push(0);
            }
        }
        Ok(client)
    }

    /// Does the thread's part of the plan.
    ///
    /// # Errors
    ///
    /// When the wait for events fails, which leaves nothing to go on with.
    pub(super) fn run(mut self) -> io::Result<Outcome> {
        if self.plan.rate.is_some() {
            // Sleeps end up to 50 µs late otherwise, which would count as the server's (PR_SET_TIMERSLACK in prctl(2)).
            let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        }
        loop {
            let now = self.shared.now();
            if self.shared.stopped() {
                break;
            }
            if now >= self.next_tick {
                self.tick(now);
            }
            self.open(now);
            self.follow_start();
            self.distribute(now);
            self.follow_window(now);
            if self.is_done(now) {
                break;
            }
            self.wait(now)?;
        }
        Ok(self.finish())
    }

    /// Opens what is due to be opened, and begins when all are there, or the time for it is over.
    fn open(&mut self, now: u64) {
        if self.said_ready {
            return;
        }
        if self.plan.keep_alive && now >= self.plan.opening_ends() {
            self.leave_out(now);
        }
        while self.opened < self.slots.len() && self.opening < OPENING_AT_ONCE && now >= self.opens_at() {
            let slot = self.opened;
            self.opened += 1;
            if !self.plan.keep_alive {
                // Each request opens its own.
                self.slots[slot].state = State::Idle;
                self.free.push(slot);
                continue;
            }
            if self.plan.opens_with_an_answer() {
                self.join(slot, now);
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
        if self.opened == self.slots.len() && self.opening == 0 && self.joining == 0 {
            self.said_ready = true;
            let answers = self.plan.opens_with_an_answer();
            let is_open = |slot: &&Slot| if answers { slot.served } else { slot.is_open() };
            self.tally.connections_at_start = self.slots.iter().filter(is_open).count();
            self.shared.ready(self.plan.threads, now);
        }
    }

    /// Opens a slot with a request that does not count.
    fn join(&mut self, slot: usize, now: u64) {
        let opening = self.opening;
        self.slots[slot].joins = true;
        (self.joining, self.opening) = (self.joining + 1, opening + 1);
        self.begin(slot, now, false, now);
        // It may be connected already, or have failed.
        let is_connecting = self.slots[slot].joins && self.slots[slot].state == State::Connecting;
        self.opening = opening + usize::from(is_connecting);
    }

    /// The time for opening is over. Who is not connected is left out; who is not answered yet goes on waiting, and its time limit begins.
    fn leave_out(&mut self, now: u64) {
        for slot in &mut self.slots {
            if slot.state == State::Opening || slot.joins && slot.state == State::Connecting {
                if std::mem::take(&mut slot.joins) {
                    self.under_way -= 1;
                }
                (slot.socket, slot.state) = (None, State::Unopened);
            }
            if slot.state == State::Unopened {
                self.tally.failed(Fault::NotOpened, 1);
                self.progress[2] += 1;
            }
            if std::mem::take(&mut slot.joins) {
                slot.began = now;
            }
        }
        (self.opened, self.opening, self.joining) = (self.slots.len(), 0, 0);
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

    /// Lets everybody begin, once all connections are there.
    fn follow_start(&mut self) {
        if self.window.start.is_some() {
            return;
        }
        let Some(ready) = self.shared.start() else { return };
        self.window.set(ready, self.plan);
        self.pace = self.plan.rate.map(|rate| {
            let (threads, warm_up) = (self.plan.threads, self.plan.warm_up);
            Pace::new(rate, self.thread, threads, ready, warm_up, self.plan.length)
        });
        if self.slots.iter().all(|slot| slot.state == State::Unopened) {
            self.give_up();
        }
        self.free.extend(self.idle.drain(..));
    }

    /// Begins and ends the measured time; what was due in it has been begun as far as connections are free.
    fn follow_window(&mut self, now: u64) {
        let ends = self.window.follow(now);
        if self.window.has_begun() {
            self.shared.measuring();
        }
        if ends {
            self.give_up();
            self.gives_up = true;
        }
    }

    /// What was due and could not be sent.
    fn give_up(&mut self) {
        let unsent = self.pace.as_mut().map_or(0, Pace::give_up);
        self.progress[2] += unsent;
        self.tally.failed(Fault::NotSent, unsent);
    }

    /// Connections that have waited for an answer from before the measured time until its end: nothing that they may still hear belongs to it, and that
    /// they waited is not to be lost.
    fn give_up_on_the_silent(&mut self) {
        let Some(start) = self.window.start else { return };
        for index in 0..self.slots.len() {
            let slot = &mut self.slots[index];
            let fault = match slot.state {
                State::Ending => Fault::NotClosed,
                State::Connecting | State::Exchanging if slot.served => Fault::Unanswered,
                State::Connecting | State::Exchanging => Fault::NotAdmitted,
                _ => continue,
            };
            if slot.silent_since < start {
                slot.counted = true;
                self.fail(index, fault);
            }
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

    /// Waits until something is to be done, and does what sockets ask for.
    fn wait(&mut self, now: u64) -> io::Result<()> {
        let mut until = self.next_tick;
        if !self.said_ready && self.opened < self.slots.len() && self.opening < OPENING_AT_ONCE {
            until = until.min(self.opens_at());
        }
        if !self.said_ready {
            until = until.min(self.plan.opening_ends());
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
        let due = self.pace.as_ref().filter(|_| !self.idle.is_empty()).and_then(Pace::next_at);
        let precisely = due.is_some_and(|due| due <= until);
        until = until.min(due.unwrap_or(u64::MAX));
        if !self.free.is_empty() || !self.unread.is_empty() || self.gives_up {
            until = now;
        }

        let mut timeout = until.saturating_sub(now);
        if precisely && timeout > 0 && timeout < PRECISE_BELOW {
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
        let is_all = events.len() < EVENTS_AT_ONCE;
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
        if self.gives_up && is_all && self.unread.is_empty() {
            self.gives_up = false;
            self.give_up_on_the_silent();
        }
        Ok(())
    }

    /// What is done several times a second.
    fn tick(&mut self, now: u64) {
        let often = (self.plan.timeout / 8).clamp(MILLISECOND, TICK);
        self.next_tick = now + often;
        for index in 0..self.slots.len() {
            let slot = &self.slots[index];
            // Those that are being opened have another limit.
            if slot.joins || now.saturating_sub(slot.began) < self.plan.timeout {
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
        self.tally.connections_served = self.slots.iter().filter(|slot| slot.served).count();
        self.tally.connections_open = self.slots.iter().filter(|slot| slot.is_open()).count();
        Outcome { tally: self.tally, measured: self.window.measured(now, self.shared.stopped()) }
    }
}

fn timespec(nanoseconds: u64) -> Timespec {
    Timespec {
        tv_sec: (nanoseconds / 1_000_000_000).cast_signed(),
        tv_nsec: (nanoseconds % 1_000_000_000).cast_signed(),
    }
}
