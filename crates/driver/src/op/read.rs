//! Read from a file at a place of its own: `pread(2)`.

use super::{ASYNC_FROM, Call, length, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::{Entry, Flags};
use io_uring::types::Fd;
use std::io;
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
