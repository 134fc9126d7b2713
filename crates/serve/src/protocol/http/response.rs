//! Writing the heads of responses, and the responses that are always the same.

use std::io::Write;

use super::date::{DATE_LEN, Date};

/// The status codes this server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Ok,
    PartialContent,
    MovedPermanently,
    NotModified,
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    RequestTimeout,
    PreconditionFailed,
    ContentTooLarge,
    UriTooLong,
    RangeNotSatisfiable,
    ExpectationFailed,
    FieldsTooLarge,
    InternalServerError,
    NotImplemented,
    ServiceUnavailable,
    VersionNotSupported,
}

impl Status {
    /// Code and reason, as they stand in the status line.
    pub(super) fn text(self) -> &'static str {
        match self {
            Status::Ok => "200 OK",
            Status::PartialContent => "206 Partial Content",
            Status::MovedPermanently => "301 Moved Permanently",
            Status::NotModified => "304 Not Modified",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::MethodNotAllowed => "405 Method Not Allowed",
            Status::RequestTimeout => "408 Request Timeout",
            Status::PreconditionFailed => "412 Precondition Failed",
            Status::ContentTooLarge => "413 Content Too Large",
            Status::UriTooLong => "414 URI Too Long",
            Status::RangeNotSatisfiable => "416 Range Not Satisfiable",
            Status::ExpectationFailed => "417 Expectation Failed",
            Status::FieldsTooLarge => "431 Request Header Fields Too Large",
            Status::InternalServerError => "500 Internal Server Error",
            Status::NotImplemented => "501 Not Implemented",
            Status::ServiceUnavailable => "503 Service Unavailable",
            Status::VersionNotSupported => "505 HTTP Version Not Supported",
        }
    }
}

/// Why a request is not answered with what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) status: Status,
    /// One sentence for the person at the other end; may be empty.
    pub(super) detail: &'static str,
}

/// What the response says of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It stays open, which needs no words in HTTP/1.1.
    Keep,
    /// It stays open, and a client of HTTP/1.0 is told so.
    KeepAndSay,
    /// It is closed after this response.
    Close,
}

impl Persistence {
    fn field(self) -> &'static [u8] {
        match self {
            Persistence::Keep => b"",
            Persistence::KeepAndSay => b"Connection: keep-alive\r\n",
            Persistence::Close => b"Connection: close\r\n",
        }
    }
}

const BEFORE_DATE: &str = "\r\nServer: fibra\r\nDate: ";
pub(super) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A response head that is being written to the end of `out`.
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    pub(super) fn new(
        out: &'o mut Vec<u8>,
        status: Status,
        date: &Date,
        persistence: Persistence,
    ) -> Writer<'o> {
        for part in [b"HTTP/1.1 ", status.text().as_bytes(), BEFORE_DATE.as_bytes(), date.text(), b"\r\n"] {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(persistence.field());
        Writer { out }
    }

    /// A field; whoever calls sees to it that there is no control character in `value`.
    pub(super) fn field(self, name: &str, value: &[u8]) -> Writer<'o> {
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.out.extend_from_slice(part);
        }
        self
    }

    pub(super) fn content_length(self, len: u64) -> Writer<'o> {
        write!(self.out, "Content-Length: {len}\r\n").expect("a Vec takes whatever is written");
        self
    }

    /// Ends the head. The body follows.
    pub(super) fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }
}

/// Writes the whole response for a problem.
pub(super) fn problem(
    out: &mut Vec<u8>,
    problem: Problem,
    date: &Date,
    persistence: Persistence,
    head_only: bool,
) {
    let Problem { status, detail } = problem;
    let separator = if detail.is_empty() { "" } else { ": " };
    let body = [status.text(), separator, detail, "\n"];
    let len: usize = body.iter().map(|part| part.len()).sum();
    let mut head = Writer::new(out, status, date, persistence);
    head = match status {
        Status::MethodNotAllowed => head.field("Allow", b"GET, HEAD"),
        Status::ServiceUnavailable => head.field("Retry-After", b"1"),
        _ => head,
    };
    head.field("Content-Type", b"text/plain; charset=utf-8").content_length(len as u64).end();
    if !head_only {
        for part in body {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

/// A page that never changes: the whole response is kept, and only the date in it is written anew.
#[derive(Debug)]
pub(super) struct FixedPage {
    keep: Vec<u8>,
    keep_and_say: Vec<u8>,
    close: Vec<u8>,
    body_len: usize,
    date_at: usize,
}

impl FixedPage {
    pub(super) fn new(content_type: &str, body: &str) -> FixedPage {
        let date = Date::at(std::time::UNIX_EPOCH);
        let write = |persistence| {
            let mut out = Vec::new();
            Writer::new(&mut out, Status::Ok, &date, persistence)
                .field("Content-Type", content_type.as_bytes())
                .content_length(body.len() as u64)
                .end();
            out.extend_from_slice(body.as_bytes());
            out
        };
        FixedPage {
            keep: write(Persistence::Keep),
            keep_and_say: write(Persistence::KeepAndSay),
            close: write(Persistence::Close),
            body_len: body.len(),
            date_at: "HTTP/1.1 ".len() + Status::Ok.text().len() + BEFORE_DATE.len(),
        }
    }

    #[inline]
    pub(super) fn write(&self, out: &mut Vec<u8>, date: &Date, persistence: Persistence, head_only: bool) {
        let response = match persistence {
            Persistence::Keep => &self.keep,
            Persistence::KeepAndSay => &self.keep_and_say,
            Persistence::Close => &self.close,
        };
        let end = if head_only { response.len() - self.body_len } else { response.len() };
        let date_at = out.len() + self.date_at;
        out.extend_from_slice(&response[..end]);
        out[date_at..date_at + DATE_LEN].copy_from_slice(date.text());
    }
}
