//! The epoll driver by itself: each test is its own scheduler, with numbers for tokens.

mod tokens;

use fibra_driver::{
    Cancel, Completion, Direction, Driver, Flight, Operation, RingSettings, Source, Start, Token, op,
};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};
use std::io::{ErrorKind, IoSlice, IoSliceMut, Write};
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::thread;
use std::time::{Duration, Instant};
use tokens::wait;

/// How long a test waits for what has to come.
const SOON: Duration = Duration::from_secs(10);

/// How long a test waits to see that nothing comes.
const NOTHING: Duration = Duration::from_millis(20);

fn driver() -> Driver {
    Driver::epoll(RingSettings::default()).unwrap()
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    (one, other)
}

/// The tokens of as many waits as it takes to get `count`.
fn collect(driver: &mut Driver, count: usize) -> Vec<usize> {
    tokens::collect(driver, count, SOON, SOON)
}

fn start<O: Operation>(
    driver: &mut Driver,
    source: &Source,
    fd: &impl AsFd,
    mut op: O,
    token: usize,
) -> Start<O::Output> {
    // SAFETY: this driver keeps neither the operation nor the flight: it queues the token.
    unsafe { driver.start(source, fd.as_fd(), &mut op, &flight(token)) }
}

fn flight(token: usize) -> Flight {
    Flight::new(Token(token))
}

/// Starts a receive that has to wait.
fn wait_to_receive(driver: &mut Driver, source: &Source, fd: &impl AsFd, token: usize) {
    let started = start(driver, source, fd, op::Receive::stream(&mut [0; 64]), token);
    assert!(matches!(started, Start::Pending), "{started:?}");
}

/// Runs an operation to its end.
fn complete<O: Operation>(
    driver: &mut Driver,
    source: &Source,
    fd: &impl AsFd,
    mut op: O,
) -> std::io::Result<O::Output> {
    loop {
        // SAFETY: as in `start`.
        match unsafe { driver.start(source, fd.as_fd(), &mut op, &flight(7)) } {
            Start::Done { result, pass } => {
                assert_eq!(pass, None);
                return result;
            }
            Start::Pending => assert_eq!(collect(driver, 1), [7]),
        }
        op.woken();
    }
}

#[test]
fn operation_that_can_be_carried_out_is_never_registered() {
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let (mut driver, source) = (driver(), Source::new());
    peer.write_all(b"hello").unwrap();
    let mut buffer = [0; 16];
    let started = start(&mut driver, &source, &stream, op::Receive::stream(&mut buffer), 1);
    assert!(matches!(started, Start::Done { result: Ok(5), pass: None }));
    assert!(!driver.has_sources());
    wait_to_receive(&mut driver, &source, &stream, 1);
    assert!(driver.has_sources());
}

#[test]
fn edge_wakes_the_waiter_who_came_first_and_no_other() {
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let (mut driver, source) = (driver(), Source::new());
    for token in 1..=3 {
        wait_to_receive(&mut driver, &source, &stream, token);
    }
    for token in 1..=3 {
        peer.write_all(b"x").unwrap();
        assert_eq!(collect(&mut driver, 1), [token]);
        assert_eq!(wait(&mut driver, NOTHING), []);
        let mut buffer = [0; 64];
        let started = start(&mut driver, &source, &stream, op::Receive::stream(&mut buffer), token);
        assert!(matches!(started, Start::Done { result: Ok(1), pass: None }));
    }
}

#[test]
fn waiter_who_leaves_something_behind_names_the_next() {
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let (mut driver, source) = (driver(), Source::new());
    wait_to_receive(&mut driver, &source, &stream, 1);
    wait_to_receive(&mut driver, &source, &stream, 2);
    wait_to_receive(&mut driver, &source, &stream, 3);
    peer.write_all(b"xyz").unwrap();
    assert_eq!(collect(&mut driver, 1), [1]);
    let started = start(&mut driver, &source, &stream, op::Receive::stream(&mut [0]), 1);
    assert!(matches!(started, Start::Done { result: Ok(1), pass: Some(Token(2)) }));
    let started = start(&mut driver, &source, &stream, op::Receive::stream(&mut [0, 0]), 2);
    assert!(
        matches!(started, Start::Done { result: Ok(2), pass: None }),
        "the buffer was full, and nothing is left"
    );
    assert_eq!(wait(&mut driver, NOTHING), []);
}

