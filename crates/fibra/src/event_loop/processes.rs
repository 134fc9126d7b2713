//! Callbacks of the operating system's: signals, and children that end.
//!
//! Both are descriptors in the end: the pair of sockets that a signal handler writes to ([`crate::signal`]), and the descriptor of a process, which is readable when that has
//! ended (`pidfd_open(2)`, Linux 5.3).

use super::{EventLoop, Handle, Interest};
use crate::signal::Signals;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, ExitStatus};

impl<D> EventLoop<D> {
    /// Calls `f` with the signal's number whenever it has come; what comes again before the loop has called counts once, as in the kernel.
    ///
    /// From here on the signal does not have its default effect any more, also when the watcher has been cancelled: see [`Signals`].
    ///
    /// ```
    /// use fibra::event_loop::EventLoop;
    /// use fibra::signal::SIGUSR1;
    ///
    /// let mut events = EventLoop::new()?;
    /// events.on_signal(SIGUSR1, |events, _| events.stop())?;
    /// # let me = std::process::id().to_string();
    /// std::process::Command::new("kill").args(["-USR1", &me]).status()?;
    /// events.run()?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Signals::new`].
    #[track_caller]
    pub fn on_signal(
        &mut self,
        signal: i32,
        mut f: impl FnMut(&mut EventLoop<D>, i32) + 'static,
    ) -> io::Result<Handle> {
        let signals = Signals::new(&[signal])?;
        let key = self.register(signals, Interest::READABLE, move |signals, events, _| {
            // First the bytes and then the flag, so that no byte is there without a flag that has been or will be seen.
            signals.drain();
            if let Some(signal) = signals.try_wait() {
                f(events, signal);
            }
        })?;
        Ok(Handle(key.id))
    }

    /// Calls `f` with the exit status when `child` has ended. The child is reaped then, once.
    ///
    /// Cancelled before that, the child is dropped, as std's is: it runs on, and becomes a zombie when it ends.
    ///
    /// ```
    /// use fibra::event_loop::EventLoop;
    /// use std::process::Command;
    ///
    /// let mut events = EventLoop::with_data(None)?;
    /// let child = Command::new("sh").args(["-c", "exit 3"]).spawn()?;
    /// events.on_exit(child, |events, status| events.data = status.ok().and_then(|status| status.code()))?;
    /// events.run()?;
    /// assert_eq!(events.data, Some(3));
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// What `pidfd_open(2)` says: that descriptors are used up, or that the kernel has none of it (before Linux 5.3). The child is dropped.
    #[track_caller]
    pub fn on_exit(
        &mut self,
        mut child: Child,
        f: impl FnOnce(&mut EventLoop<D>, io::Result<ExitStatus>) + 'static,
    ) -> io::Result<Handle> {
        // One that has been waited for has no number any more: its status is known to std.
        if let Some(status) = child.try_wait()? {
            return Ok(self.call_soon(move |events| f(events, Ok(status))));
        }
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the child has no number"))?;
        // Nobody else reaps it, so the number is its own.
        let source = Exiting { pidfd: pidfd_open(id, PidfdFlags::empty())?, child };
        let mut f = Some(f);
        let key = self.register(source, Interest::READABLE, move |source, events, _| {
            let status = match source.child.try_wait() {
                Ok(None) => return,
                Ok(Some(status)) => Ok(status),
                Err(error) => Err(error),
            };
            if let Some(f) = f.take() {
                events.cancel_current();
                f(events, status);
            }
        })?;
        Ok(Handle(key.id))
    }
}

/// A child that is waited for.
struct Exiting {
    pidfd: OwnedFd,
    child: Child,
}

impl AsFd for Exiting {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}
