//! The 64 KiB below each stack that nobody may touch, and the two ways of making them so.
//!
//! *Lightweight*: `madvise(MADV_GUARD_INSTALL)`, Linux 6.13 and later. The guard is a mark in the page table, so a
//! chunk full of guarded stacks stays one mapping, and a million stacks cost a few dozen of them.
//!
//! *Mprotect*, everywhere else: a chunk is reserved inaccessible, and each slot's usable part is opened with
//! `mprotect` when it is first handed out. That makes two mappings a stack, so the default `vm.max_map_count` of 65,530
//! ends it near 30,000 stacks: a sixteenth of the mappings is left to the rest of the process, which would otherwise
//! die of the next thread it starts (the standard library aborts) or of the next large allocation. It also suits strict overcommit (`vm.overcommit_memory=2`), which charges for what
//! can be written whether or not it is reserved: only opened stacks are charged.
//!
//! Which one is decided once a process, at the first stack. 64 KiB is a multiple of every page size of x86-64 and
//! aarch64, and is more than the frame of any C function that does not probe its stack ought to be.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::size_class::SizeClass;

/// Bytes of guard below each stack.
pub(crate) const GUARD_SIZE: usize = 64 * 1024;

/// `MADV_GUARD_INSTALL`, from the kernel's `mman-common.h`; not in every libc yet.
const MADV_GUARD_INSTALL: libc::c_int = 102;

/// How stacks are guarded in this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardKind {
    /// A mark in the page table: no mapping for each stack (Linux 6.13 and later).
    Lightweight,
    /// A stretch without access: two mappings for each stack.
    Mprotect,
}

/// How the program would like stacks to be guarded; see [`set_guard_preference`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GuardPreference {
    /// Lightweight where the kernel has it and overcommit is not strict, otherwise with `mprotect`.
    #[default]
    Auto,
    /// Lightweight; without it, allocating a stack is an error.
    Lightweight,
    /// With `mprotect`, on any kernel.
    Mprotect,
}

static PREFERENCE: AtomicU8 = AtomicU8::new(GuardPreference::Auto as u8);
static DECISION: OnceLock<Decision> = OnceLock::new();

struct Decision {
    kind: GuardKind,
    notice: Option<String>,
    refusal: Option<String>,
}

/// Says how stacks should be guarded. The environment variable `FIBRA_GUARD` (`auto`, `lightweight` or `mprotect`)
/// overrides it.
///
/// Returns whether it came in time: once the first stack has been allocated the choice is made, and nothing changes. (While another thread allocates
/// the first, the answer may be wrong.)
pub fn set_guard_preference(preference: GuardPreference) -> bool {
    PREFERENCE.store(preference as u8, Ordering::Relaxed);
    DECISION.get().is_none()
}

/// How stacks are guarded in this process. Asking makes the choice, if it has not been made.
///
/// If the choice cannot be honoured (`FIBRA_GUARD` holds an unknown word, or asks for what the kernel lacks) this is
/// what `auto` would have chosen, and every allocation fails with the reason.
pub fn guard_kind() -> GuardKind {
    decision().kind
}

/// Why stacks are guarded the expensive way although nobody asked for it, as a sentence to show the user once;
/// `None` if they are not.
pub fn guard_notice() -> Option<&'static str> {
    decision().notice.as_deref()
}

/// The kind to use, or why there is none.
#[inline]
pub(crate) fn chosen() -> io::Result<GuardKind> {
    let decision = decision();
    match &decision.refusal {
        None => Ok(decision.kind),
        Some(reason) => Err(io::Error::new(io::ErrorKind::InvalidInput, reason.as_str())),
    }
}

#[inline]
fn decision() -> &'static Decision {
    DECISION.get_or_init(|| {
        let preference = match std::env::var_os("FIBRA_GUARD") {
            None => Ok(match PREFERENCE.load(Ordering::Relaxed) {
                1 => GuardPreference::Lightweight,
                2 => GuardPreference::Mprotect,
                _ => GuardPreference::Auto,
            }),
            Some(word) => match word.to_str() {
                Some("" | "auto") => Ok(GuardPreference::Auto),
                Some("lightweight") => Ok(GuardPreference::Lightweight),
                Some("mprotect") => Ok(GuardPreference::Mprotect),
                _ => Err(format!("FIBRA_GUARD is {word:?}: it takes auto, lightweight or mprotect")),
            },
        };
        decide(preference, lightweight_guards_work, overcommit_is_strict)
    })
}

