//! One copy, with what is under way between its two ends.

use super::ends::Place;
use super::{Destination, Origin};
use crate::fs::File;
use crate::net::{Nonblocking, Socket};
use fibra_driver::{Direction, op};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
use std::fmt;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};

/// At most this much is moved into the pipe at once. It takes less: as many pieces as it has room for pages, of which each may be a page or some.
const AT_ONCE: u64 = 1 << 20;

/// The room in a pipe as it is made, sixteen pages.
const SMALL: usize = 64 * 1024;

/// The room in the pipe of a copy that has much to move: with it a copy took 0.55 to 0.6 times the processor time of reading and writing, and 0.74 without (`benches/copy.rs`). Not more, for what all pipes of a
/// user may have is limited (`/proc/sys/fs/pipe-user-pages-soft`), and beyond that new ones have two pages.
const LARGE: usize = 256 * 1024;

/// The length of the buffer where there is no pipe.
const BUFFER: u64 = 64 * 1024;

/// At most this much of a file is sent by one call, so that a thread of the pool is not kept for long.
const OF_A_FILE: u64 = 1 << 22;

/// A copy that can be gone on with: it owns what has been taken from its origin and not yet by its destination.
///
/// ```
/// use fibra::io::Transfer;
/// use fibra::net::UnixStream;
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// fibra::run(|| {
///     let ((mut source, from), (to, mut sink)) = (UnixStream::pair()?, UnixStream::pair()?);
///     source.write_all(b"one")?;
///     let mut transfer = Transfer::new();
///     // The origin does not end, so the time limit does.
///     let ended = fibra::timeout(Duration::from_millis(5), || transfer.copy(&mut &from, &mut &to));
///     assert!(ended.is_err());
///     assert_eq!((transfer.copied(), transfer.pending()), (3, 0));
///     source.write_all(b" two")?;
///     drop(source);
///     transfer.copy(&mut &from, &mut &to)?;
///     drop(to);
///     let mut text = String::new();
///     sink.read_to_string(&mut text)?;
///     assert_eq!(text, "one two");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Default)]
pub struct Transfer {
    /// Made when it is needed: two descriptors.
    pipe: Option<Pipe>,
    /// How many bytes there are in the pipe.
    in_pipe: usize,
    /// Where there is no pipe: what the destination has not taken.
    buffer: Vec<u8>,
    copied: u64,
}

/// Non-blocking at both ends.
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// Whether it has been asked to be.
    is_large: bool,
}

impl Transfer {
    /// Nothing has been copied, and nothing is on its way.
    pub fn new() -> Transfer {
        Transfer::default()
    }

    /// How many bytes the destination has been given, by all calls of [`copy`](Self::copy).
    pub fn copied(&self) -> u64 {
        self.copied
    }

    /// How many bytes have been taken from the origin and not yet by the destination. The next [`copy`](Self::copy) begins with them; dropped with this value they are lost.
    pub fn pending(&self) -> usize {
        self.in_pipe + self.buffer.len()
    }

    /// Copies what is pending, and then all that `reader` has, until its end, to `writer`; returns how many bytes this call has written.
    ///
    /// Each wait is one of the socket's own, with its timeout. When one ends early, and whatever ends it, [`pending`](Self::pending) tells what is on its way.
    ///
    /// # Errors
    /// Those of reading and of writing.
    pub fn copy<R, W>(&mut self, reader: &mut R, writer: &mut W) -> io::Result<u64>
    where
        R: Origin + ?Sized,
        W: Destination + ?Sized,
    {
        let before = self.copied;
        let to = writer.socket();
        let _mode = Nonblocking::enter(to.fd());
        let from = Taking::begin(reader);
        self.deliver(to)?;
        while from.reader.limit() > 0 {
            let limit = from.reader.limit();
            let taken = match from.reader.place() {
                Place::Socket(socket) => self.take(socket, limit)?,
                Place::File(file) => self.send(file, limit, to)?,
            };
            if taken == 0 {
                break;
            }
            from.reader.took(taken);
            self.deliver(to)?;
        }
        Ok(self.copied - before)
    }

