//! How many system calls a process makes.
//!
//! The tracepoint `raw_syscalls:sys_enter` counts the entries of each thread (`perf_event_open(2)`): those there are when
//! the counting is set up, and those that they start. While there is such a counter anywhere, every system call on the
//! machine takes the slow way into the kernel; so one is set up for as long as it is needed, and never while processor time
//! is measured.
//!
//! ```text
//! of(process) ── a counter a thread, at rest ── start() ── counting ── stop() ── their sum
//! ```

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result, bail};
use rustix::thread::gettid;

/// Where the kernel says what number the tracepoint has.
const NUMBER: [&str; 2] = [
    "/sys/kernel/tracing/events/raw_syscalls/sys_enter/id",
    "/sys/kernel/debug/tracing/events/raw_syscalls/sys_enter/id",
];

const PERF_TYPE_TRACEPOINT: u32 = 2;
const PERF_FLAG_FD_CLOEXEC: libc::c_ulong = 1 << 3;
const PERF_EVENT_IOC_ENABLE: libc::Ioctl = 0x2400;
const PERF_EVENT_IOC_DISABLE: libc::Ioctl = 0x2401;

/// The bits `disabled` and `inherit`.
const AT_REST_AND_INHERITED: u64 = 0b11;

/// `struct perf_event_attr` as it was at first: every kernel takes it at this length.
#[repr(C)]
#[derive(Default)]
struct Attributes {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    breakpoint_type: u32,
    breakpoint_address: u64,
}

/// The counters of one process.
pub(crate) struct SystemCalls {
    threads: Vec<Counter>,
}

struct Counter {
    thread: i32,
    file: File,
}

impl SystemCalls {
    /// Sets up the counters of all threads the process has.
    ///
    /// # Errors
    ///
    /// When the kernel has no such tracepoint, or does not let us count.
    pub(crate) fn of(process: u32) -> Result<Self> {
        let tracepoint = tracepoint()?;
        let mut threads = Vec::new();
        for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
            let thread = entry?.file_name();
            let thread: i32 = thread.to_str().context("a thread's number")?.parse()?;
            match Counter::of(thread, tracepoint) {
                Ok(counter) => threads.push(counter),
                // It has ended meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => return Err(error).context("perf_event_open"),
            }
        }
        if threads.is_empty() {
            bail!("process {process} has no threads");
        }
        Ok(Self { threads })
    }

    pub(crate) fn start(&self) -> Result<()> {
        // The calling thread comes last: these calls are not to be counted.
        let here = gettid().as_raw_nonzero().get();
        let (own, others): (Vec<&Counter>, Vec<&Counter>) =
            self.threads.iter().partition(|counter| counter.thread == here);
        others.into_iter().chain(own).try_for_each(|counter| counter.switch(PERF_EVENT_IOC_ENABLE))
    }

    /// Ends the counting: how many there were since [`start`](Self::start).
    pub(crate) fn stop(mut self) -> Result<u64> {
        let here = gettid().as_raw_nonzero().get();
        let (own, others): (Vec<&Counter>, Vec<&Counter>) =
            self.threads.iter().partition(|counter| counter.thread == here);
        let counted_itself = own.len() as u64;
        own.into_iter().chain(others).try_for_each(|counter| counter.switch(PERF_EVENT_IOC_DISABLE))?;
        let mut sum = 0;
        for counter in &mut self.threads {
            sum += counter.read()?;
        }
        Ok(sum.saturating_sub(counted_itself))
    }
}

impl Counter {
    fn of(thread: i32, tracepoint: u64) -> io::Result<Self> {
        let attributes = Attributes {
            kind: PERF_TYPE_TRACEPOINT,
            size: size_of::<Attributes>() as u32,
            config: tracepoint,
            flags: AT_REST_AND_INHERITED,
            ..Attributes::default()
        };
        let (any_processor, no_group): (libc::c_int, libc::c_int) = (-1, -1);
        // SAFETY: the attributes are of the size that they say, and the kernel only reads them.
        let counter = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attributes,
                thread,
                any_processor,
                no_group,
                PERF_FLAG_FD_CLOEXEC,
            )
        };
        if counter < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just given us this descriptor.
        let counter = unsafe { OwnedFd::from_raw_fd(counter as libc::c_int) };
        Ok(Self { thread, file: counter.into() })
    }

    /// For the thread and those it has started.
    fn switch(&self, request: libc::Ioctl) -> Result<()> {
        // SAFETY: both requests take a number, and touch nothing of ours.
        if unsafe { libc::ioctl(self.file.as_raw_fd(), request, 0) } != 0 {
            return Err(io::Error::last_os_error()).context("switching a counter");
        }
        Ok(())
    }

    fn read(&mut self) -> Result<u64> {
        let mut count = [0; 8];
        self.file.read_exact(&mut count).context("reading a counter")?;
        Ok(u64::from_ne_bytes(count))
    }
}

fn tracepoint() -> Result<u64> {
    let Some(number) = NUMBER.iter().find_map(|path| std::fs::read_to_string(path).ok()) else {
        bail!("no tracepoint raw_syscalls:sys_enter can be read under /sys/kernel/tracing")
    };
    Ok(number.trim().parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_a_thread_and_of_those_it_starts_are_counted() {
        // Not everyone may count.
        let Ok(calls) = SystemCalls::of(std::process::id()) else { return };
        let ask = || {
            for _ in 0..1_000 {
                let _ = rustix::process::getppid();
            }
        };
        calls.start().expect("counters that have been set up");
        ask();
        std::thread::spawn(ask).join().expect("it does not panic");
        let counted = calls.stop().expect("counters that have been set up");
        // The other tests make some too.
        assert!(counted >= 2_000, "{counted}");
    }
}
