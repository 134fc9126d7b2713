//! Completions by `io_uring(7)`: whole operations are handed to the kernel, many with one system call.
//!
//! A ring belongs to one worker, and only its thread enters it (`IORING_SETUP_SINGLE_ISSUER`): an operation goes to the ring of the worker on which its
//! coroutine runs, and its completion comes out there. So nothing here is shared between threads but the [`Notifier`].
//!
//! # One operation
//! Its state is a [`Flight`] on the stack of who waits; the address of that is the submission's `user_data`.
//!
//! ```text
//!  start ─▶ closed? attempted (First::Try, unless the socket is known to be empty or full)? ──▶ Done
//!    │ no
//!    ▼
//!  entry in the submission queue, flight under way ──▶ Pending
//!    │ the worker's next wait: submitted, with all others since the last one
//!    ▼
//!  completion: the answer goes into the flight, the token comes back
//!    │ start once more
//!    ├── EINTR: the same entry again                          ──▶ Pending
//!    ├── EAGAIN (O_NONBLOCK on the file): asks for readiness, then an attempt  ──▶ Pending
//!    └── anything else                                         ──▶ Done
//! ```
//!
//! # Leaving early
//! `Ring::cancel` submits `IORING_OP_ASYNC_CANCEL` behind the operation's own entry and always answers [`Cancel::InFlight`]: *the operation's completion
//! is what is waited for*, whatever the cancellation answers. `0` means that `ECANCELED` will come; `EALREADY`, that it runs on a thread of the kernel and will come when it has
//! run. `ENOENT` means that the completion is there already, *or that the kernel is about to attempt the operation again* (it was ready when the kernel looked; `IO_APOLL_READY` in
//! io_uring/poll.c): then nothing has been cancelled, and if another one takes what was there, the operation waits on as if nobody had asked. So whoever is still
//! under way at that answer (`Ring::ending`) is asked to end again. Then `Ring::finish` tells a result, which is returned, from `ECANCELED` and `EINTR`. `close(2)` ends nothing that is in flight, since the kernel holds the file; [`Source::close`](crate::Source::close) therefore
//! goes with `shutdown(2)`, which makes every operation on the socket answer.
//!
//! # Queues that are full
//! * The submission queue is: it is handed to the kernel then and there. Completions that had to be taken meanwhile to make room are kept for the next wait (`Ring::early`).
//! * The completion queue is: the kernel keeps what finds no room (`IORING_FEAT_NODROP`, without which no ring is made) and says so in a flag; the next wait enters
//!   the kernel for it.
//! * The kernel has no memory for requests (`EAGAIN` of `io_uring_enter(2)`): they stay in the queue for the next wait. An operation that finds no room then fails with that error.

mod ahead;
pub mod settings;

use crate::flight::{Answer, Flight, Stage};
use crate::op::{Attempt, Call, Hints, Operation, closed_error, poll_entry};
use crate::{Cancel, Completion, Direction, Notifier, Source, Start};
use io_uring::squeue::{Entry, Flags};
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, cqueue, opcode};
pub use settings::{Features, First, RingSettings};
use std::collections::HashSet;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The `user_data` of the poll on the notifier. Flights are never at such addresses.
const NOTIFIER: u64 = 1;

/// Marks the `user_data` of a cancellation; the rest is that of what it ends. Flights stand at multiples of 16.
const CANCELS: u64 = 4;

/// The longest wait that is asked of the kernel, which refuses what its clock cannot hold. A wait may return early.
const LONGEST: Duration = Duration::from_secs(1_000_000);

/// How many calls of one thread may block in the kernel at a time; beyond that they wait in line. Left to itself the kernel has as many threads for them as the ring has entries, and at most
/// four for each processor: so few that some opens of FIFOs whose other ends nobody opens would hold up every other call on files.
const CALLS_THAT_WAIT: u32 = 512;

/// How long a wait pauses when the kernel has no memory for requests.
const OUT_OF_MEMORY: Duration = Duration::from_millis(1);