#[test]
fn failed_operation_passes_its_wake_up_on() {
    let (peer, socket) = UnixDatagram::pair().unwrap();
    let (mut driver, source) = (driver(), Source::new());
    for token in [1, 2] {
        let started = start(&mut driver, &source, &socket, op::Receive::datagram(&mut [0; 8]), token);
        assert!(matches!(started, Start::Pending));
    }
    peer.send(b"x").unwrap();
    assert_eq!(collect(&mut driver, 1), [1]);
    // A listener's operation on what is none.
    let started = start(&mut driver, &source, &socket, op::Accept::new(), 1);
    assert!(matches!(started, Start::Done { result: Err(_), pass: Some(Token(2)) }));
}

#[test]
fn cancelled_token_does_not_come_back() {
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let (mut driver, source) = (driver(), Source::new());
    for token in 1..=3 {
        wait_to_receive(&mut driver, &source, &stream, token);
    }
    assert_eq!(
        driver.cancel(&source, Direction::Write, &flight(2)),
        Cancel::InFlight,
        "it does not wait to write"
    );
    assert_eq!(driver.cancel(&source, Direction::Read, &flight(2)), Cancel::Removed);
    assert_eq!(driver.cancel(&source, Direction::Read, &flight(1)), Cancel::Removed);
    peer.write_all(b"x").unwrap();
    assert_eq!(collect(&mut driver, 1), [3]);
    assert_eq!(driver.cancel(&source, Direction::Read, &flight(3)), Cancel::InFlight);
}

#[test]
fn hang_up_wakes_every_reader() {
    let (peer, stream) = tcp_pair();
    let (mut driver, source) = (driver(), Source::new());
    for token in 1..=3 {
        wait_to_receive(&mut driver, &source, &stream, token);
    }
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(collect(&mut driver, 3), [1, 2, 3]);
    for _ in 0..2 {
        let started = start(&mut driver, &source, &stream, op::Receive::stream(&mut [0; 8]), 1);
        assert!(matches!(started, Start::Done { result: Ok(0), .. }));
    }
}

#[test]
fn end_of_stream_that_came_with_the_last_bytes_is_seen() {
    let (mut peer, stream) = tcp_pair();
    let (mut driver, source) = (driver(), Source::new());
    wait_to_receive(&mut driver, &source, &stream, 1);
    peer.write_all(b"last").unwrap();
    drop(peer);
    assert_eq!(collect(&mut driver, 1), [1]);
    // Whether the two came as one event or as two: after the bytes comes the end.
    assert_eq!(complete(&mut driver, &source, &stream, op::Receive::stream(&mut [0; 64])).unwrap(), 4);
    assert_eq!(complete(&mut driver, &source, &stream, op::Receive::stream(&mut [0; 64])).unwrap(), 0);
}

/// `recv(2)` stops before urgent data, so that fewer bytes than asked for do not mean that there are no more.
#[test]
fn bytes_behind_urgent_data_are_received() {
    let (mut peer, stream) = tcp_pair();
    let (mut driver, source) = (driver(), Source::new());
    peer.set_nodelay(true).unwrap();
    wait_to_receive(&mut driver, &source, &stream, 7);
    peer.write_all(b"before").unwrap();
    rustix::net::send(&peer, b"!", SendFlags::OOB).unwrap();
    peer.write_all(b"behind").unwrap();
    assert_eq!(collect(&mut driver, 1), [7]);
    let mut received = Vec::new();
    while received.len() < 12 {
        let mut buffer = [0; 64];
        let count = complete(&mut driver, &source, &stream, op::Receive::stream(&mut buffer)).unwrap();
        received.extend_from_slice(&buffer[..count]);
    }
    assert_eq!(received, b"beforebehind");
}

