//! Receive from a connected socket: `recv(2)`, `recvmsg(2)`.

use super::message::Message;
use super::{Attempt, Hints, MAX_SLICES, Operation, length, uninterrupted};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, ReturnFlags};
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Receives into one buffer; the output is the number of bytes, 0 at the end of the stream.
#[derive(Debug)]
pub struct Receive<'a> {
    buffer: &'a mut [u8],
    flags: RecvFlags,
    kind: Kind,
}

/// What a call that returns fewer bytes than asked for says of the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// There is none.
    Stream,
    /// There is none, unless the call stopped behind bytes that carried something.
    UnixStream,
    /// Nothing.
    Datagram,
}

impl<'a> Receive<'a> {
    /// Receives from a stream: fewer bytes than asked for mean that there were no more.
    pub fn stream(buffer: &'a mut [u8]) -> Receive<'a> {
        Receive { buffer, flags: RecvFlags::DONTWAIT, kind: Kind::Stream }
    }

    /// Receives from a unix stream. There a call also stops behind bytes that carried descriptors or credentials, and `recvmsg(2)` tells.
    pub fn unix_stream(buffer: &'a mut [u8]) -> Receive<'a> {
        Receive { buffer, flags: RecvFlags::DONTWAIT, kind: Kind::UnixStream }
    }

    /// Receives one datagram; what does not fit is lost, as with `recv(2)`.
    pub fn datagram(buffer: &'a mut [u8]) -> Receive<'a> {
        Receive { buffer, flags: RecvFlags::DONTWAIT, kind: Kind::Datagram }
    }

    /// The same, but leaves the bytes in the socket.
    #[must_use]
    pub fn peek(mut self) -> Receive<'a> {
        self.flags |= RecvFlags::PEEK;
        self
    }
}

// SAFETY: the entry points to the buffer, which is borrowed exclusively.
unsafe impl Operation for Receive<'_> {
    type Output = usize;

    #[inline]
    fn direction(&self) -> Direction {
        Direction::Read
    }

    #[inline]
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        if self.kind == Kind::UnixStream {
            return receive_message(fd, &mut [IoSliceMut::new(self.buffer)], self.flags);
        }
        let (count, _) = uninterrupted(|| rustix::net::recv(fd, &mut *self.buffer, self.flags))?;
        let drained = self.kind == Kind::Stream && is_drained(count, self.buffer.len(), self.flags);
        Ok(Attempt { value: count, drained })
    }

    /// By way of a ring a unix stream is received from as any other: what a message carried is only of use to the hint.
    #[inline]
    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry> {
        let flags = (self.flags & RecvFlags::PEEK).bits() as i32;
        let entry = opcode::Recv::new(Fd(fd.as_raw_fd()), self.buffer.as_mut_ptr(), length(self.buffer))
            .flags(flags)
            .ioprio(hints.ioprio())
            .build();
        Some(entry)
    }

    #[inline]
    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<usize>> {
        let count = result? as usize;
        let drained = self.kind != Kind::Datagram && is_drained(count, self.buffer.len(), self.flags);
        Ok(Attempt { value: count, drained })
    }

    fn end(&mut self, fd: BorrowedFd<'_>) -> Option<io::Result<usize>> {
        (self.kind == Kind::Datagram && super::receives_no_more(fd)).then_some(Ok(0))
    }
}

/// Receives into several buffers of a stream, in order.
#[derive(Debug)]
pub struct ReceiveVectored<'a, 'b> {
    buffers: &'a mut [IoSliceMut<'b>],
    message: Message,
}

impl<'a, 'b> ReceiveVectored<'a, 'b> {
    /// Receives into `buffers`, filling one after the other.
    pub fn new(buffers: &'a mut [IoSliceMut<'b>]) -> Self {
        ReceiveVectored { buffers, message: Message::new() }
    }

    /// As many as the kernel takes at once.
    fn taken(&mut self) -> &mut [IoSliceMut<'b>] {
        let limit = self.buffers.len().min(MAX_SLICES);
        &mut self.buffers[..limit]
    }
}

// SAFETY: the entry points to the header in the operation, and that to the slices, which are borrowed exclusively.
unsafe impl Operation for ReceiveVectored<'_, '_> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        receive_message(fd, self.taken(), RecvFlags::DONTWAIT)
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, hints: Hints) -> Option<Entry> {
        let limit = self.buffers.len().min(MAX_SLICES);
        let message = self.message.receive(&mut self.buffers[..limit]);
        Some(opcode::RecvMsg::new(Fd(fd.as_raw_fd()), message).ioprio(hints.ioprio()).build())
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<usize>> {
        let count = result? as usize;
        let room = room(self.taken());
        Ok(Attempt { value: count, drained: is_drained(count, room, RecvFlags::empty()) })
    }
}

fn receive_message(
    fd: BorrowedFd<'_>,
    buffers: &mut [IoSliceMut<'_>],
    flags: RecvFlags,
) -> io::Result<Attempt<usize>> {
    let received =
        uninterrupted(|| rustix::net::recvmsg(fd, buffers, &mut RecvAncillaryBuffer::default(), flags))?;
    let room = room(buffers);
    // What the bytes carried found no room: the call stopped behind them.
    let whole = !received.flags.contains(ReturnFlags::CTRUNC);
    Ok(Attempt { value: received.bytes, drained: whole && is_drained(received.bytes, room, flags) })
}

fn room(buffers: &[IoSliceMut<'_>]) -> usize {
    buffers.iter().map(|buffer| buffer.len()).sum()
}

/// Whether a stream that gave `count` bytes for `room` has no more.
#[inline]
fn is_drained(count: usize, room: usize, flags: RecvFlags) -> bool {
    // At the end of a stream (0 bytes) the direction stays ready for ever; a peek takes nothing away.
    count > 0 && count < room && !flags.contains(RecvFlags::PEEK)
}
