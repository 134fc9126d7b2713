//! One loop, or several with a thread each, until the end.

use super::admission::Admission;
use super::attendant::Attendant;
use super::door;
use super::{Options, Started, Summary};
use signal_hook::consts::SIGTERM;
use signal_hook::low_level::raise;
use std::io;
use std::thread;

/// Serves with one loop, on the calling thread.
///
/// # Errors
/// When several workers are asked for, the address cannot be listened on, or the loop fails.
pub(super) fn one(
    options: &Options,
    driver: &'static str,
    started: impl FnOnce(&Started),
    run: impl Fn(Attendant) -> io::Result<Summary> + Sync,
) -> io::Result<Summary> {
    is_one(options)?;
    several(options, driver, started, Ok, run)
}

/// # Errors
/// When several workers are asked for.
pub(super) fn is_one(options: &Options) -> io::Result<()> {
    match options.workers {
        None | Some(1) => Ok(()),
        Some(_) => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this model is one loop on one thread: --workers must be 1; epoll-lt, epoll-et and coroutine take more",
        )),
    }
}

/// Serves with as many loops as there are workers: one, if none is said. The first runs on the calling thread. All are prepared before the server is
/// said to have started.
///
/// # Errors
/// When the address cannot be listened on, a loop cannot be prepared, its thread cannot be started, or it fails: then the others stop, too.
pub(super) fn several<L: Send>(
    options: &Options,
    driver: &'static str,
    started: impl FnOnce(&Started),
    prepare: impl Fn(Attendant) -> io::Result<L>,
    run: impl Fn(L) -> io::Result<Summary> + Sync,
) -> io::Result<Summary> {
    let workers = options.workers.unwrap_or(1);
    let listeners = door::listen(options.address, options.accept, workers)?;
    let address = listeners[0].local_addr()?;
    let admission = Admission::new(options.service.limits().connections);
    let attendants = listeners.into_iter().map(|listener| Attendant::new(options, listener, &admission));
    let loops = attendants.map(|attendant| prepare(attendant?));
    let mut loops: Vec<L> = loops.collect::<io::Result<_>>()?;
    started(&Started { address, driver, workers });
    let run = |its| {
        run(its).inspect_err(|_| {
            // All loops hear it, so that this one does not leave them to serve alone.
            let _ = raise(SIGTERM);
        })
    };
    let first = loops.remove(0);
    thread::scope(|scope| {
        let mut others = Vec::new();
        for (number, its) in (1..).zip(loops) {
            let thread = thread::Builder::new().name(format!("serve-{number}"));
            others.push(thread.spawn_scoped(scope, || run(its)).inspect_err(|_| {
                let _ = raise(SIGTERM);
            })?);
        }
        let mut summary = run(first)?;
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            summary.accepted += other.accepted;
            summary.cut_off += other.cut_off;
            summary.wakeups += other.wakeups;
        }
        Ok(summary)
    })
}
