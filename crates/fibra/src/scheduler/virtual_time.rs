//! The clock of a simulation, and what its worker has to know of the world outside.
//!
//! The time stands still while anybody can run, and jumps to the next timer when nobody can (`worker/standstill.rs`). It belongs to a runtime with one worker, whose thread
//! alone moves it.
//!
//! # Holds
//! A [`Hold`] says that somebody outside may yet wake a coroutine: a call of the blocking pool or on a file that is under way, an OS thread that the user speaks for, or one
//! of [`crate::thread`].
//! While there is one the time does not jump, or a timeout would overtake a call that takes microseconds; nor is a coroutine that waits taken for one that waits in vain. Who drops
//! a hold has delivered before what it held for, then counts it off, then rouses the worker: the worker says that it sleeps before it looks at the count, so
//! either it finds none and all that they have brought, or the ring ends its sleep.
//!
//! A thread of [`crate::thread`] has a hold from before it starts until it has ended, but not while it waits without a limit by the library's means, or a coroutine that sleeps would wait
//! for its time, and that for the thread which waits for the coroutine. It lets go when its parking word says that it sleeps in the kernel, and who ends such a sleep
//! holds for it before he goes on. He is a coroutine, during which the worker does not look, or somebody outside whose own hold covers that moment.
//! A sleep with a limit may end by itself, so then the thread keeps its hold, and lets go of its waker's.

use super::core::Core;
use crate::time::clock::Clock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// So many resumes in a row, with somebody always able to run, take no time.
const RESUMES_FOR_NOTHING: u32 = 1024;

/// How long each further one takes: a millisecond for 64.
const TOIL: Duration = Duration::from_nanos(15_625);

/// The time of a simulation, and how the simulation stands.
pub(crate) struct VirtualTime {
    start: Instant,
    /// Nanoseconds since the start. Written by the worker's thread only.
    now: AtomicU64,
    /// What makes the choices; none when they are those of a runtime.
    seed: Option<u64>,
    /// Resumes since the worker was last idle. Its thread only.
    resumes: AtomicU32,
    holds: AtomicUsize,
    /// Who waited for what, when it was for ever.
    deadlock: OnceLock<String>,
    /// Whether those who are left do not even end.
    hopeless: AtomicBool,
}

impl VirtualTime {
    pub(crate) fn new(seed: Option<u64>) -> VirtualTime {
        VirtualTime {
            start: Instant::now(),
            now: AtomicU64::new(0),
            seed,
            resumes: AtomicU32::new(0),
            holds: AtomicUsize::new(0),
            deadlock: OnceLock::new(),
            hopeless: AtomicBool::new(false),
        }
    }

    pub(crate) fn seed(&self) -> Option<u64> {
        self.seed
    }

    /// How much time has passed since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.now.load(Ordering::Relaxed))
    }

    /// Nobody can run: it is `deadline` now, if that is not past.
    pub(crate) fn jump(&self, deadline: Instant) {
        self.go_to(deadline.saturating_duration_since(self.start));
    }

    /// It is `duration` later now.
    pub(crate) fn advance(&self, duration: Duration) {
        self.go_to(self.elapsed().saturating_add(duration));
    }

    fn go_to(&self, since_start: Duration) {
        let nanos = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        self.now.fetch_max(nanos, Ordering::Relaxed);
    }

    /// The worker has resumed so many coroutines more. Who asks again and again, yielding in between, whether it is time waits for ever when asking takes none.
    pub(crate) fn toil(&self, count: u32) {
        let resumes = self.resumes.load(Ordering::Relaxed).saturating_add(count);
        self.resumes.store(resumes, Ordering::Relaxed);
        if resumes > RESUMES_FOR_NOTHING {
            self.advance(TOIL * count);
        }
    }

    /// The worker is idle.
    pub(crate) fn rest(&self) {
        self.resumes.store(0, Ordering::Relaxed);
    }

    /// Whether somebody outside may yet wake a coroutine.
    pub(crate) fn is_held(&self) -> bool {
        self.holds.load(Ordering::SeqCst) > 0
    }

    pub(crate) fn report(&self, deadlock: String) {
        // There is one end, and so one report.
        let _ = self.deadlock.set(deadlock);
    }

    pub(crate) fn deadlock(&self) -> Option<&str> {
        self.deadlock.get().map(String::as_str)
    }

    pub(crate) fn give_up(&self) {
        self.hopeless.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_hopeless(&self) -> bool {
        self.hopeless.load(Ordering::Relaxed)
    }
}

impl Clock for VirtualTime {
    fn now(&self) -> Instant {
        self.start + self.elapsed()
    }

    fn until(&self, _: Instant) -> Duration {
        Duration::ZERO
    }
}

/// While it lives, the time of its simulation does not jump.
#[must_use]
pub(crate) struct Hold(Arc<Core>);

impl Hold {
    /// None where the time is real.
    #[inline]
    pub(crate) fn new(core: &Arc<Core>) -> Option<Hold> {
        core.virtual_time.is_some().then(|| {
            hold(core);
            Hold(Arc::clone(core))
        })
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let_go(&self.0);
    }
}

/// Counts a hold.
pub(super) fn hold(core: &Core) {
    if let Some(time) = &core.virtual_time {
        time.holds.fetch_add(1, Ordering::SeqCst);
    }
}

/// Counts one off.
pub(super) fn let_go(core: &Core) {
    if let Some(time) = &core.virtual_time {
        time.holds.fetch_sub(1, Ordering::SeqCst);
        core.workers[0].rouse();
    }
}
