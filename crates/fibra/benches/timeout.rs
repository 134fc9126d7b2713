//! What a time limit costs that never comes to bear: `cargo bench -p fibra --bench timeout`.
//!
//! One coroutine writes a byte to a socket pair and reads it back, the read with and without [`fibra::timeout`] around it. The aim is 30 ns beyond one look at the clock. A call into the kernel
//! varies by more than that from one moment to the next, so a round measures all of them for a short while each, and what is printed last is the median over the rounds
//! of the difference within a round. Without `--bench` (as under `cargo test`) one short round checks that everything runs.

use fibra::net::UnixStream;
use std::hint::black_box;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Operations in a measurement.
const COUNT: u32 = 20_000;

const LIMIT: Duration = Duration::from_secs(3600);

/// Nanoseconds for one operation.
fn timed(count: u32, mut f: impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..count).for_each(|_| f());
    began.elapsed().as_nanos() as f64 / f64::from(count)
}

fn main() {
    let measuring = std::env::args().any(|argument| argument == "--bench");
    let (rounds, count) = if measuring { (101, COUNT) } else { (1, 100) };
    let figures = fibra::Runtime::builder().workers(1).run(|| measure(rounds, count)).expect("a runtime");
    let names = [
        "write + read, bare",
        "write + read, the read in a timeout",
        "a timeout around nothing",
        "three timeouts around nothing, nested",
        "the clock",
    ];
    for (at, name) in names.into_iter().enumerate() {
        print(name, figures.iter().map(|round| round[at]).collect());
    }
    print("the timeout's share of a read", figures.iter().map(|round| round[1] - round[0]).collect());
    print("the same beyond the clock", figures.iter().map(|round| round[1] - round[0] - round[4]).collect());
}

fn measure(rounds: usize, count: u32) -> Vec<[f64; 5]> {
    let (mut writer, mut reader) = UnixStream::pair().expect("a pair of sockets");
    let mut byte = [7];
    let round = |_| {
        [
            timed(count, || {
                writer.write_all(&byte).expect("room for a byte");
                assert_eq!(reader.read(&mut byte).expect("a byte"), 1);
            }),
            timed(count, || {
                writer.write_all(&byte).expect("room for a byte");
                let read = fibra::timeout(LIMIT, || reader.read(&mut byte));
                assert_eq!(read.expect("it is there").expect("a byte"), 1);
            }),
            timed(count, || {
                black_box(fibra::timeout(LIMIT, || black_box(1))).expect("it does not wait");
            }),
            timed(count, || {
                let two = || fibra::timeout(LIMIT, || fibra::timeout(LIMIT, || black_box(1)));
                black_box(fibra::timeout(LIMIT, two))
                    .expect("it does not wait")
                    .expect("nor does it")
                    .expect("nor it");
            }),
            timed(count, || {
                black_box(Instant::now());
            }),
        ]
    };
    (0..rounds).map(round).collect()
}

fn print(name: &str, mut figures: Vec<f64>) {
    figures.sort_by(f64::total_cmp);
    let at = |part: f64| figures[((figures.len() - 1) as f64 * part) as usize];
    println!("{name:<40} {:>8.1} ns   [{:.1} – {:.1}]", at(0.5), at(0.25), at(0.75));
}
