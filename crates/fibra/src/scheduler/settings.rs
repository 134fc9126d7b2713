//! What the environment says: `FIBRA_WORKERS`, `FIBRA_DRIVER`, `FIBRA_URING`. (`FIBRA_STACK_SIZE` is read by the stack arena.)

use fibra_context::arena;
use fibra_driver::RingSettings;
use std::io;

/// The stack of the closure given to [`run`](crate::run), of which there is one.
pub(crate) const MAIN_STACK_SIZE: usize = 1024 * 1024;

/// The bounds of a stack size, in bytes.
pub(crate) const STACK_SIZES: std::ops::RangeInclusive<usize> = arena::MIN_SIZE..=arena::MAX_SIZE;

/// The bounds of a worker count.
pub(crate) const WORKERS: std::ops::RangeInclusive<usize> = 1..=1024;

/// Which driver is to be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DriverKind {
    /// What the measurements favour: today that is epoll for sockets, and a ring beside it for files, where this machine has one.
    #[default]
    Auto,
    /// `epoll(7)`; calls on files go to a small ring beside it, or else to the blocking pool, which the log then says, with the reason.
    Epoll,
    /// `io_uring(7)` for everything. Where there can be no ring, the runtime does not start, and the error says why.
    Uring,
}

/// How many workers there are when nothing else is said: what the affinity mask and the cgroup's quota allow.
pub(crate) fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// `FIBRA_WORKERS`, checked.
pub(crate) fn workers() -> io::Result<Option<usize>> {
    let Some(text) = variable("FIBRA_WORKERS")? else { return Ok(None) };
    let number = text.trim().parse().ok().filter(|number| WORKERS.contains(number));
    number.map(Some).ok_or_else(|| {
        invalid(format!(
            "FIBRA_WORKERS is '{text}'; it must be a number from {} to {}",
            WORKERS.start(),
            WORKERS.end()
        ))
    })
}

/// `FIBRA_DRIVER`, checked.
pub(crate) fn driver() -> io::Result<Option<DriverKind>> {
    let Some(text) = variable("FIBRA_DRIVER")? else { return Ok(None) };
    match text.trim() {
        "auto" => Ok(Some(DriverKind::Auto)),
        "epoll" => Ok(Some(DriverKind::Epoll)),
        "uring" => Ok(Some(DriverKind::Uring)),
        _ => Err(invalid(format!("FIBRA_DRIVER is '{text}'; it must be 'auto', 'epoll' or 'uring'"))),
    }
}

/// `FIBRA_URING`, checked: how rings are made and used.
pub(crate) fn ring() -> io::Result<RingSettings> {
    let Some(text) = variable("FIBRA_URING")? else { return Ok(RingSettings::default()) };
    text.parse().map_err(|error| invalid(format!("FIBRA_URING is '{text}'; {error}")))
}

fn variable(name: &str) -> io::Result<Option<String>> {
    match std::env::var(name) {
        Ok(text) if text.trim().is_empty() => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => Err(invalid(format!("{name} is not text"))),
    }
}

pub(crate) fn invalid(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}
