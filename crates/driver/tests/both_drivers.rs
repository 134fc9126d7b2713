//! Operations that both drivers carry out, each in its own way: shutting down, splicing, waiting for a moment.
//!
//! Without io_uring only epoll is tested, and the test says so; unless `CI` is `true`, where that is a failure.

use fibra_driver::op::{Shutdown, Splice, Timeout};
use fibra_driver::{
    Cancel, Completion, Driver, Finish, Flight, Operation, RingSettings, Source, Start, Token,
};
use rustix::net::Shutdown as How;
use rustix::pipe::{PipeFlags, pipe_with};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

/// How long a test waits for what has to come.
const SOON: Duration = Duration::from_secs(20);

/// How long a test waits to see that nothing comes.
const NOTHING: Duration = Duration::from_millis(20);

/// Runs `test` with epoll and with rings: with attempts first, with everything submitted, and the same on a kernel that has little.
fn on_drivers(test: impl Fn(&mut Driver)) {
    on_drivers_by_name(|driver, _| test(driver));
}

/// The same, and tells which: the words of the ring, none for epoll.
fn on_drivers_by_name(test: impl Fn(&mut Driver, Option<&str>)) {
    println!("epoll");
    test(&mut Driver::epoll(RingSettings::default()).unwrap(), None);
    for words in ["", "submit", "plain", "submit,plain", "entries=1"] {
        println!("FIBRA_URING={words}");
        match Driver::uring(&words.parse().unwrap()) {
            Ok(mut driver) => test(&mut driver, Some(words)),
            Err(error) => {
                assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "there is no io_uring here: {error}");
                println!("SKIPPED {}: {error}", thread::current().name().unwrap_or_default());
                return;
            }
        }
    }
}

/// An operation and its flight, which are never freed and so stay in their places whatever becomes of the test.
struct Operating<O: 'static> {
    op: &'static mut O,
    flight: &'static Flight,
    source: Source,
}

impl<O: Operation> Operating<O> {
    fn new(token: usize, op: O) -> Operating<O> {
        let (op, flight) = (Box::leak(Box::new(op)), Box::leak(Box::new(Flight::new(Token(token)))));
        Operating { op, flight, source: Source::new() }
    }

    /// Starts the operation, or goes on with it; none while it is pending.
    fn start(&mut self, driver: &mut Driver, fd: &impl AsFd) -> Option<std::io::Result<O::Output>> {
        // SAFETY: neither the operation, nor what it borrows, which is static, nor the flight ever goes; nobody uses them before the token has come back. For the
        // descriptor the kernel has a reference of its own.
        match unsafe { driver.start(&self.source, fd.as_fd(), self.op, self.flight) } {
            Start::Done { result, .. } => Some(result),
            Start::Pending => None,
        }
    }

    /// Starts an operation that has to wait, and sees that it does.
    #[track_caller]
    fn pend(mut self, driver: &mut Driver, fd: &impl AsFd) -> Operating<O> {
        let began = Instant::now();
        let mut over = self.start(driver, fd);
        while over.is_none() && began.elapsed() < NOTHING {
            // A ring may have asked in vain, and asks for readiness then.
            if !wait(driver, NOTHING).is_empty() {
                over = self.start(driver, fd);
            }
        }
        assert!(over.is_none(), "it is over at once");
        self
    }

    fn complete(&mut self, driver: &mut Driver, fd: &impl AsFd) -> std::io::Result<O::Output> {
        loop {
            if let Some(result) = self.start(driver, fd) {
                return result;
            }
            self.come_back(driver);
        }
    }

    /// Waits for what is pending.
    fn go_on(&mut self, driver: &mut Driver, fd: &impl AsFd) -> std::io::Result<O::Output> {
        self.come_back(driver);
        self.complete(driver, fd)
    }

    fn come_back(&mut self, driver: &mut Driver) {
        assert_eq!(collect(driver, 1), [self.flight.token().0]);
        self.op.woken();
    }

    /// Ends it early; the result, if it has one in spite of that.
    fn cancel(&mut self, driver: &mut Driver, fd: &impl AsFd) -> Option<std::io::Result<O::Output>> {
        match driver.cancel(&self.source, self.op.direction(), self.flight) {
            Cancel::Removed => None,
            Cancel::InFlight => {
                self.come_back(driver);
                let Finish { result, .. } = driver.finish(&self.source, fd.as_fd(), self.op, self.flight);
                result
            }
        }
    }
}

fn run<O: Operation + 'static>(driver: &mut Driver, fd: &impl AsFd, op: O) -> std::io::Result<O::Output> {
    Operating::new(7, op).complete(driver, fd)
}

fn wait(driver: &mut Driver, timeout: Duration) -> Vec<usize> {
    let mut out = Vec::new();
    driver.wait(Some(timeout), &mut out).unwrap();
    out.into_iter().map(|Completion { token }| token.0).collect()
}

/// The tokens of as many waits as it takes to get `count`.
fn collect(driver: &mut Driver, count: usize) -> Vec<usize> {
    let give_up = Instant::now() + SOON;
    let mut tokens = Vec::new();
    while tokens.len() < count {
        assert!(Instant::now() < give_up, "{count} tokens were to come, {tokens:?} came");
        tokens.extend(wait(driver, SOON));
    }
    tokens
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    (one, other)
}

/// The reading and the writing end of a pipe that stays open.
fn pipe() -> (&'static OwnedFd, &'static OwnedFd) {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap();
    (Box::leak(Box::new(read)), Box::leak(Box::new(write)))
}

