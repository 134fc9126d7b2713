//! Where a chain of callbacks leads: continuations that call each other grow the stack, those that are handed to the loop do not.
//!
//! ```text
//! cargo run -q --release -p fibra --example callback_stack
//! ```
//!
//! A handler reads, and gives the rest of the program as a continuation. If what it asks for is there already, it is tempting to call that at once: it is
//! shorter, and faster. But then it never returns. The continuation asks again, which calls again, and a client that sends fast enough decides how deep
//! the server's stack becomes. The first lines show how it grows with the length of the chain. Then the program starts itself to try a million, on 8 MiB:
//! the child dies of a stack overflow, which takes everything in it along. The last line is the same chain with `call_soon`: each link returns to the loop,
//! which calls the next from the same place. (A coroutine has no such chain: its continuation is the next line.)

use fibra::event_loop::EventLoop;
use std::hint::black_box;
use std::process::Command;
use std::thread;

/// How much of the stack is used, as far as the chain has noticed.
struct Depth {
    top: usize,
    deepest: usize,
}

impl Depth {
    fn new() -> Depth {
        let top = here();
        Depth { top, deepest: 0 }
    }

    fn note(&mut self) {
        self.deepest = self.deepest.max(self.top.abs_diff(here()));
    }
}

/// An address on the present stack.
#[inline(never)]
fn here() -> usize {
    let local = 0_u8;
    std::ptr::from_ref(black_box(&local)).addr()
}

type Continuation = fn(u64, &mut Depth);

/// "Reads": what is wanted is there, so it goes on at once.
#[inline(never)]
fn read(left: u64, depth: &mut Depth, then: Continuation) {
    depth.note();
    black_box(then)(left, depth);
    // A frame with nothing left to do might be given up before the call; most have something, if only a destructor.
    black_box(&left);
}

/// A link of the chain: reads again, as long as something comes.
fn called_at_once(left: u64, depth: &mut Depth) {
    if left > 0 {
        read(left - 1, depth, called_at_once);
    }
}

/// The same link, returning to the loop.
fn called_soon(events: &mut EventLoop<(u64, Depth)>) {
    let (left, depth) = &mut events.data;
    depth.note();
    if *left > 0 {
        *left -= 1;
        events.call_soon(called_soon);
    }
}

fn main() -> std::io::Result<()> {
    if std::env::args().nth(1).is_some() {
        let chain = thread::Builder::new().name("chain".into()).stack_size(8 << 20);
        let _ = chain.spawn(|| called_at_once(1_000_000, &mut Depth::new()))?.join();
        return Ok(());
    }
    for links in [10, 100, 1_000, 10_000] {
        let mut depth = Depth::new();
        called_at_once(links, &mut depth);
        println!("called at once, {links:>9} links: {:>7} bytes of stack", depth.deepest);
    }
    let status = Command::new(std::env::current_exe()?).arg("a million").status()?;
    println!("called at once, 1,000,000 links: {status}");
    let mut events = EventLoop::with_data((1_000_000, Depth::new()))?;
    events.call_soon(called_soon);
    events.run()?;
    println!("call_soon,      1,000,000 links: {:>7} bytes of stack", events.data.1.deepest);
    Ok(())
}
