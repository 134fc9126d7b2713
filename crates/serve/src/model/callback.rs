//! `callback`: handlers cut into callbacks, on the library's [event loop](fibra::event_loop).
//!
//! ```text
//!   event loop ──readable──▶ bytes_came ──▶ answer ──▶ all sent: next is bytes_came, when readable
//!        ▲                       ▲            │
//!        │                       │            └──▶ would block: next is room_came, when writable ──▶ the rest, and the same again
//!        │                       └─ half a request: bytes_came once more
//!        └── each returns to the loop, with the continuation that it leaves behind
//!
//!  state:  what is registered with the socket: the conversation, and the continuation that goes on with it
//!  wakes:  the event loop, by calling it; a timer for each connection does so too
//!  blocks: in the event loop's wait, and in the filesystem (see `conversation`)
//! ```
//!
//! The program that a thread would run, `loop { read; answer; write }`, is turned inside out: nothing may wait, so whatever stands behind a wait is a
//! function of its own, which is handed to the loop (*continuation-passing*). The stack is empty between two callbacks, so an error has no caller to
//! go to, and a backtrace shows the loop. A callback that computes or blocks holds up all others.
//!
//! Everything here runs on one thread, between waits: what the callbacks share needs no lock, only a `RefCell`.

use super::admission::{Admission, Place};
use super::conversation::{Desk, Wish};
use super::door::{self, Door, Visitor};
use super::epoll::AT_ONCE;
use super::guest::{Guest, READ};
use super::stopping::{Ending, tell, tell_cut_off};
use super::{Options, Started, Summary, loops};
use fibra::event_loop::{EventLoop, Handle, Interest, Key};
use fibra::signal::{SIGINT, SIGTERM};
use slab::Slab;
use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Wake;
use std::time::{Duration, Instant};

/// The period of a timer that is put off before it is over.
const NEVER: Duration = Duration::from_secs(1_000_000_000);

/// What goes on with a conversation when its socket is ready.
type Continuation = fn(&mut Guest, &mut Desk, &mut [u8]) -> io::Result<Next>;

/// What a continuation leaves behind.
enum Next {
    Call(Continuation, Interest),
    End,
}

/// Something has come: it is taken in and answered.
fn bytes_came(guest: &mut Guest, desk: &mut Desk, input: &mut [u8]) -> io::Result<Next> {
    match (&guest.socket).read(input) {
        Ok(len) => guest.conversation.received(&input[..len], desk),
        // Which is the end, if the server stops.
        Err(error) if error.kind() == ErrorKind::WouldBlock => guest.conversation.drained(),
        Err(error) if error.kind() == ErrorKind::Interrupted => {}
        Err(error) => return Err(error),
    }
    answer(guest, desk, input)
}

/// Does what the conversation wishes for, if that can be done at once.
fn answer(guest: &mut Guest, desk: &mut Desk, input: &mut [u8]) -> io::Result<Next> {
    match guest.conversation.wish() {
        Wish::Receive => Ok(Next::Call(bytes_came, Interest::READABLE)),
        // Mostly there is room.
        Wish::Send => room_came(guest, desk, input),
        Wish::Shut => {
            guest.socket.shutdown(Shutdown::Write)?;
            guest.conversation.shut(desk);
            Ok(Next::Call(bytes_came, Interest::READABLE))
        }
        Wish::Over => Ok(Next::End),
    }
}

/// The socket has room: a part of the answer goes out.
fn room_came(guest: &mut Guest, desk: &mut Desk, input: &mut [u8]) -> io::Result<Next> {
    match (&guest.socket).write(guest.conversation.unsent()) {
        Ok(count) => guest.conversation.sent(count, desk),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
        Err(error) => return Err(error),
    }
    match guest.conversation.wish() {
        // Others have their turn before the next part.
        Wish::Send => Ok(Next::Call(room_came, Interest::WRITABLE)),
        _ => answer(guest, desk, input),
    }
}

/// A guest as it is registered with the loop.
struct Visit {
    guest: Guest,
    next: Continuation,
    interest: Interest,
    /// Its number among all guests.
    number: usize,
    /// Rings when its time limit has passed. None before it is registered.
    timer: Option<Handle>,
}

