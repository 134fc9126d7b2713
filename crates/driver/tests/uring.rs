//! The io_uring driver by itself, and the ring beside epoll: each test is its own scheduler, with numbers for tokens.
//!
//! Almost every test runs with all that a ring can do without ([`RINGS`]). On a machine without io_uring they are skipped, and say so; unless `CI` is
//! `true`, where that is a failure.

mod tokens;

use fibra_driver::op::{self, Poll, Receive};
use fibra_driver::uring::Features;
use fibra_driver::{
    AcceptAhead, Call, Cancel, Direction, Driver, Finish, Flight, Operation, RingSettings, Source, Start,
    Token,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, socket_with};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};
use tokens::wait;

/// How long a test waits for what has to come.
const SOON: Duration = Duration::from_secs(20);

/// How long a test has two things race.
const RACE: Duration = Duration::from_millis(100);

/// How long a test waits to see that nothing comes.
const NOTHING: Duration = Duration::from_millis(10);

/// `FIBRA_URING` in all its words: with all that the kernel has, without each, without any; with queues that are always full.
const RINGS: &[&str] = &[
    "",
    "submit",
    "no-single-issuer",
    "no-defer-taskrun",
    "no-coop-taskrun",
    "no-defer-taskrun,no-coop-taskrun",
    "no-submit-all",
    "no-skip",
    "no-multishot",
    "no-poll-first",
    "plain",
    "entries=1",
    "submit,plain",
    "submit,plain,entries=1",
];

/// A ring, or none: then the test is skipped.
fn ring(words: &str) -> Option<Driver> {
    let settings = words.parse().unwrap();
    match Driver::uring(&settings) {
        Ok(driver) => Some(driver),
        Err(error) => {
            assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "there is no io_uring here: {error}");
            println!("SKIPPED {}: {error}", thread::current().name().unwrap_or_default());
            None
        }
    }
}

/// Runs `test` with each kind of ring.
fn on_rings(rings: &[&str], test: impl Fn(&mut Driver)) {
    for words in rings {
        println!("FIBRA_URING={words}");
        let Some(mut driver) = ring(words) else { return };
        test(&mut driver);
        assert!(!driver.has_sources(), "something is left in flight");
    }
}

/// An operation and its flight. They are never freed, so that they and what the operation borrows stay in their places whatever becomes of the test.
struct Operating<O: 'static> {
    op: &'static mut O,
    flight: &'static Flight,
}

impl<O: Operation> Operating<O> {
    fn new(token: usize, op: O) -> Operating<O> {
        Operating { op: Box::leak(Box::new(op)), flight: Box::leak(Box::new(Flight::new(Token(token)))) }
    }

    /// Starts the operation, or goes on with it; none while it is pending.
    fn start(
        &mut self,
        driver: &mut Driver,
        source: &Source,
        fd: &impl AsFd,
    ) -> Option<io::Result<O::Output>> {
        // SAFETY: neither the operation, nor what it borrows, which is static, nor the flight ever goes; nobody uses them before the token has come back. For the
        // descriptor the kernel has a reference of its own.
        match unsafe { driver.start(source, fd.as_fd(), self.op, self.flight) } {
            Start::Done { result, pass } => {
                assert_eq!(pass, None, "a ring queues nobody");
                Some(result)
            }
            Start::Pending => None,
        }
    }

    /// Starts an operation that has to wait.
    #[track_caller]
    fn pend(mut self, driver: &mut Driver, source: &Source, fd: &impl AsFd) -> Operating<O> {
        assert!(self.start(driver, source, fd).is_none(), "it is over at once");
        self
    }

    /// Goes on after the token has come back.
    #[track_caller]
    fn result(&mut self, driver: &mut Driver, source: &Source, fd: &impl AsFd) -> io::Result<O::Output> {
        self.start(driver, source, fd).expect("it is over")
    }

    /// Runs it to its end, with no other operation under way.
    fn complete(mut self, driver: &mut Driver, source: &Source, fd: &impl AsFd) -> io::Result<O::Output> {
        loop {
            if let Some(result) = self.start(driver, source, fd) {
                return result;
            }
            assert_eq!(collect(driver, 1), [self.flight.token().0]);
        }
    }

    /// The result after a cancellation, if there is one.
    fn finish(
        &mut self,
        driver: &mut Driver,
        source: &Source,
        fd: &impl AsFd,
    ) -> Option<io::Result<O::Output>> {
        let Finish { result, pass } = driver.finish(source, fd.as_fd(), self.op, self.flight);
        assert_eq!(pass, None);
        result
    }

    fn cancel(&self, driver: &mut Driver, source: &Source) {
        assert_eq!(driver.cancel(source, self.op.direction(), self.flight), Cancel::InFlight);
    }
}

/// The same for a call.
fn make<C: Call + 'static>(driver: &mut Driver, token: usize, call: C) -> io::Result<C::Output> {
    let mut calling = Calling::new(token, call);
    loop {
        if let Some(result) = calling.start(driver) {
            return result;
        }
        assert_eq!(collect(driver, 1), [token]);
    }
}

struct Calling<C: 'static> {
    call: &'static mut C,
    flight: &'static Flight,
}

impl<C: Call> Calling<C> {
    fn new(token: usize, call: C) -> Calling<C> {
        Calling { call: Box::leak(Box::new(call)), flight: Box::leak(Box::new(Flight::new(Token(token)))) }
    }

    fn start(&mut self, driver: &mut Driver) -> Option<io::Result<C::Output>> {
        // SAFETY: as in `Operating::start`.
        match unsafe { driver.start_call(self.call, self.flight) }.expect("there is a ring") {
            Start::Done { result, pass } => {
                assert_eq!(pass, None);
                Some(result)
            }
            Start::Pending => None,
        }
    }
}

/// A buffer for an operation. It is never freed.
#[derive(Clone, Copy)]
struct Room(*mut [u8]);

impl Room {
    fn new(length: usize) -> Room {
        Room(Box::into_raw(vec![0; length].into_boxed_slice()))
    }

    /// Lends it to an operation.
    fn lend(self) -> &'static mut [u8] {
        // SAFETY: it is never freed, and lent to one operation at a time.
        unsafe { &mut *self.0 }
    }

    /// What is in it when the operation is over.
    fn bytes(self) -> Vec<u8> {
        // SAFETY: it is never freed, and nobody writes to it any more.
        unsafe { &*self.0 }.to_vec()
    }
}

fn room(length: usize) -> &'static mut [u8] {
    Room::new(length).lend()
}

fn bytes(length: usize) -> &'static [u8] {
    vec![b'x'; length].leak()
}

/// The tokens of as many waits as it takes to get `count`; each comes once.
fn collect(driver: &mut Driver, count: usize) -> Vec<usize> {
    let tokens = tokens::collect(driver, count, SOON, SOON);
    let different: BTreeSet<_> = tokens.iter().collect();
    assert_eq!(different.len(), tokens.len(), "a token has come twice: {tokens:?}");
    tokens
}

/// The same without waiting.
fn look_for(driver: &mut Driver, count: usize) -> Vec<usize> {
    tokens::collect(driver, count, Duration::ZERO, SOON)
}

/// Nothing comes, and nothing ends the wait.
fn nothing_comes(driver: &mut Driver) {
    // A cancellation's answer, say, may end one.
    assert_eq!(wait(driver, Duration::from_nanos(1)), []);
    let began = Instant::now();
    while began.elapsed() < NOTHING {
        assert_eq!(wait(driver, NOTHING), []);
    }
}

/// Hands over what has been started.
fn submit(driver: &mut Driver) {
    assert_eq!(wait(driver, Duration::ZERO), []);
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    (one, other)
}

fn udp_pair() -> (UdpSocket, UdpSocket) {
    let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    one.connect(other.local_addr().unwrap()).unwrap();
    other.connect(one.local_addr().unwrap()).unwrap();
    (one, other)
}

fn tcp_socket(flags: SocketFlags) -> OwnedFd {
    socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap()
}

fn inet(address: SocketAddrAny) -> SocketAddr {
    address.try_into().unwrap()
}

/// Marsaglia's xorshift64.
struct Random(u64);

impl Random {
    /// From a seed that is printed; `FIBRA_SEED` repeats one.
    fn seeded() -> Random {
        let seed = match std::env::var("FIBRA_SEED") {
            Ok(text) => text.parse().expect("FIBRA_SEED is a number"),
            Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64),
        };
        println!("FIBRA_SEED={seed}");
        Random(seed | 1)
    }

    /// Another sequence, for another thread.
    fn split(&mut self) -> Random {
        Random(self.below(u64::MAX) | 1)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 8) % bound
    }
}

/// What an operation gives that is run to its end, with its source new.
fn run<O: Operation + 'static>(driver: &mut Driver, fd: &impl AsFd, op: O) -> io::Result<O::Output> {
    Operating::new(7, op).complete(driver, &Source::new(), fd)
}

/// What an operation gives for which what it waits for comes later.
fn run_late<O: Operation + 'static>(
    driver: &mut Driver,
    fd: &impl AsFd,
    op: O,
    come: impl FnOnce(),
) -> io::Result<O::Output> {
    let source = Source::new();
    let mut operating = Operating::new(7, op).pend(driver, &source, fd);
    let mut come = Some(come);
    loop {
        // `O_NONBLOCK` makes the ring answer before there is anything.
        let tokens = match come.take() {
            Some(come) => {
                let tokens = wait(driver, Duration::from_millis(1));
                come();
                tokens
            }
            None => collect(driver, 1),
        };
        if !tokens.is_empty() {
            assert_eq!(tokens, [7]);
            if let Some(result) = operating.start(driver, &source, fd) {
                return result;
            }
        }
    }
}

fn code<T: std::fmt::Debug>(result: io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().expect("an error of the kernel")
}

// Each operation.

