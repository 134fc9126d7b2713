//! Reading on the worker what the page cache holds.
//!
//! A trip to the pool costs many times what copying a few cached pages does. `preadv2(…, RWF_NOWAIT)` (Linux 4.14) copies what is there and
//! answers `EAGAIN` where it would have to wait for the disk; then, and wherever it does not apply, the read goes to the pool.
//! What it answers, on Linux 6.18:
//!
//! * Regular files of ext4 and the like, block devices, pipes, sockets: as above. `EAGAIN` also when the data is there but a lock is taken.
//! * tmpfs, `/proc`, `/sys`, terminals, directories: `EOPNOTSUPP`. It is remembered.
//! * With `O_DIRECT` it does wait for the disk (`__iomap_dio_rw`: every synchronous read does), so such files are not asked.
//! * Linux 5.9 and 5.10 may answer 0 before the end of the file (BUGS in preadv2(2)): nothing is asked there.

use super::position::Position;
use crate::scheduler::worker::Worker;
use rustix::fs::{FileType, OFlags};
use rustix::io::{Errno, ReadWriteFlags};
use std::io::IoSliceMut;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

/// At most this much is copied in one read on the worker, two to ten microseconds of its time. Longer reads come back short.
const AT_ONCE: usize = 64 * 1024;

/// So many bytes count as one operation when the coroutine's turn is measured.
const OPERATION: usize = 16 * 1024;

/// So many reads after one of which nothing was cached go to the ring without asking: a question that is answered no costs a tenth of what the read costs there.
const MISSES: u8 = 15;

/// Nobody has asked yet.
const UNKNOWN: u8 = 0;
const SUPPORTED: u8 = 1;
const UNSUPPORTED: u8 = 2;

/// What the clones of an open file share.
#[derive(Debug, Default)]
pub(super) struct Description {
    pub(super) position: Position,
    /// Whether the file can be asked for what is cached.
    answers: AtomicU8,
    /// Whether a ring may be given reads and writes at a place.
    has_places: AtomicU8,
    /// For so many reads nobody is going to ask: the last answer was that nothing is cached.
    misses: AtomicU8,
}

impl Description {
    /// Reads what is cached, at `offset` or else at the file's position, without waiting. `None` when the read has to be made where it
    /// may block: nothing is cached, it cannot be told, something is wrong, or the caller is no coroutine.
    pub(super) fn read_cached(
        &self,
        file: &std::fs::File,
        buffers: &mut [IoSliceMut<'_>],
        offset: Option<u64>,
    ) -> Option<usize> {
        let worker = Worker::here().filter(|worker| worker.current().is_some())?;
        if !self.answers(file) || offset.is_some_and(|offset| i64::try_from(offset).is_err()) {
            return None;
        }
        let position = match offset {
            None => Some(self.position.quick()?),
            Some(_) => None,
        };
        // The highest offset stands for the file's position.
        let result = rustix::io::preadv2(file, buffers, offset.unwrap_or(u64::MAX), ReadWriteFlags::NOWAIT);
        drop(position);
        match result {
            Ok(read) => {
                for _ in 0..=read / OPERATION {
                    worker.spend();
                }
                Some(read)
            }
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                self.answers.store(UNSUPPORTED, Ordering::Relaxed);
                None
            }
            // Whatever is wrong, the other way comes upon it too, and says it in std's words.
            Err(_) => None,
        }
    }