#[cold]
fn decide(
    preference: Result<GuardPreference, String>,
    lightweight_works: impl Fn() -> bool,
    strict: impl Fn() -> bool,
) -> Decision {
    let settled = |kind| Decision { kind, notice: None, refusal: None };
    let automatic = || {
        let reason = if strict() {
            "memory overcommit is strict (vm.overcommit_memory=2)"
        } else if !lightweight_works() {
            "the kernel has no lightweight guard pages (Linux 6.13 and later have them)"
        } else {
            return settled(GuardKind::Lightweight);
        };
        let notice = format!(
            "{reason}: each coroutine stack takes two memory mappings, so at most {} fit under vm.max_map_count={}",
            openable(),
            max_map_count()
        );
        Decision { notice: Some(notice), ..settled(GuardKind::Mprotect) }
    };
    match preference {
        Ok(GuardPreference::Auto) => automatic(),
        Ok(GuardPreference::Mprotect) => settled(GuardKind::Mprotect),
        Ok(GuardPreference::Lightweight) if lightweight_works() => settled(GuardKind::Lightweight),
        Ok(GuardPreference::Lightweight) => Decision {
            refusal: Some(
                "lightweight stack guards were asked for and this kernel has none (Linux 6.13 and later have them)"
                    .to_owned(),
            ),
            ..automatic()
        },
        Err(refusal) => Decision { refusal: Some(refusal), ..automatic() },
    }
}

pub(crate) fn overcommit_is_strict() -> bool {
    std::fs::read("/proc/sys/vm/overcommit_memory").is_ok_and(|text| text.trim_ascii() == b"2")
}

/// Stacks opened with `mprotect` so far; each is two mappings, for good.
static OPENED: AtomicUsize = AtomicUsize::new(0);

/// How many stacks may be opened with `mprotect`.
fn openable() -> usize {
    static OPENABLE: OnceLock<usize> = OnceLock::new();
    *OPENABLE.get_or_init(|| {
        let all = max_map_count();
        (all - all / 16) / 2
    })
}

pub(crate) fn max_map_count() -> usize {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(65_530)
}

/// Tries one on a mapping of its own.
fn lightweight_guards_work() -> bool {
    if !GUARD_SIZE.is_multiple_of(rustix::param::page_size()) {
        return false;
    }
    // SAFETY: a new anonymous mapping at an address of the kernel's choosing disturbs no other memory.
    let probe = unsafe {
        rustix::mm::mmap_anonymous(
            std::ptr::null_mut(),
            GUARD_SIZE,
            ProtFlags::READ | ProtFlags::WRITE,
            MapFlags::PRIVATE | MapFlags::NORESERVE,
        )
    };
    let Ok(probe) = probe else { return false };
    // SAFETY: `probe` is the mapping made above; nobody else knows of it, so it may be guarded and unmapped.
    unsafe {
        let works = install_lightweight(probe as usize).is_ok();
        let _ = rustix::mm::munmap(probe, GUARD_SIZE);
        works
    }
}

/// # Safety
/// `[start, start + GUARD_SIZE)` must be mapped, and hold nothing that is in use.
unsafe fn install_lightweight(start: usize) -> Result<(), Errno> {
    // SAFETY: the caller vouches for the range; the advice takes its contents away and makes access a fault.
    match unsafe { libc::madvise(start as *mut libc::c_void, GUARD_SIZE, MADV_GUARD_INSTALL) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::INVAL)),
    }
}

/// The protection a chunk is reserved with, so that [`arm`] can finish its slots one by one.
pub(crate) fn reserve_protection(kind: GuardKind) -> ProtFlags {
    match kind {
        GuardKind::Lightweight => ProtFlags::READ | ProtFlags::WRITE,
        GuardKind::Mprotect => ProtFlags::empty(),
    }
}

