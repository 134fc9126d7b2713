//! The server's side of HTTP/1.1 (RFC 9110 and 9112): GET and HEAD of the hello page or of files.
//!
//! # Driving it
//! A [`Service`] is shared by all connections; a [`Connection`] belongs to one. The model reads bytes and
//! gives them to [`Connection::receive`], which appends answers to an output buffer of the model's and says
//! what is [next](Next). Before the model does anything that waits, it sends what is in the buffer.
//!
//! | next | the model | and then calls |
//! |---|---|---|
//! | [`Receive`](Next::Receive) | sends the output, reads | [`receive`](Connection::receive) |
//! | [`Send`](Next::Send) | sends the output | [`resume`](Connection::resume) |
//! | [`Open`](Next::Open) | runs [`Wanted::find`] where that may block | [`opened`](Connection::opened) |
//! | [`SendFile`](Next::SendFile) | sends the output, then the part of the file | [`resume`](Connection::resume) |
//! | [`Close`](Next::Close) | sends the output, ends the connection | nothing |
//!
//! When the client has sent its last byte (a read of 0 bytes), every complete request has been answered
//! already, and the model closes the connection. The [crate] has a whole model as an example.
//!
//! # Timeouts
//! The model notes the time whenever [`Connection::stage`] differs from what it was, and waits no longer
//! than [`Limits::patience`] from there; then it calls [`Connection::expire`]. A client that sends a head or
//! a body byte by byte stays in the same stage and gains nothing.
//!
//! # What is answered how
//! - Requests may be pipelined. Connections persist, of HTTP/1.0 only if the client asks for it.
//! - Bodies are read up to the limit and thrown away, `Expect: 100-continue` is answered.
//! - What makes it uncertain where a request ends is answered with an error and closes the connection: bare
//!   LF, contradicting lengths, codings other than chunked, malformed fields, and what is too large.
//! - Answers depend on the bytes alone, never on how they were cut into reads.

mod body;
mod conditions;
mod connection;
mod date;
mod files;
mod head;
mod range;
mod request;
mod response;
mod target;

pub use connection::{Connection, refuse_overload};
pub use date::Date;
pub use files::{FileSpan, Found, Wanted};

use crate::{Limits, Site};
use response::FixedPage;

/// The page at `/` of a site without files.
const HELLO: &str = "<!DOCTYPE html>\n<title>fibra</title>\n<p>Hello from fibra.</p>\n";

/// What all connections of a server share: the site and the limits.
#[derive(Debug)]
pub struct Service {
    site: Site,
    limits: Limits,
    hello: FixedPage,
    crash_at: Option<Box<str>>,
}

impl Service {
    /// A server of `site` that keeps to `limits`.
    #[must_use]
    pub fn new(site: Site, limits: Limits) -> Service {
        Service { site, limits, hello: FixedPage::new("text/html; charset=utf-8", HELLO), crash_at: None }
    }

    /// For fault runs: a request for `target`, as it stands in the request line, panics in the handler. What that costs is the model's affair: it
    /// should be one connection.
    #[must_use]
    pub fn with_crash_at(mut self, target: impl Into<Box<str>>) -> Service {
        self.crash_at = Some(target.into());
        self
    }

    /// What is served: for [`Wanted::find`].
    #[must_use]
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// What a client may do.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }
}

/// What a service model does next for a connection. It sends the output first, except before
/// [`Open`](Next::Open), which may but need not wait for that.
#[derive(Debug)]
#[must_use]
pub enum Next {
    /// Receive more bytes.
    Receive,
    /// Send the output, then resume: more requests are waiting, and their answers would fill up memory.
    Send,
    /// Look for a file.
    Open(Box<Wanted>),
    /// Send a part of a file. If the file turns out to be shorter, the connection has to be closed: the
    /// length has been promised.
    SendFile(FileSpan),
    /// Close the connection.
    Close {
        /// Whether the client may still be sending. If it is, and the socket is closed while unread bytes
        /// are in it, the kernel sends a reset that can overtake the answer. Shut the sending side down, and
        /// read and drop what comes until the end or the [deadline](Limits::linger_deadline).
        linger: bool,
    },
}

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The first byte of a request.
    Idle,
    /// The rest of a request's head.
    Head,
    /// The rest of a request's body.
    Body,
    /// Nothing from the client: a file is being looked for.
    Answer,
    /// Nothing any more.
    Over,
}

/// What a connection waits for, and in which of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stage {
    /// What is waited for.
    pub phase: Phase,
    /// How many request heads were complete so far; wraps around.
    pub request: u32,
}
