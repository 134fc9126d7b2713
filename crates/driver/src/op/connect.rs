//! Connect a socket that is in non-blocking mode: `connect(2)`, asked again until it says how it ended.

use super::{Attempt, Hints, Operation, uninterrupted};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::io::Errno;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{AddressFamily, SocketAddrAny};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Connects to an address.
#[derive(Debug)]
pub struct Connect<'a, A> {
    address: &'a A,
    begun: bool,
    /// What a ring's entry points to.
    encoded: Option<SocketAddrAny>,
}

impl<'a, A: SocketAddrArg> Connect<'a, A> {
    /// Connects to `address`.
    pub fn new(address: &'a A) -> Self {
        Connect { address, begun: false, encoded: None }
    }
}

// SAFETY: the entry points to a copy of the address in the operation.
unsafe impl<A: SocketAddrArg> Operation for Connect<'_, A> {
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

    /// None for a connection that a call has begun, which can only be waited for; and for a unix socket, where a ring would be told `EAGAIN` of a full
    /// backlog as of readiness that is missing.
    fn entry(&mut self, fd: BorrowedFd<'_>, _: Hints) -> Option<Entry> {
        if self.begun {
            return None;
        }
        let address = self.encoded.insert(self.address.as_any());
        if address.address_family() == AddressFamily::UNIX {
            return None;
        }
        let (start, length) = (address.as_ptr().cast(), address.addr_len());
        Some(opcode::Connect::new(Fd(fd.as_raw_fd()), start, length).build())
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<()>> {
        self.begun = true;
        match result {
            Ok(_) | Err(Errno::ISCONN) => Ok(Attempt { value: (), drained: false }),
            Err(error) => Err(error.into()),
        }
    }

    fn must_attempt(&self) -> bool {
        !self.begun
    }
}
