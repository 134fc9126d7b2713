//! Sockets with std's names and signatures, whose waits park the coroutine: `use std::net` → `use fibra::net` is the whole port.
//!
//! | file | idea |
//! |---|---|
//! | `operation` | one operation, from the first attempt to its result: what every call goes through |
//! | `address` | names to addresses, off the worker |
//! | `ahead` | accepting ahead of who asks |
//! | `handle` | what all sockets have in common: clones, timeouts, conversions |
//! | `mode` | who may change `O_NONBLOCK`, and when it is put back |
//! | `pauses` | waits whose end nobody reports |
//! | `tcp`, `udp`, `unix` | the types |
//!
//! Called from an OS thread the same operations block that thread.
//!
//! # One socket, many users
//! Any number of contexts may use one socket at the same time, through `&TcpStream` (in an `Arc`, say) or a [`try_clone`](TcpStream::try_clone). Readers
//! are served in the order in which they began to wait, and so are writers; under io_uring it is the kernel that chooses among them. What is there for one wakes
//! one.
//!
//! # Closing what is in use
//! While an operation runs it borrows the socket, so the descriptor cannot be closed under it. `close` (on every type) ends all
//! operations in progress, and all later ones, with [`NotConnected`](std::io::ErrorKind::NotConnected), on the socket and its clones; the
//! descriptor is released when the last handle is dropped. `shutdown` works as ever: readers see the end of the stream.
//!
//! # Timeouts
//! An operation that has waited for longer than `set_read_timeout` or `set_write_timeout` allow ends with the error that std has for it on Linux,
//! [`WouldBlock`](std::io::ErrorKind::WouldBlock).

mod address;
mod ahead;
mod handle;
mod mode;
pub(crate) mod operation;
mod pauses;
mod tcp;
mod udp;
mod unix;

pub use address::ToSocketAddrs;
pub use ahead::IncomingAhead;
pub(crate) use handle::Socket;
pub(crate) use mode::Nonblocking;
pub use std::net::{
    AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
};
pub use tcp::{Incoming, TcpListener, TcpStream};
pub use udp::UdpSocket;
pub use unix::{UnixDatagram, UnixIncoming, UnixListener, UnixStream};
