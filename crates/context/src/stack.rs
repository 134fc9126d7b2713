//! A stack, and its addresses.

use std::cell::Cell;
use std::num::NonZeroUsize;

use corosensei::stack::StackPointer;
use rustix::mm::Advice;

use crate::arena;
use crate::guard::GUARD_SIZE;
use crate::label::Label;
use crate::size_class::{self, SizeClass};

/// A stack of the process-wide arena. Dropping it returns it.
pub struct Stack {
    /// One word, so that a stack travels in a register:
    ///
    /// ```text
    ///   bit 63     62 … 56   55 … 48      47 … 0
    ///   labelled   zero      size class   base
    /// ```
    ///
    /// A mapping made without a hint lies below 2^47 on x86-64 and 2^48 on aarch64, also with larger address spaces.
    packed: Cell<usize>,
}

const BASE_BITS: u32 = 48;
const BASE_MASK: usize = (1 << BASE_BITS) - 1;
const LABELLED: usize = 1 << 63;

const _: () = assert!(size_of::<Stack>() == 8 && size_class::COUNT <= 256);

impl Stack {
    /// The stack whose slot has its base at `base`, which nobody else may own.
    #[inline]
    pub(crate) fn at(base: usize, class: SizeClass) -> Stack {
        debug_assert!(base <= BASE_MASK);
        let stack = Stack { packed: Cell::new(base | class.index() << BASE_BITS) };
        stack.prepare();
        stack
    }

    /// Called whenever a stack gets a new user.
    #[inline]
    pub(crate) fn prepare(&self) {
        #[cfg(feature = "valgrind")]
        crate::valgrind::forget_contents(self.low(), self.end() - self.low());
    }

    #[inline]
    pub(crate) fn class(&self) -> SizeClass {
        SizeClass::at(self.packed.get() >> BASE_BITS & 0xff)
    }

    #[inline]
    fn base_address(&self) -> usize {
        self.packed.get() & BASE_MASK
    }

    /// The end of the slot: label and colour take less than the smallest page, and slots end on a page boundary.
    #[inline]
    fn end(&self) -> usize {
        self.base_address().next_multiple_of(4096)
    }

    /// The lowest usable address.
    #[inline]
    fn low(&self) -> usize {
        self.end() - self.class().bytes()
    }

    /// The usable bytes, from the guard to the end of the slot.
    #[inline]
    pub fn usable_size(&self) -> usize {
        self.class().bytes()
    }

    /// The addresses of the stack: what one keeps when the stack itself goes into a coroutine.
    #[inline]
    pub fn span(&self) -> StackSpan {
        StackSpan { low: self.low(), base: self.base_address() }
    }

    /// Says whose stack this is, for the [overflow report](crate::overflow). Returning the stack clears it.
    ///
    /// # Safety
    /// The name the label was made from must stay alive until the label is replaced or [cleared](Stack::clear_label),
    /// or the stack dropped or given to a cache.
    #[inline]
    pub unsafe fn set_label(&self, label: Label) {
        self.packed.set(self.packed.get() | LABELLED);
        self.write_label(label);
    }

    /// Takes the label away.
    #[inline]
    pub fn clear_label(&self) {
        if self.packed.get() & LABELLED != 0 {
            self.packed.set(self.packed.get() & !LABELLED);
            self.write_label(Label::NONE);
        }
    }

    #[inline]
    fn write_label(&self, label: Label) {
        let place = self.base_address() as *mut Label;
        // SAFETY: LABEL_SIZE bytes above the base belong to this slot and to nothing else, are mapped, and aligned to
        // 16. Volatile, for the reader is a signal handler.
        unsafe { place.write_volatile(label) };
    }

    /// Gives back the memory of all but the uppermost `keep` bytes, rounded up to whole pages.
    pub fn trim(&self, keep: usize) {
        // Nothing lives on a stack that is not lent to a coroutine, and one that is lent out cannot be called upon.
        release(self.low(), self.end().saturating_sub(keep));
    }

    /// Gives ownership of the slot up; [`Stack::at`] takes it again.
    pub(crate) fn into_base(self) -> usize {
        self.clear_label();
        let base = self.base_address();
        std::mem::forget(self);
        base
    }
}