/// `recv(2)` stops behind the bytes that carried descriptors.
#[test]
fn bytes_behind_passed_descriptors_are_received() {
    for vectored in [false, true] {
        let (mut peer, stream) = UnixStream::pair().unwrap();
        let (mut driver, source) = (driver(), Source::new());
        wait_to_receive(&mut driver, &source, &stream, 7);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let passed = [peer.as_fd()];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&passed)));
        rustix::net::sendmsg(&peer, &[IoSlice::new(b"with")], &mut ancillary, SendFlags::empty()).unwrap();
        peer.write_all(b"behind").unwrap();
        assert_eq!(collect(&mut driver, 1), [7]);
        let mut received = Vec::new();
        while received.len() < 10 {
            let mut buffer = [0; 64];
            let count = if vectored {
                let mut slices = [IoSliceMut::new(&mut buffer)];
                complete(&mut driver, &source, &stream, op::ReceiveVectored::new(&mut slices))
            } else {
                complete(&mut driver, &source, &stream, op::Receive::unix_stream(&mut buffer))
            };
            received.extend_from_slice(&buffer[..count.unwrap()]);
        }
        assert_eq!(received, b"withbehind");
    }
}

#[test]
fn event_of_a_file_that_outlived_its_source_reaches_nobody() {
    let mut driver = driver();
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let old = Source::new();
    wait_to_receive(&mut driver, &old, &stream, 1);
    assert_eq!(driver.cancel(&old, Direction::Read, &flight(1)), Cancel::Removed);
    let number = stream.as_raw_fd();
    let duplicate: OwnedFd = stream.as_fd().try_clone_to_owned().unwrap();
    drop((stream, old));
    // The next source gets the same entry of the table, and the same descriptor number when nobody else has taken it.
    let (_other, stream) = UnixStream::pair().unwrap();
    let reused = [stream.as_raw_fd(), _other.as_raw_fd()].contains(&number);
    let new = Source::new();
    wait_to_receive(&mut driver, &new, &stream, 2);
    for _ in 0..100 {
        peer.write_all(b"x").unwrap();
        assert_eq!(wait(&mut driver, Duration::from_millis(1)), [], "descriptor reused: {reused}");
    }
    drop((peer, duplicate));
    assert_eq!(wait(&mut driver, NOTHING), []);
}

/// The table is given back to the allocator when it is large and empty; its next entries must not take old keys for theirs.
#[test]
fn event_of_an_outlived_source_reaches_nobody_after_the_table_shrank() {
    const MANY: usize = 1500;
    let mut driver = driver();
    let mut outlived = Vec::new();
    let mut sources = Vec::new();
    for token in 1..=MANY {
        let (peer, stream) = UnixStream::pair().unwrap();
        let source = Source::new();
        wait_to_receive(&mut driver, &source, &stream, token);
        assert_eq!(driver.cancel(&source, Direction::Read, &flight(token)), Cancel::Removed);
        outlived.push((peer, stream.as_fd().try_clone_to_owned().unwrap()));
        sources.push((source, stream));
    }
    drop(sources);
    wait(&mut driver, NOTHING);
    assert!(!driver.has_sources());
    let mut sources = Vec::new();
    for token in 1..=MANY {
        let (peer, stream) = UnixStream::pair().unwrap();
        let source = Source::new();
        wait_to_receive(&mut driver, &source, &stream, token);
        sources.push((source, stream, peer));
    }
    while !wait(&mut driver, NOTHING).is_empty() {}
    for (peer, _) in &mut outlived {
        peer.write_all(b"x").unwrap();
    }
    assert_eq!(wait(&mut driver, NOTHING), []);
    assert_eq!(wait(&mut driver, NOTHING), []);
}

