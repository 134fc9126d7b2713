//! What the readers of one process measure together.
//!
//! ```text
//! warming up ── counting system calls ── the time that counts ── over
//! ```
//!
//! A stage ends when its time is up or, where pages are read only once, when a reader has used so much of its part that
//! no more may go into this stage. Whoever notices first does what there is to do between two stages. Other readers have
//! no turn on the worker meanwhile or, being threads, wait before their next read: else they would go on, for as long as
//! the system leaves the one in between without the core, while some figures have been taken and others have not.

use std::fs;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use rustix::time::{ClockId, clock_gettime};

use crate::cli::Read;
use crate::process::{CpuClock, CpuTime, Figures};
use crate::system_calls::SystemCalls;

const WARMING: u8 = 0;
const COUNTING: u8 = 1;
const TIMED: u8 = 2;
const OVER: u8 = 3;

/// How much of a reader's part may have been read at the end of each stage.
const USED: [f32; 3] = [1.0 / 16.0, 1.0 / 8.0, 1.0];

pub(super) struct Meter {
    stage: AtomicU8,
    /// When this stage ends, on the clock that [`coarse_now`] reads; 0 while somebody is ending it.
    ends: AtomicU64,
    /// How long each stage takes, in nanoseconds.
    lengths: [u64; 3],
    /// What each reader has read; each counts for itself.
    shares: Vec<Arc<Count>>,
    cpu: CpuClock,
    book: Mutex<Book>,
}

/// A count on a cache line of its own.
#[derive(Default)]
#[repr(align(128))]
struct Count(AtomicU64);

/// One reader's count.
pub(super) struct Share(Arc<Count>);

/// What is kept from one end of a stage to the next.
#[derive(Default)]
struct Book {
    /// Being counted, and how many reads there were before.
    system_calls: Option<(SystemCalls, u64)>,
    start: Option<Moment>,
    figures: Figures,
    failure: Option<String>,
}

struct Moment {
    at: Instant,
    cpu: CpuTime,
    from_disk: u64,
    reads: u64,
}

impl Meter {
    pub(super) fn new(read: &Read) -> Result<Self> {
        let nanoseconds = |seconds: f64| (seconds * 1e9) as u64;
        Ok(Self {
            stage: AtomicU8::new(WARMING),
            ends: AtomicU64::new(coarse_now() + nanoseconds(read.warm_up)),
            lengths: [read.warm_up, read.seconds / 4.0, read.seconds].map(nanoseconds),
            shares: (0..read.readers).map(|_| Arc::default()).collect(),
            cpu: CpuClock::of(std::process::id())?,
            book: Mutex::default(),
        })
    }

    pub(super) fn share(&self, reader: usize) -> Share {
        Share(Arc::clone(&self.shares[reader]))
    }

    /// Whether there is more to read for a reader that has read so much of what it may read once.
    #[inline]
    pub(super) fn goes_on(&self, used: f32) -> bool {
        let stage = self.stage.load(Ordering::Relaxed);
        if stage == OVER {
            return false;
        }
        if used >= USED[usize::from(stage)] || coarse_now() >= self.ends.load(Ordering::Relaxed) {
            self.leave(stage);
        }
        self.stage.load(Ordering::Relaxed) != OVER
    }

    /// Ends it all: a reader has nothing left.
    #[cold]
    pub(super) fn end(&self) {
        while self.stage.load(Ordering::Relaxed) != OVER {
            self.leave(self.stage.load(Ordering::Relaxed));
        }
    }

    #[cold]
    pub(super) fn fail(&self, why: String) {
        self.book().failure.get_or_insert(why);
        self.stage.store(OVER, Ordering::Relaxed);
    }

    /// Goes from a stage to the next, or waits until somebody else has.
    #[cold]
    fn leave(&self, stage: u8) {
        let mut book = self.book();
        if self.stage.load(Ordering::Relaxed) != stage {
            return;
        }
        self.ends.store(0, Ordering::Relaxed);
        let done = match stage {
            WARMING => {
                match SystemCalls::of(std::process::id()).and_then(|calls| calls.start().map(|()| calls)) {
                    Ok(calls) => book.system_calls = Some((calls, self.reads())),
                    Err(error) => book.figures.note(format!("system calls are not counted: {error:#}")),
                }
                Ok(())
            }
            COUNTING => self.end_counting(&mut book).and_then(|()| {
                book.start = Some(self.moment()?);
                Ok(())
            }),
            TIMED => self.end_timing(&mut book),
            _ => return,
        };
        if let Err(error) = done {
            book.failure.get_or_insert(format!("{error:#}"));
            self.stage.store(OVER, Ordering::Relaxed);
            return;
        }
        let next = stage + 1;
        if let Some(length) = self.lengths.get(usize::from(next)) {
            self.ends.store(coarse_now() + length, Ordering::Relaxed);
        }
        self.stage.store(next, Ordering::Relaxed);
    }

    fn end_counting(&self, book: &mut Book) -> Result<()> {
        let Some((calls, reads_before)) = book.system_calls.take() else { return Ok(()) };
        let made = calls.stop()?;
        let reads = self.reads() - reads_before;
        if reads > 0 {
            book.figures.set("system_calls", made as f64 / reads as f64);
        }
        Ok(())
    }

    fn end_timing(&self, book: &mut Book) -> Result<()> {
        let before = book.start.take().context("the time that counts has not begun")?;
        let after = self.moment()?;
        let reads = (after.reads - before.reads) as f64;
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        if reads == 0.0 {
            bail!("nothing was read in the time that counts");
        }
        let used = before.cpu.until(&after.cpu);
        let each = |nanoseconds: f64| nanoseconds / 1e3 / reads;
        book.figures.set("per_second", reads / seconds);
        book.figures.set("cpu_us", each(used.total));
        book.figures.set("from_disk", (after.from_disk - before.from_disk) as f64 / reads);
        book.figures.set("reads", reads);
        book.figures.set("seconds", seconds);
        if let Some((user, system)) = used.split {
            book.figures.set("user_us", each(user));
            book.figures.set("system_us", each(system));
        }
        Ok(())
    }

    fn moment(&self) -> Result<Moment> {
        Ok(Moment {
            at: Instant::now(),
            cpu: self.cpu.read()?,
            from_disk: bytes_from_disk()?,
            reads: self.reads(),
        })
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reads(&self) -> u64 {
        self.shares.iter().map(|count| count.0.load(Ordering::Relaxed)).sum()
    }

    /// What was found, when all readers have ended.
    pub(super) fn figures(&self) -> Result<Figures> {
        let mut book = self.book();
        match book.failure.take() {
            Some(why) => bail!("{why}"),
            None => Ok(std::mem::take(&mut book.figures)),
        }
    }
}

impl Share {
    #[inline]
    pub(super) fn add_one(&self) {
        // Nobody else adds to it.
        let count = self.0.0.load(Ordering::Relaxed);
        self.0.0.store(count + 1, Ordering::Relaxed);
    }
}

/// Nanoseconds on a clock that is cheap to read and changes every few milliseconds.
#[inline]
fn coarse_now() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// What this process has made the kernel fetch from disks.
fn bytes_from_disk() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/io").context("/proc/self/io")?;
    let bytes = text.lines().find_map(|line| line.strip_prefix("read_bytes: "));
    Ok(bytes.context("/proc/self/io has no read_bytes")?.parse()?)
}
