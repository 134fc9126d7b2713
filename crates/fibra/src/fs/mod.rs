//! Files and directories with std's names and signatures, off the worker: `use std::fs` → `use fibra::fs` is the whole port (and
//! `use std::os::unix::fs` → [`use fibra::fs::unix`](unix)).
//!
//! Linux has no readiness for files: a read of what is on disk blocks its thread. So each call here runs on a thread of the
//! [blocking pool](crate::blocking) while the coroutine parks, and the worker goes on with others. On an OS thread the call is made in place.
//!
//! Reads of what is in the page cache make no trip: see [`File`].
//!
//! | file | idea |
//! |---|---|
//! | `file` | the open file |
//! | `cached` | reading on the worker itself what the page cache holds |
//! | `position` | why a worker never waits behind a slow read of the same file |
//! | `open_options`, `directory` | how a file is opened; listing and making directories |
//! | [`unix`] | what std has in `std::os::unix::fs` |
//!
//! ```
//! use fibra::fs::{self, File};
//! use std::io::{Read, Write};
//!
//! # let path = std::env::temp_dir().join(format!("fibra-doc-{}", std::process::id()));
//! fibra::run(|| {
//!     File::create(&path)?.write_all(b"hello")?;
//!     let mut text = String::new();
//!     File::open(&path)?.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     fs::remove_file(&path)
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # What may still block
//! * Dropping a [`File`] closes its descriptor in place. On a local file system that is quick, unless it was the last name of a
//!   large file; network file systems may write back first. [`File::close`] takes it elsewhere, and reports errors.
//! * The methods of [`std::path::Path`] (`exists`, `metadata`, …) are std's and block the worker: use [`exists`] and [`metadata`].
//! * A call that waits for somebody else (opening a named pipe, reading from a terminal) holds a thread for as long as that takes: of the pool, or of the kernel where there is a
//!   ring, which has as many for each worker, 512 (before Linux 5.15 no more than four for each processor). When all are held, other calls wait for one of them.
//!   [`File::lock`] holds none: it waits on a thread of its own.
//!
//! A call that is under way on the pool ends neither with a request to stop nor with its runtime.

#![deny(unsafe_code)]

mod cached;
mod directory;
mod file;
mod open_options;
mod position;
pub mod unix;

use crate::blocking::run;
use crate::call;
pub use directory::{DirBuilder, DirEntry, ReadDir, read_dir};
use fibra_driver::op;
pub use file::File;
pub use open_options::OpenOptions;
pub use std::fs::{FileTimes, FileType, Metadata, Permissions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// The whole of a file, as [`std::fs::read`].
///
/// # Errors
/// As std's: the file cannot be opened or read.
pub fn read<P: AsRef<Path>>(path: P) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    run(|| std::fs::read(path))
}

/// The whole of a file as text, as [`std::fs::read_to_string`].
///
/// # Errors
/// As std's: the file cannot be opened or read, or is not UTF-8.
pub fn read_to_string<P: AsRef<Path>>(path: P) -> io::Result<String> {
    let path = path.as_ref();
    run(|| std::fs::read_to_string(path))
}

/// Makes `contents` the whole of a file, which is created if need be, as [`std::fs::write`].
///
/// # Errors
/// As std's: the file cannot be created or written.
pub fn write<P: AsRef<Path>, C: AsRef<[u8]>>(path: P, contents: C) -> io::Result<()> {
    let (path, contents) = (path.as_ref(), contents.as_ref());
    run(|| std::fs::write(path, contents))
}

/// What the file system knows of a file, behind symbolic links, as [`std::fs::metadata`].
///
/// # Errors
/// As std's: there is no such file, or a directory on the way cannot be searched.
pub fn metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    run(|| std::fs::metadata(path))
}

/// What the file system knows of a file or of a symbolic link itself, as [`std::fs::symlink_metadata`].
///
/// # Errors
/// As std's: there is no such file, or a directory on the way cannot be searched.
pub fn symlink_metadata<P: AsRef<Path>>(path: P) -> io::Result<Metadata> {
    let path = path.as_ref();
    run(|| std::fs::symlink_metadata(path))
}

