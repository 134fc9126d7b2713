//! State machines, driven by a loop: a conversation whose state stands in an object.
//!
//! A callback server hides the state of a conversation in *which* callback is registered. A machine says it: one [`step`](Machine::step) function, that is called again with each event,
//! looks at the state, goes on as far as it can without waiting, and says what it waits for next.
//!
//! ```text
//!            ┌────────────────── Wait(what) ◀──┐
//!            ▼                                 │
//!  Begin ─▶ step ◀── Ready, TimedOut ── loop ──┘
//!            └──▶ Done ──▶ the machine goes to whoever started it
//! ```

use super::{Event, EventLoop, Handle, Interest};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

/// A conversation as an object. Its descriptor, in non-blocking mode, is what it waits for.
///
/// It knows nothing of the loop, so that it can be tested without one: give it causes, and look at what it says.
///
/// ```
/// use fibra::event_loop::{Cause, EventLoop, Interest, Machine, Step, Wait};
/// use std::io::{ErrorKind, Read, Write};
/// use std::os::fd::{AsFd, BorrowedFd};
/// use std::os::unix::net::UnixStream;
///
/// /// Reads a line, answers with it.
/// struct Line {
///     stream: UnixStream,
///     line: Vec<u8>,
///     sent: usize,
/// }
///
/// impl AsFd for Line {
///     fn as_fd(&self) -> BorrowedFd<'_> {
///         self.stream.as_fd()
///     }
/// }
///
/// impl Machine for Line {
///     fn step(&mut self, _: Cause) -> Step {
///         while self.line.last() != Some(&b'\n') {
///             let mut byte = [0];
///             match self.stream.read(&mut byte) {
///                 Ok(1..) => self.line.push(byte[0]),
///                 Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Wait(Wait::on(Interest::READABLE)),
///                 Ok(0) | Err(_) => return Step::Done,
///             }
///         }
///         while self.sent < self.line.len() {
///             match self.stream.write(&self.line[self.sent..]) {
///                 Ok(n) => self.sent += n,
///                 Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Wait(Wait::on(Interest::WRITABLE)),
///                 Err(_) => break,
///             }
///         }
///         Step::Done
///     }
/// }
///
/// let (stream, mut peer) = UnixStream::pair()?;
/// stream.set_nonblocking(true)?;
/// let mut events = EventLoop::new()?;
/// events.drive(Line { stream, line: Vec::new(), sent: 0 }, |_, line| assert_eq!(line.sent, 6));
/// events.run_once(Some(std::time::Duration::ZERO))?;
/// peer.write_all(b"hello\n")?;
/// events.run()?;
/// let mut answer = [0; 6];
/// peer.read_exact(&mut answer)?;
/// assert_eq!(&answer, b"hello\n");
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Machine: AsFd {
    /// Goes on, as far as it is possible without waiting.
    ///
    /// It may be called for no reason that it knows of, and then says again what it waits for.
    fn step(&mut self, cause: Cause) -> Step;
}

/// Why a machine is stepped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// For the first time.
    Begin,
    /// Its descriptor is ready for something that it waits for.
    Ready,
    /// Its patience is over, and nothing has come.
    TimedOut,
}

/// What a step comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[must_use]
pub enum Step {
    /// It is to be stepped again, when this has come.
    Wait(Wait),
    /// It is over.
    Done,
}

/// What a machine waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Wait {
    interest: Interest,
    patience: Option<Duration>,
}

impl Wait {
    /// For its descriptor, as long as it takes.
    pub fn on(interest: Interest) -> Wait {
        Wait { interest, patience: None }
    }

    /// For the time alone. With zero it lets the others have their turn, and goes on.
    pub fn time(duration: Duration) -> Wait {
        Wait { interest: Interest::NONE, patience: Some(duration) }
    }

    /// The same, but no longer than `patience` from now.
    #[must_use]
    pub fn within(self, patience: Duration) -> Wait {
        Wait { patience: Some(patience), ..self }
    }

    /// What it waits for on the descriptor.
    pub fn interest(self) -> Interest {
        self.interest
    }

    /// How long it waits, if not for ever.
    pub fn patience(self) -> Option<Duration> {
        self.patience
    }
}

/// A machine, and who wants to have it back.
struct Driven<M, F> {
    machine: M,
    done: F,
    begun: bool,
}

impl<M: AsFd, F> AsFd for Driven<M, F> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.machine.as_fd()
    }
}

impl<D> EventLoop<D> {
    /// Runs a machine: its first step is at the next turn. `done` is called with the machine when that is [`Done`](Step::Done).
    ///
    /// One that panics is dropped, as any watcher's source is; so is one that is [cancelled](Self::cancel).
    #[track_caller]
    pub fn drive<M, F>(&mut self, machine: M, done: F) -> Handle
    where
        M: Machine + 'static,
        F: FnOnce(&mut EventLoop<D>, M) + 'static,
    {
        let driven = Driven { machine, done, begun: false };
        let key = self.enter(driven, |driven, events, event| {
            let cause = match event {
                _ if !std::mem::replace(&mut driven.begun, true) => Cause::Begin,
                Event { readable: false, writable: false, .. } => Cause::TimedOut,
                _ => Cause::Ready,
            };
            match driven.machine.step(cause) {
                Step::Wait(Wait { interest, patience }) => {
                    events.watch_for(event.key, interest, patience);
                }
                Step::Done => {
                    events.watch_for(event.key, Interest::NONE, None);
                    // Now it is being called, and cannot be taken out.
                    events.call_soon(move |events| {
                        if let Some(Driven { machine, done, .. }) = events.unregister(event.key) {
                            done(events, machine);
                        }
                    });
                }
            }
        });
        // As if its patience were over.
        self.note_timeout(key.id);
        Handle(key.id)
    }
}
