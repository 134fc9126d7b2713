//! Client sockets, and enough addresses and descriptors for them.

use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Addresses of the loopback that connections come from, if one does not have enough ports: 127.0.0.2 and on.
const SOURCES: usize = 32;
/// Descriptors for other things than connections.
const OTHERS: u64 = 32;
/// Bytes that surely leave in one segment: longer requests must not wait for the acknowledgement of their beginning.
const SEGMENT: usize = 1_200;

/// How connections are opened.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    address: SocketAddr,
    /// Whether they come from several addresses.
    spread: bool,
    no_delay: bool,
}

impl Dialer {
    pub(super) fn new(
        address: SocketAddr,
        connections: usize,
        keep_alive: bool,
        request_bytes: usize,
    ) -> Dialer {
        let loopback = matches!(address.ip(), IpAddr::V4(ip) if ip.is_loopback());
        // A connection that was closed here holds its port for a while, so that one for each request uses up any number of them.
        let scarce = !keep_alive || connections > local_ports() / 2;
        Dialer { address, spread: loopback && scarce, no_delay: request_bytes > SEGMENT }
    }

    /// Begins to connect; true if that is done. `turn` chooses the source.
    pub(super) fn dial(&self, turn: usize) -> Result<(OwnedFd, bool), Errno> {
        let family = if self.address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
        if self.spread {
            // Bound without this, each port would serve one connection only, and finding a free one takes long (ip(7)).
            setsockopt(&socket, IpBindAddressNoPort, &true)
                .map_err(|errno| Errno::from_raw_os_error(errno as i32))?;
            let source = Ipv4Addr::new(127, 0, 0, 2 + (turn % SOURCES) as u8);
            rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
        }
        if self.no_delay {
            sockopt::set_tcp_nodelay(&socket, true)?;
        }
        match rustix::net::connect(&socket, &self.address) {
            Ok(()) => Ok((socket, true)),
            Err(Errno::INPROGRESS) => Ok((socket, false)),
            Err(error) => Err(error),
        }
    }
}

/// How many local ports the system chooses from.
fn local_ports() -> usize {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = range.split_whitespace().filter_map(|end| end.parse::<usize>().ok());
    match (ends.next(), ends.next()) {
        (Some(first), Some(last)) => (last + 1).saturating_sub(first),
        _ => 28_232,
    }
}

/// Finds the address that answers, and the first connection to it.
///
/// # Errors
///
/// When none does.
pub(super) fn reach(addresses: &[SocketAddr], timeout: Duration) -> Result<(SocketAddr, OwnedFd), String> {
    let mut failure = String::new();
    for address in addresses {
        let connected = TcpStream::connect_timeout(address, timeout);
        match connected.and_then(|stream| stream.set_nonblocking(true).map(|()| stream)) {
            Ok(stream) => return Ok((*address, stream.into())),
            Err(error) => {
                failure = format!("cannot connect to {address}: {error}");
                if error.kind() == std::io::ErrorKind::ConnectionRefused {
                    failure += "; is a server listening there?";
                }
            }
        }
    }
    Err(failure)
}

/// Sees to it that this process may have a descriptor for each connection.
///
/// # Errors
///
/// When it may not.
pub(super) fn provide_descriptors(connections: usize) -> Result<(), String> {
    let needed = connections as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let suffices = |limit: Option<u64>| limit.is_none_or(|limit| limit >= needed);
    if suffices(limit.current) {
        return Ok(());
    }
    // Root may raise the hard limit, too.
    let maximum = if suffices(limit.maximum) { limit.maximum } else { Some(needed) };
    match setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum }) {
        Ok(()) => Ok(()),
        Err(_) => Err(too_few(connections, needed, limit.maximum)),
    }
}

fn too_few(connections: usize, needed: u64, allowed: Option<u64>) -> String {
    let allowed = allowed.unwrap_or(u64::MAX);
    format!(
        "{connections} connections need {needed} descriptors, and this process may have {allowed} (ulimit -Hn); \
         raise that, or use --connections {}",
        allowed.saturating_sub(OTHERS).max(1)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_to_the_loopback_come_from_several_addresses() {
        let local = SocketAddr::from(([127, 0, 0, 1], 80));
        assert!(!Dialer::new(local, 100, true, 64).spread);
        assert!(Dialer::new(local, 100, false, 64).spread);
        assert!(Dialer::new(local, 1_000_000, true, 64).spread);
        assert!(!Dialer::new(SocketAddr::from(([192, 0, 2, 1], 80)), 100, false, 64).spread);
    }

    #[test]
    fn each_source_connects() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let dialer = Dialer::new(listener.local_addr().unwrap(), 1, false, 64);
        for turn in 0..SOURCES {
            let (_socket, _) = dialer.dial(turn).unwrap();
            let (_stream, from) = listener.accept().unwrap();
            assert_eq!(from.ip(), IpAddr::from([127, 0, 0, 2 + turn as u8]));
        }
    }

    #[test]
    fn too_low_a_limit_is_told_with_what_would_do() {
        let message = too_few(20_000, 20_032, Some(1_024));
        assert!(
            message.contains("20032") && message.contains("1024") && message.contains("--connections 992")
        );
    }
}
