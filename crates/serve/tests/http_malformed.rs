//! What is no request, or could be taken for another one by somebody else.

mod driving;

use driving::{Answer, converse, field, hello, status};

/// Status and whether the connection was closed.
fn answer(input: &[u8]) -> (u16, bool) {
    let Answer { bytes, closed } = converse(&hello(), [input]);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "one answer only: {text:?}");
    assert_eq!(field(&text, "Connection") == Some("close"), closed, "{text:?}");
    (status(&text), closed)
}

fn is_refused(code: u16, inputs: &[&str]) {
    for input in inputs {
        assert_eq!(answer(input.as_bytes()), (code, true), "{input:?}");
    }
}

#[test]
fn what_is_not_http_is_refused_as_soon_as_that_is_seen() {
    is_refused(400, &["\x16\x03\x01", " ", "\n", "\r\r", "\r\n\n", "<", "\0", "GET / HTTP/1.1\n", "x\n"]);
}

#[test]
fn malformed_request_lines_are_refused() {
    is_refused(
        400,
        &[
            "GET\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / \r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /  HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1x\r\nHost: a\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / FTP/1.1\r\nHost: a\r\n\r\n",
            "G(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{1} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\rHost: a\r\n\r\n",
        ],
    );
}

#[test]
fn malformed_targets_are_refused() {
    for target in ["*", "a", "a:80", "/%", "/%zz", "/%00", "/a#b", "/..", "/%2e%2e/", "ftp://a/", "http:///"]
    {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let Answer { bytes, .. } = converse(&hello(), [request.as_bytes()]);
        assert_eq!(status(&String::from_utf8(bytes).unwrap()), 400, "{target}");
    }
}

#[test]
fn malformed_fields_are_refused() {
    let fields: [&[u8]; 17] = [
        b"Host: a\nX: y",
        b"Host: a\r\n\nX: y",
        b"Host : a",
        b" Host: a",
        b"Host: a\r\n folded",
        b"Host: a\r\n\tfolded",
        b"Host",
        b"Host: a\r\n: y",
        b"Host: a\r\nX\0: y",
        b"Host: a\r\nX: \0",
        b"Host: a\r\nX: \x01",
        b"Host: a\r\nX: \x7f",
        b"Host: a\r\nX: y\rz",
        b"Host: a\r\nX(: y",
        b"Host: a\r\nX y: z",
        b"Host: a/b",
        b"Host: me@a",
    ];
    for field in fields {
        let input = [b"GET / HTTP/1.1\r\n", field, b"\r\n\r\n"].concat();
        assert_eq!(answer(&input), (400, true), "{}", field.escape_ascii());
    }
}

#[test]
fn bytes_beyond_ascii_are_allowed_in_the_values_of_fields() {
    assert_eq!(answer(b"GET / HTTP/1.1\r\nHost: a\r\nX: \xe9\t\xff\r\n\r\n"), (200, false));
}

#[test]
fn one_host_is_needed_in_http_1_1_and_never_two() {
    is_refused(400, &["GET / HTTP/1.1\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"]);
    is_refused(400, &["GET http://a/ HTTP/1.1\r\n\r\n", "GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"]);
    assert_eq!(answer(b"GET / HTTP/1.0\r\n\r\n"), (200, true));
    assert_eq!(answer(b"GET / HTTP/1.1\r\nHost:\r\n\r\n"), (200, false));
    assert_eq!(answer(b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"), (200, false));
}

#[test]
fn lengths_that_contradict_each_other_are_refused() {
    let with = |fields: &str| answer(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\nGET ").as_bytes());
    for fields in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Content-Length: 4\r\nContent-Length: 5",
        "Content-Length: 4, 5",
        "Content-Length: 4,",
        "Content-Length: -4",
        "Content-Length: +4",
        "Content-Length: 0x4",
        "Content-Length: 4 4",
        "Content-Length:",
    ] {
        assert_eq!(with(fields), (400, true), "{fields:?}");
    }
    for fields in ["Content-Length: 4", "Content-Length: 4, 4", "Content-Length: 4\r\nContent-Length: 04"] {
        assert_eq!(with(fields), (200, false), "{fields:?}");
    }
    is_refused(400, &["GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]);
}

#[test]
fn unknown_codings_expectations_and_versions_are_refused() {
    let with = |fields: &str| answer(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n").as_bytes());
    for coding in ["gzip", "gzip, chunked", "identity", "chunked, chunked", "xchunked", "chunked;q=1", ""] {
        assert_eq!(with(&format!("Transfer-Encoding: {coding}")), (501, true), "{coding}");
    }
    assert_eq!(with("Expect: 200-ok"), (417, true));
    for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9", "HTTP/3"] {
        is_refused(505, &[&format!("GET / {version}\r\nHost: a\r\n\r\n")]);
    }
    is_refused(505, &["PRI * HTTP/2.0\r\n\r\n"]);
}

#[test]
fn other_methods_are_told_which_are_allowed() {
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "CONNECT"] {
        let target = if method == "CONNECT" { "a:80" } else { "/" };
        let request = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let text = driving::ask(&hello(), &request);
        assert_eq!((status(&text), field(&text, "Allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for method in ["get", "PROPFIND", "X"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(status(&driving::ask(&hello(), &request)), 501, "{method}");
    }
}
