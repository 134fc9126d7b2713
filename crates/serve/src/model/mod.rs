//! The ways to serve: one file (or folder) a model, all of the same protocols.
//!
//! Each model's file opens with a drawing: how a connection's state is kept, who wakes it, and where it blocks.
//!
//! | model | state of a connection | woken by | several workers |
//! |---|---|---|---|
//! | [`polling`] | a table | nobody, it spins | no |
//! | [`select`], [`poll`] | a table | the kernel, which is told all sockets each time | no |
//! | [`epoll_lt`], [`epoll_et`] | a table | the kernel, which remembers the sockets | loops on threads |
//! | [`state_machine`] | a table: an enum, and what a stack would keep | the kernel, once for each time it is asked | no |
//! | [`future`] | a boxed future | its waker, which the reactor has | no |
//! | [`callback`] | what is registered with its socket | the event loop, by calling | no |
//! | [`uring`] | a table | the kernel, with what it has done | no |
//! | [`coroutine`] | a stack of its own | its worker, told by the driver | workers on threads |
//!
//! To add one: a file with its drawing, a row here, a [`Model`] with its name, an arm in [`serve()`], and a line in the program's tests over models,
//! which then show it the same clients, faults and ends as the others.
//!
//! # What they share
//! - `conversation`: what is said to one client, without a socket; `guest`: the same with a non-blocking socket, step by step.
//! - `attendant`: all of a server with one loop but the waiting; `loops`: one or several of them.
//! - `door`: listening and accepting; `admission`: the limit of connections; `shortage`: when descriptors are out.
//! - `epoll`: the list that the kernel keeps for those models that have it do so.
//! - `stopping`: signals, and the way to the end; `deadlines`: time limits; `rarely`: what is not to be said again and again.

pub mod callback;
pub mod coroutine;
pub mod epoll_et;
pub mod epoll_lt;
pub mod future;
pub mod poll;
pub mod polling;
pub mod select;
pub mod state_machine;
pub mod uring;

mod admission;
mod attendant;
mod conversation;
mod deadlines;
mod door;
mod epoll;
mod guest;
mod loops;
mod rarely;
mod shortage;
mod stopping;

use crate::protocol::http::Service;
use fibra::DriverKind;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A way to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Model {
    /// Straight-line blocking code, a coroutine for each connection.
    Coroutine,
    /// The same, on the epoll driver.
    CoroutineEpoll,
    /// The same, on the io_uring driver.
    CoroutineUring,
    /// Non-blocking sockets, asked again and again.
    Polling,
    /// One loop around `select(2)`.
    Select,
    /// One loop around `poll(2)`.
    Poll,
    /// Loops around `epoll_wait(2)`, level-triggered.
    EpollLt,
    /// Loops around `epoll_wait(2)`, edge-triggered.
    EpollEt,
    /// Handlers cut into callbacks, on the library's event loop.
    Callback,
    /// Explicit, re-entrant steps.
    StateMachine,
    /// The same as a hand-written `Future`, on a minimal executor.
    Future,
    /// Completions of a raw `io_uring(7)`.
    Uring,
}

impl Model {
    /// All of them.
    pub const ALL: &[Model] = &[
        Model::Coroutine,
        Model::CoroutineEpoll,
        Model::CoroutineUring,
        Model::Polling,
        Model::Select,
        Model::Poll,
        Model::EpollLt,
        Model::EpollEt,
        Model::Callback,
        Model::StateMachine,
        Model::Future,
        Model::Uring,
    ];

