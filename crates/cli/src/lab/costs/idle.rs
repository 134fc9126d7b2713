//! What one holds that only waits: memory that is resident, and the page tables for it.

use super::peer::{Peer, Role};
use super::{Measure, in_words, with_workers};
use crate::doctor::files::{Files, field_bytes};
use crate::lab::results::Unit;
use std::thread;

pub(super) const MEASURES: &[Measure] = &[
    idle(
        "idle.coroutine",
        "coroutine, parked",
        40_000,
        "Stack, task and page tables of one of many, on one worker.",
        coroutines,
    ),
    idle(
        "idle.thread",
        "thread, parked",
        4_000,
        "The kernel's part is not counted: a stack of 16 KiB on x86-64, and its books.",
        threads,
    ),
    idle(
        "idle.process",
        "process, waiting for input",
        80,
        "This program, started again: its own pages, and its share of those that others have too.",
        processes,
    ),
];

const fn idle(
    id: &'static str,
    what: &'static str,
    count: u64,
    note: &'static str,
    run: fn(u64) -> Result<f64, String>,
) -> Measure {
    Measure { id, what, unit: Unit::Bytes, published: None, note: Some(note), count, one_core: true, run }
}

fn coroutines(count: u64) -> Result<f64, String> {
    with_workers(1, || {
        let sleeper = || fibra::Builder::new().spawn(fibra::park).map_err(in_words);
        // The first of a kind brings what all of them use.
        let first = sleeper()?;
        fibra::yield_now();
        let before = resident()?;
        let sleepers: Vec<_> = (0..count).map(|_| sleeper()).collect::<Result<_, _>>()?;
        // Each of them has run up to its wait once the last one in the queue has.
        fibra::yield_now();
        let after = resident()?;
        sleepers.iter().chain([&first]).for_each(|sleeper| sleeper.context().unpark());
        Ok(each(before, after, count))
    })
}

fn threads(count: u64) -> Result<f64, String> {
    let (there, all_there) = std::sync::mpsc::channel();
    let sleeper = || {
        let there = there.clone();
        let sleep = move || {
            // The channel outlives the threads.
            let _ = there.send(());
            thread::park();
        };
        thread::Builder::new().spawn(sleep).map_err(|error| format!("no more threads: {error}"))
    };
    let before = resident()?;
    let mut sleepers = Vec::new();
    let made = (0..count).try_for_each(|_| {
        sleepers.push(sleeper()?);
        all_there.recv().map_err(in_words)
    });
    let after = resident()?;
    sleepers.iter().for_each(|sleeper| sleeper.thread().unpark());
    for sleeper in sleepers {
        sleeper.join().map_err(|_| "a thread panicked")?;
    }
    made?;
    Ok(each(before, after, count))
}

fn processes(count: u64) -> Result<f64, String> {
    let mut peers = Vec::new();
    for _ in 0..count {
        let mut peer = Peer::start(Role::Idle, 0)?;
        peer.is_there()?;
        peers.push(peer);
    }
    let mut total = 0;
    for peer in &peers {
        let text = |name: &str| Files::new("/proc").text(format!("{}/{name}", peer.id()));
        total += field_bytes(&text("smaps_rollup")?, "Pss")? + field_bytes(&text("status")?, "VmPTE")?;
    }
    peers.into_iter().try_for_each(Peer::wait)?;
    Ok(total as f64 / count as f64)
}

/// What this process has in memory, with its page tables.
fn resident() -> Result<u64, String> {
    let status = Files::new("/").text("/proc/self/status")?;
    Ok(field_bytes(&status, "VmRSS")? + field_bytes(&status, "VmPTE")?)
}

fn each(before: u64, after: u64, count: u64) -> f64 {
    after.saturating_sub(before) as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::env;
    use std::process::Command;

    const NAME: &str =
        "lab::costs::idle::tests::a_parked_coroutine_holds_at_least_a_page_and_a_thread_more_than_nothing";
    /// Set in the process that does nothing else.
    const ALONE: &str = "FIBRA_TEST_ALONE";

    /// What is looked at is the memory of the process, in which other tests come and go: so in one of its own.
    #[test]
    fn a_parked_coroutine_holds_at_least_a_page_and_a_thread_more_than_nothing() {
        if env::var_os(ALONE).is_none() {
            let output = Command::new(env::current_exe().unwrap())
                .args(["--exact", NAME, "--test-threads=1"])
                .env(ALONE, "1")
                .output()
                .unwrap();
            let text = String::from_utf8_lossy(&output.stdout);
            return assert!(output.status.success() && text.contains("1 passed"), "{text}");
        }
        assert!(coroutines(500).unwrap() >= 4096.0);
        assert!(threads(50).unwrap() > 0.0);
    }
}
