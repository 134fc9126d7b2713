//! The ways to serve: one file (or folder) a model, all of the same protocols.

pub mod coroutine;

mod admission;
mod rarely;
mod shortage;

use crate::protocol::http::Service;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A way to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// Straight-line blocking code, a coroutine for each connection.
    Coroutine,
}

impl Model {
    /// All of them.
    pub const ALL: [Model; 1] = [Model::Coroutine];

    /// The name under which `--model` knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Model::Coroutine => "coroutine",
        }
    }
}

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The textbook echo.
    Echo,
    /// HTTP/1.1.
    Http,
}

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where to listen.
    pub address: SocketAddr,
    /// How many workers there are; when none is said, the environment or the machine decides.
    pub workers: Option<usize>,
    /// The site and the limits.
    pub service: Arc<Service>,
}

/// A server that has begun to listen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Started {
    /// Where it listens, with the port that the system chose if none was said.
    pub address: SocketAddr,
    /// The name of its driver.
    pub driver: &'static str,
    /// How many workers it has.
    pub workers: usize,
}

/// What became of the connections of a server that has stopped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// How many were accepted.
    pub accepted: u64,
    /// How many were cut off because the time for stopping was over.
    pub cut_off: usize,
}

/// Serves until SIGINT or SIGTERM, then stops accepting, finishes what runs, and returns; a second signal, or
/// [`stop_deadline`](crate::Limits::stop_deadline), cuts off what has not finished. `started` is called once the server listens.
///
/// # Errors
/// When the address cannot be listened on, or the runtime cannot start.
pub fn serve(model: Model, options: Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    match model {
        Model::Coroutine => coroutine::serve(options, started),
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}
