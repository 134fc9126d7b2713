//! Reads of a file, 4 KiB at a time: all over it and from the beginning to the end, with its pages in memory and on the
//! disk alone.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, Seek as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum as _;
use rustix::fs::{Advice, OFlags};

use super::{Aim, DRIVERS, Experiment, Limit, Metric};
use crate::cli::{Access, Settings};
use crate::process::{Child, Figures};
use crate::reader::{PAGE, write_pages};
use crate::report::grouped;
use crate::rival::Rival;

/// Pages written at once.
const WRITTEN_AT_ONCE: u32 = 1_024;
/// How much of the file may be in memory when its pages were dropped, and not be there when they were fetched.
const ASTRAY: f64 = 0.001;
/// How many bytes a read, on average, may come from the disk at the most where all are to come from memory, and at the
/// least where none is.
const FROM_MEMORY: f64 = 0.001 * PAGE as f64;
const FROM_DISK: f64 = 0.99 * PAGE as f64;
/// How often the pages are brought where they are to be, and a measurement is made that was given others: a system that
/// is short of memory, or reclaims what nobody has touched for a while (DAMON), takes some out of the cache in between.
const ATTEMPTS: usize = 4;

const METRICS: &[Metric] = &[
    Metric { key: "per_second", title: "reads/s", decimals: 0, compared: true },
    Metric { key: "cpu_us", title: "CPU µs per read", decimals: 2, compared: true },
    Metric { key: "user_us", title: "user", decimals: 2, compared: false },
    Metric { key: "system_us", title: "system", decimals: 2, compared: false },
    Metric { key: "system_calls", title: "system calls", decimals: 2, compared: false },
    Metric { key: "from_disk", title: "bytes from disk", decimals: 0, compared: false },
];

/// Where the pages are when they are asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Cached,
    Cold,
}

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    // Made when the first measurement needs it, gone with the last.
    let file = Rc::new(OnceCell::new());
    let mut experiments = Vec::new();
    for access in [Access::Random, Access::Sequential] {
        for state in [State::Cached, State::Cold] {
            for readers in &settings.readers {
                experiments.push(with(settings, access, state, *readers, Rc::clone(&file)));
            }
        }
    }
    experiments
}

fn with(
    settings: &Settings,
    access: Access,
    state: State,
    readers: usize,
    file: Rc<OnceCell<TestFile>>,
) -> Experiment {
    let options = settings.clone();
    let access_name = access.to_possible_value().expect("no variant is skipped").get_name().to_owned();
    let (state_name, about_state) = match state {
        State::Cached => ("cached", "All of it is in the page cache."),
        State::Cold => (
            "cold",
            "Before each round the file's pages are dropped from the page cache, which is checked, and none is read twice.",
        ),
    };
    let about_access = match access {
        Access::Random => "Pages in an order drawn anew, without read-ahead.",
        Access::Sequential => "Each reader its part of the file, with the system's read-ahead.",
    };
    let aims = match access {
        Access::Random => {
            vec![Aim::of_the_best(&DRIVERS, "per_second", Limit::AtLeast(2.0)).times(Rival::TokioCt)]
        }
        Access::Sequential => vec![],
    };
    let experiment = Experiment {
        key: format!("files-{access_name}-{state_name}-{readers}"),
        title: format!(
            "File reads, {access_name}, {state_name}, {readers} reader{}",
            if readers == 1 { "" } else { "s" }
        ),
        about: format!(
            "4 KiB at a time of a file of {} MiB. {about_access} {about_state} CPU is that of the whole process, and so are \
             the system calls, per read, counted apart from the rest. Without another word tokio reads through its own File, \
             and fibra runs on epoll.",
            grouped(settings.file_size as f64, 0)
        ),
        metrics: METRICS,
        rivals: vec![
            Rival::TokioCt,
            Rival::TokioPool,
            Rival::Fibra,
            Rival::FibraUringSubmit,
            Rival::FibraUringTry,
            Rival::Monoio,
            Rival::Uring,
            Rival::Thread,
        ],
        baseline: Some(Rival::TokioCt),
        aims,
        measure: Box::new(move |rival, seed| {
            let file = match file.get() {
                Some(file) => file,
                None => {
                    let made = TestFile::make(&options.dir, options.file_size)?;
                    file.get_or_init(|| made)
                }
            };
            let arguments = |path: &str| {
                let once = (state == State::Cold).then(|| "--once".to_owned());
                let named = [
                    ("--file", path.to_owned()),
                    ("--readers", readers.to_string()),
                    ("--seconds", (options.seconds / 4.0).to_string()),
                    ("--warm-up", (options.warm_up / 4.0).to_string()),
                    ("--seed", seed.to_string()),
                ];
                let named = named.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
                ["read".to_owned(), rival.key(), access_name.clone()].into_iter().chain(once).chain(named)
            };
            let path = file.path();
            let mut attempts = 1;
            loop {
                file.bring(state)?;
                let figures = Child::of_rival(&[options.server_core], rival, arguments(&path))?.figures()?;
                match check(&figures, access, state) {
                    Ok(()) => return Ok(figures),
                    Err(error) if attempts == ATTEMPTS => return Err(error),
                    Err(error) => eprintln!("files: once more, {error:#}"),
                }
                attempts += 1;
            }
        }),
    };
    experiment.choose(settings)
}

