//! What all sockets have in common: a std socket that owns the descriptor, and the driver's view of it.
//!
//! The std socket gives names, options and addresses, which never block. Reading, writing, accepting and connecting go through
//! [`super::operation`].

use super::mode::{Mode, Unused};
use fibra_driver::Source;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A std socket and what the driver knows of it.
#[derive(Debug)]
pub(super) struct Handle<S, M = Unused> {
    /// Before the descriptor, so that it is gone before the number and the file are.
    pub(super) mode: M,
    pub(super) std: S,
    pub(super) source: Source,
}

impl<S: AsFd, M: Mode> Handle<S, M> {
    /// A socket that was made here: one that waits, without timeouts.
    pub(super) fn new(std: S) -> Handle<S, M> {
        Handle { mode: M::enter(std.as_fd()), std, source: Source::new() }
    }

    /// A socket from outside, which may have settings that belong to it.
    pub(super) fn adopt(std: S) -> Handle<S, M> {
        use rustix::net::sockopt::{Timeout, socket_timeout};
        let handle = Handle::new(std);
        let fd = handle.std.as_fd();
        handle.source.set_nonblocking(M::is_nonblocking(fd));
        // What is no socket has no timeouts, and will say what it is at the first operation.
        let timeout = |which| socket_timeout(fd, which).ok().flatten();
        handle.source.set_timeout(fibra_driver::Direction::Read, timeout(Timeout::Recv));
        handle.source.set_timeout(fibra_driver::Direction::Write, timeout(Timeout::Send));
        handle
    }

    /// The std socket, as if it had never been here: its mode and timeouts are those that were set, and no driver watches it (unless
    /// for others that stay).
    pub(super) fn release(self) -> S {
        use fibra_driver::Direction;
        use rustix::net::sockopt::{Timeout, set_socket_timeout};
        let fd = self.std.as_fd();
        for token in self.source.deregister(fd) {
            crate::scheduler::park::wake(token);
        }
        self.mode.leave(fd, self.source.is_nonblocking());
        for (direction, which) in [(Direction::Read, Timeout::Recv), (Direction::Write, Timeout::Send)] {
            let _ = set_socket_timeout(fd, which, self.source.timeout(direction));
        }
        self.std
    }

    #[inline]
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.std.as_fd()
    }

    #[inline]
    pub(super) fn run<O: fibra_driver::Operation>(&self, mut op: O) -> io::Result<O::Output> {
        super::operation::run(&self.source, self.fd(), &mut op)
    }

    /// Receives from a stream. An end that comes of `close` is told as such.
    #[inline]
    pub(super) fn receive<O: fibra_driver::Operation<Output = usize>>(&self, op: O) -> io::Result<usize> {
        match self.run(op) {
            Ok(0) if self.source.is_closed() => Err(fibra_driver::op::closed_error()),
            result => result,
        }
    }

    /// Ends every operation on the open file.
    pub(super) fn close(&self) {
        for token in self.source.close() {
            crate::scheduler::park::wake(token);
        }
        // For OS threads, which wait in the kernel.
        let _ = rustix::net::shutdown(self.fd(), rustix::net::Shutdown::Both);
    }
}

/// A stream socket of either kind, for what does not care which.
#[derive(Clone, Copy, Debug)]
pub struct Socket<'a> {
    pub(super) source: &'a Source,
    pub(super) fd: BorrowedFd<'a>,
}

impl<'a> Socket<'a> {
    /// Its descriptor.
    pub(crate) fn fd(self) -> BorrowedFd<'a> {
        self.fd
    }

    /// Runs an operation on it. What it has moved is told, also if the socket was closed in that moment.
    pub(crate) fn run<O: fibra_driver::Operation>(self, mut op: O) -> io::Result<O::Output> {
        super::operation::run_to_its_result(self.source, self.fd, &mut op)
    }

    /// The same of a receive; an end that comes of `close` is told as such.
    pub(crate) fn receive<O: fibra_driver::Operation<Output = usize>>(self, op: O) -> io::Result<usize> {
        match self.run(op) {
            Ok(0) if self.source.is_closed() => Err(fibra_driver::op::closed_error()),
            result => result,
        }
    }
}

/// Checks a timeout as std does.
pub(super) fn check_timeout(timeout: Option<Duration>) -> io::Result<()> {
    if timeout.is_some_and(|timeout| timeout.is_zero()) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "cannot set a 0 duration timeout"));
    }
    Ok(())
}

