//! Timeouts of sockets: what they end, and that nothing gets lost when a result and a timeout meet.

mod network;

use fibra::net::{TcpStream, UdpSocket, UnixStream};
use network::{Random, on_workers, storm_end, tcp_pair, within};
use std::io::{ErrorKind, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BOTH: &[usize] = &[1, 2];
const SHORT: Duration = Duration::from_millis(5);

#[test]
fn timed_out_read_would_block_and_not_too_early() {
    on_workers(BOTH, || {
        let (one, _other) = tcp_pair();
        one.set_read_timeout(Some(SHORT)).unwrap();
        let waits: [fn(&TcpStream) -> std::io::Result<()>; 3] = [
            |mut stream| stream.read(&mut [0; 8]).map(drop),
            |stream| stream.peek(&mut [0; 8]).map(drop),
            |stream| stream.wait_readable(),
        ];
        for wait in waits {
            let began = Instant::now();
            assert_eq!(wait(&one).unwrap_err().kind(), ErrorKind::WouldBlock);
            assert!(began.elapsed() >= SHORT);
        }
    });
}

#[test]
fn timed_out_write_would_block_and_not_too_early() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        one.set_write_timeout(Some(SHORT)).unwrap();
        let block = [7; 1 << 16];
        let mut written = 0;
        let waited = loop {
            let began = Instant::now();
            match one.write(&block) {
                Ok(count) => written += count,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break began.elapsed();
                }
            }
        };
        assert!(waited >= SHORT);
        assert_eq!(one.wait_writable().unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(one);
        let mut received = Vec::new();
        other.read_to_end(&mut received).unwrap();
        assert_eq!(received.len(), written);
    });
}

#[test]
fn what_comes_after_a_timeout_is_read_by_the_next() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        one.set_read_timeout(Some(SHORT)).unwrap();
        let mut byte = [0];
        for round in 0..10 {
            assert!(one.read(&mut byte).is_err());
            other.write_all(&[round]).unwrap();
            one.set_read_timeout(None).unwrap();
            one.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [round]);
            one.set_read_timeout(Some(SHORT)).unwrap();
        }
    });
}

#[test]
fn timeouts_are_kept_exactly_and_zero_is_refused() {
    on_workers(&[1], || {
        let (one, _other) = tcp_pair();
        assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (None, None));
        let (read, write) = (Duration::new(3, 141_592_653), Duration::from_nanos(1));
        one.set_read_timeout(Some(read)).unwrap();
        one.set_write_timeout(Some(write)).unwrap();
        assert_eq!((one.read_timeout().unwrap(), one.write_timeout().unwrap()), (Some(read), Some(write)));
        for result in
            [one.set_read_timeout(Some(Duration::ZERO)), one.set_write_timeout(Some(Duration::ZERO))]
        {
            assert_eq!(result.unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(one.read_timeout().unwrap(), Some(read), "a refused one changes nothing");
    });
}

#[test]
fn longest_timeout_is_no_limit() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        one.set_read_timeout(Some(Duration::MAX)).unwrap();
        let reading = fibra::spawn(move || {
            let mut byte = [0];
            one.read_exact(&mut byte).map(|()| byte)
        });
        fibra::sleep(Duration::from_millis(2));
        other.write_all(b"x").unwrap();
        assert_eq!(reading.join().unwrap().unwrap(), *b"x");
    });
}

/// Bytes that count up, written at random moments.
fn write_slowly(mut stream: impl Write, random: Random, until: Instant) -> u64 {
    let mut written = 0_u64;
    while Instant::now() < until {
        let burst: Vec<u8> = (0..1 + random.below(3)).map(|at| (written + at) as u8).collect();
        stream.write_all(&burst).unwrap();
        written += burst.len() as u64;
        fibra::sleep(random.micros(600));
    }
    written
}

/// Reads with timeouts that mostly end, and are ended by bytes, at about the same time. Returns how many timeouts there were.
fn read_impatiently(stream: &TcpStream, random: Random) -> (u64, u64) {
    let (mut received, mut timeouts) = (0_u64, 0);
    let mut buffer = [0; 4];
    loop {
        stream.set_read_timeout(Some(random.micros(600) + Duration::from_nanos(1))).unwrap();
        let result = match random.below(4) {
            0 => stream.wait_readable().and_then(|()| { stream }.read(&mut buffer)),
            _ => { stream }.read(&mut buffer),
        };
        match result {
            Ok(0) => return (received, timeouts),
            Ok(count) => {
                for &byte in &buffer[..count] {
                    assert_eq!(byte, received as u8, "byte {received} is out of order");
                    received += 1;
                }
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                timeouts += 1;
            }
        }
    }
}