impl AsFd for Visit {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.guest.as_fd()
    }
}

/// What the loop is to know after a continuation has been called.
struct Called {
    is_over: bool,
    number: usize,
    interest: Option<Interest>,
    timer: Option<Handle>,
    deadline: Instant,
    owes_a_look: bool,
}

impl Visit {
    /// Calls the continuation, and keeps the one that follows.
    fn go_on(&mut self, desk: &mut Desk, input: &mut [u8]) -> Called {
        let before = self.interest;
        let is_over = match (self.next)(&mut self.guest, desk, input) {
            Ok(Next::Call(next, interest)) => {
                (self.next, self.interest) = (next, interest);
                false
            }
            Ok(Next::End) => true,
            Err(error) => {
                tracing::debug!(%error, "a connection ended early");
                true
            }
        };
        Called {
            is_over,
            number: self.number,
            interest: Some(self.interest).filter(|&interest| interest != before),
            timer: self.timer,
            deadline: self.guest.conversation.deadline(),
            owes_a_look: self.guest.conversation.owes_a_look(),
        }
    }
}

/// What the callbacks share.
struct Server {
    desk: Desk,
    input: Box<[u8]>,
    guests: Slab<Key<Visit>>,
    ending: Ending,
    summary: Summary,
}

impl Server {
    /// The desk, at the present time, and room for what is read.
    fn tools(&mut self) -> (&mut Desk, &mut [u8]) {
        self.desk.now = Instant::now();
        (&mut self.desk, &mut self.input)
    }
}

type Shared = Rc<RefCell<Server>>;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or several workers are asked for.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::is_one(options)?;
    let listener = door::listen(options.address, options.accept, 1)?.remove(0);
    let address = listener.local_addr()?;
    let shared = Rc::new(RefCell::new(Server {
        desk: Desk::new(options.protocol, Arc::clone(&options.service)),
        input: vec![0; READ].into_boxed_slice(),
        guests: Slab::new(),
        ending: Ending::No,
        summary: Summary::default(),
    }));
    // The data of the loop is the door's key, which is not known before the door has a waker.
    let mut events = EventLoop::with_data(None)?;
    let (_, waker) = events.on_wake(reopen);
    let admission = Admission::new(options.service.limits().connections);
    let door = Door::new(listener, admission, Arc::new(WakeLoop(waker)).into());
    let of_door = Rc::clone(&shared);
    events.data = Some(events.register(door, Interest::READABLE, move |door, events, event| {
        of_door.borrow_mut().summary.wakeups += 1;
        somebody_came(events, &of_door, event.key, door);
    })?);
    for signal in [SIGINT, SIGTERM] {
        let shared = Rc::clone(&shared);
        events.on_signal(signal, move |events, signal| signal_came(events, &shared, signal))?;
    }
    started(&Started { address, driver: events.driver(), workers: 1 });
    events.run()?;
    drop(events);
    let server = shared.borrow();
    tell_cut_off(server.guests.len());
    Ok(Summary { cut_off: server.guests.len(), ..server.summary })
}

type Events = EventLoop<Option<Key<Door>>>;

/// What ends the loop's wait when a place has been given back.
struct WakeLoop(fibra::event_loop::Waker);

impl Wake for WakeLoop {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }
}

/// Lets in who is at the door.
fn somebody_came(events: &mut Events, shared: &Shared, key: Key<Door>, door: &mut Door) {
    for _ in 0..AT_ONCE {
        match door.accept(Instant::now()) {
            Visitor::One(socket, place) => {
                welcome(events, shared, socket, place);
            }
            Visitor::Nobody => return,
            Visitor::Later => {
                // While the door is closed, it would be told again and again that somebody is there.
                let _ = events.modify(key, Interest::NONE);
                if let Some(at) = door.opens_at() {
                    events.call_at(at, reopen);
                }
                return;
            }
        }
    }
}

