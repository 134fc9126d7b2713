//! What the path of a request stands for: the hello page, or the files below one directory.
//!
//! A [`Site`] over a directory touches the filesystem, and so may block: a service model whose contexts must
//! not block runs [`Site::open`] (or [`Wanted::find`](crate::protocol::http::Wanted::find), which calls it)
//! in its pool of blocking threads.
//!
//! # Staying below the root
//! The root directory is opened once. Each request is one `openat2(2)` relative to that descriptor with
//! `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`, so it is the kernel that refuses every way out, in the same
//! step that opens the file: no check here could lose a race against a rename.
//!
//! - A symbolic link that stays below the root is followed, one that leaves it is refused.
//! - An absolute link is refused even if it points below the root. `RESOLVE_IN_ROOT`, the alternative, would
//!   read such a link as if the root were `/`, as in a chroot: it would serve a *different* file than the one
//!   `cat` shows for the same link, or none. Here what is served is always what the filesystem means by that
//!   name. Make such links relative.
//! - A bind mount below the root is part of it.
//!
//! Only regular files are served. Files are opened with `O_NONBLOCK | O_NOCTTY`, so a FIFO or a terminal that
//! lies about cannot hold a request up, and checked with `fstat` before anything is read.

mod content_type;
mod listing;
mod path;
mod root;

use std::fs::File;
use std::io;
use std::path::Path;

pub(crate) use path::encode;
pub use path::{PathError, SitePath};

use root::Root;

/// What a server serves.
#[derive(Debug)]
pub struct Site {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Hello,
    Root(Root),
}

/// What stands at a path that may be served.
#[derive(Debug)]
pub enum Opened {
    /// A regular file.
    File(OpenedFile),
    /// A directory without an `index.html`, as a page of HTML.
    Listing(Vec<u8>),
    /// A directory that was asked for without its closing slash: the client has to ask again with it, or
    /// the relative links of the page would be wrong.
    WithoutSlash,
}

/// A regular file, open for reading, and what is known of it.
#[derive(Debug)]
pub struct OpenedFile {
    /// The file. It is opened with `O_NONBLOCK`, which means nothing for regular files.
    pub file: File,
    /// Its length in bytes.
    pub len: u64,
    /// When it was last written: seconds since the epoch.
    pub modified_seconds: i64,
    /// The part of a second beyond that.
    pub modified_nanoseconds: u32,
    /// Its media type, by the extension of the name it was asked for.
    pub content_type: &'static str,
    /// Whether the type is a text whose encoding should be named; it is then said to be UTF-8.
    pub is_text: bool,
}

/// Why a path is not served.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// Nothing of that name.
    NotFound,
    /// The name leads out of the root, by `..` or by a symbolic link.
    Outside,
    /// It exists, but permissions are missing, or it is a directory and listings are off.
    Forbidden,
    /// It is a FIFO, a device or a socket.
    NotAFile,
    /// Descriptors or memory are out: another time it may work.
    Busy(io::Error),
    /// The filesystem failed.
    Failed(io::Error),
}

impl Site {
    /// One small page at `/`, and nothing else. No filesystem is touched.
    #[must_use]
    pub fn hello() -> Site {
        Site { kind: Kind::Hello }
    }

    /// The files below the directory `root`. Directories are not listed, unless
    /// [`with_listing`](Site::with_listing) says so.
    ///
    /// # Errors
    /// If `root` cannot be opened as a directory, and if the kernel has no `openat2` (before Linux 5.6) or a
    /// seccomp filter forbids it: without it nothing keeps a request below the root.
    pub fn root(root: impl AsRef<Path>) -> io::Result<Site> {
        Ok(Site { kind: Kind::Root(Root::open(root.as_ref())?) })
    }

    /// Whether a directory without an `index.html` is answered with a list of what is in it.
    #[must_use]
    pub fn with_listing(mut self, listing: bool) -> Site {
        if let Kind::Root(root) = &mut self.kind {
            root.listing = listing;
        }
        self
    }

    /// Whether this is the hello page.
    #[inline]
    #[must_use]
    pub fn is_hello(&self) -> bool {
        matches!(self.kind, Kind::Hello)
    }

    /// Opens what stands at `path`. Blocks for as long as the filesystem does.
    ///
    /// # Errors
    /// A [`Refusal`], if nothing may be served there. The hello page has no files: it refuses every path.
    pub fn open(&self, path: &SitePath) -> Result<Opened, Refusal> {
        match &self.kind {
            Kind::Hello => Err(Refusal::NotFound),
            Kind::Root(root) => root.find(path),
        }
    }
}
