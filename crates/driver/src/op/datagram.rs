//! Datagrams with addresses: `recvfrom(2)`, `sendto(2)`.

use super::{Attempt, Operation, uninterrupted};
use crate::Direction;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use std::io;
use std::os::fd::BorrowedFd;

/// Receives one datagram and its sender's address; what does not fit into the buffer is lost.
#[derive(Debug)]
pub struct ReceiveFrom<'a> {
    buffer: &'a mut [u8],
    flags: RecvFlags,
}

impl<'a> ReceiveFrom<'a> {
    /// Receives into `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        ReceiveFrom { buffer, flags: RecvFlags::DONTWAIT }
    }

    /// The same, but leaves the datagram in the socket.
    #[must_use]
    pub fn peek(mut self) -> Self {
        self.flags |= RecvFlags::PEEK;
        self
    }
}

impl Operation for ReceiveFrom<'_> {
    type Output = (usize, Option<SocketAddrAny>);

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<Self::Output>> {
        let (count, _, address) = uninterrupted(|| rustix::net::recvfrom(fd, &mut *self.buffer, self.flags))?;
        Ok(Attempt { value: (count, address), drained: false })
    }

    fn end(&mut self, fd: BorrowedFd<'_>) -> Option<Self::Output> {
        super::receives_no_more(fd).then_some((0, None))
    }
}

/// Sends one datagram to an address.
#[derive(Debug)]
pub struct SendTo<'a, A> {
    buffer: &'a [u8],
    address: &'a A,
}

impl<'a, A: SocketAddrArg> SendTo<'a, A> {
    /// Sends `buffer` to `address`.
    pub fn new(buffer: &'a [u8], address: &'a A) -> Self {
        SendTo { buffer, address }
    }
}

impl<A: SocketAddrArg> Operation for SendTo<'_, A> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let value = uninterrupted(|| rustix::net::sendto(fd, self.buffer, flags, self.address))?;
        Ok(Attempt { value, drained: false })
    }
}
