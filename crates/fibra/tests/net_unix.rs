//! Unix sockets do what std's do.

mod network;

use fibra::net::{Shutdown, UnixDatagram, UnixListener, UnixStream};
use network::{let_others_wait, on_workers, within};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const BOTH: &[usize] = &[1, 2];

/// A path that is removed at the end.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fibra-unix-{}-{number}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        Place(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn abstract_address() -> SocketAddr {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("fibra-test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    SocketAddr::from_abstract_name(name).unwrap()
}

#[test]
fn stream_over_a_path() {
    on_workers(BOTH, || {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        assert_eq!(listener.local_addr().unwrap().as_pathname(), Some(&*place.0));
        assert_eq!(UnixListener::bind(&place.0).unwrap_err().kind(), ErrorKind::AddrInUse);
        let server = fibra::spawn(move || {
            for stream in listener.incoming().take(3) {
                let mut stream = stream.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).unwrap();
                stream.write_all(text.to_uppercase().as_bytes()).unwrap();
            }
        });
        for _ in 0..3 {
            let mut stream = UnixStream::connect(&place.0).unwrap();
            assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*place.0));
            assert!(stream.local_addr().unwrap().is_unnamed());
            stream.write_all(b"quietly").unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            assert_eq!(text, "QUIETLY");
        }
        server.join().unwrap();
        assert_eq!(UnixStream::connect(&place.0).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert_eq!(UnixStream::connect("/nowhere/at/all").unwrap_err().kind(), ErrorKind::NotFound);
    });
}

#[test]
fn stream_over_an_abstract_name() {
    on_workers(BOTH, || {
        let address = abstract_address();
        let listener = UnixListener::bind_addr(&address).unwrap();
        let accepting = fibra::spawn(move || listener.accept().unwrap());
        let mut stream = UnixStream::connect_addr(&address).unwrap();
        let (mut accepted, peer) = accepting.join().unwrap();
        assert!(peer.is_unnamed(), "{peer:?}");
        assert_eq!(stream.peer_addr().unwrap().as_abstract_name(), address.as_abstract_name());
        stream.write_all(b"x").unwrap();
        accepted.read_exact(&mut [0]).unwrap();
    });
}

#[test]
fn connect_waits_until_the_backlog_has_room_and_the_worker_goes_on() {
    on_workers(&[1], || {
        let place = Place::new();
        let listener = listener_without_a_backlog(&place);
        let path = place.0.clone();
        let connecting: Vec<_> = (0..4)
            .map(|_| {
                let path = path.clone();
                fibra::spawn(move || UnixStream::connect(path).map(drop))
            })
            .collect();
        for _ in 0..4 {
            let_others_wait();
            listener.accept().unwrap();
        }
        connecting.into_iter().for_each(|connecting| connecting.join().unwrap().unwrap());
    });
}

/// A listener for whose connections only one place is kept.
fn listener_without_a_backlog(place: &Place) -> UnixListener {
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, bind, listen, socket};
    let fd: OwnedFd = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
    bind(&fd, &SocketAddrUnix::new(&place.0).unwrap()).unwrap();
    listen(&fd, 0).unwrap();
    UnixListener::from(fd)
}

/// More connects than the blocking pool has threads; and who accepts needs the pool too.
#[test]
fn connects_that_wait_leave_the_blocking_pool_to_others() {
    fibra::blocking::set_max_threads(2);
    on_workers(BOTH, || {
        let place = Place::new();
        let listener = listener_without_a_backlog(&place);
        let connecting: Vec<_> = (0..600)
            .map(|_| {
                let path = place.0.clone();
                fibra::spawn(move || UnixStream::connect(path).map(drop))
            })
            .collect();
        let_others_wait();
        for _ in 0..600 {
            listener.accept().unwrap();
            fibra::spawn_blocking(|| ()).join().unwrap();
        }
        connecting.into_iter().for_each(|connecting| connecting.join().unwrap().unwrap());
    });
    fibra::blocking::set_max_threads(512);
}

#[test]
fn request_to_stop_ends_a_connect_that_waits() {
    on_workers(BOTH, || {
        let place = Place::new();
        let listener = listener_without_a_backlog(&place);
        let first = UnixStream::connect(&place.0).unwrap();
        let stop = fibra::Stop::new();
        let connecting = {
            let (stop, path) = (stop.clone(), place.0.clone());
            fibra::spawn(move || stop.enroll().interruptible(|| UnixStream::connect(path)).is_err())
        };
        fibra::sleep(Duration::from_millis(5));
        assert!(!connecting.is_finished());
        stop.trigger();
        assert!(connecting.join().unwrap());
        listener.accept().unwrap();
        drop(first);
        listener.set_nonblocking(true).unwrap();
        assert_eq!(
            listener.accept().unwrap_err().kind(),
            ErrorKind::WouldBlock,
            "there is no second connection"
        );
    });
}

