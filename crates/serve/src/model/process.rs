//! `process`: a process for each connection, forked when it comes.
//!
//! ```text
//!   parent: poll, accept ──▶ fork ──▶ child: recv ▶ answer ▶ send ▶ recv … ──▶ exit
//!     ▲  closes its copy of the socket       └ blocks here, and there ┘         │
//!     └──────────────────────── SIGCHLD: reaped, its place given back ◀─────────┘
//!
//!  state:  a process: its memory is a copy of the parent's, of which what is written to is really copied
//!  wakes:  the kernel: the process whose socket is ready
//!  blocks: in recv and send, up to the socket's timeouts; and in the filesystem, where it holds up nobody else
//! ```
//!
//! Nothing is shared, so nothing that happens to a child reaches another: not a panic, not an abort, not a write to address 0. That is what is
//! paid for, with a fork and an exit for each connection, and a few pages for each child.
//!
//! The parent must have one thread (see `fork`), and says so at once if it has more. It hears of children's ends by SIGCHLD, which rings the bell
//! as other signals do; since several ends may be told by one signal, it reaps until there is nobody to be reaped. Only its own children: others that
//! the process may have are their owner's. If the system has no room for
//! another process (EAGAIN), the connection waits, and so does accepting.

use super::admission::{Admission, Place};
use super::blocking;
use super::conversation::Desk;
use super::fork;
use super::guest::READ;
use super::reception::{Declined, Front, Staff, receive};
use super::stopping::{Bell, Resignation};
use super::{Options, Started, Summary, has_no_workers};
use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

/// Serves until SIGINT or SIGTERM: see [`serve`](super::serve).
///
/// # Errors
/// When the address cannot be listened on, workers are asked for, or this process has several threads.
pub fn serve(options: &Options, started: impl FnOnce(&Started)) -> io::Result<Summary> {
    has_no_workers(options)?;
    fork::is_possible()?;
    let admission = Admission::new(options.service.limits().connections);
    let front = Front::new(options, &admission, Bell::of_a_parent()?)?;
    let desk = Desk::new(options.protocol, Arc::clone(&options.service));
    let mut children = Children { desk, places: HashMap::new() };
    let result = receive(options, front, admission, 1, started, &mut children);
    // After an error, too, nobody is left behind.
    children.cut_off();
    result
}

struct Children {
    /// The copy of it is the child's.
    desk: Desk,
    places: HashMap<Pid, Place>,
}

impl Staff for Children {
    fn take_on(&mut self, socket: TcpStream, place: Place, front: &mut Front) -> Result<(), Declined> {
        let desk = &mut self.desk;
        let live = || {
            front.leave();
            match Resignation::new() {
                Ok(resignation) => {
                    blocking::converse(&socket, desk, &mut vec![0; READ], resignation.asked());
                    0
                }
                Err(error) => {
                    tracing::error!(%error, "a child process cannot hear of the end, and ends");
                    1
                }
            }
        };
        match fork::child(live) {
            Ok(pid) => {
                // The parent's copy of the socket is closed: the connection ends when the child's is.
                self.places.insert(pid, place);
                Ok(())
            }
            Err(error) => Err(Declined { error, socket, place }),
        }
    }

    fn look_round(&mut self) {
        for (pid, status) in fork::reap(|pid| self.places.contains_key(&pid), || self.places.keys().copied())
        {
            self.places.remove(&pid);
            tell_death(pid, status);
        }
    }

    fn interrupt(&mut self) {
        self.signal_all(Signal::TERM);
    }

    fn cut_off(&mut self) {
        self.signal_all(Signal::KILL);
        self.places.keys().copied().for_each(fork::wait_for_end);
        self.places.clear();
    }
}

impl Children {
    fn signal_all(&self, signal: Signal) {
        for pid in self.places.keys() {
            // It has not been reaped, so the number is still its own; that it has ended does no harm.
            let _ = kill_process(*pid, signal);
        }
    }
}

/// Says that a child did not end as it should have.
pub(super) fn tell_death(pid: Pid, status: WaitStatus) {
    let pid = pid.as_raw_nonzero();
    if let Some(signal) = status.terminating_signal() {
        tracing::warn!(pid, signal, "a child was killed; what it served is lost, the others go on");
    } else if let Some(code @ 1..) = status.exit_status() {
        tracing::warn!(pid, code, "a child failed; what it served is lost, the others go on");
    }
}
