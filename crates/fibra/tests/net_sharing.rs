//! One socket, many users: readers and writers in any number, on any worker.

mod network;

use fibra::net::{Shutdown, TcpStream, UnixStream};
use network::{Random, by_uring, let_others_wait, on_workers, reset_on_close, storm_end, tcp_pair};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn readers_are_served_in_the_order_in_which_they_began_to_wait() {
    on_workers(&[1], || {
        let (one, mut other) = tcp_pair();
        let one = Arc::new(one);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let one = Arc::clone(&one);
                let reader = fibra::spawn_local(move || {
                    let mut byte = [0];
                    (&*one).read_exact(&mut byte).unwrap();
                    byte[0]
                });
                let_others_wait();
                reader
            })
            .collect();
        // All at once: who takes one and leaves something behind wakes the next.
        other.write_all(&[0, 1, 2, 3, 4]).unwrap();
        let mut bytes: Vec<u8> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        if by_uring() {
            // The kernel has its own mind about the order.
            bytes.sort_unstable();
        }
        assert_eq!(bytes, [0, 1, 2, 3, 4]);
    });
}

#[test]
fn end_of_the_stream_wakes_every_reader() {
    on_workers(&[1, 2, 4], || {
        for reset in [false, true] {
            let (one, other) = tcp_pair();
            let one = Arc::new(one);
            let readers: Vec<_> = (0..16)
                .map(|_| {
                    let one = Arc::clone(&one);
                    fibra::spawn(move || (&*one).read(&mut [0; 8]))
                })
                .collect();
            fibra::sleep(Duration::from_micros(500));
            if reset {
                reset_on_close(&other);
            }
            drop(other);
            for reader in readers {
                match reader.join().unwrap() {
                    Ok(count) => assert_eq!(count, 0),
                    Err(error) => assert_eq!((error.kind(), reset), (ErrorKind::ConnectionReset, true)),
                }
            }
        }
    });
}

#[test]
fn reset_wakes_writers_and_readers() {
    on_workers(&[1, 2, 4], || {
        let (one, other) = tcp_pair();
        let one = Arc::new(one);
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let one = Arc::clone(&one);
                fibra::spawn(move || while (&*one).write(&[0; 1 << 16]).is_ok() {})
            })
            .collect();
        let reader = {
            let one = Arc::clone(&one);
            fibra::spawn(move || (&*one).read(&mut [0; 8]).is_err())
        };
        // When the other end has something, and time has passed, the writers will have filled the buffers.
        other.wait_readable().unwrap();
        fibra::sleep(Duration::from_millis(2));
        reset_on_close(&other);
        drop(other);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        reader.join().unwrap();
    });
}

#[test]
fn shutdown_ends_waits_of_its_direction() {
    on_workers(&[1, 2], || {
        let (one, mut other) = tcp_pair();
        let one = Arc::new(one);
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let one = Arc::clone(&one);
                fibra::spawn(move || (&*one).read(&mut [0; 8]).unwrap())
            })
            .collect();
        fibra::sleep(Duration::from_micros(200));
        one.shutdown(Shutdown::Read).unwrap();
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 0);
        }
        let writers: Vec<_> = (0..3)
            .map(|_| {
                let one = Arc::clone(&one);
                fibra::spawn(move || {
                    loop {
                        if let Err(error) = (&*one).write(&[0; 1 << 16]) {
                            break error.kind();
                        }
                    }
                })
            })
            .collect();
        other.wait_readable().unwrap();
        fibra::sleep(Duration::from_millis(2));
        one.shutdown(Shutdown::Write).unwrap();
        for writer in writers {
            assert_eq!(writer.join().unwrap(), ErrorKind::BrokenPipe);
        }
        assert_ne!(other.read_to_end(&mut Vec::new()).unwrap(), 0);
    });
}

#[test]
fn reader_and_writer_of_one_socket_do_not_disturb_each_other() {
    on_workers(&[1, 2, 4], || {
        let (one, other) = tcp_pair();
        fibra::scope(|scope| {
            let echo = scope.spawn(|| std::io::copy(&mut &other, &mut &other).unwrap());
            scope.spawn(|| {
                for round in 0..2000_u32 {
                    (&one).write_all(&round.to_ne_bytes()).unwrap();
                }
                one.shutdown(Shutdown::Write).unwrap();
            });
            for round in 0..2000_u32 {
                let mut bytes = [0; 4];
                (&one).read_exact(&mut bytes).unwrap();
                assert_eq!(u32::from_ne_bytes(bytes), round);
            }
            assert_eq!(echo.join().unwrap(), 8000);
        });
    });
}

