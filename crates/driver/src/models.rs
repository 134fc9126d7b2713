//! A descriptor's wait queues, model-checked with loom: waiters on several threads against the owner of the driver.
//!
//! ```text
//! RUSTFLAGS="--cfg loom" cargo test -p fibra-driver --lib --profile models models
//! ```
//!
//! The kernel is a count of bytes and a pending event; the driver and its sources are the real ones. Who is not woken waits on a
//! condition variable, and loom reports the deadlock. Each model names the mutations that it has been seen to catch.

use crate::op::{Attempt, Hints, Operation};
use crate::source::Ready;
use crate::{Cancel, Direction, Epoll, Source, Start, Token};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;
use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;

/// What the kernel holds for one descriptor.
#[derive(Default)]
struct Kernel {
    socket: Mutex<Socket>,
    changed: Condvar,
}

#[derive(Default)]
struct Socket {
    bytes: usize,
    ended: bool,
    /// An edge that has not been reported; the next one is merged with it.
    event: bool,
    /// The model is over.
    over: bool,
}

impl Kernel {
    fn receive(&self, bytes: usize, ended: bool) {
        let mut socket = self.socket.lock().unwrap();
        socket.bytes += bytes;
        socket.ended |= ended;
        socket.event = true;
        self.changed.notify_one();
    }

    /// Waits for the next event; none when the model is over.
    fn event(&self) -> Option<Ready> {
        let mut socket = self.socket.lock().unwrap();
        while !socket.event && !socket.over {
            socket = self.changed.wait(socket).unwrap();
        }
        let ready = Ready { read: true, read_hung_up: socket.ended, ..Ready::default() };
        std::mem::take(&mut socket.event).then_some(ready)
    }

    fn end(&self) {
        self.socket.lock().unwrap().over = true;
        self.changed.notify_one();
    }
}

/// Takes up to `room` bytes.
struct Receive<'a> {
    kernel: &'a Kernel,
    room: usize,
}

// SAFETY: there is no entry.
unsafe impl Operation for Receive<'_> {
    type Output = usize;

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn attempt(&mut self, _: BorrowedFd<'_>) -> io::Result<Attempt<usize>> {
        let mut socket = self.kernel.socket.lock().unwrap();
        let count = socket.bytes.min(self.room);
        if count == 0 && !socket.ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        socket.bytes -= count;
        Ok(Attempt { value: count, drained: count > 0 && count < self.room })
    }

    fn entry(&mut self, _: BorrowedFd<'_>, _: Hints) -> Option<io_uring::squeue::Entry> {
        None
    }

    fn completed(&mut self, _: rustix::io::Result<u32>) -> io::Result<Attempt<usize>> {
        unreachable!("there is no entry")
    }
}

/// Something that can be registered, and of which `poll(2)` always says that there may be more.
fn descriptor() -> BorrowedFd<'static> {
    static DESCRIPTOR: OnceLock<OwnedFd> = OnceLock::new();
    DESCRIPTOR.get_or_init(|| eventfd(1, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()).as_fd()
}

/// One socket, and the contexts that may wait for it: the token says which.
struct World {
    kernel: Kernel,
    source: Source,
    woken: [(Mutex<bool>, Condvar); 2],
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World { kernel: Kernel::default(), source: Source::new(), woken: Default::default() })
    }

    fn wake(&self, token: Token) {
        let (woken, changed) = &self.woken[token.0 - 1];
        let before = std::mem::replace(&mut *woken.lock().unwrap(), true);
        assert!(!before, "woken once for each wait");
        changed.notify_one();
    }

    fn park(&self, token: Token) {
        let (woken, changed) = &self.woken[token.0 - 1];
        let mut woken = woken.lock().unwrap();
        while !*woken {
            woken = changed.wait(woken).unwrap();
        }
        *woken = false;
    }

    /// The owner's part: reports events as `Epoll::wait` does.
    fn own(&self) {
        while let Some(ready) = self.kernel.event() {
            self.source.0.edge(ready, &mut |token| self.wake(token));
        }
    }

    /// One step of an operation.
    fn start(&self, driver: &mut Epoll, room: usize, token: Token) -> Option<io::Result<usize>> {
        let mut receive = Receive { kernel: &self.kernel, room };
        match driver.start(&self.source, descriptor(), &mut receive, token) {
            Start::Pending => None,
            Start::Done { result, pass } => {
                if let Some(next) = pass {
                    self.wake(next);
                }
                Some(result)
            }
        }
    }

    /// A whole operation.
    fn receive(&self, driver: &mut Epoll, room: usize, token: Token) -> io::Result<usize> {
        loop {
            match self.start(driver, room, token) {
                Some(result) => return result,
                None => self.park(token),
            }
        }
    }
}

fn spawn(world: &Arc<World>, body: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || body(&world))
}

fn with_preemptions(most: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(model);
}

const ONE: Token = Token(1);
const TWO: Token = Token(2);

