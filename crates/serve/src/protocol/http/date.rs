//! The `Date` field, written once a second and not once a request.

use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use httpdate::HttpDate;

/// The length of a date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
pub(super) const DATE_LEN: usize = 29;

/// The present, to the second, as it stands in the `Date` field. A model keeps one for each of its
/// workers and [refreshes](Date::refresh) it before it answers.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use fibra_serve::protocol::http::Date;
///
/// let mut date = Date::at(UNIX_EPOCH + Duration::from_secs(784_111_777));
/// assert_eq!(date.as_str(), "Sun, 06 Nov 1994 08:49:37 GMT");
/// date.refresh(UNIX_EPOCH + Duration::from_secs(784_111_778));
/// assert_eq!(date.as_str(), "Sun, 06 Nov 1994 08:49:38 GMT");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Date {
    seconds: i64,
    text: [u8; DATE_LEN],
}

impl Date {
    /// The date at `now`.
    #[must_use]
    pub fn at(now: SystemTime) -> Date {
        let seconds = seconds(now);
        Date { seconds, text: format(seconds) }
    }

    /// Moves on to `now`; free of cost while the second is still the same.
    #[inline]
    pub fn refresh(&mut self, now: SystemTime) {
        if seconds(now) != self.seconds {
            *self = Date::at(now);
        }
    }

    /// As it stands in the field.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text).expect("dates are written in ASCII")
    }

    /// Seconds since the epoch.
    #[must_use]
    pub fn seconds(&self) -> i64 {
        self.seconds
    }

    pub(super) fn text(&self) -> &[u8; DATE_LEN] {
        &self.text
    }
}

/// Reads a date of any of the three forms that HTTP has had.
pub(super) fn parse(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    httpdate::parse_http_date(text).ok().map(seconds)
}

/// `seconds` since the epoch as HTTP writes it. What lies outside of the years 1970 to 9999 is moved to the
/// nearer end, as the format has no way to write it.
pub(super) fn format(seconds: i64) -> [u8; DATE_LEN] {
    const LAST: u64 = 253_402_300_799;
    let seconds = u64::try_from(seconds).unwrap_or(0).min(LAST);
    let date = HttpDate::from(UNIX_EPOCH + Duration::from_secs(seconds));
    let mut text = [b' '; DATE_LEN];
    write!(&mut text[..], "{date}").expect("a date of four digits of year is 29 bytes long");
    text
}

fn seconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        Err(before) => -i64::try_from(before.duration().as_secs()).unwrap_or(i64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        for seconds in [0, 1, 784_111_777, 4_102_444_800, 253_402_300_799] {
            assert_eq!(parse(&format(seconds)), Some(seconds));
        }
        assert_eq!(format(-5), format(0));
        assert_eq!(format(i64::MAX), format(253_402_300_799));
        assert_eq!(parse(b"Sunday, 06-Nov-94 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(parse(b"yesterday"), None);
    }
}
