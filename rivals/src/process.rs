//! Processes and what they use: pinning, starting a child, its processor time and its memory.
//!
//! Each measured runtime runs in a process of its own: this program started again with a hidden subcommand. What a
//! child has to say it says on its standard output, one line each:
//!
//! ```text
//! figure NAME VALUE     a number of the measurement
//! note TEXT             why a number is missing
//! port NUMBER           a server listens there
//! unavailable TEXT      why there cannot be a measurement: this system, or this build, does not offer what it takes
//! error TEXT            why there is no measurement
//! ```
//!
//! Processor time comes from the process's own CPU clock (`clock_getcpuclockid`), which counts nanoseconds and keeps the
//! time of threads that have ended; `/proc/PID/stat` counts ticks of 10 ms and is used for the split into user and
//! system time only.

use std::error::Error;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions};
use rustix::thread::CpuSet;

use crate::rival::{CHOSEN_BY_ENVIRONMENT, Rival};

/// Named numbers, as a child reports them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    values: Vec<(String, f64)>,
    /// Why some are missing.
    notes: Vec<String>,
}

impl Figures {
    pub(crate) fn set(&mut self, name: &str, value: f64) {
        self.values.push((name.to_owned(), value));
    }

    /// Says why a number is missing.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(crate) fn with(mut self, name: &str, value: f64) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn get(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(found, _)| found == name).map(|(_, value)| *value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(name, value)| (name.as_str(), *value))
    }

    /// Writes the figures where [`Child::figures`] reads them.
    pub(crate) fn print(&self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        for (name, value) in self.iter() {
            writeln!(out, "figure {name} {value}")?;
        }
        for text in &self.notes {
            writeln!(out, "note {}", on_one_line(text))?;
        }
        out.flush()?;
        Ok(())
    }
}

/// The text as one line of a child's output.
fn on_one_line(text: &str) -> String {
    text.replace('\n', " ")
}

/// What a rival takes is not offered here: there is nothing to measure, and nothing to try again.
#[derive(Debug)]
pub(crate) struct Unavailable(String);

impl Unavailable {
    pub(crate) fn because(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Unavailable {}

/// Tells the harness why there is no measurement.
pub(crate) fn print_error(error: &anyhow::Error) {
    let kind = if error.is::<Unavailable>() { "unavailable" } else { "error" };
    println!("{kind} {}", on_one_line(&format!("{error:#}")));
}

/// What a line says that [`print_error`] has printed.
fn printed_error(line: &str) -> Option<anyhow::Error> {
    match line.split_once(' ')? {
        ("error", text) => Some(anyhow!("{text}")),
        ("unavailable", text) => Some(Unavailable::because(text).into()),
        _ => None,
    }
}

/// What a child does first: it dies with the harness, and may open as many descriptors as the hard limit allows.
pub(crate) fn settle_in_child() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })?;
    Ok(())
}

/// Lets the kernel end this process after so many seconds, so that one that hangs does not hold up the rounds after it.
/// (A thread that watches would be company to the measured one, and change what malloc does.)
pub(crate) fn live_at_most(seconds: f64) {
    // SAFETY: the call takes a number; the signal it causes has its default action, to end the process.
    unsafe { libc::alarm(seconds.ceil() as libc::c_uint) };
}

/// Becomes another program.
pub(crate) fn become_program(words: &[OsString]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no program to become")?;
    Err(Command::new(program).args(arguments).exec()).with_context(|| format!("starting {program:?}"))
}

fn this_program() -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("finding this program")?);
    for variable in CHOSEN_BY_ENVIRONMENT {
        command.env_remove(variable);
    }
    Ok(command)
}

/// A started process, killed and reaped when this is dropped.
pub(crate) struct Child {
    process: std::process::Child,
    /// Of a program that is not this one nothing is read.
    output: Option<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts this program again on these cores, in a rival's environment, with a hidden subcommand and its arguments.
    pub(crate) fn of_rival<I>(cores: &[usize], rival: Rival, arguments: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = this_program()?;
        command.args(arguments).stdout(Stdio::piped()).envs(rival.environment().iter().copied());
        Self::start(cores, command)
    }

