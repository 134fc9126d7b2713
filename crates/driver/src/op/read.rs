//! Read from a file at a place of its own: `pread(2)`, `preadv(2)`.

use super::{ASYNC_FROM, Call, MAX_SLICES, length, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd};

/// Reads into a buffer; the output is how many bytes were there, 0 at the end of the file.
///
/// There is none at the file's position: a ring takes no lock on that, so what others do at the same time, in this process or another, could happen at the same
/// place.
#[derive(Debug)]
pub struct ReadAt<'a> {
    fd: BorrowedFd<'a>,
    buffer: &'a mut [u8],
    offset: u64,
}

impl<'a> ReadAt<'a> {
    /// Reads what is at `offset`, which is at most `i64::MAX`: the kernel has a meaning of its own for what is above.
    pub fn new(fd: BorrowedFd<'a>, buffer: &'a mut [u8], offset: u64) -> io::Result<Self> {
        super::check_offset(offset)?;
        Ok(ReadAt { fd, buffer, offset })
    }
}

// SAFETY: the entry points to the buffer, which is borrowed exclusively.
unsafe impl Call for ReadAt<'_> {
    type Output = usize;

    fn call(&mut self) -> io::Result<usize> {
        uninterrupted(|| rustix::io::pread(self.fd, &mut *self.buffer, self.offset))
    }

    fn entry(&mut self) -> Entry {
        let entry = opcode::Read::new(Fd(self.fd.as_raw_fd()), self.buffer.as_mut_ptr(), length(self.buffer))
            .offset(self.offset)
            .build();
        if self.buffer.len() < ASYNC_FROM { entry } else { entry.flags(Flags::ASYNC) }
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<usize> {
        Ok(result? as usize)
    }
}

/// Reads into several buffers, one after the other; the output is how many bytes were there, 0 at the end of the file.
#[derive(Debug)]
pub struct ReadVectoredAt<'a, 'b> {
    fd: BorrowedFd<'a>,
    buffers: &'a mut [IoSliceMut<'b>],
    offset: u64,
}

impl<'a, 'b> ReadVectoredAt<'a, 'b> {
    /// Reads what is at `offset`, which is at most `i64::MAX`, into as many of the buffers as the kernel takes at once.
    ///
    /// # Errors
    /// `InvalidInput` when the offset is above that.
    pub fn new(fd: BorrowedFd<'a>, buffers: &'a mut [IoSliceMut<'b>], offset: u64) -> io::Result<Self> {
        super::check_offset(offset)?;
        let taken = buffers.len().min(MAX_SLICES);
        Ok(ReadVectoredAt { fd, buffers: &mut buffers[..taken], offset })
    }
}

// SAFETY: the entry points to the slices, and they to the buffers; all are borrowed exclusively.
unsafe impl Call for ReadVectoredAt<'_, '_> {
    type Output = usize;

    fn call(&mut self) -> io::Result<usize> {
        uninterrupted(|| rustix::io::preadv(self.fd, self.buffers, self.offset))
    }

    fn entry(&mut self) -> Entry {
        let total = self.buffers.iter().fold(0_usize, |sum, buffer| sum.saturating_add(buffer.len()));
        // `IoSliceMut` has the layout of `iovec` on Unix, as its documentation says. There are at most `MAX_SLICES`.
        let slices = self.buffers.as_mut_ptr().cast_const().cast();
        let entry = opcode::Readv::new(Fd(self.fd.as_raw_fd()), slices, self.buffers.len() as u32)
            .offset(self.offset)
            .build();
        if total < ASYNC_FROM { entry } else { entry.flags(Flags::ASYNC) }
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<usize> {
        Ok(result? as usize)
    }
}
