//! Chunks: large stretches of reserved address space, cut into slots of one size; and the table that finds the slot
//! an address belongs to, which a signal handler may read.
//!
//! ```text
//! chunk   | slot 0 | slot 1 | slot 2 |  …  | not handed out yet  |
//!
//! slot    | guard, 64 KiB | usable, a size class … label · colour |
//!         ^ start         ^ lowest usable byte            ^ base  ^ end
//! ```
//!
//! A chunk is reserved, not allocated: a page costs memory from its first touch on. Chunks are never unmapped, so an
//! entry of the table is valid for good once it is counted, and reading it needs no lock.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::mm::{Advice, MapFlags};

use crate::guard::{self, GUARD_SIZE, GuardKind};
use crate::size_class::SizeClass;

/// The largest single reservation. Several of these rather than one huge one: some supervisors (valgrind, containers
/// with an address-space limit) refuse that.
const LARGEST_CHUNK: usize = 4 << 30;
/// The first reservation for a size class; each further one doubles what the class has.
const FIRST_CHUNK: usize = 64 << 20;
/// Below this no smaller reservation is tried: it leaves the rest of the process something to report the error with.
const SMALLEST_CHUNK: usize = 2 << 20;

/// Room in the table: 64 TiB of the largest chunks. The table is zeroed memory that stays untouched until used.
const MOST_CHUNKS: usize = 16_384;

/// Bytes above a stack's base that hold its label.
pub(crate) const LABEL_SIZE: usize = 32;
/// Stacks start at one of this many offsets from the end of their slot, …
pub(crate) const COLOURS: usize = 16;
/// … this many bytes apart: a cache line. See the colouring section of [`crate::arena`].
pub(crate) const COLOUR_STEP: usize = 64;

const _: () =
    assert!((COLOURS - 1) * COLOUR_STEP + LABEL_SIZE <= 1536, "one page must hold this and the frames");
const _: () = assert!(COLOUR_STEP.is_multiple_of(corosensei::stack::STACK_ALIGNMENT));
const _: () = assert!(LABEL_SIZE.is_multiple_of(corosensei::stack::STACK_ALIGNMENT));

/// One slot of a chunk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub(crate) start: usize,
    pub(crate) class: SizeClass,
    index: usize,
}

impl Slot {
    /// Bytes from one slot to the next.
    pub(crate) fn stride(class: SizeClass) -> usize {
        GUARD_SIZE + class.bytes()
    }

    /// The first address above the slot.
    pub(crate) fn end(&self) -> usize {
        self.start + Slot::stride(self.class)
    }

    /// Where the stack begins, growing down. The label lies directly above.
    pub(crate) fn base(&self) -> usize {
        self.end() - LABEL_SIZE - self.index % COLOURS * COLOUR_STEP
    }

    /// Whether `address` is in the guard.
    pub(crate) fn guards(&self, address: usize) -> bool {
        (self.start..self.start + GUARD_SIZE).contains(&address)
    }
}

struct Chunk {
    start: AtomicUsize,
    slots: AtomicUsize,
    class: AtomicUsize,
}

static CHUNKS: [Chunk; MOST_CHUNKS] =
    [const { Chunk { start: AtomicUsize::new(0), slots: AtomicUsize::new(0), class: AtomicUsize::new(0) } };
        MOST_CHUNKS];
/// How many entries of `CHUNKS` are complete. Raised with `Release` after an entry is written, read with `Acquire`.
static CHUNK_COUNT: AtomicUsize = AtomicUsize::new(0);
/// Held by whoever adds to the table.
static ADDING: Mutex<()> = Mutex::new(());

/// The slot that `address` lies in. Takes no lock and allocates nothing: for signal handlers.
pub(crate) fn slot_of(address: usize) -> Option<Slot> {
    let count = CHUNK_COUNT.load(Ordering::Acquire);
    CHUNKS[..count].iter().find_map(|chunk| {
        let start = chunk.start.load(Ordering::Relaxed);
        let class = SizeClass::at(chunk.class.load(Ordering::Relaxed));
        let index = address.checked_sub(start)? / Slot::stride(class);
        (index < chunk.slots.load(Ordering::Relaxed)).then(|| Slot {
            start: start + index * Slot::stride(class),
            class,
            index,
        })
    })
}

