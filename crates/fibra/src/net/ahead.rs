//! Accepting ahead of who asks: [`IncomingAhead`].
//!
//! One request to the kernel is answered with one connection after another ([`AcceptAhead`] draws how). It outlives the waits for it, so what is accepted while nobody
//! waits needs an owner: that is the queue of this value. Each connection goes one of three ways:
//!
//! ```text
//!   accepted ─▶ queue ──next────────────────▶ its TcpStream
//!                 │  ╲──next, after finish──▶ its TcpStream, until the kernel's last answer; then None
//!                 ╰─────drop────────────────▶ closed
//! ```
//!
//! Dropping waits for the kernel's last answer, so that afterwards the listener has no other users and its port is free as soon as it is dropped as well.

use super::operation::{bounded, run, timed_out};
use super::tcp::{TcpListener, TcpStream};
use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::{Worker, or_abort};
use fibra_driver::{AcceptAhead, Cancel, Direction, Start, Token, op};
use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// The connections of a listener, accepted ahead: see [`TcpListener::incoming_ahead`].
///
/// It stays on its thread, whose ring the kernel answers to. When it is dropped, connections that were accepted and not taken are closed; [`finish`](Self::finish) first to
/// serve them.
#[derive(Debug)]
pub struct IncomingAhead<'a> {
    listener: &'a TcpListener,
    ahead: AcceptAhead,
    is_ending: bool,
    /// Not `Send`.
    _here: PhantomData<*const ()>,
}

impl<'a> IncomingAhead<'a> {
    pub(super) fn new(listener: &'a TcpListener) -> IncomingAhead<'a> {
        IncomingAhead { listener, ahead: AcceptAhead::new(), is_ending: false, _here: PhantomData }
    }

    /// Accepts no more ahead. [`next`](Iterator::next) then returns those that have been accepted, and after them `None`; whoever comes later stays in the listener's
    /// queue, for [`TcpListener::accept`].
    pub fn finish(&mut self) {
        self.is_ending = true;
        if let Some(worker) = Worker::here() {
            worker.with_driver(|driver| driver.end_ahead(&self.ahead));
        }
    }

    /// The next one's descriptor. Who leaves the wait takes nothing along: the kernel has nothing of the caller's, and what it accepts is the queue's.
    fn accept(&self) -> Option<io::Result<OwnedFd>> {
        let handle = self.listener.handle();
        // After `finish` the kernel's last answer comes at once.
        let waits = self.is_ending || !handle.source.is_nonblocking();
        if waits
            && let Some(worker) = Worker::here()
            && let Some(token) = worker.token()
            && let Some(result) = self.accept_here(worker, token)
        {
            worker.spend();
            return Some(result);
        }
        match self.ahead.take() {
            None if self.is_ending => None,
            // Not here, or not by this driver.
            None => Some(run(&handle.source, handle.fd(), &mut op::Accept::new()).map(|(fd, _)| fd)),
            accepted => accepted,
        }
    }

    /// The same by this worker's driver. `None` when that accepts nobody ahead, or no more.
    fn accept_here(&self, worker: &Worker, token: Token) -> Option<io::Result<OwnedFd>> {
        let handle = self.listener.handle();
        let mut deadline = None;
        loop {
            if let Start::Done { result, .. } = self.start(worker, token)? {
                return Some(result);
            }
            // The token stays in the queue until the wait is over, whatever the clock does, which may be the user's.
            let reason = or_abort(|| {
                park::waits_for(WaitsFor::Receive, handle.fd().as_raw_fd() as usize);
                if deadline.is_none() {
                    deadline = self.deadline(worker);
                }
                let reason = park::park(deadline);
                if reason != Reason::Woken && self.ahead.retract() == Cancel::InFlight {
                    park::park_until_woken();
                }
                reason
            });
            if reason == Reason::Woken {
                continue;
            }
            // What has come is returned, not lost.
            return match self.ahead.take() {
                None if reason == Reason::Cancelled => cancel::unwind(),
                None => Some(Err(timed_out())),
                accepted => accepted,
            };
        }
    }

    /// Takes one that has come, or leaves the token.
    fn start(&self, worker: &Worker, token: Token) -> Option<Start<OwnedFd>> {
        let handle = self.listener.handle();
        if !self.is_ending {
            return worker
                .with_driver(|driver| driver.accept_ahead(&handle.source, handle.fd(), &self.ahead, token));
        }
        match self.ahead.enlist(token) {
            true => Some(Start::Pending),
            false => self.ahead.take().map(|result| Start::Done { result, pass: None }),
        }
    }

    fn deadline(&self, worker: &Worker) -> Option<Instant> {
        let timeout = bounded(self.listener.handle().source.timeout(Direction::Read))?;
        worker.core.now().checked_add(timeout)
    }
}

/// Errors are those of [`TcpListener::accept`], and the next call tries again.
impl Iterator for IncomingAhead<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        let next = self.accept()?;
        let is_closed = self.listener.handle().source.is_closed();
        Some(if is_closed { Err(op::closed_error()) } else { next.map(TcpStream::accepted) })
    }
}

impl Drop for IncomingAhead<'_> {
    fn drop(&mut self) {
        self.ahead.abandon();
        let Some(worker) = Worker::here() else { return };
        let is_under_way = worker.with_driver(|driver| driver.end_ahead(&self.ahead));
        if let Some(token) = worker.token() {
            while is_under_way && self.ahead.enlist(token) {
                park::park_until_woken();
            }
        }
    }
}
