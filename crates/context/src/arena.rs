//! Where stacks come from: one arena for the process.
//!
//! A [`Stack`] is a slot of a [large reservation](#layout). [`allocate`] takes a freed slot of the right size, or cuts
//! a new one; dropping the stack puts it back. Nothing is ever unmapped, and a slot keeps its guard for good.
//!
//! # Layout
//!
//! ```text
//! low addresses                                                                      high addresses
//! +----------------+-------------------------------------------------+-------+--------+
//! | guard, 64 KiB  |  usable: 16 KiB … 1 GiB          ← stack grows  | label | colour |  next slot's guard …
//! +----------------+-------------------------------------------------+-------+--------+
//! ^ limit                                                            ^ base           ^ page boundary
//! ```
//!
//! * The *guard* faults on any access; [`guard_kind`] says how. 64 KiB, so that a frame of C code, which may not touch
//!   every page it skips, does not land in the neighbour.
//! * The *label* (32 bytes) says whose stack this is; the [overflow report](crate::overflow) reads it.
//! * The *colour* (0 to 960 bytes, by the slot's number) keeps the tops of stacks from sharing their page offset.
//!
//! Label, colour and a few frames fit in the uppermost page, so a parked coroutine keeps one page resident if its
//! frames are small. A size of `n` bytes is rounded up to a size class (four to each doubling, whole pages, 16 KiB at
//! the least); [`Stack::usable_size`] counts from the guard to the end of the slot, label and colour included.
//!
//! # Colouring
//!
//! The first-level cache picks its set by the offset within a page. If every stack began at the same offset, a
//! thousand suspended coroutines would have their few hot lines in the same few sets. Sixteen offsets, a cache line
//! apart, spread them. Resuming so many coroutines in turn, per round trip, medians of 41 interleaved rounds
//! (`cargo bench -p fibra-context`):
//!
//! | coroutines | coloured | all at one offset |
//! |---|---|---|
//! | 1 | 2.1 ns | 2.5 ns |
//! | 100 | 2.9 ns | 8.9 ns |
//! | 1,000 | 3.4 ns | 15.2 ns |
//! | 10,000 | 16.5 ns | 16.8 ns |
//!
//! (2 cores of x86-64, a first-level cache of 48 KiB. Ten thousand stacks miss in the TLB whatever their colour.)
//! On the same machine a new stack is cut in 350 ns; `allocate` and drop of a freed one take 27 ns, a
//! [`StackCache`](crate::StackCache)'s `take` and `give` together 5.5 ns, and a coroutine's whole life on a cached
//! stack 6.6 ns.
//!
//! # Memory
//!
//! Slots that come back are *dirty*: their pages are still resident, and the next user finds them warm. Giving a stack's
//! pages back costs a system call and a TLB flush (0.3 to 1.3 µs), so that is not done in the middle of work: a burst of a million
//! coroutines would spend more time on it than on running. Dirty slots hold no more than they held while in use. [`trim_some`] gives
//! the oldest back, a few at a time: fibra's workers call it when they are idle, and now and then when they are not; [`trim`] gives back all.

use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock};

pub use crate::guard::{GuardKind, GuardPreference, guard_kind, guard_notice, set_guard_preference};
pub use crate::label::Label;
pub use crate::stack::{Stack, StackSpan};

use crate::chunk::Fresh;
use crate::guard;
use crate::size_class::{self, SizeClass};
use crate::stack;

/// The smallest usable size a stack has, in bytes. Smaller requests get this.
pub const MIN_SIZE: usize = size_class::SMALLEST;
/// The largest usable size a stack can have, in bytes.
pub const MAX_SIZE: usize = size_class::LARGEST;
/// The usable size of a stack nobody chose a size for, in bytes; see [`default_size`].
///
/// What a parked coroutine costs is the pages it has touched (one, 4 KiB, for most) and its share of page tables: 8 bytes for each
/// page of its slot, guard included. With 64 KiB of stack that is 256 bytes, with 192 KiB it is 512, which alone would
/// break the aim of 4,608 bytes a coroutine. Code that needs more (deep recursion, large arrays) asks for it.
pub const DEFAULT_SIZE: usize = 64 * 1024;

/// The slots of one size class that are free.
struct FreeSlots {
    /// Bases of freed slots whose pages may be resident, the latest last.
    dirty: Vec<usize>,
    /// Bases of freed slots whose pages have been given back.
    clean: Vec<usize>,
    fresh: Fresh,
}

static FREE_SLOTS: [Mutex<FreeSlots>; size_class::COUNT] =
    [const { Mutex::new(FreeSlots { dirty: Vec::new(), clean: Vec::new(), fresh: Fresh::new() }) };
        size_class::COUNT];

fn free_slots(class: SizeClass) -> MutexGuard<'static, FreeSlots> {
    // Every change to the lists is complete when the lock is released, so a poisoned one is as good.
    FREE_SLOTS[class.index()].lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// A stack of at least `size` usable bytes.
///
/// # Errors
/// When memory, address space or memory mappings are out: the message names which, and what to raise. Also when
/// `size` is above [`MAX_SIZE`], or `FIBRA_GUARD` asks for what cannot be had.
///
/// ```
/// let stack = fibra_context::arena::allocate(100_000)?;
/// assert!(stack.usable_size() >= 100_000);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn allocate(size: usize) -> io::Result<Stack> {
    let class = class_for(size)?;
    let kind = guard::chosen()?;
    let mut free = free_slots(class);
    let base = match free.dirty.pop().or_else(|| free.clean.pop()) {
        Some(base) => base,
        None => free.fresh.cut(kind, class)?.base(),
    };
    drop(free);
    Ok(Stack::at(base, class))
}

