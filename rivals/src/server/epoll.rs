//! The yardstick: one edge-triggered epoll loop, written by hand the straightforward way. A request costs one `recv`
//! and one `send`, and its share of one `epoll_wait`; nothing is called only to hear EAGAIN:
//!
//! - a `recv` that fills less than the buffer has emptied the socket, and what comes later is a new edge;
//! - the end of the stream comes with EPOLLRDHUP, so it is looked for only then;
//! - EPOLLOUT is asked for only after a `send` that was cut short, and the conversation reads no more until it is
//!   through.

use std::os::fd::OwnedFd;

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};

use super::{ADDRESS, HELLO, announce};

/// Bytes received at once, into one buffer for all connections.
const SHARED_BUFFER: usize = 64 * 1024;
const EVENTS_AT_ONCE: usize = 1_024;
const LISTENER: u64 = u64::MAX;

/// What to answer.
pub(super) trait Answer {
    /// What is kept of a conversation between two reads.
    type State: Default;

    /// The answer to `received`; empty when there is none yet.
    fn answer<'a>(&'a mut self, state: &mut Self::State, received: &'a [u8]) -> &'a [u8];
}

/// The same bytes.
pub(super) struct Echo;

impl Answer for Echo {
    type State = ();

    #[inline]
    fn answer<'a>(&'a mut self, (): &mut (), received: &'a [u8]) -> &'a [u8] {
        received
    }
}

/// One fixed answer for each empty line: what the least of HTTP responders does.
pub(super) struct Hello {
    response: Vec<u8>,
    answers: Vec<u8>,
}

impl Hello {
    pub(super) fn new() -> Self {
        let response = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\r\n{HELLO}",
            HELLO.len()
        );
        Self { response: response.into_bytes(), answers: Vec::new() }
    }
}

impl Answer for Hello {
    /// How many bytes of the empty line have come so far.
    type State = usize;

    fn answer<'a>(&'a mut self, matched: &mut usize, received: &'a [u8]) -> &'a [u8] {
        self.answers.clear();
        for byte in received {
            let expected = b"\r\n\r\n"[*matched];
            *matched = match *byte {
                byte if byte == expected => *matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if *matched == 4 {
                *matched = 0;
                self.answers.extend_from_slice(&self.response);
            }
        }
        &self.answers
    }
}

struct Connection<State> {
    socket: OwnedFd,
    state: State,
    /// What a `send` did not take; while it is not empty, EPOLLOUT is asked for and nothing is read.
    unsent: Vec<u8>,
}

/// What became of a connection after an event.
#[derive(PartialEq)]
enum Next {
    Wait,
    Close,
}

pub(super) fn serve<A: Answer>(mut answer: A) -> Result<()> {
    let listener = std::net::TcpListener::bind(ADDRESS)?;
    listener.set_nonblocking(true)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    announce(listener.local_addr())?;

    let mut connections: Vec<Option<Connection<A::State>>> = Vec::new();
    let mut free: Vec<usize> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(EVENTS_AT_ONCE);
    let mut buffer = vec![0; SHARED_BUFFER];
    loop {
        match epoll::wait(&epoll, spare_capacity(&mut events), None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in events.drain(..) {
            if event.data.u64() == LISTENER {
                loop {
                    match rustix::net::accept_with(&listener, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC) {
                        Ok(socket) => {
                            let slot = free.pop().unwrap_or_else(|| {
                                connections.push(None);
                                connections.len() - 1
                            });
                            epoll::add(&epoll, &socket, EventData::new_u64(slot as u64), READABLE)?;
                            connections[slot] =
                                Some(Connection { socket, state: A::State::default(), unsent: Vec::new() });
                        }
                        Err(Errno::AGAIN) => break,
                        Err(Errno::CONNABORTED | Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                continue;
            }
            let slot = event.data.u64() as usize;
            let Some(connection) = &mut connections[slot] else { continue };
            let flags = event.flags;
            if connection.step(&epoll, slot, flags, &mut buffer, &mut answer)? == Next::Close {
                // Closing the only descriptor of the socket takes it out of the epoll set.
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}

const READABLE: EventFlags = EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::ET);

impl<State> Connection<State> {
    fn step<A: Answer<State = State>>(
        &mut self,
        epoll: &OwnedFd,
        slot: usize,
        flags: EventFlags,
        buffer: &mut [u8],
        answer: &mut A,
    ) -> Result<Next> {
        if !self.unsent.is_empty() {
            match rustix::net::send(&self.socket, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(sent) => drop(self.unsent.drain(..sent)),
                Err(Errno::AGAIN) => {}
                Err(_) => return Ok(Next::Close),
            }
            if !self.unsent.is_empty() {
                return Ok(Next::Wait);
            }
            // Asking anew makes a new edge of whatever has arrived meanwhile.
            epoll::modify(epoll, &self.socket, EventData::new_u64(slot as u64), READABLE)?;
            return Ok(Next::Wait);
        }
        loop {
            let received = match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((0, _)) => return Ok(Next::Close),
                Ok((received, _)) => received,
                Err(Errno::AGAIN) => return Ok(Next::Wait),
                Err(Errno::INTR) => continue,
                Err(_) => return Ok(Next::Close),
            };
            let reply = answer.answer(&mut self.state, &buffer[..received]);
            if !reply.is_empty() {
                let sent = match rustix::net::send(&self.socket, reply, SendFlags::NOSIGNAL) {
                    Ok(sent) => sent,
                    Err(Errno::AGAIN) => 0,
                    Err(_) => return Ok(Next::Close),
                };
                if sent < reply.len() {
                    self.unsent.extend_from_slice(&reply[sent..]);
                    let both = READABLE | EventFlags::OUT;
                    epoll::modify(epoll, &self.socket, EventData::new_u64(slot as u64), both)?;
                    return Ok(Next::Wait);
                }
            }
            let maybe_more = received == buffer.len() || flags.intersects(ENDED);
            if !maybe_more {
                return Ok(Next::Wait);
            }
        }
    }
}

const ENDED: EventFlags = EventFlags::RDHUP.union(EventFlags::HUP).union(EventFlags::ERR);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_line_in_pieces_is_answered_once() {
        let mut hello = Hello::new();
        let mut state = 0;
        assert!(hello.answer(&mut state, b"GET / HTTP/1.1\r\nHost: x\r\n\r").is_empty());
        let answered = hello.answer(&mut state, b"\nGET").to_vec();
        assert!(answered.ends_with(HELLO.as_bytes()));
        assert_eq!(answered.len(), hello.response.len());
        assert_eq!(state, 0);
    }
}
