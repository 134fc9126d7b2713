//! **Write threads, run coroutines.** Code in plain blocking style (`read`, `sleep`, `join`, `park`) runs on stackful coroutines
//! over a user-mode scheduler, so that one process holds a million conversations. No `async`, no coloured functions.
//!
//! This page is the library in five minutes.
//!
//! # Run
//! [`run`] makes the calling thread the first worker of a runtime, runs a closure as its main coroutine, and returns what that returns,
//! once every other coroutine has ended too:
//!
//! ```
//! let sum = fibra::run(|| {
//!     let squares: Vec<_> = (1..=10).map(|n| fibra::spawn(move || n * n)).collect();
//!     squares.into_iter().map(|square| square.join().unwrap()).sum::<u32>()
//! });
//! assert_eq!(sum, 385);
//! ```
//!
//! A panic in a coroutine comes out of its [`join`](JoinHandle::join) and costs nobody else.
//!
//! # Wait
//! What would block a thread parks a coroutine, and its worker goes on with others. The names and signatures are std's, so a port is
//! `use std::net` → [`use fibra::net`](net), `use std::fs` → [`use fibra::fs`](mod@fs), `std::thread::sleep` → [`fibra::sleep`](sleep()):
//!
//! ```
//! use fibra::net::{TcpListener, TcpStream};
//! use std::io::{Read, Write};
//!
//! fibra::run(|| {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let address = listener.local_addr()?;
//!     fibra::Builder::new().daemon(true).spawn(move || {
//!         for stream in listener.incoming() {
//!             let mut stream = stream?;
//!             fibra::spawn(move || {
//!                 let mut buffer = [0; 1024];
//!                 while let Ok(n @ 1..) = stream.read(&mut buffer) {
//!                     stream.write_all(&buffer[..n])?;
//!                 }
//!                 Ok::<(), std::io::Error>(())
//!             });
//!         }
//!         Ok::<(), std::io::Error>(())
//!     })?;
//!
//!     let mut client = TcpStream::connect(address)?;
//!     client.write_all(b"hello")?;
//!     let mut answer = [0; 5];
//!     client.read_exact(&mut answer)?;
//!     assert_eq!(&answer, b"hello");
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! [`io::copy`] moves bytes from a stream or a file to a stream without a copy in user memory.
//!
//! What knows nothing of coroutines and may block (a C library, a long computation) goes to a pool of threads: [`spawn_blocking`].
//!
//! # Share
//! A coroutine, once started, stays on its worker (an OS thread). Until then an idle worker may take it. So:
//!
//! * [`spawn`](spawn()) wants `Send`, as [`std::thread::spawn`] does, since it may go to another thread to start; but what lives on its
//!   stack afterwards need not be, and thread-locals are never seen from two threads.
//! * [`spawn_local`] keeps the coroutine on the caller's worker: `Rc` and `Cell` may be shared.
//! * [`scope`](scope()) is for children that borrow.
//! * Between two waits a coroutine runs alone on its worker: nothing preempts it. A long computation keeps its neighbours waiting; let it
//!   [`yield_now`] from time to time, or [`spawn_blocking`].
//! * [`park`](park()) and [`Context::unpark`] wait for and wake anybody: a coroutine of this worker or another, or an OS thread. Everything here
//!   also works when called from an OS thread outside the runtime; it then blocks that thread.
//!
//! [`sync`] has the locks (mutex, read-write lock, condition variable, semaphore, barrier, event, what is done once), and [`queue`] the queues and channels, with
//! [`select!`]. They work between coroutines, between OS threads, and between both:
//!
//! ```
//! use fibra::queue::{Queue, Shutdown};
//! use fibra::sync::Mutex;
//!
//! fibra::run(|| {
//!     let (queue, total) = (Queue::bounded(10), Mutex::new(0));
//!     fibra::scope(|scope| {
//!         for _ in 0..3 {
//!             scope.spawn(|| queue.iter().for_each(|item| *total.lock() += item));
//!         }
//!         (1..=100).for_each(|item| queue.put(item).unwrap());
//!         queue.shutdown(Shutdown::Drain);
//!     });
//!     assert_eq!(total.into_inner(), 5050);
//! });
//! ```
//!
//! A `std::sync::Mutex` is fine as long as no coroutine parks while it holds one; `std::sync::mpsc::Receiver::recv` blocks the whole worker. [`group`] has groups and bounded pools
//! of coroutines, and pools of connections.
//!
//! # Give up
//! Any wait can have a limit, from the outside: [`timeout`](timeout()) unwinds the code that it runs where that waits, so destructors run, and [`JoinHandle::cancel`] does so to another
//! context. What has arrived is returned and not lost. [`shield`](shield()) is for what must not be interrupted. See [`cancel`].
//!
//! ```
//! use std::time::Duration;
//!
//! fibra::run(|| {
//!     let answer = fibra::timeout(Duration::from_millis(5), || {
//!         fibra::sleep(Duration::from_secs(3600));
//!         "too late"
//!     });
//!     assert_eq!(answer, Err(fibra::Elapsed));
//! });
//! ```
//!
//! # End
//! [`run`] waits for every coroutine that is not a [daemon](Builder::daemon). A [`Stop`] ends the waits of many at once (that is how a server ends
//! its accepts and idle reads); [`signal`] tells when it is time to.
//!
//! # Test
//! [`simulation`] runs a test in virtual time, in which hours of sleep are over at once, and under many schedules, each of which can be repeated.
//!
//! # Stacks
//! A coroutine's stack has 64 KiB unless its [`Builder`] or the runtime says otherwise; untouched pages cost nothing. One that runs
//! over the end is stopped by a guard and reported with its name, its size and what to raise.
//!
//! # Environment
//! | variable | meaning |
//! |---|---|
//! | `FIBRA_WORKERS` | OS threads that run coroutines; default: what [`std::thread::available_parallelism`] says |
//! | `FIBRA_STACK_SIZE` | bytes of a coroutine's stack (`65536`, `256k`, `1m`); default 64 KiB |
//! | `FIBRA_DRIVER` | how descriptors are waited for: `auto`, `epoll` or `uring` |
//! | `FIBRA_URING` | how rings are made and used, a list of words; `off` for none, not even for files (see `fibra_driver::RingSettings`) |
//! | `FIBRA_SEED` | the one run of a [`simulation`] that is to be repeated |
//! | `FIBRA_GUARD` | how stacks are guarded: `auto`, `lightweight` (Linux 6.13) or `mprotect` |
//!
//! What safe code may rely on, and the known limits, are written down in the repository's `SOUNDNESS.md`.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod blocking;
mod call;
pub mod cancel;
mod context;
pub mod event_loop;
pub mod fs;
pub mod group;
pub mod inspect;
pub mod io;
pub mod net;
mod outcome;
pub mod queue;
mod scheduler;
mod scope;
pub mod signal;
pub mod simulation;
mod spawn;
pub mod sync;
mod task_local;
pub mod thread;
pub mod time;

pub use blocking::spawn_blocking;
pub use cancel::{Cancelled, Elapsed, Enrolled, Stop, deadline, move_on_after, shield, timeout};
pub use context::{Context, current, park, park_timeout, yield_now};
pub use group::{
    Group, Pool, ResourcePool, as_completed, first_of, first_of_timeout, join_all, join_all_timeout,
};
pub use scheduler::run_queue::Schedule;
pub use scheduler::runtime::{Runtime, RuntimeBuilder, current_runtime, run};
pub use scheduler::settings::DriverKind;
pub use scheduler::state::Reason;
pub use scheduler::waiting::WaitsFor;
pub use scheduler::watchers::Outcome;
pub use scope::{Scope, ScopedJoinHandle, scope};
pub use spawn::{Builder, JoinHandle, spawn, spawn_after, spawn_local};
pub use task_local::{AccessError, LocalKey};
pub use time::{sleep, sleep_until};

/// The README's example is compiled with the documentation's.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
