//! Readiness by `epoll(7)`: edge-triggered, each descriptor registered once for both directions.
//!
//! A descriptor is registered with the driver whose worker first has to wait on it, at that moment and not before: a
//! short-lived connection whose bytes are already there is never registered at all. Waiters of other workers queue on the
//! same [`Source`]; their tokens come out of this driver's [`wait`](crate::Driver::wait) and its owner forwards them.
//!
//! What the kernel stores beside a registration is a key: an index into this driver's table and the generation of that
//! entry. An event of a descriptor that was closed and whose entry was given to another finds a different generation and is dropped, so a
//! stale event never reaches the wrong waiter, and descriptor numbers play no part in it.
//!
//! Closing needs no `EPOLL_CTL_DEL`: the kernel forgets a file when its last descriptor is closed. Entries are *retired* from any thread, and reused
//! by the owner at its next wait.

use crate::op::{Attempt, Operation, closed_error};
use crate::prefetch::prefetch;
use crate::source::{Enlist, Ready, State};
use crate::sync::{AtomicBool, Mutex, Ordering};
use crate::{Completion, Finish, Notifier, Ring, RingSettings, Source, Start, Token};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// The key of the notifier's eventfd; no table is that long.
const NOTIFIER: u64 = u64::MAX;

/// The key of the ring for files.
const RING: u64 = u64::MAX - 1;

/// How many events one `epoll_wait` takes at most.
const EVENTS: usize = 1024;

/// Below this, a timeout is waited for with `ppoll(2)`, which counts in nanoseconds; `epoll_wait` counts in milliseconds, and
/// `epoll_pwait2` is not everywhere (Linux 5.11, and refused by some system call filters).
const PRECISE_BELOW: Duration = Duration::from_millis(20);

/// The longest wait that is asked of the kernel: `epoll_wait` counts milliseconds in 32 bits. A wait may return early.
const LONGEST: Duration = Duration::from_secs(1_000_000);

/// The epoll driver of one worker.
pub struct Epoll {
    shared: Arc<Shared>,
    notifier: Notifier,
    /// Registered descriptors, by the index in their key. Touched by the owner only.
    table: Vec<Entry>,
    /// The generation of entries that are added: above those of all that there ever were at their index.
    first_generation: u32,
    free: Vec<u32>,
    events: Vec<epoll::Event>,
    files: Files,
}

/// The ring for calls on files, which this driver's wait includes.
#[derive(Debug)]
enum Files {
    /// Nobody has needed it.
    Unmade(RingSettings),
    Ring(Box<Ring>),
    /// There can be none; why, until somebody has asked.
    Impossible(Option<io::Error>),
}

#[derive(Debug)]
struct Entry {
    generation: u32,
    state: Option<Arc<State>>,
}

/// The part that other threads may touch.
#[derive(Debug)]
struct Shared {
    epoll: OwnedFd,
    /// Keys whose sources are gone. Any thread pushes, the owner takes.
    retired: Mutex<Vec<u64>>,
    has_retired: AtomicBool,
    closed: AtomicBool,
}

/// Where a source is registered.
#[derive(Debug)]
pub(crate) struct Registration {
    shared: Arc<Shared>,
    key: u64,
    /// The number under which the file is registered. It may be closed, and be somebody else's by now.
    number: RawFd,
    /// The duplicate under which the file had to be registered (see [`Epoll::add`]).
    alias: Option<OwnedFd>,
}

impl Registration {
    fn is_live(&self) -> bool {
        !self.shared.closed.load(Ordering::Acquire)
    }

    /// Whether it is with this driver.
    #[cfg(all(test, loom))]
    pub(crate) fn is_with(&self, driver: &Epoll) -> bool {
        Arc::ptr_eq(&self.shared, &driver.shared)
    }

    pub(crate) fn retire(self) {
        let mut retired = self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.push(self.key);
        self.shared.has_retired.store(true, Ordering::Release);
    }

    pub(crate) fn remove(self, fd: BorrowedFd<'_>) {
        // Under another number of the same file there may be another's registration. What is left of ours is stale events, which are ignored.
        let fd = self.alias.as_ref().map_or(fd, AsFd::as_fd);
        if fd.as_raw_fd() == self.number {
            let _ = epoll::delete(&self.shared.epoll, fd);
        }
        self.retire();
    }
}

