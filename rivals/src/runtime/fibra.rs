//! fibra on one worker, the calling thread, or on two.

use std::time::Duration;

use anyhow::Result;

use super::Blocking;
use crate::process::Unavailable;

/// fibra on `WORKERS` workers.
pub(crate) struct On<const WORKERS: usize>;

pub(crate) type Fibra = On<1>;
pub(crate) type FibraTwo = On<2>;

impl<const WORKERS: usize> On<WORKERS> {
    /// Runs `main` as [`Blocking::run`] does.
    ///
    /// # Errors
    ///
    /// When there is no runtime to be had: no driver of the name that the environment gives, or the kernel refuses it.
    pub(crate) fn start<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        Ok(fibra::Runtime::builder().workers(WORKERS).run(main).map_err(Unavailable::because)?)
    }
}

impl<const WORKERS: usize> Blocking for On<WORKERS> {
    type Handle = fibra::Context;
    type Join = fibra::JoinHandle<()>;

    fn run<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> T {
        Self::start(main).expect("a runtime")
    }

    #[inline]
    fn spawn(task: impl FnOnce() + Send + 'static) -> Self::Join {
        fibra::spawn(task)
    }

    #[inline]
    fn join(task: Self::Join) {
        task.join().expect("measured tasks do not panic");
    }

    #[inline]
    fn yield_now() {
        fibra::yield_now();
    }

    #[inline]
    fn park() {
        fibra::park();
    }

    #[inline]
    fn park_timeout(timeout: Duration) {
        fibra::park_timeout(timeout);
    }

    #[inline]
    fn sleep(duration: Duration) {
        fibra::sleep(duration);
    }

    #[inline]
    fn current() -> Self::Handle {
        fibra::current()
    }

    #[inline]
    fn unpark(handle: &Self::Handle) {
        handle.unpark();
    }
}
