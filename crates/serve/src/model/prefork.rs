//! `prefork`: processes that were forked before anybody came, each for one connection after another.
//!
//! ```text
//!                       ┌─▶ worker 1: accept ▶ recv ▶ answer ▶ send ▶ recv … the end ─┐
//!   parent ──fork, once─┼─▶ worker 2        └ blocks in each of these ┘              ─┼─▶ accept …
//!     │ serves nobody   └─▶ worker N                                                 ─┘
//!     └ SIGCHLD: one has died ──▶ fork another
//!
//!  state:  a process, as long as the connection lasts
//!  wakes:  the kernel: the process whose socket is ready; and for a connection that comes, one of those that wait in accept
//!  blocks: in accept, recv and send; and in the filesystem, where it holds up nobody else
//! ```
//!
//! As isolated as [`process`](super::process), and no fork for each connection. The price is the pool's (see [`thread_pool`](super::thread_pool)): at
//! most N are served at once, and the others wait in the listener's backlog.
//!
//! All workers block in `accept` on the listener they have inherited. That does not wake a *thundering herd*: the kernel puts who waits in `accept`
//! in a line, and wakes the first. (Waiting with `poll` and accepting then would wake all.)
//!
//! A worker may be told to end after a number of connections, against what leaks: another takes its place. In the end the parent makes the listener
//! non-blocking, which it is for all that share it, and signals the workers. Each finishes what it has begun, takes who is left in the queue, and
//! ends when there is nobody.

use super::conversation::Desk;
use super::door::{self, QUEUED};
use super::guest::READ;
use super::rarely::Rarely;
use super::scoreboard::Scoreboard;
use super::shortage::Shortage;
use super::stopping::Resignation;
use super::supervisor::{Crew, Told, supervise};
use super::{Options, Started, Summary, blocking};
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::net::SocketFlags;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use std::thread;

/// How many workers there are when none is said.
pub const WORKERS: usize = 8;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, this process has several threads, or the workers cannot be started.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    // More workers than connections are allowed would accept more.
    let workers = options.workers.unwrap_or(WORKERS).min(options.service.limits().connections);
    let listener = door::listen(options.address, options.accept, 1)?.remove(0);
    listener.set_nonblocking(false)?;
    let address = listener.local_addr()?;
    let mut crew = Workers { options, listener: Some(listener) };
    supervise(options, workers, &mut crew, |_| started(&Started { address, driver: "blocking", workers }))
}

struct Workers<'a> {
    options: &'a Options,
    /// None once the server stops.
    listener: Option<Arc<TcpListener>>,
}

impl Crew for Workers<'_> {
    const TOLD: Told = Told::Insistently;

    fn work(&mut self, number: usize, board: &Scoreboard, rope: &Waker) -> i32 {
        let Some(listener) = self.listener.take() else { return 0 };
        match work(self.options, &listener, number, board, rope) {
            Ok(()) => 0,
            Err(error) => {
                tracing::error!(%error, "a worker cannot hear of the end, and ends");
                1
            }
        }
    }

    fn close(&mut self) {
        if let Some(listener) = self.listener.take() {
            // On a socket that is open this cannot fail.
            let _ = listener.set_nonblocking(true);
        }
    }
}

fn work(
    options: &Options,
    listener: &TcpListener,
    number: usize,
    board: &Scoreboard,
    rope: &Waker,
) -> io::Result<()> {
    let resignation = Resignation::new()?;
    let asked = || resignation.asked().load(Ordering::SeqCst);
    let mut desk = Desk::new(options.protocol, Arc::clone(&options.service));
    let (mut input, mut shortage) = (vec![0; READ], Shortage::default());
    let mut rung = Rarely::default();
    let mut row = board.read(number);
    (row.ready, row.open) = (1, 0);
    board.write(number, row);
    rope.wake_by_ref();
    let (mut served, mut last) = (0, 0);
    // Once the server stops, no more are taken than were in the queue then: those who still come do not keep it.
    while last < QUEUED && (options.connections_per_child == 0 || served < options.connections_per_child) {
        match door::accept(listener, SocketFlags::CLOEXEC) {
            Ok(Some(socket)) => {
                shortage.is_over();
                row.accepted += 1;
                row.open = 1;
                board.write(number, row);
                if board.is_full() && rung.now() {
                    // The parent says so, once for all.
                    rope.wake_by_ref();
                }
                blocking::converse(&socket, &mut desk, &mut input, resignation.asked());
                drop(socket);
                row.open = 0;
                board.write(number, row);
                served += 1;
            }
            // It does not block any more: the server stops, and nobody is left.
            Ok(None) => break,
            Err(error) => thread::sleep(shortage.pause(&error)),
        }
        if asked() {
            last += 1;
            if !fcntl_getfl(listener)?.contains(OFlags::NONBLOCK) {
                // Somebody has sent the signal to this worker alone.
                break;
            }
        }
    }
    Ok(())
}
