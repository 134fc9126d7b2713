//! Open a file: `openat(2)`.

use super::{Call, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use rustix::fs::{Mode, OFlags};
use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::path::Path;

/// Opens the file of a path; the output is its descriptor, which is closed on exec.
#[derive(Debug)]
pub struct Open {
    path: CString,
    flags: OFlags,
    mode: Mode,
}

impl Open {
    /// Opens `path`, from the current directory if it is relative. `mode` is for a file that is created.
    ///
    /// # Errors
    /// `InvalidInput` when there is a zero byte in the path.
    pub fn new(path: &Path, flags: OFlags, mode: Mode) -> io::Result<Open> {
        Ok(Open { path: super::path(path)?, flags: flags | OFlags::CLOEXEC, mode })
    }
}

// SAFETY: the entry points to the path, which the call owns.
unsafe impl Call for Open {
    type Output = OwnedFd;

    fn call(&mut self) -> io::Result<OwnedFd> {
        uninterrupted(|| rustix::fs::open(&self.path, self.flags, self.mode))
    }

    fn entry(&mut self) -> Entry {
        opcode::OpenAt::new(Fd(libc::AT_FDCWD), self.path.as_ptr())
            .flags(self.flags.bits() as i32)
            .mode(self.mode.bits())
            .build()
            // Else the kernel tries it with O_NONBLOCK first (io_uring/openclose.c), which is another call where to open is to wait: for the other end of a FIFO.
            .flags(Flags::ASYNC)
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<OwnedFd> {
        let fd = result? as RawFd;
        // SAFETY: the kernel has just opened it for us.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}
