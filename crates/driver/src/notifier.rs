//! How other threads end a driver's wait.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Ends a wait of its driver from any thread. Cheap to clone.
///
/// An eventfd: each write is an event of its own for whoever watches it, so its counter need never be read.
#[derive(Clone, Debug)]
pub struct Notifier(Arc<OwnedFd>);

impl Notifier {
    pub(crate) fn new() -> io::Result<Notifier> {
        let eventfd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Notifier(Arc::new(eventfd)))
    }

    /// Makes the driver's current wait, or else its next, return at once.
    pub fn notify(&self) {
        // EAGAIN means that the counter is full: then the eventfd is readable, and was reported.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Takes the notifications, for who is told of the state and not of the events.
    pub(crate) fn clear(&self) {
        let _ = rustix::io::read(&*self.0, &mut [0; 8]);
    }
}

impl AsFd for Notifier {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
