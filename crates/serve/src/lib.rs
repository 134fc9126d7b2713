//! One protocol, every service model.
//!
//! What goes over the wire is decided once, in [`protocol`]: the textbook [`echo`](protocol::echo) and
//! [`http`](protocol::http). They are pure: bytes in, bytes out, and what to do next. A service model
//! (processes, threads, an event loop, coroutines …) brings the sockets, the waiting and the clock, so that
//! what differs between two models is only what serving in that way costs.
//!
//! - [`protocol`]: the protocols.
//! - [`site`]: what a path means: the hello page, or files below a directory that nothing leads out of.
//! - [`model`]: the ways to serve.
//! - [`limits`]: sizes, times and counts; the protocols keep to the sizes, the models to the rest.
//!
//! # Writing a model
//! A thread for each connection, in full. Another model differs in how it waits, not in what it says:
//!
#![doc = "```no_run"]
#![doc = include_str!("../examples/thread_model.rs")]
#![doc = "```"]
//!
//! The echo needs less: its answer is the very buffer that was read.
//!
//! ```no_run
//! # use std::io::{self, Read, Write};
//! # use std::net::TcpStream;
//! use fibra_serve::protocol::echo::Echo;
//!
//! fn converse(mut socket: &TcpStream) -> io::Result<()> {
//!     let (mut echo, mut buffer) = (Echo::new(), [0; 4096]);
//!     loop {
//!         let len = socket.read(&mut buffer)?;
//!         if len == 0 {
//!             return Ok(());
//!         }
//!         let reply = echo.receive(&buffer[..len]);
//!         socket.write_all(&buffer[..reply.echo])?;
//!         socket.write_all(reply.then)?;
//!         if reply.close {
//!             return Ok(());
//!         }
//!     }
//! }
//! ```
//!
//! To stop without losing a request: stop accepting; [`finish`](protocol::http::Connection::finish) every
//! connection, which makes it say `Connection: close` in its next answer; close those that are
//! [idle](protocol::http::Connection::is_idle), after one more look for bytes that have already arrived; and
//! at the [deadline](limits::Limits::stop_deadline) close the rest.

#![deny(unsafe_code)]

pub mod limits;
pub mod model;
pub mod protocol;
pub mod site;

pub use limits::Limits;
pub use model::{Accept, Model, Options, Protocol, Started, Summary, serve};
pub use site::Site;
