//! The report of a coroutine that has run out of stack.
//!
//! Running into the guard below a stack is a segmentation fault. With [`install`] done, a handler on the thread's
//! alternate signal stack looks the faulting address up in the [arena](crate::arena), reads the label of the stack
//! above that guard, and writes to standard error
//!
//! ```text
//! fibra: coroutine "parser" (#42) has overflowed its stack of 131072 bytes (fault at 0x7f0e3c40ffe8).
//! fibra: give it more with Builder::stack_size, or raise the default with FIBRA_STACK_SIZE.
//! ```
//!
//! then aborts. Every other fault goes to whatever handled SIGSEGV before, with the same arguments: a crash reporter, or the
//! standard library's own report for threads.
//!
//! The signal needs a stack of its own to be handled on, for the one at hand is full: [`protect_thread`] sees to it.
//! The threads and the main function of the standard library have one.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_void, siginfo_t};

pub use crate::alternate_stack::{AltStack, protect_thread};

use crate::arena::Label;
use crate::chunk::{self, Slot};

/// What handled SIGSEGV before. Written by `install` before `READY` is set, never after; read by the handler.
struct Previous(UnsafeCell<MaybeUninit<libc::sigaction>>);

// SAFETY: the protocol of `READY`, above, orders the one write before every read.
unsafe impl Sync for Previous {}

static PREVIOUS: Previous = Previous(UnsafeCell::new(MaybeUninit::uninit()));
static READY: AtomicBool = AtomicBool::new(false);

/// Installs the handler, once a process; further calls do nothing.
///
/// A program that installs a SIGSEGV handler of its own should do so before, or hand on what it does not recognise.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: `sigaction` reads and writes the structures it is given; zeroed, they are valid, with an empty mask.
        // The handler does only what a signal handler may. `PREVIOUS` is written here alone, under `ONCE`, and before
        // `READY` tells the handler to read it.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            let mut previous: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGSEGV, std::ptr::null(), &mut previous) != 0 {
                return;
            }
            (*PREVIOUS.0.get()).write(previous);
            READY.store(true, Ordering::Release);
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGSEGV, &action, std::ptr::null_mut());
        }
    });
}

/// The SIGSEGV handler. Takes no lock, allocates nothing, touches no thread-local.
extern "C" fn handle(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: with SA_SIGINFO the kernel passes a valid `siginfo_t`; for a fault, `si_addr` is its address.
    let (fault, code) = unsafe { ((*info).si_addr() as usize, (*info).si_code) };
    // Codes up to zero say that a process sent the signal; there is no fault then.
    if code > 0
        && let Some(slot) = chunk::slot_of(fault).filter(|slot| slot.guards(fault))
    {
        report(&slot, fault, stack_pointer(context));
        std::process::abort();
    }
    // SAFETY: the arguments are the kernel's.
    unsafe { hand_on(signal, info, context, code > 0) };
}

/// The interrupted stack pointer, or `None` on an architecture this does not know.
fn stack_pointer(context: *mut c_void) -> Option<usize> {
    let context = context.cast::<libc::ucontext_t>();
    #[cfg(target_arch = "x86_64")]
    // SAFETY: with SA_SIGINFO the third argument of a handler is a valid `ucontext_t`.
    return Some(unsafe { (*context).uc_mcontext.gregs[libc::REG_RSP as usize] } as usize);
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    return Some(unsafe { (*context).uc_mcontext.sp } as usize);
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = context;
        None
    }
}

/// Lets the previous action of the signal have it.
///
/// # Safety
/// The arguments must be those of the running SIGSEGV handler.
unsafe fn hand_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void, is_fault: bool) {
    if !READY.load(Ordering::Acquire) {
        // The handler is only installed once this is set.
        std::process::abort();
    }
    // SAFETY: `READY` says that `PREVIOUS` is written, and it is not written again. `sa_sigaction` of an action that
    // is neither default nor ignore is a function, of three arguments if SA_SIGINFO is among the flags, else of one.
    unsafe {
        let previous = (*PREVIOUS.0.get()).assume_init_ref();
        match previous.sa_sigaction {
            // A signal that another process sent may be ignored; the kernel does not let a fault be.
            libc::SIG_IGN if !is_fault => {}
            libc::SIG_DFL | libc::SIG_IGN => {
                let mut default: libc::sigaction = std::mem::zeroed();
                default.sa_sigaction = libc::SIG_DFL;
                libc::sigaction(signal, &default, std::ptr::null_mut());
                // A fault happens again on return, and kills with the right address. One that was sent does not:
                // sent again, it waits until this handler returns.
                if !is_fault {
                    libc::raise(signal);
                }
            }
            handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
                let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                    std::mem::transmute::<usize, _>(handler);
                handler(signal, info, context);
            }
            handler => {
                let handler: extern "C" fn(c_int) = std::mem::transmute::<usize, _>(handler);
                handler(signal);
            }
        }
    }
}

