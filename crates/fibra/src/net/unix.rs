//! Unix sockets: [`UnixListener`], [`UnixStream`], [`UnixDatagram`].

use super::Shutdown;
use super::handle::{Handle, check_timeout, socket, stream, timeouts, try_read};
use super::mode::Listening;
use super::operation::{run_for, timed_out, try_once};
use super::pauses::{LONGEST, Pauses};
use crate::scheduler::worker::Worker;
use crate::time;
use fibra_driver::{Direction, op};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{self, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

/// A server's socket in the file system, with the methods of [`std::os::unix::net::UnixListener`].
pub struct UnixListener(Handle<net::UnixListener, Listening>);

/// A connection between processes of one machine, with the methods of [`std::os::unix::net::UnixStream`].
///
/// ```
/// use fibra::net::UnixStream;
/// use std::io::{Read, Write};
///
/// fibra::run(|| {
///     let (mut one, mut other) = UnixStream::pair()?;
///     let echo = fibra::spawn(move || {
///         let mut byte = [0];
///         other.read_exact(&mut byte)?;
///         other.write_all(&byte)
///     });
///     one.write_all(b"x")?;
///     let mut byte = [0];
///     one.read_exact(&mut byte)?;
///     echo.join().unwrap()?;
///     assert_eq!(&byte, b"x");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UnixStream(Handle<net::UnixStream>);

/// Packets between processes of one machine, with the methods of [`std::os::unix::net::UnixDatagram`].
pub struct UnixDatagram(Handle<net::UnixDatagram>);

/// The connections of a listener, one after another, for ever: see [`UnixListener::incoming`].
#[derive(Debug)]
pub struct UnixIncoming<'a> {
    listener: &'a UnixListener,
}

socket!(UnixListener, net::UnixListener);
socket!(UnixStream, net::UnixStream);
socket!(UnixDatagram, net::UnixDatagram);
timeouts!(UnixStream);
timeouts!(UnixDatagram);
stream!(UnixStream, unix_stream);
try_read!(UnixStream, unix_stream);

impl UnixListener {
    /// Listens on a path, which must not exist.
    ///
    /// # Errors
    /// As std's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixListener> {
        net::UnixListener::bind(path).map(UnixListener::adopt)
    }

    /// Listens on an address.
    ///
    /// # Errors
    /// As std's.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixListener> {
        net::UnixListener::bind_addr(address).map(UnixListener::adopt)
    }

    fn adopt(listener: net::UnixListener) -> UnixListener {
        UnixListener(Handle::adopt(listener))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When descriptors or memory are used up: the connection then waits in the kernel, and the next call tries again.
    pub fn accept(&self) -> io::Result<(UnixStream, SocketAddr)> {
        let (fd, address) = self.0.run(op::Accept::new())?;
        Ok((UnixStream(Handle::new(fd.into())), std_address(address)?))
    }

    /// The connections, one after another.
    pub fn incoming(&self) -> UnixIncoming<'_> {
        UnixIncoming { listener: self }
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.local_addr()
    }
}

impl Iterator for UnixIncoming<'_> {
    type Item = io::Result<UnixStream>;

    fn next(&mut self) -> Option<io::Result<UnixStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl<'a> IntoIterator for &'a UnixListener {
    type Item = io::Result<UnixStream>;
    type IntoIter = UnixIncoming<'a>;

    fn into_iter(self) -> UnixIncoming<'a> {
        self.incoming()
    }
}

impl UnixStream {
    /// Connects to the socket at a path. While the listener's backlog is full it waits.
    ///
    /// # Errors
    /// As std's.
    pub fn connect<P: AsRef<Path>>(path: P) -> io::Result<UnixStream> {
        UnixStream::connect_addr(&SocketAddr::from_pathname(path)?)
    }

    /// Connects to an address. While the listener's backlog is full it waits.
    ///
    /// # Errors
    /// As std's.
    pub fn connect_addr(address: &SocketAddr) -> io::Result<UnixStream> {
        if Worker::here().and_then(Worker::token).is_none() {
            return net::UnixStream::connect_addr(address).map(|stream| UnixStream(Handle::new(stream)));
        }
        let address = kernel_address(address)?;
        // `connect(2)` cannot be told not to wait: the mode of the socket decides.
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        let stream = UnixStream(Handle::new(fd.into()));
        let mut pauses = Pauses::new();
        loop {
            match try_once(&stream.0.source, stream.0.fd(), &mut op::Connect::new(&address)) {
                // The backlog is full, and nothing reports when it is not any more.
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => pauses.wait(None),
                result => break result?,
            }
        }
        stream.0.std.set_nonblocking(false)?;
        Ok(stream)
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn pair() -> io::Result<(UnixStream, UnixStream)> {
        let (one, other) = net::UnixStream::pair()?;
        Ok((UnixStream(Handle::new(one)), UnixStream(Handle::new(other))))
    }

    fn adopt(stream: net::UnixStream) -> UnixStream {
        UnixStream(Handle::adopt(stream))
    }

    /// This end's address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.local_addr()
    }

    /// The other end's address.
    ///
    /// # Errors
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.peer_addr()
    }

    /// Ends reading, writing or both: contexts that wait in this direction go on.
    ///
    /// # Errors
    /// As std's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.std.shutdown(how)
    }
}

