//! UDP: [`UdpSocket`].

use super::address::{ToSocketAddrs, each_address};
use super::handle::{Handle, check_timeout, socket, timeouts};
use super::{Ipv4Addr, Ipv6Addr, SocketAddr};
use fibra_driver::{Direction, op};
use std::io;
use std::net;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// A UDP socket, with the methods of [`std::net::UdpSocket`].
///
/// ```
/// use fibra::net::UdpSocket;
///
/// fibra::run(|| {
///     let (one, other) = (UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?);
///     one.send_to(b"ping", other.local_addr()?)?;
///     let mut buffer = [0; 16];
///     let (length, from) = other.recv_from(&mut buffer)?;
///     assert_eq!((&buffer[..length], from), (&b"ping"[..], one.local_addr()?));
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct UdpSocket(Handle<net::UdpSocket>);

socket!(UdpSocket, net::UdpSocket);
timeouts!(UdpSocket);

/// Methods that std's socket carries out by itself, since they never wait.
macro_rules! options {
    ($($(#[$doc:meta])* $name:ident($($argument:ident: $type:ty),*) -> $result:ty;)*) => {
        impl UdpSocket {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// As std's.
            pub fn $name(&self, $($argument: $type),*) -> io::Result<$result> {
                self.0.std.$name($($argument),*)
            }
        )*}
    };
}

options! {
    /// The address that it is bound to.
    local_addr() -> SocketAddr;
    /// The address that it is connected to.
    peer_addr() -> SocketAddr;
    /// Whether it may send to broadcast addresses.
    set_broadcast(broadcast: bool) -> ();
    /// Whether it may send to broadcast addresses.
    broadcast() -> bool;
    /// Whether its own multicast packets come back (IPv4).
    set_multicast_loop_v4(on: bool) -> ();
    /// Whether its own multicast packets come back (IPv4).
    multicast_loop_v4() -> bool;
    /// Sets how many hops multicast packets may make (IPv4).
    set_multicast_ttl_v4(ttl: u32) -> ();
    /// How many hops multicast packets may make (IPv4).
    multicast_ttl_v4() -> u32;
    /// Whether its own multicast packets come back (IPv6).
    set_multicast_loop_v6(on: bool) -> ();
    /// Whether its own multicast packets come back (IPv6).
    multicast_loop_v6() -> bool;
    /// Sets how many hops packets may make.
    set_ttl(ttl: u32) -> ();
    /// How many hops packets may make.
    ttl() -> u32;
    /// Joins a multicast group (IPv4).
    join_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Joins a multicast group (IPv6).
    join_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
    /// Leaves a multicast group (IPv4).
    leave_multicast_v4(group: &Ipv4Addr, interface: &Ipv4Addr) -> ();
    /// Leaves a multicast group (IPv6).
    leave_multicast_v6(group: &Ipv6Addr, interface: u32) -> ();
}

impl UdpSocket {
    /// Binds to an address; of several the first that works.
    ///
    /// # Errors
    /// When none can be bound.
    pub fn bind<A: ToSocketAddrs>(address: A) -> io::Result<UdpSocket> {
        each_address(address, |address| {
            net::UdpSocket::bind(address).map(|socket| UdpSocket(Handle::new(socket)))
        })
    }

    fn adopt(socket: net::UdpSocket) -> UdpSocket {
        UdpSocket(Handle::adopt(socket))
    }

    /// Sets where [`send`](Self::send) sends to, and from where alone packets are received.
    ///
    /// # Errors
    /// As std's.
    pub fn connect<A: ToSocketAddrs>(&self, address: A) -> io::Result<()> {
        each_address(address, |address| self.0.std.connect(address))
    }

    /// Waits for a packet; tells its length and where it came from. What does not fit into the buffer is lost.
    ///
    /// # Errors
    /// As std's.
    pub fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        with_address(self.0.run(op::ReceiveFrom::new(buffer))?)
    }

    /// The same, but leaves the packet in the socket.
    ///
    /// # Errors
    /// As std's.
    pub fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        with_address(self.0.run(op::ReceiveFrom::new(buffer).peek())?)
    }

    /// Sends a packet to an address (the first, if there are several).
    ///
    /// # Errors
    /// As std's.
    pub fn send_to<A: ToSocketAddrs>(&self, buffer: &[u8], address: A) -> io::Result<usize> {
        match address.to_socket_addrs()?.next() {
            Some(address) => self.0.run(op::SendTo::new(buffer, &address)),
            None => Err(io::Error::new(io::ErrorKind::InvalidInput, "the name has no address")),
        }
    }

    /// Waits for a packet from the address that it is connected to.
    ///
    /// # Errors
    /// As std's.
    pub fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.run(op::Receive::datagram(buffer))
    }

    /// The same, but leaves the packet in the socket.
    ///
    /// # Errors
    /// As std's.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.run(op::Receive::datagram(buffer).peek())
    }

    /// Sends a packet to the address that it is connected to.
    ///
    /// # Errors
    /// As std's.
    pub fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.0.run(op::Send::datagram(buffer))
    }
}

fn with_address(
    (length, address): (usize, Option<rustix::net::SocketAddrAny>),
) -> io::Result<(usize, SocketAddr)> {
    let address = address.and_then(|address| address.try_into().ok());
    let address = address.ok_or_else(|| io::Error::other("the packet's sender has no internet address"))?;
    Ok((length, address))
}
