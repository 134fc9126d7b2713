//! What storms share: random numbers from a seed that is printed, and how long they last.

#![allow(dead_code, unused_imports, reason = "each test file uses its own part")]

#[path = "../random/mod.rs"]
mod random;

pub(crate) use random::Random;

use std::time::{Duration, Instant};

/// How long one storm lasts: `FIBRA_STRESS_SECONDS`, or half a second.
pub(crate) fn stress_time() -> Duration {
    match std::env::var("FIBRA_STRESS_SECONDS") {
        Ok(text) => Duration::from_secs(text.parse().expect("FIBRA_STRESS_SECONDS is a number")),
        Err(_) => Duration::from_millis(500),
    }
}

/// When a storm that begins now is over.
pub(crate) fn storm_end() -> Instant {
    Instant::now() + stress_time()
}
