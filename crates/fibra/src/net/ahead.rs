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

use super::TcpStream;
use super::operation;
use super::tcp::TcpListener;
use crate::scheduler::worker::Worker;
use fibra_driver::AcceptAhead;
use std::io;
use std::marker::PhantomData;

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
}

/// Errors are those of [`TcpListener::accept`], and the next call tries again.
impl Iterator for IncomingAhead<'_> {
    type Item = io::Result<TcpStream>;

    fn next(&mut self) -> Option<io::Result<TcpStream>> {
        let handle = self.listener.handle();
        let next = operation::accept_ahead(&handle.source, handle.fd(), &self.ahead, self.is_ending)?;
        Some(next.map(TcpStream::accepted))
    }
}

impl Drop for IncomingAhead<'_> {
    fn drop(&mut self) {
        operation::end_ahead(&self.ahead);
    }
}
