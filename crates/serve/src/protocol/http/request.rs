//! From the bytes of a complete request head to what they ask for, or to why they ask for nothing.
//!
//! `httparse` does the reading; what is checked here is what the fields say together (RFC 9112, 3.2, 6.1 and
//! 6.3): whatever could make this server and a proxy in front of it disagree about where a request ends is an
//! error, after which the connection is closed.

use std::mem::MaybeUninit;

use httparse::{Error, Header, Status as Parsed};

use super::body::BodyLength;
use super::conditions::Conditions;
use super::response::{Persistence, Problem, Status};
use crate::Limits;

/// Requests with no more header fields than this are read with a small array: the stack a request needs is
/// memory that its connection may keep.
const USUAL_FIELDS: usize = 24;

/// What a method is to this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Connect,
    Options,
    /// One that is well known, and not allowed here.
    Known,
    Unknown,
}

/// A request whose head can be relied on.
#[derive(Debug)]
pub(super) struct Request<'h> {
    pub(super) method: Method,
    /// As it stands in the request line.
    pub(super) target: &'h str,
    pub(super) persistence: Persistence,
    pub(super) body: BodyLength,
    pub(super) expects_continue: bool,
    pub(super) conditions: Option<Box<Conditions>>,
}

const fn bad(detail: &'static str) -> Problem {
    Problem { status: Status::BadRequest, detail }
}

