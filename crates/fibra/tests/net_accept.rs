//! Many contexts accept from one listener: one connection is for one of them, and none is stranded.

mod network;

use fibra::Stop;
use fibra::net::{TcpListener, TcpStream, UdpSocket, UnixListener, UnixStream};
use network::{Random, let_others_wait, on_workers, storm_end, within};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn connections_go_to_those_who_wait_in_their_order() {
    on_workers(&[1], || {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let accepting: Vec<_> = (0..4)
            .map(|_| {
                let listener = Arc::clone(&listener);
                let accepting = fibra::spawn_local(move || listener.accept().unwrap().1);
                let_others_wait();
                accepting
            })
            .collect();
        // Several behind one event.
        let streams: Vec<_> =
            (0..4).map(|_| std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap()).collect();
        for (stream, accepting) in streams.iter().zip(accepting) {
            assert_eq!(accepting.join().unwrap(), stream.local_addr().unwrap());
        }
    });
}

#[test]
fn every_connection_of_a_burst_is_accepted() {
    on_workers(&[1, 2, 8], || {
        const LOOPS: usize = 8;
        const CONNECTIONS: usize = 1000;
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let (stop, accepted) = (Stop::new(), Arc::new(AtomicUsize::new(0)));
        let loops: Vec<_> = (0..LOOPS)
            .map(|_| {
                let (listener, stop, accepted) = (Arc::clone(&listener), stop.clone(), Arc::clone(&accepted));
                fibra::spawn(move || {
                    let enrolled = stop.enroll();
                    while let Ok(stream) = enrolled.interruptible(|| listener.accept()) {
                        stream.unwrap().0.write_all(b"x").unwrap();
                        if accepted.fetch_add(1, Ordering::AcqRel) + 1 == CONNECTIONS {
                            stop.trigger();
                        }
                    }
                })
            })
            .collect();
        let connecting: Vec<_> = (0..CONNECTIONS)
            .map(|_| {
                fibra::spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    network::reset_on_close(&stream);
                    stream.read_exact(&mut [0]).unwrap();
                })
            })
            .collect();
        connecting.into_iter().for_each(|connecting| connecting.join().unwrap());
        loops.into_iter().for_each(|accepting| accepting.join().unwrap());
        assert_eq!(accepted.load(Ordering::Acquire), CONNECTIONS);
    });
}

/// Accepts until it is told not to, at a random moment, and is replaced; so that connections come to waits that are just ending.
#[test]
fn connection_that_meets_a_cancelled_accept_goes_to_another() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, over) = (listener.local_addr().unwrap(), Stop::new());
        let (cancelled, connected) = (AtomicUsize::new(0), AtomicUsize::new(0));
        fibra::scope(|scope| {
            // One that stays: whatever the others do, nothing may be left lying.
            for cancels in [false, true, true, true, true] {
                let (listener, over, cancelled) = (&listener, &over, &cancelled);
                let random = random.split();
                scope.spawn(move || {
                    let enrolled_for_the_end = over.enroll();
                    while !over.is_triggered() {
                        let stop = Stop::new();
                        if cancels {
                            let (stop, delay) = (stop.clone(), random.micros(300));
                            fibra::spawn(move || {
                                fibra::sleep(delay);
                                stop.trigger();
                            });
                        }
                        let serve = || loop {
                            let (mut stream, _) = listener.accept().unwrap();
                            stream.write_all(b"x").unwrap();
                        };
                        let _ = enrolled_for_the_end.interruptible(|| {
                            let enrolled = stop.enroll();
                            let interrupted = enrolled.interruptible(serve);
                            drop(enrolled);
                            assert!(interrupted.is_err());
                            cancelled.fetch_add(1, Ordering::Relaxed);
                        });
                    }
                });
            }
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let (random, connected) = (random.split(), &connected);
                    scope.spawn(move || {
                        while Instant::now() < until {
                            let mut stream = TcpStream::connect(address).unwrap();
                            network::reset_on_close(&stream);
                            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                            stream.read_exact(&mut [0]).expect("a connection was stranded");
                            connected.fetch_add(1, Ordering::Relaxed);
                            fibra::sleep(random.micros(300));
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            over.trigger();
        });
        println!("{connected:?} connections, {cancelled:?} cancelled accepts");
        assert_ne!(cancelled.into_inner(), 0);
    });
}

