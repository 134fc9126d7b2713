//! The table of a worker's started tasks: its own thread changes it, and any thread may look.
//!
//! A task's memory is freed after its end by whoever has the last reference, and who looks has none. So looking and ending meet in a flag of
//! each chunk:
//!
//! ```text
//!  worker, at a task's end                 who looks
//!  1  slot.swap(0)                         a  lock; reading = true
//!  2  reading? then lock, unlock           b  slot? then look at the task
//!  3  give the task's reference back       c  reading = false; unlock
//! ```
//!
//! **Nobody looks at what was freed.** 1 and 2, a and b are sequentially consistent: either b sees the slot empty; or b came before 1, so a came before 2, which sees the
//! flag and waits until the look is over. To start a task costs a plain store, and to end one an exchange on a line that only this worker writes. Only a worker that ends a
//! task in the very chunk that somebody looks at waits, for a few microseconds.

use super::sync::{AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering, in_order};
use super::task::TaskPtr;
use fibra_driver::Token;
use std::sync::{Arc, PoisonError};

/// Slots of a chunk.
const SIZE: usize = if cfg!(loom) { 2 } else { 256 };

/// A table of more chunks than this is given back when it is empty.
const KEPT: usize = 16;

/// The table as others see it.
#[derive(Debug, Default)]
pub(crate) struct Started(Mutex<Vec<Arc<Chunk>>>);

/// The table as its worker has it.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    chunks: Vec<Arc<Chunk>>,
    free: Vec<u32>,
}

/// Slots: tokens, or 0.
#[derive(Debug)]
struct Chunk {
    slots: [AtomicUsize; SIZE],
    reading: AtomicBool,
    lock: Mutex<()>,
}

impl Tasks {
    /// The task's slot.
    #[inline]
    pub(super) fn insert(&mut self, task: Token, table: &Started) -> u32 {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.grow(table),
        };
        self.slot(slot).1.store(task.0, Ordering::Release);
        slot
    }

    /// When this returns nobody looks at the task any more.
    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        let (chunk, place) = self.slot(slot);
        place.swap(0, Ordering::SeqCst);
        in_order();
        if chunk.reading.load(Ordering::SeqCst) {
            chunk.wait();
        }
        self.free.push(slot);
    }

    #[inline]
    fn slot(&self, slot: u32) -> (&Chunk, &AtomicUsize) {
        let chunk = &*self.chunks[slot as usize / SIZE];
        (chunk, &chunk.slots[slot as usize % SIZE])
    }

    #[cold]
    fn grow(&mut self, table: &Started) -> u32 {
        let first = (self.chunks.len() * SIZE) as u32;
        let chunk = Arc::new(Chunk::new());
        table.lock().push(Arc::clone(&chunk));
        self.chunks.push(chunk);
        self.free.extend((first + 1..first + SIZE as u32).rev());
        first
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = TaskPtr> + '_ {
        let slots = self.chunks.iter().flat_map(|chunk| &chunk.slots);
        slots.filter_map(|slot| task(slot.load(Ordering::Relaxed)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.len() * SIZE == self.free.len()
    }

    /// Gives memory back.
    pub(super) fn shrink(&mut self, table: &Started) {
        if self.is_empty() && self.chunks.len() > KEPT {
            table.lock().clear();
            *self = Tasks::default();
        }
    }
}

/// The task that a token names, if it is not 0.
fn task(token: usize) -> Option<TaskPtr> {
    // SAFETY: slots hold tokens of tasks.
    (token != 0).then(|| unsafe { TaskPtr::from_token(Token(token)) })
}

impl Started {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Chunk>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows all the started tasks. They are alive while `f` runs, which must not wait for the table's worker.
    pub(super) fn each(&self, mut f: impl FnMut(Token)) {
        let chunks = self.lock().clone();
        chunks.iter().for_each(|chunk| chunk.each(&mut f));
    }
}

impl Chunk {
    fn new() -> Chunk {
        Chunk {
            slots: std::array::from_fn(|_| AtomicUsize::new(0)),
            reading: AtomicBool::new(false),
            lock: Mutex::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cold]
    fn wait(&self) {
        drop(self.lock());
    }

    fn each(&self, f: &mut impl FnMut(Token)) {
        struct Reading<'a>(&'a Chunk);
        impl Drop for Reading<'_> {
            fn drop(&mut self) {
                self.0.reading.store(false, Ordering::Release);
            }
        }
        let _lock = self.lock();
        let _reading = Reading(self);
        self.reading.store(true, Ordering::SeqCst);
        in_order();
        for slot in &self.slots {
            let token = slot.load(Ordering::SeqCst);
            if token != 0 {
                f(Token(token));
            }
        }
    }
}
