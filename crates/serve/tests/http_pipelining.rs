//! Several requests in one stream, however it is cut.

mod driving;

use driving::{Answer, converse, hello};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};

/// Every kind of request after which the connection goes on, and at last one after which it does not.
const STREAM: &str = "\r\n\
    GET / HTTP/1.1\r\nHost: a\r\n\r\n\
    HEAD /small HTTP/1.1\r\nHost: a\r\nUser-Agent: x y\r\n\r\n\
    \r\n\r\n\
    GET /large HTTP/1.1\r\nHost: a\r\nRange: bytes=1-20000\r\n\r\n\
    POST /nowhere HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nGET / HTTP/\
    GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc\
    GET /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
    3;x=\"y\"\r\nabc\r\nA\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n\
    GET http://a/?q HTTP/1.0\r\nConnection: keep-alive\r\n\r\n\
    BREW / HTTP/1.1\r\nHost: a\r\n\r\n\
    GET / HTTP/1.1\r\nhost: a\r\nconnection: foo, Close\r\n\r\n\
    GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn files() -> (tempfile::TempDir, Service) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("index.html"), "index").unwrap();
    std::fs::write(directory.path().join("small"), "small").unwrap();
    std::fs::write(directory.path().join("large"), [b'l'; 30_000]).unwrap();
    let site = Site::root(directory.path()).unwrap();
    (directory, Service::new(site, Limits::default()))
}

fn statuses(answer: &Answer) -> Vec<String> {
    let text = String::from_utf8_lossy(&answer.bytes);
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].to_owned()).collect()
}

fn every_cut_gives(whole: &Answer, service: &Service) {
    let stream = STREAM.as_bytes();
    for cut in 0..=stream.len() {
        assert!(converse(service, [&stream[..cut], &stream[cut..]]) == *whole, "cut at {cut}");
    }
    for size in 1..=64 {
        assert!(converse(service, stream.chunks(size)) == *whole, "cut into pieces of {size}");
    }
}

#[test]
fn requests_are_answered_in_order_and_the_same_for_every_cut() {
    let service = hello();
    let whole = converse(&service, [STREAM.as_bytes()]);
    let expected = ["200", "404", "404", "405", "100", "200", "404", "200", "501", "200"];
    assert_eq!(statuses(&whole), expected);
    assert!(whole.closed);
    every_cut_gives(&whole, &service);
}

#[test]
fn files_are_answered_in_order_and_the_same_for_every_cut() {
    let (_directory, service) = files();
    let whole = converse(&service, [STREAM.as_bytes()]);
    let expected = ["200", "200", "206", "405", "100", "200", "404", "200", "501", "200"];
    assert_eq!(statuses(&whole), expected);
    assert!(whole.closed);
    every_cut_gives(&whole, &service);
}

#[test]
fn a_flood_of_requests_is_answered_in_portions() {
    let service = hello();
    let flood = "GET / HTTP/1.1\r\nHost: a\r\n\r\n".repeat(10_000);
    let answer = converse(&service, [flood.as_bytes()]);
    assert_eq!(statuses(&answer).len(), 10_000);
    assert!(!answer.closed);

    let mut connection = fibra_serve::protocol::http::Connection::new();
    let mut out = Vec::new();
    let next = connection.receive(flood.as_bytes(), &service, &driving::date(), &mut out);
    assert!(matches!(next, fibra_serve::protocol::http::Next::Send), "{next:?}");
    assert!(out.len() < 128 << 10, "{} bytes wait to be sent", out.len());
}
