//! One connection of a client: what it is at, and its present request.

use crate::load::fault::Fault;
use std::os::fd::OwnedFd;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Without a connection yet; or for good, if the time for opening is over.
    Unopened,
    /// Connecting before the start, without a request.
    Opening,
    Idle,
    Connecting,
    Exchanging,
    /// Answered; the server is going to close.
    Ending,
    Resting,
}

pub(super) struct Slot {
    pub(super) state: State,
    pub(super) socket: Option<OwnedFd>,
    /// Counts the slot's sockets, so that what is told of an earlier one is not taken for this one's.
    pub(super) generation: u32,
    /// Connections in a row that could not be made.
    pub(super) refusals: u32,
    /// The present request, on the run's clock: when it was due, when it was begun, and when it was answered.
    pub(super) due: u64,
    pub(super) began: u64,
    pub(super) answered: u64,
    pub(super) outcome: Result<(), Fault>,
    pub(super) counted: bool,
    /// Whether the present request is the one that opens the connection.
    pub(super) joins: bool,
    /// Whether there was ever an answer.
    pub(super) served: bool,
    /// When the first request since the last answer was begun; 0 if there has been none.
    pub(super) silent_since: u64,
    pub(super) sent: usize,
    pub(super) received: u64,
}

impl Slot {
    pub(super) fn new() -> Slot {
        Slot {
            state: State::Unopened,
            socket: None,
            generation: 0,
            refusals: 0,
            due: 0,
            began: 0,
            answered: 0,
            outcome: Ok(()),
            counted: false,
            joins: false,
            served: false,
            silent_since: 0,
            sent: 0,
            received: 0,
        }
    }

    /// Whether it has a connection that is made.
    pub(super) fn is_open(&self) -> bool {
        self.socket.is_some() && !matches!(self.state, State::Opening | State::Connecting)
    }
}
