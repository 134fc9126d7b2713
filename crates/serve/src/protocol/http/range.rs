//! One range of bytes of a file (RFC 9110, 14): what was asked for, and what that is of a file of a given
//! length.

use std::str;

/// What a `Range` field asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Range {
    /// From the first byte named to the last one named, that included, or else to the end.
    From(u64, Option<u64>),
    /// This many bytes at the end.
    Last(u64),
}

impl Range {
    /// Reads the value of a `Range` field. None if it is to be ignored: another unit, several ranges (a
    /// server may answer those with the whole, and then need not assemble multipart bodies), bad syntax.
    pub(super) fn parse(value: &[u8]) -> Option<Range> {
        let value = str::from_utf8(value).ok()?;
        let (unit, range) = value.split_once('=')?;
        if !unit.trim().eq_ignore_ascii_case("bytes") {
            return None;
        }
        match range.trim().split_once('-')? {
            ("", last) => Some(Range::Last(number(last)?)),
            (first, "") => Some(Range::From(number(first)?, None)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Range::From(first, Some(last)))
            }
        }
    }

    /// Offset and length in a file of `len` bytes; None if the range has no byte of it.
    pub(super) fn of(self, len: u64) -> Option<(u64, u64)> {
        match self {
            Range::From(first, _) if first >= len => None,
            Range::From(first, None) => Some((first, len - first)),
            Range::From(first, Some(last)) => Some((first, last.min(len - 1) - first + 1)),
            Range::Last(0) => None,
            Range::Last(_) if len == 0 => None,
            Range::Last(count) => {
                let count = count.min(len);
                Some((len - count, count))
            }
        }
    }
}

/// Digits, and nothing else; what is beyond 64 bits is beyond every file.
fn number(digits: &str) -> Option<u64> {
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str, len: u64) -> Option<Option<(u64, u64)>> {
        Range::parse(value.as_bytes()).map(|range| range.of(len))
    }

    #[test]
    fn a_range_is_clipped_to_the_file() {
        assert_eq!(of("bytes=0-0", 10), Some(Some((0, 1))));
        assert_eq!(of("bytes=2-5", 10), Some(Some((2, 4))));
        assert_eq!(of("bytes=2-500", 10), Some(Some((2, 8))));
        assert_eq!(of("bytes=9-", 10), Some(Some((9, 1))));
        assert_eq!(of("bytes=-3", 10), Some(Some((7, 3))));
        assert_eq!(of("bytes=-30", 10), Some(Some((0, 10))));
        assert_eq!(of("Bytes = 1-2", 10), Some(Some((1, 2))));
        assert_eq!(of("bytes=0-99999999999999999999999", 10), Some(Some((0, 10))));
        assert_eq!(of("bytes=-99999999999999999999999", 10), Some(Some((0, 10))));
        assert_eq!(of("bytes=0-18446744073709551615", u64::MAX), Some(Some((0, u64::MAX))));
    }

    #[test]
    fn a_range_without_a_byte_of_the_file_cannot_be_satisfied() {
        for value in ["bytes=10-", "bytes=10-11", "bytes=-0", "bytes=99999999999999999999999-"] {
            assert_eq!(of(value, 10), Some(None), "{value}");
        }
        for value in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(of(value, 0), Some(None), "{value}");
        }
    }

    #[test]
    fn what_is_not_one_range_of_bytes_is_ignored() {
        for value in [
            "bytes=0-1,3-4",
            "bytes=5-2",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=+1-2",
            "lines=1-2",
            "0-1",
            "\u{ff}",
        ] {
            assert_eq!(of(value, 10), None, "{value}");
        }
    }
}
