//! TCP: [`TcpListener`] and [`TcpStream`].

use super::address::{ToSocketAddrs, each_address};
use super::ahead::IncomingAhead;
use super::handle::{Handle, check_timeout, socket, stream, timeouts, try_read};
use super::mode::Listening;
use super::operation::run_for;
use super::{Shutdown, SocketAddr};
use fibra_driver::{Direction, op};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use std::io;
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// How many connections the kernel keeps for a listener that is slow to accept; it cuts this down to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// A TCP server's socket, with the methods of [`std::net::TcpListener`].
///
/// ```
/// use fibra::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// fibra::run(|| {
///     let listener = TcpListener::bind("127.0.0.1:0")?;
///     let address = listener.local_addr()?;
///     let server = fibra::spawn(move || {
///         let (mut stream, _) = listener.accept()?;
///         let mut text = String::new();
///         stream.read_to_string(&mut text)?;
///         Ok::<_, std::io::Error>(text)
///     });
///     TcpStream::connect(address)?.write_all(b"hello")?;
///     assert_eq!(server.join().unwrap()?, "hello");
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct TcpListener(Handle<net::TcpListener, Listening>);

/// A TCP connection, with the methods of [`std::net::TcpStream`].
pub struct TcpStream(Handle<net::TcpStream>);

/// The connections of a listener, one after another, for ever: see [`TcpListener::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a TcpListener,
}

socket!(TcpListener, net::TcpListener);
socket!(TcpStream, net::TcpStream);
timeouts!(TcpStream);
stream!(TcpStream, stream);
try_read!(TcpStream, stream);

impl TcpListener {
    /// Listens on an address; of several the first that works.
    ///
    /// # Errors
    /// When none can be bound.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<TcpListener> {
        each_address(address, |address| {
            let fd = socket(address, SocketFlags::empty())?;
            sockopt::set_socket_reuseaddr(&fd, true)?;
            rustix::net::bind(&fd, address)?;
            rustix::net::listen(&fd, BACKLOG)?;
            Ok(TcpListener(Handle::new(fd.into())))
        })
    }

    fn adopt(listener: net::TcpListener) -> TcpListener {
        TcpListener(Handle::adopt(listener))
    }

    /// Waits for a connection.
    ///
    /// # Errors
    /// When descriptors or memory are used up: the connection then waits in the kernel, and the next call tries again.
    pub fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (fd, address) = self.0.run(op::Accept::new())?;
        let stream = TcpStream::accepted(fd);
        let address = match address.and_then(|address| address.try_into().ok()) {
            Some(address) => address,
            None => stream.peer_addr()?,
        };
        Ok((stream, address))
    }

    /// The connections, one after another.
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }

    /// The connections, one after another, accepted ahead of who takes them: under io_uring the kernel goes on accepting while nobody waits, which saves a system call
    /// for each. Elsewhere it is as [`incoming`](Self::incoming).
    ///
    /// It is for servers that take whoever comes. One that admits so many and not more must not use it: some hundreds of connections may be accepted here that nobody
    /// has taken yet, hold descriptors, and think that they are served.
    ///
    /// ```
    /// use fibra::net::{TcpListener, TcpStream};
    ///
    /// fibra::run(|| {
    ///     let listener = TcpListener::bind("127.0.0.1:0")?;
    ///     let clients = [(); 3].map(|()| TcpStream::connect(listener.local_addr().unwrap()));
    ///     let mut incoming = listener.incoming_ahead();
    ///     for stream in incoming.by_ref().take(3) {
    ///         assert!(clients.iter().flatten().any(|client| stream.as_ref().unwrap().peer_addr().ok() == client.local_addr().ok()));
    ///     }
    ///     incoming.finish();
    ///     assert!(incoming.next().is_none(), "nobody else has come");
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn incoming_ahead(&self) -> IncomingAhead<'_> {
        IncomingAhead::new(self)
    }

    /// The handle, for what accepts from it.
    pub(super) fn handle(&self) -> &Handle<net::TcpListener, Listening> {
        &self.0
    }

    /// The address that it listens on.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.local_addr()
    }

    /// Sets how many hops packets may make.
    ///
    /// # Errors
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.std.set_ttl(ttl)
    }

    /// How many hops packets may make.
    ///
    /// # Errors
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.std.ttl()
    }
}

impl Iterator for Incoming<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        Some(self.listener.accept().map(|(stream, _)| stream))
    }
}

impl TcpStream {
    /// One that was accepted.
    pub(super) fn accepted(fd: OwnedFd) -> TcpStream {
        TcpStream(Handle::new(fd.into()))
    }

    /// Connects to an address; of several the first that answers.
    ///
    /// # Errors
    /// When none can be connected to.
    pub fn connect<A: ToSocketAddrs>(address: A) -> io::Result<TcpStream> {
        each_address(address, |address| connect(address, None))
    }

    /// Connects to an address within `timeout`.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) when it takes longer; else as [`connect`](Self::connect).
    pub fn connect_timeout(address: &SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
        check_timeout(Some(timeout))?;
        connect(address, Some(timeout)).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "connection timed out"),
            _ => error,
        })
    }

    fn adopt(stream: net::TcpStream) -> TcpStream {
        TcpStream(Handle::adopt(stream))
    }

    /// Reads without taking: the next read sees the same bytes.
    ///
    /// # Errors
    /// As a read.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.0.receive(op::Receive::stream(buffer).peek())
    }

    /// The other end's address.
    ///
    /// # Errors
    /// As std's.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.peer_addr()
    }

    /// This end's address.
    ///
    /// # Errors
    /// As std's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.std.local_addr()
    }

    /// Ends reading, writing or both: contexts that wait in this direction go on.
    ///
    /// # Errors
    /// As std's.
    pub fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        self.0.std.shutdown(how)
    }

    /// Whether small writes go out at once (`TCP_NODELAY`).
    ///
    /// # Errors
    /// As std's.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        self.0.std.set_nodelay(nodelay)
    }

    /// Whether small writes go out at once.
    ///
    /// # Errors
    /// As std's.
    pub fn nodelay(&self) -> io::Result<bool> {
        self.0.std.nodelay()
    }

    /// Sets how many hops packets may make.
    ///
    /// # Errors
    /// As std's.
    pub fn set_ttl(&self, ttl: u32) -> io::Result<()> {
        self.0.std.set_ttl(ttl)
    }

    /// How many hops packets may make.
    ///
    /// # Errors
    /// As std's.
    pub fn ttl(&self) -> io::Result<u32> {
        self.0.std.ttl()
    }
}

fn socket(address: &SocketAddr, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = flags | SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?)
}

fn connect(address: &SocketAddr, timeout: Option<Duration>) -> io::Result<TcpStream> {
    // `connect(2)` cannot be told not to wait: the mode of the socket decides.
    let fd = socket(address, SocketFlags::NONBLOCK)?;
    let stream = TcpStream(Handle::new(fd.into()));
    run_for(&stream.0.source, stream.0.fd(), &mut op::Connect::new(address), timeout)?;
    stream.0.std.set_nonblocking(false)?;
    Ok(stream)
}
