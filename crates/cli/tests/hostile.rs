//! What clients and the system do to a server, and what it does about it (K1, K6, K7).

mod server;

use rustix::process::Signal;
use server::{PATIENCE, Random, Server, answer, get, is_closed, misbehave, program, reset, seed};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_slow_head_is_told_and_closed() {
    let server = Server::start(&["--head-timeout", "0.4"]);
    let mut drip = server.connect();
    let began = Instant::now();
    let mut sent = 0;
    for byte in b"GET / HTTP/1.1\r\nHost: test\r\nX-Slow: ".iter().chain(std::iter::repeat(&b'x')) {
        if drip.write_all(&[*byte]).is_err() || began.elapsed().as_millis() > 2000 {
            break;
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
        if began.elapsed().as_millis() > 600 {
            break;
        }
    }
    assert!(sent > 2, "the client was slow, not silent");
    assert_eq!(answer(&mut drip).unwrap().0, 408);
    assert!(is_closed(&mut drip));
    assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
    server.stop();
}

#[test]
fn a_silent_connection_is_closed_without_a_word() {
    for protocol in ["http", "echo"] {
        let server = Server::start(&["--protocol", protocol, "--idle-timeout", "0.3"]);
        let mut silent = server.connect();
        let mut rest = Vec::new();
        silent.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"", "{protocol}");
        server.stop();
    }
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let root = tempfile::tempdir().unwrap();
    std::fs::File::create(root.path().join("huge")).unwrap().set_len(1 << 30).unwrap();
    let server = Server::start(&["--root", root.path().to_str().unwrap(), "--write-timeout", "0.3"]);
    let before = server.descriptors();
    let mut lazy = server.connect();
    write!(lazy, "GET /huge HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    lazy.read_exact(&mut [0]).unwrap();
    server.until("the end of the connection", |server| server.descriptors() <= before);
    server.stop();
}

#[test]
fn connections_beyond_the_limit_wait_and_are_served_later() {
    let server = Server::start(&["--max-connections", "4", "--workers", "2"]);
    let mut first: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut first {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }
    let mut late = server.connect();
    write!(late, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    // The four are served while the fifth waits.
    for client in &mut first {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }
    late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(late.read(&mut [0]).is_err(), "not accepted yet");
    first.pop();
    late.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(answer(&mut late).unwrap().0, 200);
    let log = server.stop();
    assert_eq!(log.matches("as many connections as are allowed").count(), 1, "{log}");
}

#[test]
fn a_server_without_descriptors_stops_in_time_and_waits_quietly() {
    let mut command = std::process::Command::new("sh");
    command
        .args(["-c", "ulimit -n 40; exec \"$0\" serve 127.0.0.1:0 --workers 1 --stop-deadline 1"])
        .arg(program().get_program());
    let server = Server::start_with(command);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    for client in &mut clients {
        // In the middle of a request: they are waited for.
        client.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    }
    server.until("descriptors to run out", |server| server.descriptors() >= 39);
    let before = server.computed();
    let began = Instant::now();
    server.signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(800));
    let computed = server.computed() - before;
    assert!(computed < Duration::from_millis(300), "{computed:?}");
    let (status, log) = server.wait();
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(status.success(), "{log}");
    assert!(log.contains("cutting off"), "{log}");
}

#[test]
fn clients_that_keep_coming_do_not_keep_a_server_from_stopping() {
    let server = Server::start(&["--workers", "1", "--stop-deadline", "1"]);
    let address = server.address;
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    match TcpStream::connect(address) {
                        Ok(stream) => reset(stream),
                        Err(_) => std::thread::yield_now(),
                    }
                }
            });
        }
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        server.signal(Signal::TERM);
        // Also when it fails, the others end.
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| server.wait()));
        over.store(true, Ordering::Relaxed);
        let (status, log) = ended.expect("the server ends");
        assert!(status.success(), "{log}");
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    });
}

#[test]
fn without_threads_for_files_clients_are_told_to_come_again() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "content").unwrap();
    // No address space holds such a stack; the one worker is the main thread.
    let mut command = program();
    command.args(["serve", "127.0.0.1:0", "--workers", "1", "--root"]).arg(root.path());
    command.env("RUST_MIN_STACK", (1_u64 << 50).to_string());
    let server = Server::start_with(command);
    let mut client = server.connect();
    for _ in 0..2 {
        assert_eq!(get(&mut client, "/file").unwrap().0, 503, "on the same connection");
    }
    drop(client);
    server.stop();
}

#[test]
fn clients_that_vanish_and_talk_nonsense_leak_nothing() {
    let seed = seed();
    println!("FIBRA_SEED={seed}");
    let connections: u32 = std::env::var("FIBRA_CONNECTIONS").map_or(4_000, |count| count.parse().unwrap());
    for protocol in ["http", "echo"] {
        let server = Server::start(&["--protocol", protocol, "--workers", "2"]);
        let mut random = Random(seed);
        // Warm up before counting: buffers, stacks and tables are kept.
        for _ in 0..200 {
            misbehave(&server, &mut random);
        }
        server.until("the end of all connections", |server| server.descriptors() < 20);
        let (memory, descriptors) = (server.memory("VmRSS"), server.descriptors());
        for _ in 0..connections {
            misbehave(&server, &mut random);
        }
        server.until("the end of all connections", |server| server.descriptors() <= descriptors);
        let grown = server.memory("VmRSS").saturating_sub(memory);
        assert!(grown < 4 << 20, "{protocol}: {grown} bytes more after {connections} connections");
        let mut client = server.connect();
        match protocol {
            "http" => assert_eq!(get(&mut client, "/").unwrap().0, 200),
            _ => {
                client.write_all(b"still here").unwrap();
                client.read_exact(&mut [0; 10]).unwrap();
            }
        }
        drop(client);
        let log = server.stop();
        assert!(!log.contains("panicked"), "{log}");
    }
}
