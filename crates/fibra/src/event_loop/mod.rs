//! An event loop with callbacks: what servers are written on where there are no coroutines, and what lies under many a library that wants to be told of readiness.
//!
//! ```
//! use fibra::event_loop::{EventLoop, Interest};
//! use std::io::{ErrorKind, Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! let listener = TcpListener::bind("127.0.0.1:0")?;
//! listener.set_nonblocking(true)?;
//! let mut client = TcpStream::connect(listener.local_addr()?)?;
//! client.write_all(b"hello")?;
//! client.shutdown(std::net::Shutdown::Write)?;
//!
//! let mut events = EventLoop::new()?;
//! events.register(listener, Interest::READABLE, |listener, events, _| {
//!     let (stream, _) = listener.accept().unwrap();
//!     stream.set_nonblocking(true).unwrap();
//!     events.register(stream, Interest::READABLE, |stream, events, event| {
//!         let mut buffer = [0; 1024];
//!         match stream.read(&mut buffer) {
//!             // An honest server keeps what does not fit, and waits until it does.
//!             Ok(n @ 1..) => stream.write_all(&buffer[..n]).unwrap(),
//!             Err(error) if error.kind() == ErrorKind::WouldBlock => {}
//!             Ok(0) | Err(_) => drop(events.unregister(event.key)),
//!         }
//!     }).unwrap();
//!     events.cancel_current();
//! })?;
//! events.run()?;
//!
//! let mut answer = String::new();
//! client.read_to_string(&mut answer)?;
//! assert_eq!(answer, "hello");
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # The world of callbacks
//! | what happens | who is called | given by |
//! |---|---|---|
//! | a descriptor is readable, or writable | its watcher, with its source | [`register`](EventLoop::register), [`modify`](EventLoop::modify), [`unregister`](EventLoop::unregister) |
//! | time passes | once, or at each beat | [`call_later`](EventLoop::call_later), [`call_at`](EventLoop::call_at), [`call_every`](EventLoop::call_every) |
//! | nothing | at the next turn | [`call_soon`](EventLoop::call_soon) |
//! | another thread wants something | with what it hands over, or just called | [`Remote::call_soon`], [`on_wake`](EventLoop::on_wake) |
//! | a signal comes, a child ends | | [`on_signal`](EventLoop::on_signal), [`on_exit`](EventLoop::on_exit) |
//!
//! ```text
//!            ┌──────────────────────────── one turn ─────────────────────────────┐
//!  register ─┤ arm ──▶ wait ──▶ descriptors ──▶ other threads ──▶ timers ──▶ call ├─▶ the next
//!            └───▲──────┬──────────────────────────────────────────────────┬──────┘
//!                │      └ until something comes; not at all if             │ as many as are queued now; what they
//!                │        something is queued                              │ queue has its turn at the next
//!                └─────────────────────────────────────────────────────────┘
//! ```
//!
//! * **Order.** Everything that is to be called goes through one queue, first in, first out. Timers enter it by their deadlines, and in the order of their making where those are
//!   equal.
//! * **What was removed is not called,** even if its event was taken already and it stands in the queue. Keys and handles name one registration and never its successor, whatever
//!   number its descriptor had.
//! * **`&mut` all round.** A callback has the loop, its own source and what all of them share ([`EventLoop::data`]), each to itself: there is no cell that could be borrowed
//!   already. It may register, modify and remove others and itself.
//! * **A callback runs on the loop,** so it must not wait. One that would (`sleep`, `join`, `Event::wait`, a `fibra::net` read …) panics, and the message says for what; what is there already
//!   is taken, and everything that does not wait is allowed: start a coroutine, set an event, put into a queue that has room. What knows nothing of fibra and blocks is not seen.
//!   Files are an exception on an OS thread, where [`fibra::fs`](mod@crate::fs) makes its calls in place. A loop cannot be run in a callback either; that is an error.
//! * **A panic costs its callback alone.** It is removed, with its source, since its state may be half-way; the loop tells [`on_panic`](EventLoop::on_panic), or the log, and goes on. (That of the destructor of
//!   what is removed comes out of [`run`](EventLoop::run), which can be called again.) A request to stop ([`Cancelled`](crate::Cancelled)) passes through, to whoever runs the loop.
//! * **The end.** [`run`](EventLoop::run) returns when it is told to [`stop`](EventLoop::stop), or nothing is left that could ever be called. Waiting costs no processor time.
//! * **On a thread or in a coroutine.** No runtime is needed: the loop has a driver of its own (epoll, or io_uring if `FIBRA_DRIVER` says so). In a coroutine it parks that instead of
//!   blocking the worker.
//!
//! # Or straight-line
//! The loop is here for what is event-driven already, for the port of a program that is, and to be compared with: the server's models `callback` and `state-machine` are built on it. For new
//! code, look at what becomes of this:
//!
//! ```
//! # use std::io::{Read, Write};
//! # fn serve(mut stream: fibra::net::TcpStream) -> std::io::Result<()> {
//! let mut buffer = [0; 1024];
//! loop {
//!     match stream.read(&mut buffer)? {
//!         0 => return Ok(()),
//!         n => stream.write_all(&buffer[..n])?,
//!     }
//! }
//! # }
//! ```
//!
//! In a coroutine that is the whole conversation: where it stands is the program counter, what it has is on its stack, an error leaves it by `?`, a limit is
//! [`timeout`](crate::timeout()) around it, and its destructors run when it is cancelled. With callbacks (`examples/selectors_echo.rs`) each wait ends a function: the variables that live across it
//! become fields, `loop` becomes registering again, `write_all` becomes a buffer of what is left and an interest that is turned round, a limit is one more callback that may come
//! between any two others, and a backtrace shows the loop and not who asked. [`Machine`] does not make that shorter, but puts it in one place where it can be read and tested.
//!
//! | | callbacks | coroutines |
//! |---|---|---|
//! | state of a conversation | a struct, made by hand: bytes | a stack: a page |
//! | a wait in the middle of a function | cuts it in two | is a call |
//! | a call that blocks by mistake | stops everybody; refused if it is fibra's | parks one |
//! | several workers | a loop each | [`run`](crate::run()) |

