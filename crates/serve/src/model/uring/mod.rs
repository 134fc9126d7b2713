//! `uring`: the kernel does the work and says when it is done; completions instead of readiness, on a raw `io_uring(7)`.
//!
//! ```text
//!   wait ──▶ accepted: a guest ──▶ receive ─┐         received ──▶ answer ──▶ send ─┐         sent ──▶ receive, or the next part
//!    ▲                                      │                                       │                     │
//!    └── what was begun goes to the kernel with the next wait: one system call for all ◀────────────────────┘
//!
//!  state:  a table of guests, each with its conversation, and what the kernel has of it (`receiving`, `sending`)
//!  wakes:  the kernel, with what has been done
//!  blocks: in the wait, and in the filesystem (see `conversation`)
//! ```
//!
//! One request costs no system call of its own: a round of the loop hands over the sends and receives of all guests at once. Accepting is asked for
//! once and goes on by itself (*multishot*). Receives name no buffer: the kernel takes one from a ring of *provided buffers* when bytes have come, so ten thousand
//! idle guests need none.
//!
//! In return nothing can be dropped at will. What the kernel has begun goes on until its completion has come, also when the guest has long been given up:
//! it is cancelled, and it stays until both `receiving` and `sending` are false again. Whose memory it is meanwhile is settled in `ring`, the only file
//! here with unsafe code.

mod ring;

use super::admission::{Admission, Place};
use super::conversation::{Conversation, Desk, Wish};
use super::deadlines::Deadlines;
use super::door::{self, Door};
use super::shortage::Shortage;
use super::stopping::{Bell, Ending, tell, tell_cut_off};
use super::{Options, Started, Summary, loops};
use ring::{Buffer, Completion, Ring};
use rustix::io::Errno;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, several workers are asked for, or there is no io_uring (or one before Linux 5.19).
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::is_one(options)?;
    let listener = door::listen(options.address, options.accept, 1)?.remove(0);
    let address = listener.local_addr()?;
    // On a descriptor in non-blocking mode the kernel would not wait either, but say EAGAIN.
    listener.set_nonblocking(false)?;
    let bell = Bell::new()?;
    let waker = bell.waker();
    let server = Server {
        ring: Ring::new()?,
        admission: Admission::new(options.service.limits().connections),
        reception: Reception {
            listener: Some(listener),
            waker,
            armed: false,
            reserved: None,
            lobby: VecDeque::new(),
            shortage: Shortage::default(),
            paused_until: None,
        },
        bell,
        guests: Slab::new(),
        deadlines: Deadlines::default(),
        desk: Desk::new(options.protocol, Arc::clone(&options.service)),
        ending: Ending::No,
        summary: Summary::default(),
    };
    started(&Started { address, driver: "io_uring", workers: 1 });
    server.run()
}

struct Server {
    // Before the sockets: a ring that is dropped waits for what they send.
    ring: Ring,
    admission: Arc<Admission>,
    reception: Reception,
    bell: Bell,
    guests: Slab<Guest>,
    deadlines: Deadlines,
    desk: Desk,
    ending: Ending,
    summary: Summary,
}

/// Where connections come in. The kernel accepts without being asked each time, so it can be ahead of the limit by some: those wait in the lobby.
struct Reception {
    /// None once the server stops.
    listener: Option<Arc<TcpListener>>,
    waker: Waker,
    /// Whether the kernel accepts.
    armed: bool,
    /// The place of the next: only with one in hand is anybody asked in.
    reserved: Option<Place>,
    lobby: VecDeque<OwnedFd>,
    shortage: Shortage,
    paused_until: Option<Instant>,
}

struct Guest {
    socket: TcpStream,
    conversation: Conversation,
    /// What the kernel has in hand.
    receiving: bool,
    sending: bool,
    /// Whether that has been cancelled for good.
    given_up: bool,
    /// Whether the last receive left the socket empty: the next need not try.
    emptied: bool,
    _place: Place,
}