/// The class for `size`, or why there is none.
pub(crate) fn class_for(size: usize) -> io::Result<SizeClass> {
    SizeClass::holding(size).ok_or_else(|| {
        let message = format!("a stack of {size} bytes is more than the largest, {MAX_SIZE} bytes");
        io::Error::new(io::ErrorKind::InvalidInput, message)
    })
}

/// The usable size for a stack nobody chose a size for: `FIBRA_STACK_SIZE` in bytes, or with a suffix `k` or `m`
/// (KiB, MiB), or else [`DEFAULT_SIZE`]. The variable is read once.
///
/// # Errors
/// `FIBRA_STACK_SIZE` is not a size, or above [`MAX_SIZE`].
pub fn default_size() -> io::Result<usize> {
    static CHOSEN: OnceLock<Result<usize, String>> = OnceLock::new();
    let chosen = CHOSEN.get_or_init(|| match std::env::var_os("FIBRA_STACK_SIZE") {
        None => Ok(DEFAULT_SIZE),
        Some(text) if text.is_empty() => Ok(DEFAULT_SIZE),
        Some(text) => text.to_str().and_then(parse_size).ok_or_else(|| {
            format!(
                "FIBRA_STACK_SIZE is {text:?}: it takes a number of bytes, or of KiB or MiB with k or m after \
                     it, up to 1024m"
            )
        }),
    });
    chosen.clone().map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))
}

fn parse_size(text: &str) -> Option<usize> {
    let (digits, unit) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1 << 10),
        b'm' | b'M' => (&text[..text.len() - 1], 1 << 20),
        _ => (text, 1),
    };
    digits.parse::<usize>().ok()?.checked_mul(unit).filter(|size| (1..=MAX_SIZE).contains(size))
}

/// Gives the memory of all free stacks back to the kernel. Stacks held by a [`StackCache`](crate::StackCache) are
/// not free.
pub fn trim() {
    for class in (0..size_class::COUNT).map(SizeClass::at) {
        let dirty = std::mem::take(&mut free_slots(class).dirty);
        clean(class, dirty);
    }
}

/// Gives the memory of up to `most` free stacks back to the kernel, the longest unused first; keeps the warmest `keep` of each
/// size. Returns how many it was: 0 when there is nothing left to do.
pub fn trim_some(most: usize, keep: usize) -> usize {
    let mut left = most;
    for class in (0..size_class::COUNT).map(SizeClass::at) {
        if left == 0 {
            break;
        }
        let oldest: Vec<usize> = {
            let mut free = free_slots(class);
            let count = free.dirty.len().saturating_sub(keep).min(left);
            let oldest = free.dirty.drain(..count).collect();
            if free.dirty.capacity() > 4096 && free.dirty.len() < free.dirty.capacity() / 8 {
                let room = 2 * free.dirty.len();
                free.dirty.shrink_to(room);
            }
            oldest
        };
        left -= oldest.len();
        clean(class, oldest);
    }
    most - left
}

impl FreeSlots {
    fn accept(&mut self, base: usize) {
        // Without memory for the list the slot is lost, which is better than dying in a destructor.
        if self.dirty.try_reserve(1).is_ok() {
            self.dirty.push(base);
        }
    }
}

/// Gives the memory of slots that were taken out of a dirty list back, then offers them again.
fn clean(class: SizeClass, bases: Vec<usize>) {
    if bases.is_empty() {
        return;
    }
    for &base in &bases {
        let end = base.next_multiple_of(4096);
        stack::release(end - class.bytes(), end);
    }
    let mut free = free_slots(class);
    if free.clean.try_reserve(bases.len()).is_ok() {
        free.clean.extend(bases);
    }
}

/// Moves up to `most` free stacks into `to`, warm ones first. Cuts none.
pub(crate) fn take_free(class: SizeClass, most: usize, to: &mut Vec<Stack>) {
    let mut free = free_slots(class);
    for _ in 0..most {
        let Some(base) = free.dirty.pop().or_else(|| free.clean.pop()) else { break };
        to.push(Stack::at(base, class));
    }
}

/// Takes slots of `class` back under one lock. Whoever calls gives their ownership up.
pub(crate) fn accept(class: SizeClass, bases: impl Iterator<Item = usize>) {
    let mut free = free_slots(class);
    bases.for_each(|base| free.accept(base));
}

/// Takes stacks of `class` back under one lock.
pub(crate) fn give_back(class: SizeClass, stacks: impl Iterator<Item = Stack>) {
    accept(class, stacks.map(Stack::into_base));
}

/// Takes stacks of `class` back, and gives their memory back too.
pub(crate) fn give_back_clean(class: SizeClass, stacks: impl Iterator<Item = Stack>) {
    clean(class, stacks.map(Stack::into_base).collect());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_bytes_and_with_a_suffix() {
        assert_eq!(parse_size("65536"), Some(65536));
        assert_eq!(parse_size("64k"), Some(65536));
        assert_eq!(parse_size("2M"), Some(2 << 20));
        for wrong in ["", "k", "-1", "64kb", "0", "2000m", "99999999999999999999"] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_stack_larger_than_the_largest_is_an_error() {
        let error = allocate(MAX_SIZE + 1).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("1073741824"));
    }
}