    /// The same at an offset, for a file that a ring would read otherwise: there a few cached pages cost little more, and so it is not asked each time.
    pub(super) fn read_cached_at(
        &self,
        file: &std::fs::File,
        buffers: &mut [IoSliceMut<'_>],
        offset: u64,
    ) -> Option<usize> {
        let misses = self.misses.load(Ordering::Relaxed);
        if misses > 0 {
            self.misses.store(misses - 1, Ordering::Relaxed);
            return None;
        }
        let read = self.read_cached(file, buffers, Some(offset));
        if read.is_none() && Worker::here().is_some_and(Worker::has_ring) {
            self.misses.store(MISSES, Ordering::Relaxed);
        }
        read
    }

    /// Whether the file is one with places in it: a ring reads from a pipe or a terminal at any offset, where `pread(2)` says `ESPIPE`.
    pub(super) fn has_places(&self, file: &std::fs::File) -> bool {
        match self.has_places.load(Ordering::Relaxed) {
            UNKNOWN => {
                let kind = rustix::fs::fstat(file).map(|stat| FileType::from_raw_mode(stat.st_mode));
                let has = matches!(kind, Ok(FileType::RegularFile | FileType::BlockDevice));
                self.has_places.store(if has { SUPPORTED } else { UNSUPPORTED }, Ordering::Relaxed);
                has
            }
            known => known == SUPPORTED,
        }
    }

    fn answers(&self, file: &std::fs::File) -> bool {
        match self.answers.load(Ordering::Relaxed) {
            UNKNOWN => self.ask(file),
            answer => answer == SUPPORTED,
        }
    }

    #[cold]
    fn ask(&self, file: &std::fs::File) -> bool {
        let direct =
            rustix::fs::fcntl_getfl(file.as_fd()).map_or(true, |flags| flags.contains(OFlags::DIRECT));
        let answers = !direct && kernel_answers();
        self.answers.store(if answers { SUPPORTED } else { UNSUPPORTED }, Ordering::Relaxed);
        answers
    }
}

/// The part of a buffer that is read at once.
pub(super) fn at_once(buffer: &mut [u8]) -> &mut [u8] {
    let length = buffer.len().min(AT_ONCE);
    &mut buffer[..length]
}

/// How many of the buffers, from the first on, are read at once: none when the first alone is too long.
pub(super) fn all_at_once(buffers: &[IoSliceMut<'_>]) -> usize {
    let mut total = 0_usize;
    buffers
        .iter()
        .take_while(|buffer| {
            total = total.saturating_add(buffer.len());
            total <= AT_ONCE
        })
        .count()
}

/// Whether this kernel's answers are right.
fn kernel_answers() -> bool {
    static ANSWERS: OnceLock<bool> = OnceLock::new();
    *ANSWERS.get_or_init(|| {
        let system = rustix::system::uname();
        !has_early_ends(&system.release().to_string_lossy())
    })
}

/// Whether a release of Linux may report the end of a file before its end.
fn has_early_ends(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let (major, minor) = (numbers.next(), numbers.next());
    major == Some("5") && matches!(minor, Some("9" | "10"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_kernels_with_the_bug_are_told_from_the_others() {
        for release in ["5.9.0", "5.9.16-1-amd64", "5.10.0-28-cloud", "5.10-rc3", "5.10"] {
            assert!(has_early_ends(release), "{release}");
        }
        for release in ["5.8.18", "5.11.0", "5.100.1", "4.9.0", "6.10.3", "6.18.44-v595", "15.9", ""] {
            assert!(!has_early_ends(release), "{release}");
        }
    }

    #[test]
    fn a_file_that_bypasses_the_cache_is_not_asked_what_is_cached() {
        use std::os::unix::fs::OpenOptionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut options = std::fs::OpenOptions::new();
        options.read(true).custom_flags(OFlags::DIRECT.bits().cast_signed());
        // Not every file system can.
        let Ok(direct) = options.open(file.path()) else { return };
        assert!(!Description::default().answers(&direct));
        assert_eq!(Description::default().answers(file.as_file()), kernel_answers());
    }

    #[test]
    fn vectored_reads_take_whole_buffers_up_to_the_limit() {
        let count = |lengths: &[usize]| {
            let mut memory: Vec<Vec<u8>> = lengths.iter().map(|length| vec![0; *length]).collect();
            let buffers: Vec<_> = memory.iter_mut().map(|buffer| IoSliceMut::new(buffer)).collect();
            all_at_once(&buffers)
        };
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[0, 10]), 2);
        assert_eq!(count(&[AT_ONCE, 0, 1]), 2);
        assert_eq!(count(&[AT_ONCE + 1, 1]), 0);
        assert_eq!(count(&[1, AT_ONCE, 1]), 1);
    }
}
