//! What a driver knows of one open file: an event count and a wait queue for each direction.
//!
//! The protocol, for one direction of one descriptor:
//!
//! ```text
//!  waiter                                          driver's owner
//!  1  t = edges                                    a  kernel reports an edge
//!  2  unless drained == t: attempt the call        b  lock; edges += 1; pop one waiter; unlock
//!       success, all taken: drained = t            c  hand the popped token back
//!       would block:        drained = t
//!  3  lock; edges != t? unlock, go to 1
//!     push my token; unlock; park
//!  4  woken: go to 1
//! ```
//!
//! `drained == edges` means: since the last edge somebody has seen the kernel's buffer empty (or full, when writing), so that
//! an attempt now would be a wasted system call. It is only a hint to skip the call and go straight to the wait queue.
//!
//! **No wake-up is lost.** epoll is edge-triggered: data that arrives after the attempt of step 2 raises a new edge. Either
//! that edge is processed before step 3 takes the lock, and step 3 sees that `edges` moved; or after, and step b finds the
//! token. The same holds across threads, because b and 3 are under one lock. `drained` is stored with the *count from
//! before the attempt*, so a slow writer of the hint cannot hide an edge that came meanwhile: it stores an old count,
//! which differs from `edges`, and the next operation attempts its call.
//!
//! **One edge wakes one waiter, and is not wasted.** The popped waiter holds the baton: it attempts the call (an edge may stand
//! for several connections or datagrams). If the call succeeds without draining and others wait, a `poll(2)` with no
//! timeout tells whether something is left, and if so the next one is woken ([`Start::Done::pass`](crate::Start)). A waiter that was popped but
//! does not want the baton any more passes it on with [`Source::pass_on`].
//!
//! **End of stream.** A hang-up is an edge that is not followed by another, and it may be merged with the edge of the last data;
//! so once the kernel has reported one the hint is not used any more (`hung_up`). Nor is it after urgent data: `recv(2)` stops before
//! such a byte, however much there is behind it.

use crate::epoll::Registration;
use crate::op::{Attempt, Operation, closed_error};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering};
use crate::{Direction, Token};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::collections::VecDeque;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// A descriptor's state, shared by all handles to one open file (clones share it).
#[derive(Debug)]
pub struct Source(pub(crate) Arc<State>);

/// How leaving a wait queue ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Cancel {
    /// The token was still queued, and is not any more: no completion will come.
    Removed,
    /// The token was taken out before: its completion is on its way, and has to be waited for.
    InFlight,
}

/// The answer of [`Source::enlist`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Enlist {
    /// The token is in the queue.
    Queued,
    /// An edge came since the count was read: attempt again.
    Stale,
    /// The source was closed.
    Closed,
}

/// The fields in use for every operation stand together: two cache lines hold them, and with many connections each is a miss.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct State {
    /// How many [`Source`]s there are. The driver's table keeps the state alive too, so the `Arc`'s own count does not tell.
    handles: AtomicU32,
    closed: AtomicBool,
    /// A living driver counts the edges: only then does an unchanged count mean that nothing has come.
    watched: AtomicBool,
    nonblocking: AtomicBool,
    read: Side,
    waiters: Mutex<Waiters>,
    write: Side,
    timeouts: Timeouts,
}

/// In nanoseconds, 0 for none. They belong to the open file, as `nonblocking` does, and so are shared by its handles; the driver
/// keeps them and does not act on them.
#[derive(Debug, Default)]
struct Timeouts {
    read: AtomicU64,
    write: AtomicU64,
}

#[derive(Debug)]
struct Side {
    /// Counts the edges; written under the lock of `waiters`.
    edges: AtomicU32,
    /// The count at which the direction was last seen empty (or full). Any thread.
    drained: AtomicU32,
    /// Hang-up or error seen: the hint is void. Set once.
    hung_up: AtomicBool,
    /// The last operation by way of a ring left nothing behind. No more than a guess, since no edges are counted for it; so it is kept apart from the count
    /// above, on which epoll's waiters rely.
    seems_drained: AtomicBool,
    /// How many wait, so that an operation that succeeds need not take the lock to learn that nobody does.
    waiting: AtomicU32,
}

