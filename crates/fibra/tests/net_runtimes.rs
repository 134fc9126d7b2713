//! Sockets are no runtime's own: one that was registered here is used there, also when here is gone.

mod network;

use fibra::Runtime;
use fibra::net::{TcpListener, TcpStream};
use network::{Random, let_others_wait, storm_end, tcp_pair, within};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

fn runtime(workers: usize) -> Runtime {
    Runtime::builder().workers(workers).build().unwrap()
}

fn register(stream: &TcpStream) {
    stream.set_read_timeout(Some(Duration::from_micros(100))).unwrap();
    assert_eq!({ stream }.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(None).unwrap();
}

#[test]
fn listener_outlives_the_runtime_that_registered_it() {
    within(LIMIT, || {
        let first = runtime(1);
        let (listener, address) = first.run(|| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            let connecting = fibra::spawn(move || TcpStream::connect(address).unwrap());
            listener.accept().unwrap();
            connecting.join().unwrap();
            (listener, address)
        });
        drop(first);
        let second = runtime(2);
        let accepting = second.spawn(move || {
            for stream in listener.incoming().take(3) {
                stream.unwrap().write_all(b"x").unwrap();
            }
        });
        for _ in 0..3 {
            TcpStream::connect(address).unwrap().read_exact(&mut [0]).unwrap();
        }
        accepting.join().unwrap();
    });
}

#[test]
fn waiters_go_on_when_the_runtime_that_registered_their_socket_ends() {
    within(LIMIT, || {
        for workers in [1, 2] {
            let (one, mut other) = tcp_pair();
            let one = Arc::new(one);
            let (first, second) = (runtime(workers), runtime(workers));
            first.run(|| register(&one));
            let waiting: Vec<_> = (0..4)
                .map(|_| {
                    let one = Arc::clone(&one);
                    second.spawn(move || {
                        let mut byte = [0];
                        (&*one).read_exact(&mut byte).unwrap();
                    })
                })
                .collect();
            second.run(let_others_wait);
            drop(first);
            other.write_all(b"four").unwrap();
            waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
        }
    });
}

#[test]
fn runtimes_share_a_socket() {
    within(LIMIT, || {
        let (one, mut other) = tcp_pair();
        let one = Arc::new(one);
        let runtimes: Vec<_> = (0..3).map(|_| runtime(1)).collect();
        let readers: Vec<_> = runtimes
            .iter()
            .map(|runtime| {
                let one = Arc::clone(&one);
                runtime.spawn(move || {
                    let (mut byte, mut count) = ([0], 0);
                    while let Ok(1) = (&*one).read(&mut byte) {
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        for _ in 0..3000 {
            other.write_all(b"x").unwrap();
        }
        drop(other);
        let counts: Vec<u32> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert_eq!(counts.iter().sum::<u32>(), 3000, "{counts:?}");
    });
}

/// Runtimes come and go; whoever waits loses neither its place nor its bytes.
#[test]
fn bytes_are_not_lost_while_runtimes_come_and_go() {
    within(LIMIT + network::stress_time(), || {
        let (random, until) = (Random::seeded(), storm_end());
        let (one, mut other) = tcp_pair();
        let one = Arc::new(one);
        let over = Arc::new(AtomicBool::new(false));
        let lasting = runtime(2);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let one = Arc::clone(&one);
                lasting.spawn(move || {
                    let (mut buffer, mut count) = ([0; 4], 0);
                    loop {
                        match (&*one).read(&mut buffer).unwrap() {
                            0 => return count,
                            more => count += more,
                        }
                    }
                })
            })
            .collect();
        let passing = {
            let (one, over) = (Arc::clone(&one), Arc::clone(&over));
            let random = random.split();
            std::thread::spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::Acquire) {
                    let runtime = runtime(1 + random.below(2) as usize);
                    let one = Arc::clone(&one);
                    count += runtime.run(|| {
                        // At the driver of a runtime that will not live long.
                        let mut buffer = [0; 4];
                        match (&*one).read(&mut buffer) {
                            Ok(count) => count,
                            Err(error) => panic!("{error}"),
                        }
                    });
                }
                count
            })
        };
        let mut sent = 0;
        while Instant::now() < until {
            let count = 1 + random.below(8) as usize;
            other.write_all(&[0; 8][..count]).unwrap();
            sent += count;
            std::thread::sleep(random.micros(200));
        }
        over.store(true, Ordering::Release);
        drop(other);
        let received: usize = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert_eq!(received + passing.join().unwrap(), sent);
    });
}

#[test]
fn daemons_that_wait_for_a_socket_unwind_and_leave_it_usable() {
    within(LIMIT, || {
        let (one, mut other) = tcp_pair();
        let one = Arc::new(one);
        for _ in 0..20 {
            let runtime = runtime(1);
            let waiting = Arc::clone(&one);
            let daemon = runtime
                .spawn_with(fibra::Builder::new().daemon(true), move || (&*waiting).read(&mut [0]).map(drop))
                .unwrap();
            runtime.run(let_others_wait);
            drop(runtime);
            assert!(daemon.join().is_err(), "it was cut short");
        }
        other.write_all(b"x").unwrap();
        assert_eq!((&*one).read(&mut [0; 8]).unwrap(), 1);
    });
}
