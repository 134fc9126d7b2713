//! What lives in this process, and what each waits for: for a log, a debugger, or a program that hangs.
//!
//! ```
//! use fibra::inspect::{self, State};
//! use fibra::WaitsFor;
//! use fibra::sync::Event;
//! use std::sync::Arc;
//!
//! fibra::run(|| {
//!     let ready = Arc::new(Event::new());
//!     let waiting = fibra::Builder::new().name("reader").spawn({
//!         let ready = Arc::clone(&ready);
//!         move || ready.wait()
//!     })?;
//!     while ready.waiting() == 0 {
//!         fibra::yield_now();
//!     }
//!     let contexts = inspect::contexts();
//!     println!("{contexts}");
//!     let reader = contexts.entry(waiting.id()).expect("it has started, and lives");
//!     assert_eq!(reader.name.as_deref(), Some("reader"));
//!     assert!(matches!(reader.state, State::Parked { waits_for: WaitsFor::Event, .. }));
//!     ready.set();
//!     Ok::<(), std::io::Error>(())
//! })?;
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! prints something like
//!
//! ```text
//!   id  kind       name     runtime  worker  daemon  state    waits for                for
//!    1  worker     main           1       0          running
//! 1025  coroutine  main           1       0          running
//! 1026  coroutine  reader         1       0          parked   Event at 0x7f3a5c000c40  0.000 s
//! 2049  worker     fibra-1        1       1          idle
//! ```
//!
//! # Who is in it
//! Every coroutine that has started and has not ended, in whatever runtime; the workers themselves; threads of [`fibra::thread`](crate::thread) from the begin
//! of their closure to its end; jobs of [`spawn_blocking`](crate::spawn_blocking) while they run; and other OS threads from when they first wait by the library's means. What
//! has not started is not there, and nor is what has ended.
//!
//! # What it costs
//! Nothing as long as nobody looks, but for three stores by which each wait says what it is for. To look may be done at any time, by anybody, while others start and end: nobody is
//! stopped for it. (A worker on which a coroutine ends in the very moment in which that part of its table is read waits for a few microseconds.) So the list is no picture of one
//! moment: each entry was right when it was read, and two need not have been so together.

mod table;

pub use crate::scheduler::waiting::{Object, WaitsFor};

use crate::scheduler::living::{self, Sighting};
use crate::scheduler::task;
use crate::scheduler::waiting::Tick;
use std::ops::Deref;
use std::time::Instant;

/// The living contexts as [`contexts`] saw them, by number: a slice of [`Entry`], which prints as a table.
#[derive(Clone, Debug)]
pub struct Listing {
    entries: Vec<Entry>,
    taken: Instant,
}

/// A context as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Its number: [`Context::id`](crate::Context::id).
    pub id: u64,
    /// The name it was given; an OS thread's is std's.
    pub name: Option<Box<str>>,
    /// What it is.
    pub kind: Kind,
    /// The number of its runtime; none for OS threads outside of any. Runtimes are numbered from 1 in the order in which they were made.
    pub runtime: Option<u64>,
    /// The index of the worker that a coroutine is bound to, or that a thread is.
    pub worker: Option<usize>,
    /// Whether the end of its runtime does not wait for it.
    pub daemon: bool,
    /// What it does.
    pub state: State,
}

/// What a context is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A coroutine.
    Coroutine,
    /// An OS thread: of [`fibra::thread`](crate::thread), or another that has waited by the library's means.
    Thread,
    /// An OS thread that runs coroutines.
    Worker,
    /// A closure of [`spawn_blocking`](crate::spawn_blocking) or [`fs`](mod@crate::fs), on a thread of the pool.
    Job,
}

/// What a context does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// It could go on, and waits for its turn.
    Ready,
    /// It runs. (An OS thread that waits by other means than the library's is taken for one that runs.)
    Running,
    /// A worker that has nothing to run.
    Idle,
    /// It waits.
    Parked {
        /// For what.
        waits_for: WaitsFor,
        /// For which one, if that can be said.
        object: Option<Object>,
        /// Since when: to a few milliseconds, or earlier by the time for which its worker computed before without a look at the clock. By the
        /// system's clock, also in a [simulation](crate::simulation).
        since: Instant,
    },
}

/// The present by both clocks, read once for a listing: so what began earlier never looks as if it had begun later.
#[derive(Clone, Copy)]
struct Now {
    instant: Instant,
    tick: Tick,
}

/// All that live now: see [the module](self).
pub fn contexts() -> Listing {
    let now = Now { instant: Instant::now(), tick: Tick::now() };
    let mut entries = Vec::new();
    living::each(|sighting| entries.push(Entry::new(&sighting, now)));
    entries.sort_by_key(|entry| entry.id);
    Listing { entries, taken: now.instant }
}

/// How many [`contexts`] would list.
///
/// ```
/// fibra::Runtime::builder().workers(1).run(|| {
///     let before = fibra::inspect::count();
///     let parked = fibra::spawn(fibra::park);
///     assert_eq!(fibra::inspect::count(), before, "it has not started");
///     fibra::yield_now();
///     assert_eq!(fibra::inspect::count(), before + 1);
///     parked.context().unpark();
///     parked.join().unwrap();
///     assert_eq!(fibra::inspect::count(), before);
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn count() -> usize {
    let mut count = 0;
    living::each(|_| count += 1);
    count
}

impl Listing {
    /// The context with this number.
    pub fn entry(&self, id: u64) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get(place)
    }

    /// When it was taken.
    pub fn taken(&self) -> Instant {
        self.taken
    }
}

impl Deref for Listing {
    type Target = [Entry];

    fn deref(&self) -> &[Entry] {
        &self.entries
    }
}

impl IntoIterator for Listing {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Listing {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

impl Entry {
    fn new(sighting: &Sighting<'_>, now: Now) -> Entry {
        let Sighting { context, runtime, worker, resumed } = *sighting;
        let kind = match context.kind {
            task::Kind::Coroutine => Kind::Coroutine,
            _ if worker.is_some() => Kind::Worker,
            task::Kind::Thread | task::Kind::Spawned => Kind::Thread,
            task::Kind::Job => Kind::Job,
        };
        let state = if context.state.is_parked() {
            let (waits_for, word) = context.waiting.get();
            let waited = now.tick.since(context.waiting.since());
            let since = now.instant.checked_sub(waited).unwrap_or(now.instant);
            State::Parked { waits_for, object: waits_for.object(word), since }
        } else if resumed {
            State::Running
        } else if kind == Kind::Worker {
            State::Idle
        } else {
            State::Ready
        };
        Entry {
            id: context.id,
            name: context.name().map(Box::from),
            kind,
            runtime,
            worker,
            daemon: context.is_daemon(),
            state,
        }
    }
}
