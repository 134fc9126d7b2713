//! The files below one directory: every name is resolved by the kernel, which never leaves it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat, fstat, open, openat2};
use rustix::io::Errno;

use super::{Opened, OpenedFile, Refusal, SitePath, content_type, listing};

const INDEX: &str = "index.html";

/// How often a resolution is tried again that a rename or a mount elsewhere disturbed: openat2(2) answers
/// EAGAIN when it cannot be sure that a `..` in a link stayed below the root.
const TRIES: usize = 16;

#[derive(Debug)]
pub(super) struct Root {
    directory: OwnedFd,
    pub(super) listing: bool,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Root> {
        let failed = |errno: Errno, what: &str| {
            let error = io::Error::from(errno);
            io::Error::new(error.kind(), format!("{what} {}: {error}", path.display()))
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(path, flags, Mode::empty())
            .map_err(|errno| failed(errno, "cannot open the root directory"))?;
        let root = Root { directory, listing: false };
        // A filter that does not know the call answers ENOSYS or, in older containers, EPERM.
        match root.resolve(b".", OFlags::PATH) {
            Ok(_) => Ok(root),
            Err(Errno::NOSYS | Errno::PERM) => Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "files cannot be served: openat2(2), which keeps every request below the root directory, \
                 is missing (it came with Linux 5.6) or forbidden by a seccomp filter",
            )),
            Err(errno) => Err(failed(errno, "cannot look into the root directory")),
        }
    }

    pub(super) fn find(&self, path: &SitePath) -> Result<Opened, Refusal> {
        if path.is_directory() {
            return self.find_in_directory(path);
        }
        let (file, stat) = self.open_and_stat(path.name())?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(regular(file, &stat, path.name())),
            FileType::Directory => Ok(Opened::WithoutSlash),
            _ => Err(Refusal::NotAFile),
        }
    }

    /// The index page of a directory, or else the list of what is in it.
    fn find_in_directory(&self, path: &SitePath) -> Result<Opened, Refusal> {
        let index = path.join(INDEX);
        match self.open_and_stat(&index) {
            Ok((file, stat)) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => {
                return Ok(regular(file, &stat, &index));
            }
            Ok(_) | Err(Refusal::NotFound) => {}
            Err(refusal) => return Err(refusal),
        }
        // No usable index: whether this is 403 or 404 depends on the directory itself.
        let name = if path.name().is_empty() { b"." } else { path.name() };
        let access = if self.listing { OFlags::RDONLY } else { OFlags::PATH };
        let directory = self.resolve(name, access | OFlags::DIRECTORY).map_err(refusal)?;
        if !self.listing {
            return Err(Refusal::Forbidden);
        }
        listing::page(directory.as_fd(), path.name()).map(Opened::Listing).map_err(refusal)
    }

    fn open_and_stat(&self, name: &[u8]) -> Result<(OwnedFd, Stat), Refusal> {
        let file = self.resolve(name, OFlags::RDONLY).map_err(refusal)?;
        let stat = fstat(&file).map_err(refusal)?;
        Ok((file, stat))
    }

    fn resolve(&self, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
        let harmless = OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let flags = if flags.contains(OFlags::PATH) { flags | OFlags::CLOEXEC } else { flags | harmless };
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let mut tries = TRIES;
        loop {
            match openat2(&self.directory, name, flags, Mode::empty(), beneath) {
                Err(Errno::AGAIN | Errno::INTR) if tries > 0 => tries -= 1,
                done => return done,
            }
        }
    }
}

fn regular(file: OwnedFd, stat: &Stat, name: &[u8]) -> Opened {
    let (content_type, is_text) = content_type::of(name);
    Opened::File(OpenedFile {
        file: File::from(file),
        len: stat.st_size.try_into().unwrap_or(0),
        modified_seconds: stat.st_mtime,
        modified_nanoseconds: stat.st_mtime_nsec as u32,
        content_type,
        is_text,
    })
}

fn refusal(errno: Errno) -> Refusal {
    match errno {
        // A loop of links names nothing, and no name is longer than the kernel allows.
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP | Errno::INVAL => Refusal::NotFound,
        Errno::XDEV => Refusal::Outside,
        Errno::ACCESS | Errno::PERM => Refusal::Forbidden,
        // What opening a socket, and a device without a driver, answers.
        Errno::NXIO | Errno::NODEV => Refusal::NotAFile,
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => Refusal::Busy(errno.into()),
        errno => Refusal::Failed(errno.into()),
    }
}
