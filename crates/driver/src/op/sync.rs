//! Wait until a file is on the disk: `fsync(2)`, `fdatasync(2)`.

use super::{Call, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::{Fd, FsyncFlags};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Waits until the data of a file is on the disk, and all of its metadata or what it takes to read it.
#[derive(Debug)]
pub struct Sync<'a> {
    fd: BorrowedFd<'a>,
    data_only: bool,
}

impl<'a> Sync<'a> {
    /// Data and metadata.
    pub fn all(fd: BorrowedFd<'a>) -> Self {
        Sync { fd, data_only: false }
    }

    /// Data, and of the metadata what it takes to read it.
    pub fn data(fd: BorrowedFd<'a>) -> Self {
        Sync { fd, data_only: true }
    }
}

// SAFETY: the entry points to nothing.
unsafe impl Call for Sync<'_> {
    type Output = ();

    fn call(&mut self) -> io::Result<()> {
        uninterrupted(|| {
            if self.data_only { rustix::fs::fdatasync(self.fd) } else { rustix::fs::fsync(self.fd) }
        })
    }

    fn entry(&mut self) -> Entry {
        let flags = if self.data_only { FsyncFlags::DATASYNC } else { FsyncFlags::empty() };
        opcode::Fsync::new(Fd(self.fd.as_raw_fd())).flags(flags).build()
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<()> {
        result?;
        Ok(())
    }
}
