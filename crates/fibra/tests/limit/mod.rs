//! Tests that end: a lost wake-up is a failure, not a standstill.

#![allow(dead_code, reason = "each test file uses its own part")]

use fibra::Runtime;
use std::panic::resume_unwind;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// After this a test hangs.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// Runs `test` on a thread of its own, and panics when it does not come to its end.
pub(crate) fn within<T: Send + 'static>(limit: Duration, test: impl FnOnce() -> T + Send + 'static) -> T {
    let (ended, end) = mpsc::channel();
    let thread = thread::spawn(move || ended.send(test()));
    match end.recv_timeout(limit) {
        Ok(value) => {
            // When it has ended nothing of it is left. (A thread may still open a file as it ends: glibc reads /proc/sys/vm/overcommit_memory when
            // it first gives memory of a thread's heap back.)
            assert!(thread.join().is_ok(), "the value is there, so the test has not panicked");
            value
        }
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(payload) => resume_unwind(payload),
            Ok(_) => unreachable!("a test that ends says so"),
        },
        Err(RecvTimeoutError::Timeout) => {
            let (contexts, threads) = (fibra::inspect::contexts(), threads());
            panic!(
                "hangs: not over after {limit:?}; who waits for what:\n{contexts}\n\nits threads, and where in the kernel each waits:\n{threads}"
            )
        }
    }
}

/// The threads of this process: number, name, the kernel's function in which it sleeps, the system call and its arguments.
fn threads() -> String {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return String::new() };
    let lines = tasks.flatten().map(|task| {
        let of = |what| std::fs::read_to_string(task.path().join(what)).unwrap_or_default();
        let [name, place, call] = ["comm", "wchan", "syscall"].map(of);
        format!("{} {} {} {}\n", task.file_name().display(), name.trim(), place.trim(), call.trim())
    });
    lines.collect()
}

/// Runs `test` as the main coroutine of a runtime with so many workers.
pub(crate) fn on_workers<T: Send + 'static>(count: usize, test: impl FnOnce() -> T + Send + 'static) -> T {
    within(LIMIT, move || Runtime::builder().workers(count).run(test).expect("a runtime"))
}

/// The same with 1, 2 and 8 workers.
pub(crate) fn on_any_workers(test: impl Fn() + Clone + Send + 'static) {
    for count in [1, 2, 8] {
        on_workers(count, test.clone());
    }
}
