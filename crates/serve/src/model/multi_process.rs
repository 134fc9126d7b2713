//! `multi-process`: several processes, each with a scheduler of coroutines of its own.
//!
//! ```text
//!   parent ──fork──┬─▶ worker 1: one thread, one driver, a coroutine for each connection      listener 1 ┐
//!     │            ├─▶ worker 2                                                               listener 2 ├ one port: SO_REUSEPORT
//!     │            └─▶ worker N                                                               listener N ┘
//!     └ serves nobody; SIGCHLD: one has died ──▶ fork another, which takes over its listener
//!
//!  state:  the coroutine's stack, in one process for as long as the connection lasts
//!  wakes:  that process's driver; and for a connection that comes, the kernel: it deals them out by a hash of their addresses
//!  blocks: see `coroutine`, which is what each worker runs
//! ```
//!
//! Nothing is shared by two workers, so nothing is locked, and what one suffers costs the connections of that one. What is not shared cannot be
//! balanced either: a connection stays where the hash has put it, however busy its worker is and however idle another; and each worker has its
//! part of the limit of connections.
//!
//! The parent forks before there is any runtime: it has one thread (see `fork`), and each child starts a runtime of its own. The listeners are the
//! parent's as well, so that who waits in a dead worker's queue is served by its successor. How many connections a worker has accepted is known when
//! it stops; of one that is killed it is not.

use super::coroutine::{self, Settings};
use super::door;
use super::scoreboard::Scoreboard;
use super::supervisor::{Crew, Told, supervise};
use super::{Accept, Options, Started, Summary};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::Duration;

/// The names of drivers by what a worker notes of itself when it is ready, from 1.
const DRIVERS: &[&str] = &["epoll", "uring"];

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve). Without a number of workers there are as many as there are cores for us.
///
/// # Errors
/// When the address cannot be listened on, this process has several threads, or the workers cannot be started.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    let workers = match options.workers {
        Some(workers) => workers,
        None => thread::available_parallelism().map_or(1, usize::from),
    };
    let listeners = door::listen(options.address, Accept::Reuseport, workers)?;
    let address = listeners[0].local_addr()?;
    let mut crew = Workers { options, listeners };
    supervise(options, workers, &mut crew, |row| {
        let driver = DRIVERS.get(row.ready as usize - 1).copied().unwrap_or("unknown");
        started(&Started { address, driver, workers });
    })
}

struct Workers<'a> {
    options: &'a Options,
    /// One for each; none any more once the server stops.
    listeners: Vec<Arc<TcpListener>>,
}

impl Crew for Workers<'_> {
    const TOLD: Told = Told::Once { grace: Duration::from_secs(1) };

    fn work(&mut self, number: usize, board: &Scoreboard, rope: &Waker) -> i32 {
        let workers = self.listeners.len();
        // The others' are theirs alone.
        let listener = std::mem::take(&mut self.listeners).swap_remove(number);
        let settings = Settings {
            driver: None,
            listener: Arc::into_inner(listener),
            connections: self.options.service.limits().connections.div_ceil(workers),
        };
        let options = Options { workers: Some(1), ..self.options.clone() };
        let mut row = board.read(number);
        let ended = coroutine::serve_with(&options, settings, |started| {
            row.ready = DRIVERS.iter().position(|driver| *driver == started.driver).unwrap_or(DRIVERS.len())
                as u64
                + 1;
            board.write(number, row);
            rope.wake_by_ref();
        });
        match ended {
            Ok(summary) => {
                row.accepted += summary.accepted;
                row.open = summary.cut_off as u64;
                board.write(number, row);
                0
            }
            Err(error) => {
                tracing::error!(%error, "a worker cannot serve, and ends");
                1
            }
        }
    }

    fn close(&mut self) {
        self.listeners.clear();
    }
}
