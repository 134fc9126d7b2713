//! Threads of the operating system, as std starts them. The process is pinned, so all of them share one core.

use std::thread;
use std::time::Duration;

use super::Blocking;

pub(crate) struct Thread;

impl Blocking for Thread {
    type Handle = thread::Thread;
    type Join = thread::JoinHandle<()>;

    fn run<T: Send + 'static>(main: impl FnOnce() -> T + Send + 'static) -> T {
        main()
    }

    fn spawn(task: impl FnOnce() + Send + 'static) -> Self::Join {
        thread::spawn(task)
    }

    fn join(task: Self::Join) {
        task.join().expect("measured tasks do not panic");
    }

    fn yield_now() {
        thread::yield_now();
    }

    fn park() {
        thread::park();
    }

    fn park_timeout(timeout: Duration) {
        thread::park_timeout(timeout);
    }

    fn sleep(duration: Duration) {
        thread::sleep(duration);
    }

    fn current() -> Self::Handle {
        thread::current()
    }

    fn unpark(handle: &Self::Handle) {
        handle.unpark();
    }
}
