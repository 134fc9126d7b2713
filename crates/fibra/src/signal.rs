//! Waiting for signals of the operating system like for anything else: the coroutine parks.
//!
//! ```no_run
//! fibra::run(|| {
//!     fibra::Builder::new().daemon(true).spawn(|| { /* serve */ })?;
//!     let signal = fibra::signal::terminated()?;
//!     println!("signal {signal}: good-bye");
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # How
//! The handler (`signal-hook`'s) does two things that a handler may: it sets the signal's flag, and sends a byte through a pair of sockets. Who
//! waits takes one byte and then one flag:
//!
//! ```text
//!  handler   flag[s] = true ──▶ send a byte        (not when the socket is full: there are bytes enough)
//!  wait      receive a byte ──▶ take the first flag that is set ──▶ none? the next byte
//! ```
//!
//! A flag is set before its byte is sent, so whoever receives that byte finds the flag, or another one in its stead, or somebody was faster. There
//! are never fewer bytes to come than flags that are set; more do no harm.
//!
//! The handler runs on the stack of the thread that the kernel chooses, which may be a coroutine's: it needs one to four KiB of that.

#![forbid(unsafe_code)]

use crate::net::UnixStream;
use rustix::event::{PollFd, PollFlags};
use signal_hook::SigId;
use signal_hook::consts::FORBIDDEN;
pub use signal_hook::consts::{
    SIGALRM, SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGTSTP, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A set of signals to wait for.
///
/// Several sets may hold the same signal: each hears of it. Within one set a signal that comes again before anybody has waited for it counts
/// once, as in the kernel; and if several contexts wait on one set each signal goes to one of them.
///
/// From [`new`](Self::new) on the signals do not have their default effect any more. Dropping the set does not bring that back: a signal
/// that no set holds then has no effect at all.
///
/// ```
/// use fibra::signal::{SIGUSR1, SIGUSR2, Signals};
///
/// fibra::run(|| {
///     let signals = Signals::new(&[SIGUSR1, SIGUSR2])?;
///     # use std::process::{Command, id};
///     # let me = id().to_string();
///     Command::new("kill").args(["-USR1", &me]).status()?;
///     assert_eq!(signals.wait(), SIGUSR1);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Signals {
    /// Where the bytes arrive.
    bell: UnixStream,
    pending: Vec<(i32, Arc<AtomicBool>)>,
    actions: Vec<SigId>,
}

/// The signals of a set, one after another, for ever: see [`Signals::iter`].
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    signals: &'a Signals,
}

impl Signals {
    /// Begins to listen to the signals.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a number that is no signal's, and for signals that cannot be caught or must
    /// not be: `SIGKILL`, `SIGSTOP`, `SIGILL`, `SIGFPE`, `SIGSEGV`. Otherwise when descriptors are used up.
    pub fn new(signals: &[i32]) -> io::Result<Signals> {
        if let Some(signal) = signals.iter().find(|signal| FORBIDDEN.contains(signal)) {
            let message = format!("signal {signal} cannot be waited for");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let (bell, rope) = net::UnixStream::pair()?;
        // What has been registered when an error comes is unregistered by the drop.
        let mut set = Signals { bell: bell.into(), pending: Vec::new(), actions: Vec::new() };
        for &signal in signals {
            let pending = Arc::new(AtomicBool::new(false));
            // Actions run in the order of their registration: first the flag, then the byte.
            set.actions.push(flag::register(signal, Arc::clone(&pending))?);
            set.actions.push(low_level::pipe::register(signal, rope.try_clone()?)?);
            set.pending.push((signal, pending));
        }
        Ok(set)
    }

    /// Waits for one of the signals. One that came before, since [`new`](Self::new), counts.
    pub fn wait(&self) -> i32 {
        loop {
            if (&self.bell).read(&mut [0]).is_err() {
                // The driver cannot take another descriptor: it has to go without.
                let bell = &self.bell;
                let poll = || rustix::event::poll(&mut [PollFd::new(bell, PollFlags::IN)], None).is_ok();
                crate::blocking::run_apart(poll);
            }
            if let Some(signal) = self.try_wait() {
                return signal;
            }
        }
    }

    /// One of the signals, if it has come.
    pub fn try_wait(&self) -> Option<i32> {
        let mut pending = self.pending.iter();
        pending.find(|(_, pending)| pending.swap(false, Ordering::SeqCst)).map(|(signal, _)| *signal)
    }

    /// Takes the bytes that are there: for who is told when there are some, and looks for the signals himself then.
    pub(crate) fn drain(&self) {
        while matches!(self.bell.try_read(&mut [0; 64]), Ok(1..)) {}
    }

    /// The signals as they come, for ever: each step [waits](Self::wait).
    pub fn iter(&self) -> Iter<'_> {
        Iter { signals: self }
    }
}

/// Readable when a signal may have come.
impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

impl Iterator for Iter<'_> {
    type Item = i32;

    fn next(&mut self) -> Option<i32> {
        Some(self.signals.wait())
    }
}

impl<'a> IntoIterator for &'a Signals {
    type Item = i32;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Waits until the process is asked to end: by `SIGINT` (Ctrl-C) or `SIGTERM`. Returns which it was.
///
/// From then on neither ends the process by itself. To hear of a second one, who will not wait for a slow farewell, keep a [`Signals`].
///
/// # Errors
/// As [`Signals::new`].
pub fn terminated() -> io::Result<i32> {
    Ok(Signals::new(&[SIGINT, SIGTERM])?.wait())
}
