//! Client sockets.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

/// Addresses the connections come from: 127.0.0.2 and on.
const SOURCES: usize = 16;

/// Connects, blocking, from the source address whose turn it is.
pub(super) fn connect(address: SocketAddr, index: usize) -> Result<OwnedFd> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    let last = 2 + (index % SOURCES) as u8;
    port_is_chosen_at_connect(&socket)?;
    rustix::net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0))?;
    rustix::net::connect(&socket, &address).with_context(|| format!("connecting to {address}"))?;
    Ok(socket)
}

/// Lets one source port serve several connections, as long as their other ends differ: bound at once, each port would
/// be taken for good (ip(7), IP_BIND_ADDRESS_NO_PORT).
fn port_is_chosen_at_connect(socket: &OwnedFd) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is the int `on`, whose address and size are given.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if failed != 0 {
        return Err(std::io::Error::last_os_error()).context("IP_BIND_ADDRESS_NO_PORT");
    }
    Ok(())
}

pub(super) fn reset_when_dropped(socket: &OwnedFd) -> Result<()> {
    Ok(sockopt::set_socket_linger(socket, Some(Duration::ZERO))?)
}