/// Receives all that a stream can say; `peer` is its other end.
fn receive_a_stream(
    driver: &mut Driver,
    stream: &impl AsFd,
    mut peer: impl Write,
    receive: fn(&'static mut [u8]) -> Receive<'static>,
) {
    let buffer = Room::new(8);
    peer.write_all(b"hello").unwrap();
    assert_eq!(run(driver, stream, receive(buffer.lend())).unwrap(), 5, "no more than there is");
    assert_eq!(buffer.bytes(), b"hello\0\0\0");
    let write = || peer.write_all(b"longer than the buffer").unwrap();
    assert_eq!(run_late(driver, stream, receive(buffer.lend()), write).unwrap(), 8);
    assert_eq!(buffer.bytes(), b"longer t");
    for _ in 0..2 {
        assert_eq!(run(driver, stream, receive(&mut buffer.lend()[..3]).peek()).unwrap(), 3);
        assert_eq!(&buffer.bytes()[..3], b"han");
    }
    let (one, other) = (Room::new(4), Room::new(20));
    let slices = || Box::leak(Box::new([one, other].map(|room| IoSliceMut::new(room.lend()))));
    assert_eq!(run(driver, stream, op::ReceiveVectored::new(slices())).unwrap(), 14);
    assert_eq!((one.bytes().as_slice(), &other.bytes()[..11]), (&b"han "[..], &b"the buffer\0"[..]));
    let write = || peer.write_all(b"late").unwrap();
    assert_eq!(run_late(driver, stream, op::ReceiveVectored::new(slices()), write).unwrap(), 4);
    assert_eq!(one.bytes(), b"late");
    assert_eq!(run_late(driver, stream, receive(buffer.lend()), || drop(peer)).unwrap(), 0, "the end");
    for _ in 0..2 {
        assert_eq!(run(driver, stream, receive(buffer.lend())).unwrap(), 0);
        assert_eq!(run(driver, stream, op::ReceiveVectored::new(slices())).unwrap(), 0);
    }
}

#[test]
fn streams_are_received_whether_it_is_there_or_comes_later() {
    on_rings(RINGS, |driver| {
        for nonblocking in [false, true] {
            let (tcp, peer) = tcp_pair();
            tcp.set_nonblocking(nonblocking).unwrap();
            receive_a_stream(driver, &tcp, peer, Receive::stream);
            let (unix, peer) = UnixStream::pair().unwrap();
            unix.set_nonblocking(nonblocking).unwrap();
            receive_a_stream(driver, &unix, peer, Receive::unix_stream);
        }
    });
}

/// Sends until there is no room, and what the peer makes room for; the bytes that arrive are those that were taken.
fn send_a_stream(driver: &mut Driver, stream: OwnedFd, mut peer: impl Read) {
    let block: Vec<u8> = (0..1_u32 << 18).map(|at| (at % 251) as u8).collect();
    let block: &'static [u8] = block.leak();
    let (source, mut taken) = (Source::new(), 0);
    let mut sends = 0;
    let mut pending = loop {
        let mut operating = Operating::new(7, op::Send::new(&block[taken % 251..]));
        match operating.start(driver, &source, &stream) {
            Some(count) => taken += count.unwrap(),
            // In the hands of the ring; but is there room?
            None if wait(driver, NOTHING).is_empty() => break Some(operating),
            None => match operating.start(driver, &source, &stream) {
                Some(count) => taken += count.unwrap(),
                None => break Some(operating),
            },
        }
        sends += 1;
        assert!(sends < 10_000, "there is room for everything");
    };
    let mut buffer = vec![0; 1 << 16];
    let mut received = 0;
    let mut read = |received: &mut usize| {
        let count = peer.read(&mut buffer).unwrap();
        assert_eq!(buffer[..count], block[*received % 251..][..count], "the bytes at {received}");
        *received += count;
        count
    };
    while let Some(mut operating) = pending.take() {
        read(&mut received);
        if wait(driver, Duration::from_millis(1)).is_empty() {
            pending = Some(operating);
        } else if let Some(count) = operating.start(driver, &source, &stream) {
            taken += count.unwrap();
        } else {
            pending = Some(operating);
        }
    }
    while received < taken {
        read(&mut received);
    }
    let slices: &'static _ = Box::leak(Box::new([&b"in "[..], b"", b"pieces"].map(IoSlice::new)));
    assert_eq!(run(driver, &stream, op::SendVectored::new(slices)).unwrap(), 9);
    let mut text = [0; 9];
    peer.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"in pieces");
    assert_eq!(run(driver, &stream, op::Send::new(b"")).unwrap(), 0);
    drop(stream);
    assert_eq!(peer.read(&mut text).unwrap(), 0, "nothing else was sent");
}

#[test]
fn what_is_sent_is_what_the_operations_say() {
    on_rings(RINGS, |driver| {
        for nonblocking in [false, true] {
            let (tcp, peer) = tcp_pair();
            tcp.set_nonblocking(nonblocking).unwrap();
            send_a_stream(driver, tcp.into(), peer);
            let (unix, peer) = UnixStream::pair().unwrap();
            unix.set_nonblocking(nonblocking).unwrap();
            send_a_stream(driver, unix.into(), peer);
        }
    });
}

#[test]
fn packets_come_whole_with_their_senders() {
    on_rings(RINGS, |driver| {
        let (one, other) = udp_pair();
        let address = other.local_addr().unwrap();
        let buffer = Room::new(8);
        let late = run_late(driver, &one, Receive::datagram(buffer.lend()), || {
            other.send(b"late").unwrap();
        });
        assert_eq!(late.unwrap(), 4);
        assert_eq!(&buffer.bytes()[..4], b"late");
        let from = run_late(driver, &one, op::ReceiveFrom::new(buffer.lend()), || {
            other.send(b"more than there is room for").unwrap();
        });
        let (count, from) = from.unwrap();
        assert_eq!((count, inet(from.unwrap())), (8, address));
        other.send(b"").unwrap();
        other.send(b"next").unwrap();
        assert_eq!(run(driver, &one, Receive::datagram(buffer.lend())).unwrap(), 0, "an empty packet is one");
        let (count, from) = run(driver, &one, op::ReceiveFrom::new(buffer.lend()).peek()).unwrap();
        assert_eq!((count, inet(from.unwrap())), (4, address));
        assert_eq!(run(driver, &one, Receive::datagram(buffer.lend())).unwrap(), 4);
        assert_eq!(run(driver, &one, op::Send::datagram(b"back")).unwrap(), 4);
        assert_eq!(other.recv(&mut [0; 8]).unwrap(), 4);

        let (one, other) = [(); 2].map(|()| UdpSocket::bind("[::1]:0")).into();
        if let (Ok(one), Ok(other)) = (one, other) {
            let (to, from) = (other.local_addr().unwrap(), one.local_addr().unwrap());
            assert_eq!(run(driver, &one, op::SendTo::new(b"six", Box::leak(Box::new(to)))).unwrap(), 3);
            let (count, address) = run(driver, &other, op::ReceiveFrom::new(buffer.lend())).unwrap();
            assert_eq!((count, inet(address.unwrap())), (3, from));
        }
    });
}

#[test]
fn unix_packets_tell_their_senders_names() {
    on_rings(RINGS, |driver| {
        let buffer = Room::new(8);
        let (one, other) = UnixDatagram::pair().unwrap();
        let receive = op::ReceiveFrom::new(buffer.lend());
        let (count, _) = run_late(driver, &one, receive, || assert!(other.send(b"hi").is_ok())).unwrap();
        assert_eq!(count, 2);
        let name = format!("fibra-ring-{}-{:?}", std::process::id(), Instant::now());
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).unwrap();
        rustix::net::connect_unspec(&other).unwrap();
        rustix::net::bind(&other, &address).unwrap();
        let name_of_one =
            SocketAddrUnix::new_abstract_name([name.as_bytes(), b"1"].concat().as_slice()).unwrap();
        rustix::net::connect_unspec(&one).unwrap();
        rustix::net::bind(&one, &name_of_one).unwrap();
        let to = Box::leak(Box::new(name_of_one));
        assert_eq!(run(driver, &other, op::SendTo::new(b"named", to)).unwrap(), 5);
        let (count, from) = run(driver, &one, op::ReceiveFrom::new(buffer.lend())).unwrap();
        assert_eq!((count, SocketAddrUnix::try_from(from.unwrap()).unwrap()), (5, address));
    });
}