#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct Waiters {
    read: Queue,
    write: Queue,
    pub(crate) registration: Option<Registration>,
}

/// First in, first out; the first place costs no allocation, since more than one waiter a direction is rare.
#[derive(Debug, Default)]
struct Queue {
    /// A token, which is never zero, or zero for none.
    first: usize,
    #[expect(clippy::box_collection, reason = "8 bytes in each of a million sources instead of 32")]
    rest: Option<Box<VecDeque<Token>>>,
}

impl Queue {
    #[inline]
    fn push(&mut self, token: Token) {
        debug_assert_ne!(token.0, 0, "a token is not zero");
        match self.first {
            0 => self.first = token.0,
            _ => self.rest.get_or_insert_default().push_back(token),
        }
    }

    #[inline]
    fn pop(&mut self) -> Option<Token> {
        match std::mem::take(&mut self.first) {
            0 => None,
            first => {
                if let Some(rest) = &mut self.rest {
                    self.first = rest.pop_front().map_or(0, |next| next.0);
                }
                Some(Token(first))
            }
        }
    }

    fn remove(&mut self, token: Token) -> bool {
        if self.first == token.0 {
            return self.pop().is_some();
        }
        let Some(rest) = &mut self.rest else { return false };
        match rest.iter().position(|&queued| queued == token) {
            Some(at) => rest.remove(at).is_some(),
            None => false,
        }
    }
}

impl Side {
    fn new() -> Side {
        Side {
            edges: AtomicU32::new(0),
            drained: AtomicU32::new(u32::MAX),
            hung_up: AtomicBool::new(false),
            seems_drained: AtomicBool::new(false),
            waiting: AtomicU32::new(0),
        }
    }

    /// One edge more. Under the lock of `waiters`, so that no exchange is needed.
    #[inline]
    fn count_edge(&self) {
        #[cfg(not(loom))]
        self.edges.store(self.edges.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
        // loom keeps track of the last access only: the load would hide those of the waiters, which must come in every order with the store.
        #[cfg(loom)]
        self.edges.fetch_add(1, Ordering::Release);
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::new()
    }
}

impl Source {
    /// A descriptor about which nothing is known yet, and which no driver has registered.
    pub fn new() -> Source {
        Source(Arc::new(State {
            handles: AtomicU32::new(1),
            read: Side::new(),
            write: Side::new(),
            closed: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            nonblocking: AtomicBool::new(false),
            timeouts: Timeouts::default(),
            waiters: Mutex::default(),
        }))
    }

    /// Marks the source as closed and returns everybody who waits on it: wake them. Every later operation, and theirs when
    /// they try again, ends with [`closed_error`](crate::op::closed_error).
    pub fn close(&self) -> Vec<Token> {
        self.0.closed.store(true, Ordering::SeqCst);
        self.0.take_all()
    }

