//! Tests that need a process to themselves: the test runs itself again as a child, once for each kind of guard.

use std::process::{Command, Output};

/// Set in the child, to the part it plays.
const PART: &str = "FIBRA_TEST_PART";

/// The part this process plays in `test`, if it is a child.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// Runs `test`, by its full name, in a child that plays `part`, with guards of this kind.
pub(crate) fn run(test: &str, part: &str, guard: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env("FIBRA_GUARD", guard)
        .env_remove("FIBRA_STACK_SIZE")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

/// Runs `body` in a child for each kind of guard, and demands that it succeeds.
#[allow(dead_code, reason = "not every test file needs it")]
pub(crate) fn with_each_guard(test: &str, body: impl FnOnce()) {
    if part().is_some() {
        return body();
    }
    for guard in ["auto", "mprotect"] {
        let output = run(test, "body", guard);
        assert!(
            output.status.success(),
            "with guard {guard}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
