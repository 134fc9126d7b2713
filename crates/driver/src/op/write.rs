//! Write to a file at a place of its own: `pwrite(2)`, `pwritev(2)`.

use super::{ASYNC_FROM, Call, MAX_SLICES, length, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Writes a buffer; the output is how many bytes were taken. There is none at the file's position: see [`ReadAt`](super::ReadAt).
#[derive(Debug)]
pub struct WriteAt<'a> {
    fd: BorrowedFd<'a>,
    data: &'a [u8],
    offset: u64,
}

impl<'a> WriteAt<'a> {
    /// Writes at `offset`, which is at most `i64::MAX`; at the end of a file that was opened for appending.
    pub fn new(fd: BorrowedFd<'a>, data: &'a [u8], offset: u64) -> io::Result<Self> {
        super::check_offset(offset)?;
        Ok(WriteAt { fd, data, offset })
    }
}

// SAFETY: the entry points to the data, which is borrowed.
unsafe impl Call for WriteAt<'_> {
    type Output = usize;

    fn call(&mut self) -> io::Result<usize> {
        uninterrupted(|| rustix::io::pwrite(self.fd, self.data, self.offset))
    }

    fn entry(&mut self) -> Entry {
        let entry = opcode::Write::new(Fd(self.fd.as_raw_fd()), self.data.as_ptr(), length(self.data))
            .offset(self.offset)
            .build();
        if self.data.len() < ASYNC_FROM { entry } else { entry.flags(Flags::ASYNC) }
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<usize> {
        Ok(result? as usize)
    }
}

/// Writes several buffers, one after the other; the output is how many bytes were taken.
#[derive(Debug)]
pub struct WriteVectoredAt<'a, 'b> {
    fd: BorrowedFd<'a>,
    buffers: &'a [IoSlice<'b>],
    offset: u64,
}

impl<'a, 'b> WriteVectoredAt<'a, 'b> {
    /// Writes at `offset`, which is at most `i64::MAX`, as many of the buffers as the kernel takes at once; at the end of a file that was opened for appending.
    ///
    /// # Errors
    /// `InvalidInput` when the offset is above that.
    pub fn new(fd: BorrowedFd<'a>, buffers: &'a [IoSlice<'b>], offset: u64) -> io::Result<Self> {
        super::check_offset(offset)?;
        Ok(WriteVectoredAt { fd, buffers: &buffers[..buffers.len().min(MAX_SLICES)], offset })
    }
}

// SAFETY: the entry points to the slices, and they to the buffers; all are borrowed, and only read.
unsafe impl Call for WriteVectoredAt<'_, '_> {
    type Output = usize;

    fn call(&mut self) -> io::Result<usize> {
        uninterrupted(|| rustix::io::pwritev(self.fd, self.buffers, self.offset))
    }

    fn entry(&mut self) -> Entry {
        let total = self.buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len()));
        // `IoSlice` has the layout of `iovec` on Unix, as its documentation says. There are at most `MAX_SLICES`.
        let slices = self.buffers.as_ptr().cast();
        let entry = opcode::Writev::new(Fd(self.fd.as_raw_fd()), slices, self.buffers.len() as u32)
            .offset(self.offset)
            .build();
        if total < ASYNC_FROM { entry } else { entry.flags(Flags::ASYNC) }
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<usize> {
        Ok(result? as usize)
    }
}