    /// Whether [`close`](Self::close) was called.
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::SeqCst)
    }

    /// Removes the descriptor from its driver, for when it goes on living outside: what waits on it is returned. `fd` must be the descriptor
    /// that was registered, or nothing is removed from the kernel's set (stale events are ignored).
    ///
    /// While there are other handles nothing is done: they need the registration, whichever of their descriptors it was made with.
    pub fn deregister(&self, fd: BorrowedFd<'_>) -> Vec<Token> {
        if self.is_shared() {
            return Vec::new();
        }
        let registration = self.0.lock().registration.take();
        if let Some(registration) = registration {
            registration.remove(fd);
        }
        self.0.abandon()
    }

    /// Whether there are other handles to the same open file.
    pub fn is_shared(&self) -> bool {
        self.0.handles.load(Ordering::Acquire) > 1
    }

    /// How long an operation of this direction may take; no limit unless one was set.
    #[inline]
    pub fn timeout(&self, direction: Direction) -> Option<Duration> {
        match self.0.timeouts.of(direction).load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }

    /// Sets how long an operation of this direction may take; zero counts as one nanosecond.
    pub fn set_timeout(&self, direction: Direction, timeout: Option<Duration>) {
        let nanos = timeout.map_or(0, |timeout| u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX).max(1));
        self.0.timeouts.of(direction).store(nanos, Ordering::Relaxed);
    }

    /// Whether operations answer `WouldBlock` where they would have to wait.
    #[inline]
    pub fn is_nonblocking(&self) -> bool {
        self.0.nonblocking.load(Ordering::Relaxed)
    }

    /// Sets whether operations answer `WouldBlock` where they would have to wait.
    pub fn set_nonblocking(&self, nonblocking: bool) {
        self.0.nonblocking.store(nonblocking, Ordering::Relaxed);
    }

    /// Attempts `op` without ever waiting: for callers that would rather do something else meanwhile. When it is known that nothing
    /// has come since the last attempt, it makes no system call.
    ///
    /// # Errors
    /// `WouldBlock` when it would have to wait; else as the operation.
    #[inline]
    pub fn attempt<O: Operation>(&self, fd: BorrowedFd<'_>, op: &mut O) -> io::Result<O::Output> {
        if self.is_closed() {
            return Err(closed_error());
        }
        let direction = op.direction();
        let edges = self.edges(direction);
        if self.0.watched.load(Ordering::Acquire) && self.is_drained(direction, edges) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        match op.attempt(fd) {
            Ok(Attempt { value, drained }) => {
                if drained {
                    self.set_drained(direction, edges);
                }
                Ok(value)
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::WouldBlock {
                    self.set_drained(direction, edges);
                }
                Err(error)
            }
        }
    }

    /// Takes the next waiter of a direction, for a caller who was given readiness and does not use it.
    pub fn pass_on(&self, direction: Direction) -> Option<Token> {
        self.0.pop(direction)
    }

    /// Leaves the queue.
    pub(crate) fn retract(&self, direction: Direction, token: Token) -> Cancel {
        let mut waiters = self.0.lock();
        if waiters.queue(direction).remove(token) {
            self.0.side(direction).waiting.fetch_sub(1, Ordering::Relaxed);
            Cancel::Removed
        } else {
            Cancel::InFlight
        }
    }

    /// The count of edges, to be read before an attempt.
    #[inline]
    pub(crate) fn edges(&self, direction: Direction) -> u32 {
        self.0.side(direction).edges.load(Ordering::Acquire)
    }

    /// Whether an attempt is known to be useless (see the module's docs).
    #[inline]
    pub(crate) fn is_drained(&self, direction: Direction, edges: u32) -> bool {
        let side = self.0.side(direction);
        side.drained.load(Ordering::Acquire) == edges && !side.hung_up.load(Ordering::Acquire)
    }

    /// Whether the direction has ended, or the hint is void for another reason.
    #[inline]
    pub(crate) fn has_hung_up(&self, direction: Direction) -> bool {
        self.0.side(direction).hung_up.load(Ordering::Acquire)
    }

    /// Notes that an attempt that began at `edges` left nothing behind.
    #[inline]
    pub(crate) fn set_drained(&self, direction: Direction, edges: u32) {
        self.0.side(direction).drained.store(edges, Ordering::Release);
    }

    /// Whether an attempt is likely to be useless.
    #[inline]
    pub(crate) fn seems_drained(&self, direction: Direction) -> bool {
        self.0.side(direction).seems_drained.load(Ordering::Relaxed)
    }

    /// Notes what an operation has left behind.
    #[inline]
    pub(crate) fn seem_drained(&self, direction: Direction, drained: bool) {
        self.0.side(direction).seems_drained.store(drained, Ordering::Relaxed);
    }

    /// Whether others wait in this direction.
    #[inline]
    pub(crate) fn has_waiters(&self, direction: Direction) -> bool {
        self.0.side(direction).waiting.load(Ordering::Relaxed) != 0
    }

    /// Queues `token`, unless an edge came since `edges` was read.
    #[inline]
    pub(crate) fn enlist(
        &self,
        waiters: &mut MutexGuard<'_, Waiters>,
        direction: Direction,
        edges: u32,
        token: Token,
    ) -> Enlist {
        if self.is_closed() {
            return Enlist::Closed;
        }
        let side = self.0.side(direction);
        if side.edges.load(Ordering::Relaxed) != edges {
            return Enlist::Stale;
        }
        waiters.queue(direction).push(token);
        side.waiting.fetch_add(1, Ordering::Relaxed);
        Enlist::Queued
    }

    /// After a success that may have left something: the next waiter, if the kernel says that there is work for it.
    #[cold]
    pub(crate) fn pass_if_ready(&self, fd: BorrowedFd<'_>, direction: Direction) -> Option<Token> {
        let flags = match direction {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        let mut set = [PollFd::from_borrowed_fd(fd, flags)];
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        match rustix::event::poll(&mut set, Some(&zero)) {
            Ok(0) => None,
            // On an error the waiter finds out for itself: a spurious wake-up is safe, a missing one is not.
            _ => self.0.pop(direction),
        }
    }
}