/// There may be a place, or a descriptor, again.
fn reopen(events: &mut Events) {
    if let Some(key) = events.data
        && let Some(door) = events.source(key)
    {
        door.woken();
        let _ = events.modify(key, Interest::READABLE);
    }
}

/// Registers a guest. Mostly the request is still on its way: the first continuation takes it in.
fn welcome(events: &mut Events, shared: &Shared, socket: TcpStream, place: Place) {
    let mut server = shared.borrow_mut();
    server.summary.accepted += 1;
    let guest = Guest::new(socket, place, server.tools().0);
    let deadline = guest.conversation.deadline();
    let number = server.guests.vacant_key();
    let visit = Visit { guest, next: bytes_came, interest: Interest::READABLE, number, timer: None };
    let of_socket = Rc::clone(shared);
    let registered = events.register(visit, Interest::READABLE, move |visit, events, event| {
        let called = {
            let server = &mut *of_socket.borrow_mut();
            let (desk, input) = server.tools();
            visit.go_on(desk, input)
        };
        called_back(events, &of_socket, event.key, &called);
    });
    let key = match registered {
        Ok(key) => key,
        Err(error) => return tracing::warn!(%error, "a connection cannot be watched, and is closed"),
    };
    server.guests.insert(key);
    let of_timer = Rc::clone(shared);
    let patience = deadline.saturating_duration_since(Instant::now());
    let timer = events.call_every(patience, NEVER, move |events| {
        look_at(events, &of_timer, key, |visit, desk| visit.guest.conversation.expire(desk));
    });
    if let Some(visit) = events.source(key) {
        visit.timer = Some(timer);
    }
}

/// A continuation has been called: the loop learns what follows.
fn called_back(events: &mut Events, shared: &Shared, key: Key<Visit>, called: &Called) {
    if called.is_over {
        if let Some(timer) = called.timer {
            events.cancel(timer);
        }
        drop(events.unregister(key));
        let mut server = shared.borrow_mut();
        server.guests.remove(called.number);
        if server.ending != Ending::No && server.guests.is_empty() {
            events.stop();
        }
        return;
    }
    if let Some(interest) = called.interest {
        let _ = events.modify(key, interest);
    }
    if let Some(timer) = called.timer {
        events.put_off(timer, called.deadline.saturating_duration_since(Instant::now()));
    }
    if called.owes_a_look {
        let shared = Rc::clone(shared);
        events.call_soon(move |events| look_at(events, &shared, key, |_, _| {}));
    }
}

/// Goes on with a guest whom no event concerns, after `first` has been done.
fn look_at(events: &mut Events, shared: &Shared, key: Key<Visit>, first: impl FnOnce(&mut Visit, &mut Desk)) {
    let called = {
        let Some(visit) = events.source(key) else { return };
        let server = &mut *shared.borrow_mut();
        let (desk, input) = server.tools();
        first(visit, desk);
        // It may have nothing to receive any more, but something to send.
        if visit.guest.conversation.wish() != Wish::Receive {
            visit.next = answer;
        }
        visit.go_on(desk, input)
    };
    called_back(events, shared, key, &called);
}

/// The server is to stop: who has come already is let in, the door closed, everybody looked at. At the second signal nobody is waited for.
fn signal_came(events: &mut Events, shared: &Shared, signal: i32) {
    let (first, stop_deadline) = {
        let mut server = shared.borrow_mut();
        let stop_deadline = server.desk.service.limits().stop_deadline;
        (server.ending.asked(stop_deadline), stop_deadline)
    };
    match first {
        true => {
            if let Some(mut door) = events.data.take().and_then(|key| events.unregister(key)) {
                while let Some((socket, place)) = door.accept_last() {
                    welcome(events, shared, socket, place);
                }
            }
            let keys: Vec<_> = shared.borrow().guests.iter().map(|(_, key)| *key).collect();
            if keys.is_empty() {
                events.stop();
            }
            for key in keys {
                look_at(events, shared, key, |visit, _| visit.guest.conversation.stop());
            }
            events.call_later(stop_deadline, Events::stop);
        }
        false => events.stop(),
    }
    tell(signal, first);
}