/// Whether the pages came from where they were to come from.
fn check(figures: &Figures, access: Access, state: State) -> Result<()> {
    let each = figures.get("from_disk").context("no word of the disk")?;
    match state {
        State::Cached if each > FROM_MEMORY => bail!("{each:.0} bytes a read came from the disk"),
        // Read-ahead may be ahead by any amount when the time begins or ends.
        State::Cold if access == Access::Random && each < FROM_DISK => {
            bail!("only {each:.0} bytes a read came from the disk")
        }
        _ => Ok(()),
    }
}

/// The file that is read. It has no name: when this process ends, however it does, it is gone.
struct TestFile {
    file: File,
    length: usize,
    /// Where it is mapped, so that mincore can tell which pages are in memory. Nobody touches it.
    mapped: *mut libc::c_void,
}

impl TestFile {
    fn make(directory: &Path, mebibytes: u64) -> Result<Self> {
        let length = usize::try_from(mebibytes * 1_024 * 1_024)?;
        eprintln!("files: writing {mebibytes} MiB in {}", directory.display());
        let file =
            create_nameless(directory).with_context(|| format!("a file in {}", directory.display()))?;
        let pages = u32::try_from(length / PAGE)?;
        let mut buffer = vec![0; WRITTEN_AT_ONCE as usize * PAGE];
        let mut rng = fastrand::Rng::new();
        for first in (0..pages).step_by(WRITTEN_AT_ONCE as usize) {
            let some = (pages - first).min(WRITTEN_AT_ONCE) as usize;
            write_pages(&file, first, &mut buffer[..some * PAGE], &mut rng).context("writing it")?;
        }
        file.sync_all()?;
        // SAFETY: a new mapping, at a place that is free; nobody reads it.
        let mapped = unsafe {
            libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("mapping it");
        }
        Ok(Self { file, length, mapped })
    }

    /// Where another process finds it, as long as this one lives.
    fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// Fetches all of its pages into memory, or drops them all, and makes sure of it.
    fn bring(&self, state: State) -> Result<()> {
        let mut there = 0.0;
        for _ in 0..ATTEMPTS {
            match state {
                State::Cached => {
                    // Also when it is there already: so none of it is old.
                    let mut file = &self.file;
                    file.rewind()?;
                    io::copy(&mut file, &mut io::sink())?;
                }
                State::Cold => {
                    // Pages that have yet to be written, or are about to be read, cannot be dropped.
                    self.file.sync_all()?;
                    rustix::fs::fadvise(&self.file, 0, None, Advice::DontNeed)?;
                }
            }
            there = self.in_memory()?;
            let astray = if state == State::Cached { 1.0 - there } else { there };
            if astray <= ASTRAY {
                return Ok(());
            }
        }
        match state {
            State::Cached => bail!("the page cache holds {:.1}% of the file, not all", 100.0 * there),
            State::Cold => bail!(
                "{:.1}% of the file stays in memory: name a directory on a disk with --dir",
                100.0 * there
            ),
        }
    }

    /// How much of it is in memory.
    fn in_memory(&self) -> Result<f64> {
        let mut pages = vec![0_u8; self.length / PAGE];
        // SAFETY: the mapping is ours and of this length; there is a byte for each of its pages.
        if unsafe { libc::mincore(self.mapped, self.length, pages.as_mut_ptr()) } != 0 {
            return Err(io::Error::last_os_error()).context("mincore");
        }
        let there = pages.iter().filter(|page| **page & 1 == 1).count();
        Ok(there as f64 / pages.len() as f64)
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, of this length, and used by nobody else.
        unsafe { libc::munmap(self.mapped, self.length) };
    }
}

/// A file that was never given a name, or has lost it, where the file system cannot do without.
fn create_nameless(directory: &Path) -> io::Result<File> {
    let nameless = rustix::fs::open(directory, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, OWNER);
    if let Ok(file) = nameless {
        return Ok(file.into());
    }
    let path = directory.join(format!("rivals-file-{}", std::process::id()));
    let file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

const OWNER: rustix::fs::Mode = rustix::fs::Mode::RUSR.union(rustix::fs::Mode::WUSR);