mod interest;
mod io;
mod machine;
mod poller;
mod processes;
mod remote;
mod slots;
mod timers;
mod watcher;

pub use interest::{Event, Interest};
pub use machine::{Cause, Machine, Step, Wait};
pub use remote::{Closed, Remote, Waker};

use crate::cancel;
use crate::scheduler::settings::{self, DriverKind};
use crate::time::timer_wheel::TimerWheel;
use fibra_driver::Direction;
use poller::Poller;
use remote::{Flag, Letter, Shared};
use slots::{Id, Slots};
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io as std_io;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, Location, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use watcher::{Kind, Watcher};

type Watchers<D> = Slots<Watcher<D>>;

/// A callback that waits to be called: what [`cancel`](EventLoop::cancel) takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(Id);

/// A descriptor that is watched, and the type of its source: what [`modify`](EventLoop::modify) and [`unregister`](EventLoop::unregister) take.
///
/// Not the descriptor's number: when that has been closed and is another file's, an old key means nothing any more.
pub struct Key<S> {
    id: Id,
    source: PhantomData<fn() -> S>,
}

impl<S> Key<S> {
    fn new(id: Id) -> Key<S> {
        Key { id, source: PhantomData }
    }
}

impl<S> Clone for Key<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Key<S> {}

impl<S> PartialEq for Key<S> {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl<S> Eq for Key<S> {}

impl<S> fmt::Debug for Key<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Key").field(&self.id).finish()
    }
}

/// A callback has panicked, and has been removed.
pub struct Panic {
    /// What it panicked with.
    pub payload: Box<dyn Any + Send>,
    /// Where it was registered.
    pub at: &'static Location<'static>,
}

impl Panic {
    /// The message, if it is text.
    pub fn message(&self) -> Option<&str> {
        let text = self.payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| self.payload.downcast_ref::<&str>().copied())
    }

    fn log(&self) {
        tracing::error!(
            message = self.message().unwrap_or("a payload that is no text"),
            registered = %self.at,
            "a callback of an event loop has panicked, and was removed"
        );
    }
}

impl fmt::Debug for Panic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Panic").field("message", &self.message()).field("at", &self.at).finish()
    }
}

/// What is told of panics.
type OnPanic<D> = Box<dyn FnMut(&mut EventLoop<D>, Panic)>;

/// A loop that waits for many things at once and calls what was registered for them. See the [module](self).
pub struct EventLoop<D = ()> {
    /// What all callbacks share.
    pub data: D,
    registry: Registry<D>,
    /// What is to be called, in order.
    ready: VecDeque<Id>,
    timers: TimerWheel<Id>,
    /// Descriptors that the driver may have to be told of.
    unarmed: Vec<Id>,
    /// The watchers of [`on_wake`](Self::on_wake).
    wakes: Vec<(Id, Arc<Flag>)>,
    shared: Closing<D>,
    stopping: bool,
    running: bool,
    /// How many have been called in this turn.
    called: usize,
    /// Who is being called.
    current: Option<Id>,
    on_panic: Option<OnPanic<D>>,
    /// A panic that is for whoever runs the loop.
    passing: Option<Box<dyn Any + Send>>,
    answered: Vec<(Id, Direction)>,
    due: Vec<Id>,
    letters: VecDeque<Letter<D>>,
    woken: Vec<Id>,
}