/// The slots of one class that have not been handed out, and how much the class has reserved so far.
#[derive(Debug)]
pub(crate) struct Fresh {
    start: usize,
    next: usize,
    slots: usize,
    reserved: usize,
}

impl Fresh {
    pub(crate) const fn new() -> Fresh {
        Fresh { start: 0, next: 0, slots: 0, reserved: 0 }
    }

    /// Cuts the next slot, guarded and ready, reserving a chunk if there is none.
    ///
    /// # Errors
    /// Names what ran out. Nothing is lost then: the same slot is tried again by the next call.
    #[cold]
    pub(crate) fn cut(&mut self, kind: GuardKind, class: SizeClass) -> io::Result<Slot> {
        if self.next == self.slots {
            self.reserve(kind, class)?;
        }
        let slot = Slot { start: self.start + self.next * Slot::stride(class), class, index: self.next };
        // SAFETY: the slot is within the chunk reserved for `kind`, and `next` has never been handed out.
        unsafe { guard::arm(kind, slot.start, class)? };
        self.next += 1;
        #[cfg(feature = "valgrind")]
        crate::valgrind::register(&slot);
        Ok(slot)
    }

    #[cold]
    fn reserve(&mut self, kind: GuardKind, class: SizeClass) -> io::Result<()> {
        let stride = Slot::stride(class);
        let floor = stride.max(SMALLEST_CHUNK);
        let mut size = self.reserved.clamp(FIRST_CHUNK, LARGEST_CHUNK).max(stride);
        let start = loop {
            // SAFETY: a new anonymous mapping at an address of the kernel's choosing disturbs no other memory.
            let mapped = unsafe {
                rustix::mm::mmap_anonymous(
                    std::ptr::null_mut(),
                    size,
                    guard::reserve_protection(kind),
                    MapFlags::PRIVATE | MapFlags::NORESERVE,
                )
            };
            match mapped {
                Ok(start) => break start,
                Err(_) if size / 2 >= floor => size /= 2,
                Err(errno) => return Err(reserving_failed(size, errno)),
            }
        };
        // SAFETY: the range is the mapping made above. Huge pages would make one touched page cost 2 MiB; a kernel
        // without them refuses the advice, which is as good.
        let _ = unsafe { rustix::mm::madvise(start, size, Advice::LinuxNoHugepage) };

        let slots = size / stride;
        let adding = ADDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let count = CHUNK_COUNT.load(Ordering::Relaxed);
        let Some(chunk) = CHUNKS.get(count) else {
            // SAFETY: the mapping was made above and nobody has been told of it.
            let _ = unsafe { rustix::mm::munmap(start, size) };
            return Err(io::Error::new(
                io::ErrorKind::OutOfMemory,
                "no stack for a coroutine: the table of stack chunks is full",
            ));
        };
        chunk.start.store(start as usize, Ordering::Relaxed);
        chunk.slots.store(slots, Ordering::Relaxed);
        chunk.class.store(class.index(), Ordering::Relaxed);
        CHUNK_COUNT.store(count + 1, Ordering::Release);
        drop(adding);

        *self = Fresh { start: start as usize, next: 0, slots, reserved: self.reserved + size };
        Ok(())
    }
}

#[cold]
fn reserving_failed(size: usize, errno: rustix::io::Errno) -> io::Error {
    let kib = size / 1024;
    let message = if errno != rustix::io::Errno::NOMEM {
        format!("no stack for a coroutine: {kib} KiB could not be reserved: {errno}")
    } else if guard::overcommit_is_strict() {
        format!(
            "no stack for a coroutine: out of memory ({kib} KiB refused under vm.overcommit_memory=2; raise \
             vm.overcommit_ratio)"
        )
    } else {
        format!(
            "no stack for a coroutine: out of address space ({kib} KiB refused; raise `ulimit -v` and `ulimit -d`, \
             or vm.max_map_count if mappings ran out)"
        )
    };
    io::Error::new(
        if errno == rustix::io::Errno::NOMEM { io::ErrorKind::OutOfMemory } else { errno.kind() },
        message,
    )
}
