//! Chance for storms, from a seed that is printed; `FIBRA_SEED` repeats one (as far as the threads do the same again).

#![allow(dead_code, reason = "each test file uses its own part")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// The seed of this run, which a test that fails shows.
pub(crate) fn seed() -> u64 {
    let seed = match std::env::var("FIBRA_SEED") {
        Ok(text) => text.parse().expect("FIBRA_SEED is a number"),
        Err(_) => SystemTime::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_nanos() as u64),
    };
    println!("FIBRA_SEED={seed}");
    seed
}

/// Marsaglia's xorshift64, from a seed that is scrambled first (splitmix64).
pub(crate) struct Random(AtomicU64);

impl Clone for Random {
    fn clone(&self) -> Random {
        Random(AtomicU64::new(self.0.load(Ordering::Relaxed)))
    }
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        let x = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Random(AtomicU64::new((x ^ (x >> 31)) | 1))
    }

    /// From [`seed`], and another one each time.
    pub(crate) fn seeded() -> Random {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        Random::new(seed() ^ COUNT.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed))
    }

    /// Another sequence, for another context.
    pub(crate) fn split(&self) -> Random {
        Random::new(self.next())
    }

    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.load(Ordering::Relaxed);
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.0.store(x, Ordering::Relaxed);
        x >> 8
    }

    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn micros(&self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound))
    }

    /// Lets the others go on for a moment, or does not.
    pub(crate) fn pause(&self) {
        match self.below(4) {
            0 => {}
            1 => fibra::sleep(Duration::from_micros(self.below(100))),
            _ => fibra::yield_now(),
        }
    }
}
