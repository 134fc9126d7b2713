//! Bodies are read and thrown away, so that the next request is found.

mod driving;

use driving::{Answer, converse, field, hello, status};

const CHUNKED: &str = "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n";
const PLAIN: &str = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";

fn statuses(input: &str) -> (Vec<u16>, bool) {
    let Answer { bytes, closed } = converse(&hello(), [input.as_bytes()]);
    let text = String::from_utf8(bytes).unwrap();
    (text.match_indices("HTTP/1.1 ").map(|(at, _)| status(&text[at..])).collect(), closed)
}

#[test]
fn the_request_after_a_chunked_body_is_found() {
    for chunks in [
        "0\r\n\r\n",
        "1\r\nx\r\n0\r\n\r\n",
        "00A\r\n0123456789\r\n0000\r\n\r\n",
        "a;name=value;other=\"quoted\"\r\n0123456789\r\n0;x\r\n\r\n",
        "2 \r\n\r\n\r\n0\r\n\r\n",
        "1 \t ;name = value\r\nx\r\n0 ;x\r\n\r\n",
        "0000000000000001\r\nx\r\n0\r\n\r\n",
        "1\r\nx\r\n0\r\nTrailer: a\r\nAnother: b\r\n\r\n",
    ] {
        assert_eq!(statuses(&format!("{CHUNKED}{chunks}{PLAIN}")), (vec![200, 404], false), "{chunks:?}");
    }
}

#[test]
fn malformed_chunks_are_refused() {
    for chunks in [
        "\r\n",
        "x\r\n",
        "-1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "5 5\r\n",
        "5\t\t5\r\n",
        "5 x\r\n",
        "00000000000000001\r\n",
        ";\r\n",
        "1\nx\r\n",
        "1\r\nxx\r\n",
        "1\r\nx\n",
        "1\r\nx0\r\n",
        "1;\0\r\n",
        "1;a\nb\r\n",
        "0\r\n\n",
        "0\r\n folded\r\n",
        "0\r\nTrailer: \0\r\n",
        "0\r\nTrailer: a\n\r\n",
    ] {
        assert_eq!(statuses(&format!("{CHUNKED}{chunks}")), (vec![400], true), "{chunks:?}");
    }
}

#[test]
fn a_body_is_answered_once_it_is_complete() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(converse(&hello(), [&request[..], b"ab"]), Answer::default());
    assert!(!converse(&hello(), [&request[..], b"ab", b"c"]).bytes.is_empty());
}

#[test]
fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 3\r\n\r\n";
    let before = converse(&hello(), [request.as_bytes()]);
    assert_eq!(before.bytes, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(statuses(&format!("{request}abc")), (vec![100, 200], false));
    // Without a body, and to a client of HTTP/1.0, there is nothing to say.
    assert_eq!(statuses("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"), (vec![200], false));
    let old = "GET / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc";
    assert_eq!(statuses(old), (vec![200], true));
}

#[test]
fn a_client_that_waits_is_not_asked_for_a_body_that_nobody_wants() {
    for line in ["POST / HTTP/1.1", "GET /nowhere HTTP/1.1"] {
        let request = format!("{line}\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
        let Answer { bytes, closed } = converse(&hello(), [request.as_bytes()]);
        let text = String::from_utf8(bytes).unwrap();
        assert!(status(&text) >= 400 && closed, "{text}");
        assert_eq!(field(&text, "Connection"), Some("close"));
    }
}