    /// The same for what no rival does: the load.
    pub(crate) fn again<I>(core: usize, arguments: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = this_program()?;
        command.args(arguments).stdout(Stdio::piped());
        Self::start(&[core], command)
    }

    /// Starts a rival that is another program on `core`, by way of this one, so that it settles as every child does.
    pub(crate) fn of_program<I>(core: usize, rival: Rival, program: &Path, arguments: I) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = this_program()?;
        command.args(["program", "--"]).arg(program).args(arguments).stdout(Stdio::null());
        command.envs(rival.environment().iter().copied());
        Self::start(&[core], command)
    }

    /// The same for a program that ends by itself, or by the kernel after `at_most` seconds, and whose output is read: see [`Self::said`].
    pub(crate) fn of_talker<I>(core: usize, program: &Path, arguments: I, at_most: f64) -> Result<Self>
    where
        I: IntoIterator,
        I::Item: AsRef<OsStr>,
    {
        let mut command = this_program()?;
        command.args(["program", "--at-most", &at_most.to_string(), "--"]).arg(program).args(arguments);
        command.stdout(Stdio::piped());
        Self::start(&[core], command)
    }

    /// The child inherits the affinity of the thread that starts it, from before its first instruction and for all of
    /// its threads.
    fn start(cores: &[usize], mut command: Command) -> Result<Self> {
        let before = rustix::thread::sched_getaffinity(None)?;
        let mut only = CpuSet::new();
        cores.iter().for_each(|core| only.set(*core));
        rustix::thread::sched_setaffinity(None, &only)
            .with_context(|| format!("pinning to core {cores:?}"))?;
        let started = command.stdin(Stdio::null()).spawn();
        rustix::thread::sched_setaffinity(None, &before)?;
        let mut process = started.with_context(|| format!("starting {:?}", command.get_program()))?;
        let output = process.stdout.take().map(BufReader::new);
        Ok(Self { process, output })
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the child says on which port it listens.
    pub(crate) fn port(&mut self) -> Result<u16> {
        let mut line = String::new();
        if let Some(output) = &mut self.output {
            output.read_line(&mut line)?;
        }
        let line = line.trim_end();
        if let Some(("port", number)) = line.split_once(' ') {
            return Ok(number.parse()?);
        }
        Err(printed_error(line).unwrap_or_else(|| anyhow!("the server ended before it listened")))
    }

    /// Waits for the child to end and takes its figures.
    pub(crate) fn figures(mut self) -> Result<Figures> {
        let mut figures = Figures::default();
        let mut error = None;
        for line in self.output.take().into_iter().flat_map(BufRead::lines) {
            let line = line?;
            match line.split_once(' ') {
                Some(("figure", rest)) => {
                    let (name, value) = rest.split_once(' ').ok_or_else(|| anyhow!("odd line {line:?}"))?;
                    figures.set(name, value.parse()?);
                }
                Some(("note", text)) => figures.note(text.to_owned()),
                _ => error = printed_error(&line).or(error),
            }
        }
        let status = self.process.wait()?;
        match (status.success(), error) {
            (true, None) => Ok(figures),
            (_, Some(error)) => Err(error),
            (false, None) => match status.signal() {
                Some(libc::SIGALRM) => bail!("it hung"),
                Some(signal) => bail!("ended by signal {signal}"),
                None => bail!("{status}"),
            },
        }
    }
}

