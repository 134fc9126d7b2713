//! The path of a URL as a name below the root: decoded once, and normalised before the kernel sees it.
//!
//! The rules, in the order they apply:
//! 1. the path is cut at `/`; empty segments mean nothing, so `//a///b` is `/a/b`;
//! 2. each segment is percent-decoded, once: `%252e` is the name `%2e`. A `%` without two hexadecimal digits
//!    and an encoded NUL are errors. An encoded slash is refused as well: no name can have one in it, and to
//!    read it as a separator would give one file names that proxies in front of us do not see as the same;
//! 3. then `.` and `..` are taken as RFC 3986 (5.2.4) has them, by the text of the path and whether they were
//!    encoded or not; a path that climbs above the root is an error instead of the root.
//!
//! Names are bytes, as in Linux: they need not be UTF-8.

use std::error::Error;
use std::fmt;

use memchr::memchr;

/// A decoded path below the root of a [`Site`](super::Site).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SitePath {
    /// Relative, without `.`, `..`, empty segments and a closing slash; empty for the root itself.
    name: Vec<u8>,
    directory: bool,
}

/// Why the path of a URL is not the name of anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// It does not begin with `/`.
    NotAbsolute,
    /// A `%` is not followed by two hexadecimal digits.
    BadEscape,
    /// It has a NUL in it.
    Nul,
    /// It has a slash in it that is percent-encoded.
    EncodedSlash,
    /// Its `..` lead above the root.
    AboveRoot,
}

impl SitePath {
    /// Decodes the path of a URL, without query or fragment.
    ///
    /// ```
    /// use fibra_serve::site::{PathError, SitePath};
    ///
    /// let path = SitePath::decode(b"/a//b/../caf%C3%A9.txt").unwrap();
    /// assert_eq!(path.name(), "a/café.txt".as_bytes());
    /// assert_eq!(SitePath::decode(b"/%2e%2e/etc/passwd"), Err(PathError::AboveRoot));
    /// ```
    ///
    /// # Errors
    /// If the path cannot be the name of anything below a root.
    pub fn decode(path: &[u8]) -> Result<SitePath, PathError> {
        let Some(segments) = path.strip_prefix(b"/") else { return Err(PathError::NotAbsolute) };
        let mut name = Vec::with_capacity(segments.len());
        let mut directory = true;
        for raw in segments.split(|byte| *byte == b'/') {
            let before = name.len();
            if before > 0 {
                name.push(b'/');
            }
            let start = name.len();
            decode_segment(raw, &mut name)?;
            directory = true;
            match &name[start..] {
                b"" | b"." => name.truncate(before),
                b".." if before == 0 => return Err(PathError::AboveRoot),
                b".." => {
                    let parent = memchr::memrchr(b'/', &name[..before]).unwrap_or(0);
                    name.truncate(parent);
                }
                _ => directory = false,
            }
        }
        Ok(SitePath { name, directory })
    }

    /// The name relative to the root, without a slash at either end; empty for the root itself.
    #[must_use]
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether the path ended in a slash (or in `.` or `..`), and so can only mean a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.directory
    }

    /// The name of the file `name` in the directory that this path means.
    pub(super) fn join(&self, name: &str) -> Vec<u8> {
        let mut joined = self.name.clone();
        if !joined.is_empty() {
            joined.push(b'/');
        }
        joined.extend_from_slice(name.as_bytes());
        joined
    }
}

fn decode_segment(raw: &[u8], into: &mut Vec<u8>) -> Result<(), PathError> {
    let mut rest = raw;
    while let Some(at) = memchr(b'%', rest) {
        into.extend_from_slice(&rest[..at]);
        let digits = rest.get(at + 1..at + 3).ok_or(PathError::BadEscape)?;
        let (high, low) = (hex(digits[0])?, hex(digits[1])?);
        match high << 4 | low {
            0 => return Err(PathError::Nul),
            b'/' => return Err(PathError::EncodedSlash),
            byte => into.push(byte),
        }
        rest = &rest[at + 3..];
    }
    if memchr(0, rest).is_some() {
        return Err(PathError::Nul);
    }
    into.extend_from_slice(rest);
    Ok(())
}

fn hex(digit: u8) -> Result<u8, PathError> {
    char::from(digit).to_digit(16).map(|value| value as u8).ok_or(PathError::BadEscape)
}

/// Appends `name` to `out` as it stands in the path of a URL: slashes stay, every byte that is not unreserved
/// (RFC 3986, 2.3) is percent-encoded, so the result is also safe in a header field and in HTML.
pub(crate) fn encode(name: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in name {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            out.push(byte);
        } else {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            out.extend_from_slice(&[b'%', DIGITS[high], DIGITS[low]]);
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::NotAbsolute => "the path does not begin with a slash",
            PathError::BadEscape => "a % in the path is not followed by two hexadecimal digits",
            PathError::Nul => "the path has a NUL in it",
            PathError::EncodedSlash => "the path has an encoded slash in it",
            PathError::AboveRoot => "the path leads above the root",
        })
    }
}

impl Error for PathError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(path: &str) -> Result<(String, bool), PathError> {
        let path = SitePath::decode(path.as_bytes())?;
        Ok((String::from_utf8(path.name().to_vec()).unwrap(), path.is_directory()))
    }

    fn is(name: &str, directory: bool) -> Result<(String, bool), PathError> {
        Ok((name.to_owned(), directory))
    }

    #[test]
    fn slashes_and_dots_are_normalised() {
        assert_eq!(name("/"), is("", true));
        assert_eq!(name("///"), is("", true));
        assert_eq!(name("/a"), is("a", false));
        assert_eq!(name("/a/"), is("a", true));
        assert_eq!(name("//a///b"), is("a/b", false));
        assert_eq!(name("/a/./b/."), is("a/b", true));
        assert_eq!(name("/a/b/.."), is("a", true));
        assert_eq!(name("/a/../b"), is("b", false));
        assert_eq!(name("/a/b/../../c/d"), is("c/d", false));
        assert_eq!(name("/..."), is("...", false));
    }

    #[test]
    fn names_are_decoded_once() {
        assert_eq!(name("/%61%2Eb"), is("a.b", false));
        assert_eq!(name("/%252e%252e/x"), is("%2e%2e/x", false));
        assert_eq!(name("/a+b"), is("a+b", false));
    }

    #[test]
    fn what_names_nothing_is_an_error() {
        for path in ["/..", "/../a", "/a/../..", "/%2e%2e", "/.%2E/a", "/a/%2e%2e/..", "//..", "/./.."] {
            assert_eq!(name(path), Err(PathError::AboveRoot), "{path}");
        }
        for path in ["/%", "/%4", "/%4/", "/%zz", "/%+1", "/a%"] {
            assert_eq!(name(path), Err(PathError::BadEscape), "{path}");
        }
        assert_eq!(name("/a%00.html"), Err(PathError::Nul));
        assert_eq!(name("/a\0"), Err(PathError::Nul));
        assert_eq!(name("/..%2fetc"), Err(PathError::EncodedSlash));
        assert_eq!(name("a"), Err(PathError::NotAbsolute));
        assert_eq!(name(""), Err(PathError::NotAbsolute));
    }

    #[test]
    fn encoding_and_decoding_any_name_gives_it_back() {
        let name: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
        let mut encoded = b"/".to_vec();
        encode(&name, &mut encoded);
        assert!(encoded.iter().all(|byte| byte.is_ascii_graphic() && !b"\"'<>&".contains(byte)));
        assert_eq!(SitePath::decode(&encoded).unwrap().name(), name);
    }
}