// SAFETY: base and limit delimit a slot that this value owns alone; below the usable bytes, which are at least 16 KiB
// less the label and the colour, lies a guard that `Fresh::cut` has made inaccessible.
unsafe impl corosensei::stack::Stack for Stack {
    #[inline]
    fn base(&self) -> StackPointer {
        NonZeroUsize::new(self.base_address()).expect("a slot does not begin at address zero")
    }

    #[inline]
    fn limit(&self) -> StackPointer {
        NonZeroUsize::new(self.low() - GUARD_SIZE).expect("a slot does not begin at address zero")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.clear_label();
        arena::accept(self.class(), std::iter::once(self.base_address()));
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stack")
            .field("base", &format_args!("{:#x}", self.base_address()))
            .field("usable_size", &self.usable_size())
            .finish()
    }
}

/// The addresses of a stack, without owning it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StackSpan {
    low: usize,
    base: usize,
}

/// Bytes below a recorded stack pointer that the frames of the switch may still use.
const SWITCH_FRAMES: usize = 1024;

impl StackSpan {
    /// Whether `address` is on the stack.
    #[inline]
    pub fn contains(&self, address: usize) -> bool {
        (self.low..self.base).contains(&address)
    }

    /// Whether the caller is running on this stack.
    #[inline]
    pub fn is_current(&self) -> bool {
        let here = 0u8;
        self.contains(std::ptr::from_ref(std::hint::black_box(&here)).addr())
    }

    /// Gives back the memory below `stack_pointer`, which is the address of something in the innermost frame of a
    /// suspended coroutine's own code, such as a local of the function that suspends. The 1,024 bytes below it are kept
    /// for the switch. Does nothing if the address is not on this stack.
    ///
    /// # Safety
    /// The stack must not have been returned to the arena or a cache; the coroutine on it must be suspended, and stay
    /// so during the call, with nothing of value more than 1,024 bytes below `stack_pointer`.
    pub unsafe fn trim_below(&self, stack_pointer: usize) {
        if self.contains(stack_pointer) {
            release(self.low, stack_pointer.saturating_sub(SWITCH_FRAMES));
        }
    }
}

/// Gives the whole pages of `[low, high)` back to the kernel; they read as zero from then on.
pub(crate) fn release(low: usize, high: usize) {
    let high = high & !(rustix::param::page_size() - 1);
    if low < high {
        // SAFETY: callers pass part of the usable range of a slot, and vouch that nothing there is in use. The advice
        // cannot fail on such a mapping, save in locked memory, where it is right to leave it.
        let _ = unsafe { rustix::mm::madvise(low as *mut libc::c_void, high - low, Advice::LinuxDontNeed) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk;
    use corosensei::stack::Stack as _;

    #[test]
    fn a_stack_finds_its_slot_and_the_slot_its_stack() {
        for size in [0, 1, 16 << 10, 100_000, 1 << 20, 300 << 20] {
            let stacks: Vec<Stack> = (0..3).map(|_| arena::allocate(size).unwrap()).collect();
            for stack in &stacks {
                let slot = chunk::slot_of(stack.base().get() - 1).unwrap();
                assert_eq!(slot.base(), stack.base().get());
                assert_eq!(slot.end(), stack.end());
                assert_eq!(slot.start, stack.limit().get());
                assert_eq!(stack.base().get() % corosensei::stack::STACK_ALIGNMENT, 0);
                assert!(stack.usable_size() >= size);
                assert!(slot.guards(stack.low() - 1) && !slot.guards(stack.low()));
            }
        }
    }

    #[test]
    fn a_returned_stack_has_no_label() {
        let stack = arena::allocate(48 << 10).unwrap();
        let base = stack.base().get();
        // SAFETY: the name is static.
        unsafe { stack.set_label(Label::coroutine(7, "seven")) };
        // SAFETY: `base` is the base of a stack handed out above, and stays mapped.
        let label = unsafe { Label::read(base) };
        assert_eq!((label.kind(), label.id()), (Some("coroutine"), 7));
        // SAFETY: the name is static.
        assert_eq!(unsafe { label.name() }, b"seven");
        drop(stack);
        // SAFETY: as above.
        assert_eq!(unsafe { Label::read(base) }.kind(), None);
    }
}
