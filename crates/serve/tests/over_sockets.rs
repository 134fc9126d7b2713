//! The example's service model over real sockets: what only sockets show.

mod driving;
#[allow(dead_code, reason = "the example's main is not run")]
#[path = "../examples/thread_model.rs"]
mod thread_model;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fibra_serve::protocol::http::Service;
use fibra_serve::{Limits, Site};

/// What a client reads that sends `request` and then waits for the end.
fn exchange(service: &Service, request: &[u8], half_close: bool) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| thread_model::converse(&listener.accept().unwrap().0, service));
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        // A server that refuses may close before it has seen everything.
        let _ = socket.write_all(request);
        if half_close {
            socket.shutdown(Shutdown::Write).unwrap();
        }
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        answer
    })
}

#[test]
fn a_large_file_arrives_whole() {
    let directory = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    std::fs::write(directory.path().join("large"), &content).unwrap();
    let service = Service::new(Site::root(directory.path()).unwrap(), Limits::default());
    let request =
        b"GET /large HTTP/1.1\r\nHost: a\r\n\r\nGET /large HTTP/1.1\r\nHost: a\r\nRange: bytes=-9\r\n\r\n";
    let answer = exchange(&service, request, true);
    let body = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    assert!(answer[body..].starts_with(&content));
    assert!(answer.ends_with(&content[content.len() - 9..]));
}

#[test]
fn a_client_that_sends_too_much_still_reads_the_refusal() {
    let service = driving::hello();
    let mut request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3000000\r\n\r\n".to_vec();
    request.resize(3_000_000, b'x');
    let answer = String::from_utf8(exchange(&service, &request, false)).unwrap();
    assert_eq!(driving::status(&answer), 413);
}

#[test]
fn a_slow_head_is_cut_off_and_an_idle_connection_closed_in_silence() {
    let limits = Limits {
        head_deadline: Duration::from_millis(50),
        idle_timeout: Duration::from_millis(50),
        linger_deadline: Duration::from_millis(50),
        ..Limits::default()
    };
    let service = Service::new(Site::hello(), limits);
    let answer = String::from_utf8(exchange(&service, b"GET / HTTP/1.1\r\nHo", false)).unwrap();
    assert_eq!(driving::status(&answer), 408);
    assert!(exchange(&service, b"", false).is_empty());
}

#[test]
fn a_head_that_drips_in_gains_no_time() {
    let limits = Limits {
        head_deadline: Duration::from_millis(100),
        linger_deadline: Duration::from_millis(100),
        ..Limits::default()
    };
    let service = Service::new(Site::hello(), limits);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::scope(|scope| {
        let server = scope.spawn(|| thread_model::converse(&listener.accept().unwrap().0, &service));
        let mut socket = TcpStream::connect(address).unwrap();
        let start = Instant::now();
        while !server.is_finished() {
            let _ = socket.write_all(b"x");
            thread::sleep(Duration::from_millis(5));
            assert!(start.elapsed() < Duration::from_secs(60), "the server waits for ever");
        }
    });
}
