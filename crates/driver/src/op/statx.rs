//! Ask the file system about a path: `statx(2)`.

use super::{Call, uninterrupted};
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types::Fd;
use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::path::Path;

/// Whether a path leads to something, behind symbolic links. The output is nothing; that there is nothing is an error.
pub struct Statx {
    path: CString,
    /// Where the kernel writes the answer.
    status: MaybeUninit<libc::statx>,
}

impl std::fmt::Debug for Statx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statx").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Statx {
    /// Asks about `path`.
    ///
    /// # Errors
    /// `InvalidInput` when there is a zero byte in the path.
    pub fn new(path: &Path) -> io::Result<Statx> {
        Ok(Statx { path: super::path(path)?, status: MaybeUninit::uninit() })
    }
}

// SAFETY: the entry points to the path and to room for the answer, both in the call.
unsafe impl Call for Statx {
    type Output = ();

    fn call(&mut self) -> io::Result<()> {
        uninterrupted(|| rustix::fs::stat(&self.path))?;
        Ok(())
    }

    fn entry(&mut self) -> Entry {
        let path = self.path.as_ptr();
        opcode::Statx::new(Fd(libc::AT_FDCWD), path, self.status.as_mut_ptr().cast()).build()
    }

    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<()> {
        result?;
        Ok(())
    }
}
