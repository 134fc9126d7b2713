//! A conversation and its socket, which is non-blocking: one step at a time, and never a wait.
//!
//! A [`Step`] says how far it got. Whether there is more to do, only the kernel knows: by the next step, or by an event.

use super::admission::Place;
use super::conversation::{Conversation, Desk, Wish};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// How many bytes are read at once.
pub(super) const READ: usize = 16 << 10;

/// A client that is being served.
#[derive(Debug)]
pub(super) struct Guest {
    pub(super) socket: TcpStream,
    pub(super) conversation: Conversation,
    /// What the model has told the kernel to watch for.
    pub(super) watched: Option<Interest>,
    /// Whether it stands in the line of those who are to be looked at without an event.
    pub(super) due: bool,
    _place: Place,
}

/// What a socket has to be for a conversation to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Interest {
    Readable,
    Writable,
}

/// How far a step got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Step {
    /// It did something, and there may be more to do. Whether the socket is known to have been empty: less was there than could be read.
    Went { emptied: bool },
    /// It can only go on when the socket is this.
    Waits(Interest),
    /// The conversation has ended: the guest is to be dropped, which closes the socket.
    Over,
}

impl Guest {
    pub(super) fn new(socket: TcpStream, place: Place, desk: &Desk) -> Guest {
        Guest { socket, conversation: Conversation::new(desk), watched: None, due: false, _place: place }
    }

    /// What has to come for the conversation to go on.
    pub(super) fn interest(&self) -> Interest {
        match self.conversation.wish() {
            Wish::Send => Interest::Writable,
            _ => Interest::Readable,
        }
    }

    /// Says that there is no room, if the protocol has a word for that. What the socket does not take at once is not said.
    pub(super) fn refuse(&mut self, desk: &Desk) {
        let _ = (&self.socket).write(&desk.refusal());
    }

    /// Receives once, answers, and sends once: whichever of these is due.
    #[inline]
    pub(super) fn step(&mut self, input: &mut [u8], desk: &mut Desk) -> Step {
        match self.try_step(input, desk) {
            Ok(step) => step,
            Err(error) => {
                // The client went away: its business, not ours.
                tracing::debug!(%error, "a connection ended early");
                Step::Over
            }
        }
    }

    fn try_step(&mut self, input: &mut [u8], desk: &mut Desk) -> io::Result<Step> {
        let (mut socket, conversation) = (&self.socket, &mut self.conversation);
        let mut emptied = false;
        if conversation.wish() == Wish::Receive {
            match socket.read(input) {
                Ok(len) => {
                    emptied = len < input.len();
                    conversation.received(&input[..len], desk);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    conversation.drained();
                    return Ok(match conversation.wish() {
                        Wish::Over => Step::Over,
                        _ => Step::Waits(Interest::Readable),
                    });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if conversation.wish() == Wish::Send {
            match socket.write(conversation.unsent()) {
                Ok(count) => conversation.sent(count, desk),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Step::Waits(Interest::Writable));
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if conversation.wish() == Wish::Shut {
            socket.shutdown(Shutdown::Write)?;
            conversation.shut(desk);
        }
        Ok(match conversation.wish() {
            Wish::Over => Step::Over,
            _ => Step::Went { emptied },
        })
    }
}

impl AsFd for Guest {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
