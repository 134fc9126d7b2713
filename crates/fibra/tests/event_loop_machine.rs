//! State machines: stepped by hand, and by a loop.

use fibra::event_loop::{Cause, EventLoop, Interest, Machine, Step, Wait};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const MOMENT: Duration = Duration::from_millis(2);

/// Answers each byte with the next one, until the peer has nothing more to say; a peer that is silent is told so once.
struct Next {
    stream: UnixStream,
    state: State,
    steps: Vec<Cause>,
}

#[derive(Debug, PartialEq)]
enum State {
    Reading,
    Writing(u8),
    Warning,
    Over,
}

impl AsFd for Next {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Next {
    fn new() -> (Next, UnixStream) {
        let (stream, other) = UnixStream::pair().unwrap();
        stream.set_nonblocking(true).unwrap();
        (Next { stream, state: State::Reading, steps: Vec::new() }, other)
    }
}

impl Machine for Next {
    fn step(&mut self, cause: Cause) -> Step {
        self.steps.push(cause);
        if cause == Cause::TimedOut && self.state == State::Reading {
            self.state = State::Warning;
        }
        loop {
            let mut byte = [0];
            self.state = match self.state {
                State::Reading => match self.stream.read(&mut byte) {
                    Ok(0) => State::Over,
                    Ok(_) => State::Writing(byte[0] + 1),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Step::Wait(Wait::on(Interest::READABLE).within(MOMENT));
                    }
                    Err(_) => State::Over,
                },
                State::Writing(byte) => match self.stream.write(&[byte]) {
                    Ok(_) => State::Reading,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        return Step::Wait(Wait::on(Interest::WRITABLE));
                    }
                    Err(_) => State::Over,
                },
                State::Warning => State::Writing(b'?'),
                State::Over => return Step::Done,
            };
        }
    }
}

#[test]
fn a_machine_is_stepped_by_hand_without_a_loop() {
    let (mut machine, mut peer) = Next::new();
    let reading = Step::Wait(Wait::on(Interest::READABLE).within(MOMENT));
    assert_eq!(machine.step(Cause::Begin), reading);
    assert_eq!(machine.step(Cause::Ready), reading, "for no reason");
    peer.write_all(b"a").unwrap();
    assert_eq!(machine.step(Cause::Ready), reading);
    assert_eq!(machine.step(Cause::TimedOut), reading);
    let mut answer = [0; 2];
    peer.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"b?");
    drop(peer);
    assert_eq!(machine.step(Cause::Ready), Step::Done);
}

#[test]
fn a_loop_steps_machines_with_what_they_wait_for_and_gives_them_back() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let mut peers = Vec::new();
    for number in 0..20_u8 {
        let (machine, peer) = Next::new();
        events.drive(machine, move |events, machine| {
            assert_eq!((machine.state, machine.steps[0]), (State::Over, Cause::Begin));
            events.data.push(number);
        });
        peers.push(peer);
    }
    for (mut peer, number) in peers.iter().zip(0_u8..) {
        peer.write_all(&[number]).unwrap();
    }
    // Their patience is short, so the answer may come behind warnings.
    let mut answers = Vec::new();
    while answers.len() < 20 {
        events.run_once(None).unwrap();
        answers.clear();
        for peer in &peers {
            let mut buffer = [0; 64];
            let count = rustix::net::recv(
                peer,
                &mut buffer[..],
                rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
            );
            let (count, _) = count.unwrap_or((0, 0));
            answers.extend(buffer[..count].iter().find(|&&byte| byte != b'?').copied());
        }
    }
    assert_eq!(answers, (1..=20).collect::<Vec<_>>());
    drop(peers);
    events.run().unwrap();
    events.data.sort_unstable();
    assert_eq!(events.data, (0..20).collect::<Vec<_>>());
    assert!(events.is_empty());
}

#[test]
fn the_patience_of_a_machine_ends() {
    let mut events = EventLoop::with_data(None).unwrap();
    let (machine, mut peer) = Next::new();
    events.drive(machine, |events, machine| events.data = Some(machine.steps));
    let thread = std::thread::spawn(move || {
        let mut warning = [0];
        peer.read_exact(&mut warning).unwrap();
        assert_eq!(&warning, b"?");
    });
    events.run().unwrap();
    let steps = events.data.unwrap();
    assert_eq!(steps[..2], [Cause::Begin, Cause::TimedOut]);
    thread.join().unwrap();
}

/// Counts to ten, and lets the others have their turn each time.
struct Counts(UnixStream, u32, Option<u32>);

impl AsFd for Counts {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Machine for Counts {
    fn step(&mut self, cause: Cause) -> Step {
        assert_eq!(cause == Cause::Begin, self.1 == 0);
        self.1 += 1;
        assert_ne!(Some(self.1), self.2, "as it was told");
        if self.1 < 10 { Step::Wait(Wait::time(Duration::ZERO)) } else { Step::Done }
    }
}

#[test]
fn machines_that_wait_for_the_time_alone_take_turns() {
    let mut events = EventLoop::with_data(0).unwrap();
    for _ in 0..5 {
        let stream = UnixStream::pair().unwrap().0;
        events.drive(Counts(stream, 0, None), |events, machine| events.data += machine.1);
    }
    events.run().unwrap();
    assert_eq!(events.data, 50);
}

#[test]
fn a_machine_that_panics_or_is_cancelled_is_dropped_and_never_done() {
    let mut events = EventLoop::with_data(0).unwrap();
    events.on_panic(|events, panic| {
        assert!(panic.message().unwrap().contains("as it was told"));
        events.data += 1;
    });
    let (stream, mut panics) = UnixStream::pair().unwrap();
    events.drive(Counts(stream, 0, Some(3)), |_, _| unreachable!());
    let (machine, mut cancelled) = Next::new();
    let handle = events.drive(machine, |_, _| unreachable!());
    events.call_later(5 * MOMENT, move |events| assert!(events.cancel(handle)));
    events.run().unwrap();
    assert_eq!(events.data, 1);
    assert_eq!(panics.read(&mut [0; 1]).unwrap(), 0);
    let mut rest = Vec::new();
    // The unread byte of nobody: a clean end.
    cancelled.read_to_end(&mut rest).unwrap();
    assert!(rest.iter().all(|&byte| byte == b'?'));
}
