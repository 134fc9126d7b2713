//! How much a client may send (row K7, the sizes).

mod driving;

use driving::{Answer, ask, converse, hello, status};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};

fn low() -> Service {
    let limits =
        Limits { request_line_bytes: 40, head_bytes: 100, headers: 3, body_bytes: 10, ..Limits::default() };
    Service::new(Site::hello(), limits)
}

/// The same whole and byte by byte.
fn statuses(input: &str) -> (Vec<u16>, bool) {
    let whole = converse(&low(), [input.as_bytes()]);
    assert_eq!(converse(&low(), input.as_bytes().chunks(1)), whole, "{input:?}");
    let Answer { bytes, closed } = whole;
    let text = String::from_utf8(bytes).unwrap();
    (text.match_indices("HTTP/1.1 ").map(|(at, _)| status(&text[at..])).collect(), closed)
}

#[test]
fn a_request_line_may_be_as_long_as_the_limit_and_no_longer() {
    let line = |len: usize| format!("GET /?{} HTTP/1.1\r\n", "q".repeat(len - "GET /? HTTP/1.1\r\n".len()));
    assert_eq!(statuses(&format!("{}Host: a\r\n\r\n", line(40))), (vec![200], false));
    assert_eq!(statuses(&format!("{}Host: a\r\n\r\n", line(41))), (vec![414], true));
    assert_eq!(statuses(&"G".repeat(39)), (vec![], false));
    assert_eq!(statuses(&"G".repeat(40)), (vec![414], true));
}

#[test]
fn a_head_may_be_as_long_as_the_limit_and_no_longer() {
    let start = "GET / HTTP/1.1\r\nHost: a\r\nX: ";
    let head = |len: usize| format!("{start}{}\r\n\r\n", "x".repeat(len - start.len() - 4));
    assert_eq!(statuses(&head(100)), (vec![200], false));
    assert_eq!(statuses(&head(101)), (vec![431], true));
    assert_eq!(statuses(&head(100).repeat(3)), (vec![200; 3], false));
}

#[test]
fn there_may_be_as_many_fields_as_the_limit_and_no_more() {
    let request =
        |fields: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(fields - 1));
    assert_eq!(statuses(&request(3)), (vec![200], false));
    assert_eq!(statuses(&request(4)), (vec![431], true));

    let most = Limits::MAX_HEADERS;
    let service = |headers| Service::new(Site::hello(), Limits { headers, ..Limits::default() });
    for fields in [23, 24, 25, 100, most] {
        assert_eq!(status(&ask(&service(most), &request(fields))), 200, "{fields} fields");
    }
    assert_eq!(status(&ask(&service(usize::MAX), &request(most + 1))), 431);
    assert_eq!(status(&ask(&hello(), &request(101))), 431);
}

#[test]
fn a_body_may_be_as_long_as_the_limit_and_no_longer() {
    let sized =
        |len: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{}", "b".repeat(len));
    assert_eq!(statuses(&sized(10).repeat(2)), (vec![200; 2], false));
    assert_eq!(statuses(&sized(11)), (vec![413], true));
    let huge = "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n";
    assert_eq!(statuses(huge), (vec![413], true));

    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let fits = format!("{chunked}4\r\nbody\r\n6\r\nbodies\r\n0\r\n\r\n");
    assert_eq!(statuses(&fits.repeat(2)), (vec![200; 2], false));
    for chunks in
        ["4\r\nbody\r\n7\r\nbodies+\r\n0\r\n\r\n", "b\r\n", "ffffffffffffffff\r\n", "10000000000000000"]
    {
        assert_eq!(statuses(&format!("{chunked}{chunks}")), (vec![413], true), "{chunks:?}");
    }
}

#[test]
fn what_is_around_chunks_is_limited_too() {
    let chunked = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("{chunked}1;{}\r\nb\r\n0\r\n\r\n", "x".repeat(300));
    assert_eq!(statuses(&extension), (vec![400], true));
    let zeros = format!("{chunked}{}1\r\nb\r\n0\r\n\r\n", "0".repeat(300));
    assert_eq!(statuses(&zeros), (vec![400], true));
    // Also what many chunks have together.
    let chunks = |count: usize| format!("{chunked}{}0\r\n\r\n", "1;xxxxxxxxx\r\nb\r\n".repeat(count));
    assert_eq!(statuses(&chunks(9)), (vec![200], false));
    let service = Service::new(Site::hello(), Limits { head_bytes: 100, ..Limits::default() });
    assert_eq!(status(&ask(&service, &chunks(10))), 200);
    assert_eq!(status(&ask(&service, &chunks(11))), 400);
    let padded = "1         \r\nb\r\n".repeat(12);
    assert_eq!(status(&ask(&service, &format!("{chunked}{padded}0\r\n\r\n"))), 400);
    let trailers = format!("{chunked}0\r\n{}\r\n", "T: t\r\n".repeat(30));
    assert_eq!(statuses(&trailers), (vec![431], true));
}
