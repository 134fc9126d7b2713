//! What the models on `epoll(7)` share: the list that the kernel keeps, with the bell in it, and the wait.

use super::stopping::Bell;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;

/// What the kernel notes with the bell and the door. Guests have smaller numbers.
pub(super) const BELL: u64 = u64::MAX;
pub(super) const DOOR: u64 = u64::MAX - 1;

/// How many events are taken at once.
pub(super) const EVENTS: usize = 256;

/// How many guests are let in for one event, before others have their turn.
pub(super) const AT_ONCE: usize = 64;

/// A list with the bell in it.
///
/// # Errors
/// When descriptors are out.
pub(super) fn create(bell: &Bell) -> io::Result<OwnedFd> {
    let list = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&list, bell, EventData::new_u64(BELL), EventFlags::IN)?;
    Ok(list)
}

/// Waits for events, at most for `timeout`.
///
/// # Errors
/// None that is known.
pub(super) fn wait(list: &OwnedFd, events: &mut Vec<Event>, timeout: Option<Timespec>) -> io::Result<()> {
    events.clear();
    match epoll::wait(list, spare_capacity(events), timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
