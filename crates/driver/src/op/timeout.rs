//! Wait for a moment: `IORING_OP_TIMEOUT`, and a `timerfd` for readiness.
//!
//! It is here for who has a driver and nothing else. A worker of fibra has a wheel of its own, which makes no request and, since its next deadline goes into the one wait of the worker,
//! no system call: a receive that waits took 2.5 µs of processor time; with a linked timeout beside it 3.1, with a timeout that is removed again 3.1 as well. And an operation
//! that the kernel ends would still have to be told from one that was asked to stop.

use super::{Attempt, Hints, Operation, uninterrupted};
use crate::Direction;
use io_uring::opcode;
use io_uring::squeue::Entry;
use io_uring::types;
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;

/// Completes when a moment of the monotonic clock has come, at the latest the last that this can hold.
///
/// It runs on its own [descriptor](Self::descriptor), which is what a readiness driver waits for; a ring is told the moment itself and takes no notice of it.
#[derive(Debug)]
pub struct Timeout {
    time: Duration,
    is_absolute: bool,
    /// What a ring's entry points to.
    encoded: types::Timespec,
}

impl Timeout {
    /// So long after it has begun: a ring counts from when it takes the entry, a descriptor from when it is made.
    pub fn after(time: Duration) -> Timeout {
        Timeout::new(time, false)
    }

    /// When the monotonic clock (`CLOCK_MONOTONIC`) shows so much.
    pub fn at(time: Duration) -> Timeout {
        Timeout::new(time, true)
    }

    fn new(time: Duration, is_absolute: bool) -> Timeout {
        // The kernel counts nanoseconds in 63 bits; and of a descriptor nothing at all would mean never.
        let time = time.clamp(Duration::from_nanos(1), Duration::from_nanos(i64::MAX as u64));
        let encoded = types::Timespec::new().sec(time.as_secs()).nsec(time.subsec_nanos());
        Timeout { time, is_absolute, encoded }
    }

    /// A descriptor that is readable when the moment has come.
    ///
    /// # Errors
    /// What `timerfd_create(2)` says: that descriptors are used up.
    pub fn descriptor(&self) -> io::Result<OwnedFd> {
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        let mut flags = TimerfdTimerFlags::empty();
        flags.set(TimerfdTimerFlags::ABSTIME, self.is_absolute);
        let value = Timespec { tv_sec: self.time.as_secs() as i64, tv_nsec: self.time.subsec_nanos().into() };
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        timerfd_settime(&timer, flags, &Itimerspec { it_interval: once, it_value: value })?;
        Ok(timer)
    }
}

// SAFETY: the entry points to the time in the operation.
unsafe impl Operation for Timeout {
    type Output = ();

    fn direction(&self) -> Direction {
        Direction::Read
    }

    fn attempt(&mut self, fd: BorrowedFd<'_>) -> io::Result<Attempt<()>> {
        uninterrupted(|| rustix::io::read(fd, &mut [0; 8]))?;
        Ok(Attempt { value: (), drained: true })
    }

    fn entry(&mut self, _: BorrowedFd<'_>, _: Hints) -> Option<Entry> {
        let flags = if self.is_absolute { types::TimeoutFlags::ABS } else { types::TimeoutFlags::empty() };
        Some(opcode::Timeout::new(&raw const self.encoded).flags(flags).build())
    }

    /// The moment comes as an error.
    fn completed(&mut self, result: rustix::io::Result<u32>) -> io::Result<Attempt<()>> {
        match result {
            Ok(_) | Err(Errno::TIME) => Ok(Attempt { value: (), drained: false }),
            Err(error) => Err(error.into()),
        }
    }

    /// A ring needs no descriptor.
    fn may_attempt(&self) -> bool {
        false
    }
}
