//! Ten thousand connections at once, on one worker (B10): all answered, latency that does not follow their number, and nothing kept
//! when they are gone.
//!
//! The client is this process and the server another, so that each has its own limit of descriptors. `FIBRA_CONNECTIONS` sets how many.

mod server;

use rustix::process::{Resource, getrlimit, setrlimit};
use server::{PATIENCE, Server};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// One exchange on `stream`.
fn exchange(stream: &mut TcpStream, number: usize) -> Duration {
    let message = (number as u64).to_le_bytes();
    let began = Instant::now();
    stream.write_all(&message).unwrap();
    let mut answer = [0; 8];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, message);
    began.elapsed()
}

/// The 99th percentile of exchanges on a hundredth of the connections (and at least a hundred), in the best of some rounds: on a machine that others use as well, a round has
/// exchanges during which somebody else ran, and they say nothing of the server. What grows with the number of connections grows in every round.
fn p99(streams: &mut [TcpStream], rounds: usize) -> Duration {
    let count = streams.len();
    let step = (count / 100).max(1);
    let round = |round: usize| {
        let places = (0..count).step_by(step).map(|at| (at + round * 7) % count);
        let mut times: Vec<Duration> = places.map(|at| exchange(&mut streams[at], at)).collect();
        times.sort();
        times[times.len() * 99 / 100]
    };
    (0..rounds).map(round).min().expect("there is a round")
}

#[test]
fn ten_thousand_connections_are_served_by_one_worker_and_leave_nothing() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let most = limit.maximum.unwrap_or(u64::MAX).saturating_sub(200) as usize;
    let wanted = std::env::var("FIBRA_CONNECTIONS").map_or(10_000, |count| count.parse().unwrap());
    let count = wanted.min(most);
    let server = Server::start(&["--protocol", "echo", "--workers", "1"]);
    // Warm up, then measure with few connections.
    let mut streams: Vec<TcpStream> = (0..100).map(|_| server.connect()).collect();
    p99(&mut streams, 20);
    let few = p99(&mut streams, 20);
    let (memory, tables, descriptors) =
        (server.memory("VmRSS"), server.memory("VmPTE"), server.descriptors());

    streams.extend((100..count).map(|_| server.connect()));
    for (number, stream) in streams.iter_mut().enumerate() {
        exchange(stream, number);
    }
    assert_eq!(server.descriptors() - descriptors, count - 100);
    let many = p99(&mut streams, 20);
    let grown = server.memory("VmRSS") - memory;
    let tables = server.memory("VmPTE").saturating_sub(tables);
    let each = |bytes: u64| bytes / (count as u64 - 100);
    println!(
        "{count} connections: {} bytes resident and {} of page tables each; p99 {few:?} with 100, {many:?} with {count}",
        each(grown),
        each(tables)
    );
    // Without optimisation the frames of a waiting connection need a second page.
    let limit = if cfg!(debug_assertions) { 12 * 1024 } else { 6 * 1024 };
    assert!(each(grown) < limit, "{} bytes a connection", each(grown));
    assert!(many < few * 10 + Duration::from_millis(2), "p99 grew from {few:?} to {many:?}");

    drop(streams);
    server.until("descriptors to come back", |server| server.descriptors() <= descriptors - 100);
    let kept = |server: &Server| server.memory("VmRSS").saturating_sub(memory);
    let deadline = Instant::now() + PATIENCE;
    while kept(&server) > grown / 3 {
        assert!(Instant::now() < deadline, "{} of {grown} bytes are kept", kept(&server));
        std::thread::sleep(Duration::from_millis(100));
    }
    server.stop();
}