/// Makes a directory, as [`std::fs::create_dir`].
///
/// # Errors
/// As std's: something of that name exists, or its parent does not.
pub fn create_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    run(|| std::fs::create_dir(path))
}

/// Makes a directory and those above it that are missing, as [`std::fs::create_dir_all`].
///
/// # Errors
/// As std's: a name on the way is no directory, or one cannot be made.
pub fn create_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    run(|| std::fs::create_dir_all(path))
}

/// Removes a name of a file, as [`std::fs::remove_file`].
///
/// # Errors
/// As std's: there is no such file, or it is a directory.
pub fn remove_file<P: AsRef<Path>>(path: P) -> io::Result<()> {
    call::make(op::Unlink::file(path.as_ref())?)
}

/// Removes an empty directory, as [`std::fs::remove_dir`].
///
/// # Errors
/// As std's: there is no such directory, or it is not empty.
pub fn remove_dir<P: AsRef<Path>>(path: P) -> io::Result<()> {
    call::make(op::Unlink::directory(path.as_ref())?)
}

/// Removes a directory with all that is in it, following no symbolic link, as [`std::fs::remove_dir_all`].
///
/// # Errors
/// As std's: something in it cannot be removed.
pub fn remove_dir_all<P: AsRef<Path>>(path: P) -> io::Result<()> {
    let path = path.as_ref();
    run(|| std::fs::remove_dir_all(path))
}

/// Gives a file another name, in place of the file that has it, as [`std::fs::rename`].
///
/// # Errors
/// As std's: `from` does not exist, or `to` is on another file system.
pub fn rename<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<()> {
    call::make(op::Rename::new(from.as_ref(), to.as_ref())?)
}

/// Copies the contents and permissions of a file, and returns how many bytes that was, as [`std::fs::copy`].
///
/// # Errors
/// As std's: `from` is no file that can be read, or `to` cannot be written.
pub fn copy<P: AsRef<Path>, Q: AsRef<Path>>(from: P, to: Q) -> io::Result<u64> {
    let (from, to) = (from.as_ref(), to.as_ref());
    run(|| std::fs::copy(from, to))
}

/// Gives a file one more name, as [`std::fs::hard_link`].
///
/// # Errors
/// As std's: `original` does not exist, `link` does, or they are on different file systems.
pub fn hard_link<P: AsRef<Path>, Q: AsRef<Path>>(original: P, link: Q) -> io::Result<()> {
    let (original, link) = (original.as_ref(), link.as_ref());
    run(|| std::fs::hard_link(original, link))
}

/// Where a symbolic link leads, as [`std::fs::read_link`].
///
/// # Errors
/// As std's: there is no such link, or it is something else.
pub fn read_link<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    run(|| std::fs::read_link(path))
}

/// The absolute path without symbolic links, as [`std::fs::canonicalize`].
///
/// # Errors
/// As std's: a name in the path does not exist or is no directory.
pub fn canonicalize<P: AsRef<Path>>(path: P) -> io::Result<PathBuf> {
    let path = path.as_ref();
    run(|| std::fs::canonicalize(path))
}

/// Changes the permissions of a file, as [`std::fs::set_permissions`].
///
/// # Errors
/// As std's: there is no such file, or it belongs to somebody else.
pub fn set_permissions<P: AsRef<Path>>(path: P, permissions: Permissions) -> io::Result<()> {
    let path = path.as_ref();
    run(|| std::fs::set_permissions(path, permissions))
}

/// Whether the path leads to something, as [`std::fs::exists`].
///
/// # Errors
/// As std's: it cannot be told, since a directory on the way cannot be searched, say.
pub fn exists<P: AsRef<Path>>(path: P) -> io::Result<bool> {
    match call::make(op::Statx::new(path.as_ref())?) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}
