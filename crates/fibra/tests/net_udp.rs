//! UDP sockets do what std's do.

mod network;

use fibra::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use network::{Random, let_others_wait, on_workers, storm_end};
use std::io::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BOTH: &[usize] = &[1, 2];

fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn connected_pair() -> (UdpSocket, UdpSocket) {
    let (one, other) = (socket(), socket());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

#[test]
fn packets_tell_where_they_come_from() {
    on_workers(BOTH, || {
        let (one, other) = (socket(), socket());
        let address = other.local_addr().unwrap();
        let receiving = fibra::spawn(move || {
            let mut buffer = [0; 16];
            let peeked = other.peek_from(&mut buffer).unwrap();
            assert_eq!(other.recv_from(&mut buffer).unwrap(), peeked);
            assert_eq!(&buffer[..peeked.0], b"hello");
            peeked.1
        });
        assert_eq!(one.send_to(b"hello", address).unwrap(), 5);
        assert_eq!(receiving.join().unwrap(), one.local_addr().unwrap());
        let none: &[fibra::net::SocketAddr] = &[];
        assert_eq!(one.send_to(b"x", none).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn connected_socket_hears_its_peer_alone() {
    on_workers(BOTH, || {
        let (one, other) = connected_pair();
        assert_eq!(one.peer_addr().unwrap(), other.local_addr().unwrap());
        socket().send_to(b"stranger", one.local_addr().unwrap()).unwrap();
        other.send(b"friend").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(one.peek(&mut buffer).unwrap(), 6);
        assert_eq!(one.recv(&mut buffer).unwrap(), 6);
        assert_eq!(&buffer[..6], b"friend");
    });
}

#[test]
fn empty_packets_are_packets() {
    on_workers(BOTH, || {
        let (one, other) = connected_pair();
        let receiving = fibra::spawn(move || {
            let mut buffer = [0; 4];
            (other.recv(&mut buffer).unwrap(), other.recv(&mut []).unwrap(), other.recv(&mut buffer).unwrap())
        });
        one.send(b"").unwrap();
        one.send(b"cut off altogether").unwrap();
        one.send(b"cut off").unwrap();
        assert_eq!(receiving.join().unwrap(), (0, 0, 4));
    });
}

#[test]
fn refusal_is_reported_to_who_waits_and_is_not_the_end() {
    on_workers(BOTH, || {
        for _ in 0..20 {
            let (one, other) = connected_pair();
            let address = other.local_addr().unwrap();
            let second = one.try_clone().unwrap();
            let receiving = fibra::spawn(move || {
                let error = one.recv(&mut [0; 8]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                one
            });
            drop(other);
            // Refused because nobody has the port any more. A send meets the refusal of the one before it, if nobody else has: so the
            // receiver is given time.
            while !receiving.is_finished() {
                let _ = second.send(b"anybody?");
                fibra::sleep(Duration::from_micros(200));
            }
            let one = receiving.join().unwrap();
            let _ = one.take_error();
            let again = UdpSocket::bind(address).unwrap();
            again.connect(one.local_addr().unwrap()).unwrap();
            let waiting = fibra::spawn(move || one.recv(&mut [0; 8]));
            let_others_wait();
            again.send(b"here").unwrap();
            assert_eq!(waiting.join().unwrap().unwrap(), 4);
        }
    });
}

#[test]
fn options_are_set_and_read() {
    on_workers(&[1], || {
        let one = socket();
        one.set_broadcast(true).unwrap();
        assert!(one.broadcast().unwrap());
        one.set_ttl(17).unwrap();
        assert_eq!(one.ttl().unwrap(), 17);
        one.set_multicast_loop_v4(false).unwrap();
        assert!(!one.multicast_loop_v4().unwrap());
        one.set_multicast_ttl_v4(3).unwrap();
        assert_eq!(one.multicast_ttl_v4().unwrap(), 3);
        let group = Ipv4Addr::new(239, 1, 2, 3);
        one.join_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        one.leave_multicast_v4(&group, &Ipv4Addr::LOCALHOST).unwrap();
        assert!(one.take_error().unwrap().is_none());
        assert_eq!(one.peer_addr().unwrap_err().kind(), ErrorKind::NotConnected);
        one.set_nonblocking(true).unwrap();
        assert_eq!(one.recv_from(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        match UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
            Ok(six) => {
                six.set_multicast_loop_v6(false).unwrap();
                assert!(!six.multicast_loop_v6().unwrap());
            }
            Err(error) => println!("no IPv6 here: {error}"),
        }
    });
}

#[test]
fn each_packet_goes_to_one_of_many_receivers() {
    on_workers(&[1, 2, 8], || {
        let (random, until) = (Random::seeded(), storm_end());
        let (one, other) = connected_pair();
        let (sum, received) = (AtomicU64::new(0), AtomicU64::new(0));
        let (mut total, mut sent) = (0_u64, 0);
        fibra::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut buffer = [0; 8];
                    while one.recv(&mut buffer).unwrap() == 8 {
                        sum.fetch_add(u64::from_ne_bytes(buffer), Ordering::AcqRel);
                        received.fetch_add(1, Ordering::AcqRel);
                    }
                });
            }
            while Instant::now() < until {
                for _ in 0..random.below(5) {
                    let number = random.below(1 << 40);
                    other.send(&number.to_ne_bytes()).unwrap();
                    total += number;
                    sent += 1;
                }
                // Never more on their way than the kernel keeps: packets that it drops would not be ours to find.
                while sent - received.load(Ordering::Acquire) > 64 {
                    fibra::yield_now();
                }
                fibra::sleep(random.micros(50));
            }
            for _ in 0..4 {
                other.send(b"end").unwrap();
            }
        });
        assert_eq!((received.into_inner(), sum.into_inner()), (sent, total));
    });
}

#[test]
fn wait_for_packets_times_out() {
    on_workers(BOTH, || {
        let one = socket();
        let timeout = Duration::from_millis(3);
        one.set_read_timeout(Some(timeout)).unwrap();
        let began = Instant::now();
        assert_eq!(one.recv_from(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert_eq!(one.wait_readable().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() >= 2 * timeout);
        one.wait_writable().unwrap();
    });
}