impl State {
    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Waiters> {
        // Nothing below panics while it holds the lock.
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }

    fn pop(&self, direction: Direction) -> Option<Token> {
        let mut waiters = self.lock();
        self.pop_locked(&mut waiters, direction)
    }

    #[inline]
    fn pop_locked(&self, waiters: &mut Waiters, direction: Direction) -> Option<Token> {
        let token = waiters.queue(direction).pop()?;
        self.side(direction).waiting.fetch_sub(1, Ordering::Relaxed);
        Some(token)
    }

    /// Step b: one event of the kernel. Appends who is to be woken.
    #[inline]
    pub(crate) fn edge(&self, ready: Ready, wake: &mut impl FnMut(Token)) {
        let mut waiters = self.lock();
        for (direction, some, hung_up) in [
            (Direction::Read, ready.read, ready.read_hung_up),
            (Direction::Write, ready.write, ready.write_hung_up),
        ] {
            if !some && !hung_up && !ready.failed {
                continue;
            }
            let side = self.side(direction);
            // Before the count moves: who sees the new count must not take a hang-up, after which no edge comes, for an ordinary edge.
            if hung_up {
                side.hung_up.store(true, Ordering::Release);
            }
            side.count_edge();
            while let Some(token) = self.pop_locked(&mut waiters, direction) {
                wake(token);
                // After a hang-up nobody blocks any more, and an error may be anybody's: all may go.
                if !hung_up && !ready.failed {
                    break;
                }
            }
        }
    }

    /// A driver begins to count the edges. Under the lock.
    pub(crate) fn watch(&self, waiters: &mut Waiters, registration: Registration) {
        waiters.registration = Some(registration);
        self.watched.store(true, Ordering::Release);
    }

    /// The driver does not count any more: everybody who waits has to look elsewhere.
    pub(crate) fn abandon(&self) -> Vec<Token> {
        self.watched.store(false, Ordering::Release);
        self.take_all()
    }

    /// Empties both queues and makes every later operation attempt its call first.
    pub(crate) fn take_all(&self) -> Vec<Token> {
        let mut waiters = self.lock();
        let mut taken = Vec::new();
        for direction in [Direction::Read, Direction::Write] {
            let side = self.side(direction);
            side.count_edge();
            while let Some(token) = self.pop_locked(&mut waiters, direction) {
                taken.push(token);
            }
        }
        taken
    }
}

impl Timeouts {
    #[inline]
    fn of(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::Read => &self.read,
            Direction::Write => &self.write,
        }
    }
}

impl Waiters {
    #[inline]
    fn queue(&mut self, direction: Direction) -> &mut Queue {
        match direction {
            Direction::Read => &mut self.read,
            Direction::Write => &mut self.write,
        }
    }
}

/// What one event of the kernel says of a descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ready {
    pub(crate) read: bool,
    pub(crate) write: bool,
    pub(crate) read_hung_up: bool,
    pub(crate) write_hung_up: bool,
    /// An error is pending. By itself it is not the end: a datagram socket's may be about one packet.
    pub(crate) failed: bool,
}

impl Clone for Source {
    fn clone(&self) -> Self {
        self.0.handles.fetch_add(1, Ordering::Relaxed);
        Source(Arc::clone(&self.0))
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        if self.0.handles.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(registration) = self.0.lock().registration.take()
        {
            // The descriptor itself need not be removed from the kernel's set: that happens when the open file is closed. If a
            // duplicate keeps the file open, its events carry a key that is retired here, and are ignored.
            registration.retire();
        }
    }
}
