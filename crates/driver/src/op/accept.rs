//! Accept a connection: `accept4(2)` on a listener that is in non-blocking mode.

use super::message::address_from;
use super::{Attempt, Hints, Operation, uninterrupted};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use rustix::net::{SocketAddrAny, SocketFlags};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Accepts one connection; the output is its descriptor (close-on-exec, blocking mode) and the peer's address, if it has one.
#[derive(Debug)]
pub struct Accept {
    /// Where a ring's entry puts the address.
    address: MaybeUninit<libc::sockaddr_storage>,
    length: libc::socklen_t,
}

impl Default for Accept {
    fn default() -> Accept {
        Accept { address: MaybeUninit::uninit(), length: 0 }
    }
}

impl Accept {
    /// One accept.
    pub fn new() -> Self {
        Self::default()
    }
}

// SAFETY: the entry points to room in the operation.
unsafe impl Operation for Accept {
    type Output = (OwnedFd, Option<SocketAddrAny>);

    #[inline]
    fn direction(&self) -> Direction {
        Direction::Read
    }

    #[inline]
    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<Self::Output>> {
        loop {
            match uninterrupted(|| rustix::net::acceptfrom_with(fd, SocketFlags::CLOEXEC)) {
                // The peer went away between its connect and our accept: no error of the listener, so the next one is tried.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::CONNABORTED.raw_os_error()) => {
                }
                result => return result.map(|value| Attempt { value, drained: false }),
            }
        }
    }

    fn entry(&mut self, fd: BorrowedFd<'_>, _: Hints) -> Option<Entry> {
        self.length = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        let entry =
            opcode::Accept::new(Fd(fd.as_raw_fd()), self.address.as_mut_ptr().cast(), &raw mut self.length)
                .flags(libc::SOCK_CLOEXEC)
                .build();
        Some(entry)
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<Self::Output>> {
        let fd = match result {
            // As above: the next one.
            Err(rustix::io::Errno::CONNABORTED) => return Err(io::ErrorKind::Interrupted.into()),
            result => result?,
        };
        // SAFETY: the kernel has just opened it for us.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        // SAFETY: the kernel has written an address of this length.
        let address = unsafe { address_from(&self.address, self.length) };
        Ok(Attempt { value: (fd, address), drained: false })
    }

    /// On a unix listener that was shut down a call that waits says `EINVAL`, but one that does not says `EAGAIN`.
    fn end(&mut self, fd: BorrowedFd<'_>) -> Option<io::Result<Self::Output>> {
        super::receives_no_more(fd).then(|| Err(rustix::io::Errno::INVAL.into()))
    }
}