#[test]
fn shut_down_sockets_have_ended_for_their_peers() {
    on_drivers(|driver| {
        for submitted in [false, true] {
            let (one, mut peer) = tcp_pair();
            let op = || {
                let op = Shutdown::new(How::Write);
                if submitted { op.submitted() } else { op }
            };
            run(driver, &one, op()).unwrap();
            assert_eq!(peer.read(&mut [0; 8]).unwrap(), 0);
            peer.write_all(b"x").unwrap();
            assert_eq!((&one).read(&mut [0; 8]).unwrap(), 1, "the other direction goes on");
            let error = run(driver, &unconnected(), op()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotConnected);
        }
    });
}

/// A socket that is connected to nothing.
fn unconnected() -> OwnedFd {
    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, None).unwrap()
}

#[test]
fn bytes_are_spliced_whether_they_are_there_or_come_later() {
    on_drivers(|driver| {
        let (one, mut peer) = tcp_pair();
        one.set_nonblocking(true).unwrap();
        let (read, write) = pipe();
        let into = || Splice::into_pipe(write.as_fd(), 1 << 20);
        let mut late = Operating::new(1, into()).pend(driver, &one);
        peer.write_all(b"late").unwrap();
        assert_eq!(late.go_on(driver, &one).unwrap(), Some(4));
        peer.write_all(b"r and more").unwrap();
        assert_eq!(run(driver, &one, into()).unwrap(), Some(10));
        let mut bytes = [0; 32];
        assert_eq!(rustix::io::read(read, &mut bytes).unwrap(), 14);
        assert_eq!(&bytes[..14], b"later and more");
        drop(peer);
        assert_eq!(run(driver, &one, into()).unwrap(), Some(0), "the end");
    });
}

#[test]
fn splice_into_a_full_socket_goes_on_when_there_is_room() {
    on_drivers(|driver| {
        let (one, mut peer) = tcp_pair();
        one.set_nonblocking(true).unwrap();
        let mut sent = 0;
        while let Ok(count) = (&one).write(&[0; 1 << 16]) {
            sent += count;
        }
        let (read, write) = pipe();
        assert_eq!(rustix::io::write(write, b"behind").unwrap(), 6);
        let mut splice = Operating::new(1, Splice::out_of_pipe(read.as_fd(), 6)).pend(driver, &one);
        let reading = thread::spawn(move || {
            peer.read_exact(&mut vec![0; sent]).unwrap();
            let mut rest = [0; 6];
            peer.read_exact(&mut rest).unwrap();
            rest
        });
        let mut left = 6;
        left -= splice.go_on(driver, &one).unwrap().unwrap();
        while left > 0 {
            left -= run(driver, &one, Splice::out_of_pipe(read.as_fd(), left)).unwrap().unwrap();
        }
        assert_eq!(&reading.join().unwrap(), b"behind");
    });
}

/// Also when the socket would block, and a ring's thread in the kernel waits.
#[test]
fn splice_that_is_cancelled_has_moved_nothing() {
    on_drivers_by_name(|driver, words| {
        let is_submitted = words.is_some_and(|words| words.contains("submit"));
        let modes: &[bool] = if is_submitted { &[true, false] } else { &[true] };
        for &nonblocking in modes {
            let (one, mut peer) = tcp_pair();
            one.set_nonblocking(nonblocking).unwrap();
            let (read, write) = pipe();
            let mut splice = Operating::new(1, Splice::into_pipe(write.as_fd(), 1 << 16)).pend(driver, &one);
            let result = splice.cancel(driver, &one);
            assert!(result.is_none(), "{result:?}");
            peer.write_all(b"kept").unwrap();
            assert_eq!(one.peek(&mut [0; 8]).unwrap(), 4, "the bytes are there for others");
            assert_eq!(run(driver, &one, Splice::into_pipe(write.as_fd(), 1 << 16)).unwrap(), Some(4));
            assert_eq!(rustix::io::read(read, &mut [0; 8]).unwrap(), 4);
        }
    });
}

#[test]
fn timeouts_come_in_their_order_and_not_before_their_time() {
    on_drivers(|driver| {
        let began = Instant::now();
        let start = |driver: &mut Driver, token, timeout: Timeout| {
            let timer = timeout.descriptor().unwrap();
            let mut operating = Operating::new(token, timeout);
            assert!(operating.start(driver, &timer).is_none(), "it is over at once");
            (operating, timer)
        };
        let shown = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let shown = Duration::new(shown.tv_sec as u64, shown.tv_nsec as u32);
        let (long, short) = (Duration::from_millis(60), Duration::from_millis(10));
        let mut timeouts = [
            start(driver, 1, Timeout::after(long)),
            start(driver, 2, Timeout::at(shown + short)),
            start(driver, 3, Timeout::after(Duration::MAX)),
        ];
        for (token, time) in [(2, short), (1, long)] {
            assert_eq!(collect(driver, 1), [token]);
            assert!(began.elapsed() >= time);
            let (operating, timer) = &mut timeouts[token - 1];
            operating.complete(driver, timer).unwrap();
        }
        let (never, timer) = &mut timeouts[2];
        assert!(never.cancel(driver, timer).is_none());
        for past in [Timeout::after(Duration::ZERO), Timeout::at(Duration::ZERO), Timeout::at(shown)] {
            let timer = past.descriptor().unwrap();
            run(driver, &timer, past).unwrap();
        }
        assert!(!matches!(driver, Driver::Uring(_)) || !driver.has_sources(), "something is in flight");
    });
}