/// Writes the report on the overflow of the stack in `slot`.
fn report(slot: &Slot, fault: usize, stack_pointer: Option<usize>) {
    // SAFETY: a slot whose guard faults has been handed out: until then nothing runs on it.
    let label = unsafe { Label::read(slot.base()) };
    // SAFETY: whoever set the label keeps its name alive until it is cleared.
    let name = unsafe { label.name() };
    let mut text = Text { bytes: [0; 1024], length: 0 };
    text.push(b"fibra: ");
    match label.kind() {
        Some(kind) => {
            text.push(kind.as_bytes());
            if name.is_empty() {
                text.push(b" #");
                text.push_number(label.id(), 10);
            } else {
                text.push(b" \"");
                text.push(name);
                text.push(b"\" (#");
                text.push_number(label.id(), 10);
                text.push(b")");
            }
        }
        None => text.push(b"a coroutine"),
    }
    text.push(b" has overflowed its stack of ");
    text.push_number(slot.class.bytes() as u64, 10);
    text.push(b" bytes (fault at 0x");
    text.push_number(fault as u64, 16);
    text.push(b").\n");
    // An overflow has its stack pointer in the slot, guard included. Elsewhere: a frame larger than the guard,
    // or a pointer gone astray.
    if let Some(stack_pointer) = stack_pointer.filter(|pointer| !(slot.start..=slot.end()).contains(pointer))
    {
        text.push(b"fibra: the stack pointer is elsewhere, at 0x");
        text.push_number(stack_pointer as u64, 16);
        text.push(b": a frame larger than the guard, or a stray pointer.\n");
    }
    text.push(b"fibra: give it more with Builder::stack_size, or raise the default with FIBRA_STACK_SIZE.\n");
    text.write_to_stderr();
}

/// A message under construction, on the stack of the signal handler.
struct Text {
    bytes: [u8; 1024],
    length: usize,
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        for (place, byte) in self.bytes[self.length..].iter_mut().zip(bytes) {
            *place = *byte;
            self.length += 1;
        }
    }

    fn push_number(&mut self, mut number: u64, radix: u64) {
        let mut digits = [0u8; 20];
        let mut first = digits.len();
        loop {
            first -= 1;
            digits[first] = b"0123456789abcdef"[(number % radix) as usize];
            number /= radix;
            if number == 0 {
                break;
            }
        }
        self.push(&digits[first..]);
    }

    /// Writes by system call, not through libc's `write`, which may be interposed.
    fn write_to_stderr(&self) {
        // SAFETY: only borrowed for the calls below. If descriptor 2 is closed they fail, which is all right.
        let stderr = unsafe { BorrowedFd::borrow_raw(2) };
        let mut rest = &self.bytes[..self.length];
        while !rest.is_empty() {
            match rustix::io::write(stderr, rest) {
                Ok(written) if written > 0 => rest = &rest[written..],
                Err(rustix::io::Errno::INTR) => {}
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_without_allocation() {
        let mut text = Text { bytes: [0; 1024], length: 0 };
        text.push_number(0, 10);
        text.push(b" ");
        text.push_number(u64::MAX, 10);
        text.push(b" ");
        text.push_number(0xdead_beef, 16);
        assert_eq!(&text.bytes[..text.length], b"0 18446744073709551615 deadbeef");
    }

    #[test]
    fn a_text_that_is_too_long_is_cut() {
        let mut text = Text { bytes: [0; 1024], length: 0 };
        text.push(&[b'x'; 2000]);
        text.push(b"y");
        assert_eq!(text.length, 1024);
    }
}
