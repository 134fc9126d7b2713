//! What queues cost, next to crossbeam-channel: `cargo bench -p fibra --bench queues`.
//!
//! Rounds of all measurements are interleaved, so that drift hits all alike; printed are the median and the quartiles in nanoseconds for one operation. Without
//! `--bench` one short round checks that everything runs.

mod rounds;

use fibra::queue::Queue;
use rounds::{Measure, measure, print_all, timed};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const MEASURES: &[Measure] = &[
    ("put + get by one coroutine", 1_000_000, alone),
    ("1:1, bounded(1024), one worker", 1_000_000, one_worker),
    ("1:1, bounded(1), one worker", 300_000, one_worker_bounded_1),
    ("rendezvous, one worker", 300_000, rendezvous),
    ("ping-pong, one worker, half a round trip", 300_000, ping_pong),
    ("1:1, bounded(1024), two workers", 1_000_000, two_workers),
    ("1:1, bounded(1024), two threads", 1_000_000, two_threads),
    ("4:4, bounded(1024), two workers", 1_000_000, four_to_four),
    ("crossbeam: send + recv by one thread", 1_000_000, crossbeam_alone),
    ("crossbeam: 1:1, bounded(1024), two threads", 1_000_000, crossbeam),
    ("crossbeam: 4:4, bounded(1024), eight threads", 1_000_000, crossbeam_four_to_four),
    ("crossbeam: ping-pong, half a round trip", 30_000, crossbeam_ping_pong),
];

fn main() {
    print_all(measure(MEASURES, 11));
}

fn on(workers: usize, f: impl FnOnce() -> Duration) -> Duration {
    fibra::Runtime::builder().workers(workers).run(f).expect("a runtime")
}

fn alone(count: u32) -> Duration {
    on(1, || {
        let queue = Queue::bounded(1024);
        timed(|| {
            for item in 0..count {
                queue.put(item).expect("it is open");
                assert_eq!(queue.get(), Ok(item));
            }
        })
    })
}

/// One coroutine puts, another gets.
fn one_to_one(queue: Queue<u32>, count: u32) -> Duration {
    timed(|| {
        fibra::scope(|scope| {
            scope.spawn(|| (0..count).for_each(|item| queue.put(item).expect("it is open")));
            scope.spawn(|| (0..count).for_each(|item| assert_eq!(queue.get(), Ok(item))));
        });
    })
}

fn one_worker(count: u32) -> Duration {
    on(1, || one_to_one(Queue::bounded(1024), count))
}

fn one_worker_bounded_1(count: u32) -> Duration {
    on(1, || one_to_one(Queue::bounded(1), count))
}

fn rendezvous(count: u32) -> Duration {
    on(1, || one_to_one(Queue::rendezvous(), count))
}

fn ping_pong(count: u32) -> Duration {
    on(1, || {
        let (there, back) = (Queue::bounded(1), Queue::bounded(1));
        timed(|| {
            fibra::scope(|scope| {
                scope.spawn(|| {
                    (0..count / 2)
                        .for_each(|_| back.put(there.get().expect("it is open")).expect("it is open"))
                });
                for item in 0..count / 2 {
                    there.put(item).expect("it is open");
                    assert_eq!(back.get(), Ok(item));
                }
            });
        })
    })
}

/// The producers on threads that are workers of runtimes of their own, so that it is sure where everybody is.
fn across(producers: u32, consumers: u32, count: u32) -> Duration {
    let queue = Arc::new(Queue::bounded(1024));
    let side = |coroutines: u32, f: fn(&Queue<u32>, u32)| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            on(1, || {
                fibra::scope(|scope| {
                    for _ in 0..coroutines {
                        scope.spawn(|| f(&queue, count / coroutines));
                    }
                });
                Duration::ZERO
            })
        })
    };
    timed(|| {
        let put =
            side(producers, |queue, count| (0..count).for_each(|item| queue.put(item).expect("it is open")));
        let get = side(consumers, |queue, count| (0..count).for_each(|_| assert!(queue.get().is_ok())));
        put.join().expect("no panic");
        get.join().expect("no panic");
    })
}

fn two_workers(count: u32) -> Duration {
    across(1, 1, count)
}

fn four_to_four(count: u32) -> Duration {
    across(4, 4, count)
}

fn two_threads(count: u32) -> Duration {
    let queue = Queue::bounded(1024);
    timed(|| {
        thread::scope(|scope| {
            scope.spawn(|| (0..count).for_each(|item| queue.put(item).expect("it is open")));
            scope.spawn(|| (0..count).for_each(|item| assert_eq!(queue.get(), Ok(item))));
        });
    })
}

fn crossbeam_alone(count: u32) -> Duration {
    let (sender, receiver) = crossbeam_channel::bounded(1024);
    timed(|| {
        for item in 0..count {
            sender.send(item).expect("it is open");
            assert_eq!(receiver.recv(), Ok(item));
        }
    })
}

fn crossbeam(count: u32) -> Duration {
    crossbeam_across(1, count)
}

fn crossbeam_four_to_four(count: u32) -> Duration {
    crossbeam_across(4, count)
}

fn crossbeam_across(each: u32, count: u32) -> Duration {
    let (sender, receiver) = crossbeam_channel::bounded(1024);
    timed(|| {
        thread::scope(|scope| {
            for _ in 0..each {
                scope.spawn(|| (0..count / each).for_each(|item| sender.send(item).expect("it is open")));
                scope.spawn(|| (0..count / each).for_each(|_| assert!(receiver.recv().is_ok())));
            }
        });
    })
}

fn crossbeam_ping_pong(count: u32) -> Duration {
    let (there, there_out) = crossbeam_channel::bounded(1);
    let (back, back_out) = crossbeam_channel::bounded(1);
    timed(|| {
        thread::scope(|scope| {
            scope.spawn(|| {
                (0..count / 2).for_each(|_| back.send(there_out.recv().expect("open")).expect("open"))
            });
            for item in 0..count / 2 {
                there.send(item).expect("open");
                assert_eq!(back_out.recv(), Ok(item));
            }
        });
    })
}