/// One ring.
pub struct Ring {
    ring: IoUring,
    features: Features,
    first: First,
    notifier: Option<Notifier>,
    /// Whether this thread has made the ring its own.
    begun: bool,
    /// Submissions whose completion has not been taken, the driver's own aside.
    in_flight: usize,
    /// Cancellations that found no room yet, or have to be repeated.
    cancels: Vec<u64>,
    /// The addresses of flights that are under way and were asked to end.
    ending: HashSet<u64>,
    /// Whether the notifier's poll has to be submitted.
    unarmed: bool,
    /// Whether a notification has been taken that has not ended a wait yet.
    notified: bool,
    /// What was completed outside of a wait.
    early: Vec<Completion>,
    /// Requests that answer many times, by their `user_data`.
    requests: ahead::Requests,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring")
            .field("features", &self.features)
            .field("in_flight", &self.in_flight)
            .finish_non_exhaustive()
    }
}

impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}

impl Ring {
    /// A ring that waits for its worker's notifier too.
    ///
    /// # Errors
    /// Why there can be none, in words.
    pub(crate) fn new(settings: &RingSettings) -> io::Result<Ring> {
        let mut ring = Ring::without_notifier(settings)?;
        ring.notifier = Some(Notifier::new()?);
        ring.unarmed = true;
        Ok(ring)
    }

