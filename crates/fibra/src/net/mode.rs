//! The mode of open files: who may change `O_NONBLOCK`, and when it is put back.
//!
//! Most operations do not care for it: `MSG_DONTWAIT` tells the one call not to wait. But `accept4(2)` knows no such flag, so the files of listeners
//! are in non-blocking mode for as long as anything here accepts from them. The mode belongs to the open file, which several listeners may have, clones
//! of each other or not (a duplicated descriptor may come in by itself). So they are counted, and the last one to leave puts the mode
//! back.
//!
//! Nor do `splice(2)` and `sendfile(2)` know one, so the same goes for streams for as long as something is copied from or to them.

use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the mode of the open file means for a kind of socket. Each handle has one.
pub(super) trait Mode: Clone {
    /// A new handle's, which is neither a clone nor gone from here yet.
    fn enter(fd: BorrowedFd<'_>) -> Self;

    /// Whether the mode of a socket from outside says that its user does not want to wait.
    fn is_nonblocking(fd: BorrowedFd<'_>) -> bool;

    /// The handle leaves for std: the open file gets the mode that its user set here, if nobody stays who needs another.
    fn leave(self, fd: BorrowedFd<'_>, nonblocking: bool);
}

/// Of sockets whose operations do not depend on it.
#[derive(Clone, Debug)]
pub(super) struct Unused;

impl Mode for Unused {
    fn enter(_: BorrowedFd<'_>) -> Unused {
        Unused
    }

    fn is_nonblocking(fd: BorrowedFd<'_>) -> bool {
        let copied = copied();
        // A duplicate of what is copied from or to: that is not its user's doing.
        let copy = if copied.is_empty() { None } else { copied.get(&id(fd)) };
        copy.map_or_else(|| mode(fd), |copy| copy.afterwards)
    }

    fn leave(self, fd: BorrowedFd<'_>, nonblocking: bool) {
        let mut copied = copied();
        // While it is copied from or to, by a clone, it keeps the mode for that, and gets this one afterwards.
        let copy = if copied.is_empty() { None } else { copied.get_mut(&id(fd)) };
        match copy {
            Some(copy) => copy.afterwards = nonblocking,
            None => drop(rustix::io::ioctl_fionbio(fd, nonblocking)),
        }
    }
}

/// A stream that is copied from or to, in non-blocking mode: see [`crate::io`].
#[derive(Debug)]
pub(crate) struct Nonblocking<'a>(BorrowedFd<'a>);

/// How many copies there are from and to an open file, and the mode that it had before.
#[derive(Debug)]
struct Copied {
    copies: usize,
    afterwards: bool,
}

/// The streams that are copied from or to.
static COPIED: Mutex<BTreeMap<Id, Copied>> = Mutex::new(BTreeMap::new());

fn copied() -> MutexGuard<'static, BTreeMap<Id, Copied>> {
    COPIED.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Nonblocking<'_> {
    /// Counts one copy more.
    pub(crate) fn enter(fd: BorrowedFd<'_>) -> Nonblocking<'_> {
        copied()
            .entry(id(fd))
            .or_insert_with(|| {
                // Under the lock, so that nobody who leaves undoes it.
                let afterwards = mode(fd);
                let _ = rustix::io::ioctl_fionbio(fd, true);
                Copied { copies: 0, afterwards }
            })
            .copies += 1;
        Nonblocking(fd)
    }

    /// Counts one copy less; after the last one the mode is that from before.
    pub(crate) fn leave(fd: BorrowedFd<'_>) {
        let (mut copied, id) = (copied(), id(fd));
        let Some(copy) = copied.get_mut(&id) else { return };
        copy.copies -= 1;
        if copy.copies == 0 {
            let _ = rustix::io::ioctl_fionbio(fd, copy.afterwards);
            copied.remove(&id);
        }
    }
}

impl Drop for Nonblocking<'_> {
    fn drop(&mut self) {
        Nonblocking::leave(self.0);
    }
}

/// Whether the open file is in non-blocking mode.
fn mode(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fcntl_getfl(fd).is_ok_and(|flags| flags.contains(OFlags::NONBLOCK))
}

/// Device and number of an open socket.
type Id = (u64, u64);

fn id(fd: BorrowedFd<'_>) -> Id {
    // It cannot fail on an open descriptor.
    rustix::fs::fstat(fd).map_or((0, 0), |stat| (stat.st_dev, stat.st_ino))
}

/// How many listeners of the library there are on each open file.
static LISTENERS: Mutex<BTreeMap<Id, usize>> = Mutex::new(BTreeMap::new());

fn listeners() -> MutexGuard<'static, BTreeMap<Id, usize>> {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of listeners: on for as long as there is one of the open file.
#[derive(Debug)]
pub(super) struct Listening(Id);

impl Listening {
    /// Takes one from the count; whether it was the last.
    fn uncount(&self, listeners: &mut BTreeMap<Id, usize>) -> bool {
        match listeners.get_mut(&self.0) {
            Some(count) if *count > 1 => {
                *count -= 1;
                false
            }
            _ => {
                listeners.remove(&self.0);
                true
            }
        }
    }
}

impl Mode for Listening {
    fn enter(fd: BorrowedFd<'_>) -> Listening {
        let id = id(fd);
        let mut listeners = listeners();
        *listeners.entry(id).or_default() += 1;
        // Under the lock, so that nobody who leaves undoes it.
        let _ = rustix::io::ioctl_fionbio(fd, true);
        Listening(id)
    }

    /// Never: the mode may be the library's own, on a duplicate of a listener that is or was here, in this process or in its parent.
    fn is_nonblocking(_: BorrowedFd<'_>) -> bool {
        false
    }

    fn leave(self, fd: BorrowedFd<'_>, nonblocking: bool) {
        let mut listeners = listeners();
        if self.uncount(&mut listeners) {
            let _ = rustix::io::ioctl_fionbio(fd, nonblocking);
        }
        drop(listeners);
        // It is counted out.
        std::mem::forget(self);
    }
}

impl Clone for Listening {
    fn clone(&self) -> Listening {
        *listeners().entry(self.0).or_default() += 1;
        Listening(self.0)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.uncount(&mut listeners());
    }
}
