//! Give a file another name: `renameat(2)`.

use super::{Call, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use std::ffi::CString;
use std::io;
use std::path::Path;

/// Renames a file, in place of what has the new name.
#[derive(Debug)]
pub struct Rename {
    from: CString,
    to: CString,
}

impl Rename {
    /// Renames `from` to `to`.
    ///
    /// # Errors
    /// `InvalidInput` when there is a zero byte in a path.
    pub fn new(from: &Path, to: &Path) -> io::Result<Rename> {
        Ok(Rename { from: super::path(from)?, to: super::path(to)? })
    }
}

// SAFETY: the entry points to the paths, which the call owns.
unsafe impl Call for Rename {
    type Output = ();

    fn call(&mut self) -> io::Result<()> {
        uninterrupted(|| rustix::fs::rename(&self.from, &self.to))
    }

    fn entry(&mut self) -> Entry {
        let here = Fd(libc::AT_FDCWD);
        opcode::RenameAt::new(here, self.from.as_ptr(), here, self.to.as_ptr()).build()
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<()> {
        result?;
        Ok(())
    }
}
