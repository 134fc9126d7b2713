//! What valgrind's memcheck must be told about stacks; feature `valgrind`. Outside valgrind these are no-ops.

use std::mem;

use corosensei::stack::valgrind::ValgrindStackRegistration;

use crate::chunk::Slot;
use crate::guard::GUARD_SIZE;

/// `VG_USERREQ__MAKE_MEM_UNDEFINED` of `memcheck.h`: the tool's letters, then the number of the request.
const MAKE_MEM_UNDEFINED: usize = ((b'M' as usize) << 24 | (b'C' as usize) << 16) + 1;

/// Registers the slot as a stack, for good: a slot is never unmapped.
pub(crate) fn register(slot: &Slot) {
    mem::forget(ValgrindStackRegistration::new((slot.start + GUARD_SIZE) as *mut u8, slot.class.bytes()));
}

/// Says that a stack may be used anew. Memcheck closes what lies below a stack pointer as it rises, but the first
/// frame of the next coroutine is written there from another stack.
pub(crate) fn forget_contents(start: usize, length: usize) {
    let request = [MAKE_MEM_UNDEFINED, start, length, 0, 0, 0];
    // SAFETY: the sequence is valgrind's documented way to make a request: the rotations add up to a whole turn and
    // the exchange is with itself, so on a processor it does nothing. It reads `request` only.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!(
            "rol rdi, 3", "rol rdi, 13", "rol rdi, 61", "rol rdi, 51", "xchg rbx, rbx",
            in("rax") request.as_ptr(), inout("rdx") 0usize => _, options(nostack),
        );
    }
    // SAFETY: as above.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!(
            "ror x12, x12, #3", "ror x12, x12, #13", "ror x12, x12, #51", "ror x12, x12, #61", "orr x10, x10, x10",
            in("x4") request.as_ptr(), inout("x3") 0usize => _, options(nostack),
        );
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = request;
}
