//! Remove a name: `unlinkat(2)`.

use super::{Call, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use std::ffi::CString;
use std::io;
use std::path::Path;

/// Removes a name of a file, or an empty directory.
#[derive(Debug)]
pub struct Unlink {
    path: CString,
    directory: bool,
}

impl Unlink {
    /// Removes a name of what is no directory.
    ///
    /// # Errors
    /// `InvalidInput` when there is a zero byte in the path.
    pub fn file(path: &Path) -> io::Result<Unlink> {
        Ok(Unlink { path: super::path(path)?, directory: false })
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// As [`file`](Self::file).
    pub fn directory(path: &Path) -> io::Result<Unlink> {
        Ok(Unlink { path: super::path(path)?, directory: true })
    }
}

// SAFETY: the entry points to the path, which the call owns.
unsafe impl Call for Unlink {
    type Output = ();

    fn call(&mut self) -> io::Result<()> {
        uninterrupted(|| {
            if self.directory { rustix::fs::rmdir(&self.path) } else { rustix::fs::unlink(&self.path) }
        })
    }

    fn entry(&mut self) -> Entry {
        let flags = if self.directory { libc::AT_REMOVEDIR } else { 0 };
        opcode::UnlinkAt::new(Fd(libc::AT_FDCWD), self.path.as_ptr()).flags(flags).build()
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<()> {
        result?;
        Ok(())
    }
}