/// The methods and traits that are the same for every kind of socket.
macro_rules! socket {
    ($type:ident, $std:ty) => {
        impl $type {
            /// Another handle to the same socket: options, timeouts and the order of waiters are shared.
            ///
            /// # Errors
            /// When descriptors are used up.
            pub fn try_clone(&self) -> io::Result<$type> {
                let std = self.0.std.try_clone()?;
                Ok($type(Handle { mode: self.0.mode.clone(), std, source: self.0.source.clone() }))
            }

            /// Moves the socket into or out of non-blocking mode, in which operations answer
            /// [`WouldBlock`](io::ErrorKind::WouldBlock) where they would have to wait.
            ///
            /// This is the mode of the library's operations, on this handle and its [clones](Self::try_clone), and not that of the descriptor,
            /// which stays as the library needs it: in blocking mode, and in non-blocking mode for listeners, and while it is [copied](crate::io) from or to. Who uses the descriptor itself,
            /// through [`as_raw_fd`](AsRawFd::as_raw_fd), finds it so. The descriptor gets this mode when the socket is converted to std's.
            ///
            /// # Errors
            /// None today.
            pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.0.source.set_nonblocking(nonblocking);
                Ok(())
            }

            /// Takes the error that is pending on the socket.
            ///
            /// # Errors
            /// As std's.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.0.std.take_error()
            }

            /// Ends every operation in progress on this socket and its clones, and every later one, with
            /// [`NotConnected`](io::ErrorKind::NotConnected). The descriptor is released when the last handle is dropped.
            pub fn close(&self) {
                self.0.close();
            }
        }

        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.std.fmt(f)
            }
        }

        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.0.fd()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.0.std.as_raw_fd()
            }
        }

        impl IntoRawFd for $type {
            fn into_raw_fd(self) -> RawFd {
                self.0.release().into_raw_fd()
            }
        }

        /// The socket keeps its mode and its timeouts. But a listener always waits at first, whatever mode its descriptor is in, since that may be the
        /// doing of another of the library's listeners, of which it is a duplicate: [`set_nonblocking`](Self::set_nonblocking) if it is not to.
        impl From<$std> for $type {
            fn from(socket: $std) -> $type {
                $type::adopt(socket)
            }
        }

        /// The socket keeps its mode and its timeouts, and no driver watches it any more. (A listener's descriptor stays in non-blocking
        /// mode as long as another of the library's listeners, a clone or not, has the same open file, and so the same mode.)
        impl From<$type> for $std {
            fn from(socket: $type) -> $std {
                socket.0.release()
            }
        }

        impl std::os::fd::FromRawFd for $type {
            unsafe fn from_raw_fd(fd: RawFd) -> $type {
                // SAFETY: the caller gives us an open descriptor that nobody else owns.
                unsafe { OwnedFd::from_raw_fd(fd) }.into()
            }
        }

        /// As from std's socket.
        impl From<OwnedFd> for $type {
            fn from(fd: OwnedFd) -> $type {
                <$std>::from(fd).into()
            }
        }

        impl From<$type> for OwnedFd {
            fn from(socket: $type) -> OwnedFd {
                socket.0.release().into()
            }
        }
    };
}

/// The timeouts of sockets that read and write.
macro_rules! timeouts {
    ($type:ident) => {
        impl $type {
            /// How long a read may wait; `None` for as long as it takes.
            ///
            /// It holds for the library's operations on this handle and its clones. The descriptor itself gets the timeout (`SO_RCVTIMEO`) when the
            /// socket is converted to std's; until then who uses that, through [`as_raw_fd`](AsRawFd::as_raw_fd), waits without one.
            ///
            /// # Errors
            /// When the duration is zero.
            pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                check_timeout(timeout)?;
                self.0.source.set_timeout(Direction::Read, timeout);
                Ok(())
            }

            /// How long a write may wait; `None` for as long as it takes. What [`set_read_timeout`](Self::set_read_timeout) says of the descriptor goes
            /// for this one too (`SO_SNDTIMEO`).
            ///
            /// # Errors
            /// When the duration is zero.
            pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                check_timeout(timeout)?;
                self.0.source.set_timeout(Direction::Write, timeout);
                Ok(())
            }

            /// How long a read may wait.
            ///
            /// # Errors
            /// None today.
            pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.0.source.timeout(Direction::Read))
            }

            /// How long a write may wait.
            ///
            /// # Errors
            /// None today.
            pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.0.source.timeout(Direction::Write))
            }

            /// Waits until there is something to read, or the end of the stream, and takes nothing: a connection that waits
            /// like this needs no buffer meanwhile.
            ///
            /// # Errors
            /// As a read. It may return early; a read then waits.
            #[inline]
            pub fn wait_readable(&self) -> io::Result<()> {
                self.0.run(op::Poll::new(Direction::Read))
            }

            /// Waits until there is room to write.
            ///
            /// # Errors
            /// As a write. It may return early; a write then waits.
            pub fn wait_writable(&self) -> io::Result<()> {
                self.0.run(op::Poll::new(Direction::Write))
            }
        }
    };
}

/// Reading without ever waiting.
macro_rules! try_read {
    ($type:ident, $receive:ident) => {
        impl $type {
            /// Reads what is there, without ever waiting, whatever mode the socket is in. With
            /// [`wait_readable`](Self::wait_readable) it serves connections that hold no buffer while they are idle.
            ///
            /// # Errors
            /// [`WouldBlock`](io::ErrorKind::WouldBlock) when nothing is there; else as a read.
            #[inline]
            pub fn try_read(&self, buffer: &mut [u8]) -> io::Result<usize> {
                let result = self.0.source.attempt(self.0.fd(), &mut op::Receive::$receive(buffer));
                crate::net::operation::spend();
                result
            }
        }
    };
}

/// `Read` and `Write` of a stream, by value and by reference.
macro_rules! stream {
    ($type:ident, $receive:ident) => {
        impl $type {
            /// For what does not care which kind it is.
            pub(crate) fn socket(&self) -> crate::net::Socket<'_> {
                crate::net::Socket { source: &self.0.source, fd: self.0.fd() }
            }
        }

        impl io::Read for &$type {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if buffer.is_empty() {
                    return Ok(0);
                }
                self.0.receive(op::Receive::$receive(buffer))
            }

            fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
                if buffers.iter().all(|buffer| buffer.is_empty()) {
                    return Ok(0);
                }
                self.0.receive(op::ReceiveVectored::new(buffers))
            }
        }

        impl io::Write for &$type {
            #[inline]
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                self.0.run(op::Send::new(buffer))
            }

            fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
                self.0.run(op::SendVectored::new(buffers))
            }

            #[inline]
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl io::Read for $type {
            #[inline]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }

            fn read_vectored(&mut self, buffers: &mut [io::IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }

        impl io::Write for $type {
            #[inline]
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                (&*self).write(buffer)
            }

            fn write_vectored(&mut self, buffers: &[io::IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            #[inline]
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}

pub(super) use {socket, stream, timeouts, try_read};