    /// A ring beside another driver, which does the waiting.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn without_notifier(settings: &RingSettings) -> io::Result<Ring> {
        let (ring, features) = settings::make(settings)?;
        Ok(Ring {
            ring,
            features,
            first: settings.first,
            notifier: None,
            begun: false,
            in_flight: 0,
            cancels: Vec::new(),
            ending: HashSet::new(),
            unarmed: false,
            notified: false,
            early: Vec::new(),
            requests: ahead::Requests::default(),
        })
    }

    /// What it uses.
    pub fn features(&self) -> Features {
        self.features
    }

    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone().expect("a worker's ring has one")
    }

    /// Whether a look at the kernel could find, or tell, anything.
    #[inline]
    pub(crate) fn has_work(&self) -> bool {
        self.in_flight > 0 || !self.early.is_empty()
    }

    /// Makes the calling thread the one that enters the ring.
    #[cold]
    fn begin(&mut self) -> io::Result<()> {
        if self.features.single_issuer {
            self.ring.submitter().register_enable_rings()?;
        }
        // Kernels before 5.15 know nothing of it, and none needs it.
        let _ = self.ring.submitter().register_iowq_max_workers(&mut [CALLS_THAT_WAIT, 0]);
        self.begun = true;
        Ok(())
    }

    /// Starts `op`, or goes on with it after its token came back.
    ///
    /// # Safety
    /// When the answer is [`Start::Pending`]: `op`, what it borrows, `fd` and `flight` stay as and where they are, untouched, until the token has come back.
    #[inline]
    pub(crate) unsafe fn start<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
        flight: &Flight,
    ) -> Start<O::Output> {
        let direction = op.direction();
        let polled = flight.stage() == Stage::Polled;
        let mut attempt = match flight.stage() {
            Stage::Ready => {
                if source.is_closed() {
                    return done(Err(closed_error()));
                }
                self.first == First::Try
                    && op.may_attempt()
                    && (op.must_attempt() || !source.seems_drained(direction))
            }
            Stage::Answered => match answered(source, op, flight.take()) {
                Answered::Over(result) => return done(result),
                Answered::Again => false,
                Answered::WouldBlock => return self.poll(fd, direction, flight),
            },
            Stage::Polled => {
                flight.take();
                if source.is_closed() {
                    return done(Err(closed_error()));
                }
                true
            }
            Stage::UnderWay | Stage::Polling => unreachable!("the token has come back"),
        };
        let mut entry = None;
        if !attempt {
            let hints = self.hints(source.seems_drained(direction));
            entry = op.entry(fd, hints);
            // What cannot be handed over has to be begun by a call.
            attempt = entry.is_none();
        }
        if attempt {
            match attempt_now(source, fd, op) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    // The kernel has said that it is ready.
                    if polled && let Some(result) = op.end(fd) {
                        return done(result);
                    }
                }
                result => return done(result),
            }
            entry = op.entry(fd, self.hints(true));
        }
        match entry {
            // SAFETY: what the entry points to is `op`'s, which stays as our caller promises.
            Some(entry) => unsafe { self.submit(entry, flight, Stage::UnderWay) },
            None => self.poll(fd, direction, flight),
        }
    }

    #[inline]
    fn hints(&self, seems_drained: bool) -> Hints {
        Hints { poll_first: self.features.poll_first && seems_drained, submit: self.first == First::Submit }
    }

    /// Asks for readiness instead of handing the operation over.
    fn poll<T>(&mut self, fd: BorrowedFd<'_>, direction: Direction, flight: &Flight) -> Start<T> {
        // SAFETY: the entry points to nothing.
        unsafe { self.submit(poll_entry(fd, direction), flight, Stage::Polling) }
    }

    /// After an operation was cancelled and its token came back: its result, if it has one.
    pub(crate) fn finish<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
        flight: &Flight,
    ) -> Option<io::Result<O::Output>> {
        match flight.stage() {
            Stage::Answered => match answered(source, op, flight.take()) {
                Answered::Over(result) => Some(result),
                Answered::Again | Answered::WouldBlock => None,
            },
            Stage::Polled => {
                flight.take();
                match attempt_now(source, fd, op) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
                    result => Some(result),
                }
            }
            Stage::Ready | Stage::UnderWay | Stage::Polling => unreachable!("the token has come back"),
        }
    }

    /// Starts a call, or goes on with it after its token came back.
    ///
    /// # Safety
    /// As [`start`](Self::start).
    pub(crate) unsafe fn start_call<C: Call>(&mut self, call: &mut C, flight: &Flight) -> Start<C::Output> {
        if flight.stage() == Stage::Answered {
            let result = result_of(flight.take());
            if result != Err(rustix::io::Errno::INTR) {
                return done(call.completed(result));
            }
        }
        let entry = call.entry();
        // SAFETY: what the entry points to is `call`'s, which stays as our caller promises.
        unsafe { self.submit(entry, flight, Stage::UnderWay) }
    }

    /// Asks the kernel to end an operation early. Its completion is still to come.
    pub(crate) fn cancel(&mut self, flight: &Flight) -> Cancel {
        if matches!(flight.stage(), Stage::UnderWay | Stage::Polling) {
            self.ending.insert(address(flight));
            self.cancels.push(address(flight));
            self.push_cancels();
        }
        Cancel::InFlight
    }

    fn push_cancels(&mut self) {
        while let Some(target) = self.cancels.pop() {
            // Its answer may have come while there was no room, and its address may be another's by now.
            if !self.ending.contains(&target) && !self.requests.is_ending(target) {
                continue;
            }
            let mut entry = opcode::AsyncCancel::new(target).build().user_data(target | CANCELS);
            if self.features.skip_success {
                entry = entry.flags(Flags::SKIP_SUCCESS);
            }
            // SAFETY: the entry points to nothing; its target is a number to look for.
            if unsafe { self.push(&entry) }.is_err() {
                self.cancels.push(target);
                return;
            }
        }
    }

    /// Queues an entry for the flight.
    ///
    /// # Safety
    /// What the entry points to, and the flight, stay as and where they are until the flight's token has come back.
    #[inline]
    unsafe fn submit<T>(&mut self, entry: Entry, flight: &Flight, stage: Stage) -> Start<T> {
        let entry = entry.user_data(address(flight));
        // SAFETY: our caller's promise.
        match unsafe { self.push(&entry) } {
            Ok(()) => {
                self.in_flight += 1;
                flight.set_stage(stage);
                Start::Pending
            }
            Err(error) => done(Err(error)),
        }
    }

    /// # Safety
    /// What the entry points to stays until its completion has been taken.
    #[inline]
    unsafe fn push(&mut self, entry: &Entry) -> io::Result<()> {
        // SAFETY: our caller's promise.
        if unsafe { self.ring.submission().push(entry) }.is_ok() {
            return Ok(());
        }
        // SAFETY: our caller's promise.
        unsafe { self.push_into_full(entry) }
    }

    /// # Safety
    /// As [`push`](Self::push).
    #[cold]
    unsafe fn push_into_full(&mut self, entry: &Entry) -> io::Result<()> {
        /// Kernels before 5.19 take nothing while completions have found no room (`EBUSY`): those have to be taken first.
        const TRIES: usize = 8;
        for _ in 0..TRIES {
            let mut early = std::mem::take(&mut self.early);
            let result = self.enter(0, None);
            self.reap(&mut early);
            self.early = early;
            result?;
            // SAFETY: our caller's promise.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return Ok(());
            }
        }
        Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            "the kernel takes no more io_uring requests: it has no memory for them",
        ))
    }

    /// Submits what is queued, waits until something completes or the timeout is over (`None`: for as long as it takes; zero: not at all), and appends what has
    /// completed to `out`.
    ///
    /// # Errors
    /// Only what means that the ring is broken.
    #[inline]
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()> {
        if self.unarmed {
            self.arm()?;
        }
        out.append(&mut self.early);
        self.reap(out);
        // Behind the reaping, which finds those that have to be repeated.
        if !self.cancels.is_empty() {
            self.push_cancels();
            out.append(&mut self.early);
        }
        // A notification that has been taken, now or outside of a wait, is what this wait would have been ended by. A cancellation without room goes out with the next.
        let is_over = std::mem::take(&mut self.notified) || !out.is_empty() || !self.cancels.is_empty();
        if !is_over && timeout.is_none_or(|timeout| !timeout.is_zero()) {
            self.enter(1, timeout)?;
        } else if self.needs_entering() {
            self.enter(0, None)?;
        } else {
            return Ok(());
        }
        self.reap(out);
        self.notified = false;
        if !self.cancels.is_empty() {
            // Who polls the ring's descriptor hears of nothing that has not been submitted.
            self.push_cancels();
            out.append(&mut self.early);
            self.enter(0, None)?;
        }
        Ok(())
    }

    /// Whether entries, or cancellations that found no room, wait for the next [`wait`](Self::wait).
    #[inline]
    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        !self.cancels.is_empty() || !self.ring.submission().is_empty()
    }

    /// Whether the kernel has to be entered though nobody waits.
    #[inline]
    fn needs_entering(&mut self) -> bool {
        let queue = self.ring.submission();
        !queue.is_empty() || queue.taskrun() || queue.cq_overflow()
    }

    /// One `io_uring_enter(2)`.
    #[inline]
    fn enter(&mut self, want: usize, timeout: Option<Duration>) -> io::Result<()> {
        if !self.begun {
            self.begin()?;
        }
        let submitter = self.ring.submitter();
        let result = match timeout {
            None => submitter.submit_and_wait(want),
            Some(timeout) => {
                let timeout = timeout.min(LONGEST);
                let timeout = Timespec::new().sec(timeout.as_secs()).nsec(timeout.subsec_nanos());
                submitter.submit_with_args(want, &SubmitArgs::new().timespec(&timeout))
            }
        };
        match result.as_ref().err().and_then(io::Error::raw_os_error) {
            // A signal; the deadline; completions that have to be taken first.
            None | Some(libc::EINTR | libc::ETIME | libc::EBUSY) => Ok(()),
            // What was not taken stays in the queue. Without a pause the worker would ask again and again.
            Some(libc::EAGAIN) => {
                std::thread::sleep(OUT_OF_MEMORY);
                Ok(())
            }
            Some(_) => result.map(|_| ()),
        }
    }

    /// Takes the completions that are there.
    #[inline]
    fn reap(&mut self, out: &mut Vec<Completion>) {
        let mut landed = 0;
        let mut disarmed = false;
        for completion in self.ring.completion() {
            match completion.user_data() {
                NOTIFIER => {
                    self.notified = true;
                    disarmed |= !cqueue::more(completion.flags());
                }
                user_data if ahead::is_ours(user_data) => {
                    let answer = Answer { result: completion.result(), flags: completion.flags() };
                    let last = self.requests.land(user_data, answer, &mut self.cancels, out);
                    landed += usize::from(last);
                }
                // Whose own answer has come is not ending any more.
                user_data if user_data & CANCELS != 0 => {
                    let target = user_data & !CANCELS;
                    let missed = completion.result() == -libc::ENOENT;
                    if missed && (self.ending.contains(&target) || self.requests.is_ending(target)) {
                        self.cancels.push(target);
                    }
                }
                address => {
                    landed += 1;
                    if !self.ending.is_empty() {
                        self.ending.remove(&address);
                    }
                    let answer = Answer { result: completion.result(), flags: completion.flags() };
                    // SAFETY: the address of a flight was submitted (`submit`), and it stays in its place until this completion; each submission
                    // has one completion. It belongs to this thread, and is only ever shared.
                    let flight = unsafe { &*std::ptr::with_exposed_provenance::<Flight>(address as usize) };
                    flight.land(answer);
                    out.push(Completion { token: flight.token() });
                }
            }
        }
        self.in_flight -= landed;
        if disarmed {
            if let Some(notifier) = &self.notifier {
                notifier.clear();
            }
            self.unarmed = true;
        }
    }

    /// Submits the poll on the notifier. What was written to it before, it finds.
    #[cold]
    fn arm(&mut self) -> io::Result<()> {
        let Some(notifier) = &self.notifier else { return Ok(()) };
        let entry = opcode::PollAdd::new(Fd(notifier.as_fd().as_raw_fd()), libc::POLLIN as u32)
            .multi(self.features.multishot)
            .build()
            .user_data(NOTIFIER);
        // SAFETY: the entry points to nothing, and the notifier is open for as long as the ring is.
        unsafe { self.push(&entry) }?;
        self.unarmed = false;
        Ok(())
    }
}

