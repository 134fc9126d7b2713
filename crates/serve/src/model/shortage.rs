//! Descriptors or memory are out: accepting pauses, longer each time, and goes on when there are some again.
//!
//! A connection that cannot be accepted stays in the listener's queue, so a loop that just tried again would spin. What ends a shortage
//! (another process closes a file) cannot be waited for; hence the pauses.

use super::rarely::Rarely;
use rustix::io::Errno;
use std::io;
use std::time::Duration;

/// The first pause after an accept that failed for want of something; it doubles, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Counts the pauses, and says what is the matter: not for every connection that comes and goes meanwhile.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    pause: Option<Duration>,
    told: Rarely,
    /// Whether the end of the shortage that was told last has been told too.
    end_told: bool,
}

impl Shortage {
    /// Notes that accepting has failed; says how long to pause before the next try.
    #[cold]
    #[must_use]
    pub(super) fn pause(&mut self, error: &io::Error) -> Duration {
        if self.told.now() {
            tracing::warn!(%error, "cannot accept for now{}", advice(error));
            self.end_told = false;
        }
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        pause
    }

    /// Notes that a connection has been accepted.
    #[inline]
    pub(super) fn is_over(&mut self) {
        if self.pause.take().is_some() && !self.end_told {
            self.end_told = true;
            tracing::info!("accepting again");
        }
    }
}

/// What to do about a failed accept.
fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::MFILE) => ": raise 'ulimit -n', or lower --max-connections",
        Some(Errno::NFILE) => ": raise fs.file-max, or lower --max-connections",
        _ if error.kind() == io::ErrorKind::OutOfMemory => ": lower --max-connections",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_anew_after_a_success() {
        let (mut shortage, error) = (Shortage::default(), io::Error::from(Errno::MFILE));
        let pauses: Vec<_> = (0..10).map(|_| shortage.pause(&error)).collect();
        assert_eq!(pauses[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(pauses[9], LONGEST_PAUSE);
        shortage.is_over();
        assert_eq!(shortage.pause(&error), FIRST_PAUSE);
    }
}
