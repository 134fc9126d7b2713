//! Forking: a child that runs a function of ours and ends, and of whom nothing is left behind.
//!
//! # Why only a process with one thread may
//! `fork(2)` copies the memory of all, and of the threads only the caller. A lock that another thread held is held for ever in the copy; what
//! it guards is left half-done: the allocator's lists, std's stdout, the log. So here it is refused to fork when there is a second thread, each
//! time anew. With one thread the child is a plain process that goes on where its parent was, and may do what it could.

#![expect(unsafe_code, reason = "fork(2)")]

use nix::errno::Errno;
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{ForkResult, fork};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, set_parent_process_death_signal, setpgid, waitpid,
};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::exit;

/// How a child ends that panicked, as std's own does.
const PANICKED: i32 = 101;

/// Runs `run` in a child process, which ends with its result as the exit status; returns the child's number to the parent.
///
/// The child dies with its parent, and has a process group of its own: a Ctrl-C of the terminal's is told to the parent alone, whose affair it is
/// to pass it on.
///
/// # Errors
/// When this process has several threads (`Unsupported`), or the system has no room for another process.
pub(super) fn child(run: impl FnOnce() -> i32) -> io::Result<Pid> {
    is_possible()?;
    let parent = getpid();
    // SAFETY: this is the only thread, as was just seen, and only a thread that exists could start another. So no lock is held by somebody who
    // does not exist in the child, and nothing of what the child finds in its memory is half-done.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Pid::from_raw(child.as_raw()).expect("a child has a number")),
        ForkResult::Child => exit(live(parent, run)),
    }
}

fn live(parent: Pid, run: impl FnOnce() -> i32) -> i32 {
    let bound = set_parent_process_death_signal(Some(Signal::KILL)).and_then(|()| setpgid(None, None));
    if let Err(error) = bound {
        tracing::error!(%error, "a child process cannot be bound to its parent, and ends");
        return 1;
    }
    if getppid() != Some(parent) {
        // The parent ended before it was bound.
        return 1;
    }
    // The frames below are the parent's, and not to be unwound here.
    catch_unwind(AssertUnwindSafe(run)).unwrap_or(PANICKED)
}

/// Reaps those of our children that have ended, and nobody else: what became of the other children of this process is for those who started them to ask.
///
/// Asking each of thousands at each end would be slow. So it is asked first, without reaping, who has ended at all. Only if that is a stranger, who will
/// stand first until its owner comes for it, all of ours are asked.
pub(super) fn reap<I: IntoIterator<Item = Pid>>(
    is_ours: impl Fn(Pid) -> bool,
    ours: impl FnOnce() -> I,
) -> Vec<(Pid, WaitStatus)> {
    let mut ended = Vec::new();
    while let Some(first) = first_ended() {
        let Some(first) = first.filter(|&first| is_ours(first)) else {
            // Those that are reaped already are nobody's children any more.
            ended.extend(ours().into_iter().filter_map(|pid| reaped(pid, WaitOptions::NOHANG)));
            break;
        };
        match reaped(first, WaitOptions::NOHANG) {
            Some(one) => ended.push(one),
            None => break,
        }
    }
    ended
}

/// A child that has ended and was not reaped, if there is one: it may be anybody's. It may also be one of which is not told who it is (`nix` knows no
/// real-time signals, of which it may have died).
fn first_ended() -> Option<Option<Pid>> {
    let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    loop {
        match waitid(Id::All, look) {
            Ok(status) => return Some(Pid::from_raw(status.pid()?.as_raw())),
            Err(Errno::EINTR) => {}
            // There are no children.
            Err(Errno::ECHILD) => return None,
            Err(_) => return Some(None),
        }
    }
}

fn reaped(pid: Pid, how: WaitOptions) -> Option<(Pid, WaitStatus)> {
    loop {
        match waitpid(Some(pid), how) {
            Err(rustix::io::Errno::INTR) => {}
            // It is not our child, or not any more.
            answer => return answer.ok()?,
        }
    }
}

/// Waits until the child, which was killed, has ended, and reaps it.
pub(super) fn wait_for_end(pid: Pid) {
    let _ = reaped(pid, WaitOptions::empty());
}

/// # Errors
/// When this process has several threads.
pub(super) fn is_possible() -> io::Result<()> {
    match threads()? {
        1 => Ok(()),
        threads => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!(
                "this model forks, which only a process with one thread may do, and this one has {threads}: start it before any other"
            ),
        )),
    }
}

/// How many threads this process has: each has a folder, and a folder is linked from each of its subfolders, its parent and itself.
fn threads() -> io::Result<u64> {
    let links = std::fs::metadata("/proc/self/task")
        .map_err(|error| io::Error::new(error.kind(), format!("cannot count threads in /proc: {error}")))?
        .nlink();
    Ok(links.saturating_sub(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test harness has threads, so this is what can be seen here; the program's tests see the rest.
    #[test]
    fn a_process_with_several_threads_is_not_forked() {
        std::thread::scope(|scope| {
            let (end, ended) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || ended.recv());
            // The harness begins and ends threads meanwhile: two looks are at the same if there was none between them.
            let listed = || std::fs::read_dir("/proc/self/task").unwrap().count() as u64;
            assert!((0..1000).any(|_| threads().unwrap() == listed()), "the count is never right");
            let error = child(|| unreachable!("no child is born")).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::Unsupported);
            drop(end);
        });
    }
}
