//! `thread`: a thread for each connection, and calls that block.
//!
//! ```text
//!   main: poll, accept ──▶ spawn ──▶ thread: recv ──▶ answer ──▶ send ──▶ recv … ──▶ the end of the connection, and of the thread
//!                                             └ blocks here, and there ┘
//!
//!  state:  the thread's stack, and a conversation on it
//!  wakes:  the kernel: the thread whose socket is ready
//!  blocks: in recv and send, up to the socket's timeouts; and in the filesystem, where it holds up nobody else
//! ```
//!
//! The code is the plainest there is: what happens next stands in the next line. What it costs is the kernel's: a stack of its own for each
//! connection, a thread to be made and ended, and a switch between threads for nearly every read.
//!
//! When threads are out (EAGAIN) the connection waits, and so does accepting. A handler that panics ends its conversation, and no other; but one
//! that overflows its stack or frees twice takes all down with it, which [`process`](super::process) survives.

use super::admission::{Admission, Place};
use super::conversation::Desk;
use super::guest::READ;
use super::reception::{Declined, Front, Staff, receive};
use super::roster::Roster;
use super::stopping::Bell;
use super::{Options, Started, Summary, has_no_workers};
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;

/// What a conversation needs is small; what is reserved and not touched costs addresses only.
pub(super) const STACK: usize = 256 << 10;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, or workers are asked for.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    has_no_workers(options)?;
    let admission = Admission::new(options.service.limits().connections);
    let front = Front::new(options, &admission, Bell::new()?)?;
    let mut threads = Threads { options, roster: Roster::new()? };
    receive(options, front, admission, 1, started, &mut threads)
}

struct Threads<'a> {
    options: &'a Options,
    roster: Arc<Roster>,
}

impl Staff for Threads<'_> {
    fn take_on(&mut self, socket: TcpStream, place: Place, _front: &mut Front) -> Result<(), Declined> {
        let key = self.roster.enter(socket, place);
        let (protocol, service) = (self.options.protocol, Arc::clone(&self.options.service));
        let roster = Arc::clone(&self.roster);
        let serve = move || {
            let (mut desk, mut input) = (Desk::new(protocol, service), vec![0; READ]);
            roster.serve(key, &mut desk, &mut input);
        };
        match thread::Builder::new().name("connection".into()).stack_size(STACK).spawn(serve) {
            Ok(_) => Ok(()),
            Err(error) => {
                let (socket, place) = self.roster.withdraw(key);
                Err(Declined { error, socket, place })
            }
        }
    }

    fn interrupt(&mut self) {
        self.roster.interrupt();
    }

    fn cut_off(&mut self) {
        self.roster.cut_off();
    }
}
