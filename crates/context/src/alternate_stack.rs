//! The stack a thread handles signals on, so that a fault on a full stack can be reported.

use std::io;
use std::marker::PhantomData;

use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

/// Keeps the calling thread's alternate signal stack; see [`protect_thread`].
#[derive(Debug)]
#[must_use = "the thread is protected for as long as this lives"]
pub struct AltStack {
    /// The mapping (its address and length, guard page included), if one had to be made.
    mapping: Option<(usize, usize)>,
    /// Belongs to the thread that made it.
    not_send: PhantomData<*mut ()>,
}

/// Makes sure that the calling thread has an alternate signal stack until the result is dropped.
///
/// Threads of the standard library, and its main thread, have one: nothing is done then. Otherwise one is mapped,
/// of 64 KiB or what the processor's registers need, with a guard page below.
///
/// # Errors
/// What `mmap`, `mprotect` or `sigaltstack` say.
pub fn protect_thread() -> io::Result<AltStack> {
    let present = current()?;
    if present.ss_flags & libc::SS_DISABLE == 0 {
        return Ok(AltStack { mapping: None, not_send: PhantomData });
    }

    let page = rustix::param::page_size();
    // SAFETY: `getauxval` has no preconditions; it answers 0 where the kernel does not tell.
    let registers = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let size = (registers + 16 * 1024).max(64 * 1024).next_multiple_of(page);
    // SAFETY: a new anonymous mapping at an address of the kernel's choosing disturbs no other memory.
    let start = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            page + size,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )?
    };
    // From here on dropping it unmaps.
    let stack = AltStack { mapping: Some((start as usize, page + size)), not_send: PhantomData };
    // SAFETY: the first page of the mapping just made is in nobody's use.
    unsafe { rustix::mm::mprotect(start, page, MprotectFlags::empty())? };
    let new = libc::stack_t { ss_sp: start.wrapping_byte_add(page), ss_flags: 0, ss_size: size };
    // SAFETY: the memory stays mapped until `AltStack` is dropped, which takes it out of use first; it is not `Send`,
    // so that happens on this thread.
    if unsafe { libc::sigaltstack(&new, std::ptr::null_mut()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(stack)
}

fn current() -> io::Result<libc::stack_t> {
    let mut present = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: 0, ss_size: 0 };
    // SAFETY: a null first argument changes nothing; the second is written.
    match unsafe { libc::sigaltstack(std::ptr::null(), &mut present) } {
        0 => Ok(present),
        _ => Err(io::Error::last_os_error()),
    }
}

impl Drop for AltStack {
    fn drop(&mut self) {
        let Some((start, length)) = self.mapping else { return };
        let ours = start..start + length;
        if current().is_ok_and(|present| ours.contains(&(present.ss_sp as usize))) {
            let none = libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
            // SAFETY: takes the stack out of use; refused if the thread is running on it.
            if unsafe { libc::sigaltstack(&none, std::ptr::null_mut()) } != 0 {
                return;
            }
        }
        // SAFETY: the mapping is this value's own, and is not the thread's signal stack any more.
        let _ = unsafe { rustix::mm::munmap(start as *mut libc::c_void, length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_has_a_signal_stack_keeps_it() {
        std::thread::spawn(|| {
            let before = current().unwrap();
            let guard = protect_thread().unwrap();
            let during = current().unwrap();
            assert_eq!(before.ss_flags & libc::SS_DISABLE != 0, guard.mapping.is_some());
            assert_eq!(during.ss_flags & libc::SS_DISABLE, 0);
            drop(guard);
            assert_eq!(current().unwrap().ss_sp, before.ss_sp);
        })
        .join()
        .unwrap();
    }

    #[test]
    fn a_thread_without_a_signal_stack_gets_one_for_as_long_as_the_guard_lives() {
        extern "C" fn body(_: *mut libc::c_void) -> *mut libc::c_void {
            assert_ne!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);
            let first = protect_thread().unwrap();
            assert!(first.mapping.is_some());
            assert_eq!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);
            let second = protect_thread().unwrap();
            assert!(second.mapping.is_none());
            drop(second);
            assert_eq!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);
            drop(first);
            assert_ne!(current().unwrap().ss_flags & libc::SS_DISABLE, 0);
            std::ptr::null_mut()
        }
        // SAFETY: a thread made with default attributes that runs `body`, and is joined once.
        unsafe {
            let mut thread: libc::pthread_t = 0;
            assert_eq!(libc::pthread_create(&mut thread, std::ptr::null(), body, std::ptr::null_mut()), 0);
            assert_eq!(libc::pthread_join(thread, std::ptr::null_mut()), 0);
        }
    }
}
