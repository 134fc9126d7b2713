//! One thread accepts, and hands each connection to somebody who blocks for it: a thread or a process.
//!
//! ```text
//!  poll: bell, door ──▶ accept ──▶ Staff::take_on(connection) ──▶ a thread, a process …
//!     ▲      blocks until somebody comes, a signal, or a place that was missing
//!     └── nobody to be had (EAGAIN)? The connection is kept, and tried again after a pause, as is accepting itself
//!
//!  a signal: no new connections; Staff::interrupt, again and again, until all have left, or the deadline: Staff::cut_off
//! ```
//!
//! Waiting and accepting are two steps here, so that a signal is never lost between two looks at it: it rings the bell, and that is waited for
//! together with the door.

use super::admission::{Admission, Place};
use super::blocking::Insistence;
use super::door::{Door, Visitor};
use super::shortage::Shortage;
use super::stopping::{Bell, Ending, tell, tell_cut_off};
use super::{Options, Started, Summary, door};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many connections are accepted before the bell is listened for again.
const AT_ONCE: usize = 64;

/// Those who serve.
pub(super) trait Staff {
    /// Has a connection served by somebody, and does not wait for that. The place is to be given back when the connection has ended.
    ///
    /// # Errors
    /// When nobody is to be had for now: with the connection.
    fn take_on(&mut self, socket: TcpStream, place: Place, front: &mut Front) -> Result<(), Declined>;

    /// The bell has rung: somebody may have left.
    fn look_round(&mut self) {}

    /// Tells all that the server stops. Called again until all have left, since who is told in the wrong moment may not hear it.
    fn interrupt(&mut self);

    /// Sends away those who are left.
    fn cut_off(&mut self);
}

/// A connection for which nobody is to be had.
#[derive(Debug)]
pub(super) struct Declined {
    pub(super) error: io::Error,
    pub(super) socket: TcpStream,
    pub(super) place: Place,
}

/// What the one who accepts waits for.
#[derive(Debug)]
pub(super) struct Front {
    /// None once the server stops.
    door: Option<Door>,
    bell: Bell,
}

impl Front {
    /// # Errors
    /// When the address cannot be listened on, or descriptors are out.
    pub(super) fn new(options: &Options, admission: &Arc<Admission>, bell: Bell) -> io::Result<Front> {
        let listener = door::listen(options.address, options.accept, 1)?.remove(0);
        let door = Door::new(listener, Arc::clone(admission), bell.waker()).with_blocking_connections();
        Ok(Front { door: Some(door), bell })
    }

    /// In a forked child, who has its own work: it neither listens nor hears what the parent hears.
    pub(super) fn leave(&mut self) {
        self.door = None;
        self.bell.deafen();
    }

    /// Waits for the bell, for the door if `accepting`, or until then; says which of them it was.
    fn wait(&mut self, accepting: bool, until: Option<Instant>) -> io::Result<(bool, bool)> {
        let now = Instant::now();
        let timeout = until.map(|until| {
            // Longer than the kernel's clock can hold is as good as a day.
            let left = until.saturating_duration_since(now).min(Duration::from_secs(86_400));
            Timespec::try_from(left).expect("a day fits into a Timespec")
        });
        let open = self.door.as_mut().is_some_and(|door| accepting && door.is_open(now));
        let mut fds = vec![PollFd::new(&self.bell, PollFlags::IN)];
        if let Some(door) = self.door.as_ref().filter(|_| open) {
            fds.push(PollFd::new(door, PollFlags::IN));
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        Ok((ready(&fds[0]), fds.get(1).is_some_and(ready)))
    }
}

/// Who receives connections until the server is asked to stop.
struct Reception<'a, S> {
    options: &'a Options,
    front: Front,
    admission: Arc<Admission>,
    staff: &'a mut S,
    /// A connection that has not been taken on yet, and when to try again.
    kept: Option<(TcpStream, Place, Instant)>,
    shortage: Shortage,
    ending: Ending,
    insistence: Insistence,
    accepted: u64,
}

/// Receives until SIGINT or SIGTERM, then waits for the end of what runs, and returns.
///
/// # Errors
/// When waiting fails.
pub(super) fn receive(
    options: &Options,
    front: Front,
    admission: Arc<Admission>,
    workers: usize,
    started: impl FnOnce(&Started),
    staff: &mut impl Staff,
) -> io::Result<Summary> {
    let address = match &front.door {
        Some(door) => door.address()?,
        None => options.address,
    };
    started(&Started { address, driver: "blocking", workers });
    Reception {
        options,
        front,
        admission,
        staff,
        kept: None,
        shortage: Shortage::default(),
        ending: Ending::No,
        insistence: Insistence::default(),
        accepted: 0,
    }
    .run()
}

impl<S: Staff> Reception<'_, S> {
    fn run(mut self) -> io::Result<Summary> {
        loop {
            let mut until = [self.ending.deadline(), None, None];
            if self.ending == Ending::No {
                until[1] = match &self.kept {
                    Some((.., again)) => Some(*again),
                    None => self.front.door.as_ref().and_then(Door::opens_at),
                };
            } else {
                let now = Instant::now();
                if self.ending.is_over(now) || self.admission.open_or_wake(&self.front.bell.waker()) == 0 {
                    break;
                }
                if self.insistence.is_due(now) {
                    self.staff.interrupt();
                }
                until[2] = self.insistence.next();
            }
            let until = until.into_iter().flatten().min();
            let (bell, door) = self.front.wait(self.kept.is_none(), until)?;
            if bell {
                self.hear();
            }
            self.try_again();
            if door {
                self.accept();
            }
        }
        let cut_off = self.admission.open();
        tell_cut_off(cut_off);
        self.staff.cut_off();
        Ok(Summary { accepted: self.accepted, cut_off, ..Summary::default() })
    }

    fn accept(&mut self) {
        for _ in 0..AT_ONCE {
            let Some(door) = self.front.door.as_mut().filter(|_| self.kept.is_none()) else { break };
            let Visitor::One(socket, place) = door.accept(Instant::now()) else { break };
            self.accepted += 1;
            self.hand_over(socket, place);
        }
    }

    fn hand_over(&mut self, socket: TcpStream, place: Place) {
        match self.staff.take_on(socket, place, &mut self.front) {
            Ok(()) => self.shortage.is_over(),
            Err(Declined { error, socket, place }) => {
                let again = Instant::now() + self.shortage.pause(&error);
                self.kept = Some((socket, place, again));
            }
        }
    }

    fn try_again(&mut self) {
        if let Some((socket, place, _)) = self.kept.take_if(|(.., again)| *again <= Instant::now()) {
            self.hand_over(socket, place);
        }
    }

    fn hear(&mut self) {
        self.front.bell.silence();
        self.staff.look_round();
        if let Some(door) = &mut self.front.door {
            door.woken();
        }
        while let Some(signal) = self.front.bell.signal() {
            let first = self.ending.asked(self.options.service.limits().stop_deadline);
            if first {
                self.stop();
            }
            tell(signal, first);
        }
    }

    /// Takes those who have come already, and closes the door.
    fn stop(&mut self) {
        while self.kept.is_none()
            && let Some((socket, place)) = self.front.door.as_mut().and_then(Door::accept_last)
        {
            self.accepted += 1;
            self.hand_over(socket, place);
        }
        self.front.door = None;
    }
}
