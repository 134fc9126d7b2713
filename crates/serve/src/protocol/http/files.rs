//! Requests for files: what is handed out to be looked up, and what comes back.
//!
//! The protocol itself never touches the filesystem. It hands out a [`Wanted`]; whoever drives it lets that
//! find what it wants, on whichever thread may block, and hands the [`Found`] back.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::conditions::{Conditions, Outcome, Validators};
use super::date::{self, Date};
use super::response::{self, Persistence, Problem, Status, Writer};
use crate::site::{Opened, OpenedFile, Refusal, Site, SitePath, encode};

/// Bodies up to this many bytes are read when the file is looked up, and go out with their head in one
/// write; longer ones are left to the service model, which need not read them into memory.
const SMALL: u64 = 16 << 10;

/// A file that a request asks for. [`find`](Wanted::find) looks it up.
#[derive(Debug)]
pub struct Wanted {
    pub(super) path: SitePath,
    /// With its question mark; empty if there is none.
    pub(super) query: Box<str>,
    pub(super) head_only: bool,
    pub(super) conditions: Option<Box<Conditions>>,
    /// The time of the request, in seconds since the epoch.
    pub(super) now: i64,
}

/// What became of a [`Wanted`].
#[derive(Debug)]
pub struct Found {
    head_only: bool,
    what: What,
}

/// A part of a file that is to be sent as it is: `len` bytes from `offset`.
#[derive(Debug)]
#[must_use]
pub struct FileSpan {
    /// The file; its cursor is at no particular place.
    pub file: File,
    /// Where the part begins, in bytes.
    pub offset: u64,
    /// How long it is, in bytes; more than none.
    pub len: u64,
}

#[derive(Debug)]
enum What {
    File { type_: ContentType, validators: Validators, total: u64, offset: u64, partial: bool, body: Body },
    NotModified(Validators),
    Unsatisfiable { total: u64 },
    Page(Vec<u8>),
    Moved { location: Vec<u8> },
    Problem(Problem),
}

#[derive(Clone, Copy, Debug)]
struct ContentType {
    name: &'static str,
    is_text: bool,
}

#[derive(Debug)]
enum Body {
    Read(Vec<u8>),
    Left(FileSpan),
    /// Of a HEAD: only its length is told.
    Untold(u64),
}

impl Wanted {
    /// The decoded path.
    #[must_use]
    pub fn path(&self) -> &SitePath {
        &self.path
    }

    /// Opens what is wanted, weighs the conditions of the request, and reads the file if it is small.
    /// Blocks for as long as the filesystem does.
    #[must_use]
    pub fn find(self, site: &Site) -> Found {
        let head_only = self.head_only;
        let what = match site.open(&self.path) {
            Ok(Opened::File(file)) => self.weigh(file).unwrap_or_else(|error| failed(&error)),
            Ok(Opened::Listing(page)) => What::Page(page),
            Ok(Opened::WithoutSlash) => What::Moved { location: self.with_slash() },
            Err(refusal) => refused(&refusal),
        };
        Found { head_only, what }
    }

    /// The answer that nothing is there, without having looked.
    #[must_use]
    pub fn refuse(self, refusal: &Refusal) -> Found {
        Found { head_only: self.head_only, what: refused(refusal) }
    }

    /// The answer that nobody could look for it now, and that another time it may work.
    #[must_use]
    pub fn unavailable(&self) -> Found {
        let detail = "the server is out of threads";
        let what = What::Problem(Problem { status: Status::ServiceUnavailable, detail });
        Found { head_only: self.head_only, what }
    }

