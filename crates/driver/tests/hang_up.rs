//! The end of a stream, read on another thread than the one whose driver reports it: storms against lost wake-ups.
//!
//! `FIBRA_STRESS_SECONDS` says how long; one second when it is not set.

use fibra_driver::{Driver, Flight, RingSettings, Source, Start, Token, op};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const HANGS: Duration = Duration::from_secs(5);

fn seconds() -> Duration {
    let seconds = std::env::var("FIBRA_STRESS_SECONDS").map_or(1, |text| text.parse().unwrap());
    Duration::from_secs(seconds)
}

/// Reads to the end of `stream`, whose events come out of another thread's driver; `woken` tells when.
fn read_to_end(
    driver: &mut Driver,
    source: &Source,
    stream: &OwnedFd,
    woken: &mpsc::Receiver<Token>,
) -> usize {
    let mut total = 0;
    loop {
        let mut buffer = [0; 64];
        let op = &mut op::Receive::stream(&mut buffer);
        // SAFETY: this driver keeps neither the operation nor the flight.
        match unsafe { driver.start(source, stream.as_fd(), op, &Flight::new(Token(1))) } {
            Start::Done { result, .. } => match result.unwrap() {
                0 => return total,
                count => total += count,
            },
            Start::Pending => {
                woken.recv_timeout(HANGS).expect("the reader was not woken for the end of the stream");
            }
        }
    }
}

/// One thread waits for events, one reads, and this one writes a few bytes and the end right behind them.
fn storm(pair: impl Fn() -> (OwnedFd, OwnedFd)) -> u64 {
    let mut reporting = Driver::epoll(RingSettings::default()).unwrap();
    let mut reading = Driver::epoll(RingSettings::default()).unwrap();
    let notifier = reporting.notifier();
    let over = AtomicBool::new(false);
    let (report, woken) = mpsc::channel();
    let (hand, handed) = mpsc::channel::<(Source, OwnedFd)>();
    let (ready, registered) = mpsc::channel();
    let (ended, end) = mpsc::channel();
    let mut rounds = 0;
    thread::scope(|scope| {
        let over = &over;
        scope.spawn(move || {
            let mut out = Vec::new();
            while !over.load(Ordering::Acquire) {
                // The socket is registered with this thread's driver, and with no other.
                for (source, stream) in handed.try_iter() {
                    let flight = Flight::new(Token(2));
                    let mut buffer = [0];
                    let op = &mut op::Receive::stream(&mut buffer);
                    // SAFETY: as in `read_to_end`.
                    let started = unsafe { reporting.start(&source, stream.as_fd(), op, &flight) };
                    assert!(matches!(started, Start::Pending));
                    let _ = reporting.cancel(&source, fibra_driver::Direction::Read, &flight);
                    ready.send((source, stream)).unwrap();
                }
                reporting.wait(None, &mut out).unwrap();
                for completion in out.drain(..) {
                    let _ = report.send(completion.token);
                }
            }
        });
        let (go, going) = mpsc::channel::<(Source, OwnedFd)>();
        scope.spawn(move || {
            for (source, stream) in going {
                ended.send(read_to_end(&mut reading, &source, &stream, &woken)).unwrap();
            }
        });
        let until = Instant::now() + seconds();
        while Instant::now() < until {
            let (peer, stream) = pair();
            hand.send((Source::new(), stream)).unwrap();
            notifier.notify();
            go.send(registered.recv().unwrap()).unwrap();
            let length = 1 + (rounds % 3) as usize;
            rustix::net::send(&peer, &b"xyz"[..length], rustix::net::SendFlags::NOSIGNAL).unwrap();
            rustix::net::shutdown(&peer, rustix::net::Shutdown::Write).unwrap();
            assert_eq!(end.recv_timeout(2 * HANGS).expect("the reader hangs"), length);
            rounds += 1;
        }
        over.store(true, Ordering::Release);
        notifier.notify();
    });
    rounds
}

#[test]
fn end_of_a_unix_stream_is_not_slept_over() {
    let rounds = storm(|| {
        let (one, other) = UnixStream::pair().unwrap();
        (one.into(), other.into())
    });
    println!("{rounds} rounds");
}

#[test]
fn end_of_a_tcp_stream_is_not_slept_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let rounds = storm(|| {
        let one = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        rustix::net::connect(&one, &address).unwrap();
        (one, listener.accept().unwrap().0.into())
    });
    println!("{rounds} rounds");
}