/// The same with timeouts, which sockets for packets have: what one waiter is told in the moment in which it gives up is for another.
#[test]
fn packet_that_meets_a_timed_out_wait_goes_to_another() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_read_timeout(Some(Duration::from_micros(150))).unwrap();
        let (address, answered) = (server.local_addr().unwrap(), AtomicUsize::new(0));
        let over = Stop::new();
        fibra::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    while !over.is_triggered() {
                        let mut buffer = [0; 16];
                        if let Ok((length, from)) = server.recv_from(&mut buffer) {
                            server.send_to(&buffer[..length], from).unwrap();
                        }
                    }
                });
            }
            let clients: Vec<_> = (0..4)
                .map(|_| {
                    let (random, answered) = (random.split(), &answered);
                    scope.spawn(move || {
                        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                        socket.connect(address).unwrap();
                        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                        while Instant::now() < until {
                            let number = random.next().to_ne_bytes();
                            socket.send(&number).unwrap();
                            let mut answer = [0; 8];
                            socket.recv(&mut answer).expect("a packet was stranded");
                            assert_eq!(answer, number);
                            answered.fetch_add(1, Ordering::Relaxed);
                            fibra::sleep(random.micros(300));
                        }
                    })
                })
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            over.trigger();
        });
        println!("{answered:?} packets");
    });
}

#[test]
fn threads_and_coroutines_accept_from_one_listener() {
    on_workers(&[1, 2], || {
        const CONNECTIONS: usize = 400;
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let serve = |listener: Arc<TcpListener>, accepted: Arc<AtomicUsize>| {
            move || {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.write_all(b"x").unwrap();
                    if accepted.fetch_add(1, Ordering::AcqRel) + 1 == CONNECTIONS {
                        listener.close();
                    }
                }
            }
        };
        let coroutines: Vec<_> =
            (0..3).map(|_| fibra::spawn(serve(Arc::clone(&listener), Arc::clone(&accepted)))).collect();
        let threads: Vec<_> =
            (0..3).map(|_| thread::spawn(serve(Arc::clone(&listener), Arc::clone(&accepted)))).collect();
        for _ in 0..CONNECTIONS {
            TcpStream::connect(address).unwrap().read_exact(&mut [0]).unwrap();
        }
        coroutines.into_iter().for_each(|coroutine| coroutine.join().unwrap());
        fibra::spawn_blocking(move || threads.into_iter().for_each(|thread| thread.join().unwrap()))
            .join()
            .unwrap();
    });
}

#[test]
fn interrupted_accept_ends_and_the_listener_works_on() {
    on_workers(&[1, 2], || {
        let path = std::env::temp_dir().join(format!("fibra-accept-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = Arc::new(UnixListener::bind(&path).unwrap());
        for _ in 0..50 {
            let stop = Stop::new();
            let accepting = {
                let (listener, stop) = (Arc::clone(&listener), stop.clone());
                fibra::spawn(move || stop.enroll().interruptible(|| listener.accept().map(drop)).is_err())
            };
            fibra::yield_now();
            stop.trigger();
            assert!(accepting.join().unwrap());
        }
        let connecting = fibra::spawn({
            let path = path.clone();
            move || UnixStream::connect(path).unwrap()
        });
        listener.accept().unwrap();
        connecting.join().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

/// A result that is there is returned, also to who was asked to stop; the request is met at the next wait.
#[test]
fn what_has_arrived_is_returned_before_a_request_to_stop() {
    on_workers(&[1], || {
        let (one, mut other) = network::tcp_pair();
        let stop = Stop::new();
        let reading = {
            let stop = stop.clone();
            fibra::spawn_local(move || {
                let enrolled = stop.enroll();
                let first = enrolled.interruptible(|| (&one).read(&mut [0; 8]).unwrap());
                let second = enrolled.interruptible(|| (&one).read(&mut [0; 8]).unwrap());
                (first, second)
            })
        };
        let_others_wait();
        other.write_all(b"xyz").unwrap();
        stop.trigger();
        let (first, second) = reading.join().unwrap();
        // The request may be delivered before the driver has been asked; but then the bytes are there for the next read.
        assert!(matches!(first, Ok(3) | Err(_)));
        assert!(first.is_err() || second.is_err());
    });
}

#[test]
fn stop_does_not_end_a_wait_on_an_os_thread_but_close_does() {
    within(Duration::from_secs(30), || {
        let listener = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        let accepting = {
            let listener = Arc::clone(&listener);
            thread::spawn(move || listener.accept().map(drop))
        };
        listener.close();
        assert!(accepting.join().unwrap().is_err());
    });
}
