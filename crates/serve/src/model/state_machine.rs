//! `state-machine`: each client is a machine that is entered with an event, does what its state says, and leaves with what it waits for next.
//!
//! ```text
//!   state       entered when   does       then
//!   Receiving   readable       recv       Sending │ Receiving: half a request │ Gone: the end
//!   Sending     at once        send       Sending: not all was taken │ Receiving │ Parting: the last answer │ Gone
//!     and again when writable
//!   Parting     at once        shutdown   Receiving: what still comes is thrown away
//!   Gone        never
//!
//!  state:  an enum in a table, and beside it all that a stack would keep: the buffer, how much of it is sent, the file, what comes after
//!  wakes:  the kernel, once for each time that the machine has asked (EPOLLONESHOT)
//!  blocks: in epoll_wait, and in the filesystem (see `conversation`)
//! ```
//!
//! This is what is left when a blocking program is cut at each of its waits: the place where it stood becomes a [`State`], and the loop
//! around it becomes the rule which state comes next. A step is *re-entrant*: it may be entered again where it was left, with nothing but what
//! the machine has kept. A compiler does the same to an `async fn`; see [`future`](super::future) for what comes of that by hand.
//!
//! The kernel reports to a machine only what it has asked for, and only once; so a machine is never entered in a state that has not asked. The
//! price is a system call to ask anew, after each event.

use super::attendant::{Attendant, Visit};
use super::conversation::{Conversation, Desk, Wish};
use super::epoll::{self as list, AT_ONCE, BELL, DOOR, EVENTS};
use super::guest::{Guest, Interest, Step};
use super::{Options, Started, Summary, loops};
use rustix::event::epoll::{self, EventData, EventFlags};
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;

/// Where a client's machine stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Receiving,
    Sending,
    Parting,
    Gone,
}

/// How a transition ended.
enum Transition {
    To(State),
    /// The call could not be made now; the same state is to be entered when the socket is this.
    Blocked(Interest),
}

impl State {
    /// The state of a machine is what its conversation wishes for.
    fn of(conversation: &Conversation) -> State {
        match conversation.wish() {
            Wish::Receive => State::Receiving,
            Wish::Send => State::Sending,
            Wish::Shut => State::Parting,
            Wish::Over => State::Gone,
        }
    }

    /// Makes the one system call of this state; the next state follows from what came of it.
    fn step(self, guest: &mut Guest, input: &mut [u8], desk: &mut Desk) -> io::Result<Transition> {
        let (mut socket, conversation) = (&guest.socket, &mut guest.conversation);
        match self {
            State::Receiving => match socket.read(input) {
                Ok(len) => conversation.received(&input[..len], desk),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // Which is the end, if the server stops.
                    conversation.drained();
                    if State::of(conversation) == State::Receiving {
                        return Ok(Transition::Blocked(Interest::Readable));
                    }
                }
                Err(error) => return Err(error),
            },
            State::Sending => match socket.write(conversation.unsent()) {
                Ok(count) => conversation.sent(count, desk),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Transition::Blocked(Interest::Writable));
                }
                Err(error) => return Err(error),
            },
            State::Parting => {
                socket.shutdown(Shutdown::Write)?;
                conversation.shut(desk);
            }
            State::Gone => {}
        }
        Ok(Transition::To(State::of(conversation)))
    }
}

/// Enters a machine where it was left. It leaves where the next event is needed, or where others should have their turn: after each answer, and
/// after each part of a long one.
fn enter(guest: &mut Guest, input: &mut [u8], desk: &mut Desk) -> Step {
    let mut state = State::of(&guest.conversation);
    loop {
        let was = state;
        state = match state.step(guest, input, desk) {
            Ok(Transition::To(state)) => state,
            Ok(Transition::Blocked(interest)) => return Step::Waits(interest),
            Err(error) if error.kind() == ErrorKind::Interrupted => state,
            Err(error) => {
                tracing::debug!(%error, "a connection ended early");
                return Step::Over;
            }
        };
        match (was, state) {
            (_, State::Gone) => return Step::Over,
            (_, State::Receiving) | (State::Sending, State::Sending) => return Step::Went { emptied: false },
            _ => {}
        }
    }
}

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or several workers are asked for.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::is_one(options)?;
    let prepare = |attendant: Attendant| {
        let epoll = list::create(&attendant.bell)?;
        if let Some(door) = &attendant.door {
            // Nothing yet: like the others, the door asks when it is open.
            epoll::add(&epoll, door, EventData::new_u64(DOOR), EventFlags::ONESHOT)?;
        }
        Ok(Loop { epoll, attendant, door_asked: false })
    };
    loops::several(options, "epoll", started, prepare, Loop::run)
}

struct Loop {
    epoll: OwnedFd,
    attendant: Attendant,
    /// Whether the kernel is to report the next connection.
    door_asked: bool,
}

impl Loop {
    fn run(mut self) -> io::Result<Summary> {
        let mut events = Vec::with_capacity(EVENTS);
        while !self.attendant.is_over() {
            self.ask_for_connections()?;
            list::wait(&self.epoll, &mut events, self.attendant.timespec())?;
            self.attendant.woke();
            for event in &events {
                match event.data.u64() {
                    BELL => self.attendant.hear(),
                    DOOR => self.admit(),
                    key => self.enter(key as usize),
                }
            }
            for key in self.attendant.due() {
                self.enter(key);
            }
        }
        Ok(self.attendant.end())
    }

    fn ask_for_connections(&mut self) -> io::Result<()> {
        if !self.door_asked
            && self.attendant.is_door_open()
            && let Some(door) = &self.attendant.door
        {
            let flags = EventFlags::IN | EventFlags::ONESHOT;
            epoll::modify(&self.epoll, door, EventData::new_u64(DOOR), flags)?;
            self.door_asked = true;
        }
        Ok(())
    }

    fn admit(&mut self) {
        self.door_asked = false;
        self.attendant.called_to_the_door();
        for _ in 0..AT_ONCE {
            let Visit::One(key) = self.attendant.admit() else { break };
            self.ask(key, Interest::Readable);
        }
    }

    fn enter(&mut self, key: usize) {
        match self.attendant.step_by(key, enter) {
            Step::Over => {}
            Step::Waits(interest) => self.ask(key, interest),
            Step::Went { .. } => {
                let interest = self.attendant.guests[key].interest();
                self.ask(key, interest);
            }
        }
    }

    /// Has the kernel report, once, that a machine can be entered.
    fn ask(&mut self, key: usize, interest: Interest) {
        let guest = &mut self.attendant.guests[key];
        let flags = EventFlags::ONESHOT
            | match interest {
                Interest::Readable => EventFlags::IN,
                Interest::Writable => EventFlags::OUT,
            };
        let data = EventData::new_u64(key as u64);
        let result = match guest.watched.replace(interest) {
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