/// Writers send records of one word each, several a call, at random moments; readers take bytes in random portions.
/// Which reader gets a byte is open; that each is gotten once shows in the counts.
fn storm<S: Sync>(one: &S, other: &S, end: impl Fn() + Sync)
where
    for<'a> &'a S: Read + Write,
{
    const READERS: usize = 4;
    let (random, until) = (Random::seeded(), storm_end());
    let sent: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
    let received: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
    let took: [AtomicU64; READERS] = [const { AtomicU64::new(0) }; READERS];
    let writing = AtomicUsize::new(2);
    fibra::scope(|scope| {
        for took in &took {
            let (mut one, random, received) = (one, random.split(), &received);
            scope.spawn(move || {
                let mut buffer = vec![0; 4096];
                loop {
                    let order = random.below(12);
                    let size = 1 + random.below(1 << order) as usize;
                    match one.read(&mut buffer[..size]).unwrap() {
                        0 => return,
                        count => {
                            took.fetch_add(1, Ordering::Relaxed);
                            for &byte in &buffer[..count] {
                                received[usize::from(byte)].fetch_add(1, Ordering::Relaxed);
                            }
                        }
                    }
                    if random.below(8) == 0 {
                        fibra::yield_now();
                    }
                }
            });
        }
        for _ in 0..2 {
            let (mut other, random) = (other, random.split());
            let (sent, writing, end) = (&sent, &writing, &end);
            scope.spawn(move || {
                let mut buffer = vec![0; 1 << 14];
                while Instant::now() < until {
                    let order = random.below(14);
                    let size = 1 + random.below(1 << order) as usize;
                    for byte in &mut buffer[..size] {
                        *byte = random.next() as u8;
                        sent[usize::from(*byte)].fetch_add(1, Ordering::Relaxed);
                    }
                    other.write_all(&buffer[..size]).unwrap();
                    match random.below(16) {
                        0 => fibra::sleep(random.micros(300)),
                        1..4 => fibra::yield_now(),
                        _ => {}
                    }
                }
                if writing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    // Right behind the last bytes.
                    end();
                }
            });
        }
    });
    for (byte, (sent, received)) in sent.iter().zip(&received).enumerate() {
        assert_eq!(sent.load(Ordering::Relaxed), received.load(Ordering::Relaxed), "byte {byte}");
    }
    assert!(took.iter().all(|count| count.load(Ordering::Relaxed) > 0), "a reader got nothing: {took:?}");
}

#[test]
fn bytes_of_a_tcp_storm_go_to_exactly_one_reader_each() {
    on_workers(&[1, 2, 4, 8], || {
        let (one, other) = tcp_pair();
        storm(&one, &other, || other.shutdown(Shutdown::Write).unwrap());
    });
}

#[test]
fn bytes_of_a_unix_storm_go_to_exactly_one_reader_each() {
    on_workers(&[1, 2, 4, 8], || {
        let (one, other) = UnixStream::pair().unwrap();
        storm(&one, &other, || other.shutdown(Shutdown::Write).unwrap());
    });
}

/// Short conversations whose last bytes and whose end come together, read on any worker: the reader must not wait for
/// an event that was there already.
#[test]
fn end_that_comes_with_the_last_bytes_is_never_slept_over() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        fibra::scope(|scope| {
            for _ in 0..8 {
                let random = random.split();
                scope.spawn(move || {
                    while Instant::now() < until {
                        let (one, other) = tcp_pair();
                        converse(one, other, &random);
                    }
                });
            }
        });
    });
}

fn converse(one: TcpStream, mut other: TcpStream, random: &Random) {
    let one = Arc::new(one);
    let readers: Vec<_> = (0..1 + random.below(2))
        .map(|_| {
            let one = Arc::clone(&one);
            let by_wait = random.below(2) == 0;
            fibra::spawn(move || {
                let (mut buffer, mut received) = ([0; 64], 0);
                loop {
                    if by_wait {
                        // An error is the read's to report.
                        let _ = one.wait_readable();
                    }
                    match (&*one).read(&mut buffer) {
                        Ok(0) => return (received, false),
                        Ok(count) => received += count,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                            return (received, true);
                        }
                    }
                }
            })
        })
        .collect();
    let mut sent = 0;
    for _ in 0..random.below(4) {
        let size = 1 + random.below(200) as usize;
        other.write_all(&[1; 200][..size]).unwrap();
        sent += size;
        if random.below(2) == 0 {
            fibra::yield_now();
        }
    }
    let reset = random.below(4) == 0;
    match random.below(2) {
        _ if reset => reset_on_close(&other),
        0 => other.shutdown(Shutdown::Write).unwrap(),
        _ => {}
    }
    drop(other);
    let received: usize = readers.into_iter().map(|reader| reader.join().unwrap().0).sum();
    assert!(received == sent || reset, "{received} of {sent} arrived");
}

/// A peer that ends its half and goes on reading: our writes go on, whatever our reads have seen.
#[test]
fn writes_go_on_after_the_peer_has_ended_its_half() {
    on_workers(&[1, 2], || {
        let (one, mut other) = tcp_pair();
        other.write_all(b"bye").unwrap();
        other.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        (&one).read_to_string(&mut text).unwrap();
        assert_eq!(text, "bye");
        let reading = fibra::spawn(move || other.read_to_end(&mut Vec::new()).unwrap());
        for _ in 0..64 {
            (&one).write_all(&[0; 1 << 16]).unwrap();
        }
        assert_eq!((&one).read(&mut [0; 8]).unwrap(), 0);
        drop(one);
        assert_eq!(reading.join().unwrap(), 1 << 22);
    });
}