    /// Has the destination take all that is pending.
    fn deliver(&mut self, to: Socket<'_>) -> io::Result<()> {
        while let Some(pipe) = self.pipe.as_ref().filter(|_| self.in_pipe > 0) {
            let count = to.run(op::Splice::out_of_pipe(pipe.read.as_fd(), self.in_pipe))?;
            let count = some(count.unwrap_or(0))?;
            self.in_pipe -= count;
            self.copied += count as u64;
        }
        while !self.buffer.is_empty() {
            let count = some(to.run(op::Send::new(&self.buffer))?)?;
            self.buffer.drain(..count);
            self.copied += count as u64;
        }
        Ok(())
    }

    /// Takes what a socket has. Nothing is pending.
    fn take(&mut self, from: Socket<'_>, limit: u64) -> io::Result<u64> {
        let Some(pipe) = self.pipe()? else {
            // Right for a stream of either kind.
            return self.take_into_buffer(limit, |buffer| from.receive(op::Receive::unix_stream(buffer)));
        };
        let moved = from.run(op::Splice::into_pipe(pipe.write.as_fd(), limit.min(AT_ONCE) as usize))?;
        let Some(count) = moved.filter(|&count| count > 0) else {
            // The end, or urgent data, behind which there may be more: a receive steps over it.
            return self.take_into_buffer(limit, |buffer| from.receive(op::Receive::unix_stream(buffer)));
        };
        if count >= SMALL && !std::mem::replace(&mut pipe.is_large, true) {
            // If that is not allowed it stays as it is.
            let _ = fcntl_setpipe_size(&pipe.write, LARGE);
        }
        self.in_pipe = count;
        Ok(count as u64)
    }

    /// Takes what a file has and gives it to the destination. Nothing is pending.
    fn send(&mut self, file: &File, limit: u64, to: Socket<'_>) -> io::Result<u64> {
        loop {
            to.run(op::Poll::new(Direction::Write))?;
            match file.send_to(to.fd(), limit.min(OF_A_FILE) as usize) {
                Ok(count) => {
                    self.copied += count as u64;
                    return Ok(count as u64);
                }
                // There is less room than it takes for a packet, or others were quicker.
                Err(Errno::AGAIN | Errno::INTR) => {}
                // It has no places, as a terminal has none, or its file system does not do this.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::SPIPE) => {
                    return self.take_into_buffer(limit, |buffer| (&mut &*file).read(buffer));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_into_buffer(
        &mut self,
        limit: u64,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
    ) -> io::Result<u64> {
        // Of its own: if the wait is ended by an unwind, nothing is pending.
        let mut buffer = vec![0; limit.min(BUFFER) as usize];
        let count = read(&mut buffer)?;
        buffer.truncate(count);
        self.buffer = buffer;
        Ok(count as u64)
    }

    /// The pipe; none when descriptors are used up, which is no reason to fail.
    fn pipe(&mut self) -> io::Result<Option<&mut Pipe>> {
        if self.pipe.is_none() {
            match pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK) {
                Ok((read, write)) => self.pipe = Some(Pipe { read, write, is_large: false }),
                Err(Errno::MFILE | Errno::NFILE) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.pipe.as_mut())
    }
}

/// Who takes nothing will never do.
fn some(count: usize) -> io::Result<usize> {
    if count == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(count) }
}

/// The origin, which is in non-blocking mode if it is a socket.
struct Taking<'a, R: Origin + ?Sized> {
    reader: &'a mut R,
}

impl<R: Origin + ?Sized> Taking<'_, R> {
    fn begin(reader: &mut R) -> Taking<'_, R> {
        if let Place::Socket(socket) = reader.place() {
            // It is left when this is dropped.
            std::mem::forget(Nonblocking::enter(socket.fd()));
        }
        Taking { reader }
    }
}

impl<R: Origin + ?Sized> Drop for Taking<'_, R> {
    fn drop(&mut self) {
        if let Place::Socket(socket) = self.reader.place() {
            Nonblocking::leave(socket.fd());
        }
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("copied", &self.copied)
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}
