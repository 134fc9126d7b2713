//! Which connections outlive their request.

mod driving;

use driving::{Answer, ask, body, converse, field, hello, status};

fn connection(request: &str) -> (Option<String>, bool) {
    let Answer { bytes, closed } = converse(&hello(), [request.as_bytes()]);
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(status(&text), 200, "{request:?}");
    (field(&text, "Connection").map(str::to_owned), closed)
}

#[test]
fn http_1_1_connections_stay_open_unless_the_client_says_close() {
    assert_eq!(connection("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (None, false));
    assert_eq!(connection("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\n\r\n"), (None, false));
    for close in ["close", "Close", "keep-alive, close", "x,CLOSE ,y", "close\r\nConnection: keep-alive"] {
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {close}\r\n\r\n");
        assert_eq!(connection(&request), (Some("close".to_owned()), true), "{close}");
    }
}

#[test]
fn http_1_0_connections_are_closed_unless_the_client_says_keep_alive() {
    assert_eq!(connection("GET / HTTP/1.0\r\n\r\n"), (Some("close".to_owned()), true));
    let request = "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n";
    assert_eq!(connection(request), (Some("keep-alive".to_owned()), false));
}

#[test]
fn an_answer_that_there_is_nothing_keeps_the_connection() {
    for request in ["GET /nowhere", "POST /", "OPTIONS *", "PURGE /"] {
        let request = format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(!converse(&hello(), [request.as_bytes()]).closed, "{request:?}");
    }
}

#[test]
fn head_is_answered_like_get_without_the_body() {
    for target in ["/", "/nowhere"] {
        let ask = |method: &str| ask(&hello(), &format!("{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (get, head) = (ask("GET"), ask("HEAD"));
        assert_eq!(body(&head), "");
        assert_eq!(format!("{head}{}", body(&get)), get);
        assert_eq!(field(&get, "Content-Length"), Some(body(&get).len().to_string().as_str()));
    }
}

#[test]
fn the_hello_page_is_at_the_root_only_and_says_when() {
    let answer = driving::get(&hello(), "/", "");
    assert_eq!(field(&answer, "Date"), Some("Sat, 21 Nov 2026 12:00:00 GMT"));
    assert!(body(&answer).contains("Hello"));
    for (target, code) in
        [("/?q", 200), ("//", 200), ("/./", 200), ("http://a", 200), ("/x", 404), ("/x/", 404)]
    {
        assert_eq!(status(&driving::get(&hello(), target, "")), code, "{target}");
    }
}
