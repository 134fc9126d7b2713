//! What the tests of sockets share: runtimes of different sizes with a time limit, pairs of sockets, random numbers from a seed that is printed.

#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../limit/mod.rs"]
mod limit;

use fibra::net::{Ipv4Addr, TcpListener, TcpStream};
pub(crate) use limit::within;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// After this a test hangs.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `test` as the main coroutine of a runtime with each of these numbers of workers.
pub(crate) fn on_workers(counts: &[usize], test: impl Fn() + Send + Clone + 'static) {
    for &count in counts {
        let test = test.clone();
        println!("workers: {count}");
        within(LIMIT + stress_time(), move || fibra::Runtime::builder().workers(count).run(test).unwrap());
    }
}

/// How long one storm lasts: `FIBRA_STRESS_SECONDS`, or half a second.
pub(crate) fn stress_time() -> Duration {
    match std::env::var("FIBRA_STRESS_SECONDS") {
        Ok(text) => Duration::from_secs(text.parse().expect("FIBRA_STRESS_SECONDS is a number")),
        Err(_) => Duration::from_millis(500),
    }
}

/// When a storm that begins now is over.
pub(crate) fn storm_end() -> Instant {
    Instant::now() + stress_time()
}

/// Numbers that only have to differ (xorshift64*).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// From `FIBRA_SEED` or the clock; the seed is printed.
    pub(crate) fn seeded() -> Random {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let seed = match std::env::var("FIBRA_SEED") {
            Ok(text) => text.parse().expect("FIBRA_SEED is a number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("it is after 1970");
                now.as_nanos() as u64
            }
        };
        println!("FIBRA_SEED={seed}");
        Random((seed ^ COUNT.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed)) | 1)
    }

    /// Another sequence, for another context.
    pub(crate) fn split(&mut self) -> Random {
        Random(self.next() | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 11) % bound
    }

    pub(crate) fn micros(&mut self, bound: u64) -> Duration {
        Duration::from_micros(self.below(bound))
    }
}

/// Two ends of a TCP connection. The addresses differ, for a storm may open more connections than an address has ports, which are not free again
/// for a minute.
pub(crate) fn tcp_pair() -> (TcpStream, TcpStream) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let address = Ipv4Addr::new(127, 0, 0, 2 + (COUNT.fetch_add(1, Ordering::Relaxed) % 250) as u8);
    let listener = TcpListener::bind((address, 0)).unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, address) = listener.accept().unwrap();
    assert_eq!(one.local_addr().unwrap(), address);
    (one, other)
}

/// Makes dropping the socket reset the connection.
pub(crate) fn reset_on_close(socket: &impl AsFd) {
    rustix::net::sockopt::set_socket_linger(socket.as_fd(), Some(Duration::ZERO)).unwrap();
}

/// Another descriptor of the same open file, of which no runtime knows.
pub(crate) fn duplicate(socket: &impl AsFd) -> OwnedFd {
    socket.as_fd().try_clone_to_owned().unwrap()
}

/// Lets the other coroutines of a single worker run until they wait.
pub(crate) fn let_others_wait() {
    for _ in 0..3 {
        fibra::yield_now();
    }
}

/// Whether the driver of the calling context's runtime is io_uring, where the kernel does the waiting.
pub(crate) fn by_uring() -> bool {
    fibra::current_runtime().1 == "uring"
}

/// How many descriptors this process has open.
pub(crate) fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}
