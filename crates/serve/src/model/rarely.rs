//! What is not to be said again and again.

use std::time::{Duration, Instant};

/// How long a message is kept back after it was said.
const QUIET: Duration = Duration::from_secs(10);

/// When something was said last.
#[derive(Debug, Default)]
pub(super) struct Rarely(Option<Instant>);

impl Rarely {
    /// Whether to say it now.
    pub(super) fn now(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= QUIET);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_just_said_is_not_said_again() {
        let mut rarely = Rarely::default();
        assert!(rarely.now());
        assert!(!rarely.now());
    }
}