#[test]
fn clone_can_be_waited_for_after_the_other_was_taken_out() {
    let (mut driver, source) = (driver(), Source::new());
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let (other, clone) = (stream.try_clone().unwrap(), source.clone());
    // The one that waits, and so is registered, is not the one that leaves.
    wait_to_receive(&mut driver, &clone, &other, 1);
    for token in source.deregister(stream.as_fd()) {
        assert_eq!(token, Token(1));
        wait_to_receive(&mut driver, &clone, &other, 1);
    }
    drop(source);
    peer.write_all(b"x").unwrap();
    let mut tokens = collect(&mut driver, 1);
    let started = start(&mut driver, &clone, &other, op::Receive::stream(&mut [0; 8]), 1);
    assert!(matches!(started, Start::Done { result: Ok(1), .. }), "{started:?}");
    // And the same the other way round.
    wait_to_receive(&mut driver, &clone, &other, 1);
    let (third, source) = (other.try_clone().unwrap(), clone.clone());
    for _ in clone.deregister(other.as_fd()) {
        wait_to_receive(&mut driver, &source, &third, 1);
    }
    drop(clone);
    peer.write_all(b"x").unwrap();
    tokens.extend(collect(&mut driver, 1));
    assert_eq!(tokens, [1, 1]);
}

/// The number of a descriptor whose file is still watched under that number comes back for the same file.
#[test]
fn file_can_be_registered_again_under_a_number_that_it_had() {
    let mut driver = driver();
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let (old, kept) = (Source::new(), stream.try_clone().unwrap());
    let clone = old.clone();
    wait_to_receive(&mut driver, &old, &stream, 1);
    let number = stream.into_raw_fd_keeping_it_open();
    // A second source on the same open file and number, as when a duplicate has come in from outside.
    let second = Source::new();
    wait_to_receive(&mut driver, &second, &number, 2);
    peer.write_all(b"x").unwrap();
    let mut tokens = collect(&mut driver, 2);
    tokens.sort_unstable();
    assert_eq!(tokens, [1, 2], "both are told");
    assert_eq!(second.deregister(number.as_fd()), []);
    wait_to_receive_again(&mut driver, &clone, &kept);
    peer.write_all(b"x").unwrap();
    assert_eq!(collect(&mut driver, 1), [1]);
}

trait KeepOpen {
    fn into_raw_fd_keeping_it_open(self) -> OwnedFd;
}

impl KeepOpen for UnixStream {
    fn into_raw_fd_keeping_it_open(self) -> OwnedFd {
        self.into()
    }
}

fn wait_to_receive_again(driver: &mut Driver, source: &Source, fd: &impl AsFd) {
    while let Start::Done { result, .. } = start(driver, source, fd, op::Receive::stream(&mut [0; 64]), 1) {
        result.unwrap();
    }
}

#[test]
fn taking_a_file_out_does_not_take_out_who_is_registered_under_the_number_it_has_now() {
    let mut driver = driver();
    let (stream, mut peer) = tcp_pair();
    // Two sources on one open file, each under its own number.
    let second = stream.try_clone().unwrap();
    let (source, other) = (Source::new(), Source::new());
    wait_to_receive(&mut driver, &source, &stream, 64);
    wait_to_receive(&mut driver, &other, &second, 128);
    drop(stream);
    // The other's number has passed to a handle of the first, as numbers do.
    assert_eq!(source.deregister(second.as_fd()), [Token(64)]);
    peer.write_all(b"x").unwrap();
    assert_eq!(collect(&mut driver, 1), [128]);
}

#[test]
fn deregistered_file_is_not_watched_any_more() {
    let mut driver = driver();
    let (mut peer, stream) = UnixStream::pair().unwrap();
    let source = Source::new();
    wait_to_receive(&mut driver, &source, &stream, 1);
    assert_eq!(source.deregister(stream.as_fd()), [Token(1)]);
    drop(source);
    wait(&mut driver, Duration::ZERO);
    assert!(!driver.has_sources());
    peer.write_all(b"x").unwrap();
    let before = Instant::now();
    assert_eq!(wait(&mut driver, NOTHING), []);
    assert!(before.elapsed() >= NOTHING, "an event ended the wait");
}

#[test]
fn closing_returns_those_who_wait_and_ends_what_comes_later() {
    let (mut driver, source) = (driver(), Source::new());
    let (_peer, stream) = UnixStream::pair().unwrap();
    wait_to_receive(&mut driver, &source, &stream, 1);
    wait_to_receive(&mut driver, &source.clone(), &stream, 2);
    assert_eq!(source.close(), [Token(1), Token(2)]);
    assert!(source.is_closed());
    for _ in 0..2 {
        let started = start(&mut driver, &source, &stream, op::Receive::stream(&mut [0; 8]), 1);
        let Start::Done { result: Err(error), pass: None } = started else { panic!("{started:?}") };
        assert_eq!(error.kind(), ErrorKind::NotConnected);
        let started = start(&mut driver, &source, &stream, op::Send::new(b"x"), 1);
        assert!(matches!(started, Start::Done { result: Err(_), pass: None }));
    }
}