/// What is registered, and the driver that knows of it.
struct Registry<D> {
    watchers: Watchers<D>,
    poller: Poller,
}

/// The loop's own share of what its handles have, which says to them that it is gone.
struct Closing<D>(Arc<Shared<D>>);

impl EventLoop {
    /// A loop whose callbacks share nothing.
    ///
    /// # Errors
    /// As [`with_data`](Self::with_data).
    pub fn new() -> std_io::Result<EventLoop> {
        EventLoop::with_data(())
    }
}

impl<D> EventLoop<D> {
    /// A loop, and what its callbacks share: they reach it as [`data`](Self::data). The driver is what `FIBRA_DRIVER` says.
    ///
    /// # Errors
    /// When descriptors are used up, or there can be no such driver.
    pub fn with_data(data: D) -> std_io::Result<EventLoop<D>> {
        EventLoop::with_driver(settings::driver()?.unwrap_or_default(), data)
    }

    /// The same with a driver that is said.
    ///
    /// # Errors
    /// As [`with_data`](Self::with_data).
    pub fn with_driver(driver: DriverKind, data: D) -> std_io::Result<EventLoop<D>> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let poller = Poller::new(driver)?;
        let shared = Closing(Shared::new(poller.notifier()));
        Ok(EventLoop {
            data,
            registry: Registry { watchers: Slots::new(NUMBER.fetch_add(1, Ordering::Relaxed)), poller },
            ready: VecDeque::new(),
            timers: TimerWheel::new(crate::time::now()),
            unarmed: Vec::new(),
            wakes: Vec::new(),
            shared,
            stopping: false,
            running: false,
            called: 0,
            current: None,
            on_panic: None,
            passing: None,
            answered: Vec::new(),
            due: Vec::new(),
            letters: VecDeque::new(),
            woken: Vec::new(),
        })
    }

    /// The name of its driver.
    pub fn driver(&self) -> &'static str {
        self.registry.poller.name()
    }

    /// Calls `f` at the next turn of the loop, after what is queued already.
    ///
    /// From within a callback too, for ever if need be: what calls itself so does not grow the stack, and descriptors and timers have their turns in between.
    #[track_caller]
    pub fn call_soon(&mut self, f: impl FnOnce(&mut EventLoop<D>) + 'static) -> Handle {
        let id = self.insert(Kind::Soon(Box::new(f)));
        self.ready.push_back(id);
        Handle(id)
    }

    /// Calls `f` whenever a [`Waker`] says so, on any thread; several times at once count once. (libev's `ev_async`.)
    #[track_caller]
    pub fn on_wake(&mut self, f: impl FnMut(&mut EventLoop<D>) + 'static) -> (Handle, Waker) {
        let flag = Flag::new(self.registry.watchers.next_id(), &self.shared.0.bell);
        let id = self.insert(Kind::Wake(Some(Box::new(f)), Arc::clone(&flag)));
        let waker = Waker::new(&flag);
        self.wakes.push((id, flag));
        (Handle(id), waker)
    }

    /// Has a callback never called (again). False when it has been called already, and was to be called once, or was cancelled before.
    ///
    /// From within any callback too, its own included: which then runs to its end, and is dropped.
    pub fn cancel(&mut self, handle: Handle) -> bool {
        self.remove(handle.0).is_some()
    }

    /// Cancels, or unregisters, the callback that is being called: it runs to its end, and is dropped. False outside of callbacks, and for those that are called once.
    pub fn cancel_current(&mut self) -> bool {
        self.current.is_some_and(|id| self.remove(id).is_some())
    }

    /// Whether a callback may still be called (again).
    pub fn is_pending(&self, handle: Handle) -> bool {
        self.registry.watchers.get(handle.0).is_some()
    }

    /// How many callbacks there are, of whatever kind.
    pub fn len(&self) -> usize {
        self.registry.watchers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.registry.watchers.is_empty()
    }

    /// A handle for other threads.
    pub fn remote(&self) -> Remote<D> {
        Remote::new(&self.shared.0)
    }

    /// Has `f` told of every callback that panics, in place of a line in the log. A panic in `f` itself comes out of [`run`](Self::run).
    pub fn on_panic(&mut self, f: impl FnMut(&mut EventLoop<D>, Panic) + 'static) {
        self.on_panic = Some(Box::new(f));
    }

    /// Has [`run`](Self::run) return when the present turn is over: everything that was queued when it began is still called. Called while the loop does not run it makes the next `run` one turn
    /// long.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Calls and waits until [`stop`](Self::stop) is called, or nothing is left that could ever be called: no watcher, no timer, no [`Remote`].
    ///
    /// # Errors
    /// When the driver is broken. [`Deadlock`](std_io::ErrorKind::Deadlock) from within a callback of this loop.
    pub fn run(&mut self) -> std_io::Result<()> {
        loop {
            self.turn(None)?;
            if std::mem::take(&mut self.stopping) || self.is_over() {
                return Ok(());
            }
        }
    }

    /// Waits for at most `timeout` (`None`: as long as it takes; zero: not at all) until something is to be called, and calls it: what was queued then, and not what that queues.
    /// Returns how many callbacks were called. None when the time is up, and when nothing can ever come.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub fn run_once(&mut self, timeout: Option<Duration>) -> std_io::Result<usize> {
        let deadline = timeout.and_then(crate::time::deadline);
        let mut left = timeout;
        loop {
            let called = self.turn(left)?;
            left = deadline.map(|deadline| deadline.saturating_duration_since(crate::time::now()));
            let over = left.is_some_and(|left| left.is_zero());
            if std::mem::take(&mut self.stopping) || called > 0 || over || self.is_over() {
                return Ok(called);
            }
        }
    }

    fn turn(&mut self, limit: Option<Duration>) -> std_io::Result<usize> {
        if self.running {
            return Err(deadlock("an event loop cannot be run from within one of its callbacks"));
        }
        if limit != Some(Duration::ZERO) && cancel::is_in_callback() {
            return Err(deadlock("an event loop cannot wait within a callback of another"));
        }
        self.wait(limit)?;
        self.expire();
        self.running = true;
        // What is queued meanwhile has its turn at the next one.
        self.called = 0;
        let count = self.ready.len();
        // What callbacks do is contained, but not what the destructors of removed ones do.
        let called = catch_unwind(AssertUnwindSafe(|| cancel::without_waiting(|| self.call_some(count))));
        self.running = false;
        self.current = None;
        let passing = self.passing.take();
        if let Some(payload) = called.err().or(passing) {
            resume_unwind(payload);
        }
        Ok(self.called)
    }

    fn call_some(&mut self, count: usize) {
        for _ in 0..count {
            self.current = self.ready.pop_front();
            if let Some(id) = self.current {
                self.call(id);
            }
            if self.passing.is_some() {
                return;
            }
        }
    }

    /// Queues what has come, and waits for it if nothing is queued.
    fn wait(&mut self, limit: Option<Duration>) -> std_io::Result<()> {
        self.arm()?;
        let timeout = if !self.ready.is_empty() || self.stopping || self.is_over() {
            Some(Duration::ZERO)
        } else {
            let next = self.timers.next_deadline();
            let next = next.map(|next| next.saturating_duration_since(crate::time::now()));
            [limit, next].into_iter().flatten().min()
        };
        let (mut answered, shared) = (std::mem::take(&mut self.answered), Arc::clone(&self.shared.0));
        let result = if timeout == Some(Duration::ZERO) && !self.registry.poller.has_waits() {
            Ok(())
        } else {
            self.registry.poller.wait(timeout, || shared.bell.has_rung(), &mut answered)
        };
        for (id, direction) in answered.drain(..) {
            self.note_ready(id, direction);
        }
        self.answered = answered;
        if shared.bell.has_rung() {
            self.read_letters();
        }
        result
    }

    /// Queues what came from other threads.
    fn read_letters(&mut self) {
        self.shared.0.take(&mut self.letters, &mut self.woken);
        while let Some((letter, at)) = self.letters.pop_front() {
            let id = self.registry.watchers.insert(Watcher { kind: Kind::Soon(letter), at });
            self.ready.push_back(id);
        }
        self.ready.extend(self.woken.drain(..));
    }

    /// Whether nothing can be called any more.
    fn is_over(&mut self) -> bool {
        if !self.ready.is_empty() || self.shared.0.has_ringers() {
            return false;
        }
        let watchers = &self.registry.watchers;
        self.wakes.retain(|(id, _)| watchers.get(*id).is_some());
        self.registry.watchers.len() == self.wakes.len()
            && !self.wakes.iter().any(|(_, flag)| flag.has_wakers())
            && !self.shared.0.bell.has_rung()
    }
}

fn deadlock(message: &str) -> std_io::Error {
    std_io::Error::new(std_io::ErrorKind::Deadlock, message)
}

impl<D> Drop for Registry<D> {
    fn drop(&mut self) {
        for mut watcher in self.watchers.drain() {
            if let Kind::Io(io) = &mut watcher.kind {
                io.leave(&mut self.poller);
            }
        }
    }
}

impl<D> Drop for Closing<D> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<D> fmt::Debug for EventLoop<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop")
            .field("driver", &self.driver())
            .field("callbacks", &self.len())
            .field("queued", &self.ready.len())
            .finish_non_exhaustive()
    }
}
