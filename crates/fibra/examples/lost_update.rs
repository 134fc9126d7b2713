//! The lost update: two contexts add to one counter, and what one adds the other overwrites.
//!
//! ```text
//! two contexts, each adds 1 to a counter 99 times, and the other runs in between
//!   read, then write:       the counter says  99 of 198, lost: 99
//!   the same with a Mutex:  the counter says 198 of 198, lost: 0
//!   the same with an atom:  the counter says 198 of 198, lost: 0
//! ```
//!
//! # Why 99
//! To add is to read, to add and to write. On one worker coroutines change places only where they wait or yield; here each yields between reading and writing, where a real
//! program would ask a database or write a log. So both read 0, both write 1, both read 1, both write 2, and so on: of every two additions one is lost, the same in each run.
//! Between threads, or coroutines of several workers, it would be a matter of luck how many are lost, and no yield would be needed.
//!
//! # Why 0
//! A lock that is held from the reading to the writing makes the two one step: who comes meanwhile waits. Where it is one number, the processor does it in one step itself
//! ([`AtomicU32::fetch_add`]).
//!
//! The safe form is the one that comes by default: Rust refuses a counter that two contexts change at once, be it a `&mut u32` or a `Cell<u32>`. It takes an atom that is read
//! and written in two steps to write the race at all. (`spawn_local` does allow a shared `Cell`: what nobody can come between is between two waits.)

use fibra::Runtime;
use fibra::sync::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How often each context adds.
const TIMES: u32 = 99;

fn read_then_write(counter: &AtomicU32) {
    let before = counter.load(Ordering::Relaxed);
    fibra::yield_now();
    counter.store(before + 1, Ordering::Relaxed);
}

fn with_a_mutex(counter: &Mutex<u32>) {
    let mut counter = counter.lock();
    let before = *counter;
    fibra::yield_now();
    *counter = before + 1;
}

fn with_an_atom(counter: &AtomicU32) {
    fibra::yield_now();
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Two contexts that add to the same counter.
fn both<C: Send + Sync + 'static>(counter: C, add: fn(&C)) -> C {
    let counter = Arc::new(counter);
    let contexts = [(); 2].map(|()| {
        let counter = Arc::clone(&counter);
        fibra::spawn(move || (0..TIMES).for_each(|_| add(&counter)))
    });
    for context in contexts {
        context.join().expect("adding does not panic");
    }
    Arc::into_inner(counter).expect("both have ended")
}

fn main() -> std::io::Result<()> {
    let [lossy, locked, atom] = Runtime::builder().workers(1).run(|| {
        [
            both(AtomicU32::new(0), read_then_write).into_inner(),
            both(Mutex::new(0), with_a_mutex).into_inner(),
            both(AtomicU32::new(0), with_an_atom).into_inner(),
        ]
    })?;
    let all = 2 * TIMES;
    println!("two contexts, each adds 1 to a counter {TIMES} times, and the other runs in between");
    for (how, counter) in
        [("read, then write:", lossy), ("the same with a Mutex:", locked), ("the same with an atom:", atom)]
    {
        println!("  {how:<23} the counter says {counter:>3} of {all}, lost: {}", all - counter);
    }
    assert_eq!([all - lossy, all - locked, all - atom], [TIMES, 0, 0]);
    Ok(())
}
