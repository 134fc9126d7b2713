//! The textbook echo: whatever arrives goes back at once; the line `done` is answered `bye!`.
//!
//! # The definition
//! A *line* is what stands between two newlines (or before the first one); a `\r` before the `\n` belongs
//! to the newline. The answer to a stream of bytes is
//! - the stream itself, up to and including the newline of the first line that is exactly `done`, then
//!   `bye!\n`, and the connection is closed; what follows that line is not answered;
//! - the whole stream, if there is no such line.
//!
//! So the word `done` is echoed as well: its bytes go back as they arrive, before anybody can know which
//! line they will make, and must do so whether they come in one piece or in six. A `done` that the stream
//! ends in without a newline is not a line, and is only echoed. The answer depends on the bytes alone, never
//! on how they were cut into reads.
//!
//! # Cost
//! One byte of state. The receiver's own buffer is what goes back, so nothing is copied; a buffer is
//! searched for newlines, and only the first bytes after each one are looked at.
//!
//! ```
//! use fibra_serve::protocol::echo::Echo;
//!
//! let mut echo = Echo::new();
//! let reply = echo.receive(b"hello\ndo");
//! assert_eq!((reply.echo, reply.then, reply.close), (8, &b""[..], false));
//! let reply = echo.receive(b"ne\nnever read");
//! assert_eq!((reply.echo, reply.then, reply.close), (3, &b"bye!\n"[..], true));
//! ```

use memchr::memchr;

/// What the peer is told before the connection is closed.
const FAREWELL: &[u8] = b"bye!\n";

const WORD: &[u8] = b"done";

/// What to send after a read, in this order: the first [`echo`](Reply::echo) bytes of what was read, then
/// [`then`](Reply::then).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Reply {
    /// How many bytes of the buffer go back, counted from its start.
    pub echo: usize,
    /// What is sent after them; mostly empty.
    pub then: &'static [u8],
    /// Whether the connection ends once these are sent.
    pub close: bool,
}

/// How much of the line `done` the bytes received so far have spelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Line {
    /// Nothing yet: the line begins here.
    #[default]
    Empty,
    D,
    Do,
    Don,
    Done,
    /// `done\r`: a newline, if the next byte is `\n`.
    DoneReturn,
    /// Something else: only the newline matters now.
    Other,
    /// The line `done` has been answered.
    Over,
}

/// One echo conversation.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    line: Line,
}

impl Echo {
    /// A conversation in which nothing was said yet.
    #[must_use]
    pub fn new() -> Echo {
        Echo::default()
    }

    /// The answer to the next `bytes` of the stream. At the end of the stream there is nothing to ask: the
    /// connection is closed. After [`close`](Reply::close), nothing is echoed any more.
    #[inline]
    pub fn receive(&mut self, bytes: &[u8]) -> Reply {
        if self.line == Line::Over {
            return Reply { echo: 0, then: b"", close: true };
        }
        match self.end_of_word(bytes) {
            None => Reply { echo: bytes.len(), then: b"", close: false },
            Some(echo) => {
                self.line = Line::Over;
                Reply { echo, then: FAREWELL, close: true }
            }
        }
    }

    /// Where in `bytes` the line `done` ends, newline included.
    fn end_of_word(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            self.line = match (self.line, bytes[at]) {
                (Line::Done | Line::DoneReturn, b'\n') => return Some(at + 1),
                (_, b'\n') => Line::Empty,
                (Line::Empty, byte) if byte == WORD[0] => Line::D,
                (Line::D, byte) if byte == WORD[1] => Line::Do,
                (Line::Do, byte) if byte == WORD[2] => Line::Don,
                (Line::Don, byte) if byte == WORD[3] => Line::Done,
                (Line::Done, b'\r') => Line::DoneReturn,
                _ => match memchr(b'\n', &bytes[at..]) {
                    Some(newline) => {
                        at += newline;
                        Line::Empty
                    }
                    None => {
                        self.line = Line::Other;
                        return None;
                    }
                },
            };
            at += 1;
        }
        None
    }
}
