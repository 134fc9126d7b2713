//! What the tests of sockets share: runtimes of different sizes with a time limit, pairs of sockets, random numbers.

#![allow(dead_code, reason = "each test file uses its own part")]

#[path = "../limit/mod.rs"]
mod limit;
#[path = "../storm/mod.rs"]
mod storm;

use fibra::net::{Ipv4Addr, TcpListener, TcpStream};
pub(crate) use limit::within;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
#[allow(unused_imports, reason = "each test file uses its own part")]
pub(crate) use storm::{Random, storm_end, stress_time};

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
