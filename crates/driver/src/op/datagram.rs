//! Datagrams with addresses: `recvfrom(2)`, `sendto(2)`.

use super::message::Message;
use super::{Attempt, Hints, Operation, uninterrupted};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::net::addr::SocketAddrArg;
use rustix::net::{RecvFlags, SendFlags, SocketAddrAny};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Receives one datagram and its sender's address; what does not fit into the buffer is lost.
#[derive(Debug)]
pub struct ReceiveFrom<'a> {
    buffer: &'a mut [u8],
    flags: RecvFlags,
    message: Message,
}

impl<'a> ReceiveFrom<'a> {
    /// Receives into `buffer`.
    pub fn new(buffer: &'a mut [u8]) -> Self {
        ReceiveFrom { buffer, flags: RecvFlags::DONTWAIT, message: Message::new() }
    }

    /// The same, but leaves the datagram in the socket.
    #[must_use]
    pub fn peek(mut self) -> Self {
        self.flags |= RecvFlags::PEEK;
        self
    }
}

// SAFETY: the entry points to the header in the operation, and that to the buffer, which is borrowed exclusively, and to room in the operation.
unsafe impl Operation for ReceiveFrom<'_> {
    type Output = (usize, Option<SocketAddrAny>);

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<Self::Output>> {
        let (count, _, address) = uninterrupted(|| rustix::net::recvfrom(fd, &mut *self.buffer, self.flags))?;
        Ok(Attempt { value: (count, address), drained: false })
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry> {
        let message = self.message.receive_from(self.buffer);
        let flags = (self.flags & RecvFlags::PEEK).bits();
        Some(opcode::RecvMsg::new(Fd(fd.as_raw_fd()), message).flags(flags).ioprio(hints.ioprio()).build())
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<Self::Output>> {
        let count = result? as usize;
        // SAFETY: the answer is to the entry above.
        let sender = unsafe { self.message.sender() };
        Ok(Attempt { value: (count, sender), drained: false })
    }

    fn end(&mut self, fd: BorrowedFd<'_>) -> Option<io::Result<Self::Output>> {
        super::receives_no_more(fd).then_some(Ok((0, None)))
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

// SAFETY: there is no entry.
unsafe impl<A: SocketAddrArg> Operation for SendTo<'_, A> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let value = uninterrupted(|| rustix::net::sendto(fd, self.buffer, flags, self.address))?;
        Ok(Attempt { value, drained: false })
    }

    /// None: see [`Send::datagram`](super::Send::datagram).
    fn entry(&mut self, _: BorrowedFd<'_>, _: Hints) -> Option<Entry> {
        None
    }

    fn completed(&mut self, _: rustix::io::Result<u32>) -> io::Result<Attempt<usize>> {
        unreachable!("there is no entry")
    }
}
