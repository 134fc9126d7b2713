//! What std has in `std::os::unix::fs`: `use std::os::unix::fs` → `use fibra::fs::unix` is the whole port.
//!
//! The traits are std's own. [`File`](super::File), [`OpenOptions`](super::OpenOptions), [`DirBuilder`](super::DirBuilder) and
//! [`DirEntry`](super::DirEntry) implement those that are theirs, and [`Metadata`](super::Metadata), [`Permissions`](super::Permissions) and
//! [`FileType`](super::FileType) are std's types.

use crate::blocking::run;
use std::io;
use std::os::fd::AsFd;
pub use std::os::unix::fs::{
    DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt,
};
use std::path::Path;

/// Makes a symbolic link to `original`, which need not exist, as [`std::os::unix::fs::symlink`].
///
/// # Errors
/// As std's: `link` exists, or its directory cannot be written.
pub fn symlink<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    run(|| std::os::unix::fs::symlink(original, link))
}

/// Changes the owner and the group of a file; `None` leaves one as it is. As [`std::os::unix::fs::chown`].
///
/// # Errors
/// As std's: there is no such file, or the privilege is missing.
pub fn chown<P: AsRef<Path>>(path: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let path = path.as_ref();
    run(|| std::os::unix::fs::chown(path, uid, gid))
}

/// The same for a file or for a symbolic link itself, as [`std::os::unix::fs::lchown`].
///
/// # Errors
/// As [`chown`].
pub fn lchown<P: AsRef<Path>>(path: P, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let path = path.as_ref();
    run(|| std::os::unix::fs::lchown(path, uid, gid))
}

/// The same for an open file, as [`std::os::unix::fs::fchown`].
///
/// # Errors
/// As std's: the privilege is missing.
pub fn fchown<F: AsFd>(file: F, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
    let fd = file.as_fd();
    run(|| std::os::unix::fs::fchown(fd, uid, gid))
}
