//! `epoll-lt`: the kernel keeps the list of all sockets, and hands out those that are ready; level-triggered, for as long as they are.
//!
//! ```text
//!   epoll_wait ──▶ the bell, the door, guests who are ready: a step each ──▶ does one wait for something else now? epoll_ctl ──┐
//!      ▲                  blocks until one is ready, or the next time limit                                                   │
//!      └───────────────────────────────────────────────────────────────────────────────────────────────────────────────────────┘
//!
//!  state:  a table of guests, each with its conversation; the key of a guest is the kernel's note with its socket
//!  wakes:  the kernel: a socket that becomes ready queues itself
//!  blocks: in epoll_wait, and in the filesystem (see `conversation`)
//! ```
//!
//! A wait costs O(ready), however many are idle. *Level-triggered* means that a socket is told of again and again while it is ready. So one step
//! for each event will do: what a step leaves unread brings the next event. The price is that what is watched for has to be what is wished for:
//! a socket that can be written to nearly always is, so the interest moves between reading and writing, by a system call.
//!
//! # Several loops
//! `--workers N` runs N such loops; `--accept` says how they share the door (see `door`), and the log at the end, how often they were woken.

use super::attendant::{Attendant, Visit};
use super::epoll::{self as list, AT_ONCE, BELL, DOOR, EVENTS};
use super::guest::{Interest, Step};
use super::{Accept, Options, Started, Summary, loops};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io;
use std::os::fd::OwnedFd;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    let exclusive = options.accept == Accept::Exclusive;
    let prepare = |attendant: Attendant| {
        let epoll = list::create(&attendant.bell)?;
        Ok(Loop { epoll, attendant, exclusive, door_watched: false })
    };
    loops::several(options, "epoll", started, prepare, Loop::run)
}

struct Loop {
    epoll: OwnedFd,
    attendant: Attendant,
    exclusive: bool,
    door_watched: bool,
}

impl Loop {
    fn run(mut self) -> io::Result<Summary> {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.attendant.is_over() {
            self.watch_door()?;
            list::wait(&self.epoll, &mut events, self.attendant.timespec())?;
            self.attendant.woke();
            for event in &events {
                match event.data.u64() {
                    BELL => self.attendant.hear(),
                    DOOR => self.admit(),
                    key => self.attend(key as usize),
                }
            }
            for key in self.attendant.due() {
                self.attend(key);
            }
        }
        Ok(self.attendant.end())
    }

    /// Watches the door when it is open, and only then: while it is closed the queue behind it would be told of again and again.
    fn watch_door(&mut self) -> io::Result<()> {
        let open = self.attendant.is_door_open();
        if open == self.door_watched {
            return Ok(());
        }
        self.door_watched = open;
        // A door that is gone for good has left the kernel's list with its descriptor, unless other loops share it.
        let Some(door) = &self.attendant.door else { return Ok(()) };
        match open {
            true => {
                let flags = if self.exclusive { EventFlags::EXCLUSIVE } else { EventFlags::empty() };
                epoll::add(&self.epoll, door, EventData::new_u64(DOOR), EventFlags::IN | flags)?;
            }
            false => epoll::delete(&self.epoll, door)?,
        }
        Ok(())
    }

    fn admit(&mut self) {
        self.attendant.called_to_the_door();
        for _ in 0..AT_ONCE {
            let Visit::One(key) = self.attendant.admit() else { break };
            // Mostly the request is still on its way: the event says when it is there.
            self.watch(key, Interest::Readable);
        }
    }

    fn attend(&mut self, key: usize) {
        match self.attendant.step(key) {
            Step::Over => {}
            Step::Waits(interest) => self.watch(key, interest),
            Step::Went { .. } => {
                let interest = self.attendant.guests[key].interest();
                self.watch(key, interest);
            }
        }
    }

    /// Has the kernel watch for what a guest waits for.
    fn watch(&mut self, key: usize, interest: Interest) {
        let guest = &mut self.attendant.guests[key];
        let watched = guest.watched.replace(interest);
        if watched == Some(interest) {
            return;
        }
        let flags = match interest {
            Interest::Readable => EventFlags::IN,
            Interest::Writable => EventFlags::OUT,
        };
        let data = EventData::new_u64(key as u64);
        let result = match watched {
            None => epoll::add(&self.epoll, &*guest, data, flags),
            Some(_) => epoll::modify(&self.epoll, &*guest, data, flags),
        };
        if let Err(error) = result {
            // The kernel has no memory for it, or the user may watch no more.
            tracing::warn!(%error, "a connection cannot be watched, and is closed");
            self.attendant.dismiss(key);
        }
    }
}
