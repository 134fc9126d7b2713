//! Accepting ahead: the requests that answer many times, and whose they are.
//!
//! Their `user_data` is the place in a table and not an address, and marked by [`MARK`], which no flight's address has: so an answer finds whose it is without trust in
//! anybody to have stayed. A place is free again when its last answer has been taken. A cancellation that comes late may so end another request than was meant; whoever
//! asks next then begins it anew.

use super::{Ring, done};
use crate::flight::Answer;
use crate::op::{AcceptAhead, closed_error};
use crate::{Completion, Source, Start, Token};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// In the low bits of the `user_data` of these requests: flights stand at multiples of 16, [`super::NOTIFIER`] is 1, and [`super::CANCELS`] another bit.
const MARK: u64 = 2;

/// How long an ending ring waits for a last answer, which comes at once, before it gives up.
const PATIENCE: Duration = Duration::from_secs(1);

/// One request in the ring.
#[derive(Debug)]
struct Request {
    ahead: AcceptAhead,
    /// Held open until the last answer: the entry names it by its number, and may not have been read by the kernel yet.
    _listener: OwnedFd,
    /// It was asked to end.
    ending: bool,
}

/// The requests of a ring, each in its place.
#[derive(Debug, Default)]
pub(super) struct Requests(Vec<Option<Request>>);

/// Whether a completion is for a request of this kind.
#[inline]
pub(super) fn is_ours(user_data: u64) -> bool {
    user_data & 15 == MARK
}

fn user_data(place: usize) -> u64 {
    (place as u64) << 4 | MARK
}

impl Requests {
    fn free_place(&mut self) -> usize {
        self.0.iter().position(Option::is_none).unwrap_or_else(|| {
            self.0.push(None);
            self.0.len() - 1
        })
    }

    fn place_of(&self, ahead: &AcceptAhead) -> Option<usize> {
        self.0.iter().position(|request| request.as_ref().is_some_and(|request| request.ahead.is(ahead)))
    }

    fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Has a request cancelled, once.
    fn end(&mut self, place: usize, cancels: &mut Vec<u64>) {
        if let Some(request) = &mut self.0[place]
            && !std::mem::replace(&mut request.ending, true)
        {
            cancels.push(user_data(place));
        }
    }

    /// Whether a request is still there that was asked to end.
    pub(super) fn is_ending(&self, user_data: u64) -> bool {
        is_ours(user_data)
            && matches!(self.0.get((user_data >> 4) as usize), Some(Some(Request { ending: true, .. })))
    }

    /// Takes one answer; true when it was the last of its request.
    pub(super) fn land(
        &mut self,
        user_data: u64,
        answer: Answer,
        cancels: &mut Vec<u64>,
        out: &mut Vec<Completion>,
    ) -> bool {
        let place = (user_data >> 4) as usize;
        let request = self.0[place].as_ref().expect("a request keeps its place until its last answer");
        let landed = request.ahead.land(answer);
        out.extend(landed.token.map(|token| Completion { token }));
        if landed.last {
            self.0[place] = None;
        } else if landed.enough {
            self.end(place, cancels);
        }
        landed.last
    }
}

impl Ring {
    /// Takes a connection that has been accepted ahead, or sees to it that some are, and leaves the token. `None` when the kernel cannot: then each has to be accepted
    /// by itself.
    pub(crate) fn accept_ahead(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        ahead: &AcceptAhead,
        token: Token,
    ) -> Option<Start<OwnedFd>> {
        if source.is_closed() {
            return Some(done(Err(closed_error())));
        }
        if let Some(result) = ahead.take() {
            return Some(done(result));
        }
        if !ahead.is_armed() {
            if !self.features.multishot || ahead.is_refused() {
                return None;
            }
            if let Err(error) = self.request(fd, ahead) {
                return Some(done(Err(error)));
            }
        }
        match ahead.enlist(token) {
            true => Some(Start::Pending),
            // Something came while room was made for the entry.
            false => ahead.take().map(done),
        }
    }

    fn request(&mut self, fd: BorrowedFd<'_>, ahead: &AcceptAhead) -> io::Result<()> {
        let listener = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
        let place = self.requests.free_place();
        let entry = AcceptAhead::entry(listener.as_fd()).user_data(user_data(place));
        // SAFETY: the entry points to nothing, and the descriptor that it names stays open until its last completion.
        unsafe { self.push(&entry) }?;
        self.in_flight += 1;
        ahead.set_armed(true);
        self.requests.0[place] = Some(Request { ahead: ahead.clone(), _listener: listener, ending: false });
        Ok(())
    }

    /// Asks the kernel to accept no more of these. False when this ring has no request for them: then nothing more will come.
    pub(crate) fn end_ahead(&mut self, ahead: &AcceptAhead) -> bool {
        let place = self.requests.place_of(ahead);
        if let Some(place) = place {
            self.requests.end(place, &mut self.cancels);
        }
        place.is_some()
    }

    /// Ends all these requests and takes their last answers, so that no descriptor is left in the completion queue.
    pub(crate) fn close(&mut self, out: &mut Vec<Completion>) {
        for place in 0..self.requests.0.len() {
            self.requests.end(place, &mut self.cancels);
        }
        let give_up = Instant::now() + PATIENCE;
        while !self.requests.is_empty() && Instant::now() < give_up {
            self.push_cancels();
            if self.enter(1, Some(PATIENCE)).is_err() {
                break;
            }
            self.reap(out);
        }
        out.append(&mut self.early);
        // If the ring is broken: nobody shall wait for it.
        for Request { ahead, .. } in self.requests.0.drain(..).flatten() {
            ahead.set_armed(false);
        }
    }
}