#[test]
fn connections_are_accepted_with_their_addresses() {
    on_rings(RINGS, |driver| {
        // A call on a listener in blocking mode would block; a ring takes both.
        for nonblocking in [is_tried(driver), true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(nonblocking).unwrap();
            let address = listener.local_addr().unwrap();
            for late in [false, true] {
                let mut client = None;
                let mut connect = || client = Some(TcpStream::connect(address).unwrap());
                let (fd, peer) = if late {
                    run_late(driver, &listener, op::Accept::new(), connect)
                } else {
                    connect();
                    run(driver, &listener, op::Accept::new())
                }
                .unwrap();
                assert_eq!(inet(peer.unwrap()), client.unwrap().local_addr().unwrap());
                assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
                assert!(!rustix::fs::fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
            }
        }
    });
}

/// Connections that are accepted ahead, and the source of their listener.
struct Ahead {
    listener: TcpListener,
    source: Source,
    ahead: AcceptAhead,
}

impl Ahead {
    fn new() -> Ahead {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // As the library has its listeners.
        listener.set_nonblocking(true).unwrap();
        rustix::net::listen(&listener, 4096).unwrap();
        Ahead { listener, source: Source::new(), ahead: AcceptAhead::new() }
    }

    fn connect(&self, count: usize) -> Vec<TcpStream> {
        let address = self.listener.local_addr().unwrap();
        (0..count).map(|_| TcpStream::connect(address).unwrap()).collect()
    }

    /// Asks for one; none while it is pending.
    fn start(&self, driver: &mut Driver) -> Option<io::Result<OwnedFd>> {
        let start = driver.accept_ahead(&self.source, self.listener.as_fd(), &self.ahead, Token(1));
        match start.expect("it can be done") {
            Start::Done { result, pass } => {
                assert_eq!(pass, None);
                Some(result)
            }
            Start::Pending => None,
        }
    }

    fn next(&self, driver: &mut Driver) -> io::Result<OwnedFd> {
        loop {
            match self.start(driver) {
                Some(result) => return result,
                None => assert_eq!(collect(driver, 1), [1]),
            }
        }
    }

    /// Waits for the last answer.
    fn end(&self, driver: &mut Driver) {
        assert!(driver.end_ahead(&self.ahead), "it is under way");
        while self.ahead.enlist(Token(1)) {
            assert_eq!(collect(driver, 1), [1]);
        }
    }

    /// Who is still in the listener's own queue.
    fn left(&self) -> usize {
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}

/// Whether somebody has the other end: a connection that was closed for good is reset, or at its end.
fn is_served(client: &mut TcpStream, by: OwnedFd) -> bool {
    let mut by = TcpStream::from(by);
    assert_eq!(by.peer_addr().unwrap(), client.local_addr().unwrap());
    by.write_all(b"x").unwrap();
    client.read(&mut [0; 2]).unwrap() == 1
}

/// The rings that can accept ahead.
const MULTISHOT: &[&str] =
    &["", "submit", "no-single-issuer", "no-defer-taskrun,no-coop-taskrun", "no-skip", "entries=1"];

#[test]
fn connections_are_accepted_ahead_in_their_order() {
    on_rings(MULTISHOT, |driver| {
        let ahead = Ahead::new();
        let mut clients = ahead.connect(20);
        for client in &mut clients[..10] {
            let fd = ahead.next(driver).unwrap();
            assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
            assert!(!rustix::fs::fcntl_getfl(&fd).unwrap().contains(OFlags::NONBLOCK));
            assert!(is_served(client, fd));
        }
        clients.extend(ahead.connect(5));
        for client in &mut clients[10..] {
            assert!(is_served(client, ahead.next(driver).unwrap()));
        }
        assert!(ahead.start(driver).is_none(), "nobody is left");
        nothing_comes(driver);
        let late = ahead.connect(1).pop();
        assert_eq!(collect(driver, 1), [1]);
        assert!(is_served(&mut late.unwrap(), ahead.next(driver).unwrap()));
        ahead.end(driver);
    });
}

#[test]
fn who_leaves_the_wait_for_a_connection_takes_nothing_along() {
    on_rings(MULTISHOT, |driver| {
        let ahead = Ahead::new();
        assert!(ahead.start(driver).is_none());
        submit(driver);
        assert_eq!(ahead.ahead.retract(), Cancel::Removed);
        let mut client = ahead.connect(1).pop().unwrap();
        nothing_comes(driver);
        let fd = ahead.start(driver).expect("it has been accepted while nobody waited").unwrap();
        assert!(is_served(&mut client, fd));
        // The other way round: it comes, and then the wait is over.
        assert!(ahead.start(driver).is_none());
        let mut client = ahead.connect(1).pop().unwrap();
        assert_eq!(collect(driver, 1), [1]);
        assert_eq!(ahead.ahead.retract(), Cancel::InFlight);
        assert!(is_served(&mut client, ahead.ahead.take().expect("it has come").unwrap()));
        ahead.end(driver);
    });
}

#[test]
fn what_is_accepted_ahead_and_not_taken_has_a_limit() {
    // Where completions find no room, the kernel ends it before that.
    let roomy: Vec<&str> = MULTISHOT.iter().copied().filter(|words| !words.contains("entries")).collect();
    on_rings(&roomy, |driver| {
        let ahead = Ahead::new();
        assert!(ahead.start(driver).is_none());
        submit(driver);
        assert_eq!(ahead.ahead.retract(), Cancel::Removed);
        let clients: Vec<TcpStream> = (0..10)
            .flat_map(|_| {
                let clients = ahead.connect(80);
                nothing_comes(driver);
                clients
            })
            .collect();
        let come = std::iter::from_fn(|| ahead.ahead.take()).map(Result::unwrap).count();
        assert!((AcceptAhead::LIMIT..2 * AcceptAhead::LIMIT).contains(&come), "{come} have been accepted");
        // The others are there for who asks.
        for _ in come..clients.len() {
            ahead.next(driver).unwrap();
        }
        assert!(ahead.start(driver).is_none());
        ahead.end(driver);
    });
}

#[test]
fn accepting_ahead_that_is_ended_leaves_those_who_come_to_others() {
    on_rings(MULTISHOT, |driver| {
        let ahead = Ahead::new();
        let clients = ahead.connect(7);
        drop(ahead.next(driver).unwrap());
        ahead.end(driver);
        let later = ahead.connect(3);
        nothing_comes(driver);
        let come = std::iter::from_fn(|| ahead.ahead.take()).map(Result::unwrap).count();
        assert_eq!(1 + come + ahead.left(), clients.len() + later.len());
        assert!(!driver.end_ahead(&ahead.ahead), "it is over");
        // And it can begin anew.
        let mut client = ahead.connect(1).pop().unwrap();
        assert!(is_served(&mut client, ahead.next(driver).unwrap()));
        ahead.end(driver);
    });
}

#[test]
fn what_was_accepted_for_nobody_is_closed() {
    on_rings(MULTISHOT, |driver| {
        let ahead = Ahead::new();
        let mut clients = ahead.connect(4);
        drop(ahead.next(driver).unwrap());
        ahead.ahead.abandon();
        ahead.end(driver);
        assert!(ahead.ahead.take().is_none());
        drop(ahead);
        for client in &mut clients {
            assert!(!matches!(client.read(&mut [0]), Ok(1..)), "its end, or a reset");
        }
    });
}

#[test]
fn driver_that_ends_closes_what_it_has_accepted_ahead() {
    for words in MULTISHOT {
        for submitted in [false, true] {
            let Some(mut driver) = ring(words) else { return };
            let Ahead { listener, source, ahead } = Ahead::new();
            let address = listener.local_addr().unwrap();
            let start = driver.accept_ahead(&source, listener.as_fd(), &ahead, Token(1));
            assert!(matches!(start, Some(Start::Pending)));
            if submitted {
                submit(&mut driver);
            }
            // The number may be another file's by the time that the entry is read.
            drop(listener);
            let mut clients: Vec<_> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
            let mut out = Vec::new();
            driver.close(&mut out);
            assert_eq!(out.len(), 1, "the waiter comes back");
            assert!(!driver.has_sources(), "something is left in flight");
            drop((driver, ahead));
            assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
            for client in &mut clients {
                assert!(!matches!(client.read(&mut [0]), Ok(1..)), "its end, or a reset");
            }
        }
    }
}

#[test]
fn listener_that_is_closed_ends_accepting_ahead() {
    on_rings(MULTISHOT, |driver| {
        let ahead = Ahead::new();
        assert!(ahead.start(driver).is_none());
        submit(driver);
        assert!(ahead.source.close().is_empty());
        rustix::net::shutdown(&ahead.listener, rustix::net::Shutdown::Both).unwrap();
        assert_eq!(collect(driver, 1), [1]);
        assert_eq!(ahead.start(driver).unwrap().unwrap_err().kind(), ErrorKind::NotConnected);
    });
}

#[test]
fn drivers_that_cannot_accept_ahead_say_so() {
    let epoll = Driver::epoll(RingSettings::default()).unwrap();
    let drivers = ["no-multishot", "plain"].into_iter().filter_map(ring).chain([epoll]);
    for mut driver in drivers {
        let ahead = Ahead::new();
        let start = driver.accept_ahead(&ahead.source, ahead.listener.as_fd(), &ahead.ahead, Token(1));
        assert!(start.is_none());
        assert!(!ahead.ahead.enlist(Token(1)));
        assert!(!driver.end_ahead(&ahead.ahead));
    }
}

#[test]
fn connecting_tells_how_it_ended() {
    on_rings(RINGS, |driver| {
        for flags in [SocketFlags::empty(), SocketFlags::NONBLOCK] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address: &'static SocketAddr = Box::leak(Box::new(listener.local_addr().unwrap()));
            let fd = tcp_socket(flags);
            run(driver, &fd, op::Connect::new(address)).unwrap();
            assert_eq!(TcpStream::from(fd).peer_addr().unwrap(), *address);
            drop(listener);
            let refused = run(driver, &tcp_socket(flags), op::Connect::new(address));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    });
}

/// Whether operations are attempted before they go to the ring.
fn is_tried(driver: &mut Driver) -> bool {
    let (mut peer, one) = UnixStream::pair().unwrap();
    peer.write_all(b"x").unwrap();
    let (source, mut receive) = (Source::new(), Operating::new(1, Receive::stream(room(1))));
    match receive.start(driver, &source, &one) {
        Some(result) => result.unwrap() == 1,
        None => {
            assert_eq!(collect(driver, 1), [1]);
            assert_eq!(receive.result(driver, &source, &one).unwrap(), 1);
            false
        }
    }
}

#[test]
fn readiness_comes_when_it_is_there() {
    on_rings(RINGS, |driver| {
        let (mut peer, one) = UnixStream::pair().unwrap();
        run(driver, &one, Poll::new(Direction::Write)).unwrap();
        let source = Source::new();
        let mut readable = Operating::new(1, Poll::new(Direction::Read)).pend(driver, &source, &one);
        nothing_comes(driver);
        peer.write_all(b"x").unwrap();
        assert_eq!(collect(driver, 1), [1]);
        readable.result(driver, &source, &one).unwrap();
        run(driver, &one, Poll::new(Direction::Read)).unwrap();
        assert_eq!((&one).read(&mut [0; 8]).unwrap(), 1, "it has taken nothing");
        one.set_nonblocking(true).unwrap();
        while (&one).write(&[0; 1 << 12]).is_ok() {}
        let mut writable = Operating::new(2, Poll::new(Direction::Write)).pend(driver, &source, &one);
        nothing_comes(driver);
        drop(peer);
        assert_eq!(collect(driver, 1), [2], "nobody waits for ever for who has gone");
        writable.result(driver, &source, &one).unwrap();
    });
}

#[test]
fn errors_are_those_of_the_calls() {
    on_rings(RINGS, |driver| {
        let socket = tcp_socket(SocketFlags::NONBLOCK);
        assert_eq!(code(run(driver, &socket, Receive::stream(room(8)))), libc::ENOTCONN);
        assert_eq!(code(run(driver, &socket, op::Accept::new())), libc::EINVAL);
        let (pipe, _end) = rustix::pipe::pipe().unwrap();
        assert_eq!(code(run(driver, &pipe, Receive::stream(room(8)))), libc::ENOTSOCK);
        let slices = Box::leak(Box::new([IoSliceMut::new(room(8))]));
        assert_eq!(code(run(driver, &pipe, op::ReceiveVectored::new(slices))), libc::ENOTSOCK);

        let (one, other) = UnixStream::pair().unwrap();
        drop(other);
        // Without a signal.
        assert_eq!(code(run(driver, &one, op::Send::new(b"x"))), libc::EPIPE);
        let slices = Box::leak(Box::new([IoSlice::new(b"x")]));
        assert_eq!(code(run(driver, &one, op::SendVectored::new(slices))), libc::EPIPE);

        for late in [false, true] {
            let (one, other) = tcp_pair();
            rustix::net::sockopt::set_socket_linger(&other, Some(Duration::ZERO)).unwrap();
            let receive = Receive::stream(room(8));
            let reset = if late {
                run_late(driver, &one, receive, || drop(other))
            } else {
                drop(other);
                run(driver, &one, receive)
            };
            assert_eq!(code(reset), libc::ECONNRESET);
        }

        let (one, other) = udp_pair();
        drop(other);
        one.send(b"anybody?").unwrap();
        assert_eq!(code(run(driver, &one, Receive::datagram(room(8)))), libc::ECONNREFUSED);
        let refused = run_late(driver, &one, Receive::datagram(room(8)), || assert!(one.send(b"?").is_ok()));
        assert_eq!(code(refused), libc::ECONNREFUSED);
    });
}

/// Kernels differ in whether a ring waits for such a file by itself or says `EAGAIN`. Then it is asked for readiness.
#[test]
fn file_in_nonblocking_mode_is_waited_for_all_the_same() {
    on_rings(RINGS, |driver| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let source = Source::new();
        let mut accept = Operating::new(1, op::Accept::new()).pend(driver, &source, &listener);
        let mut answers = 0;
        while wait(driver, NOTHING) == [1] {
            assert!(accept.start(driver, &source, &listener).is_none());
            answers += 1;
            assert!(answers < 2, "it does not wait, but tries again and again");
        }
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert_eq!(collect(driver, 1), [1]);
        let (_, address) = accept.result(driver, &source, &listener).unwrap();
        assert_eq!(inet(address.unwrap()), client.local_addr().unwrap());
    });
}

/// Fills a socket's peer with packets. What is sent then is waited for by a question for readiness, and sent by a call.
fn fill(socket: &UnixDatagram) {
    socket.set_nonblocking(true).unwrap();
    while socket.send(b"full").is_ok() {}
}

/// Receives until the socket is ready for another packet.
fn make_room(socket: &UnixDatagram, peer: &UnixDatagram) {
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    while rustix::event::poll(&mut [PollFd::new(socket, PollFlags::OUT)], Some(&at_once)).unwrap() == 0 {
        peer.recv(&mut [0; 8]).unwrap();
    }
}

#[test]
fn readiness_that_others_have_used_up_is_waited_for_again() {
    on_rings(RINGS, |driver| {
        let (one, peer) = UnixDatagram::pair().unwrap();
        fill(&one);
        let source = Source::new();
        let mut send = Operating::new(1, op::Send::datagram(b"mine")).pend(driver, &source, &one);
        for _ in 0..3 {
            nothing_comes(driver);
            make_room(&one, &peer);
            assert_eq!(collect(driver, 1), [1]);
            fill(&one);
            assert!(send.start(driver, &source, &one).is_none());
        }
        make_room(&one, &peer);
        assert_eq!(collect(driver, 1), [1]);
        assert_eq!(send.result(driver, &source, &one).unwrap(), 4);
    });
}

#[test]
fn shut_down_sockets_end_what_waits_for_them() {
    on_rings(RINGS, |driver| {
        let (udp, _peer) = udp_pair();
        let shutdown = |fd: &dyn AsFd| rustix::net::shutdown(fd.as_fd(), rustix::net::Shutdown::Both);
        let ended = run_late(driver, &udp, Receive::datagram(room(8)), || shutdown(&udp).unwrap());
        assert_eq!(ended.unwrap(), 0);
        let (unix, _peer) = UnixDatagram::pair().unwrap();
        let ended = run_late(driver, &unix, op::ReceiveFrom::new(room(8)), || shutdown(&unix).unwrap());
        assert_eq!(ended.unwrap().0, 0);
        for nonblocking in [is_tried(driver), true] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(nonblocking).unwrap();
            let ended = run_late(driver, &listener, op::Accept::new(), || shutdown(&listener).unwrap());
            assert_eq!(code(ended), libc::EINVAL);
            let path = std::env::temp_dir().join(format!("fibra-ring-{}-{nonblocking}", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).unwrap();
            std::fs::remove_file(&path).unwrap();
            listener.set_nonblocking(nonblocking).unwrap();
            let ended = run_late(driver, &listener, op::Accept::new(), || shutdown(&listener).unwrap());
            assert_eq!(code(ended), libc::EINVAL);
        }
    });
}

#[test]
fn closing_ends_what_is_in_flight_and_what_comes_later() {
    on_rings(RINGS, |driver| {
        let (one, _other) = UnixStream::pair().unwrap();
        let source = Source::new();
        let mut receive = Operating::new(1, Receive::stream(room(8))).pend(driver, &source, &one);
        let mut poll = Operating::new(2, Poll::new(Direction::Read)).pend(driver, &source.clone(), &one);
        submit(driver);
        assert_eq!(source.close(), []);
        one.shutdown(Shutdown::Both).unwrap();
        assert_eq!(collect(driver, 2).len(), 2);
        // How the operations that were in flight end is theirs to say.
        assert_eq!(receive.result(driver, &source, &one).unwrap(), 0);
        poll.result(driver, &source, &one).unwrap();
        for _ in 0..2 {
            let late = Operating::new(3, Receive::stream(room(8))).result(driver, &source, &one);
            assert_eq!(late.unwrap_err().kind(), ErrorKind::NotConnected);
            let late = Operating::new(3, op::Send::new(b"x")).result(driver, &source, &one);
            assert_eq!(late.unwrap_err().kind(), ErrorKind::NotConnected);
        }
    });
}

/// The ring holds the file, and not the number.
#[test]
fn receive_stays_with_its_file_when_the_number_becomes_anothers() {
    on_rings(RINGS, |driver| {
        for _ in 0..20 {
            let (mut peer, one) = UnixStream::pair().unwrap();
            let (source, buffer) = (Source::new(), Room::new(16));
            let mut receive = Operating::new(1, Receive::stream(buffer.lend())).pend(driver, &source, &one);
            submit(driver);
            let number = one.as_raw_fd();
            let (mut new_peer, fresh) = UnixStream::pair().unwrap();
            drop(one);
            // The number of the file that was closed, unless another test has been faster.
            let new = rustix::io::fcntl_dupfd_cloexec(&fresh, number).unwrap();
            drop(fresh);
            new_peer.write_all(b"for the new one").unwrap();
            nothing_comes(driver);
            peer.write_all(b"for the old one").unwrap();
            assert_eq!(collect(driver, 1), [1]);
            assert_eq!(receive.result(driver, &source, &new).unwrap(), 15);
            assert_eq!(&buffer.bytes()[..15], b"for the old one");
            let mut text = [0; 16];
            assert_eq!(rustix::io::read(&new, &mut text).unwrap(), 15);
            assert_eq!(&text[..15], b"for the new one");
            if new.as_raw_fd() == number {
                return;
            }
        }
        panic!("the number was always taken");
    });
}

// Full queues.

fn unix_pairs(count: usize) -> Vec<(UnixStream, UnixStream)> {
    (0..count).map(|_| UnixStream::pair().unwrap()).collect()
}

/// Starts a receive on the first of each pair, with numbers from 1 on.
fn receive_all(
    driver: &mut Driver,
    source: &Source,
    pairs: &[(UnixStream, UnixStream)],
) -> Vec<(Operating<Receive<'static>>, Room)> {
    let receive = |(at, (one, _)): (usize, &(UnixStream, UnixStream))| {
        let buffer = Room::new(8);
        (Operating::new(at + 1, Receive::stream(buffer.lend())).pend(driver, source, one), buffer)
    };
    pairs.iter().enumerate().map(receive).collect()
}

/// Many times more than there is room for, both on the way there and on the way back.
#[test]
fn operations_beyond_both_queues_come_back_once_each() {
    const MANY: usize = 400;
    on_rings(RINGS, |driver| {
        let source = Source::new();
        let pairs = unix_pairs(MANY);
        for round in 0..3_u8 {
            // Before anybody has waited.
            let mut receives = receive_all(driver, &source, &pairs);
            assert!(driver.has_sources());
            if round > 0 {
                submit(driver);
            }
            for (at, (_, peer)) in pairs.iter().enumerate() {
                { peer }.write_all(&[round, at as u8, (at >> 8) as u8]).unwrap();
            }
            // A look finds what is there, as a wait does.
            let tokens = if round == 2 { look_for(driver, MANY) } else { collect(driver, MANY) };
            nothing_comes(driver);
            for token in tokens {
                let at = token - 1;
                let (receive, buffer) = &mut receives[at];
                assert_eq!(receive.result(driver, &source, &pairs[at].0).unwrap(), 3);
                assert_eq!(buffer.bytes()[..3], [round, at as u8, (at >> 8) as u8]);
            }
            assert!(!driver.has_sources());
        }
    });
}

#[test]
fn operations_that_are_over_at_once_come_back_once_each() {
    const MANY: usize = 400;
    on_rings(RINGS, |driver| {
        let source = Source::new();
        let pairs = unix_pairs(MANY);
        for _ in 0..2 {
            // A poll is never attempted, so each goes through the queues. Some come back while others are started.
            let start = |at: usize| {
                Operating::new(at + 1, Poll::new(Direction::Write)).pend(driver, &source, &pairs[at].0)
            };
            let mut polls: Vec<_> = (0..MANY).map(start).collect();
            for token in collect(driver, MANY) {
                polls[token - 1].result(driver, &source, &pairs[token - 1].0).unwrap();
            }
            nothing_comes(driver);
        }
    });
}

#[test]
fn what_came_back_while_others_were_started_does_not_wait_for_them() {
    on_rings(&["entries=1", "submit,plain,entries=1"], |driver| {
        let (_peer, one) = UnixStream::pair().unwrap();
        let source = Source::new();
        let mut poll = Operating::new(1, Poll::new(Direction::Write)).pend(driver, &source, &one);
        // Each of these finds the queue full, and hands over the one before it.
        let receives = [2, 3, 4]
            .map(|token| Operating::new(token, Receive::stream(room(8))).pend(driver, &source, &one));
        let began = Instant::now();
        assert_eq!(wait(driver, SOON), [1]);
        assert!(began.elapsed() < SOON);
        poll.result(driver, &source, &one).unwrap();
        receives.iter().for_each(|receive| receive.cancel(driver, &source));
        let tokens = collect(driver, 3);
        assert_eq!(tokens.iter().sum::<usize>(), 2 + 3 + 4);
        for mut receive in receives {
            assert!(receive.finish(driver, &source, &one).is_none());
        }
    });
}

// Leaving early.

#[test]
fn cancelled_operations_come_back_without_a_result_and_take_nothing() {
    on_rings(RINGS, |driver| {
        for handed_over in [false, true] {
            let (mut peer, one) = UnixStream::pair().unwrap();
            let source = Source::new();
            let buffer = Room::new(8);
            let receive = Receive::stream(buffer.lend());
            let mut receive = Operating::new(1, receive).pend(driver, &source, &one);
            let mut poll = Operating::new(2, Poll::new(Direction::Read)).pend(driver, &source, &one);
            if handed_over {
                submit(driver);
            }
            receive.cancel(driver, &source);
            poll.cancel(driver, &source);
            assert_eq!(collect(driver, 2).len(), 2);
            peer.write_all(b"bytes").unwrap();
            nothing_comes(driver);
            assert!(receive.finish(driver, &source, &one).is_none());
            assert!(poll.finish(driver, &source, &one).is_none());
            assert_eq!(buffer.bytes(), [0; 8]);
            assert_eq!((&one).read(&mut [0; 8]).unwrap(), 5, "the bytes are there for others");
            // A flight can be used again.
            assert!(receive.start(driver, &source, &one).is_none());
            peer.write_all(b"again").unwrap();
            assert_eq!(collect(driver, 1), [1]);
            assert_eq!(receive.result(driver, &source, &one).unwrap(), 5);
        }
    });
}

#[test]
fn operation_that_has_succeeded_before_it_is_cancelled_keeps_its_result() {
    on_rings(RINGS, |driver| {
        for waited in [false, true] {
            let (mut peer, one) = UnixStream::pair().unwrap();
            let source = Source::new();
            let buffer = Room::new(8);
            let receive = Receive::stream(buffer.lend());
            let mut receive = Operating::new(1, receive).pend(driver, &source, &one);
            submit(driver);
            peer.write_all(b"bytes").unwrap();
            if waited {
                // Whoever has its token back needs no cancellation, and gets no second token.
                assert_eq!(collect(driver, 1), [1]);
                receive.cancel(driver, &source);
            } else {
                receive.cancel(driver, &source);
                assert_eq!(collect(driver, 1), [1]);
            }
            nothing_comes(driver);
            match receive.finish(driver, &source, &one) {
                Some(count) => {
                    assert_eq!(count.unwrap(), 5);
                    assert_eq!(&buffer.bytes()[..5], b"bytes");
                }
                // The ring may not have got round to it.
                None => {
                    assert!(!waited);
                    assert_eq!(buffer.bytes(), [0; 8]);
                    assert_eq!((&one).read(&mut [0; 8]).unwrap(), 5);
                }
            }
        }
    });
}

#[test]
fn cancellation_ends_its_operation_and_no_other() {
    on_rings(RINGS, |driver| {
        let (mut peer, one) = UnixStream::pair().unwrap();
        let source = Source::new();
        let mut receives: Vec<_> = (1..=5)
            .map(|token| Operating::new(token, Receive::stream(room(1))).pend(driver, &source, &one))
            .collect();
        submit(driver);
        for token in [4, 2] {
            receives[token - 1].cancel(driver, &source);
            assert_eq!(collect(driver, 1), [token]);
            assert!(receives[token - 1].finish(driver, &source, &one).is_none());
        }
        nothing_comes(driver);
        peer.write_all(b"135").unwrap();
        let mut tokens = collect(driver, 3);
        tokens.sort_unstable();
        assert_eq!(tokens, [1, 3, 5]);
        for token in tokens {
            assert_eq!(receives[token - 1].result(driver, &source, &one).unwrap(), 1);
        }
    });
}

/// More cancellations than there is room for, behind as many operations.
#[test]
fn cancellations_find_room_in_full_queues() {
    on_rings(RINGS, |driver| {
        let source = Source::new();
        let pairs = unix_pairs(200);
        for handed_over in [false, true] {
            let mut receives = receive_all(driver, &source, &pairs);
            if handed_over {
                submit(driver);
            }
            receives.iter().for_each(|(receive, _)| receive.cancel(driver, &source));
            assert_eq!(collect(driver, pairs.len()).len(), pairs.len());
            for ((receive, _), (one, _)) in receives.iter_mut().zip(&pairs) {
                assert!(receive.finish(driver, &source, one).is_none());
            }
            nothing_comes(driver);
        }
    });
}

#[test]
fn wait_for_readiness_that_is_cancelled_makes_a_last_attempt() {
    on_rings(RINGS, |driver| {
        let (one, peer) = UnixDatagram::pair().unwrap();
        let source = Source::new();
        for room in [false, true] {
            fill(&one);
            let mut send = Operating::new(1, op::Send::datagram(b"last")).pend(driver, &source, &one);
            submit(driver);
            if room {
                make_room(&one, &peer);
            }
            send.cancel(driver, &source);
            assert_eq!(collect(driver, 1), [1]);
            assert_eq!(send.finish(driver, &source, &one).map(Result::unwrap), room.then_some(4));
        }
    });
}

/// Cancellations and bytes that come at about the same moment.
#[test]
fn no_byte_is_lost_to_a_cancellation() {
    on_rings(RINGS, |driver| {
        let (one, peer) = UnixStream::pair().unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let writing = {
            let over = Arc::clone(&over);
            thread::spawn(move || {
                let mut written = 0_u64;
                while !over.load(Ordering::Relaxed) {
                    (&peer).write_all(&[written as u8]).unwrap();
                    written += 1;
                    // A number that only has to differ.
                    thread::sleep(Duration::from_micros(written * 7919 % 60));
                }
                written
            })
        };
        let source = Source::new();
        let (mut received, mut cancelled, mut late) = (0_u64, 0, 0);
        let mut check = |room: Room, count: usize| {
            for byte in &room.bytes()[..count] {
                assert_eq!(*byte, received as u8, "byte {received}");
                received += 1;
            }
            received
        };
        for round in 0..2_000_u64 {
            let buffer = Room::new(4);
            let mut receive = Operating::new(1, Receive::stream(buffer.lend()));
            match receive.start(driver, &source, &one) {
                Some(count) => drop(check(buffer, count.unwrap())),
                None => {
                    let timeout = Duration::from_micros(round * 7919 % 90);
                    let mut tokens = wait(driver, timeout);
                    if tokens.is_empty() {
                        receive.cancel(driver, &source);
                        tokens = collect(driver, 1);
                        match receive.finish(driver, &source, &one) {
                            Some(count) => {
                                check(buffer, count.unwrap());
                                late += 1;
                            }
                            None => {
                                assert_eq!(buffer.bytes(), [0; 4]);
                                cancelled += 1;
                            }
                        }
                    } else {
                        let count = receive.result(driver, &source, &one).unwrap();
                        check(buffer, count);
                    }
                    assert_eq!(tokens, [1]);
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        let written = writing.join().unwrap();
        let mut all = check(Room::new(0), 0);
        println!("{written} bytes, {cancelled} cancelled, {late} results of cancelled operations");
        assert_ne!(cancelled, 0);
        while all < written {
            let buffer = Room::new(4);
            let count = run(driver, &one, Receive::stream(buffer.lend())).unwrap();
            all = check(buffer, count);
        }
    });
}

/// Several receives wait on one socket, and are cancelled while packets come that another one takes in the next moment: what was woken for nothing must not wait on as if nobody had
/// asked it to end.
#[test]
fn receives_that_are_cancelled_end_though_another_one_takes_the_packet() {
    on_rings(RINGS, |driver| {
        let mut random = Random::seeded();
        let (one, peer) = udp_pair();
        let over = Arc::new(AtomicBool::new(false));
        let thief = {
            let (over, one, mut random) = (Arc::clone(&over), one.try_clone().unwrap(), random.split());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    peer.send(b"x").unwrap();
                    (0..random.below(500)).for_each(|_| std::hint::spin_loop());
                    take_all(&one);
                }
            })
        };
        let source = Source::new();
        let mut receives: Vec<_> =
            (1..=4).map(|token| Operating::new(token, Receive::datagram(room(4)))).collect();
        let (mut results, mut cancelled) = (0, 0);
        let until = Instant::now() + RACE;
        while Instant::now() < until {
            let mut waiting = Vec::new();
            for receive in &mut receives {
                if receive.start(driver, &source, &one).is_none() {
                    waiting.push(receive.flight.token().0);
                }
            }
            let mut came = Vec::new();
            for token in &waiting {
                if random.below(2) == 0 {
                    came.extend(wait(driver, Duration::ZERO));
                }
                receives[token - 1].cancel(driver, &source);
            }
            came.extend(collect(driver, waiting.len() - came.len()));
            came.sort_unstable();
            assert_eq!(came, waiting, "each comes back once");
            for token in came {
                match receives[token - 1].finish(driver, &source, &one) {
                    Some(count) => results += count.unwrap(),
                    None => cancelled += 1,
                }
            }
        }
        over.store(true, Ordering::Relaxed);
        thief.join().unwrap();
        println!("{results} packets, {cancelled} cancelled");
        assert_ne!(cancelled, 0);
    });
}

/// Takes the packets that there are, without waiting.
fn take_all(socket: &UdpSocket) {
    use rustix::net::RecvFlags;
    while rustix::net::recv(socket, &mut [0; 4], RecvFlags::DONTWAIT).is_ok() {}
}

/// An error in the socket's error queue makes it ready, and a receive finds nothing all the same: the kernel attempts that again and again, and while it is between two
/// attempts a cancellation does not find it.
#[test]
fn receive_that_the_kernel_is_about_to_attempt_again_ends_when_cancelled() {
    on_rings(RINGS, |driver| {
        for handed_over in [false, true] {
            let one = socket_with_an_error_to_read();
            let source = Source::new();
            let receive = Operating::new(1, Receive::datagram(room(4)));
            let mut receive = receive.pend(driver, &source, &one);
            if handed_over {
                submit(driver);
            }
            receive.cancel(driver, &source);
            assert_eq!(collect(driver, 1), [1]);
            assert!(receive.finish(driver, &source, &one).is_none());
        }
    });
}

/// A socket without packets, but with an error in its error queue.
fn socket_with_an_error_to_read() -> UdpSocket {
    let one = UdpSocket::bind("127.0.0.1:0").unwrap();
    let nobody = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let on: libc::c_int = 1;
    // SAFETY: the option is an integer, which is there.
    let set = unsafe {
        let (on, length) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
        libc::setsockopt(one.as_raw_fd(), libc::SOL_IP, libc::IP_RECVERR, on, length)
    };
    assert_eq!(set, 0);
    one.connect(nobody).unwrap();
    one.send(b"x").unwrap();
    // The error itself is told once.
    assert_eq!(one.recv(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    one
}

/// The kernel lets go of the files, though not at once.
#[test]
fn driver_that_goes_takes_what_is_in_flight_with_it() {
    for words in RINGS {
        let Some(mut driver) = ring(words) else { return };
        let (mut peer, one) = UnixStream::pair().unwrap();
        let source = Source::new();
        let _receive = Operating::new(1, Receive::stream(room(8))).pend(&mut driver, &source, &one);
        submit(&mut driver);
        drop((driver, one));
        peer.set_read_timeout(Some(SOON)).unwrap();
        // What the kernel still has to do for the ring may interrupt this.
        assert_eq!(read_to_the_end(&mut peer), 0);
    }
}

fn read_to_the_end(peer: &mut UnixStream) -> usize {
    // It goes on after an interruption.
    peer.read_to_end(&mut Vec::new()).unwrap()
}

// Waits.

#[test]
fn wait_lasts_as_long_as_asked_and_not_much_longer() {
    on_rings(RINGS, |driver| {
        let (_peer, one) = UnixStream::pair().unwrap();
        let source = Source::new();
        let mut receive = Operating::new(1, Receive::stream(room(8))).pend(driver, &source, &one);
        submit(driver);
        for micros in [1, 50, 999, 1_000, 1_001, 7_777, 25_500] {
            let timeout = Duration::from_micros(micros);
            // Of some waits, since others have the machine too.
            let soonest = (0..5).map(|_| {
                let began = Instant::now();
                assert_eq!(wait(driver, timeout), []);
                let lasted = began.elapsed();
                assert!(lasted >= timeout, "{timeout:?} were {lasted:?}");
                lasted
            });
            let soonest = soonest.min().unwrap();
            assert!(soonest < timeout + Duration::from_millis(250), "{timeout:?} were {soonest:?}");
        }
        let began = Instant::now();
        for _ in 0..100 {
            submit(driver);
        }
        assert!(began.elapsed() < SOON, "zero does not wait");
        receive.cancel(driver, &source);
        assert_eq!(collect(driver, 1), [1]);
        assert!(receive.finish(driver, &source, &one).is_none());
    });
}

#[test]
fn wait_can_be_asked_to_last_for_ages() {
    on_rings(RINGS, |driver| {
        let ages = [1 << 22, 1 << 40, i64::MAX as u64, u64::MAX].map(Duration::from_secs);
        for timeout in ages.into_iter().chain([Duration::MAX]).map(Some).chain([None]) {
            let notifier = driver.notifier();
            let (rung, ring) = (Arc::new(AtomicBool::new(false)), Duration::from_millis(5));
            let ringing = {
                let rung = Arc::clone(&rung);
                thread::spawn(move || {
                    thread::sleep(ring);
                    rung.store(true, Ordering::SeqCst);
                    notifier.notify();
                })
            };
            let mut waits = 0;
            while !rung.load(Ordering::SeqCst) {
                driver.wait(timeout, &mut Vec::new()).unwrap();
                waits += 1;
            }
            assert!(waits < 10, "{timeout:?}: {waits} waits in {ring:?}");
            ringing.join().unwrap();
            wait(driver, Duration::ZERO);
        }
    });
}

/// Each of these is answered before the next comes, so a notification that got lost would be waited for.
#[test]
fn no_notification_is_lost() {
    on_rings(RINGS, |driver| {
        const ROUNDS: u64 = 2_000;
        let notifier = driver.notifier();
        let (said, heard) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let ringing = {
            let (said, heard) = (Arc::clone(&said), Arc::clone(&heard));
            thread::spawn(move || {
                for round in 1..=ROUNDS {
                    said.store(round, Ordering::SeqCst);
                    notifier.notify();
                    while heard.load(Ordering::SeqCst) < round {
                        thread::yield_now();
                    }
                }
            })
        };
        for round in 1..=ROUNDS {
            let began = Instant::now();
            while said.load(Ordering::SeqCst) < round {
                assert_eq!(wait(driver, SOON), []);
                assert!(began.elapsed() < SOON, "notification {round} has not come");
            }
            heard.store(round, Ordering::SeqCst);
        }
        ringing.join().unwrap();
    });
}

/// Whether nothing ends a wait.
fn quiet(driver: &mut Driver) -> bool {
    let began = Instant::now();
    assert_eq!(wait(driver, NOTHING), []);
    began.elapsed() >= NOTHING
}

#[test]
fn notifications_from_everywhere_end_waits_and_not_for_ever() {
    on_rings(RINGS, |driver| {
        // So many that their completions would not have room.
        let notifier = driver.notifier();
        for _ in 0..1_000 {
            notifier.notify();
        }
        let threads = [(); 4].map(|()| {
            let notifier = driver.notifier();
            thread::spawn(move || (0..1_000).for_each(|_| notifier.notify()))
        });
        let began = Instant::now();
        assert_eq!(wait(driver, SOON), []);
        assert!(began.elapsed() < SOON);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let give_up = Instant::now() + SOON;
        while !quiet(driver) {
            assert!(Instant::now() < give_up, "notifications that are over go on ending waits");
        }
        // And the next is heard.
        notifier.notify();
        let began = Instant::now();
        assert_eq!(wait(driver, SOON), []);
        assert!(began.elapsed() < SOON);
    });
}

/// The ring may take it at any of its system calls, and does not wait then.
#[test]
fn notification_that_comes_before_a_wait_ends_it() {
    on_rings(RINGS, |driver| {
        let (_peer, one) = UnixStream::pair().unwrap();
        let source = Source::new();
        // So that the notifier is watched.
        wait(driver, Duration::ZERO);
        for with_a_full_queue in [false, true] {
            while !quiet(driver) {}
            driver.notifier().notify();
            let count = if with_a_full_queue { 300 } else { 1 };
            let receive = |token| Operating::new(token, Receive::stream(room(8))).pend(driver, &source, &one);
            let receives: Vec<_> = (1..=count).map(receive).collect();
            let began = Instant::now();
            assert_eq!(wait(driver, SOON), []);
            assert!(began.elapsed() < SOON);
            receives.iter().for_each(|receive| receive.cancel(driver, &source));
            assert_eq!(collect(driver, count).len(), count);
            for mut receive in receives {
                assert!(receive.finish(driver, &source, &one).is_none());
            }
        }
    });
}

/// Completions that find no room end the kernel's watch of the notifier, which has to be renewed.
#[test]
fn notifications_are_heard_after_the_queue_has_run_over() {
    on_rings(RINGS, |driver| {
        let source = Source::new();
        let pairs = unix_pairs(200);
        for _ in 0..3 {
            let mut receives = receive_all(driver, &source, &pairs);
            submit(driver);
            let notifier = driver.notifier();
            for (_, peer) in &pairs {
                { peer }.write_all(b"x").unwrap();
                notifier.notify();
            }
            for token in collect(driver, pairs.len()) {
                assert_eq!(receives[token - 1].0.result(driver, &source, &pairs[token - 1].0).unwrap(), 1);
            }
            while !quiet(driver) {}
            for _ in 0..3 {
                let notifier = driver.notifier();
                let rung = Arc::new(AtomicBool::new(false));
                let ringing = {
                    let rung = Arc::clone(&rung);
                    thread::spawn(move || {
                        thread::sleep(Duration::from_millis(1));
                        rung.store(true, Ordering::SeqCst);
                        notifier.notify();
                    })
                };
                let began = Instant::now();
                while !rung.load(Ordering::SeqCst) {
                    assert_eq!(wait(driver, SOON), []);
                }
                assert!(began.elapsed() < SOON);
                // Whichever wait it has ended.
                while !quiet(driver) {}
                ringing.join().unwrap();
            }
        }
    });
}

extern "C" fn ignore(_: libc::c_int) {}

/// Signals without `SA_RESTART`, again and again, to the thread that waits.
#[test]
fn signal_ends_a_wait_early_and_nothing_is_lost() {
    // SAFETY: a sigaction of zeroes is one without flags and with an empty mask; the handler does nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as extern "C" fn(libc::c_int) as usize;
        assert_eq!(libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut()), 0);
    }
    on_rings(RINGS, |driver| {
        const BYTES: usize = 300;
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Source::new();
        // SAFETY: it has no preconditions.
        let this = unsafe { libc::pthread_self() };
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let over = &over;
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    // SAFETY: that thread waits for this one.
                    unsafe { libc::pthread_kill(this, libc::SIGUSR1) };
                    thread::sleep(Duration::from_micros(50));
                }
            });
            let _over = SetOnDrop(over);
            let began = Instant::now();
            assert_eq!(wait(driver, SOON), []);
            assert!(began.elapsed() < SOON, "no signal has ended the wait");
            let writing = thread::spawn(move || {
                for byte in 0..BYTES {
                    peer.write_all(&[byte as u8]).unwrap();
                    thread::sleep(Duration::from_micros(byte as u64 * 7919 % 200));
                }
                peer
            });
            for byte in 0..BYTES {
                let buffer = Room::new(1);
                assert_eq!(run(driver, &one, Receive::stream(buffer.lend())).unwrap(), 1);
                assert_eq!(buffer.bytes(), [byte as u8]);
            }
            let _peer = writing.join().unwrap();
            let mut receive = Operating::new(9, Receive::stream(room(1))).pend(driver, &source, &one);
            let began = Instant::now();
            while began.elapsed() < NOTHING {
                assert_eq!(wait(driver, NOTHING), []);
            }
            receive.cancel(driver, &source);
            assert_eq!(collect(driver, 1), [9]);
            assert!(receive.finish(driver, &source, &one).is_none());
        });
    });
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes a system call fail for the calling thread from now on, if there are filters here.
fn forbid(call: libc::c_long) -> bool {
    let instruction =
        |code: u32, jump_false, k| libc::sock_filter { code: code as u16, jt: 0, jf: jump_false, k };
    let mut filter = [
        // The number of the call is the first word of what a filter sees.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, call as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which is well-formed; it concerns one call of this thread.
    unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) == 0
    }
}

