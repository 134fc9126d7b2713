//! How a loop hears that it is to stop, and how long it may take over it.
//!
//! A signal interrupts whatever runs, so its handler may do next to nothing: it notes the signal in a flag and sends a byte through a pair of
//! sockets (the *self-pipe*). The other end is one more descriptor that the loop waits for, and the rest happens there, in its own time. Each loop
//! has a [`Bell`] of its own. Other threads ring it too, when the loop waits for a place (see [`admission`](super::admission)).
//!
//! ```text
//!  SIGTERM ──▶ handler: flag, byte ──▶ the loop wakes: silence(), signal()
//!    first     no new connections; what is idle is closed; what is in flight has until the deadline
//!    second    what is left is cut off
//! ```

use super::deadlines::after;
use signal_hook::consts::{SIGCHLD, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;
use signal_hook::{SigId, flag, low_level};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// Becomes readable when SIGINT or SIGTERM has come, and when its [`waker`](Self::waker) is woken.
#[derive(Debug)]
pub(super) struct Bell {
    bell: UnixStream,
    rope: Arc<Rope>,
    pending: Vec<(i32, Arc<AtomicBool>)>,
    actions: Vec<SigId>,
}

#[derive(Debug)]
struct Rope(UnixStream);

impl Bell {
    /// # Errors
    /// When descriptors are out.
    pub(super) fn new() -> io::Result<Bell> {
        let (bell, rope) = UnixStream::pair()?;
        bell.set_nonblocking(true)?;
        rope.set_nonblocking(true)?;
        let rope = Arc::new(Rope(rope));
        // What has been registered when an error comes is unregistered by the drop.
        let mut bell = Bell { bell, rope, pending: Vec::new(), actions: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            let pending = Arc::new(AtomicBool::new(false));
            // Actions run in the order of their registration: first the flag, then the byte.
            bell.actions.push(flag::register(signal, Arc::clone(&pending))?);
            bell.actions.push(pipe::register(signal, bell.rope.0.try_clone()?)?);
            bell.pending.push((signal, pending));
        }
        Ok(bell)
    }

    /// The same; it also rings when a child process has ended.
    ///
    /// # Errors
    /// When descriptors are out.
    pub(super) fn of_a_parent() -> io::Result<Bell> {
        let mut bell = Bell::new()?;
        bell.actions.push(pipe::register(SIGCHLD, bell.rope.0.try_clone()?)?);
        Ok(bell)
    }

    /// In a forked child: signals are the parent's affair, whose bell this is. The child can still ring it.
    pub(super) fn deafen(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }

    /// Rings it from any thread.
    pub(super) fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.rope))
    }

    /// Makes it unreadable again. To be called before [`signal`](Self::signal), so that none is missed.
    pub(super) fn silence(&self) {
        let mut bytes = [0; 64];
        while matches!((&self.bell).read(&mut bytes), Ok(64)) {}
    }

    /// A signal that has come, if there is one.
    pub(super) fn signal(&self) -> Option<i32> {
        let mut pending = self.pending.iter();
        pending.find(|(_, pending)| pending.swap(false, Ordering::SeqCst)).map(|(signal, _)| *signal)
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

impl Drop for Bell {
    fn drop(&mut self) {
        self.deafen();
    }
}

impl Wake for Rope {
    fn wake(self: Arc<Self>) {
        // When it is full, it rings already.
        let _ = (&self.0).write(&[0]);
    }
}

/// How a child process hears that it is to finish what it has begun: the signal sets a flag, and interrupts the call that it blocks in.
#[derive(Debug)]
pub(super) struct Resignation {
    asked: Arc<AtomicBool>,
    actions: Vec<SigId>,
}

impl Resignation {
    /// # Errors
    /// When the system refuses the handlers.
    pub(super) fn new() -> io::Result<Resignation> {
        let mut resignation = Resignation { asked: Arc::default(), actions: Vec::new() };
        for signal in [SIGINT, SIGTERM] {
            resignation.actions.push(flag::register(signal, Arc::clone(&resignation.asked))?);
        }
        Ok(resignation)
    }

    /// Whether it is to finish.
    pub(super) fn asked(&self) -> &AtomicBool {
        &self.asked
    }
}

impl Drop for Resignation {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            low_level::unregister(action);
        }
    }
}

/// How far a server is on its way to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Not at all.
    No,
    /// What is in flight has until then.
    By(Instant),
    /// Nobody is waited for any more.
    Now,
}

impl Ending {
    /// Notes that a signal has come. Whether it was the first.
    pub(super) fn asked(&mut self, stop_deadline: Duration) -> bool {
        match *self {
            Ending::No => {
                *self = Ending::By(after(Instant::now(), stop_deadline));
                true
            }
            _ => {
                *self = Ending::Now;
                false
            }
        }
    }

    /// Whether what has not finished is to be cut off.
    pub(super) fn is_over(self, now: Instant) -> bool {
        match self {
            Ending::No => false,
            Ending::By(deadline) => now >= deadline,
            Ending::Now => true,
        }
    }

    /// When to look again.
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Ending::By(deadline) => Some(deadline),
            _ => None,
        }
    }
}

/// Says that the server stops, after it has begun to: the log may be slow or broken.
pub(super) fn tell(signal: i32, first: bool) {
    match first {
        true => tracing::info!(signal, "stopping: no new connections, those in use finish"),
        false => tracing::info!(signal, "stopping now"),
    }
}

/// Says how many connections had to be cut off, if any.
pub(super) fn tell_cut_off(connections: usize) {
    if connections > 0 {
        tracing::warn!(connections, "cutting off what has not finished");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    fn rings(bell: &Bell) -> bool {
        poll(&mut [PollFd::new(bell, PollFlags::IN)], Some(&Timespec::default())).unwrap() == 1
    }

    #[test]
    fn a_bell_that_was_rung_by_a_waker_is_silenced_and_can_be_rung_again() {
        let bell = Bell::new().unwrap();
        assert!(!rings(&bell));
        let waker = bell.waker();
        for _ in 0..2 {
            for _ in 0..200 {
                waker.wake_by_ref();
            }
            assert!(rings(&bell));
            bell.silence();
            assert!(!rings(&bell));
        }
        assert_eq!(bell.signal(), None);
    }

    #[test]
    fn the_first_signal_sets_a_deadline_and_the_second_ends_it() {
        let mut ending = Ending::No;
        let now = Instant::now();
        assert!(ending.asked(Duration::from_secs(60)));
        assert!(!ending.is_over(now) && ending.is_over(now + Duration::from_secs(120)));
        assert!(!ending.asked(Duration::from_secs(60)));
        assert!(ending.is_over(now));
    }

    #[test]
    fn a_server_may_be_told_to_wait_for_ever() {
        let mut ending = Ending::No;
        assert!(ending.asked(Duration::MAX));
        assert!(!ending.is_over(Instant::now() + Duration::from_secs(365 * 86_400)));
    }
}