    /// The name under which `--model` knows it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.entry().0
    }

    /// What it is, in a few words.
    #[must_use]
    pub const fn about(self) -> &'static str {
        self.entry().1
    }

    const fn entry(self) -> (&'static str, &'static str) {
        match self {
            Model::Coroutine => ("coroutine", "Straight-line code, a coroutine for each connection"),
            Model::CoroutineEpoll => ("coroutine-epoll", "The same, on the epoll driver"),
            Model::CoroutineUring => ("coroutine-uring", "The same, on the io_uring driver"),
            Model::Polling => ("polling", "Non-blocking sockets, asked again and again: takes a whole core"),
            Model::Select => ("select", "One loop around select(2): 1,024 descriptors at most"),
            Model::Poll => ("poll", "One loop around poll(2)"),
            Model::EpollLt => ("epoll-lt", "Loops around epoll_wait(2), level-triggered"),
            Model::EpollEt => ("epoll-et", "Loops around epoll_wait(2), edge-triggered"),
            Model::Callback => ("callback", "Handlers cut into callbacks, on the library's event loop"),
            Model::StateMachine => ("state-machine", "Explicit, re-entrant steps, on an epoll loop"),
            Model::Future => ("future", "The same as a hand-written Future, on a minimal executor"),
            Model::Uring => ("uring", "Completions of a raw io_uring(7)"),
        }
    }

    /// The model of that name.
    ///
    /// ```
    /// use fibra_serve::Model;
    ///
    /// assert_eq!(Model::from_name("epoll-et"), Some(Model::EpollEt));
    /// assert_eq!(Model::from_name("magic"), None);
    /// ```
    #[must_use]
    pub fn from_name(name: &str) -> Option<Model> {
        Model::ALL.iter().copied().find(|model| model.name() == name)
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

/// How several loops share one address. It concerns the models that run several: `epoll-lt` and `epoll-et`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Accept {
    /// All wait for one listener, and each connection wakes every loop that sleeps.
    Shared,
    /// All wait for one listener, and the kernel wakes one of them (`EPOLLEXCLUSIVE`).
    #[default]
    Exclusive,
    /// Each has a listener of its own (`SO_REUSEPORT`).
    Reuseport,
}

/// What to serve, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// What is spoken.
    pub protocol: Protocol,
    /// Where to listen.
    pub address: SocketAddr,
    /// How many workers there are; when none is said, the environment or the machine decides for the coroutines, and the models with
    /// loops have one.
    pub workers: Option<usize>,
    /// How several loops share the address.
    pub accept: Accept,
    /// The site and the limits.
    pub service: Arc<Service>,
}

/// A server that has begun to listen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Started {
    /// Where it listens, with the port that the system chose if none was said.
    pub address: SocketAddr,
    /// The name of its driver: how it waits.
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
    /// How often a loop was woken because somebody seemed to be waiting to be accepted; 0 under models that do not count it.
    pub wakeups: u64,
}

/// Serves until SIGINT or SIGTERM, then stops accepting, finishes what runs, and returns; a second signal, or
/// [`stop_deadline`](crate::Limits::stop_deadline), cuts off what has not finished. `started` is called once the server listens.
///
/// # Errors
/// When the address cannot be listened on, or the runtime cannot start, or the model cannot do what the options ask for.
pub fn serve(model: Model, options: Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    match model {
        Model::Coroutine => coroutine::serve(options, None, started),
        Model::CoroutineEpoll => coroutine::serve(options, Some(DriverKind::Epoll), started),
        Model::CoroutineUring => coroutine::serve(options, Some(DriverKind::Uring), started),
        Model::Polling => polling::serve(&options, started),
        Model::Select => select::serve(&options, started),
        Model::Poll => poll::serve(&options, started),
        Model::EpollLt => epoll_lt::serve(&options, started),
        Model::EpollEt => epoll_et::serve(&options, started),
        Model::Callback => callback::serve(&options, started),
        Model::StateMachine => state_machine::serve(&options, started),
        Model::Future => future::serve(&options, started),
        Model::Uring => uring::serve(&options, started),
    }
}

fn cannot_listen(address: SocketAddr, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_has_a_name_of_its_own() {
        for &model in Model::ALL {
            assert_eq!(Model::from_name(model.name()), Some(model));
        }
    }
}
