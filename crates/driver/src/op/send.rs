//! Send on a connected socket: `send(2)`, `sendmsg(2)`, never raising SIGPIPE.

use super::message::Message;
use super::{Attempt, Hints, MAX_SLICES, Operation, length, uninterrupted};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::net::{SendAncillaryBuffer, SendFlags};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Sends from one buffer; the output is how many bytes were taken.
#[derive(Debug)]
pub struct Send<'a> {
    buffer: &'a [u8],
    datagram: bool,
}

impl<'a> Send<'a> {
    /// Sends as much of `buffer` as the stream takes.
    pub fn new(buffer: &'a [u8]) -> Self {
        Send { buffer, datagram: false }
    }

    /// Sends `buffer` as one datagram.
    ///
    /// It is never handed to a ring. `unix_dgram_sendmsg` takes the bytes out of the kernel's iterator before it finds that the receiver's queue is full, and a ring then makes
    /// the same request again with what is left: an empty datagram is sent, and 0 is the answer (seen on Linux 6.18).
    pub fn datagram(buffer: &'a [u8]) -> Self {
        Send { buffer, datagram: true }
    }
}

// SAFETY: the entry points to the buffer, which is borrowed.
unsafe impl Operation for Send<'_> {
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
    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry> {
        if self.datagram || self.buffer.is_empty() {
            return None;
        }
        let entry = opcode::Send::new(Fd(fd.as_raw_fd()), self.buffer.as_ptr(), length(self.buffer))
            .flags(libc::MSG_NOSIGNAL)
            .ioprio(hints.ioprio())
            .build();
        Some(entry)
    }

    #[inline]
    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<usize>> {
        let count = result? as usize;
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
    message: Message,
}

impl<'a, 'b> SendVectored<'a, 'b> {
    /// Sends `buffers` as if they were one.
    pub fn new(buffers: &'a [IoSlice<'b>]) -> Self {
        SendVectored { buffers, message: Message::new() }
    }

    /// As many as the kernel takes at once.
    fn taken(&self) -> &'a [IoSlice<'b>] {
        &self.buffers[..self.buffers.len().min(MAX_SLICES)]
    }
}

// SAFETY: the entry points to the header in the operation, and that to the slices, which are borrowed.
unsafe impl Operation for SendVectored<'_, '_> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Write
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let buffers = self.taken();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let count =
            uninterrupted(|| rustix::net::sendmsg(fd, buffers, &mut SendAncillaryBuffer::default(), flags))?;
        Ok(sent(count, buffers))
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry> {
        if self.must_attempt() {
            return None;
        }
        let buffers = self.taken();
        let message = self.message.send(buffers);
        let flags = libc::MSG_NOSIGNAL as u32;
        Some(opcode::SendMsg::new(Fd(fd.as_raw_fd()), message).flags(flags).ioprio(hints.ioprio()).build())
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<usize>> {
        Ok(sent(result? as usize, self.taken()))
    }

    fn must_attempt(&self) -> bool {
        self.buffers.iter().all(|buffer| buffer.is_empty())
    }
}

fn sent(count: usize, buffers: &[IoSlice<'_>]) -> Attempt<usize> {
    let offered: usize = buffers.iter().map(|buffer| buffer.len()).sum();
    Attempt { value: count, drained: count < offered }
}