impl Server {
    fn run(mut self) -> io::Result<Summary> {
        let mut completions = Vec::new();
        self.ring.poll(&self.bell);
        while !self.is_over() {
            self.ask_in();
            self.ring.wait(self.timeout(), &mut completions)?;
            self.desk.now = Instant::now();
            for completion in completions.drain(..) {
                match completion {
                    Completion::Accepted(socket, more) => self.accepted(socket, more),
                    Completion::Rang => self.hear(),
                    Completion::Received(key, result) => self.received(key, result),
                    Completion::Sent(key, bytes, result) => self.sent(key, bytes, result),
                }
            }
            while let Some(key) = self.passed() {
                self.guests[key].conversation.expire(&mut self.desk);
                self.advance(key);
            }
        }
        tell_cut_off(self.guests.len());
        Ok(Summary { cut_off: self.guests.len(), ..self.summary })
    }

    fn is_over(&self) -> bool {
        // Who is accepted before the kernel has ended accepting is a guest, too.
        let empty = self.guests.is_empty() && self.reception.lobby.is_empty() && !self.reception.armed;
        self.ending != Ending::No && (empty || self.ending.is_over(self.desk.now))
    }

    fn timeout(&self) -> Option<Duration> {
        let next = [self.deadlines.next(), self.reception.paused_until, self.ending.deadline()];
        let next = next.into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }

    fn passed(&mut self) -> Option<usize> {
        let guests = &self.guests;
        self.deadlines.pass(self.desk.now, |key| guests.get(key).map(|guest| guest.conversation.deadline()))
    }

    /// Begins what a conversation wishes for, or sees its guest off.
    fn advance(&mut self, key: usize) {
        let Some(guest) = self.guests.get_mut(key) else { return };
        if guest.conversation.wish() == Wish::Shut {
            if let Err(error) = guest.socket.shutdown(Shutdown::Write) {
                return self.fail(key, &error);
            }
            guest.conversation.shut(&self.desk);
        }
        match guest.conversation.wish() {
            Wish::Receive => {
                if !guest.receiving {
                    guest.receiving = true;
                    self.ring.receive(&guest.socket, key, guest.emptied);
                }
                if guest.conversation.owes_a_look() {
                    // It completes with what is there, or as cancelled: then there was nothing.
                    self.ring.cancel_receive(key);
                }
            }
            Wish::Send if !guest.sending => {
                guest.sending = true;
                let (bytes, from) = guest.conversation.lend_unsent();
                self.ring.send(&guest.socket, key, bytes, from);
            }
            Wish::Send | Wish::Shut => {}
            Wish::Over => return self.see_off(key),
        }
        self.deadlines.moved(key, guest.conversation.deadline());
    }

    /// A guest leaves when the kernel has nothing of it in hand any more.
    fn see_off(&mut self, key: usize) {
        let guest = &mut self.guests[key];
        if !guest.receiving && !guest.sending {
            self.deadlines.ended(key);
            self.guests.remove(key);
            return;
        }
        if !std::mem::replace(&mut guest.given_up, true) {
            if guest.receiving {
                self.ring.cancel_receive(key);
            }
            if guest.sending {
                self.ring.cancel_send(key);
            }
        }
    }

    fn fail(&mut self, key: usize, error: &io::Error) {
        // The client went away: its business, not ours.
        tracing::debug!(%error, "a connection ended early");
        self.guests[key].conversation.give_up();
        self.see_off(key);
    }

