//! Any bytes, cut in any way: what must hold for all of them.
//!
//! `cargo fuzz` searches for bytes that break it, the test `random_input` tries some thousands.

use std::sync::OnceLock;

use fibra_serve::protocol::echo::Echo;
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};

use super::{Answer, converse};

/// Cuts `data` into pieces whose lengths `cuts` gives: a few bytes mostly, everything that is left for 255.
fn pieces<'d>(cuts: &'d [u8], data: &'d [u8]) -> impl Iterator<Item = &'d [u8]> {
    let mut cuts = cuts.iter().copied().cycle();
    let mut rest = data;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let len = match cuts.next() {
            None => 1,
            Some(255) => rest.len(),
            Some(cut) => usize::from(cut) % 32 + 1,
        };
        let (piece, after) = rest.split_at(len.min(rest.len()));
        rest = after;
        Some(piece)
    })
}

/// The first byte says how many of those that follow are lengths of pieces; the rest is the stream.
fn cuts_and_stream(data: &[u8]) -> (&[u8], &[u8]) {
    let Some((&count, rest)) = data.split_first() else { return (&[], &[]) };
    rest.split_at(usize::from(count % 16).min(rest.len()))
}

/// Limits so low that random input reaches them.
fn low_limits() -> Limits {
    Limits { request_line_bytes: 64, head_bytes: 256, headers: 8, body_bytes: 64, ..Limits::default() }
}

fn hello() -> &'static [Service; 2] {
    static SERVICES: OnceLock<[Service; 2]> = OnceLock::new();
    SERVICES
        .get_or_init(|| [Limits::default(), low_limits()].map(|limits| Service::new(Site::hello(), limits)))
}

fn files() -> &'static [Service; 2] {
    static SERVICES: OnceLock<[Service; 2]> = OnceLock::new();
    SERVICES.get_or_init(|| {
        // Any directory will do that does not change meanwhile: it has a Cargo.toml, and a list of names.
        let site = || Site::root(env!("CARGO_MANIFEST_DIR")).unwrap().with_listing(true);
        [Limits::default(), low_limits()].map(|limits| Service::new(site(), limits))
    })
}

/// Serves the bytes as HTTP: no panic, always progress, and the same answer whole, cut, and byte by byte.
pub(crate) fn http(data: &[u8]) {
    let (cuts, stream) = cuts_and_stream(data);
    for service in hello().iter().chain(files()) {
        let whole = converse(service, [stream]);
        let expect = |other: Answer, how: &str| {
            assert_eq!(
                (other.bytes.escape_ascii().to_string(), other.closed),
                (whole.bytes.escape_ascii().to_string(), whole.closed),
                "{how} {cuts:?}, {:?} is answered differently",
                stream.escape_ascii().to_string(),
            );
        };
        expect(converse(service, pieces(cuts, stream)), "cut");
        expect(converse(service, pieces(&[], stream)), "byte by byte");
    }
}

/// Echoes the bytes: the answer is what the definition says, however they are cut.
pub(crate) fn echo(data: &[u8]) {
    let (cuts, stream) = cuts_and_stream(data);
    let expected = echo_by_definition(stream);
    let all: [Box<dyn Iterator<Item = &[u8]> + '_>; 3] =
        [Box::new(std::iter::once(stream)), Box::new(pieces(cuts, stream)), Box::new(pieces(&[], stream))];
    for pieces in all {
        let (mut echo, mut answer) = (Echo::new(), Answer::default());
        for piece in pieces {
            let reply = echo.receive(piece);
            answer.bytes.extend_from_slice(&piece[..reply.echo]);
            answer.bytes.extend_from_slice(reply.then);
            if answer.closed {
                assert!(reply.echo == 0 && reply.then.is_empty() && reply.close, "it speaks after the end");
            }
            answer.closed |= reply.close;
        }
        assert_eq!(answer, expected, "cut {cuts:?}, {}", stream.escape_ascii());
    }
}

/// The definition of the echo's documentation, line by line and with the whole stream at hand.
pub(crate) fn echo_by_definition(stream: &[u8]) -> Answer {
    let mut answer = Answer::default();
    for line in stream.split_inclusive(|byte| *byte == b'\n') {
        answer.bytes.extend_from_slice(line);
        if line == b"done\n" || line == b"done\r\n" {
            answer.bytes.extend_from_slice(b"bye!\n");
            answer.closed = true;
            break;
        }
    }
    answer
}