#[test]
fn waiters_of_a_driver_that_ends_go_on_with_another() {
    let (mut first, mut second) = (driver(), driver());
    let source = Source::new();
    let (mut peer, stream) = UnixStream::pair().unwrap();
    wait_to_receive(&mut first, &source, &stream, 1);
    wait_to_receive(&mut second, &source, &stream, 2);
    assert!(!second.has_sources(), "it is registered once");
    let mut out = Vec::new();
    first.close(&mut out);
    assert_eq!(out, [Completion { token: Token(1) }, Completion { token: Token(2) }]);
    drop(first);
    wait_to_receive(&mut second, &source, &stream, 2);
    assert!(second.has_sources());
    peer.write_all(b"x").unwrap();
    assert_eq!(collect(&mut second, 1), [2]);
}

#[test]
fn notifier_ends_a_wait_and_the_next_one_if_there_is_none() {
    let mut driver = driver();
    let notifier = driver.notifier();
    notifier.notify();
    let began = Instant::now();
    assert_eq!(wait(&mut driver, SOON), []);
    assert!(began.elapsed() < SOON);
    for precise in [true, false] {
        let timeout = if precise { Duration::from_millis(15) } else { SOON };
        let notifier = notifier.clone();
        let ringing = thread::spawn(move || notifier.notify());
        assert_eq!(wait(&mut driver, timeout), []);
        assert!(began.elapsed() < SOON);
        ringing.join().unwrap();
        // A ring that came after the wait was over ends the next.
        wait(&mut driver, Duration::ZERO);
    }
}

#[test]
fn wait_without_events_lasts_at_least_as_long_as_asked() {
    let mut driver = driver();
    wait(&mut driver, Duration::ZERO);
    for micros in [1, 50, 999, 1_000, 1_001, 7_777, 19_999, 20_000, 20_001, 25_500] {
        let timeout = Duration::from_micros(micros);
        let began = Instant::now();
        assert_eq!(wait(&mut driver, timeout), []);
        assert!(began.elapsed() >= timeout, "{timeout:?} were {:?}", began.elapsed());
    }
}

#[test]
fn wait_can_be_asked_to_last_for_ages() {
    let mut driver = driver();
    for timeout in [Duration::from_secs(1 << 22), Duration::from_secs(1 << 40), Duration::MAX] {
        driver.notifier().notify();
        assert_eq!(wait(&mut driver, timeout), []);
    }
}

#[test]
fn connect_reports_how_it_ended() {
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
    let mut driver = driver();
    let socket =
        || socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let fd = socket();
    complete(&mut driver, &Source::new(), &fd, op::Connect::new(&address)).unwrap();
    assert_eq!(TcpStream::from(fd).peer_addr().unwrap(), address);
    drop(listener);
    let error = complete(&mut driver, &Source::new(), &socket(), op::Connect::new(&address)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

/// An operation with nothing in it needs no room, so it does not wait for any.
#[test]
fn sending_nothing_does_not_wait() {
    let mut driver = driver();
    let (_peer, stream) = UnixStream::pair().unwrap();
    let source = Source::new();
    let block = [0; 1 << 16];
    while let Start::Done { result, .. } = start(&mut driver, &source, &stream, op::Send::new(&block), 1) {
        assert!(result.unwrap() > 0);
    }
    let started = start(&mut driver, &source, &stream, op::Send::new(&[]), 2);
    assert!(matches!(started, Start::Done { result: Ok(0), .. }), "{started:?}");
    let started = start(&mut driver, &source, &stream, op::SendVectored::new(&[IoSlice::new(&[])]), 2);
    assert!(matches!(started, Start::Done { result: Ok(0), .. }), "{started:?}");
}
