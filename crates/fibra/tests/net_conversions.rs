//! Conversions to and from std's sockets: what belongs to the socket goes with it.

mod network;

use fibra::net::{TcpListener, TcpStream, UdpSocket, UnixDatagram, UnixListener, UnixStream};
use network::{duplicate, let_others_wait, on_workers, tcp_pair};
use rustix::fs::OFlags;
use std::io::{ErrorKind, Read, Write};
use std::net;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

const BOTH: &[usize] = &[1, 2];

fn is_nonblocking(socket: &impl AsFd) -> bool {
    rustix::fs::fcntl_getfl(socket.as_fd()).unwrap().contains(OFlags::NONBLOCK)
}

/// Has the socket registered with a driver.
fn register(stream: &TcpStream) {
    let before = stream.read_timeout().unwrap();
    stream.set_read_timeout(Some(Duration::from_micros(100))).unwrap();
    assert_eq!({ stream }.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_read_timeout(before).unwrap();
}

#[test]
fn streams_and_packet_sockets_stay_in_blocking_mode() {
    on_workers(BOTH, || {
        let (one, other) = tcp_pair();
        register(&one);
        assert!(!is_nonblocking(&one) && !is_nonblocking(&other));
        let (one, other) = UnixStream::pair().unwrap();
        assert!(!is_nonblocking(&one) && !is_nonblocking(&other));
        assert!(!is_nonblocking(&UdpSocket::bind("127.0.0.1:0").unwrap()));
        assert!(!is_nonblocking(&UnixDatagram::unbound().unwrap()));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream =
            TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::from_secs(10)).unwrap();
        assert!(!is_nonblocking(&stream));
        stream.set_nonblocking(true).unwrap();
        assert!(!is_nonblocking(&stream), "that is between the socket and its user");
    });
}

#[test]
fn standard_streams_are_not_touched() {
    let flags =
        || [0, 1, 2].map(|number| std::fs::read_to_string(format!("/proc/self/fdinfo/{number}")).ok());
    let flags = move || flags().map(|text| text.and_then(|text| text.lines().nth(1).map(str::to_owned)));
    let before = flags();
    on_workers(BOTH, || {
        let (one, mut other) = tcp_pair();
        let reading = fibra::spawn(move || (&one).read(&mut [0; 8]).unwrap());
        other.write_all(b"x").unwrap();
        reading.join().unwrap();
    });
    assert_eq!(flags(), before);
}

#[test]
fn registered_stream_blocks_in_the_hands_of_std() {
    on_workers(BOTH, || {
        let (one, mut other) = tcp_pair();
        register(&one);
        let mut one = net::TcpStream::from(one);
        assert!(!is_nonblocking(&one));
        let (waits, waiting) = mpsc::channel();
        let reading = thread::spawn(move || {
            let mut text = [0; 5];
            waits.send(()).unwrap();
            one.read_exact(&mut text).unwrap();
            (text, one)
        });
        waiting.recv().unwrap();
        fibra::sleep(Duration::from_millis(2));
        other.write_all(b"hello").unwrap();
        let (text, one) = reading.join().unwrap();
        assert_eq!(&text, b"hello");
        // And back.
        let mut one = TcpStream::from(one);
        register(&one);
        let writing = fibra::spawn(move || other.write_all(b"again").unwrap());
        let mut text = [0; 5];
        one.read_exact(&mut text).unwrap();
        assert_eq!(&text, b"again");
        writing.join().unwrap();
    });
}

#[test]
fn mode_goes_with_the_socket_both_ways() {
    on_workers(&[1], || {
        let (one, _other) = tcp_pair();
        one.set_nonblocking(true).unwrap();
        let mut one = net::TcpStream::from(one);
        assert!(is_nonblocking(&one));
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        let mut one = TcpStream::from(one);
        assert_eq!(one.read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        one.set_nonblocking(false).unwrap();
        assert!(!is_nonblocking(&net::TcpStream::from(one)));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(is_nonblocking(&net::TcpListener::from(listener)));
    });
}

#[test]
fn timeouts_go_with_the_socket_both_ways() {
    on_workers(&[1], || {
        let (one, _other) = tcp_pair();
        let (read, write) = (Duration::from_millis(1500), Duration::from_secs(7));
        one.set_read_timeout(Some(read)).unwrap();
        one.set_write_timeout(Some(write)).unwrap();
        let one = net::TcpStream::from(one);
        // The kernel rounds to its ticks, upwards.
        let in_std = one.read_timeout().unwrap().unwrap();
        assert!(in_std >= read && in_std < read + Duration::from_millis(20), "{in_std:?}");
        assert!(one.write_timeout().unwrap().unwrap() >= write);
        let one = TcpStream::from(one);
        assert_eq!(one.read_timeout().unwrap(), Some(in_std));
        one.set_read_timeout(None).unwrap();
        let one = net::TcpStream::from(one);
        assert_eq!(one.read_timeout().unwrap(), None, "a timeout that was taken away does not come back");
        assert!(one.write_timeout().unwrap().is_some());
    });
}

#[test]
fn listener_blocks_again_in_the_hands_of_std() {
    on_workers(BOTH, || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        TcpStream::connect(address).unwrap();
        listener.accept().unwrap();
        let listener = net::TcpListener::from(listener);
        assert!(!is_nonblocking(&listener));
        let accepting = thread::spawn(move || listener.accept().map(drop));
        TcpStream::connect(address).unwrap();
        accepting.join().unwrap().unwrap();
        let listener = net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listener = net::TcpListener::from(TcpListener::from(listener));
        assert!(!is_nonblocking(&listener));
    });
}

