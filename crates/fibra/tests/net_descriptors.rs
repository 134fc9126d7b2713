//! Descriptors whose numbers and files come and go: what happens on one never reaches another.

mod network;

use fibra::net::{TcpStream, UnixStream};
use network::{Random, duplicate, on_workers, reset_on_close, storm_end, tcp_pair};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// A connection that is gone from the runtime, but whose file is kept open and busy from outside.
struct Ghost {
    _file: OwnedFd,
    peer: UnixStream,
}

impl Ghost {
    fn new() -> Ghost {
        let (mut stream, peer) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_nanos(1))).unwrap();
        // So that it is registered.
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        peer.set_nonblocking(true).unwrap();
        Ghost { _file: duplicate(&stream), peer }
    }

    fn haunt(&mut self) {
        let _ = self.peer.write(b"boo");
    }
}

#[test]
fn events_of_closed_descriptors_do_not_reach_those_who_have_their_numbers_now() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let exchanges = AtomicUsize::new(0);
        fibra::scope(|scope| {
            for tag in 1..=8_u8 {
                let (random, exchanges) = (random.split(), &exchanges);
                scope.spawn(move || {
                    let mut ghosts = Vec::new();
                    while Instant::now() < until {
                        ghosts.push(Ghost::new());
                        if ghosts.len() > 8 {
                            let at = random.below(8) as usize;
                            ghosts.swap_remove(at);
                        }
                        ghosts.iter_mut().for_each(Ghost::haunt);
                        exchange(tag, &random, &mut ghosts);
                        exchanges.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
        });
        println!("{exchanges:?} exchanges");
    });
}

/// A conversation on fresh descriptors, in the midst of events of old ones.
fn exchange(tag: u8, random: &Random, ghosts: &mut [Ghost]) {
    let (one, mut other) = UnixStream::pair().unwrap();
    let by_wait = random.below(2) == 0;
    let reading = fibra::spawn(move || {
        let mut received = Vec::new();
        let mut buffer = [0; 16];
        loop {
            if by_wait {
                one.wait_readable().unwrap();
            }
            match (&one).read(&mut buffer).unwrap() {
                0 => return received,
                count => received.extend_from_slice(&buffer[..count]),
            }
        }
    });
    let count = 1 + random.below(5) as usize;
    for _ in 0..count {
        if random.below(2) == 0 {
            fibra::yield_now();
        }
        ghosts.iter_mut().for_each(Ghost::haunt);
        other.write_all(&[tag]).unwrap();
    }
    drop(other);
    assert_eq!(reading.join().unwrap(), vec![tag; count]);
}

/// A number is closed and given out again while the old file's waiters, on clones, go on.
#[test]
fn clones_wait_on_while_their_first_number_is_used_by_others() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        fibra::scope(|scope| {
            for tag in 1..=6_u8 {
                let random = random.split();
                scope.spawn(move || {
                    while Instant::now() < until {
                        let (mut one, mut other) = UnixStream::pair().unwrap();
                        let mut clone = one.try_clone().unwrap();
                        one.set_read_timeout(Some(random.micros(50) + Duration::from_nanos(1))).unwrap();
                        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
                        one.set_read_timeout(None).unwrap();
                        drop(one);
                        let reading = fibra::spawn(move || {
                            let mut byte = [0];
                            clone.read_exact(&mut byte).unwrap();
                            byte[0]
                        });
                        fibra::sleep(random.micros(50));
                        other.write_all(&[tag]).unwrap();
                        assert_eq!(reading.join().unwrap(), tag);
                    }
                });
            }
        });
    });
}

/// Sockets that leave for std and come back, with clones here and there, all the time in use.
#[test]
fn sockets_that_leave_and_come_back_lose_no_wake_up() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        fibra::scope(|scope| {
            for _ in 0..6 {
                let random = random.split();
                scope.spawn(move || {
                    let (mut one, mut other) = tcp_pair();
                    reset_on_close(&one);
                    let mut clones = Vec::new();
                    let mut number = 0_u8;
                    while Instant::now() < until {
                        match random.below(6) {
                            0 => one = TcpStream::from(std::net::TcpStream::from(one)),
                            1 => clones.push(one.try_clone().unwrap()),
                            2 => clones.push(TcpStream::from(duplicate(&one))),
                            3 if !clones.is_empty() => {
                                let at = random.below(clones.len() as u64) as usize;
                                one = std::mem::replace(&mut clones[at], one);
                            }
                            _ => {
                                let at = random.below(8) as usize;
                                if at < clones.len() {
                                    clones.swap_remove(at);
                                }
                            }
                        }
                        clones.truncate(12);
                        number = number.wrapping_add(1);
                        let mut reader = one.try_clone().unwrap();
                        let reading = fibra::spawn(move || {
                            let mut byte = [0];
                            reader.read_exact(&mut byte).unwrap();
                            byte[0]
                        });
                        if random.below(2) == 0 {
                            fibra::yield_now();
                        }
                        other.write_all(&[number]).unwrap();
                        assert_eq!(reading.join().unwrap(), number);
                    }
                });
            }
        });
    });
}