    fn weigh(&self, opened: OpenedFile) -> io::Result<What> {
        let OpenedFile { file, len: total, modified_seconds, modified_nanoseconds, .. } = opened;
        let tag = format!("\"{modified_seconds:x}.{modified_nanoseconds:x}-{total:x}\"");
        let validators = Validators { tag, modified: modified_seconds.min(self.now) };
        let outcome = match &self.conditions {
            None => Outcome::Whole,
            Some(conditions) => conditions.outcome(&validators, total, self.now, self.head_only),
        };
        let (offset, len, partial) = match outcome {
            Outcome::Whole => (0, total, false),
            Outcome::Part { offset, len } => (offset, len, true),
            Outcome::NotModified => return Ok(What::NotModified(validators)),
            Outcome::Unsatisfiable => return Ok(What::Unsatisfiable { total }),
            Outcome::Failed => {
                let status = Status::PreconditionFailed;
                return Ok(What::Problem(Problem { status, detail: "" }));
            }
        };
        let body = if self.head_only {
            Body::Untold(len)
        } else if len <= SMALL {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, offset)?;
            Body::Read(bytes)
        } else {
            Body::Left(FileSpan { file, offset, len })
        };
        let type_ = ContentType { name: opened.content_type, is_text: opened.is_text };
        Ok(What::File { type_, validators, total, offset, partial, body })
    }

    /// The same path as a directory. It is encoded anew and begins with one slash only, so it cannot be read
    /// as the name of another host.
    fn with_slash(&self) -> Vec<u8> {
        let mut location = b"/".to_vec();
        encode(self.path.name(), &mut location);
        location.push(b'/');
        location.extend_from_slice(self.query.as_bytes());
        location
    }
}

impl Found {
    /// Writes the response, and returns the part of a file that is to follow it.
    pub(super) fn write(self, out: &mut Vec<u8>, date: &Date, persistence: Persistence) -> Option<FileSpan> {
        let head_only = self.head_only;
        match self.what {
            What::Problem(problem) => {
                response::problem(out, problem, date, persistence, head_only);
                None
            }
            What::Page(page) => {
                Writer::new(out, Status::Ok, date, persistence)
                    .field("Content-Type", b"text/html; charset=utf-8")
                    .content_length(page.len() as u64)
                    .end();
                if !head_only {
                    out.extend_from_slice(&page);
                }
                None
            }
            What::Moved { location } => {
                let head = Writer::new(out, Status::MovedPermanently, date, persistence);
                head.field("Location", &location).content_length(0).end();
                None
            }
            What::NotModified(validators) => {
                validators.write(Writer::new(out, Status::NotModified, date, persistence)).end();
                None
            }
            What::Unsatisfiable { total } => {
                Writer::new(out, Status::RangeNotSatisfiable, date, persistence)
                    .field("Content-Range", format!("bytes */{total}").as_bytes())
                    .content_length(0)
                    .end();
                None
            }
            What::File { type_, validators, total, offset, partial, body } => {
                let len = match &body {
                    Body::Read(bytes) => bytes.len() as u64,
                    Body::Left(span) => span.len,
                    Body::Untold(len) => *len,
                };
                let status = if partial { Status::PartialContent } else { Status::Ok };
                let mut head = Writer::new(out, status, date, persistence);
                head = type_.write(head).content_length(len).field("Accept-Ranges", b"bytes");
                head = validators.write(head);
                if partial {
                    let range = format!("bytes {offset}-{}/{total}", offset + len - 1);
                    head = head.field("Content-Range", range.as_bytes());
                }
                head.end();
                match body {
                    Body::Read(bytes) => {
                        out.extend_from_slice(&bytes);
                        None
                    }
                    Body::Left(span) => Some(span),
                    Body::Untold(_) => None,
                }
            }
        }
    }
}

impl Validators {
    fn write<'o>(&self, head: Writer<'o>) -> Writer<'o> {
        head.field("ETag", self.tag.as_bytes()).field("Last-Modified", &date::format(self.modified))
    }
}

impl ContentType {
    fn write(self, head: Writer<'_>) -> Writer<'_> {
        if self.is_text {
            head.field("Content-Type", format!("{}; charset=utf-8", self.name).as_bytes())
        } else {
            head.field("Content-Type", self.name.as_bytes())
        }
    }
}

fn refused(refusal: &Refusal) -> What {
    let (status, detail) = match refusal {
        Refusal::NotFound => (Status::NotFound, ""),
        Refusal::Outside => (Status::Forbidden, "the path leads out of the root"),
        Refusal::Forbidden => (Status::Forbidden, ""),
        Refusal::NotAFile => (Status::Forbidden, "that is not a regular file"),
        Refusal::Busy(error) => {
            tracing::warn!(%error, "a file could not be opened");
            (Status::ServiceUnavailable, "the server is out of descriptors or memory")
        }
        Refusal::Failed(error) => return failed(error),
    };
    What::Problem(Problem { status, detail })
}

fn failed(error: &io::Error) -> What {
    tracing::warn!(%error, "a file could not be read");
    What::Problem(Problem { status: Status::InternalServerError, detail: "the file could not be read" })
}