#[test]
fn every_byte_arrives_once_and_in_order_whenever_timeouts_strike() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let timeouts = AtomicU64::new(0);
        fibra::scope(|scope| {
            for _ in 0..16 {
                let (one, other) = tcp_pair();
                let (first, second) = (random.split(), random.split());
                let timeouts = &timeouts;
                scope.spawn(move || {
                    let reading = fibra::spawn(move || read_impatiently(&one, first));
                    let written = write_slowly(&other, second, until);
                    drop(other);
                    let (received, timed_out) = reading.join().unwrap();
                    assert_eq!(received, written);
                    timeouts.fetch_add(timed_out, Ordering::Relaxed);
                });
            }
        });
        let timeouts = timeouts.into_inner();
        println!("{timeouts} timeouts");
        assert_ne!(timeouts, 0);
    });
}

#[test]
fn impatient_readers_of_one_socket_leave_no_byte_behind() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let (one, other) = tcp_pair();
        let received: [AtomicU64; 256] = [const { AtomicU64::new(0) }; 256];
        let written = fibra::scope(|scope| {
            for _ in 0..6 {
                let random = random.split();
                let (one, received) = (&one, &received);
                scope.spawn(move || {
                    let mut buffer = [0; 2];
                    loop {
                        one.set_read_timeout(Some(random.micros(300) + Duration::from_nanos(1))).unwrap();
                        match { one }.read(&mut buffer) {
                            Ok(0) => return,
                            Ok(count) => buffer[..count].iter().for_each(|&byte| {
                                received[usize::from(byte)].fetch_add(1, Ordering::Relaxed);
                            }),
                            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                        }
                    }
                });
            }
            let written = write_slowly(&other, random.split(), until);
            drop(other);
            written
        });
        for (byte, count) in received.iter().enumerate() {
            let expected = (written + 255 - byte as u64) / 256;
            assert_eq!(count.load(Ordering::Relaxed), expected, "byte {byte} of {written}");
        }
    });
}

#[test]
fn packet_that_meets_a_timeout_is_not_lost() {
    on_workers(BOTH, || {
        let (random, until) = (Random::seeded(), storm_end());
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        receiver.connect(sender.local_addr().unwrap()).unwrap();
        let delays = random.split();
        let echo = fibra::spawn(move || {
            let mut number = [0; 8];
            let mut next = 0_u64;
            while next != u64::MAX {
                receiver.set_read_timeout(Some(delays.micros(200) + Duration::from_nanos(1))).unwrap();
                match receiver.recv(&mut number) {
                    Ok(_) if u64::from_ne_bytes(number) == u64::MAX => next = u64::MAX,
                    Ok(_) => {
                        assert_eq!(u64::from_ne_bytes(number), next);
                        next += 1;
                        receiver.send(&number).unwrap();
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
                }
            }
        });
        let mut number = 0_u64;
        while Instant::now() < until {
            fibra::sleep(random.micros(200));
            sender.send(&number.to_ne_bytes()).unwrap();
            let mut answer = [0; 8];
            sender.recv(&mut answer).unwrap();
            assert_eq!(u64::from_ne_bytes(answer), number);
            number += 1;
        }
        sender.send(&u64::MAX.to_ne_bytes()).unwrap();
        echo.join().unwrap();
    });
}

#[test]
fn timeouts_hold_on_os_threads() {
    within(Duration::from_secs(60), || {
        let (random, until) = (Random::seeded(), storm_end());
        let (one, other) = tcp_pair();
        let reader = random.split();
        let reading = thread::spawn(move || read_impatiently(&one, reader));
        let written = write_slowly(&other, random, until);
        drop(other);
        let (received, timeouts) = reading.join().unwrap();
        assert_eq!(received, written);
        assert_ne!(timeouts, 0);
        let (mut one, _other) = UnixStream::pair().unwrap();
        one.set_read_timeout(Some(SHORT)).unwrap();
        let began = Instant::now();
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() >= SHORT);
    });
}