// SAFETY: only `events` is not `Send` by itself, because what the kernel hands back may be a pointer; here it is always a number.
unsafe impl Send for Epoll {}

impl std::fmt::Debug for Epoll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Epoll")
            .field("shared", &self.shared)
            .field("table", &self.table.len())
            .finish_non_exhaustive()
    }
}

impl Epoll {
    pub(crate) fn new(files: RingSettings) -> io::Result<Epoll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let notifier = Notifier::new()?;
        // Edge-triggered: every write is a new edge.
        epoll::add(&epoll, &notifier, EventData::new_u64(NOTIFIER), EventFlags::IN | EventFlags::ET)?;
        let shared = Shared {
            epoll,
            retired: Mutex::default(),
            has_retired: AtomicBool::new(false),
            closed: AtomicBool::new(false),
        };
        Ok(Epoll {
            shared: Arc::new(shared),
            notifier,
            table: Vec::new(),
            first_generation: 0,
            free: Vec::new(),
            events: Vec::with_capacity(EVENTS),
            files: Files::Unmade(files),
        })
    }

    pub(crate) fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.epoll.as_fd()
    }

    pub(crate) fn has_sources(&self) -> bool {
        self.table.len() > self.free.len() || matches!(&self.files, Files::Ring(ring) if ring.has_work())
    }

    pub(crate) fn has_unsubmitted(&mut self) -> bool {
        match &mut self.files {
            Files::Ring(ring) => ring.has_unsubmitted(),
            Files::Unmade(_) | Files::Impossible(_) => false,
        }
    }

    /// The ring for calls on files, if there can be one.
    #[inline]
    pub(crate) fn ring(&mut self) -> Option<&mut Ring> {
        if let Files::Unmade(settings) = &self.files {
            let settings = settings.clone();
            self.files = match self.make_ring(&settings) {
                Ok(ring) => Files::Ring(Box::new(ring)),
                Err(error) => Files::Impossible(settings.enabled.then_some(error)),
            };
        }
        match &mut self.files {
            Files::Ring(ring) => Some(ring),
            Files::Unmade(_) | Files::Impossible(_) => None,
        }
    }

    /// Why there can be no ring. Said once, and not where the settings forbid it.
    pub(crate) fn take_refusal(&mut self) -> Option<io::Error> {
        match &mut self.files {
            Files::Impossible(why) => why.take(),
            Files::Unmade(_) | Files::Ring(_) => None,
        }
    }

    #[cold]
    fn make_ring(&self, settings: &RingSettings) -> io::Result<Ring> {
        // Deferred work is done by whoever enters the ring, and a poll of the ring is not told that there is some (`io_req_local_work_add` wakes the
        // issuer alone). Other work wakes the thread out of `epoll_wait`.
        let settings = RingSettings { defer_taskrun: false, ..settings.clone() };
        let ring = Ring::without_notifier(&settings)?;
        // SAFETY: the ring owns its descriptor, and is open here.
        let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
        // Level-triggered: an event for as long as there is something to take.
        epoll::add(&self.shared.epoll, fd, EventData::new_u64(RING), EventFlags::IN)?;
        Ok(ring)
    }

    /// Attempts `op` unless that is known to be useless, and queues `token` when it would block: see the protocol in
    /// `source.rs`.
    #[inline]
    pub(crate) fn start<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
        token: Token,
    ) -> Start<O::Output> {
        let direction = op.direction();
        loop {
            let edges = source.edges(direction);
            if op.must_attempt() || !source.is_drained(direction, edges) {
                if source.is_closed() {
                    return Start::Done { result: Err(closed_error()), pass: None };
                }
                if let (Some(result), pass) = attempt(source, fd, op, edges) {
                    return Start::Done { result, pass };
                }
            }
            let mut waiters = source.0.lock();
            if !waiters.registration.as_ref().is_some_and(Registration::is_live) {
                match self.register(fd, &source.0) {
                    Ok(registration) => source.0.watch(&mut waiters, registration),
                    Err(error) => return Start::Done { result: Err(error), pass: None },
                }
            }
            match source.enlist(&mut waiters, direction, edges, token) {
                Enlist::Queued => return Start::Pending,
                Enlist::Stale => {}
                Enlist::Closed => return Start::Done { result: Err(closed_error()), pass: None },
            }
        }
    }

    /// One last attempt of an operation whose token came back when it was about to leave: it holds the baton.
    #[cold]
    pub(crate) fn finish<O: Operation>(
        &mut self,
        source: &Source,
        fd: BorrowedFd<'_>,
        op: &mut O,
    ) -> Finish<O::Output> {
        if source.is_closed() {
            return Finish { result: Some(Err(closed_error())), pass: None };
        }
        let edges = source.edges(op.direction());
        let (result, pass) = attempt(source, fd, op, edges);
        Finish { result, pass }
    }

    #[cold]
    fn register(&mut self, fd: BorrowedFd<'_>, state: &Arc<State>) -> io::Result<Registration> {
        self.reap();
        let index = match self.free.pop() {
            Some(index) => index,
            None => {
                self.table.push(Entry { generation: self.first_generation, state: None });
                (self.table.len() - 1) as u32
            }
        };
        let entry = &mut self.table[index as usize];
        let key = u64::from(entry.generation) << 32 | u64::from(index);
        match Self::add(&self.shared.epoll, fd, key) {
            Ok(alias) => {
                entry.state = Some(Arc::clone(state));
                let number = alias.as_ref().map_or(fd, AsFd::as_fd).as_raw_fd();
                Ok(Registration { shared: Arc::clone(&self.shared), key, number, alias })
            }
            Err(error) => {
                self.free.push(index);
                Err(error.into())
            }
        }
    }

    /// Adds a descriptor to the kernel's set.
    ///
    /// The set knows a file by its descriptor's number *and* the open file, and keeps it for as long as that is open anywhere, also when
    /// the number was closed. If the same file comes back under that number (as a duplicate from outside), the old entry is in the way. It may
    /// be in use by others, so it is left alone, and the file is added under a number that is held for as long as the registration.
    fn add(epoll: &OwnedFd, fd: BorrowedFd<'_>, key: u64) -> rustix::io::Result<Option<OwnedFd>> {
        let interest =
            EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::PRI | EventFlags::ET;
        let add = |fd: BorrowedFd<'_>| epoll::add(epoll, fd, EventData::new_u64(key), interest);
        match add(fd) {
            Ok(()) => return Ok(None),
            Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(error),
        }
        // Held until the end, so that each is another number.
        let mut taken = Vec::new();
        loop {
            let alias = rustix::io::fcntl_dupfd_cloexec(fd, 0)?;
            match add(alias.as_fd()) {
                Ok(()) => return Ok(Some(alias)),
                Err(rustix::io::Errno::EXIST) => taken.push(alias),
                Err(error) => return Err(error),
            }
        }
    }

    /// Makes the entries of sources that are gone free again.
    fn reap(&mut self) {
        if !self.shared.has_retired.load(Ordering::Acquire) {
            return;
        }
        let keys = {
            let mut retired = self.shared.retired.lock().unwrap_or_else(PoisonError::into_inner);
            self.shared.has_retired.store(false, Ordering::Release);
            std::mem::take(&mut *retired)
        };
        for key in keys {
            let index = key as u32;
            let entry = &mut self.table[index as usize];
            entry.generation = entry.generation.wrapping_add(1);
            entry.state = None;
            self.free.push(index);
        }
        if self.free.len() == self.table.len() && self.table.capacity() > 1024 {
            // Nothing is registered: keep the generations' promise by starting above all of them, and give the memory back.
            let next = self.table.iter().map(|entry| entry.generation).max().unwrap_or(0).wrapping_add(1);
            self.first_generation = next;
            self.table = (0..64).map(|_| Entry { generation: next, state: None }).collect();
            self.free = (0..64).rev().collect();
        }
    }

    #[inline]
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, out: &mut Vec<Completion>) -> io::Result<()> {
        self.reap();
        self.events.clear();
        let mut timeout = timeout;
        if let Files::Ring(ring) = &mut self.files
            && ring.has_work()
        {
            ring.wait(Some(Duration::ZERO), out)?;
            if !out.is_empty() {
                timeout = Some(Duration::ZERO);
            }
        }
        let result = match timeout {
            Some(timeout) if !timeout.is_zero() && timeout < PRECISE_BELOW => self.wait_precisely(timeout),
            _ => self.epoll_wait(timeout),
        };
        match result {
            Ok(()) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut ring_is_ready = false;
        for (at, event) in self.events.iter().enumerate() {
            self.look_ahead(at);
            // The fields are copied out: the struct is packed on x86-64.
            let (data, flags) = (event.data, event.flags);
            let key = data.u64();
            if key == NOTIFIER {
                continue;
            }
            if key == RING {
                ring_is_ready = true;
                continue;
            }
            let (index, generation) = (key as u32 as usize, (key >> 32) as u32);
            let Some(Entry { generation: current, state: Some(state) }) = self.table.get(index) else {
                continue;
            };
            if *current != generation {
                continue;
            }
            state.edge(ready(flags), &mut |token| out.push(Completion { token }));
        }
        if ring_is_ready && let Files::Ring(ring) = &mut self.files {
            ring.wait(Some(Duration::ZERO), out)?;
        }
        Ok(())
    }

    /// Fetches what the events after this one will touch.
    #[inline(always)]
    fn look_ahead(&self, at: usize) {
        if let Some(event) = self.events.get(at + 8) {
            let data = event.data;
            prefetch(self.table.as_ptr().wrapping_add(data.u64() as u32 as usize));
        }
        if let Some(event) = self.events.get(at + 4) {
            let data = event.data;
            if let Some(Entry { state: Some(state), .. }) = self.table.get(data.u64() as u32 as usize) {
                let state = Arc::as_ptr(state).cast::<u8>();
                prefetch(state);
                prefetch(state.wrapping_add(64));
            }
        }
    }

    fn epoll_wait(&mut self, timeout: Option<Duration>) -> rustix::io::Result<()> {
        let timeout = timeout.map(|timeout| timespec(timeout.min(LONGEST)));
        epoll::wait(&self.shared.epoll, rustix::buffer::spare_capacity(&mut self.events), timeout.as_ref())?;
        Ok(())
    }

    fn wait_precisely(&mut self, timeout: Duration) -> rustix::io::Result<()> {
        let mut set = [PollFd::from_borrowed_fd(self.shared.epoll.as_fd(), PollFlags::IN)];
        rustix::event::poll(&mut set, Some(&timespec(timeout)))?;
        self.epoll_wait(Some(Duration::ZERO))
    }

    pub(crate) fn close(&mut self, out: &mut Vec<Completion>) {
        self.shared.closed.store(true, Ordering::Release);
        for entry in &mut self.table {
            if let Some(state) = entry.state.take() {
                out.extend(state.abandon().into_iter().map(|token| Completion { token }));
            }
        }
    }
}

