//! Reading the body of a request, and throwing it away: what matters is only where it ends, so that the next
//! request is found.
//!
//! The chunked coding (RFC 9112, 7.1) is read strictly: sizes are hexadecimal digits, lines end in CRLF.

use super::response::{Problem, Status};
use crate::Limits;

/// Longest line before a chunk, extensions included, in bytes. The extensions mean nothing here.
const CHUNK_LINE: usize = 256;

/// Most digits of a chunk's size, leading zeros included.
const SIZE_DIGITS: usize = 16;

/// What the head of a request says of its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    /// There is none.
    None,
    /// It is this many bytes long, which is more than none.
    Bytes(u64),
    /// It tells its end itself.
    Chunked,
}

/// A body that is being read.
#[derive(Debug)]
pub(super) enum Body {
    Bytes { left: u64 },
    Chunked(Chunked),
}

/// How far the reading got.
#[derive(Debug)]
pub(super) enum Progress {
    /// The input is used up, the body goes on.
    Unfinished,
    /// The body ended with this many bytes of the input.
    Complete(usize),
    Refused(Problem),
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// The digits of a chunk's size; false until there is one.
    Size(bool),
    /// Whitespace between the size and what may follow it on its line.
    Padding,
    /// What follows the first semicolon on the line.
    Extension,
    /// The LF after the CR that ended the size line.
    SizeEnd,
    /// The rest of the chunk's data is `size` bytes.
    Data,
    DataReturn,
    DataEnd,
    /// After the last chunk: the first byte of a trailer field, or of the empty line.
    Trailer,
    TrailerField,
    TrailerFieldEnd,
    End,
}

/// A chunked body that is being read.
#[derive(Debug)]
pub(super) struct Chunked {
    part: Part,
    /// The size of the chunk that is being read, and then what is left of it.
    size: u64,
    /// Bytes of data that the limit still allows.
    allowed: u64,
    /// Bytes of the present size line.
    line: usize,
    /// Bytes that mean nothing here, in the whole body: extensions and trailer fields.
    extra: usize,
}

impl Body {
    /// The reader for a body that has just been announced.
    pub(super) fn announced(length: BodyLength, limits: &Limits) -> Result<Option<Body>, Problem> {
        match length {
            BodyLength::None => Ok(None),
            BodyLength::Bytes(len) if len > limits.body_bytes => Err(too_large()),
            BodyLength::Bytes(left) => Ok(Some(Body::Bytes { left })),
            BodyLength::Chunked => Ok(Some(Body::Chunked(Chunked {
                part: Part::Size(false),
                size: 0,
                allowed: limits.body_bytes,
                line: 0,
                extra: 0,
            }))),
        }
    }

    /// Reads on.
    pub(super) fn discard(&mut self, input: &[u8], limits: &Limits) -> Progress {
        match self {
            Body::Bytes { left } => match usize::try_from(*left) {
                Ok(rest) if rest <= input.len() => Progress::Complete(rest),
                _ => {
                    *left -= input.len() as u64;
                    Progress::Unfinished
                }
            },
            Body::Chunked(chunked) => chunked.discard(input, limits),
        }
    }
}

impl Chunked {
    fn discard(&mut self, input: &[u8], limits: &Limits) -> Progress {
        let mut at = 0;
        while at < input.len() {
            if let Part::Data = self.part {
                let here = (input.len() - at) as u64;
                let taken = self.size.min(here);
                self.size -= taken;
                at += taken as usize;
                if self.size == 0 {
                    self.part = Part::DataReturn;
                }
                continue;
            }
            match self.step(input[at], limits) {
                Ok(true) => return Progress::Complete(at + 1),
                Ok(false) => at += 1,
                Err(problem) => return Progress::Refused(problem),
            }
        }
        Progress::Unfinished
    }

    /// Takes one byte of what is not data; true if it was the last one of the body.
    fn step(&mut self, byte: u8, limits: &Limits) -> Result<bool, Problem> {
        let malformed = Err(Problem { status: Status::BadRequest, detail: "the chunked body is malformed" });
        self.line += 1;
        self.part = match (self.part, byte) {
            (Part::Size(_), digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).map_or(0, u64::from);
                if self.size >> 60 != 0 {
                    return Err(too_large());
                }
                self.size = self.size << 4 | value;
                Part::Size(true)
            }
            (Part::Size(true) | Part::Padding | Part::Extension, b'\r') => Part::SizeEnd,
            (Part::Size(true) | Part::Padding, b' ' | b'\t') => Part::Padding,
            (Part::Size(true) | Part::Padding, b';') => Part::Extension,
            (Part::Extension, byte) if is_text(byte) => Part::Extension,
            (Part::SizeEnd, b'\n') => {
                if self.size > self.allowed {
                    return Err(too_large());
                }
                self.allowed -= self.size;
                if self.size == 0 { Part::Trailer } else { Part::Data }
            }
            (Part::DataReturn, b'\r') => Part::DataEnd,
            (Part::DataEnd, b'\n') => {
                self.line = 0;
                Part::Size(false)
            }
            (Part::Trailer, b'\r') => Part::End,
            (Part::Trailer, byte) if is_text(byte) && byte != b' ' && byte != b'\t' => Part::TrailerField,
            (Part::TrailerField, b'\r') => Part::TrailerFieldEnd,
            (Part::TrailerField, byte) if is_text(byte) => Part::TrailerField,
            (Part::TrailerFieldEnd, b'\n') => Part::Trailer,
            (Part::End, b'\n') => return Ok(true),
            _ => return malformed,
        };
        match self.part {
            Part::Size(_) if self.line > SIZE_DIGITS => malformed,
            Part::Padding | Part::Extension => {
                self.extra += 1;
                if self.line > CHUNK_LINE || self.extra > limits.head_bytes {
                    let detail = "the chunk extensions are too large";
                    return Err(Problem { status: Status::BadRequest, detail });
                }
                Ok(false)
            }
            Part::TrailerField | Part::TrailerFieldEnd => {
                self.extra += 1;
                if self.extra > limits.head_bytes {
                    let detail = "the trailer is too large";
                    return Err(Problem { status: Status::FieldsTooLarge, detail });
                }
                Ok(false)
            }
            _ => Ok(false),
        }
    }
}

/// What may stand in a chunk extension or a trailer field: anything but control characters.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

fn too_large() -> Problem {
    Problem { status: Status::ContentTooLarge, detail: "the body is too large" }
}
