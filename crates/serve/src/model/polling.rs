//! `polling`: non-blocking sockets, asked again and again.
//!
//! ```text
//!      ┌───────────────────────────────────────────────────────────┐
//!      ▼                                                           │
//!   accept? ──▶ guest 1: bytes? ──▶ guest 2: bytes? ──▶ … ──▶ guest n ── nobody had anything: sched_yield
//!                  │ EAGAIN: not now, no error
//!
//!  state:  a table of guests, each with its conversation
//!  wakes:  nobody; the loop is always awake
//!  blocks: nowhere (but in the filesystem, see `conversation`)
//! ```
//!
//! The oldest way to serve several clients with one thread, and the reason for all others. A system call for each connection in each round,
//! nearly all of which answer `EAGAIN`: a round costs O(n), and so does the latency. And an idle server takes a whole core: between fruitless
//! rounds it only lets others have the core if they want it. To sleep there instead would trade the cost for latency, and be a bad timer.

use super::attendant::{Attendant, Visit};
use super::guest::Step;
use super::{Options, Started, Summary, loops};
use std::io;
use std::thread;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or several workers are asked for.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    loops::one(options, "none", started, run)
}

fn run(mut attendant: Attendant) -> io::Result<Summary> {
    let mut keys = Vec::new();
    while !attendant.is_over() {
        attendant.woke();
        // The bell, too, is only tried.
        attendant.hear();
        let mut fruitful = false;
        while let Visit::One(_) = attendant.admit() {
            fruitful = true;
        }
        // Everybody is asked, so nobody is due in particular.
        attendant.due();
        keys.clear();
        keys.extend(attendant.guests.iter().map(|(key, _)| key));
        for &key in &keys {
            fruitful |= !matches!(attendant.step(key), Step::Waits(_));
        }
        if !fruitful {
            thread::yield_now();
        }
    }
    Ok(attendant.end())
}
