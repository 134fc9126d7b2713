//! Close a descriptor and hear what comes of it: `close(2)`.
//!
//! It is neither an [`Operation`](super::Operation) nor a [`Call`](super::Call), for a ring has nothing to offer here (measured on Linux 6.18):
//!
//! * Handed over as it is, the worker's own thread releases the file: 23 ms for one of 512 MiB without a name.
//! * Left to a thread of the kernel (`IOSQE_ASYNC`), it may be answered before the file is released: in 7 of 20,000 times its lock was still held.
//! * A request that was interrupted must not be made again, since the number may be somebody else's by then.
//!
//! So it is for a thread that may block. There the file has been released when the call returns.

use std::io;
use std::os::fd::{IntoRawFd, OwnedFd};

/// Closes a descriptor. It is gone, whatever the answer.
///
/// # Errors
/// What the file system says: on some, network file systems above all, that something could not be written.
pub fn close(fd: OwnedFd) -> io::Result<()> {
    // SAFETY: the descriptor was ours alone, and nobody uses it after this. It is not closed twice, since an interrupted call has closed it as well.
    unsafe { rustix::io::try_close(fd.into_raw_fd()) }.map_err(io::Error::from)
}
