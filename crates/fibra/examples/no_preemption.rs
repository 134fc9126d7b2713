//! A coroutine that computes and never waits holds up its whole worker, and what to do about it.
//!
//! ```text
//! cargo run -q --release -p fibra --example no_preemption
//! ```
//!
//! A heart beats every 10 ms while another coroutine of the same worker computes for 200 ms. Coroutines take turns where they wait; nothing takes the
//! worker from one that does not. So the heart stands still for as long as the computation lasts. A `yield_now` now and then lets others have their
//! turn; it has to be often, since a worker looks at clocks and sockets after each 64 turns only, as long as somebody can run. `spawn_blocking` gives the work to a thread of the pool, where the kernel shares out the time; that is also the place for calls which block
//! and that fibra cannot see. (Event loops have the same trouble, and only the second of the cures; threads do not have it at all.)

use std::time::{Duration, Instant};

const BEAT: Duration = Duration::from_millis(10);
const WORK: Duration = Duration::from_millis(200);

fn main() {
    for (way, work) in [
        ("computes in one go", compute as fn()),
        ("yields every 100 µs", compute_and_yield),
        ("computes on the blocking pool", compute_elsewhere),
    ] {
        let longest = fibra::Runtime::builder().workers(1).run(|| longest_gap(work));
        println!(
            "{way:30} longest time between two beats: {:>3} ms",
            longest.expect("a runtime").as_millis()
        );
    }
}

/// The longest time between two beats while the work is done.
fn longest_gap(work: fn()) -> Duration {
    let working = fibra::spawn(move || {
        fibra::sleep(2 * BEAT);
        work();
    });
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while !working.is_finished() {
        fibra::sleep(BEAT);
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    longest
}

fn compute() {
    compute_for(WORK);
}

fn compute_and_yield() {
    for _ in 0..WORK.as_micros() / 100 {
        compute_for(Duration::from_micros(100));
        fibra::yield_now();
    }
}

fn compute_elsewhere() {
    fibra::spawn_blocking(compute).join().expect("it does not panic");
}

fn compute_for(time: Duration) {
    let began = Instant::now();
    while began.elapsed() < time {
        std::hint::spin_loop();
    }
}
