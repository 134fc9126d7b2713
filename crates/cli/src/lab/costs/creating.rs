//! Making another, and waiting for its end.

use super::{Measure, in_words, per_operation, with_workers};
use crate::lab::results::Unit;
use std::process::{Command, Stdio};
use std::thread;

pub(super) const MEASURES: &[Measure] = &[
    creating("create.coroutine", "coroutine: spawn + join", 400_000, None, coroutine),
    creating("create.thread", "thread: spawn + join", 8_000, None, a_thread),
    creating(
        "create.process",
        "process: start + wait",
        160,
        Some("The program `true`, started and waited for; a larger program takes longer to load."),
        process,
    ),
];

const fn creating(
    id: &'static str,
    what: &'static str,
    count: u64,
    note: Option<&'static str>,
    run: fn(u64) -> Result<f64, String>,
) -> Measure {
    Measure { id, what, unit: Unit::Nanoseconds, published: None, note, count, one_core: true, run }
}

fn coroutine(count: u64) -> Result<f64, String> {
    let one = || fibra::spawn(|| ()).join().map_err(|_| "a coroutine panicked".to_owned());
    with_workers(1, || per_operation(count, || (0..count).try_for_each(|_| one())))
}

fn a_thread(count: u64) -> Result<f64, String> {
    let one = || {
        let thread = thread::Builder::new().spawn(|| ()).map_err(in_words)?;
        thread.join().map_err(|_| "a thread panicked".to_owned())
    };
    per_operation(count, || (0..count).try_for_each(|_| one()))
}

fn process(count: u64) -> Result<f64, String> {
    let mut command = Command::new("true");
    command.stdin(Stdio::null());
    let mut one = || {
        let status = command.status().map_err(|error| format!("`true` did not start: {error}"))?;
        if status.success() { Ok(()) } else { Err(format!("`true`: {status}")) }
    };
    per_operation(count, || (0..count).try_for_each(|_| one()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_made_ends_again() {
        for measure in MEASURES {
            assert!((measure.run)(3).unwrap() > 0.0, "{}", measure.id);
        }
    }
}
