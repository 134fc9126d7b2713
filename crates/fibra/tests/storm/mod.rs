//! What storms share: random numbers from a seed that is printed, and how long they last.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

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

/// Numbers that only have to differ (xorshift64*).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// From `FIBRA_SEED` or the clock; the seed is printed.
    pub(crate) fn seeded() -> Random {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = match std::env::var("FIBRA_SEED") {
            Ok(text) => text.parse().expect("FIBRA_SEED is a number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
                now.as_nanos() as u64
            }
        };
        println!("FIBRA_SEED={seed}");
        Random((seed ^ COUNT.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)) | 1)
    }

    /// Another sequence, for another context.
    pub(crate) fn split(&mut self) -> Random {
        Random(self.next() | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(crate) fn micros(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound))
    }
}
