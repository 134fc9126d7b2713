//! may on one worker, or on two, with its default stack (32 KiB and a guard page). Its timers run on a thread of their own, which
//! here shares the core.

use std::time::Duration;

use may::coroutine::{self, Coroutine, JoinHandle};

use super::Blocking;

/// may on `WORKERS` workers.
pub(crate) struct On<const WORKERS: usize>;

pub(crate) type May = On<1>;
pub(crate) type MayTwo = On<2>;

impl<const WORKERS: usize> On<WORKERS> {
    /// So many workers, left on the cores this process was given.
    pub(crate) fn configure() {
        may::config().set_workers(WORKERS).set_worker_pin(false);
    }
}

impl<const WORKERS: usize> Blocking for On<WORKERS> {
    type Handle = Coroutine;
    type Join = JoinHandle<()>;

    fn run<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> T {
        Self::configure();
        // The main task formats figures and opens files: give it room (the size is in words).
        let builder = coroutine::Builder::new().stack_size(0x8000);
        // SAFETY: with one worker no coroutine changes its thread, so thread-locals keep their meaning; with two, what is measured uses
        // none across a wait. What the measurements call stays far below the stack's size.
        let main = unsafe { builder.spawn(main) }.expect("a first coroutine");
        main.join().unwrap_or_else(|_| panic!("the measured program panicked"))
    }

    #[inline]
    fn spawn(task: impl FnOnce() + Send + 'static) -> Self::Join {
        // SAFETY: as in `run`.
        unsafe { coroutine::spawn(task) }
    }

    #[inline]
    fn join(task: Self::Join) {
        task.join().expect("measured tasks do not panic");
    }

    #[inline]
    fn yield_now() {
        coroutine::yield_now();
    }

    #[inline]
    fn park() {
        coroutine::park();
    }

    #[inline]
    fn park_timeout(timeout: Duration) {
        coroutine::park_timeout(timeout);
    }

    #[inline]
    fn sleep(duration: Duration) {
        coroutine::sleep(duration);
    }

    #[inline]
    fn current() -> Self::Handle {
        coroutine::current()
    }

    #[inline]
    fn unpark(handle: &Self::Handle) {
        handle.unpark();
    }
}
