//! `epoll-et`: edge-triggered; the kernel tells once when a socket *becomes* ready, and not again until it becomes so anew.
//!
//! ```text
//!   epoll_wait ──▶ the bell, the door, guests with an edge: steps, until there is nothing more ──┐
//!      ▲                 │ too many steps: to the end of the line, remembered as due             │
//!      │                 blocks until an edge comes, or the next time limit; not while somebody is due
//!      └──────────────────────────────────────────────────────────────────────────────────────────┘
//!
//!  state:  a table of guests, each with its conversation; and who was left before the end (`due`)
//!  wakes:  the kernel, once for each edge
//!  blocks: in epoll_wait, and in the filesystem (see `conversation`)
//! ```
//!
//! Each socket is registered once, for both directions and for good: no system call to change the interest. In return an edge must be *drained*. A
//! loop that reads once, where more bytes have come than it could take, is never told of the rest, and the client waits for ever. So here steps
//! follow until the kernel says `EAGAIN`, or a read came back short: then the socket was empty, and what comes later is an edge of its own. Except
//! for the end of the stream, which may have come with the bytes and in the same edge; the event says so (`EPOLLRDHUP`), and then it is read to
//! the end.
//!
//! And a client that sends without a pause must not hold up the others: after [`STEPS`] steps it is put off, and since no edge will call it back,
//! the loop has to remember it. The same holds for the door: while it is closed (see `door`), its edge is kept in `knocked`.

use super::attendant::{Attendant, Visit};
use super::epoll::{self as list, AT_ONCE, BELL, DOOR, EVENTS};
use super::guest::{Interest, Step};
use super::{Accept, Options, Started, Summary, loops};
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io;
use std::os::fd::OwnedFd;

/// How many steps a guest has before others have their turn.
const STEPS: usize = 16;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    let exclusive =
        if options.accept == Accept::Exclusive { EventFlags::EXCLUSIVE } else { EventFlags::empty() };
    let prepare = |attendant: Attendant| {
        let epoll = list::create(&attendant.bell)?;
        if let Some(door) = &attendant.door {
            let flags = EventFlags::IN | EventFlags::ET | exclusive;
            epoll::add(&epoll, door, EventData::new_u64(DOOR), flags)?;
        }
        Ok(Loop { epoll, attendant, knocked: false })
    };
    loops::several(options, "epoll", started, prepare, Loop::run)
}

struct Loop {
    epoll: OwnedFd,
    attendant: Attendant,
    /// Whether there may be somebody at the door: an edge has come, and the queue has not been seen empty since.
    knocked: bool,
}

impl Loop {
    fn run(mut self) -> io::Result<Summary> {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.attendant.is_over() {
            // Of what is left of the queue at the door no edge will tell.
            let come_back = self.knocked && self.attendant.is_door_open();
            let timeout = if come_back { Some(Timespec::default()) } else { self.attendant.timespec() };
            list::wait(&self.epoll, &mut events, timeout)?;
            self.attendant.woke();
            for event in &events {
                match event.data.u64() {
                    BELL => self.attendant.hear(),
                    DOOR => {
                        self.attendant.called_to_the_door();
                        self.knocked = true;
                    }
                    key => self.drain(key as usize, hung_up(event.flags)),
                }
            }
            for key in self.attendant.due() {
                // What its last event said is not known any more: to the very end.
                self.drain(key, true);
            }
            self.admit();
        }
        Ok(self.attendant.end())
    }

    fn admit(&mut self) {
        let mut admitted = 0;
        while self.knocked && self.attendant.is_door_open() {
            match self.attendant.admit() {
                Visit::Nobody => self.knocked = false,
                Visit::Later => break,
                Visit::One(key) => {
                    self.watch(key);
                    admitted += 1;
                }
            }
            if admitted == AT_ONCE {
                break;
            }
        }
    }

    /// Steps until nothing more is there, or others are to have their turn.
    fn drain(&mut self, key: usize, to_the_end: bool) {
        if self.attendant.guests.get(key).is_some_and(|guest| guest.watched.is_none()) {
            self.watch(key);
        }
        for _ in 0..STEPS {
            match self.attendant.step(key) {
                Step::Over | Step::Waits(_) => return,
                Step::Went { emptied: true } if !to_the_end && self.reads(key) => return,
                Step::Went { .. } => {}
            }
        }
        self.attendant.again(key);
    }

    /// Whether a guest waits for bytes; else it still has some to send, which is tried.
    fn reads(&self, key: usize) -> bool {
        self.attendant.guests.get(key).is_some_and(|guest| guest.interest() == Interest::Readable)
    }

    /// Registers a guest's socket. If it is ready already, that is the first edge.
    fn watch(&mut self, key: usize) {
        let guest = &mut self.attendant.guests[key];
        guest.watched = Some(Interest::Readable);
        let flags = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        if let Err(error) = epoll::add(&self.epoll, &*guest, EventData::new_u64(key as u64), flags) {
            // The kernel has no memory for it, or the user may watch no more.
            tracing::warn!(%error, "a connection cannot be watched, and is closed");
            self.attendant.dismiss(key);
        }
    }
}

/// Whether the client has sent its last byte, or is gone.
fn hung_up(flags: EventFlags) -> bool {
    flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR)
}