/// Caught: an `enlist` that does not look at the count; a hint that is noted with the count from after the attempt; an `edge` that does not move the count.
#[test]
fn bytes_that_come_while_a_reader_goes_to_sleep_wake_it() {
    with_preemptions(3, || {
        let world = World::new();
        let owner = spawn(&world, World::own);
        let sender = spawn(&world, |world| {
            world.kernel.receive(1, false);
            world.kernel.receive(1, false);
        });
        let mut driver = Epoll::new(crate::RingSettings::default()).unwrap();
        let mut read = 0;
        while read < 2 {
            read += world.receive(&mut driver, 8, ONE).unwrap();
        }
        world.kernel.end();
        sender.join().unwrap();
        owner.join().unwrap();
    });
}

/// Caught: a hang-up that is noted after the count has moved; a hint that is believed after a hang-up; a count that is written or read relaxed.
#[test]
fn an_end_that_is_merged_with_the_last_bytes_is_seen() {
    with_preemptions(3, || {
        let world = World::new();
        let owner = spawn(&world, World::own);
        let sender = spawn(&world, |world| {
            world.kernel.receive(1, false);
            world.kernel.receive(1, true);
        });
        let mut driver = Epoll::new(crate::RingSettings::default()).unwrap();
        let mut read = 0;
        loop {
            match world.receive(&mut driver, 8, ONE).unwrap() {
                0 => break,
                count => read += count,
            }
        }
        assert_eq!(read, 2);
        world.kernel.end();
        sender.join().unwrap();
        owner.join().unwrap();
    });
}

/// Two datagrams, perhaps in one edge, and a reader on each of two workers.
///
/// Caught: a success that does not pass on what it may have left.
#[test]
fn one_edge_for_two_datagrams_wakes_both_readers() {
    with_preemptions(2, || {
        let world = World::new();
        let owner = spawn(&world, World::own);
        let other = spawn(&world, |world| {
            assert_eq!(
                world.receive(&mut Epoll::new(crate::RingSettings::default()).unwrap(), 1, TWO).unwrap(),
                1
            );
        });
        world.kernel.receive(2, false);
        assert_eq!(
            world.receive(&mut Epoll::new(crate::RingSettings::default()).unwrap(), 1, ONE).unwrap(),
            1
        );
        other.join().unwrap();
        world.kernel.end();
        owner.join().unwrap();
    });
}

/// Caught: a `retract` that says that it removed what it did not; a waiter that leaves with readiness in its hands.
#[test]
fn a_reader_that_leaves_takes_no_readiness_with_it() {
    with_preemptions(2, || {
        let world = World::new();
        let owner = spawn(&world, World::own);
        let other = spawn(&world, |world| {
            let mut driver = Epoll::new(crate::RingSettings::default()).unwrap();
            if world.start(&mut driver, 1, TWO).is_some() {
                // It has the byte: another for who stays.
                world.kernel.receive(1, false);
                return;
            }
            match world.source.retract(Direction::Read, TWO) {
                Cancel::Removed => {}
                Cancel::InFlight => {
                    world.park(TWO);
                    if let Some(next) = world.source.pass_on(Direction::Read) {
                        world.wake(next);
                    }
                }
            }
        });
        world.kernel.receive(1, false);
        assert_eq!(
            world.receive(&mut Epoll::new(crate::RingSettings::default()).unwrap(), 1, ONE).unwrap(),
            1
        );
        other.join().unwrap();
        world.kernel.end();
        owner.join().unwrap();
    });
}

/// Caught: a `close` that takes the waiters out before it says that it is closed.
#[test]
fn closing_wakes_who_waits_and_who_is_about_to() {
    loom::model(|| {
        let world = World::new();
        let other = spawn(&world, |world| {
            for token in world.source.close() {
                world.wake(token);
            }
        });
        assert!(world.receive(&mut Epoll::new(crate::RingSettings::default()).unwrap(), 1, ONE).is_err());
        other.join().unwrap();
    });
}

/// The ending driver's events are not reported any more, and nobody else is woken.
///
/// Caught: a driver that takes the waiters out before it says that it is closed.
#[test]
fn who_waits_with_a_driver_that_ends_goes_on_with_another() {
    loom::model(|| {
        let world = World::new();
        let mut ending = Epoll::new(crate::RingSettings::default()).unwrap();
        assert!(world.start(&mut ending, 1, TWO).is_none());
        let end = spawn(&world, move |world| {
            let mut left = Vec::new();
            ending.close(&mut left);
            left.into_iter().for_each(|completion| world.wake(completion.token));
        });
        let mut driver = Epoll::new(crate::RingSettings::default()).unwrap();
        loop {
            assert!(world.start(&mut driver, 1, ONE).is_none());
            if world
                .source
                .0
                .lock()
                .registration
                .as_ref()
                .is_some_and(|registration| registration.is_with(&driver))
            {
                break;
            }
            world.park(ONE);
        }
        world.park(TWO);
        end.join().unwrap();
    });
}