#[test]
fn look_that_can_find_nothing_makes_no_system_call() {
    let Some(mut driver) = ring("") else { return };
    let looking = thread::spawn(move || {
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Source::new();
        let _receive = Operating::new(1, Receive::stream(room(8))).pend(&mut driver, &source, &one);
        submit(&mut driver);
        if !forbid(libc::SYS_io_uring_enter) {
            println!("SKIPPED: there are no system call filters here");
            return;
        }
        for _ in 0..1_000 {
            submit(&mut driver);
        }
        // With something to hand over it makes one.
        peer.write_all(b"x").unwrap();
        let _another = Operating::new(2, Poll::new(Direction::Read)).pend(&mut driver, &source, &one);
        let error = driver.wait(Some(Duration::ZERO), &mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    });
    looking.join().unwrap();
}

// How a ring is made.

#[test]
fn ring_that_one_thread_has_made_is_used_by_another() {
    for words in RINGS {
        let Some(mut driver) = ring(words) else { return };
        let notifier = driver.notifier();
        notifier.notify();
        let using = thread::spawn(move || {
            let began = Instant::now();
            assert_eq!(wait(&mut driver, SOON), []);
            assert!(began.elapsed() < SOON);
            let (one, peer) = UnixStream::pair().unwrap();
            receive_a_stream(&mut driver, &one, peer, Receive::unix_stream);
            assert_eq!(make(&mut driver, 1, op::Statx::new("/".as_ref()).unwrap()).map_err(code_of), Ok(()));
        });
        using.join().unwrap();
    }
}

fn features(words: &str) -> Option<Features> {
    match ring(words)? {
        Driver::Uring(ring) => Some(ring.features()),
        Driver::Epoll(_) => unreachable!("a ring was asked for"),
    }
}

#[test]
fn every_word_takes_its_feature_away_and_no_other() {
    let Some(all) = features("") else { return };
    println!("{all}");
    type Take = fn(&mut Features);
    let without: [(&str, Take); 7] = [
        ("no-single-issuer", |features| {
            features.single_issuer = false;
            // It needs the other.
            features.defer_taskrun = false;
        }),
        ("no-defer-taskrun", |features| features.defer_taskrun = false),
        ("no-coop-taskrun", |features| features.coop_taskrun = false),
        ("no-submit-all", |features| features.submit_all = false),
        ("no-skip", |features| features.skip_success = false),
        ("no-multishot", |features| features.multishot = false),
        ("no-poll-first", |features| features.poll_first = false),
    ];
    let mut plain = all;
    for (word, take) in without {
        let mut expected = all;
        take(&mut expected);
        take(&mut plain);
        assert_eq!(features(word), Some(expected), "{word}");
    }
    assert_eq!(features("plain"), Some(plain));
    for (asked, entries) in [(1, 1), (3, 4), (64, 64)] {
        let features = features(&format!("entries={asked}")).unwrap();
        assert_eq!(features.entries, entries);
        assert!(features.completions > entries, "there is more room on the way back");
    }
}

// Calls, by a ring or beside epoll.

/// With a ring of its own, with one beside epoll, and without any: there calls are made at once.
fn on_makers(test: impl Fn(&mut Maker)) {
    println!("by a call");
    test(&mut Maker::Call);
    for words in RINGS {
        let Some(driver) = ring(words) else { return };
        println!("FIBRA_URING={words}, by the driver and beside epoll");
        test(&mut Maker::Driver(driver));
        test(&mut Maker::Driver(Driver::epoll(words.parse().unwrap()).unwrap()));
    }
}

#[expect(clippy::large_enum_variant, reason = "there is one")]
enum Maker {
    Call,
    Driver(Driver),
}

impl Maker {
    fn make<C: Call + 'static>(&mut self, mut call: C) -> io::Result<C::Output> {
        match self {
            Maker::Call => call.call(),
            Maker::Driver(driver) => make(driver, 7, call),
        }
    }
}

