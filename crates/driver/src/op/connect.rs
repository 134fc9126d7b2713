//! Connect a socket that is in non-blocking mode: `connect(2)`, asked again until it says how it ended.

use super::{Attempt, Operation, uninterrupted};
use crate::Direction;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use std::io;
use std::os::fd::BorrowedFd;

/// Connects to an address.
#[derive(Debug)]
pub struct Connect<'a, A> {
    address: &'a A,
    begun: bool,
}

impl<'a, A: SocketAddrArg> Connect<'a, A> {
    /// Connects to `address`.
    pub fn new(address: &'a A) -> Self {
        Connect { address, begun: false }
    }
}

impl<A: SocketAddrArg> Operation for Connect<'_, A> {
    type Output = ();

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<()>> {
        self.begun = true;
        let result = uninterrupted(|| rustix::net::connect(fd, self.address));
        match result.as_ref().err().and_then(io::Error::raw_os_error).map(Errno::from_raw_os_error) {
            // A second call on Linux reports the outcome of the first: 0 or EISCONN when it is connected, its error when it failed.
            None | Some(Errno::ISCONN) => Ok(Attempt { value: (), drained: false }),
            Some(Errno::INPROGRESS | Errno::ALREADY) => Err(io::ErrorKind::WouldBlock.into()),
            // A unix socket's backlog is full, and nothing would report when it is not: the caller has to know it from "wait".
            Some(Errno::AGAIN) => Err(io::Error::from(io::ErrorKind::ResourceBusy)),
            Some(_) => result.map(|()| Attempt { value: (), drained: false }),
        }
    }

    fn must_attempt(&self) -> bool {
        !self.begun
    }
}