/// What becomes of an operation that the kernel has answered.
enum Answered<T> {
    Over(io::Result<T>),
    /// To be submitted once more.
    Again,
    /// The kernel would have had to wait, and does not do so for this file.
    WouldBlock,
}

#[inline]
fn answered<O: Operation>(source: &Source, op: &mut O, answer: Answer) -> Answered<O::Output> {
    match result_of(answer) {
        Err(rustix::io::Errno::INTR | rustix::io::Errno::CANCELED) => Answered::Again,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INPROGRESS | rustix::io::Errno::ALREADY) => {
            Answered::WouldBlock
        }
        result => match op.completed(result) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Answered::Again,
            Ok(Attempt { value, drained }) => {
                let more = cqueue::sock_nonempty(answer.flags);
                source.seem_drained(op.direction(), drained && !more);
                Answered::Over(Ok(value))
            }
            Err(error) => Answered::Over(Err(error)),
        },
    }
}

/// One attempt, of which the next operation learns.
#[inline]
fn attempt_now<O: Operation>(source: &Source, fd: BorrowedFd<'_>, op: &mut O) -> io::Result<O::Output> {
    match op.attempt(fd) {
        Ok(Attempt { value, drained }) => {
            source.seem_drained(op.direction(), drained);
            Ok(value)
        }
        Err(error) => {
            if error.kind() == io::ErrorKind::WouldBlock {
                source.seem_drained(op.direction(), true);
            }
            Err(error)
        }
    }
}

#[inline]
fn done<T>(result: io::Result<T>) -> Start<T> {
    Start::Done { result, pass: None }
}

#[inline]
fn address(flight: &Flight) -> u64 {
    std::ptr::from_ref(flight).expose_provenance() as u64
}

/// The answer as that of a system call.
#[inline]
fn result_of(answer: Answer) -> rustix::io::Result<u32> {
    u32::try_from(answer.result).map_err(|_| rustix::io::Errno::from_raw_os_error(-answer.result))
}
