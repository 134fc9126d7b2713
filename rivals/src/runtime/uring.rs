//! The ring of the loops written by hand.
//!
//! It is set up for one thread (`SINGLE_ISSUER`), which does the work of completions when it waits for them and at no
//! other time (`DEFER_TASKRUN`, to which `COOP_TASKRUN` adds nothing); a bad entry does not hold up those behind it
//! (`SUBMIT_ALL`). Linux 6.1 has all of it.

use anyhow::Result;
use io_uring::IoUring;

use crate::process::Unavailable;

/// A ring that takes so many operations at once, and keeps so many completions.
///
/// # Errors
///
/// When the kernel has no such ring, or refuses it.
pub(crate) fn ring(operations: u32, completions: u32) -> Result<IoUring> {
    let ring = IoUring::builder()
        .setup_single_issuer()
        .setup_defer_taskrun()
        .setup_coop_taskrun()
        .setup_submit_all()
        .setup_cqsize(completions)
        .build(operations);
    Ok(ring.map_err(|error| Unavailable::because(format!("io_uring: {error}")))?)
}
