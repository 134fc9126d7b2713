//! Tests that need a process to themselves: the test runs itself again as a child.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::process::{Command, Output};

/// Set in the child, to the part it plays.
const PART: &str = "FIBRA_TEST_PART";

/// The part this process plays, if it is a child.
pub(crate) fn part() -> Option<String> {
    std::env::var(PART).ok()
}

/// The command that runs `test`, by its full name, in a child that plays `part`.
pub(crate) fn command(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("the test's own path"));
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(PART, part)
        .env_remove("FIBRA_STACK_SIZE")
        .env("RUST_BACKTRACE", "0");
    command
}

/// What a child wrote.
pub(crate) struct Said {
    pub(crate) output: Output,
    pub(crate) text: String,
}

/// Runs a child to its end.
pub(crate) fn run(command: &mut Command) -> Said {
    let output = command.output().expect("a child process");
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    Said { output, text }
}

impl Said {
    /// Demands that it succeeded.
    pub(crate) fn well(self) -> String {
        assert!(self.output.status.success(), "{}\n{}", self.output.status, self.text);
        self.text
    }

    /// Demands that its text has each of these parts.
    pub(crate) fn has(&self, parts: &[&str]) {
        for part in parts {
            assert!(self.text.contains(part), "no '{part}' in:\n{}", self.text);
        }
    }
}
