//! What a time limit costs that never comes to bear: `cargo bench -p fibra --bench timeout`.
//!
//! A coroutine reads a socket, a byte at a time, where more is there already: bare, and with [`fibra::timeout`] around each read. The aim is 30 ns beyond one look at the clock. A call into the
//! kernel varies by more than that from one moment to the next, so a round is short and measures each of them once, now the one first and now the other; and what is printed last is
//! the median over the rounds of the difference within a round. The bytes are written beforehand, and not timed. Without `--bench` (as under `cargo test`) two rounds check that everything runs.
//!
//! On 2026-11-28, two cores of a virtual machine that was busy with other work, two runs: 0.1 and 10.8 ns beyond the clock, which took 23.1 ns; the read 781 and 794 ns.

mod rounds;

use fibra::net::UnixStream;
use rounds::{is_measuring, print};
use std::hint::black_box;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// Operations in a measurement: as many bytes as one write leaves in one buffer of the kernel.
const COUNT: u32 = 512;

const LIMIT: Duration = Duration::from_secs(3600);

/// The aim, in nanoseconds.
const AIM: f64 = 30.0;

/// Nanoseconds for one operation, in the order of `NAMES`.
type Round = [f64; 5];

const NAMES: [&str; 5] = [
    "a read of what is there, bare",
    "the same in a timeout",
    "a timeout around nothing",
    "three timeouts around nothing, nested",
    "the clock",
];

/// Nanoseconds for one operation.
fn timed(mut f: impl FnMut()) -> f64 {
    let began = Instant::now();
    (0..COUNT).for_each(|_| f());
    began.elapsed().as_nanos() as f64 / f64::from(COUNT)
}

fn main() {
    let rounds = if is_measuring() { 4001 } else { 2 };
    let rounds = fibra::Runtime::builder().workers(1).run(|| measure(rounds)).expect("a runtime");
    for (at, name) in NAMES.into_iter().enumerate() {
        print(name, "ns", rounds.iter().map(|round| round[at]).collect());
    }
    print("the timeout's share of a read", "ns", rounds.iter().map(|round| round[1] - round[0]).collect());
    let beyond = print(
        "the same beyond the clock",
        "ns",
        rounds.iter().map(|round| round[1] - round[0] - round[4]).collect(),
    );
    println!("aim: at most {AIM} ns beyond the clock: {}", if beyond <= AIM { "met" } else { "missed" });
}

fn measure(rounds: usize) -> Vec<Round> {
    let (mut writer, mut reader) = UnixStream::pair().expect("a pair of sockets");
    let mut byte = [7];
    let mut read = |limited: bool| {
        writer.write_all(&[7; COUNT as usize]).expect("room for so many");
        if limited {
            timed(|| {
                let read = fibra::timeout(LIMIT, || reader.read(&mut byte));
                assert_eq!(read.expect("it is there").expect("a byte"), 1);
            })
        } else {
            timed(|| assert_eq!(reader.read(&mut byte).expect("a byte"), 1))
        }
    };
    let round = |number: usize| {
        let limited_first = number % 2 == 1;
        let first = read(limited_first);
        let clock = timed(|| {
            black_box(Instant::now());
        });
        let second = read(!limited_first);
        let (bare, limited) = if limited_first { (second, first) } else { (first, second) };
        let nothing = timed(|| {
            black_box(fibra::timeout(LIMIT, || black_box(1))).expect("it does not wait");
        });
        let nested = timed(|| {
            let two = || fibra::timeout(LIMIT, || fibra::timeout(LIMIT, || black_box(1)));
            black_box(fibra::timeout(LIMIT, two))
                .expect("it does not wait")
                .expect("nor does it")
                .expect("nor it");
        });
        [bare, limited, nothing, nested, clock]
    };
    (0..rounds).map(round).collect()
}