impl Child {
    /// Waits for the end: all that the child has said, and its processor time in nanoseconds.
    pub(crate) fn said(mut self) -> Result<(String, u64)> {
        let mut text = String::new();
        if let Some(mut output) = self.output.take() {
            output.read_to_string(&mut text)?;
        }
        // Its clock can be read until it is reaped.
        let id = Pid::from_child(&self.process);
        rustix::process::waitid(WaitId::Pid(id), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT)?;
        let used = CpuClock::of(self.id())?.nanoseconds()?;
        let status = self.process.wait()?;
        match (status.success(), status.signal()) {
            (true, _) => Ok((text, used)),
            (false, Some(libc::SIGALRM)) => bail!("it hung"),
            (false, _) => bail!("{status}: {}", text.trim_end()),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only when it has ended and been reaped already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The processor time one process has used since it started.
#[derive(Clone, Copy)]
pub(crate) struct CpuClock {
    process: u32,
    clock: libc::clockid_t,
}

/// A reading of a [`CpuClock`].
#[derive(Clone, Copy)]
pub(crate) struct CpuTime {
    nanoseconds: u64,
    user_ticks: u64,
    system_ticks: u64,
}

/// The processor time between two readings, in nanoseconds.
#[derive(Clone, Copy)]
pub(crate) struct CpuUsed {
    pub(crate) total: f64,
    /// User and system parts; `None` when less than one tick was counted.
    pub(crate) split: Option<(f64, f64)>,
}

impl CpuClock {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let mut clock = 0;
        // SAFETY: `clock` is a valid place for one clockid_t; the call writes nothing else.
        let failed = unsafe { libc::clock_getcpuclockid(process.cast_signed(), &raw mut clock) };
        if failed != 0 {
            return Err(std::io::Error::from_raw_os_error(failed))
                .with_context(|| format!("CPU clock of process {process}"));
        }
        Ok(Self { process, clock })
    }

    /// Nanoseconds of processor time so far.
    pub(crate) fn nanoseconds(&self) -> Result<u64> {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a valid place for one timespec; a clock that has gone makes the call fail.
        if unsafe { libc::clock_gettime(self.clock, &raw mut time) } != 0 {
            return Err(std::io::Error::last_os_error()).context("the server's CPU clock (has it ended?)");
        }
        Ok(time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned())
    }

    pub(crate) fn read(&self) -> Result<CpuTime> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process))?;
        // The name in parentheses may hold anything; the fields after it are 3, 4, … of proc_pid_stat(5).
        let after_name = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let mut fields = after_name.split_ascii_whitespace().skip(11).map(str::parse);
        let (Some(Ok(user_ticks)), Some(Ok(system_ticks))) = (fields.next(), fields.next()) else {
            bail!("/proc/{}/stat does not read as expected", self.process);
        };
        Ok(CpuTime { nanoseconds: self.nanoseconds()?, user_ticks, system_ticks })
    }
}

impl CpuTime {
    pub(crate) fn until(&self, later: &Self) -> CpuUsed {
        let total = (later.nanoseconds - self.nanoseconds) as f64;
        let user = (later.user_ticks - self.user_ticks) as f64;
        let system = (later.system_ticks - self.system_ticks) as f64;
        let ticks = user + system;
        CpuUsed { total, split: (ticks > 0.0).then(|| (total * user / ticks, total * system / ticks)) }
    }
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// `VmRSS`: pages resident.
    pub(crate) resident: f64,
    /// `VmPTE`: the page tables, which `VmRSS` does not count.
    pub(crate) page_tables: f64,
}

impl Memory {
    pub(crate) fn of(process: u32) -> Result<Self> {
        let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
        let bytes = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
                .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<f64>().ok())
                .map(|kibibytes| kibibytes * 1024.0)
                .ok_or_else(|| anyhow!("/proc/{process}/status has no {name}"))
        };
        Ok(Self { resident: bytes("VmRSS")?, page_tables: bytes("VmPTE")? })
    }

    pub(crate) fn of_this_process() -> Result<Self> {
        Self::of(std::process::id())
    }
}

/// How many descriptors a process has open.
pub(crate) fn descriptors(process: u32) -> Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{process}/fd"))?.count())
}

/// A kernel setting under `/proc/sys`, when it is a number.
pub(crate) fn kernel_setting(path: &str) -> Option<usize> {
    std::fs::read_to_string(format!("/proc/sys/{path}")).ok()?.trim().parse().ok()
}
