//! A fast producer, slow consumers, and a bounded queue between them: the memory stays flat, whatever the number of items.
//!
//! ```text
//! cargo run --release -p fibra --example back_pressure            # 200,000 items, which is over in a moment
//! cargo run --release -p fibra --example back_pressure 10000000   # ten million (or ITEMS=10000000)
//! ```
//!
//! prints something like
//!
//! ```text
//!       items got   most in the queue   resident
//!       1,000,000               1,024    2.6 MiB
//!       2,000,000               1,024    2.6 MiB
//!       ...
//!      10,000,000               1,024    2.6 MiB
//! 10,000,000 items of 128 bytes in 28.8 s, 1220.7 MiB in all; the producer had to wait 2,499,729 times
//! ```
//!
//! (on a machine that was busy with other things; 1.7 s of that was processor time). The producer makes items faster than the four consumers use them up. In an unbounded queue
//! what it is ahead would be memory: ten million items of 128 bytes are more than a gigabyte. Here it waits in `put` whenever the queue has 1,024, and goes on when a consumer
//! has made room: it is held to their pace. Nobody spins or sleeps for that, and nothing is lost: the sum of what was got is checked at the end. `Resident` is `VmRSS` of `/proc/self/status`; it must not grow by more than 8 MiB between the first tenth
//! and the end, or the program fails.

use fibra::queue::{Queue, Shutdown};
use std::error::Error;
use std::fs;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

const CONSUMERS: usize = 4;
const ROOM: usize = 1024;
/// How much the memory may grow once everything has been used for the first time, in KiB.
const GROWTH: u64 = 8 * 1024;

/// An item has memory of its own, as messages have.
type Item = Box<[u64; 16]>;

fn main() -> Result<(), Box<dyn Error>> {
    let asked = std::env::args().nth(1).or_else(|| std::env::var("ITEMS").ok());
    let items: u64 = asked.map_or(Ok(200_000), |number| number.parse())?;
    let began = Instant::now();
    let (grown, waits) = fibra::run(|| flow(items))?;
    let (seconds, size) = (began.elapsed().as_secs_f64(), size_of::<[u64; 16]>() as u64);
    let volume = (items * size) as f64 / 1024.0 / 1024.0;
    println!(
        "{} items of {size} bytes in {seconds:.1} s, {volume:.1} MiB in all; the producer had to wait {} times",
        grouped(items),
        grouped(waits)
    );
    if grown > GROWTH {
        return Err(format!("the memory has grown by {grown} KiB").into());
    }
    Ok(())
}

/// Lets so many items through. Returns by how many KiB the memory has grown, and how often the producer had to wait.
fn flow(items: u64) -> Result<(u64, u64), Box<dyn Error>> {
    let queue = Queue::<Item>::bounded(ROOM);
    let (got, sum, most) = (AtomicU64::new(0), AtomicU64::new(0), AtomicUsize::new(0));
    let tenth = (items / 10).max(1);
    let memories = Queue::unbounded();
    println!("{:>15} {:>19} {:>10}", "items got", "most in the queue", "resident");
    let waits = fibra::scope(|scope| {
        for _ in 0..CONSUMERS {
            scope.spawn(|| {
                for item in &queue {
                    sum.fetch_add(use_up(&item), Ordering::Relaxed);
                    let got = got.fetch_add(1, Ordering::Relaxed) + 1;
                    if got.is_multiple_of(tenth) {
                        let (most, memory) = (most.load(Ordering::Relaxed), resident());
                        println!(
                            "{:>15} {:>19} {:>6.1} MiB",
                            grouped(got),
                            grouped(most as u64),
                            memory as f64 / 1024.0
                        );
                        memories.put(memory).expect("it is not shut down");
                    }
                }
            });
        }
        let mut waits = 0;
        for number in 0..items {
            let mut item = Box::new([0; 16]);
            item[0] = number;
            if number.is_multiple_of(64) {
                most.fetch_max(queue.len(), Ordering::Relaxed);
            }
            if let Err(full) = queue.try_put(item) {
                waits += 1;
                queue.put(full.into_item()).expect("it is not shut down");
            }
        }
        queue.shutdown(Shutdown::Drain);
        waits
    });
    if sum.into_inner() != items * items.saturating_sub(1) / 2 {
        return Err("an item was lost, or came twice".into());
    }
    memories.shutdown(Shutdown::Drain);
    let memories: Vec<u64> = memories.iter().collect();
    let grown = memories.last().zip(memories.first()).map_or(0, |(last, first)| last.saturating_sub(*first));
    Ok((grown, waits))
}

/// What a consumer does with an item. It takes a turn of its own, as if it had to wait for somebody's answer; the producer makes dozens of items in each of its turns.
fn use_up(item: &Item) -> u64 {
    fibra::yield_now();
    item[0]
}

/// The memory of this process that is there, in KiB.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// A number with a comma before each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let parts: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    parts.join(",")
}