/// Makes the slot at `start` ready: its guard shut, its usable part open.
///
/// # Errors
/// Says which resource ran out, and what to raise.
///
/// # Safety
/// The slot must lie in a chunk reserved for `kind` and must never have been handed out.
pub(crate) unsafe fn arm(kind: GuardKind, start: usize, class: SizeClass) -> io::Result<()> {
    // SAFETY: the caller owns the whole slot and nothing in it is in use.
    let result = unsafe {
        match kind {
            GuardKind::Lightweight => install_lightweight(start),
            GuardKind::Mprotect => open(start + GUARD_SIZE, class.bytes()),
        }
    };
    result.map_err(|errno| arming_failed(kind, errno))
}

/// # Safety
/// `[start, start + bytes)` must be part of a mapping whose memory is the caller's.
unsafe fn open(start: usize, bytes: usize) -> Result<(), Errno> {
    if OPENED.fetch_add(1, Ordering::Relaxed) >= openable() {
        OPENED.fetch_sub(1, Ordering::Relaxed);
        return Err(Errno::NOMEM);
    }
    // SAFETY: the caller vouches for the range; opening what is its own disturbs no other memory.
    let result = unsafe {
        rustix::mm::mprotect(start as *mut libc::c_void, bytes, MprotectFlags::READ | MprotectFlags::WRITE)
    };
    if result.is_err() {
        OPENED.fetch_sub(1, Ordering::Relaxed);
    }
    result
}

#[cold]
fn arming_failed(kind: GuardKind, errno: Errno) -> io::Error {
    let message = match (kind, errno) {
        (GuardKind::Mprotect, Errno::NOMEM) if overcommit_is_strict() => format!(
            "no stack for a coroutine: the commit limit (vm.overcommit_memory=2; raise vm.overcommit_ratio) or the \
             memory mappings (vm.max_map_count={}) are used up",
            max_map_count()
        ),
        (GuardKind::Mprotect, Errno::NOMEM) => format!(
            "no stack for a coroutine: out of memory mappings; each stack takes two and some are left to \
             the rest of the process, raise vm.max_map_count (now {})",
            max_map_count()
        ),
        (GuardKind::Lightweight, Errno::NOMEM) => {
            "no stack for a coroutine: out of memory for the page tables of its guard".to_owned()
        }
        (GuardKind::Lightweight, Errno::INVAL) => {
            "no stack for a coroutine: the kernel refused a lightweight guard, as it does in locked memory \
             (mlockall); FIBRA_GUARD=mprotect does without"
                .to_owned()
        }
        _ => format!("no stack for a coroutine: its guard could not be made: {errno}"),
    };
    io::Error::new(if errno == Errno::NOMEM { io::ErrorKind::OutOfMemory } else { errno.kind() }, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_prefers_lightweight_and_says_why_when_it_cannot_have_it() {
        let light = decide(Ok(GuardPreference::Auto), || true, || false);
        assert_eq!((light.kind, light.notice), (GuardKind::Lightweight, None));
        let old = decide(Ok(GuardPreference::Auto), || false, || false);
        assert_eq!(old.kind, GuardKind::Mprotect);
        assert!(old.notice.unwrap().contains("6.13"));
        let strict = decide(Ok(GuardPreference::Auto), || true, || true);
        assert_eq!(strict.kind, GuardKind::Mprotect);
        assert!(strict.notice.unwrap().contains("vm.overcommit_memory"));
    }

    #[test]
    fn asking_for_lightweight_guards_where_there_are_none_is_refused() {
        assert!(decide(Ok(GuardPreference::Lightweight), || false, || false).refusal.is_some());
        assert!(decide(Ok(GuardPreference::Lightweight), || true, || true).refusal.is_none());
    }

    #[test]
    fn asking_for_mprotect_is_granted_without_a_notice() {
        let decision = decide(Ok(GuardPreference::Mprotect), || true, || false);
        assert_eq!((decision.kind, decision.notice, decision.refusal), (GuardKind::Mprotect, None, None));
    }
}
