//! TCP sockets do what std's do.

mod network;

use fibra::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use network::{Random, let_others_wait, on_workers, reset_on_close, tcp_pair};
use rustix::net::{AddressFamily, SocketType};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

const BOTH: &[usize] = &[1, 2];

/// An address of this machine on which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn accepted_and_connected_sockets_know_each_other() {
    on_workers(BOTH, || {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        assert_ne!(address.port(), 0);
        let accepting = fibra::spawn(move || listener.accept().unwrap());
        let stream = TcpStream::connect(address).unwrap();
        let (accepted, peer) = accepting.join().unwrap();
        assert_eq!(stream.peer_addr().unwrap(), address);
        assert_eq!(accepted.local_addr().unwrap(), address);
        assert_eq!(stream.local_addr().unwrap(), peer);
        assert_eq!(accepted.peer_addr().unwrap(), peer);
        assert!(format!("{stream:?}").contains("TcpStream"));
    });
}

#[test]
fn bytes_go_both_ways_and_then_comes_the_end() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        let echo = fibra::spawn(move || {
            let mut text = Vec::new();
            other.read_to_end(&mut text).unwrap();
            other.write_all(&text).unwrap();
        });
        one.write_all(b"there and ").unwrap();
        one.write_all(b"back").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        one.read_to_string(&mut text).unwrap();
        assert_eq!(text, "there and back");
        echo.join().unwrap();
        assert_eq!(one.read(&mut [0; 8]).unwrap(), 0, "the end stays");
    });
}

#[test]
fn peek_takes_nothing() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        let peeking = fibra::spawn(move || {
            let mut buffer = [0; 16];
            for _ in 0..3 {
                let count = other.peek(&mut buffer).unwrap();
                assert_eq!(&buffer[..count], &b"peek"[..count]);
                assert!(count > 0);
            }
            other.read_exact(&mut buffer[..4]).unwrap();
            assert_eq!(&buffer[..4], b"peek");
            assert_eq!(other.peek(&mut buffer).unwrap(), 0, "the end can be peeked at");
        });
        one.write_all(b"peek").unwrap();
        one.shutdown(Shutdown::Write).unwrap();
        peeking.join().unwrap();
    });
}

#[test]
fn vectored_calls_use_all_their_buffers_in_order() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        let reading = fibra::spawn(move || {
            let (mut head, mut rest) = ([0_u8; 3], [0; 32]);
            let mut text = Vec::new();
            while text.len() < 12 {
                let mut buffers =
                    [IoSliceMut::new(&mut []), IoSliceMut::new(&mut head), IoSliceMut::new(&mut rest)];
                let count = other.read_vectored(&mut buffers).unwrap();
                text.extend(head.iter().chain(&rest).take(count).copied());
            }
            text
        });
        let buffers =
            [IoSlice::new(b"in "), IoSlice::new(b""), IoSlice::new(b"pieces"), IoSlice::new(b"...")];
        assert_eq!(one.write_vectored(&buffers).unwrap(), 12);
        assert_eq!(reading.join().unwrap(), b"in pieces...");
    });
}

#[test]
fn more_buffers_than_the_kernel_takes_are_cut_down() {
    on_workers(&[1], || {
        let (mut one, mut other) = tcp_pair();
        let bytes = [b'x'; 3000];
        let slices: Vec<_> = bytes.chunks(1).map(IoSlice::new).collect();
        let count = one.write_vectored(&slices).unwrap();
        assert_eq!(count, 1024);
        let mut bytes = [0; 3000];
        let mut slices: Vec<_> = bytes.chunks_mut(1).map(IoSliceMut::new).collect();
        assert_eq!(other.read_vectored(&mut slices).unwrap(), 1024);
    });
}

/// With nothing to send or to receive, there is nothing to wait for.
#[test]
fn empty_buffers_do_not_wait() {
    on_workers(&[1], || {
        let (mut one, _other) = tcp_pair();
        one.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        assert_eq!(one.read(&mut []).unwrap(), 0);
        assert_eq!(one.peek(&mut []).unwrap(), 0);
        assert_eq!(one.read_vectored(&mut []).unwrap(), 0);
        assert_eq!(one.read_vectored(&mut [IoSliceMut::new(&mut [])]).unwrap(), 0);
        one.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
        let block = [0; 1 << 16];
        while one.write(&block).is_ok() {}
        assert_eq!(one.write(&[]).unwrap(), 0);
        assert_eq!(one.write_vectored(&[]).unwrap(), 0);
    });
}

