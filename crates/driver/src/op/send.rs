//! Send on a connected socket: `send(2)`, `sendmsg(2)`, never raising SIGPIPE.

use super::{Attempt, Operation, uninterrupted};
use crate::Direction;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

/// The kernel's `UIO_MAXIOV`: with more slices than that a call fails.
pub(super) const MAX_SLICES: usize = 1024;

/// Sends from one buffer; the output is how many bytes were taken.
#[derive(Debug)]
pub struct Send<'a> {
    buffer: &'a [u8],
}

impl<'a> Send<'a> {
    /// Sends as much of `buffer` as the socket takes (all of it, or nothing, for a datagram).
    pub fn new(buffer: &'a [u8]) -> Self {
        Send { buffer }
    }
}

impl Operation for Send<'_> {
    type Output = usize;

    #[inline]
    fn direction(&self) -> Direction {
        Direction::Write
    }

    #[inline]
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let count = uninterrupted(|| rustix::net::send(fd, self.buffer, flags))?;
        Ok(Attempt { value: count, drained: count < self.buffer.len() })
    }

    #[inline]
    fn must_attempt(&self) -> bool {
        self.buffer.is_empty()
    }
}

/// Sends from several buffers, in order.
#[derive(Debug)]
pub struct SendVectored<'a, 'b> {
    buffers: &'a [IoSlice<'b>],
}

impl<'a, 'b> SendVectored<'a, 'b> {
    /// Sends `buffers` as if they were one.
    pub fn new(buffers: &'a [IoSlice<'b>]) -> Self {
        SendVectored { buffers }
    }
}

impl Operation for SendVectored<'_, '_> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let buffers = &self.buffers[..self.buffers.len().min(MAX_SLICES)];
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let count =
            uninterrupted(|| rustix::net::sendmsg(fd, buffers, &mut SendAncillaryBuffer::default(), flags))?;
        let offered: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        Ok(Attempt { value: count, drained: count < offered })
    }

    fn must_attempt(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.is_empty())
    }
}