#[test]
fn end_of_the_runtime_ends_a_connect_that_waits() {
    on_workers(BOTH, || {
        let place = Place::new();
        let _listener = listener_without_a_backlog(&place);
        let _first = UnixStream::connect(&place.0).unwrap();
        let path = place.0.clone();
        let waiting = thread::spawn(move || {
            fibra::run(|| {
                fibra::Builder::new().daemon(true).spawn(|| UnixStream::connect(path)).unwrap();
                fibra::sleep(Duration::from_millis(5));
            });
        });
        fibra::spawn_blocking(move || waiting.join().unwrap()).join().unwrap();
    });
}

#[test]
fn connect_of_an_os_thread_waits_in_the_kernel() {
    within(Duration::from_secs(30), || {
        let place = Place::new();
        let listener = listener_without_a_backlog(&place);
        let connecting: Vec<_> = (0..3)
            .map(|_| {
                let path = place.0.clone();
                thread::spawn(move || UnixStream::connect(path).map(drop))
            })
            .collect();
        for _ in 0..3 {
            listener.accept().unwrap();
        }
        connecting.into_iter().for_each(|connecting| connecting.join().unwrap().unwrap());
    });
}

#[test]
fn connected_stream_is_in_blocking_mode() {
    on_workers(BOTH, || {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        let stream = UnixStream::connect(&place.0).unwrap();
        for fd in [stream.as_fd(), listener.accept().unwrap().0.as_fd()] {
            assert!(!rustix::fs::fcntl_getfl(fd).unwrap().contains(rustix::fs::OFlags::NONBLOCK));
        }
    });
}

#[test]
fn reference_to_a_listener_iterates_over_connections() {
    on_workers(BOTH, || {
        let place = Place::new();
        let listener = UnixListener::bind(&place.0).unwrap();
        let path = place.0.clone();
        let connecting = fibra::spawn(move || (0..2).for_each(|_| drop(UnixStream::connect(&path).unwrap())));
        let mut count = 0;
        for stream in &listener {
            stream.unwrap();
            count += 1;
            if count == 2 {
                break;
            }
        }
        connecting.join().unwrap();
    });
}

#[test]
fn pair_talks_in_both_directions() {
    on_workers(BOTH, || {
        let (one, other) = UnixStream::pair().unwrap();
        let echo = fibra::spawn(move || std::io::copy(&mut &other, &mut &other).unwrap());
        let block = vec![5; 1 << 20];
        let writing = {
            let (one, block) = (one.try_clone().unwrap(), block.clone());
            fibra::spawn(move || {
                (&one).write_all(&block).unwrap();
                one.shutdown(Shutdown::Write).unwrap();
            })
        };
        let mut received = Vec::new();
        (&one).read_to_end(&mut received).unwrap();
        assert_eq!(received, block);
        writing.join().unwrap();
        assert_eq!(echo.join().unwrap(), 1 << 20);
    });
}

/// A read stops behind bytes that carried descriptors, which here are dropped; what is behind must not wait for more to come.
#[test]
fn bytes_behind_passed_descriptors_are_read() {
    on_workers(BOTH, || {
        let (one, mut other) = UnixStream::pair().unwrap();
        let reading = fibra::spawn(move || {
            let mut text = Vec::new();
            while text.len() < 40 {
                let mut buffer = [0; 64];
                let count = (&one).read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..count]);
            }
            text
        });
        for _ in 0..4 {
            let_others_wait();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            let passed = [other.as_fd()];
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
            rustix::net::sendmsg(&other, &[IoSlice::new(b"with")], &mut ancillary, SendFlags::empty())
                .unwrap();
            other.write_all(b"behind").unwrap();
        }
        assert_eq!(reading.join().unwrap(), b"withbehind".repeat(4));
    });
}

