//! Connections that are accepted ahead of who takes them: none is lost and none is left open, whatever ends the wait, the value or the runtime.
//!
//! `FIBRA_CANCELS` sets how many waits the storm makes (a twentieth of it), and `FIBRA_STRESS_SECONDS` how long it lasts at least.

mod network;

use fibra::net::{IncomingAhead, TcpListener, TcpStream};
use fibra::{Builder, Runtime, Stop};
use network::{Random, on_workers, open_descriptors, storm_end, within};
use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

const WORKERS: &[usize] = &[1, 2, 4];

/// How long what must happen may take.
const SOON: Duration = Duration::from_secs(20);

/// The tests take turns, since they count descriptors, which are the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs a test with each number of workers; afterwards there are as many descriptors as before.
fn on_runtimes(test: impl Fn() + Send + Clone + 'static) {
    let _alone = alone();
    let before = open_descriptors();
    on_workers(WORKERS, test);
    assert_eq!(open_descriptors(), before, "descriptors");
}

fn listen() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Answers with a byte.
fn serve(mut stream: TcpStream) {
    stream.write_all(b"x").unwrap();
}

fn is_answered(mut client: TcpStream) -> bool {
    client.read(&mut [0]).expect("an answer, or the end") == 1
}

/// Whether the other end is gone, or has never been there.
fn is_closed(mut client: TcpStream) -> bool {
    match client.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn connections_come_in_their_order() {
    on_runtimes(|| {
        let (listener, address) = listen();
        let mut incoming = listener.incoming_ahead();
        for count in [1, 3, 20] {
            let clients: Vec<_> = (0..count).map(|_| connect(address)).collect();
            for client in clients {
                let stream = incoming.next().unwrap().unwrap();
                assert_eq!(stream.peer_addr().unwrap(), client.local_addr().unwrap());
                serve(stream);
                assert!(is_answered(client));
            }
        }
    });
}

#[test]
fn who_waits_is_woken_by_one_who_comes() {
    on_runtimes(|| {
        let (listener, address) = listen();
        let waiting = fibra::spawn(move || {
            let mut incoming = listener.incoming_ahead();
            for _ in 0..10 {
                serve(incoming.next().unwrap().unwrap());
            }
        });
        for _ in 0..10 {
            network::let_others_wait();
            assert!(is_answered(connect(address)));
        }
        waiting.join().unwrap();
    });
}

#[test]
fn finished_it_returns_whom_it_has_accepted_and_leaves_the_others() {
    on_runtimes(|| {
        let (listener, address) = listen();
        let mut clients: Vec<_> = (0..20).map(|_| connect(address)).collect();
        let mut incoming = listener.incoming_ahead();
        serve(incoming.next().unwrap().unwrap());
        clients.extend((0..20).map(|_| connect(address)));
        incoming.finish();
        let mut served = 1;
        for stream in incoming.by_ref() {
            serve(stream.unwrap());
            served += 1;
        }
        assert!(incoming.next().is_none());
        drop(incoming);
        listener.set_nonblocking(true).unwrap();
        while let Ok((stream, _)) = listener.accept() {
            serve(stream);
            served += 1;
        }
        assert_eq!(served, clients.len());
        assert!(clients.into_iter().all(is_answered));
    });
}

#[test]
fn dropped_it_closes_whom_nobody_has_taken_and_leaves_the_port_free() {
    on_runtimes(|| {
        for taken in [0, 1, 5] {
            let (listener, address) = listen();
            let mut incoming = listener.incoming_ahead();
            let clients: Vec<_> = (0..10).map(|_| connect(address)).collect();
            incoming.by_ref().take(taken).for_each(|stream| serve(stream.unwrap()));
            drop(incoming);
            drop(listener);
            let again = TcpListener::bind(address).expect("the port is free");
            let (answered, closed): (Vec<_>, Vec<_>) =
                clients.into_iter().enumerate().partition(|(at, _)| *at < taken);
            assert!(answered.into_iter().all(|(_, client)| is_answered(client)));
            assert!(closed.into_iter().all(|(_, client)| is_closed(client)));
            drop(again);
        }
    });
}

#[test]
fn closing_the_listener_ends_the_wait() {
    on_runtimes(|| {
        let (listener, _) = listen();
        let listener = Arc::new(listener);
        let waits = Arc::clone(&listener);
        let waiting = fibra::spawn(move || waits.incoming_ahead().next().unwrap().unwrap_err().kind());
        network::let_others_wait();
        listener.close();
        assert_eq!(waiting.join().unwrap(), ErrorKind::NotConnected);
        let mut incoming = listener.incoming_ahead();
        assert_eq!(incoming.next().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn in_nonblocking_mode_nobody_waits() {
    on_runtimes(|| {
        let (listener, address) = listen();
        listener.set_nonblocking(true).unwrap();
        let mut incoming = listener.incoming_ahead();
        assert_eq!(incoming.next().unwrap().unwrap_err().kind(), ErrorKind::WouldBlock);
        let client = connect(address);
        serve(incoming.next().unwrap().unwrap());
        assert!(is_answered(client));
        incoming.finish();
        assert!(incoming.next().is_none());
    });
}

#[test]
fn threads_accept_too() {
    let _alone = alone();
    within(SOON, || {
        let (listener, address) = listen();
        let mut incoming = listener.incoming_ahead();
        let client = thread::spawn(move || is_answered(connect(address)));
        serve(incoming.next().unwrap().unwrap());
        assert!(client.join().unwrap());
        incoming.finish();
        assert!(incoming.next().is_none());
    });
}

#[test]
fn value_may_be_used_by_one_runtime_after_another() {
    let _alone = alone();
    let before = open_descriptors();
    within(SOON, || {
        let (listener, address) = listen();
        let mut incoming = listener.incoming_ahead();
        for workers in [1, 2] {
            let client = thread::spawn(move || is_answered(connect(address)));
            let accept = || serve(incoming.next().unwrap().unwrap());
            Runtime::builder().workers(workers).run(accept).unwrap();
            assert!(client.join().unwrap());
        }
        let client = thread::spawn(move || is_answered(connect(address)));
        serve(incoming.next().unwrap().unwrap());
        assert!(client.join().unwrap());
    });
    assert_eq!(open_descriptors(), before, "descriptors");
}

/// What it holds is leaked, as that of any value that is forgotten. But the kernel has nothing of it any more.
#[test]
fn forgotten_it_accepts_no_more_when_its_runtime_has_ended() {
    let _alone = alone();
    within(SOON, || {
        for submitted in [false, true] {
            let address = Runtime::builder().workers(1).run(move || {
                let (listener, address) = listen();
                let mut incoming = listener.incoming_ahead();
                // With a deadline that has passed the request is made, and may not have been handed over when the value goes.
                assert!(fibra::timeout(Duration::ZERO, || incoming.next()).is_err());
                if submitted {
                    let client = connect(address);
                    serve(incoming.next().unwrap().unwrap());
                    assert!(is_answered(client));
                }
                std::mem::forget(incoming);
                address
            });
            let again = std::net::TcpListener::bind(address.unwrap());
            drop(again.expect("nobody has the port"));
        }
    });
}

#[test]
fn daemons_that_accept_when_their_runtime_ends_leave_nothing_behind() {
    let _alone = alone();
    let before = open_descriptors();
    within(SOON + network::stress_time(), || {
        let (random, end) = (Random::seeded(), storm_end());
        let mut rounds = 0;
        while rounds < 20 || Instant::now() < end {
            let random = random.split();
            let clients = Runtime::builder().workers(1 + rounds % 4).run(move || {
                let addresses: Vec<_> = (0..4)
                    .map(|_| {
                        let (listener, address) = listen();
                        let accept =
                            move || listener.incoming_ahead().for_each(|stream| serve(stream.unwrap()));
                        drop(Builder::new().daemon(true).spawn(accept).unwrap());
                        address
                    })
                    .collect();
                let clients: Vec<_> = (0..20).map(|at| connect(addresses[at % addresses.len()])).collect();
                fibra::sleep(random.micros(600));
                clients
            });
            for mut client in clients.unwrap() {
                let answer = client.read(&mut [0]);
                assert!(
                    !matches!(&answer, Err(error) if error.kind() == ErrorKind::WouldBlock),
                    "a connection is left alone"
                );
            }
            rounds += 1;
        }
    });
    assert_eq!(open_descriptors(), before, "descriptors");
}

/// Accepts with waits that are ended at random moments, by timeouts and by requests to stop. Returns how many it has served.
fn accept_impatiently(
    incoming: &mut IncomingAhead<'_>,
    random: Random,
    mut waits: usize,
    end: Instant,
) -> usize {
    let mut served = 0;
    let mut serve_next = |next: Option<io::Result<TcpStream>>| {
        serve(next.expect("it is not finished").unwrap());
        served += 1;
    };
    while waits > 0 || Instant::now() < end {
        waits = waits.saturating_sub(1);
        let delay = random.micros(300);
        if random.below(2) == 0 {
            if let Ok(next) = fibra::timeout(delay, || incoming.next()) {
                serve_next(next);
            }
        } else {
            let stop = Stop::new();
            let enrolled = stop.enroll();
            let trigger = fibra::spawn_after(delay, move || stop.trigger());
            if let Ok(next) = enrolled.interruptible(|| incoming.next()) {
                serve_next(next);
            }
            drop(trigger);
        }
    }
    served
}

#[test]
fn waits_that_are_ended_early_lose_no_connection() {
    let all: usize = std::env::var("FIBRA_CANCELS")
        .map_or(40_000, |text| text.parse().expect("FIBRA_CANCELS is a number"));
    // Most of these end by the clock, so there are fewer of them than other storms have.
    let waits = all.div_ceil(20);
    on_runtimes(move || {
        let random = Random::seeded();
        let (listener, address) = listen();
        let (over, connected) = (AtomicBool::new(false), AtomicUsize::new(0));
        let mut served = 0;
        fibra::scope(|scope| {
            let clients = [(); 4].map(|()| {
                let random = random.split();
                let (over, connected) = (&over, &connected);
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let client = connect(address);
                        connected.fetch_add(1, Ordering::Relaxed);
                        if random.below(2) == 0 {
                            assert!(is_answered(client), "it was accepted, and forgotten");
                        }
                        fibra::sleep(random.micros(300));
                    }
                })
            });
            let mut incoming = listener.incoming_ahead();
            served += accept_impatiently(&mut incoming, random.split(), waits, storm_end());
            over.store(true, Ordering::Relaxed);
            // Those who connect meanwhile want to be answered too.
            while clients.iter().any(|client| !client.is_finished()) {
                if let Ok(next) = fibra::timeout(Duration::from_millis(1), || incoming.next()) {
                    serve(next.unwrap().unwrap());
                    served += 1;
                }
            }
            incoming.finish();
            for stream in incoming {
                serve(stream.unwrap());
                served += 1;
            }
        });
        listener.set_nonblocking(true).unwrap();
        while let Ok((stream, _)) = listener.accept() {
            serve(stream);
            served += 1;
        }
        println!("{served} served in {waits} waits");
        assert_eq!(served, connected.into_inner(), "served, and connected");
    });
}