fn code_of(error: io::Error) -> i32 {
    error.raw_os_error().expect("an error of the kernel")
}

/// A directory of this test's own, which goes with it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fibra-ring-{}-{number}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// A file with so many bytes, for tests that leak it.
    fn open(&self, name: &str, length: usize) -> BorrowedFd<'static> {
        let path = self.file(name);
        std::fs::write(&path, bytes(length)).unwrap();
        lend(std::fs::File::open(path).unwrap().into())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A descriptor that stays open, for a call.
fn lend(fd: OwnedFd) -> BorrowedFd<'static> {
    let fd: &OwnedFd = Box::leak(Box::new(fd));
    fd.as_fd()
}

const MODE: Mode = Mode::from_bits_retain(0o600);

#[test]
fn files_are_opened_written_read_and_synced() {
    on_makers(|maker| {
        let directory = Directory::new();
        let path = directory.file("file");
        let open = |maker: &mut Maker, flags| {
            maker.make(op::Open::new(&path, flags, MODE).unwrap()).map_err(code_of)
        };
        assert_eq!(open(maker, OFlags::RDONLY).unwrap_err(), libc::ENOENT);
        let fd = open(maker, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).unwrap();
        assert!(rustix::io::fcntl_getfd(&fd).unwrap().contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(open(maker, OFlags::RDWR | OFlags::CREATE | OFlags::EXCL).unwrap_err(), libc::EEXIST);

        let fd = lend(fd);
        assert_eq!(maker.make(op::WriteAt::new(fd, b"hello", 0).unwrap()).unwrap(), 5);
        assert_eq!(maker.make(op::WriteAt::new(fd, b"there", 7).unwrap()).unwrap(), 5);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello\0\0there");
        let buffer = Room::new(8);
        for (offset, count, text) in [(0, 8, b"hello\0\0t"), (7, 5, b"there\0\0t"), (12, 0, b"there\0\0t")] {
            let read = maker.make(op::ReadAt::new(fd, buffer.lend(), offset).unwrap());
            assert_eq!(read.unwrap(), count);
            assert_eq!(buffer.bytes(), text);
        }
        assert_eq!(maker.make(op::ReadAt::new(fd, room(8), 1 << 40).unwrap()).unwrap(), 0);
        maker.make(op::Sync::all(fd)).unwrap();
        maker.make(op::Sync::data(fd)).unwrap();

        // Buffers one after the other, more than the kernel takes at once, none at all.
        let slices = |buffers: &[&'static [u8]]| -> &'static [IoSlice<'static>] {
            buffers.iter().map(|buffer| IoSlice::new(buffer)).collect::<Vec<_>>().leak()
        };
        let rooms = |rooms: &[Room]| -> &'static mut [IoSliceMut<'static>] {
            rooms.iter().map(|room| IoSliceMut::new(room.lend())).collect::<Vec<_>>().leak()
        };
        let write = op::WriteVectoredAt::new(fd, slices(&[b"general", b"", b" Kenobi"]), 6).unwrap();
        assert_eq!(maker.make(write).unwrap(), 14);
        assert_eq!(std::fs::read(&path).unwrap(), b"hello\0general Kenobi");
        let parts = [Room::new(3), Room::new(0), Room::new(20)];
        for (offset, count, texts) in
            [(0, 20, ["hel", "lo\0general Kenobi\0\0\0"]), (15, 5, ["eno", "bi\0general Kenobi\0\0\0"])]
        {
            let read = maker.make(op::ReadVectoredAt::new(fd, rooms(&parts), offset).unwrap());
            assert_eq!(read.unwrap(), count);
            assert_eq!([parts[0].bytes(), parts[2].bytes()], texts.map(|text| text.as_bytes().to_vec()));
        }
        assert_eq!(maker.make(op::ReadVectoredAt::new(fd, rooms(&parts), 20).unwrap()).unwrap(), 0);
        assert_eq!(maker.make(op::ReadVectoredAt::new(fd, rooms(&[]), 0).unwrap()).unwrap(), 0);
        assert_eq!(maker.make(op::WriteVectoredAt::new(fd, slices(&[]), 0).unwrap()).unwrap(), 0);
        let many = maker.make(op::WriteVectoredAt::new(fd, slices(&[b"ab".as_slice(); 1500]), 0).unwrap());
        assert_eq!(many.unwrap(), 2048);
        let singles = [(); 1500].map(|()| Room::new(1));
        assert_eq!(maker.make(op::ReadVectoredAt::new(fd, rooms(&singles), 0).unwrap()).unwrap(), 1024);
        assert_eq!((singles[1022].bytes(), singles[1024].bytes()), (b"a".to_vec(), vec![0]));
        rustix::fs::ftruncate(fd, 12).unwrap();

        // Enough for a thread of the kernel.
        let long: &'static [u8] = (0..1_u32 << 20).map(|at| (at % 251) as u8).collect::<Vec<_>>().leak();
        assert_eq!(maker.make(op::WriteAt::new(fd, long, 3).unwrap()).unwrap(), long.len());
        let buffer = Room::new(long.len());
        assert_eq!(maker.make(op::ReadAt::new(fd, buffer.lend(), 3).unwrap()).unwrap(), long.len());
        assert!(buffer.bytes() == long);
        let halves = long.split_at(long.len() / 2);
        let write = op::WriteVectoredAt::new(fd, slices(&[halves.1, halves.0]), 3).unwrap();
        assert_eq!(maker.make(write).unwrap(), long.len());
        let parts = [halves.1, halves.0].map(|half| Room::new(half.len()));
        let read = maker.make(op::ReadVectoredAt::new(fd, rooms(&parts), 3).unwrap());
        assert_eq!(read.unwrap(), long.len());
        assert!(parts[0].bytes() == halves.1 && parts[1].bytes() == halves.0);

        let appending = lend(open(maker, OFlags::WRONLY | OFlags::APPEND).unwrap());
        assert_eq!(maker.make(op::WriteAt::new(appending, b"end", 0).unwrap()).unwrap(), 3);
        assert_eq!(maker.make(op::ReadAt::new(fd, room(8), 3 + long.len() as u64).unwrap()).unwrap(), 3);
        assert_eq!(code(maker.make(op::ReadAt::new(appending, room(8), 0).unwrap())), libc::EBADF);
        let reading = lend(open(maker, OFlags::RDONLY).unwrap());
        assert_eq!(code(maker.make(op::WriteAt::new(reading, b"x", 0).unwrap())), libc::EBADF);
        let write = op::WriteVectoredAt::new(reading, slices(&[b"x"]), 0).unwrap();
        assert_eq!(code(maker.make(write)), libc::EBADF);
        let emptied = open(maker, OFlags::WRONLY | OFlags::TRUNC).unwrap();
        assert_eq!(rustix::fs::fstat(&emptied).unwrap().st_size, 0);
    });
}

#[test]
fn names_are_asked_for_changed_and_removed() {
    on_makers(|maker| {
        let directory = Directory::new();
        let (one, other, inner) = (directory.file("one"), directory.file("other"), directory.file("inner"));
        std::fs::write(&one, "one").unwrap();
        std::fs::write(&other, "other").unwrap();
        std::fs::create_dir(&inner).unwrap();
        std::fs::write(inner.join("file"), "").unwrap();
        let exists =
            |maker: &mut Maker, path: &Path| maker.make(op::Statx::new(path).unwrap()).map_err(code_of);
        assert_eq!(exists(maker, &one), Ok(()));
        maker.make(op::Rename::new(&one, &other).unwrap()).unwrap();
        assert_eq!(std::fs::read(&other).unwrap(), b"one");
        assert_eq!(exists(maker, &one), Err(libc::ENOENT));
        assert_eq!(exists(maker, &other.join("x")), Err(libc::ENOTDIR));
        assert_eq!(code(maker.make(op::Rename::new(&one, &other).unwrap())), libc::ENOENT);
        assert_eq!(code(maker.make(op::Unlink::file(&one).unwrap())), libc::ENOENT);
        assert_eq!(code(maker.make(op::Unlink::file(&inner).unwrap())), libc::EISDIR);
        assert_eq!(code(maker.make(op::Unlink::directory(&other).unwrap())), libc::ENOTDIR);
        assert_eq!(code(maker.make(op::Unlink::directory(&inner).unwrap())), libc::ENOTEMPTY);
        maker.make(op::Unlink::file(&inner.join("file")).unwrap()).unwrap();
        maker.make(op::Unlink::directory(&inner).unwrap()).unwrap();
        maker.make(op::Unlink::file(&other).unwrap()).unwrap();
        assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
        // A symbolic link that leads nowhere is there as a name, and not as a file.
        std::os::unix::fs::symlink("nowhere", &one).unwrap();
        assert_eq!(exists(maker, &one), Err(libc::ENOENT));
        maker.make(op::Unlink::file(&one).unwrap()).unwrap();
    });
}

#[test]
fn what_no_call_can_mean_is_refused() {
    let invalid = |error: io::Error| error.kind() == ErrorKind::InvalidInput;
    let path = Path::new("with\0zero");
    assert!(op::Open::new(path, OFlags::RDONLY, MODE).is_err_and(invalid));
    assert!(op::Statx::new(path).is_err_and(invalid));
    assert!(op::Unlink::file(path).is_err_and(invalid));
    assert!(op::Unlink::directory(path).is_err_and(invalid));
    assert!(op::Rename::new(Path::new("from"), path).is_err_and(invalid));
    assert!(op::Rename::new(path, Path::new("to")).is_err_and(invalid));
    let file = std::fs::File::open("/dev/null").unwrap();
    for offset in [1 << 63, u64::MAX] {
        assert!(op::ReadAt::new(file.as_fd(), &mut [0; 8], offset).is_err_and(invalid));
        assert!(op::WriteAt::new(file.as_fd(), b"x", offset).is_err_and(invalid));
        assert!(op::ReadVectoredAt::new(file.as_fd(), &mut [], offset).is_err_and(invalid));
        assert!(op::WriteVectoredAt::new(file.as_fd(), &[], offset).is_err_and(invalid));
    }
}

#[test]
fn calls_beyond_both_queues_come_back_once_each() {
    const MANY: usize = 400;
    on_makers(|maker| {
        let Maker::Driver(driver) = maker else { return };
        let directory = Directory::new();
        let file = directory.open("file", MANY);
        let start = |at: usize| {
            let mut calling = Calling::new(at + 1, op::ReadAt::new(file, room(MANY), at as u64).unwrap());
            assert!(calling.start(driver).is_none());
            calling
        };
        let mut calls: Vec<_> = (0..MANY).map(start).collect();
        assert!(driver.has_sources());
        for token in collect(driver, MANY) {
            let count = calls[token - 1].start(driver).expect("it is over");
            assert_eq!(count.unwrap(), MANY - (token - 1));
        }
        assert!(!driver.has_sources());
        nothing_comes(driver);
    });
}

#[test]
fn calls_and_sockets_share_a_wait() {
    on_makers(|maker| {
        let Maker::Driver(driver) = maker else { return };
        let directory = Directory::new();
        let file = directory.open("file", 1 << 20);
        let (one, mut peer) = UnixStream::pair().unwrap();
        let source = Source::new();
        let mut receive = Operating::new(1, Receive::stream(room(8))).pend(driver, &source, &one);
        for _ in 0..20 {
            // One that a thread of the kernel makes, while everybody waits.
            let mut read = Calling::new(2, op::ReadAt::new(file, room(1 << 20), 0).unwrap());
            assert!(read.start(driver).is_none());
            assert_eq!(collect(driver, 1), [2]);
            assert_eq!(read.start(driver).expect("it is over").unwrap(), 1 << 20);
            let mut read = Calling::new(2, op::ReadAt::new(file, room(8), 0).unwrap());
            assert!(read.start(driver).is_none());
            peer.write_all(b"x").unwrap();
            assert_eq!(collect(driver, 2).iter().sum::<usize>(), 3);
            assert_eq!(read.start(driver).expect("it is over").unwrap(), 8);
            receive.op.woken();
            assert_eq!(receive.start(driver, &source, &one).expect("it is over").unwrap(), 1);
            assert!(receive.start(driver, &source, &one).is_none());
            driver.notifier().notify();
            let began = Instant::now();
            assert_eq!(wait(driver, SOON), []);
            assert!(began.elapsed() < SOON);
        }
        if driver.cancel(&source, Direction::Read, receive.flight) == Cancel::InFlight {
            assert_eq!(collect(driver, 1), [1]);
            assert!(receive.finish(driver, &source, &one).is_none());
        }
    });
}

#[test]
fn without_rings_calls_are_for_others() {
    let settings: RingSettings = "off".parse().unwrap();
    let error = Driver::uring(&settings).unwrap_err();
    assert!(error.to_string().contains("FIBRA_URING=off"), "{error}");
    let mut driver = Driver::epoll(settings).unwrap();
    assert!(!driver.has_ring());
    let call = Box::leak(Box::new(op::Statx::new("/".as_ref()).unwrap()));
    let flight = Box::leak(Box::new(Flight::new(Token(1))));
    // SAFETY: both are never freed.
    assert!(unsafe { driver.start_call(call, flight) }.is_none());
    assert!(!driver.has_sources());
}
