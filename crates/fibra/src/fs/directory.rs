//! Listing and making directories.

use crate::blocking::run;
use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{FileType, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, DirEntryExt};
use std::path::{Path, PathBuf};

/// How many entries one trip to the pool brings: a trip costs as much as reading dozens of them, and the kernel itself hands
/// them over some hundreds at a time.
const BATCH: usize = 256;

/// What is in a directory, as [`std::fs::read_dir`].
///
/// # Errors
/// As std's: there is no such directory, or it cannot be read.
pub fn read_dir<P: AsRef<Path>>(path: P) -> io::Result<ReadDir> {
    let path = path.as_ref();
    run(|| {
        let mut directory = ReadDir { std: std::fs::read_dir(path)?, batch: VecDeque::new(), over: false };
        directory.read_batch();
        Ok(directory)
    })
}

/// The entries of a directory, `.` and `..` aside, in no order: an iterator, as [`std::fs::ReadDir`].
pub struct ReadDir {
    std: std::fs::ReadDir,
    batch: VecDeque<io::Result<DirEntry>>,
    over: bool,
}

impl ReadDir {
    /// Reads some more. It may block.
    fn read_batch(&mut self) {
        while self.batch.len() < BATCH {
            let Some(entry) = self.std.next() else {
                self.over = true;
                return;
            };
            // After an error std goes on or ends, as it sees fit; the caller hears of it first.
            let failed = entry.is_err();
            self.batch.push_back(entry.map(DirEntry::new));
            if failed {
                return;
            }
        }
    }
}

impl Iterator for ReadDir {
    type Item = io::Result<DirEntry>;

    fn next(&mut self) -> Option<io::Result<DirEntry>> {
        if self.batch.is_empty() && !self.over {
            run(|| self.read_batch());
        }
        self.batch.pop_front()
    }
}

impl fmt::Debug for ReadDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.std.fmt(f)
    }
}

/// One entry of a directory, as [`std::fs::DirEntry`].
pub struct DirEntry {
    std: std::fs::DirEntry,
    /// Found out with the entry: where the directory does not say, it takes a call that may block.
    file_type: Option<FileType>,
}

impl DirEntry {
    fn new(std: std::fs::DirEntry) -> DirEntry {
        let file_type = std.file_type().ok();
        DirEntry { std, file_type }
    }

    /// The directory's path, as it was given, and the entry's name.
    pub fn path(&self) -> PathBuf {
        self.std.path()
    }

    /// The entry's name, without a path.
    pub fn file_name(&self) -> OsString {
        self.std.file_name()
    }

    /// What the file system knows of the entry; symbolic links are not followed.
    ///
    /// # Errors
    /// As std's: the entry is gone meanwhile, say.
    pub fn metadata(&self) -> io::Result<Metadata> {
        run(|| self.std.metadata())
    }

    /// Whether the entry is a file, a directory, a symbolic link or something else.
    ///
    /// # Errors
    /// As std's: the directory does not say, and the entry is gone meanwhile.
    pub fn file_type(&self) -> io::Result<FileType> {
        match self.file_type {
            Some(file_type) => Ok(file_type),
            None => run(|| self.std.file_type()),
        }
    }
}

impl DirEntryExt for DirEntry {
    fn ino(&self) -> u64 {
        self.std.ino()
    }
}

impl fmt::Debug for DirEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DirEntry").field(&self.path()).finish()
    }
}

/// How a directory is to be made, as [`std::fs::DirBuilder`]; [`DirBuilderExt`] has the mode.
#[derive(Debug)]
pub struct DirBuilder(std::fs::DirBuilder);

impl DirBuilder {
    /// With the default mode, and not recursive.
    #[expect(clippy::new_without_default, reason = "std's has no default either")]
    pub fn new() -> DirBuilder {
        DirBuilder(std::fs::DirBuilder::new())
    }

    /// Whether the directories above are made too, and one that exists is no error.
    pub fn recursive(&mut self, recursive: bool) -> &mut DirBuilder {
        self.0.recursive(recursive);
        self
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As std's: something of that name exists, or its parent does not.
    pub fn create<P: AsRef<Path>>(&self, path: P) -> io::Result<()> {
        let (builder, path) = (&self.0, path.as_ref());
        run(|| builder.create(path))
    }
}

impl DirBuilderExt for DirBuilder {
    fn mode(&mut self, mode: u32) -> &mut DirBuilder {
        self.0.mode(mode);
        self
    }
}
