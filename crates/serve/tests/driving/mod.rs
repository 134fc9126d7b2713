//! What the tests and the fuzz targets share: a service model without sockets.
//!
//! The fuzz targets include this file by its path, so it uses nothing but std and the crate itself.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod torture;

use std::os::unix::fs::FileExt;
use std::time::{Duration, UNIX_EPOCH};

use fibra_serve::protocol::http::{Connection, Date, Next, Service};
use fibra_serve::{Limits, Site};

/// What a connection answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
    pub(crate) closed: bool,
}

/// `Sat, 21 Nov 2026 12:00:00 GMT`
pub(crate) fn date() -> Date {
    Date::at(UNIX_EPOCH + Duration::from_secs(1_795_262_400))
}

pub(crate) fn hello() -> Service {
    Service::new(Site::hello(), Limits::default())
}

/// Does what `next` says, and all that follows from it, until more input is needed or the end.
///
/// # Panics
/// If the connection goes on for longer than `input_len` bytes of input can explain.
pub(crate) fn follow(
    connection: &mut Connection,
    mut next: Next,
    service: &Service,
    input_len: usize,
    out: &mut Vec<u8>,
    answer: &mut Answer,
) {
    for _ in 0..input_len + 4 {
        next = match next {
            Next::Receive => {
                answer.bytes.append(out);
                return;
            }
            Next::Close { .. } => {
                answer.bytes.append(out);
                answer.closed = true;
                return;
            }
            Next::Send => {
                assert!(!out.is_empty(), "there is nothing to send");
                answer.bytes.append(out);
                connection.resume(service, &date(), out)
            }
            Next::Open(wanted) => connection.opened(wanted.find(service.site()), service, &date(), out),
            Next::SendFile(span) => {
                answer.bytes.append(out);
                let mut part = vec![0; usize::try_from(span.len).unwrap()];
                span.file.read_exact_at(&mut part, span.offset).unwrap();
                answer.bytes.append(&mut part);
                connection.resume(service, &date(), out)
            }
        };
    }
    panic!("the connection makes no progress");
}

/// The answer to the pieces of a stream.
pub(crate) fn converse<'p>(service: &Service, pieces: impl IntoIterator<Item = &'p [u8]>) -> Answer {
    let mut connection = Connection::new();
    let (mut out, mut answer, mut received) = (Vec::new(), Answer::default(), 0);
    for piece in pieces {
        if answer.closed {
            break;
        }
        received += piece.len();
        let next = connection.receive(piece, service, &date(), &mut out);
        follow(&mut connection, next, service, received, &mut out, &mut answer);
    }
    answer
}

/// The answer to a stream that comes in one piece, as text.
pub(crate) fn ask(service: &Service, input: &str) -> String {
    String::from_utf8_lossy(&converse(service, [input.as_bytes()]).bytes).into_owned()
}

/// The answer to a GET of `target`, with more `fields` (each ended by CRLF).
pub(crate) fn get(service: &Service, target: &str, fields: &str) -> String {
    ask(service, &format!("GET {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n"))
}

/// The status code of the first response in `answer`.
pub(crate) fn status(answer: &str) -> u16 {
    let code = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    code.and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no response: {answer:?}"))
}

/// The value of a field of the first response in `answer`.
pub(crate) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| *key == name)
        .map(|(_, v)| v)
}

/// What follows the first response's head.
pub(crate) fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
