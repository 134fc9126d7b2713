//! Finding the end of a request's head, before anything in it is interpreted.
//!
//! The head is looked at line by line, in the order of the stream, and each byte once: what has been searched
//! is remembered, so that a client that sends its head byte by byte costs no more than its bytes. A verdict
//! depends only on the bytes before it, never on where one read ended and the next began.
//!
//! Lines end in CRLF and in nothing else. RFC 9112 (2.2) lets a server take a bare LF for the end of a line,
//! but two parsers in a row that do not agree on it are how requests are smuggled.

use memchr::memchr;

use super::response::{Problem, Status};
use crate::Limits;

/// How far the head at the front of the input has been searched.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Search {
    searched: usize,
    line: usize,
    lines: usize,
}

/// What the search came to.
#[derive(Debug)]
pub(super) enum Head {
    /// It ends beyond the input so far.
    Unfinished,
    /// It is this many bytes long, the empty line included, and has this many fields.
    Complete { len: usize, fields: usize },
    /// It will not do, whatever comes after.
    Refused(Problem),
}

impl Search {
    /// Goes on in `input`, which begins where the head does and has grown since the last time.
    #[inline]
    pub(super) fn go_on(&mut self, input: &[u8], limits: &Limits) -> Head {
        let refused = |status, detail| Head::Refused(Problem { status, detail });
        if let Some(first) = input.first()
            && !first.is_ascii_alphanumeric()
            && !b"!#$%&'*+-.^_`|~".contains(first)
        {
            return refused(Status::BadRequest, "that is not the beginning of a request");
        }
        loop {
            let longest = match self.lines {
                0 => limits.request_line_bytes.min(limits.head_bytes),
                _ => limits.head_bytes,
            };
            let horizon = input.len().min(longest);
            let Some(newline) = input.get(self.searched..horizon).and_then(|ahead| memchr(b'\n', ahead))
            else {
                if input.len() < longest {
                    self.searched = input.len();
                    return Head::Unfinished;
                }
                return match self.lines {
                    0 => refused(Status::UriTooLong, "the request line is too long"),
                    _ => refused(Status::FieldsTooLarge, "the header is too large"),
                };
            };
            let end = self.searched + newline;
            if end == self.line || input[end - 1] != b'\r' {
                return refused(Status::BadRequest, "a line ends in a bare LF");
            }
            if end - 1 == self.line {
                return Head::Complete { len: end + 1, fields: self.lines.saturating_sub(1) };
            }
            if self.lines > limits.headers.min(Limits::MAX_HEADERS) {
                return refused(Status::FieldsTooLarge, "there are too many header fields");
            }
            self.lines += 1;
            self.line = end + 1;
            self.searched = end + 1;
        }
    }
}