#[test]
fn packets_over_paths_abstract_names_and_pairs() {
    on_workers(BOTH, || {
        let place = Place::new();
        let named = UnixDatagram::bind(&place.0).unwrap();
        let address = abstract_address();
        let hidden = UnixDatagram::bind_addr(&address).unwrap();
        let unnamed = UnixDatagram::unbound().unwrap();
        let receiving = fibra::spawn(move || {
            let mut buffer = [0; 16];
            let (length, from) = named.recv_from(&mut buffer).unwrap();
            assert_eq!(
                (&buffer[..length], from.as_abstract_name()),
                (&b"one"[..], address.as_abstract_name())
            );
            named.send_to_addr(b"back", &address).unwrap();
            let (length, from) = named.recv_from(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"two");
            assert!(from.is_unnamed());
        });
        hidden.send_to(b"one", &place.0).unwrap();
        let (length, from) = hidden.recv_from(&mut [0; 16]).unwrap();
        assert_eq!((length, from.as_pathname()), (4, Some(&*place.0)));
        unnamed.connect(&place.0).unwrap();
        assert_eq!(unnamed.peer_addr().unwrap().as_pathname(), Some(&*place.0));
        unnamed.send(b"two").unwrap();
        receiving.join().unwrap();
        assert_eq!(unnamed.send(b"three").unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let (one, other) = UnixDatagram::pair().unwrap();
        one.send(b"pair").unwrap();
        assert_eq!(other.recv(&mut [0; 2]).unwrap(), 2, "the rest is lost");
        assert!(other.local_addr().unwrap().is_unnamed());
    });
}

/// Sends more than a receiver's queue holds.
fn send_many(sender: &UnixDatagram, path: &std::path::Path, connected: bool) {
    for number in 0..200_u32 {
        let packet = number.to_ne_bytes();
        let count = if connected { sender.send(&packet) } else { sender.send_to(&packet, path) };
        assert_eq!(count.unwrap(), 4);
    }
}

fn receive_many(receiver: &UnixDatagram) {
    for number in 0..200_u32 {
        let mut packet = [0; 4];
        receiver.recv(&mut packet).unwrap();
        assert_eq!(u32::from_ne_bytes(packet), number);
    }
}

#[test]
fn send_waits_until_the_receivers_queue_has_room() {
    on_workers(BOTH, || {
        for (connected, on_thread) in [(false, false), (true, false), (false, true), (true, true)] {
            let place = Place::new();
            let receiver = UnixDatagram::bind(&place.0).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            if connected {
                sender.connect(&place.0).unwrap();
            }
            let path = place.0.clone();
            let sending = move || send_many(&sender, &path, connected);
            if on_thread {
                let sending = thread::spawn(sending);
                receive_many(&receiver);
                fibra::spawn_blocking(move || sending.join().unwrap()).join().unwrap();
            } else {
                let sending = fibra::spawn(sending);
                let_others_wait();
                receive_many(&receiver);
                sending.join().unwrap();
            }
        }
    });
}

#[test]
fn many_senders_get_their_turn_at_a_full_queue() {
    on_workers(&[1, 2, 8], || {
        let place = Place::new();
        let receiver = UnixDatagram::bind(&place.0).unwrap();
        let senders: Vec<_> = (0..8)
            .map(|_| {
                let path = place.0.clone();
                fibra::spawn(move || send_many(&UnixDatagram::unbound().unwrap(), &path, false))
            })
            .collect();
        for _ in 0..8 * 200 {
            assert_eq!(receiver.recv(&mut [0; 8]).unwrap(), 4);
        }
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
}

#[test]
fn send_to_a_full_queue_times_out() {
    on_workers(BOTH, || {
        let place = Place::new();
        let receiver = UnixDatagram::bind(&place.0).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        let timeout = Duration::from_millis(5);
        sender.set_write_timeout(Some(timeout)).unwrap();
        let mut sent = 0;
        let waited = loop {
            let began = Instant::now();
            match sender.send_to(b"x", &place.0) {
                Ok(_) => sent += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                    break began.elapsed();
                }
            }
        };
        assert!(waited >= timeout);
        sender.set_nonblocking(true).unwrap();
        assert_eq!(sender.send_to(b"x", &place.0).unwrap_err().kind(), ErrorKind::WouldBlock);
        receiver.set_nonblocking(true).unwrap();
        assert_eq!(std::iter::from_fn(|| receiver.recv(&mut [0; 8]).ok()).count(), sent);
    });
}

/// Fills the receiver's queue.
fn fill(receiver: &std::path::Path) {
    let filler = UnixDatagram::unbound().unwrap();
    filler.set_nonblocking(true).unwrap();
    while filler.send_to(b"x", receiver).is_ok() {}
}

/// The one that the socket is connected to takes nothing; the receiver does.
#[test]
fn connected_socket_sends_to_another_as_soon_as_that_has_room() {
    on_workers(BOTH, || {
        for on_thread in [false, true] {
            let (stubborn, busy) = (Place::new(), Place::new());
            let _stubborn = UnixDatagram::bind(&stubborn.0).unwrap();
            let receiver = UnixDatagram::bind(&busy.0).unwrap();
            let sender = UnixDatagram::unbound().unwrap();
            sender.connect(&stubborn.0).unwrap();
            fill(&stubborn.0);
            fill(&busy.0);
            let path = busy.0.clone();
            let send = move || sender.send_to(b"last", path).unwrap();
            let receive = || while receiver.recv(&mut [0; 8]).unwrap() != 4 {};
            if on_thread {
                let sending = thread::spawn(send);
                fibra::sleep(Duration::from_millis(5));
                receive();
                fibra::spawn_blocking(move || sending.join().unwrap()).join().unwrap();
            } else {
                let sending = fibra::spawn(send);
                let_others_wait();
                receive();
                sending.join().unwrap();
            }
        }
    });
}

/// Its own buffer is full, of packets that the one that it is connected to does not take; the receiver has room.
#[test]
fn connected_socket_with_a_full_buffer_waits_for_its_time() {
    on_workers(BOTH, || {
        let (stubborn, free) = (Place::new(), Place::new());
        let full = UnixDatagram::bind(&stubborn.0).unwrap();
        let receiver = UnixDatagram::bind(&free.0).unwrap();
        let sender = UnixDatagram::unbound().unwrap();
        rustix::net::sockopt::set_socket_send_buffer_size(&sender, 4096).unwrap();
        sender.connect(&stubborn.0).unwrap();
        sender.set_nonblocking(true).unwrap();
        while sender.send(&[0; 1024]).is_ok() {}
        sender.set_nonblocking(false).unwrap();
        let timeout = Duration::from_millis(20);
        sender.set_write_timeout(Some(timeout)).unwrap();
        let began = Instant::now();
        assert_eq!(sender.send_to(&[0; 1024], &free.0).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(began.elapsed() >= timeout);
        sender.set_write_timeout(None).unwrap();
        let sending = fibra::spawn(move || sender.send_to(&[0; 1024], &free.0).unwrap());
        let_others_wait();
        full.set_nonblocking(true).unwrap();
        while full.recv(&mut [0; 1024]).is_ok() {}
        assert_eq!(receiver.recv(&mut [0; 1024]).unwrap(), 1024);
        sending.join().unwrap();
    });
}

#[test]
fn close_ends_a_send_that_waits_for_the_receiver() {
    on_workers(BOTH, || {
        for connected in [false, true] {
            let place = Place::new();
            let _receiver = UnixDatagram::bind(&place.0).unwrap();
            fill(&place.0);
            let sender = Arc::new(UnixDatagram::unbound().unwrap());
            if connected {
                sender.connect(&place.0).unwrap();
            }
            let sending = {
                let (sender, path) = (Arc::clone(&sender), place.0.clone());
                fibra::spawn(move || sender.send_to(b"x", path))
            };
            fibra::sleep(Duration::from_millis(2));
            sender.close();
            assert_eq!(sending.join().unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
        }
    });
}

#[test]
fn shutdown_ends_a_wait_for_packets() {
    on_workers(BOTH, || {
        for how in [Shutdown::Read, Shutdown::Both] {
            let (one, other) = UnixDatagram::pair().unwrap();
            let one = Arc::new(one);
            let waiting: Vec<_> = (0..3)
                .map(|_| {
                    let one = Arc::clone(&one);
                    fibra::spawn(move || one.recv(&mut [0; 8]).unwrap())
                })
                .collect();
            let on_thread = {
                let one = Arc::clone(&one);
                thread::spawn(move || one.recv_from(&mut [0; 8]).unwrap().0)
            };
            let_others_wait();
            one.shutdown(how).unwrap();
            waiting.into_iter().for_each(|waiting| assert_eq!(waiting.join().unwrap(), 0));
            assert_eq!(fibra::spawn_blocking(move || on_thread.join().unwrap()).join().unwrap(), 0);
            assert_eq!(one.recv(&mut [0; 8]).unwrap(), 0, "it stays so");
            drop(other);
        }
    });
}

/// What was there before the shutdown is received first.
#[test]
fn packets_before_a_shutdown_are_received() {
    within(Duration::from_secs(30), || {
        fibra::run(|| {
            let (one, other) = UnixDatagram::pair().unwrap();
            other.send(b"first").unwrap();
            one.shutdown(Shutdown::Read).unwrap();
            assert_eq!(one.recv(&mut [0; 8]).unwrap(), 5);
            assert_eq!(one.recv(&mut [0; 8]).unwrap(), 0);
        });
    });
}
