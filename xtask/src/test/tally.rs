//! Counts tests, from what the test harness prints.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};

/// What a test writes that found it cannot run here; see [`crate::setup`].
const SKIPPED: &str = "[skipped] ";

/// Tests, by how they ended.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Tally {
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Which tests said that they were skipped, and why. The harness takes them for passed.
    pub(super) skips: Vec<String>,
    /// Steps that could not be made here.
    pub(super) left_out: Vec<String>,
}

impl Tally {
    pub(super) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.skips.extend(other.skips);
        self.left_out.extend(other.left_out);
    }

    fn count(&mut self, line: &str) {
        // A test may write while the harness is in the middle of a line of its own.
        if let Some((_, test)) = line.split_once(SKIPPED) {
            self.skips.push(test.trim_end().into());
        }
        let Some(result) = line.strip_prefix("test result: ") else { return };
        for part in result.split([';', '.']) {
            match part.split_whitespace().collect::<Vec<_>>()[..] {
                [number, "passed"] => self.passed += number.parse().unwrap_or(0),
                [number, "failed"] => self.failed += number.parse().unwrap_or(0),
                [number, "ignored"] => self.ignored += number.parse().unwrap_or(0),
                _ => {}
            }
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let skips = self.skips.len();
        let passed = self.passed.saturating_sub(skips);
        let skipped = self.ignored + skips + self.left_out.len();
        write!(out, "{passed} passed, {} failed, {skipped} skipped", self.failed)
    }
}

/// Copies `from` to `to` line by line, and counts the tests that it reports.
///
/// # Errors
///
/// Those of reading and writing.
pub(super) fn read(from: impl Read, mut to: impl Write) -> io::Result<Tally> {
    let mut tally = Tally::default();
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while from.read_until(b'\n', &mut line)? > 0 {
        to.write_all(&line)?;
        to.flush()?;
        tally.count(&String::from_utf8_lossy(&line));
        line.clear();
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test b ... [skipped] b: needs wrk
ok
test c ... FAILED
thread 'c' panicked: 7 passed; 7 failed
test result: FAILED. 2 passed; 1 failed; 4 ignored; 0 measured; 5 filtered out; finished in 0.31s

test result: ok. 10 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s
";

    #[test]
    fn results_are_summed_up_and_the_output_passes_through() {
        let mut copy = Vec::new();
        let tally = read(OUTPUT.as_bytes(), &mut copy).expect("memory can be read");
        assert_eq!(copy, OUTPUT.as_bytes());
        assert_eq!(tally.skips, ["b: needs wrk"]);
        assert_eq!(tally.to_string(), "11 passed, 1 failed, 5 skipped");
    }

    #[test]
    fn tallies_add_up() {
        let one = || read(OUTPUT.as_bytes(), io::sink()).expect("memory can be read");
        let mut sum = one();
        sum.add(one());
        assert_eq!(sum.to_string(), "22 passed, 2 failed, 10 skipped");
    }

    #[test]
    fn output_that_is_not_text_passes_through() {
        let bytes = b"\xff\xfe\ntest result: ok. 1 passed; 0 failed\nno newline";
        let mut copy = Vec::new();
        let tally = read(&bytes[..], &mut copy).expect("memory can be read");
        assert_eq!(
            (copy.as_slice(), tally.to_string().as_str()),
            (&bytes[..], "1 passed, 0 failed, 0 skipped")
        );
    }
}
