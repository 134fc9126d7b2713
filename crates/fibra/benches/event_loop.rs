//! What the loop of callbacks costs, and what it costs the others that a callback must not wait: `cargo bench -p fibra --bench event_loop`.
//!
//! Rounds of all measurements are interleaved, so that drift hits all alike; printed are the median and the quartiles in nanoseconds for one operation, and of the round trips also the
//! ratio to a loop on epoll(7) that is written by hand, round by round. `ROUNDS` is how many; two runs under a counter of instructions that differ in it differ in what a round costs. Without
//! `--bench` one short round checks that everything runs.
//!
//! Whether the running code is in a callback is asked where it is about to wait inside of any region (a timeout, a stop, a shield), and before what cannot be given up once it has begun: so
//! the last measurements are waits outside and inside of one.
//!
//! # Figures
//! Made on 2026-11-28, two cores of a virtual machine that was busy with other work. So the times are not to be trusted, by half; the instructions are (those outside of the kernel, as callgrind
//! counts them: the difference between `ROUNDS=1` and `ROUNDS=2`, by the operations of a round).
//!
//! | | instructions | ns |
//! |---|---:|---:|
//! | `call_soon`, queued together | 305 | 100 |
//! | `call_soon`, a chain of a million continuations, each | 489 | 61 |
//! | `call_later`, together, all due | 866 | 227 |
//! | `call_later`, made and cancelled | 693 | 121 |
//! | round trip on a socket pair (two events), epoll by hand | 236 | 7,291 |
//! | round trip on a socket pair (two events), the loop | 4,208 | 10,437 (1.43 times by hand, 1.10 to 1.65) |
//! | `park` + `unpark`, a round trip, outside of any region | 504 | 104 |
//! | the same with one side in a timeout | 990 | 141 |
//! | the same with one side in a shield | 628 | 126 |
//!
//! Built without the question whether it is in a callback the last three take 504, 966 and 603 instructions: it costs a wait nothing outside of a region, and 25 instructions inside of one.

mod rounds;

use fibra::event_loop::{EventLoop, Interest};
use rounds::{Measure, measure, park_unpark, print, print_all, timed};
use rustix::event::epoll;
use std::cell::Cell;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Duration;

const BY_HAND: &str = "round trip on a socket pair, epoll by hand";
const BY_LOOP: &str = "round trip on a socket pair, the loop";

const MEASURES: &[Measure] = &[
    ("call_soon: queued together", 100_000, call_soon),
    ("call_soon: a chain of continuations", 1_000_000, chain),
    ("call_later: together, all due", 100_000, call_later_due),
    ("call_later: made and cancelled", 100_000, call_later_cancelled),
    (BY_HAND, 20_000, round_trips_by_hand),
    (BY_LOOP, 20_000, round_trips),
    ("park + unpark, no region", 200_000, outside),
    ("park + unpark, in a timeout", 200_000, in_a_timeout),
    ("park + unpark, in a shield", 200_000, in_a_shield),
];

fn main() {
    let figures = measure(MEASURES, 21);
    let of = |wanted| figures.iter().find(|(name, _)| *name == wanted).map(|(_, figures)| figures);
    let ratios = of(BY_LOOP).zip(of(BY_HAND)).map(|(ours, other)| {
        let ratio = |(ours, other): (&f64, &f64)| ours / other;
        ours.iter().zip(other).map(ratio).collect()
    });
    print_all(figures);
    ratios.map(|ratios| print("the loop's round trip to that by hand", "×", ratios));
}

fn counting() -> EventLoop<u32> {
    EventLoop::with_data(0).expect("a driver")
}

fn call_soon(count: u32) -> Duration {
    let mut events = counting();
    timed(|| {
        for _ in 0..count {
            events.call_soon(|events| events.data += 1);
        }
        events.run().expect("the driver is whole");
        assert_eq!(events.data, count);
    })
}

/// Each queues the next one, which has its turn at the next turn of the loop.
fn chain(count: u32) -> Duration {
    fn next(events: &mut EventLoop<u32>) {
        events.data -= 1;
        if events.data > 0 {
            events.call_soon(next);
        }
    }
    let mut events = EventLoop::with_data(count).expect("a driver");
    timed(|| {
        events.call_soon(next);
        events.run().expect("the driver is whole");
        assert_eq!(events.data, 0);
    })
}

fn call_later_due(count: u32) -> Duration {
    let mut events = counting();
    timed(|| {
        for _ in 0..count {
            events.call_later(Duration::ZERO, |events| events.data += 1);
        }
        events.run().expect("the driver is whole");
        assert_eq!(events.data, count);
    })
}

fn call_later_cancelled(count: u32) -> Duration {
    let mut events = counting();
    timed(|| {
        for _ in 0..count {
            let timer = events.call_later(Duration::from_secs(60), |events| events.data += 1);
            assert!(events.cancel(timer));
        }
        events.run().expect("the driver is whole");
        assert_eq!(events.data, 0);
    })
}

fn pair() -> [UnixStream; 2] {
    let (one, other) = UnixStream::pair().expect("a pair of sockets");
    for end in [&one, &other] {
        end.set_nonblocking(true).expect("a socket has that mode");
    }
    [one, other]
}

/// A byte comes, and goes back.
fn send_back(mut end: &UnixStream) {
    let mut byte = [0];
    assert_eq!(end.read(&mut byte).expect("it is ready"), 1);
    end.write_all(&byte).expect("there is room");
}

/// Both ends belong to one loop; a round trip is two events.
fn round_trips(count: u32) -> Duration {
    let mut events = EventLoop::new().expect("a driver");
    let ends = pair();
    (&ends[0]).write_all(&[7]).expect("there is room");
    let left = Rc::new(Cell::new(2 * count));
    for end in ends {
        let left = Rc::clone(&left);
        let answer = move |end: &mut UnixStream, events: &mut EventLoop, _: fibra::event_loop::Event<_>| {
            send_back(end);
            left.set(left.get() - 1);
            if left.get() == 0 {
                events.stop();
            }
        };
        events.register(end, Interest::READABLE, answer).expect("it can be watched");
    }
    timed(|| events.run().expect("the driver is whole"))
}

/// The same, level-triggered too, and no more than is needed.
fn round_trips_by_hand(count: u32) -> Duration {
    let ends = pair();
    (&ends[0]).write_all(&[7]).expect("there is room");
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("an epoll");
    for (number, end) in ends.iter().enumerate() {
        let number = epoll::EventData::new_u64(number as u64);
        epoll::add(&poll, end, number, epoll::EventFlags::IN).expect("it can be watched");
    }
    let mut ready = Vec::with_capacity(64);
    let mut left = 2 * count;
    timed(|| {
        while left > 0 {
            epoll::wait(&poll, rustix::buffer::spare_capacity(&mut ready), None).expect("an epoll");
            for event in ready.drain(..) {
                send_back(&ends[event.data.u64() as usize]);
                left -= 1;
            }
        }
    })
}

fn on_one_worker(f: impl FnOnce() -> Duration) -> Duration {
    fibra::Runtime::builder().workers(1).run(f).expect("a runtime")
}

fn outside(count: u32) -> Duration {
    on_one_worker(|| park_unpark(count))
}

fn in_a_timeout(count: u32) -> Duration {
    on_one_worker(|| {
        fibra::timeout(Duration::from_secs(3600), || park_unpark(count)).expect("an hour is enough")
    })
}

fn in_a_shield(count: u32) -> Duration {
    on_one_worker(|| fibra::shield(|| park_unpark(count)))
}
