//! What a driver hands back: the numbers that a test gave for tokens.

use fibra_driver::{Completion, Driver};
use std::time::{Duration, Instant};

/// The tokens of one wait.
pub(crate) fn wait(driver: &mut Driver, timeout: Duration) -> Vec<usize> {
    let mut out = Vec::new();
    driver.wait(Some(timeout), &mut out).unwrap();
    out.into_iter().map(|Completion { token }| token.0).collect()
}

/// The tokens of as many waits, of at most `timeout` each, as it takes to get `count`, which is not to take longer than `limit`.
pub(crate) fn collect(driver: &mut Driver, count: usize, timeout: Duration, limit: Duration) -> Vec<usize> {
    let give_up = Instant::now() + limit;
    let mut tokens = Vec::new();
    while tokens.len() < count {
        assert!(Instant::now() < give_up, "{count} tokens were to come, {tokens:?} came");
        tokens.extend(wait(driver, timeout));
    }
    tokens
}