/// The mode belongs to the open file, so that a clone's accept would otherwise block its worker.
#[test]
fn clone_of_a_listener_that_left_does_not_block_its_worker() {
    on_workers(&[1], || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let left = net::TcpListener::from(listener.try_clone().unwrap());
        let accepting = fibra::spawn_local(move || listener.accept().map(drop));
        let_others_wait();
        assert!(!accepting.is_finished());
        TcpStream::connect(address).unwrap();
        accepting.join().unwrap().unwrap();
        drop(left);
    });
}

/// The mode of its descriptor is the library's doing, not its user's.
#[test]
fn duplicate_of_a_listener_waits() {
    on_workers(&[1], || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let copy = TcpListener::from(duplicate(&listener));
        let accepting = fibra::spawn_local(move || copy.accept().map(|_| copy));
        let_others_wait();
        assert!(!accepting.is_finished());
        TcpStream::connect(address).unwrap();
        let copy = accepting.join().unwrap().unwrap();
        // It leaves: the first one's accepts still must not block the worker.
        let copy = net::TcpListener::from(copy);
        assert!(is_nonblocking(&copy));
        let listener = Arc::new(listener);
        let accepting = {
            let listener = Arc::clone(&listener);
            fibra::spawn_local(move || listener.accept().map(drop))
        };
        let_others_wait();
        assert!(!accepting.is_finished());
        TcpStream::connect(address).unwrap();
        accepting.join().unwrap().unwrap();
        // Nobody is left here when the first one leaves too.
        drop(net::TcpListener::from(Arc::into_inner(listener).unwrap()));
        assert!(!is_nonblocking(&copy));
        // And from a duplicate whose first is gone.
        let listener = TcpListener::from(copy);
        let copy = duplicate(&listener);
        drop(listener);
        assert!(is_nonblocking(&copy));
        let copy = net::TcpListener::from(TcpListener::from(copy));
        assert!(!is_nonblocking(&copy));
    });
}

#[test]
fn listener_that_std_did_not_let_wait_waits_here() {
    on_workers(BOTH, || {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listener = unix::net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        let listener = UnixListener::from(listener);
        let accepting = fibra::spawn(move || listener.accept().map(drop));
        let_others_wait();
        UnixStream::connect(&path).unwrap();
        accepting.join().unwrap().unwrap();
    });
}

/// Handles of one open file come and go on several threads, and the last one to leave leaves it as std expects it.
#[test]
fn last_listener_to_leave_puts_the_mode_back() {
    on_workers(&[2], || {
        for _ in 0..200 {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let outside = duplicate(&listener);
            let leaving = [listener.try_clone().unwrap(), TcpListener::from(duplicate(&listener)), listener]
                .map(|listener| fibra::spawn(move || net::TcpListener::from(listener)));
            leaving.into_iter().for_each(|leaving| drop(leaving.join().unwrap()));
            assert!(!is_nonblocking(&outside));
        }
    });
}

#[test]
fn clone_works_on_after_the_other_has_left() {
    on_workers(BOTH, || {
        for clone_is_registered in [false, true] {
            let (one, mut other) = tcp_pair();
            let clone = one.try_clone().unwrap();
            register(if clone_is_registered { &clone } else { &one });
            let left = net::TcpStream::from(one);
            let reading = fibra::spawn(move || {
                let mut text = [0; 4];
                (&clone).read_exact(&mut text).map(|()| (clone, text))
            });
            let_others_wait();
            other.write_all(b"text").unwrap();
            let (clone, text) = reading.join().unwrap().unwrap();
            assert_eq!(&text, b"text");
            // It comes back, as a stranger.
            let back = TcpStream::from(left);
            register(&back);
            register(&clone);
            let readings = [back, clone].map(|mut stream| {
                fibra::spawn(move || {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                })
            });
            let_others_wait();
            other.write_all(b"xy").unwrap();
            readings.into_iter().for_each(|reading| reading.join().unwrap());
        }
    });
}

