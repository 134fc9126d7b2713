//! The media type of a file, by the extension of its name.

use std::str;

/// What a file of an unknown kind is.
const BYTES: &str = "application/octet-stream";

/// The type of the file called `name`, and whether it is a text.
pub(super) fn of(name: &[u8]) -> (&'static str, bool) {
    let last = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let extension = match last.iter().rposition(|byte| *byte == b'.') {
        None | Some(0) => return (BYTES, false),
        Some(dot) => str::from_utf8(&last[dot + 1..]).unwrap_or_default(),
    };
    let kind = mime_guess::from_ext(extension).first_raw().unwrap_or(BYTES);
    let is_text = kind.starts_with("text/") || kind == "application/javascript";
    (kind, is_text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_extension_tells_the_type() {
        assert_eq!(of(b"index.html"), ("text/html", true));
        assert_eq!(of(b"a.b/STYLE.CSS"), ("text/css", true));
        assert_eq!(of(b"pictures/cat.tar.png"), ("image/png", false));
        assert_eq!(of(b"code.wasm"), ("application/wasm", false));
        for unknown in
            [&b"README"[..], b"dir.html/README", b".html", b"a.", b"a.\xff", b"a.no-such-kind", b""]
        {
            assert_eq!(of(unknown), (BYTES, false), "{}", unknown.escape_ascii());
        }
    }
}