    fn received(&mut self, key: usize, result: io::Result<Option<Buffer>>) {
        let guest = &mut self.guests[key];
        guest.receiving = false;
        let wanted = guest.conversation.wish() == Wish::Receive;
        match result {
            Ok(Some(buffer)) => {
                guest.emptied = buffer.emptied;
                if wanted {
                    guest.conversation.received(self.ring.bytes(&buffer), &mut self.desk);
                }
                self.ring.give_back(buffer);
            }
            // While an answer is on its way the end of the stream is nothing new.
            Ok(None) if wanted => guest.conversation.received(&[], &mut self.desk),
            Ok(None) => {}
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                // Nothing was there when it was cancelled.
                Some(Errno::CANCELED) => guest.conversation.drained(),
                // Which tells nothing of what is there: it begins anew.
                Some(Errno::INTR) => {}
                // All buffers were in use; by now they have been given back.
                Some(Errno::NOBUFS | Errno::AGAIN) => {}
                _ => return self.fail(key, &error),
            },
        }
        self.advance(key);
    }

    fn sent(&mut self, key: usize, bytes: Vec<u8>, result: io::Result<usize>) {
        let guest = &mut self.guests[key];
        guest.sending = false;
        guest.conversation.take_back(bytes);
        match result {
            Ok(count) if guest.conversation.wish() == Wish::Send => {
                guest.conversation.sent(count, &mut self.desk);
            }
            // It was given up.
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return self.fail(key, &error),
        }
        self.advance(key);
    }

    /// Has the kernel accept, if there is a place for the next.
    fn ask_in(&mut self) {
        let reception = &mut self.reception;
        if reception.paused_until.is_some_and(|until| self.desk.now < until) {
            return;
        }
        reception.paused_until = None;
        while self.reserve() {
            let Some(socket) = self.reception.lobby.pop_front() else { break };
            self.seat(socket);
        }
        let reception = &mut self.reception;
        if let (false, Some(_), Some(listener)) = (reception.armed, &reception.reserved, &reception.listener)
        {
            reception.armed = true;
            self.ring.accept(listener);
        }
    }

    /// Whether there is a place for the next.
    fn reserve(&mut self) -> bool {
        let reception = &mut self.reception;
        if reception.reserved.is_none() {
            reception.reserved = self.admission.take_or_wake(&reception.waker);
        }
        reception.reserved.is_some()
    }

    fn accepted(&mut self, socket: io::Result<OwnedFd>, more: bool) {
        self.reception.armed = more;
        self.summary.wakeups += 1;
        match socket {
            Ok(socket) => {
                self.reception.shortage.is_over();
                match self.reserve() {
                    true => self.seat(socket),
                    false => self.reception.lobby.push_back(socket),
                }
                // At the end it was cancelled before; but a cancellation misses a request that is about to accept.
                if more && (!self.reserve() || self.reception.listener.is_none()) {
                    self.ring.cancel_accept();
                }
            }
            // It was cancelled, or the client had gone away before it was accepted.
            Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
                Some(Errno::CANCELED | Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
                _ if self.reception.listener.is_none() => {}
                _ => {
                    let pause = self.reception.shortage.pause(&error);
                    self.reception.paused_until = Some(self.desk.now + pause);
                }
            },
        }
    }

    /// Takes in a guest, who has the reserved place.
    fn seat(&mut self, socket: OwnedFd) {
        if let Some(place) = self.reception.reserved.take() {
            self.welcome(socket.into(), place);
        }
    }

    fn welcome(&mut self, socket: TcpStream, place: Place) {
        self.summary.accepted += 1;
        let mut conversation = Conversation::new(&self.desk);
        if self.ending != Ending::No {
            conversation.stop();
        }
        let guest = Guest {
            socket,
            conversation,
            receiving: false,
            sending: false,
            given_up: false,
            emptied: false,
            _place: place,
        };
        let key = self.guests.insert(guest);
        self.advance(key);
    }

    /// A signal has come, or a place was given back, which [`ask_in`](Self::ask_in) meets.
    fn hear(&mut self) {
        self.bell.silence();
        while let Some(signal) = self.bell.signal() {
            let first = self.ending.asked(self.desk.service.limits().stop_deadline);
            if first {
                self.stop();
            }
            tell(signal, first);
        }
        self.ring.poll(&self.bell);
    }

    /// Takes those who have come already, and has everybody looked at once more.
    fn stop(&mut self) {
        for (_, guest) in &mut self.guests {
            guest.conversation.stop();
        }
        let keys: Vec<usize> = self.guests.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.advance(key));
        self.reception.reserved = None;
        if self.reception.armed {
            self.ring.cancel_accept();
        }
        while !self.reception.lobby.is_empty() && self.reserve() {
            if let Some(socket) = self.reception.lobby.pop_front() {
                self.seat(socket);
            }
        }
        self.reception.lobby.clear();
        self.reception.reserved = None;
        if let Some(listener) = self.reception.listener.take()
            && listener.set_nonblocking(true).is_ok()
        {
            let waker = self.reception.waker.clone();
            let mut door = Door::new(listener, Arc::clone(&self.admission), waker);
            while let Some((socket, place)) = door.accept_last() {
                if socket.set_nonblocking(false).is_ok() {
                    self.welcome(socket, place);
                }
            }
        }
    }
}
