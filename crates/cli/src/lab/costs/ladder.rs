//! Going from one to another: a call, a callback, the kernel, a coroutine, a thread, a process.
//!
//! Everything on one core, so that a switch is a switch and not a wake-up of another core. Where two take turns, one way is half of a round trip.

use super::peer::{Peer, Role};
use super::{Measure, in_words, per_operation, with_workers};
use crate::lab::results::Unit;
use fibra_context::{Coroutine, StackCache, Yielder, coroutine};
use std::hint::black_box;
use std::io::{Read, Write};
use std::thread;

pub(super) const MEASURES: &[Measure] = &[
    ladder("switch.call", "function call", 40_000_000, Some(2.0), None, call),
    ladder("switch.callback", "callback: a boxed closure", 40_000_000, None, None, callback),
    ladder("switch.system-call", "system call (getppid)", 1_000_000, None, None, system_call),
    ladder(
        "switch.coroutine-bare",
        "coroutine switch, no scheduler",
        10_000_000,
        Some(50.0),
        Some("One way of resume and suspend."),
        coroutine_bare,
    ),
    ladder(
        "switch.coroutine",
        "coroutine switch by the scheduler",
        4_000_000,
        Some(50.0),
        Some("yield_now between two coroutines of one worker."),
        coroutine_scheduled,
    ),
    ladder(
        "switch.thread",
        "thread switch",
        200_000,
        None,
        Some("One way of a ping-pong with park and unpark, on one core."),
        thread_parked,
    ),
    ladder(
        "switch.thread-pipe",
        "thread switch by a pipe",
        100_000,
        None,
        Some("One byte each way: the system calls, and the switch."),
        thread_piped,
    ),
    ladder(
        "switch.process",
        "process switch by a pipe",
        100_000,
        None,
        Some("The same between two processes: the address space changes too."),
        process_piped,
    ),
];

const fn ladder(
    id: &'static str,
    what: &'static str,
    count: u64,
    published: Option<f64>,
    note: Option<&'static str>,
    run: fn(u64) -> Result<f64, String>,
) -> Measure {
    Measure { id, what, unit: Unit::Nanoseconds, published, note, count, one_core: true, run }
}

fn call(count: u64) -> Result<f64, String> {
    #[inline(never)]
    fn next(value: u64) -> u64 {
        // Not to be replaced by its result.
        black_box(value) + 1
    }
    per_operation(count, || {
        let mut value = 0;
        for _ in 0..count {
            value = next(value);
        }
        black_box(value);
        Ok(())
    })
}

fn callback(count: u64) -> Result<f64, String> {
    let mut total = 0_u64;
    let mut callback: Box<dyn FnMut(u64) -> u64> = black_box(Box::new(move |value| {
        total = total.wrapping_add(value);
        total
    }));
    per_operation(count, || {
        for value in 0..count {
            black_box(callback(value));
        }
        Ok(())
    })
}

fn system_call(count: u64) -> Result<f64, String> {
    per_operation(count, || {
        for _ in 0..count {
            black_box(rustix::process::getppid());
        }
        Ok(())
    })
}

fn coroutine_bare(count: u64) -> Result<f64, String> {
    let stack = StackCache::new(1).take(64 * 1024).map_err(in_words)?;
    let mut other: Coroutine<(), (), ()> = coroutine(stack, move |yielder: &Yielder<(), ()>, ()| {
        for _ in 0..count / 2 {
            yielder.suspend(());
        }
    });
    per_operation(count, || {
        while !other.done() {
            other.resume(());
        }
        Ok(())
    })
}

fn coroutine_scheduled(count: u64) -> Result<f64, String> {
    let turns = move || (0..count / 2).for_each(|_| fibra::yield_now());
    with_workers(1, || {
        per_operation(count, || {
            let (one, other) = (fibra::spawn(turns), fibra::spawn(turns));
            one.join().and(other.join()).map_err(|_| "a coroutine panicked".to_owned())
        })
    })
}

fn thread_parked(count: u64) -> Result<f64, String> {
    let turns = count / 2;
    let first = thread::current();
    let other = thread::spawn(move || {
        for _ in 0..turns {
            thread::park();
            first.unpark();
        }
    });
    let value = per_operation(count, || {
        for _ in 0..turns {
            other.thread().unpark();
            thread::park();
        }
        Ok(())
    });
    other.join().map_err(|_| "a thread panicked")?;
    value
}

fn thread_piped(count: u64) -> Result<f64, String> {
    let (mut ours, mut to_us) = std::io::pipe().map_err(in_words)?;
    let (mut theirs, mut to_them) = std::io::pipe().map_err(in_words)?;
    let other = thread::spawn(move || {
        let mut byte = [0];
        while theirs.read_exact(&mut byte).is_ok() {
            if to_us.write_all(&byte).is_err() {
                return;
            }
        }
    });
    let value = ping_pong(count, &mut to_them, &mut ours);
    drop(to_them);
    other.join().map_err(|_| "a thread panicked")?;
    value
}

fn process_piped(count: u64) -> Result<f64, String> {
    let mut peer = Peer::start(Role::Echo, 0)?;
    let (to_peer, from_peer) = peer.pipes()?;
    // It has to start first.
    ping_pong(2, to_peer, from_peer)?;
    ping_pong(count, to_peer, from_peer)
}

fn ping_pong(count: u64, to: &mut impl Write, from: &mut impl Read) -> Result<f64, String> {
    let mut byte = [7];
    per_operation(count, || {
        for _ in 0..count.div_ceil(2) {
            to.write_all(&byte).and_then(|()| from.read_exact(&mut byte)).map_err(in_words)?;
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_within_a_process_takes_some_time() {
        for measure in MEASURES.iter().filter(|measure| measure.id != "switch.process") {
            let value = (measure.run)(100).unwrap();
            assert!(value > 0.0, "{}: {value}", measure.id);
        }
    }
}