#[test]
fn options_are_set_and_read() {
    on_workers(&[1], || {
        let (one, _other) = tcp_pair();
        assert!(!one.nodelay().unwrap());
        one.set_nodelay(true).unwrap();
        assert!(one.nodelay().unwrap());
        assert!(one.try_clone().unwrap().nodelay().unwrap());
        one.set_ttl(17).unwrap();
        assert_eq!(one.ttl().unwrap(), 17);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_ttl(18).unwrap();
        assert_eq!(listener.ttl().unwrap(), 18);
        assert!(one.take_error().unwrap().is_none());
        assert!(listener.take_error().unwrap().is_none());
    });
}

#[test]
fn pending_error_is_taken_once() {
    on_workers(BOTH, || {
        let (one, other) = tcp_pair();
        reset_on_close(&other);
        drop(other);
        one.wait_readable().unwrap();
        assert_eq!(one.take_error().unwrap().map(|error| error.kind()), Some(ErrorKind::ConnectionReset));
        assert!(one.take_error().unwrap().is_none());
    });
}

#[test]
fn clones_are_the_same_socket() {
    on_workers(BOTH, || {
        let (mut one, mut other) = tcp_pair();
        let mut clone = one.try_clone().unwrap();
        clone.write_all(b"a").unwrap();
        one.write_all(b"b").unwrap();
        let mut bytes = [0; 2];
        other.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"ab");
        clone.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        assert_eq!(one.read_timeout().unwrap(), Some(Duration::from_millis(1)));
        assert_eq!(one.read(&mut bytes).unwrap_err().kind(), ErrorKind::WouldBlock);
    });
}

#[test]
fn incoming_yields_every_connection() {
    on_workers(BOTH, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = fibra::spawn(move || {
            let mut sum = 0;
            for stream in listener.incoming().take(100) {
                let mut byte = [0];
                stream.unwrap().read_exact(&mut byte).unwrap();
                sum += u32::from(byte[0]);
            }
            sum
        });
        for byte in 0..100 {
            TcpStream::connect(address).unwrap().write_all(&[byte]).unwrap();
        }
        assert_eq!(server.join().unwrap(), 4950);
    });
}