impl UnixDatagram {
    /// A socket at a path, which must not exist.
    ///
    /// # Errors
    /// As std's.
    pub fn bind<P: AsRef<Path>>(path: P) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind(path).map(|socket| UnixDatagram(Handle::new(socket)))
    }

    /// A socket at an address.
    ///
    /// # Errors
    /// As std's.
    pub fn bind_addr(address: &SocketAddr) -> io::Result<UnixDatagram> {
        net::UnixDatagram::bind_addr(address).map(|socket| UnixDatagram(Handle::new(socket)))
    }

    /// A socket without an address.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn unbound() -> io::Result<UnixDatagram> {
        net::UnixDatagram::unbound().map(|socket| UnixDatagram(Handle::new(socket)))
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    /// When descriptors are used up.
    pub fn pair() -> io::Result<(UnixDatagram, UnixDatagram)> {
        let (one, other) = net::UnixDatagram::pair()?;
        Ok((UnixDatagram(Handle::new(one)), UnixDatagram(Handle::new(other))))
    }

    fn adopt(socket: net::UnixDatagram) -> UnixDatagram {
        UnixDatagram(Handle::adopt(socket))
    }

    /// Sets where [`send`](Self::send) sends to.
    ///
    /// # Errors
    /// As std's.
    pub fn connect<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        self.0.std.connect(path)
    }

    /// The same, with an address.
    ///
    /// # Errors
    /// As std's.
    pub fn connect_addr(&self, address: &SocketAddr) -> io::Result<()> {
        self.0.std.connect_addr(address)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.local_addr()
    }

    /// The address that it is connected to.
    ///
    /// # Errors
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.peer_addr()
    }

    /// Waits for a packet; tells its length and where it came from. What does not fit into the buffer is lost.
    ///
    /// # Errors
    /// As std's.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (length, address) = self.0.run(op::ReceiveFrom::new(buffer))?;
        Ok((length, std_address(address)?))
    }

    /// Waits for a packet.
    ///
    /// # Errors
    /// As std's.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.run(op::Receive::datagram(buffer))
    }

    /// Sends a packet to the socket at a path.
    ///
    /// # Errors
    /// As std's.
    pub fn send_to<P: AsRef<Path>>(&self, buffer: &[u8], path: P) -> io::Result<usize> {
        self.send_to_addr(buffer, &SocketAddr::from_pathname(path)?)
    }

    /// Sends a packet to an address.
    ///
    /// # Errors
    /// As std's.
    pub fn send_to_addr(&self, buffer: &[u8], address: &SocketAddr) -> io::Result<usize> {
        self.send_when_there_is_room(buffer, &kernel_address(address)?)
    }

    /// When the receiver's queue is full, the kernel tells only those who are connected to it when it is not any more; so it is asked about through
    /// a socket that is.
    fn send_when_there_is_room(&self, buffer: &[u8], address: &SocketAddrUnix) -> io::Result<usize> {
        let deadline = self.0.source.timeout(Direction::Write).and_then(time::deadline);
        let mut pauses = Pauses::new();
        loop {
            match try_once(&self.0.source, self.0.fd(), &mut op::SendTo::new(buffer, address)) {
                Err(error)
                    if error.kind() == io::ErrorKind::WouldBlock && !self.0.source.is_nonblocking() => {}
                result => return result,
            }
            if deadline.is_some_and(|deadline| deadline <= time::now()) {
                return Err(timed_out());
            }
            let connected = rustix::net::getpeername(self.0.fd()).is_ok();
            if !connected {
                // For room in our own buffer. A connected socket has "room" when the one that it is connected to has, who need not be this receiver.
                let left = deadline.map(|deadline| deadline.saturating_duration_since(time::now()));
                run_for(&self.0.source, self.0.fd(), &mut op::Poll::new(Direction::Write), left)?;
            }
            let receiver = UnixDatagram::unbound()?;
            rustix::net::connect(receiver.0.fd(), address)?;
            let waited = receiver.wait_a_moment_for_room(deadline)?;
            if connected && !waited {
                // So it is our own buffer that is full.
                pauses.wait(deadline);
            }
        }
    }

    /// Waits for room, but only for a moment: it is another socket than the user's, which would not be told if the user's is closed. Tells whether there was
    /// any waiting to do.
    fn wait_a_moment_for_room(&self, deadline: Option<Instant>) -> io::Result<bool> {
        let room = || op::Poll::new(Direction::Write);
        if try_once(&self.0.source, self.0.fd(), &mut room()).is_ok() {
            return Ok(false);
        }
        let left = deadline.map_or(LONGEST, |deadline| deadline.saturating_duration_since(time::now()));
        match run_for(&self.0.source, self.0.fd(), &mut room(), Some(left.min(LONGEST))) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(true),
        }
    }

    /// Sends a packet to the socket that it is connected to.
    ///
    /// # Errors
    /// As std's.
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.0.run(op::Send::datagram(buffer))
    }

    /// Ends reading, writing or both.
    ///
    /// # Errors
    /// As std's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.std.shutdown(how)
    }
}

/// Std's address as the kernel's type.
fn kernel_address(address: &SocketAddr) -> io::Result<SocketAddrUnix> {
    Ok(match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => SocketAddrUnix::new(path)?,
        (None, Some(name)) => SocketAddrUnix::new_abstract_name(name)?,
        (None, None) => SocketAddrUnix::new_unnamed(),
    })
}

/// The kernel's address as std's type.
fn std_address(address: Option<SocketAddrAny>) -> io::Result<SocketAddr> {
    let address = address.and_then(|address| SocketAddrUnix::try_from(address).ok());
    match &address {
        Some(address) if let Some(path) = address.path_bytes() => {
            let path = path.strip_suffix(b"\0").unwrap_or(path);
            SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))
        }
        // rustix hands out an unnamed address as an abstract one of no length.
        Some(address)
            if let Some(name) = address.abstract_name()
                && !name.is_empty() =>
        {
            SocketAddr::from_abstract_name(name)
        }
        // A socket without a name: std makes such an address of an empty path.
        _ => SocketAddr::from_pathname(""),
    }
}
