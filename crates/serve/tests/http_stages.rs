//! What the service models time (row K7) and how connections end when a server stops (row I7).

mod driving;

use std::time::Duration;

use driving::{Answer, date, field, follow, hello, status};
use fibra_serve::protocol::http::{Connection, Next, Phase, Service, Stage, refuse_overload};
use fibra_serve::{Limits, Site};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

struct Client {
    service: Service,
    connection: Connection,
    out: Vec<u8>,
}

impl Client {
    fn new() -> Client {
        Client { service: hello(), connection: Connection::new(), out: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) -> Answer {
        let mut answer = Answer::default();
        let next = self.connection.receive(bytes, &self.service, &date(), &mut self.out);
        follow(&mut self.connection, next, &self.service, bytes.len() + 64, &mut self.out, &mut answer);
        answer
    }

    fn stage(&self) -> (Phase, u32) {
        let Stage { phase, request } = self.connection.stage();
        (phase, request)
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.bytes.clone()).unwrap()
}

#[test]
fn the_stage_changes_with_the_part_of_the_request_that_is_awaited() {
    let mut client = Client::new();
    assert_eq!(client.stage(), (Phase::Idle, 0));
    for byte in b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r" {
        client.send(&[*byte]);
        assert_eq!(client.stage(), (Phase::Head, 0), "a slow head gains no time");
    }
    client.send(b"\n");
    assert_eq!(client.stage(), (Phase::Body, 1));
    client.send(b"x");
    assert_eq!(client.stage(), (Phase::Body, 1));
    client.send(b"y");
    assert_eq!(client.stage(), (Phase::Idle, 1));
    client.send(&[GET, b"GET"].concat());
    assert_eq!(client.stage(), (Phase::Head, 2), "the head of another request has its own time");
    client.send(b" / HTTP/1.1\r\nConnection: close\r\nHost: a\r\n\r\n");
    assert_eq!(client.stage(), (Phase::Over, 3));
}

#[test]
fn empty_lines_before_a_request_gain_no_time_and_are_few() {
    let mut client = Client::new();
    for _ in 0..8 {
        for byte in b"\r\n" {
            assert_eq!(client.send(&[*byte]), Answer::default());
            assert_eq!(client.stage(), (Phase::Idle, 0));
            assert!(client.connection.is_idle());
        }
    }
    assert_eq!(status(&text(&client.send(GET))), 200);
    // Those before the next request are counted anew.
    assert_eq!(client.send(&b"\r\n".repeat(8)), Answer::default());
    let answer = client.send(b"\r\n");
    assert_eq!(status(&text(&answer)), 400);
    assert!(answer.closed);
    assert_eq!(status(&text(&Client::new().send(&[&b"\r\n".repeat(8), GET].concat()))), 200);
    assert_eq!(status(&text(&Client::new().send(&[&b"\r\n".repeat(9), GET].concat()))), 400);
}

#[test]
fn half_an_empty_line_after_a_request_does_not_count_as_the_next() {
    let mut client = Client::new();
    assert_eq!(status(&text(&client.send(&[GET, b"\r"].concat()))), 200);
    assert_eq!(client.stage(), (Phase::Idle, 1));
    assert_eq!(status(&text(&client.send(&[b"\n", GET].concat()))), 200);
    client.send(b"\r");
    let next = client.connection.expire(&date(), &mut client.out);
    assert!(matches!(next, Next::Close { linger: false }) && client.out.is_empty());
}

#[test]
fn each_phase_has_its_own_patience() {
    let seconds = Duration::from_secs;
    let limits = Limits {
        idle_timeout: seconds(1),
        head_deadline: seconds(2),
        body_deadline: seconds(3),
        write_timeout: seconds(4),
        ..Limits::default()
    };
    let phases = [Phase::Idle, Phase::Head, Phase::Body, Phase::Answer, Phase::Over];
    assert_eq!(phases.map(|phase| limits.patience(phase).as_secs()), [1, 2, 3, 4, 4]);
}

#[test]
fn a_client_that_is_too_slow_is_told_so_and_an_idle_one_is_not() {
    for (input, expected) in [
        (&b""[..], None),
        (GET, None),
        (b"GET / HT", Some(408)),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx", Some(408)),
    ] {
        let mut client = Client::new();
        client.send(input);
        let next = client.connection.expire(&date(), &mut client.out);
        let Next::Close { linger } = next else { panic!("{next:?}") };
        assert_eq!(linger, expected.is_some());
        let told = String::from_utf8(client.out.clone()).unwrap();
        assert_eq!((!told.is_empty()).then(|| status(&told)), expected);
        assert!(client.send(GET).closed, "nothing is answered any more");
    }
}

#[test]
fn a_connection_that_finishes_answers_what_has_begun_to_arrive() {
    for cut in 1..GET.len() {
        let mut client = Client::new();
        assert!(!client.send(&[GET, &GET[..cut]].concat()).closed);
        client.connection.finish();
        assert!(!client.connection.is_idle());
        let answer = client.send(&GET[cut..]);
        assert_eq!((status(&text(&answer)), field(&text(&answer), "Connection")), (200, Some("close")));
        assert!(answer.closed);
    }
}

#[test]
fn a_connection_that_finishes_answers_all_that_was_pipelined() {
    let mut client = Client::new();
    client.connection.finish();
    assert!(client.connection.is_idle());
    let answer = client.send(&GET.repeat(3));
    assert!(answer.closed);
    let text = text(&answer);
    assert_eq!(text.matches("HTTP/1.1 200").count(), 3);
    assert_eq!(text.matches("Connection: close").count(), 1);
}

#[test]
fn a_connection_that_finishes_while_a_file_is_sent_ends_after_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("large"), [b'x'; 100_000]).unwrap();
    let service = Service::new(Site::root(directory.path()).unwrap(), Limits::default());
    let (mut connection, mut out) = (Connection::new(), Vec::new());
    let input = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n";
    let Next::Open(wanted) = connection.receive(input, &service, &date(), &mut out) else { panic!() };
    assert_eq!(connection.stage().phase, Phase::Answer);
    let found = wanted.find(service.site());
    let Next::SendFile(span) = connection.opened(found, &service, &date(), &mut out) else { panic!() };
    assert_eq!((span.offset, span.len), (0, 100_000));
    connection.finish();
    assert!(matches!(connection.resume(&service, &date(), &mut out), Next::Close { linger: false }));
}

#[test]
fn a_client_too_many_is_told_so() {
    let mut out = Vec::new();
    refuse_overload(&date(), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert_eq!((status(&text), field(&text, "Connection")), (503, Some("close")));
    assert_eq!(field(&text, "Retry-After"), Some("1"));
}
