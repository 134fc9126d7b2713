//! What a descriptor is watched for, and what it is ready for.

use super::Key;
use fibra_driver::Direction;
use std::fmt;
use std::ops::BitOr;

/// What is to be waited for on a descriptor.
///
/// Level-triggered unless it says [`edge`](Self::edge): the callback is called again and again for as long as the descriptor is ready, whatever it takes and leaves.
///
/// ```
/// use fibra::event_loop::Interest;
///
/// assert_eq!(Interest::READABLE | Interest::WRITABLE, Interest::BOTH);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Interest {
    bits: u8,
    edge: bool,
}

impl Interest {
    /// Nothing, for now: the watcher stays, and is not called.
    pub const NONE: Interest = Interest { bits: 0, edge: false };
    /// Something to read, a connection to accept, or the end of the stream.
    pub const READABLE: Interest = Interest { bits: 1, edge: false };
    /// Room to write, or a connection that has been made or refused.
    pub const WRITABLE: Interest = Interest { bits: 2, edge: false };
    /// Either.
    pub const BOTH: Interest = Interest { bits: 3, edge: false };

    /// The same, edge-triggered: a promise that the callback goes on until the kernel says [`WouldBlock`](std::io::ErrorKind::WouldBlock). It is then called when something *new*
    /// has come. What it leaves behind it is not reminded of.
    ///
    /// It spares the question whether the descriptor is still ready: with epoll a share of one `poll(2)` for each call. It may be called though nothing is there.
    #[must_use]
    pub const fn edge(self) -> Interest {
        Interest { edge: true, ..self }
    }

    /// Whether that is all edge-triggered.
    pub const fn is_edge(self) -> bool {
        self.edge
    }

    /// Whether it is waited for something to read.
    pub const fn is_readable(self) -> bool {
        self.bits & 1 != 0
    }

    /// Whether it is waited for room to write.
    pub const fn is_writable(self) -> bool {
        self.bits & 2 != 0
    }

    pub(super) fn has(self, direction: Direction) -> bool {
        match direction {
            Direction::Read => self.is_readable(),
            Direction::Write => self.is_writable(),
        }
    }
}

impl BitOr for Interest {
    type Output = Interest;

    fn bitor(self, other: Interest) -> Interest {
        Interest { bits: self.bits | other.bits, edge: self.edge || other.edge }
    }
}

impl fmt::Debug for Interest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = ["NONE", "READABLE", "WRITABLE", "BOTH"][usize::from(self.bits)];
        f.write_str(if self.edge { "edge-triggered " } else { "" })?;
        f.write_str(name)
    }
}

/// What a watcher is called with: its key, and what its descriptor is ready for, of that which is waited for. An error that is pending, or a peer that has gone, makes it ready
/// for all of it: the next call tells.
pub struct Event<S> {
    /// The watcher's.
    pub key: Key<S>,
    /// A read, or an accept, will not block.
    pub readable: bool,
    /// A write will not block.
    pub writable: bool,
    /// Its [timeout](super::EventLoop::set_timeout) is over.
    pub timed_out: bool,
}

impl<S> fmt::Debug for Event<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Event")
            .field("key", &self.key)
            .field("readable", &self.readable)
            .field("writable", &self.writable)
            .field("timed_out", &self.timed_out)
            .finish()
    }
}

/// The directions that are ready.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ready {
    pub(super) readable: bool,
    pub(super) writable: bool,
}

impl Ready {
    pub(super) fn add(&mut self, direction: Direction) {
        match direction {
            Direction::Read => self.readable = true,
            Direction::Write => self.writable = true,
        }
    }

    pub(super) fn of(self, interest: Interest) -> Ready {
        Ready {
            readable: self.readable && interest.is_readable(),
            writable: self.writable && interest.is_writable(),
        }
    }

    pub(super) fn is_none(self) -> bool {
        !self.readable && !self.writable
    }
}
