//! One operation, from its first attempt to its result.
//!
//! ```text
//!   start ──Done──────────────────────────────────────▶ result (and perhaps somebody else to wake)
//!     │Pending
//!     ▼
//!   park ──Woken──▶ start again
//!     │TimedOut, Cancelled
//!     ▼
//!   cancel ──Removed──▶ the error, or the unwind
//!     │InFlight: the wake-up is on its way, with readiness or with the kernel's last word
//!     ▼
//!   park until woken ──▶ finish ──▶ a result is returned, not lost; else the error, or the unwind
//! ```
//!
//! While an operation is pending the kernel may have its buffers, and the driver has the address of its [`Flight`]. Both are safe because this function
//! has two ways out of the wait, and on each the driver has said that it is over: the wake-up, which is exact ([`crate::scheduler::state`]), and `Removed`.

use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::{Worker, or_abort};
use fibra_driver::{Cancel, Direction, Finish, Flight, Operation, Source, Start, Token, op};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Runs `op`, for at most the time that the socket's settings allow.
#[inline]
pub(crate) fn run<O: Operation>(source: &Source, fd: BorrowedFd<'_>, op: &mut O) -> io::Result<O::Output> {
    run_for(source, fd, op, source.timeout(op.direction()))
}

/// The same, for who has to know what an operation has done: its result counts, whatever is closed meanwhile.
pub(super) fn run_to_its_result<O: Operation>(
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
) -> io::Result<O::Output> {
    let result = run_open(source, fd, op, source.timeout(op.direction()));
    if result.is_err() && source.is_closed() { Err(op::closed_error()) } else { result }
}

/// Runs `op` for at most `timeout`.
#[inline]
pub(crate) fn run_for<O: Operation>(
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
    timeout: Option<Duration>,
) -> io::Result<O::Output> {
    let result = run_open(source, fd, op, timeout);
    // Who closes also shuts the connection down, and an attempt in that moment may see only that: an error, or the end of the stream.
    if source.is_closed() { Err(op::closed_error()) } else { result }
}

#[inline]
fn run_open<O: Operation>(
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
    timeout: Option<Duration>,
) -> io::Result<O::Output> {
    if source.is_nonblocking() {
        return try_once(source, fd, op);
    }
    match Worker::here() {
        Some(worker) if let Some(token) = worker.token() => {
            on_coroutine(worker, token, source, fd, op, timeout)
        }
        _ => on_thread(source, fd, op, timeout),
    }
}

/// One attempt, for sockets that are not to wait.
#[cold]
pub(super) fn try_once<O: Operation>(
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
) -> io::Result<O::Output> {
    if source.is_closed() {
        return Err(op::closed_error());
    }
    let result = op.attempt(fd).map(|attempt| attempt.value);
    spend();
    result
}

/// Counts an attempt that does not wait as an operation, so that who tries again and again lets the others run.
#[inline]
pub(super) fn spend() {
    if let Some(worker) = Worker::here() {
        worker.spend();
    }
}

/// One step of the driver; wakes whom it names.
///
/// # Safety
/// When it answers `None`, what [`fibra_driver::Driver::start`] demands.
#[inline]
unsafe fn start<O: Operation>(
    worker: &Worker,
    flight: &Flight,
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
) -> Option<io::Result<O::Output>> {
    // SAFETY: our caller's promise.
    match worker.with_driver(|driver| unsafe { driver.start(source, fd, op, flight) }) {
        Start::Pending => None,
        Start::Done { result, pass } => {
            if let Some(next) = pass {
                park::wake(next);
            }
            worker.spend();
            Some(result)
        }
    }
}

fn on_coroutine<O: Operation>(
    worker: &Worker,
    token: Token,
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
    timeout: Option<Duration>,
) -> io::Result<O::Output> {
    let flight = Flight::new(token);
    let mut deadline = None;
    loop {
        // SAFETY: while it is pending this context parks below, where nothing is touched, moved or closed (`fd` and `op` are borrowed for the whole call): it goes on
        // when it is woken, and a wake-up is exact; or it goes to `leave`, which ends with the wake-up or with `Removed`. A context that is never
        // resumed keeps its stack for ever, and its caller's, and those of whom it borrows from, since they wait for its end.
        if let Some(result) = unsafe { start(worker, &flight, source, fd, op) } {
            return result;
        }
        // The clock may be the user's. A panic here would unwind from under the kernel.
        let reason = or_abort(|| {
            note(op, fd);
            if deadline.is_none() {
                deadline = bounded(timeout).and_then(|timeout| worker.core.now().checked_add(timeout));
            }
            park::park(deadline)
        });
        match reason {
            Reason::Woken => op.woken(),
            reason => return leave(worker, &flight, source, fd, op, reason),
        }
    }
}

/// Notes what is about to be waited for.
#[inline]
fn note<O: Operation>(op: &O, fd: BorrowedFd<'_>) {
    let kind = match op.direction() {
        Direction::Read => WaitsFor::Receive,
        Direction::Write => WaitsFor::Send,
    };
    park::waits_for(kind, fd.as_raw_fd() as usize);
}

/// The wait is over before the operation.
#[cold]
fn leave<O: Operation>(
    worker: &Worker,
    flight: &Flight,
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
    reason: Reason,
) -> io::Result<O::Output> {
    let in_flight = or_abort(|| {
        let cancel = worker.with_driver(|driver| driver.cancel(source, op.direction(), flight));
        if cancel == Cancel::InFlight {
            park::park_until_woken();
        }
        cancel == Cancel::InFlight
    });
    if in_flight {
        op.woken();
        let Finish { result, pass } = worker.with_driver(|driver| driver.finish(source, fd, op, flight));
        if let Some(next) = pass {
            park::wake(next);
        }
        if let Some(result) = result {
            return result;
        }
    }
    match reason {
        Reason::Cancelled => cancel::unwind(),
        _ => Err(timed_out()),
    }
}

/// The time that an operation may take: in a destructor of a cancelled context not for ever.
#[inline]
pub(super) fn bounded(timeout: Option<Duration>) -> Option<Duration> {
    if cancel::is_unwinding() {
        return Some(timeout.map_or(cancel::UNWINDING_IO, |timeout| timeout.min(cancel::UNWINDING_IO)));
    }
    timeout
}

/// An OS thread waits in `poll(2)`: it needs no driver.
fn on_thread<O: Operation>(
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
    timeout: Option<Duration>,
) -> io::Result<O::Output> {
    let deadline = bounded(timeout).and_then(|timeout| Instant::now().checked_add(timeout));
    let mut woken = false;
    loop {
        if source.is_closed() {
            return Err(op::closed_error());
        }
        match op.attempt(fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return result.map(|attempt| attempt.value),
        }
        if woken && let Some(result) = op.end(fd) {
            return result;
        }
        let flags = match op.direction() {
            Direction::Read => PollFlags::IN,
            Direction::Write => PollFlags::OUT,
        };
        let limit = cancel::limit();
        if cancel::is_in_callback() {
            note(op, fd);
            cancel::unwind();
        }
        let until = [deadline, limit].into_iter().flatten().min();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let left = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        match rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, flags)], left.as_ref()) {
            Ok(0) if until == deadline => return Err(timed_out()),
            Ok(0) => cancel::unwind(),
            Ok(_) => {
                op.woken();
                woken = true;
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The error that std's sockets have for a timeout on Linux.
pub(super) fn timed_out() -> io::Error {
    rustix::io::Errno::AGAIN.into()
}
