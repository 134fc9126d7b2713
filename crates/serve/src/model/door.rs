//! The listener of a loop: connections are taken one by one, without waiting, as long as there are places and descriptors.
//!
//! ```text
//!           at the limit ──────▶ Full ──────── a place was given back (the waker) ──┐
//!  Open ──┤                                                                        ├──▶ Open
//!           no descriptors ────▶ Paused ────── the pause is over ──────────────────┘
//! ```
//! While it is not open a loop must not wait for the listener to be readable: it is, and would say so again and again.
//!
//! # Several loops
//! N loops can listen together in three ways ([`Accept`]), which differ in who wakes up for a connection:
//!
//! - shared: one listener in every loop's epoll. One connection wakes all that sleep (the *thundering herd*); one gets it, the others find nothing.
//! - exclusive: the same with `EPOLLEXCLUSIVE` (Linux 4.5): the kernel wakes one, mostly.
//! - reuseport: a listener for each loop on the same port; the kernel deals the connections out by a hash of their addresses.

use super::admission::{Admission, Place};
use super::shortage::Shortage;
use super::{Accept, cannot_listen};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// How many connections the kernel keeps for a loop that is slow to accept; it cuts this down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How many connections a stopping server still takes from the listener's queue: as many as that holds.
const QUEUED: u64 = BACKLOG as u64;

/// Where a loop takes its connections from.
#[derive(Debug)]
pub(super) struct Door {
    listener: Arc<TcpListener>,
    admission: Arc<Admission>,
    waker: Waker,
    shortage: Shortage,
    state: State,
    last_takes: u64,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Open,
    Full,
    Paused(Instant),
}

/// Who came.
#[derive(Debug)]
pub(super) enum Visitor {
    One(TcpStream, Place),
    /// The queue is empty.
    Nobody,
    /// There may be somebody, who has to wait: see [`Door::is_open`].
    Later,
}

/// The listeners of `count` loops on one address.
///
/// # Errors
/// When the address cannot be listened on.
pub(super) fn listen(address: SocketAddr, accept: Accept, count: usize) -> io::Result<Vec<Arc<TcpListener>>> {
    let reuse_port = accept == Accept::Reuseport;
    let first = bind(address, reuse_port).map_err(|error| cannot_listen(address, &error))?;
    // With the port that the system chose, if none was said.
    let bound = first.local_addr()?;
    let mut listeners = vec![Arc::new(first)];
    while listeners.len() < count {
        listeners.push(match reuse_port {
            true => Arc::new(bind(bound, true).map_err(|error| cannot_listen(bound, &error))?),
            false => Arc::clone(&listeners[0]),
        });
    }
    Ok(listeners)
}

fn bind(address: SocketAddr, reuse_port: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let fd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&fd, true)?;
    sockopt::set_socket_reuseport(&fd, reuse_port)?;
    // Connections inherit it: several writes may make up one answer, and the last must not wait for the client's acknowledgement.
    sockopt::set_tcp_nodelay(&fd, true)?;
    rustix::net::bind(&fd, &address)?;
    rustix::net::listen(&fd, BACKLOG)?;
    Ok(fd.into())
}

impl Door {
    /// `waker` ends the loop's wait when a place has been given back.
    pub(super) fn new(listener: Arc<TcpListener>, admission: Arc<Admission>, waker: Waker) -> Door {
        Door { listener, admission, waker, shortage: Shortage::default(), state: State::Open, last_takes: 0 }
    }

    /// Whether to wait for the listener to be readable.
    pub(super) fn is_open(&mut self, now: Instant) -> bool {
        match self.state {
            State::Open => true,
            State::Full => false,
            State::Paused(until) if now < until => false,
            State::Paused(_) => {
                self.state = State::Open;
                true
            }
        }
    }

    /// Notes that the waker has been woken: there may be a place.
    pub(super) fn woken(&mut self) {
        if matches!(self.state, State::Full) {
            self.state = State::Open;
        }
    }

    /// When it opens by itself.
    pub(super) fn opens_at(&self) -> Option<Instant> {
        match self.state {
            State::Paused(until) => Some(until),
            _ => None,
        }
    }

    /// Takes the next connection, if there is one.
    pub(super) fn accept(&mut self, now: Instant) -> Visitor {
        if !self.is_open(now) {
            return Visitor::Later;
        }
        let Some(place) = self.admission.take_or_wake(&self.waker) else {
            self.state = State::Full;
            return Visitor::Later;
        };
        match accept(&self.listener) {
            Ok(Some(stream)) => {
                self.shortage.is_over();
                Visitor::One(stream, place)
            }
            Ok(None) => Visitor::Nobody,
            Err(error) => {
                self.state = State::Paused(now + self.shortage.pause(&error));
                Visitor::Later
            }
        }
    }

    /// Takes one of those who were in the queue when the server was asked to stop, since to them it looks as if they were connected. Those who
    /// still come do not keep the server.
    pub(super) fn accept_last(&mut self) -> Option<(TcpStream, Place)> {
        self.last_takes += 1;
        if self.last_takes > QUEUED {
            return None;
        }
        let place = self.admission.take()?;
        accept(&self.listener).ok().flatten().map(|stream| (stream, place))
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

/// Accepts a connection, which is non-blocking, if one is there.
fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    loop {
        match rustix::net::accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK) {
            Ok(fd) => return Ok(Some(fd.into())),
            Err(Errno::AGAIN) => return Ok(None),
            // Nothing of ours is out; it had gone away before it was accepted.
            Err(Errno::INTR | Errno::CONNABORTED | Errno::PROTO) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn door(limit: usize) -> (Door, SocketAddr) {
        let listener = listen(SocketAddr::from(([127, 0, 0, 1], 0)), Accept::Exclusive, 1).unwrap().remove(0);
        let address = listener.local_addr().unwrap();
        (Door::new(listener, Admission::new(limit), Waker::noop().clone()), address)
    }

    #[test]
    fn a_full_door_opens_when_a_place_is_given_back() {
        let (mut door, address) = door(1);
        let now = Instant::now();
        assert!(matches!(door.accept(now), Visitor::Nobody));
        let _clients = [TcpStream::connect(address).unwrap(), TcpStream::connect(address).unwrap()];
        let Visitor::One(_, place) = door.accept(now) else { panic!("a connection is there") };
        assert!(matches!(door.accept(now), Visitor::Later) && !door.is_open(now));
        drop(place);
        door.woken();
        assert!(door.is_open(now) && matches!(door.accept(now), Visitor::One(..)));
    }

    #[test]
    fn connections_inherit_that_small_writes_are_not_held_back() {
        let (mut door, address) = door(1);
        let _client = TcpStream::connect(address).unwrap();
        let Visitor::One(stream, _place) = door.accept(Instant::now()) else {
            panic!("a connection is there")
        };
        assert!(stream.nodelay().unwrap());
    }

    #[test]
    fn loops_share_a_listener_or_have_one_each_on_the_same_port() {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let shared = listen(any, Accept::Shared, 3).unwrap();
        assert!(shared.iter().all(|listener| Arc::ptr_eq(listener, &shared[0])));
        let own = listen(any, Accept::Reuseport, 3).unwrap();
        let addresses: Vec<_> = own.iter().map(|listener| listener.local_addr().unwrap()).collect();
        assert!(!Arc::ptr_eq(&own[0], &own[1]) && addresses.iter().all(|address| *address == addresses[0]));
    }
}