#[test]
fn handle_can_leave_while_its_clone_waits() {
    on_workers(BOTH, || {
        for _ in 0..20 {
            let (one, mut other) = tcp_pair();
            let mut clone = one.try_clone().unwrap();
            let reading = fibra::spawn(move || {
                let mut byte = [0];
                clone.read_exact(&mut byte).map(|()| byte)
            });
            fibra::yield_now();
            let left = OwnedFd::from(one);
            other.write_all(b"x").unwrap();
            assert_eq!(reading.join().unwrap().unwrap(), *b"x");
            drop(left);
        }
    });
}

#[test]
fn descriptors_go_in_and_out() {
    on_workers(&[1], || {
        let (one, mut other) = tcp_pair();
        let number = one.as_raw_fd();
        let fd = OwnedFd::from(one);
        assert_eq!(fd.as_raw_fd(), number);
        let one = TcpStream::from(fd);
        assert_eq!(one.as_fd().as_raw_fd(), number);
        let mut one = TcpStream::from(OwnedFd::from(one));
        other.write_all(b"x").unwrap();
        one.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn every_kind_of_socket_comes_of_a_number() {
    fn from_number<S: FromRawFd>(socket: impl IntoRawFd) -> S {
        // SAFETY: the number is of the descriptor that has just been given up.
        unsafe { S::from_raw_fd(socket.into_raw_fd()) }
    }
    on_workers(&[1], || {
        let (one, mut other) = tcp_pair();
        let mut one: TcpStream = from_number(one);
        other.write_all(b"x").unwrap();
        one.read_exact(&mut [0]).unwrap();
        let listener: TcpListener = from_number(TcpListener::bind("127.0.0.1:0").unwrap());
        TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
        let udp: UdpSocket = from_number(UdpSocket::bind("127.0.0.1:0").unwrap());
        udp.send_to(b"x", udp.local_addr().unwrap()).unwrap();
        assert_eq!(udp.recv(&mut [0; 8]).unwrap(), 1);
        let (one, other) = UnixStream::pair().unwrap();
        (&from_number::<UnixStream>(one)).write_all(b"x").unwrap();
        (&other).read_exact(&mut [0]).unwrap();
        let (one, other) = UnixDatagram::pair().unwrap();
        from_number::<UnixDatagram>(one).send(b"x").unwrap();
        assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("socket");
        let listener: UnixListener = from_number(UnixListener::bind(&path).unwrap());
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        // And files.
        let mut file: fibra::fs::File = from_number(std::fs::File::open("/dev/zero").unwrap());
        file.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn every_kind_of_socket_goes_to_std_and_back() {
    on_workers(&[1], || {
        let udp = UdpSocket::from(net::UdpSocket::from(UdpSocket::bind("127.0.0.1:0").unwrap()));
        udp.send_to(b"x", udp.local_addr().unwrap()).unwrap();
        assert_eq!(udp.recv(&mut [0; 8]).unwrap(), 1);
        let (one, other) = UnixStream::pair().unwrap();
        let one = UnixStream::from(unix::net::UnixStream::from(one));
        (&one).write_all(b"x").unwrap();
        (&other).read_exact(&mut [0]).unwrap();
        let (one, other) = UnixDatagram::pair().unwrap();
        let one = UnixDatagram::from(unix::net::UnixDatagram::from(one));
        one.send(b"x").unwrap();
        assert_eq!(other.recv(&mut [0; 8]).unwrap(), 1);
        let path = std::env::temp_dir().join(format!("fibra-conversion-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = unix::net::UnixListener::from(UnixListener::bind(&path).unwrap());
        assert!(!is_nonblocking(&listener));
        let listener = UnixListener::from(listener);
        assert!(is_nonblocking(&listener));
        UnixStream::connect(&path).unwrap();
        listener.accept().unwrap();
        std::fs::remove_file(&path).unwrap();
    });
}

/// An open file that is no socket says so at its first use.
#[test]
fn descriptor_of_something_else_fails_when_it_is_used() {
    on_workers(&[1], || {
        let file = std::fs::File::open("/dev/null").unwrap();
        let mut stream = TcpStream::from(OwnedFd::from(file));
        assert!(stream.read(&mut [0; 8]).is_err());
        assert!(stream.peer_addr().is_err());
    });
}