impl<'h> Request<'h> {
    /// Reads a complete head with as many `fields`. The conditions are left out unless they are wanted.
    #[inline]
    pub(super) fn parse(head: &'h [u8], fields: usize, conditions: bool) -> Result<Request<'h>, Problem> {
        if fields <= USUAL_FIELDS {
            Request::parse_with::<USUAL_FIELDS>(head, conditions)
        } else {
            Request::parse_large(head, conditions)
        }
    }

    #[cold]
    #[inline(never)]
    fn parse_large(head: &'h [u8], conditions: bool) -> Result<Request<'h>, Problem> {
        Request::parse_with::<{ Limits::MAX_HEADERS }>(head, conditions)
    }

    #[inline]
    fn parse_with<const FIELDS: usize>(head: &'h [u8], conditions: bool) -> Result<Request<'h>, Problem> {
        let mut fields = [const { MaybeUninit::<Header<'h>>::uninit() }; FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        match parsed.parse_with_uninit_headers(head, &mut fields) {
            Ok(Parsed::Complete(_)) => {}
            Ok(Parsed::Partial) => return Err(bad("the request head is malformed")),
            Err(error) => return Err(malformed(error, head)),
        }
        let (Some(method), Some(target), Some(minor)) = (parsed.method, parsed.path, parsed.version) else {
            return Err(bad("the request line is malformed"));
        };
        let mut framing = Framing::default();
        let mut wanted = None;
        for field in &*parsed.headers {
            framing.note(field)?;
            if conditions {
                Conditions::note(&mut wanted, field);
            }
        }
        Ok(Request {
            method: Method::named(method),
            target,
            persistence: framing.persistence(minor),
            body: framing.body(minor)?,
            expects_continue: framing.expects_continue(minor)?,
            conditions: wanted,
        })
    }
}

impl Method {
    #[inline]
    fn named(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            "CONNECT" => Method::Connect,
            "OPTIONS" => Method::Options,
            "POST" | "PUT" | "DELETE" | "PATCH" | "TRACE" => Method::Known,
            _ => Method::Unknown,
        }
    }
}

/// What the fields say of where the request ends and whether the connection outlives it.
#[derive(Default)]
struct Framing {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl Framing {
    /// Takes in one field, if it concerns the framing.
    #[inline]
    fn note(&mut self, field: &Header<'_>) -> Result<(), Problem> {
        let Header { name, value } = *field;
        // The length first: for most fields it is the only thing looked at.
        match name.len() {
            4 if name.eq_ignore_ascii_case("host") => {
                self.hosts += 1;
                if !value.iter().all(|&byte| is_in_host(byte)) {
                    return Err(bad("the Host field is malformed"));
                }
            }
            10 if name.eq_ignore_ascii_case("connection") => {
                for option in value.split(|byte| *byte == b',') {
                    let option = option.trim_ascii();
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if name.eq_ignore_ascii_case("content-length") => self.note_length(value)?,
            17 if name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.chunked {
                    return Err(bad("there are two Transfer-Encoding fields"));
                }
                if !value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    let detail = "the only transfer coding that is understood is chunked";
                    return Err(Problem { status: Status::NotImplemented, detail });
                }
                self.chunked = true;
            }
            6 if name.eq_ignore_ascii_case("expect") => {
                if value.trim_ascii().eq_ignore_ascii_case(b"100-continue") {
                    self.expects_continue = true;
                } else {
                    self.expects_other = true;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A length may be given more than once, as several fields or as a list, if it is always the same.
    fn note_length(&mut self, value: &[u8]) -> Result<(), Problem> {
        for number in value.split(|byte| *byte == b',') {
            let number = number.trim_ascii();
            if number.is_empty() || !number.iter().all(u8::is_ascii_digit) {
                return Err(bad("the Content-Length field is not a number"));
            }
            // What 64 bits cannot hold is beyond every limit.
            let number = number
                .iter()
                .fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
            if self.length.is_some_and(|length| length != number) {
                return Err(bad("there are two different Content-Length fields"));
            }
            self.length = Some(number);
        }
        Ok(())
    }

    fn body(&self, minor: u8) -> Result<BodyLength, Problem> {
        if self.hosts > 1 {
            return Err(bad("there are several Host fields"));
        }
        if self.hosts == 0 && minor > 0 {
            return Err(bad("the Host field is missing"));
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(bad("there are both a Content-Length and a Transfer-Encoding")),
            (true, None) if minor == 0 => Err(bad("HTTP/1.0 has no Transfer-Encoding")),
            (true, None) => Ok(BodyLength::Chunked),
            (false, None | Some(0)) => Ok(BodyLength::None),
            (false, Some(length)) => Ok(BodyLength::Bytes(length)),
        }
    }

    #[inline]
    fn persistence(&self, minor: u8) -> Persistence {
        match (self.close, minor, self.keep) {
            (true, _, _) | (_, 0, false) => Persistence::Close,
            (false, 0, true) => Persistence::KeepAndSay,
            _ => Persistence::Keep,
        }
    }

    fn expects_continue(&self, minor: u8) -> Result<bool, Problem> {
        if self.expects_other && minor > 0 {
            let detail = "the only expectation that is understood is 100-continue";
            return Err(Problem { status: Status::ExpectationFailed, detail });
        }
        Ok(self.expects_continue && minor > 0)
    }
}

/// What may stand in a host and a port (RFC 3986, 3.2.2 and 3.2.3).
fn is_in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(&byte)
}

#[cold]
fn malformed(error: Error, head: &[u8]) -> Problem {
    match error {
        Error::TooManyHeaders => {
            Problem { status: Status::FieldsTooLarge, detail: "there are too many header fields" }
        }
        Error::Version if names_a_version(head) => {
            Problem { status: Status::VersionNotSupported, detail: "this server speaks HTTP/1.1" }
        }
        Error::HeaderName => bad("the name of a header field is malformed"),
        Error::HeaderValue => bad("the value of a header field is malformed"),
        Error::NewLine | Error::Token | Error::Version | Error::Status => {
            bad("the request line is malformed")
        }
    }
}

/// Whether the request line ends in a version of HTTP, and not in just anything.
fn names_a_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let version = words.next_back().and_then(|word| word.strip_prefix(b"HTTP/"));
    let three_words = words.count() == 2;
    let Some(version) = version else { return false };
    let mut numbers = version.split(|byte| *byte == b'.');
    let both = numbers.clone().count() <= 2;
    let are_numbers = numbers.all(|number| matches!(number, [digit] if digit.is_ascii_digit()));
    three_words && both && are_numbers
}
