//! Receive from a connected socket: `recv(2)`, `recvmsg(2)`.

use super::{Attempt, Operation, uninterrupted};
use crate::Direction;
use rustix::net::{RecvAncillaryBuffer, RecvFlags};
use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

/// Receives into one buffer; the output is the number of bytes, 0 at the end of the stream.
#[derive(Debug)]
pub struct Receive<'a> {
    buffer: &'a mut [u8],
    flags: RecvFlags,
    stream: bool,
}

impl<'a> Receive<'a> {
    /// Receives from a stream: fewer bytes than asked for mean that there were no more.
    pub fn stream(buffer: &'a mut [u8]) -> Receive<'a> {
        Receive { buffer, flags: RecvFlags::DONTWAIT, stream: true }
    }

    /// Receives one datagram; what does not fit is lost, as with `recv(2)`.
    pub fn datagram(buffer: &'a mut [u8]) -> Receive<'a> {
        Receive { buffer, flags: RecvFlags::DONTWAIT, stream: false }
    }

    /// The same, but leaves the bytes in the socket.
    #[must_use]
    pub fn peek(mut self) -> Receive<'a> {
        self.flags |= RecvFlags::PEEK;
        self
    }
}

impl Operation for Receive<'_> {
    type Output = usize;

    #[inline]
    fn direction(&self) -> Direction {
        Direction::Read
    }

    #[inline]
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let (count, _) = uninterrupted(|| rustix::net::recv(fd, &mut *self.buffer, self.flags))?;
        // At the end of a stream (0 bytes) the direction stays ready for ever; a peek takes nothing away.
        let drained =
            self.stream && count > 0 && count < self.buffer.len() && !self.flags.contains(RecvFlags::PEEK);
        Ok(Attempt { value: count, drained })
    }
}

/// Receives into several buffers of a stream, in order.
#[derive(Debug)]
pub struct ReceiveVectored<'a, 'b> {
    buffers: &'a mut [IoSliceMut<'b>],
}

impl<'a, 'b> ReceiveVectored<'a, 'b> {
    /// Receives into `buffers`, filling one after the other.
    pub fn new(buffers: &'a mut [IoSliceMut<'b>]) -> Self {
        ReceiveVectored { buffers }
    }
}

impl Operation for ReceiveVectored<'_, '_> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let limit = self.buffers.len().min(super::send::MAX_SLICES);
        let buffers = &mut self.buffers[..limit];
        let received = uninterrupted(|| {
            rustix::net::recvmsg(fd, buffers, &mut RecvAncillaryBuffer::default(), RecvFlags::DONTWAIT)
        })?;
        let room: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        Ok(Attempt { value: received.bytes, drained: received.bytes > 0 && received.bytes < room })
    }
}