/// Attempts an operation that began at `edges`; none when it would block. The token is somebody's who goes on.
#[inline]
fn attempt<O: Operation>(
    source: &Source,
    fd: BorrowedFd<'_>,
    op: &mut O,
    edges: u32,
) -> (Option<io::Result<O::Output>>, Option<Token>) {
    let direction = op.direction();
    match op.attempt(fd) {
        Ok(Attempt { value, drained }) => {
            let mut pass = None;
            if drained {
                source.set_drained(direction, edges);
            } else if source.has_waiters(direction) {
                pass = source.pass_if_ready(fd, direction);
            }
            (Some(Ok(value)), pass)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            if source.has_hung_up(direction)
                && let Some(result) = op.end(fd)
            {
                return (Some(result), source.pass_on(direction));
            }
            source.set_drained(direction, edges);
            (None, None)
        }
        Err(error) => {
            // The error may be this operation's alone: others who wait go on.
            let pass = source.has_waiters(direction).then(|| source.pass_on(direction)).flatten();
            (Some(Err(error)), pass)
        }
    }
}

fn timespec(timeout: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    }
}

fn ready(flags: EventFlags) -> Ready {
    Ready {
        read: flags.contains(EventFlags::IN),
        write: flags.contains(EventFlags::OUT),
        read_hung_up: flags.intersects(EventFlags::HUP | EventFlags::RDHUP | EventFlags::PRI),
        write_hung_up: flags.contains(EventFlags::HUP),
        failed: flags.contains(EventFlags::ERR),
    }
}
