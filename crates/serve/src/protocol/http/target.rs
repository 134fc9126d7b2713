//! The target of a request line: `/path?query`, or the same with `http://host` before it.

use super::response::{Problem, Status};
use crate::site::{PathError, SitePath};

/// A target, cut into its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target<'t> {
    /// Begins with `/`; not decoded yet.
    pub(super) path: &'t str,
    /// With its question mark; empty if there is none.
    pub(super) query: &'t str,
}

impl<'t> Target<'t> {
    /// Cuts the target of a GET or HEAD. The host of an absolute target is not looked at: there is one site.
    pub(super) fn parse(target: &'t str) -> Result<Target<'t>, Problem> {
        let malformed = Problem { status: Status::BadRequest, detail: "the request target is malformed" };
        if !target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#') {
            return Err(malformed);
        }
        let local =
            if target.starts_with('/') { target } else { after_authority(target).ok_or(malformed)? };
        let (path, query) = local.split_at(local.find('?').unwrap_or(local.len()));
        let path = if path.is_empty() { "/" } else { path };
        Ok(Target { path, query })
    }

    /// The name that the path means below the root of a site.
    pub(super) fn decode(self) -> Result<SitePath, Problem> {
        SitePath::decode(self.path.as_bytes()).map_err(|error| match error {
            PathError::EncodedSlash => Problem { status: Status::NotFound, detail: "" },
            PathError::NotAbsolute => {
                Problem { status: Status::BadRequest, detail: "the request target is malformed" }
            }
            PathError::BadEscape => Problem {
                status: Status::BadRequest,
                detail: "a % in the path is not followed by two hexadecimal digits",
            },
            PathError::Nul => Problem { status: Status::BadRequest, detail: "the path has a NUL in it" },
            PathError::AboveRoot => {
                Problem { status: Status::BadRequest, detail: "the path leads above the root" }
            }
        })
    }
}

/// What follows `http://host` or `https://host`; it begins with `/` or `?`, or is empty.
fn after_authority(target: &str) -> Option<&str> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    // RFC 9110 (4.2.4) wants targets with a user name in them refused.
    let authority = &rest[..end];
    (!authority.is_empty() && !authority.contains('@')).then_some(&rest[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(target: &str) -> Option<(&str, &str)> {
        Target::parse(target).ok().map(|target| (target.path, target.query))
    }

    #[test]
    fn origin_and_absolute_forms_mean_the_same() {
        assert_eq!(parts("/a?b?c"), Some(("/a", "?b?c")));
        assert_eq!(parts("http://host:80/a?b"), Some(("/a", "?b")));
        assert_eq!(parts("HTTPS://host"), Some(("/", "")));
        assert_eq!(parts("http://host?b"), Some(("/", "?b")));
        assert_eq!(parts("//host/a"), Some(("//host/a", "")));
    }

    #[test]
    fn other_targets_are_refused() {
        for target in
            ["*", "a", "", "host:80", "ftp://host/", "http:///a", "http://me@host/", "/a#b", "/\u{e9}"]
        {
            assert_eq!(parts(target), None, "{target}");
        }
    }
}
