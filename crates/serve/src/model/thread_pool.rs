//! `thread-pool`: a fixed number of threads, each for one connection after another.
//!
//! ```text
//!                              ┌─▶ thread 1: recv ▶ answer ▶ send ▶ recv … the end ─┐
//!   main: poll, accept ──queue─┼─▶ thread 2                                        ─┼─▶ the next of the queue
//!     ▲                        └─▶ thread N                                        ─┘
//!     └── all N are busy: nobody is accepted. Who comes waits in the listener's backlog, which the kernel keeps, and bounds
//!
//!  state:  the thread's stack, as long as the connection lasts
//!  wakes:  the kernel: the thread whose socket is ready; or the queue, one thread for one connection
//!  blocks: in recv and send, up to the socket's timeouts; in the queue; and in the filesystem, where it holds up nobody else
//! ```
//!
//! Compared with [`thread`](super::thread) no thread is made for a connection, and a flood of clients costs no more memory than N. What is bought
//! with it is *head-of-line blocking*: N clients who say nothing keep everybody else out until their time limits have passed. A pool suits short
//! connections, or as many threads as there are clients.
//!
//! The queue never holds more than the N who have been given a place, so nothing that has been accepted waits for a thread that does not come.

use super::admission::{Admission, Place};
use super::conversation::Desk;
use super::guest::READ;
use super::reception::{Declined, Front, Staff, receive};
use super::roster::Roster;
use super::stopping::Bell;
use super::thread::STACK;
use super::{Options, Started, Summary};
use std::io;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// How many threads there are when none is said.
pub const WORKERS: usize = 64;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or the threads cannot be started.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    let workers = options.workers.unwrap_or(WORKERS);
    let admission = Admission::new(workers.min(options.service.limits().connections));
    let front = Front::new(options, &admission, Bell::new()?)?;
    let mut pool = Pool::start(options, workers)?;
    receive(options, front, admission, workers, started, &mut pool)
}

struct Pool {
    roster: Arc<Roster>,
    /// Keys of connections in the roster.
    queue: SyncSender<usize>,
}

impl Pool {
    fn start(options: &Options, workers: usize) -> io::Result<Pool> {
        let (queue, waiting) = sync_channel(workers);
        let (roster, waiting) = (Roster::new()?, Arc::new(Mutex::new(waiting)));
        for number in 1..=workers {
            let mut desk = Desk::new(options.protocol, Arc::clone(&options.service));
            let (roster, waiting) = (Arc::clone(&roster), Arc::clone(&waiting));
            let work = move || {
                let mut input = vec![0; READ];
                while let Some(key) = next(&waiting) {
                    roster.serve(key, &mut desk, &mut input);
                }
            };
            thread::Builder::new().name(format!("pool-{number}")).stack_size(STACK).spawn(work).map_err(
                |error| {
                    let text = format!("cannot start {workers} threads, only {}: {error}", number - 1);
                    io::Error::new(error.kind(), text)
                },
            )?;
        }
        Ok(Pool { roster, queue })
    }
}

/// The next connection. One of those who are idle waits for it, the others for their turn to wait. None when the pool is closed.
fn next(waiting: &Mutex<Receiver<usize>>) -> Option<usize> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Staff for Pool {
    fn take_on(&mut self, socket: TcpStream, place: Place, _front: &mut Front) -> Result<(), Declined> {
        let key = self.roster.enter(socket, place);
        self.queue.send(key).expect("the threads live as long as the queue");
        Ok(())
    }

    fn interrupt(&mut self) {
        self.roster.interrupt();
    }

    fn cut_off(&mut self) {
        self.roster.cut_off();
    }
}
