//! What is said on the connections: the part of a protocol that the loop does not know.
//!
//! Nothing here touches a socket. The loop asks for a request, hands over what came back, and is told when that was all of it.

use super::fault::Fault;

/// One protocol, and how far each of a thread's connections is in it.
pub(super) trait Conversation {
    /// Turns to the next request on connection `slot`; whatever became of the one before is forgotten.
    fn begin(&mut self, slot: usize);

    /// The whole of the present request.
    fn request(&self, slot: usize) -> &[u8];

    /// Takes more of the answer.
    fn answer(&mut self, slot: usize, received: &[u8]) -> Answer;

    /// The server has closed the connection before it said the answer was whole: whether that was its end. Never [`Answer::More`].
    fn end(&mut self, slot: usize) -> Answer;
}

/// How far an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Answer {
    /// More of it is to come.
    More,
    /// That was all: as it should be, or a complete answer that tells of a failure.
    Whole(Result<(), Fault>, After),
    /// Not an answer: the connection is of no use any more.
    Wrong(Fault),
}

/// What becomes of a connection after an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// It serves the next request.
    Keep,
    /// The client closes it.
    Close,
    /// The server said that it would close it. Whoever closes first remembers the connection for a minute (TIME_WAIT), and is better not the
    /// client, whose ports are few.
    AwaitEnd,
}
