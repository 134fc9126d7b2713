//! What fibra's own operations cost, on one worker: `cargo bench -p fibra`.
//!
//! Every measurement is repeated in interleaved rounds, so that drift hits all alike; printed are the median and the quartiles in nanoseconds for one operation.
//! Comparisons with other runtimes are in `rivals/`. Without `--bench` (as under `cargo test`) one short round checks that everything runs.

mod rounds;

use fibra::net::{TcpListener, TcpStream};
use fibra_context::{Coroutine, StackCache, Yielder, coroutine};
use rounds::{Measure, measure, park_unpark, print_all, timed};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

const MEASURES: &[Measure] = &[
    ("switch: resume + suspend, bare", 1_000_000, switch),
    ("yield_now, of two coroutines", 1_000_000, yield_now),
    ("spawn + join, one at a time", 100_000, spawn_join),
    ("spawn + join, 100,000 at once", 100_000, spawn_join_many),
    ("park + unpark, round trip of two", 200_000, park_unpark),
    ("timer: insert + cancel (a park that is woken)", 200_000, timer_cancelled),
    ("timer: 100,000 sleeps fire", 100_000, timer_fired),
    ("TCP: connect + accept + close", 2_000, accept_close),
    ("TCP: echo of 64 bytes, round trip", 10_000, echo),
];

fn main() {
    let figures = fibra::Runtime::builder().workers(1).run(|| measure(MEASURES, 21)).expect("a runtime");
    print_all(figures);
}

fn switch(count: u32) -> Duration {
    let mut stacks = StackCache::new(1);
    let stack = stacks.take(64 * 1024).expect("a stack");
    let mut other: Coroutine<(), (), ()> = coroutine(stack, move |yielder: &Yielder<(), ()>, ()| {
        for _ in 1..count {
            yielder.suspend(());
        }
    });
    timed(|| {
        while !other.done() {
            other.resume(());
        }
    })
}

fn yield_now(count: u32) -> Duration {
    let yielder = move || (0..count / 2).for_each(|_| fibra::yield_now());
    timed(|| {
        let (one, other) = (fibra::spawn(yielder), fibra::spawn(yielder));
        one.join().expect("no panic");
        other.join().expect("no panic");
    })
}

fn spawn_join(count: u32) -> Duration {
    timed(|| (0..count).for_each(|_| fibra::spawn(|| ()).join().expect("no panic")))
}

fn spawn_join_many(count: u32) -> Duration {
    timed(|| {
        let handles: Vec<_> = (0..count).map(|_| fibra::spawn(|| ())).collect();
        handles.into_iter().for_each(|handle| handle.join().expect("no panic"));
    })
}

fn timer_cancelled(count: u32) -> Duration {
    let main = fibra::current();
    let other = fibra::spawn(move || {
        for _ in 0..count {
            main.unpark();
            fibra::yield_now();
        }
    });
    let took = timed(|| {
        for _ in 0..count {
            fibra::park_timeout(Duration::from_secs(60));
        }
    });
    other.join().expect("no panic");
    took
}

fn timer_fired(count: u32) -> Duration {
    let deadline = Instant::now() + Duration::from_millis(1);
    let sleepers: Vec<_> = (0..count).map(|_| fibra::spawn(move || fibra::sleep_until(deadline))).collect();
    timed(|| sleepers.into_iter().for_each(|sleeper| sleeper.join().expect("no panic")))
}

fn accept_close(count: u32) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let server = fibra::spawn(move || {
        for _ in 0..count {
            listener.accept().expect("a connection");
        }
    });
    timed(|| {
        for _ in 0..count {
            TcpStream::connect(address).expect("a connection");
        }
        server.join().expect("no panic");
    })
}

fn echo(count: u32) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let mut client = TcpStream::connect(listener.local_addr().expect("its address")).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    let server = fibra::spawn(move || {
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = server.read(&mut buffer) {
            server.write_all(&buffer[..length]).expect("the client reads");
        }
    });
    let mut message = [7; 64];
    let took = timed(|| {
        for _ in 0..count {
            client.write_all(&message).expect("the server reads");
            client.read_exact(&mut message).expect("the server answers");
        }
    });
    drop(client);
    server.join().expect("no panic");
    took
}
