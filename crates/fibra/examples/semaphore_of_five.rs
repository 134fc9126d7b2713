//! Twenty visitors, and room for five: a semaphore lets so many in at a time, in the order in which they came.
//!
//! ```text
//!  1 enters, 1 inside
//!  2 enters, 2 inside
//!  …
//!  5 enters, 5 inside
//!  1 leaves, 4 inside
//!  6 enters, 5 inside
//!  …
//! 20 visits, never more than 5 inside
//! ```
//!
//! The first five find permits. The others wait in line, which costs no thread: each is a coroutine. Who leaves hands its permit to the first in line, so nobody who comes along
//! takes it in between, and visitor 6 enters as soon as one has left. (Some stay longer than others. On several workers they need not come in the order of their
//! numbers, and the lines vary from run to run; there are never more than five inside.)

use fibra::sync::{Mutex, Semaphore};
use std::time::Duration;

const VISITORS: u32 = 20;
const ROOM: usize = 5;

#[derive(Default)]
struct Inside {
    now: usize,
    most: usize,
}

fn main() {
    let (room, inside) = (Semaphore::new(ROOM), Mutex::new(Inside::default()));
    fibra::run(|| {
        fibra::scope(|scope| {
            for visitor in 1..=VISITORS {
                let (room, inside) = (&room, &inside);
                scope.spawn(move || visit(visitor, room, inside));
            }
        });
    });
    let Inside { now, most } = inside.into_inner();
    println!("{VISITORS} visits, never more than {most} inside");
    assert!(now == 0 && most <= ROOM);
}

fn visit(visitor: u32, room: &Semaphore, inside: &Mutex<Inside>) {
    // Given back when it is dropped, also if this panics or is cancelled.
    let _permit = room.acquire();
    {
        let mut inside = inside.lock();
        inside.now += 1;
        inside.most = inside.most.max(inside.now);
        println!("{visitor:>2} enters, {} inside", inside.now);
    }
    fibra::sleep(Duration::from_millis(10 * (1 + u64::from(visitor * 3 % 7))));
    let mut inside = inside.lock();
    inside.now -= 1;
    println!("{visitor:>2} leaves, {} inside", inside.now);
}
