//! Accept a connection: `accept4(2)` on a listener that is in non-blocking mode.

use super::{Attempt, Operation, uninterrupted};
use crate::Direction;
use rustix::net::{SocketAddrAny, SocketFlags};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Accepts one connection; the output is its descriptor (close-on-exec, blocking mode) and the peer's address, if it has one.
#[derive(Debug, Default)]
pub struct Accept(());

impl Accept {
    /// One accept.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Operation for Accept {
    type Output = (OwnedFd, Option<SocketAddrAny>);

    #[inline]
    fn direction(&self) -> Direction {
        Direction::Read
    }

    #[inline]
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<Self::Output>> {
        loop {
            match uninterrupted(|| rustix::net::acceptfrom_with(fd, SocketFlags::CLOEXEC)) {
                // The peer went away between its connect and our accept: no error of the listener, so the next one is tried.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CONNABORTED.raw_os_error()) => {
                }
                result => return result.map(|value| Attempt { value, drained: false }),
            }
        }
    }
}