#[test]
fn nonblocking_socket_never_waits() {
    on_workers(&[1], || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        let (mut one, mut other) = tcp_pair();
        one.set_nonblocking(true).unwrap();
        assert_eq!(one.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(one.peek(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(one.wait_readable().unwrap_err().kind(), ErrorKind::WouldBlock);
        let block = [0; 1 << 16];
        let mut written = 0;
        let error = loop {
            match one.write(&block) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        one.set_nonblocking(false).unwrap();
        let writing = fibra::spawn_local(move || one.write_all(b"end").unwrap());
        let mut received = Vec::new();
        other.read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        assert_eq!(received.len(), written + 3);
    });
}

#[test]
fn reading_is_tried_without_waiting() {
    on_workers(BOTH, || {
        let (one, mut other) = tcp_pair();
        let mut buffer = [0; 8];
        assert_eq!(one.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        for round in 0..100 {
            other.write_all(&[round]).unwrap();
            one.wait_readable().unwrap();
            assert_eq!(one.try_read(&mut buffer).unwrap(), 1);
            assert_eq!(buffer[0], round);
            assert_eq!(one.try_read(&mut buffer).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
        drop(other);
        one.wait_readable().unwrap();
        assert_eq!(one.try_read(&mut buffer).unwrap(), 0);
    });
}

#[test]
fn connection_that_nobody_accepts_is_refused() {
    on_workers(BOTH, || {
        let error = TcpStream::connect(nobody()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect_timeout(&nobody(), Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn connect_tries_one_address_after_another() {
    on_workers(BOTH, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let good = listener.local_addr().unwrap();
        let stream = TcpStream::connect(&[nobody(), nobody(), good][..]).unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let error = TcpStream::connect(&[nobody(), nobody()][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let error = TcpStream::connect(&[][..]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let taken = TcpListener::bind(&[good, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))][..]).unwrap();
        assert_ne!(taken.local_addr().unwrap(), good);
        assert_eq!(TcpListener::bind(good).unwrap_err().kind(), ErrorKind::AddrInUse);
    });
}

/// A listener whose queue is full, so that the kernel answers no more connects; with the connections that fill it.
fn full_listener() -> (TcpListener, Vec<TcpStream>) {
    let fd: OwnedFd = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&fd, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
    rustix::net::listen(&fd, 0).unwrap();
    let listener = TcpListener::from(fd);
    let address = listener.local_addr().unwrap();
    let mut streams = Vec::new();
    loop {
        match TcpStream::connect_timeout(&address, Duration::from_millis(100)) {
            Ok(stream) => streams.push(stream),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::TimedOut);
                return (listener, streams);
            }
        }
        assert!(streams.len() < 10, "a backlog of 0 is full after a few");
    }
}

#[test]
fn connect_gives_up_after_its_timeout() {
    on_workers(BOTH, || {
        let (listener, _streams) = full_listener();
        let timeout = Duration::from_millis(30);
        let began = Instant::now();
        let error = TcpStream::connect_timeout(&listener.local_addr().unwrap(), timeout).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(began.elapsed() >= timeout);
        let error = TcpStream::connect_timeout(&nobody(), Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn connect_waits_until_the_backlog_has_room() {
    on_workers(&[1], || {
        let (listener, streams) = full_listener();
        let address = listener.local_addr().unwrap();
        let connecting = fibra::spawn(move || TcpStream::connect(address).map(drop));
        let_others_wait();
        assert!(!connecting.is_finished());
        for _ in &streams {
            listener.accept().unwrap();
        }
        connecting.join().unwrap().unwrap();
    });
}

#[test]
fn connect_and_accept_over_ipv6() {
    on_workers(BOTH, || {
        let listener = match TcpListener::bind("[::1]:0") {
            Ok(listener) => listener,
            Err(error) => return println!("no IPv6 here: {error}"),
        };
        let address = listener.local_addr().unwrap();
        assert!(address.is_ipv6());
        let accepting = fibra::spawn(move || listener.accept().unwrap());
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"six").unwrap();
        let (mut accepted, peer) = accepting.join().unwrap();
        assert_eq!(peer, stream.local_addr().unwrap());
        let mut bytes = [0; 3];
        accepted.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"six");
    });
}

#[test]
fn accept_passes_over_a_connection_that_was_reset() {
    on_workers(BOTH, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let gone = TcpStream::connect(address).unwrap();
        reset_on_close(&gone);
        drop(gone);
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"here").unwrap();
        loop {
            // The one that is gone may still come out; then it ends at the first read.
            let (mut accepted, _) = listener.accept().unwrap();
            let mut bytes = [0; 4];
            if accepted.read_exact(&mut bytes).is_ok() {
                assert_eq!(&bytes, b"here");
                break;
            }
        }
    });
}

#[test]
fn writing_to_a_peer_that_is_gone_fails() {
    on_workers(BOTH, || {
        let (mut one, other) = tcp_pair();
        drop(other);
        let error = loop {
            if let Err(error) = one.write(b"hello?") {
                break error;
            }
        };
        assert!(matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset), "{error}");
    });
}

/// 256 KiB that differ from one number to the next.
fn block(of: u64) -> Vec<u8> {
    let mut random = of | 1;
    let words = (0..32 * 1024).map(|_| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    });
    words.flat_map(u64::to_ne_bytes).collect()
}

#[test]
fn sixty_four_mebibytes_go_both_ways_at_once_over_one_socket() {
    const BLOCKS: u64 = 256;
    fn send(stream: &TcpStream, seed: u64) {
        for number in 0..BLOCKS {
            (&*stream).write_all(&block(seed + 2 * number)).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
    }
    fn receive(stream: &TcpStream, seed: u64, random: Random) {
        let mut received = vec![0; block(0).len()];
        for number in 0..BLOCKS {
            let mut filled = 0;
            while filled < received.len() {
                // Sizes of all orders of magnitude, so that both sides meet full and empty buffers.
                let order = random.below(18);
                let size = 1 + random.below(1 << order) as usize;
                let end = received.len().min(filled + size);
                let count = (&*stream).read(&mut received[filled..end]).unwrap();
                assert_ne!(count, 0, "the stream ended early");
                filled += count;
            }
            assert!(received == block(seed + 2 * number), "block {number} differs");
        }
        assert_eq!((&*stream).read(&mut received).unwrap(), 0);
    }
    on_workers(BOTH, || {
        let random = Random::seeded();
        let (one, other) = tcp_pair();
        let (first, second) = (random.split(), random.split());
        fibra::scope(|scope| {
            scope.spawn(|| send(&one, 1_000));
            scope.spawn(|| send(&other, 2_001));
            scope.spawn(|| receive(&one, 2_001, first));
            scope.spawn(|| receive(&other, 1_000, second));
        });
    });
}

#[test]
fn a_million_ping_pongs_with_wait_readable() {
    let rounds = if cfg!(debug_assertions) { 20_000 } else { 1_000_000 };
    on_workers(BOTH, move || {
        let (one, other) = tcp_pair();
        let play = move |stream: TcpStream, serves: bool| {
            let mut byte = [0];
            if serves {
                (&stream).write_all(&byte).unwrap();
            }
            for _ in 0..rounds {
                stream.wait_readable().unwrap();
                assert_eq!((&stream).read(&mut byte).unwrap(), 1);
                byte[0] = byte[0].wrapping_add(1);
                if (&stream).write_all(&byte).is_err() {
                    return byte[0];
                }
            }
            byte[0]
        };
        let player = fibra::spawn(move || play(one, true));
        let last = play(other, false);
        let other_last = player.join().unwrap();
        assert_eq!((last.wrapping_add(1), other_last), (other_last, (2 * rounds) as u8));
    });
}
