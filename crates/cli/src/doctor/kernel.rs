//! The kernel: its release, and what it forbids this process.

use super::files::{Files, Known, field};
use super::report::Report;
use std::io::{self, Write};

/// What the kernel says of itself.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    pub(super) release: String,
    pub(super) architecture: String,
    /// The sysctl `kernel.io_uring_disabled`.
    pub(super) io_uring_disabled: Known<u64>,
    /// `Seccomp` in `/proc/self/status`: 0 none, 1 strict, 2 with a filter.
    pub(super) seccomp: Known<u64>,
}

impl Kernel {
    pub(super) fn look(files: &Files) -> Kernel {
        let name = rustix::system::uname();
        let disabled = files.sysctl("kernel.io_uring_disabled");
        Kernel {
            release: name.release().to_string_lossy().into_owned(),
            architecture: name.machine().to_string_lossy().into_owned(),
            io_uring_disabled: disabled.map_err(|why| format!("{why}; Linux has it from 6.6 on")),
            seccomp: files.text("/proc/self/status").and_then(|status| seccomp(&status)),
        }
    }

    /// Whether it is at least this version; false if the release is none of the usual form.
    pub(super) fn is_at_least(&self, wanted: (u64, u64)) -> bool {
        version(&self.release).is_some_and(|version| version >= wanted)
    }

    pub(super) fn print(&self, report: &mut Report<impl Write>) -> io::Result<()> {
        report.line("release", format!("Linux {}", self.release))?;
        report.line("architecture", &self.architecture)?;
        let disabled = self.io_uring_disabled.clone().map(|level| {
            let who = match level {
                0 => "every process may use it",
                1 => "only processes with CAP_SYS_ADMIN, or in the group kernel.io_uring_group, may use it",
                _ => "no process may use it",
            };
            format!("{who} (kernel.io_uring_disabled={level})")
        });
        report.known("io_uring", disabled)?;
        let seccomp = self.seccomp.clone().map(|mode| match mode {
            0 => "off: no system call filter on this process".to_owned(),
            2 => "a filter, as in containers: system calls may be refused. (If this report ends at Drivers, the \
                  filter kills programs that try io_uring: run them with FIBRA_URING=off.)"
                .to_owned(),
            mode => format!("mode {mode}"),
        });
        report.known("seccomp", seccomp)
    }
}

/// The first two numbers of a release: `6.18.44-fc` is 6.18.
fn version(release: &str) -> Option<(u64, u64)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn seccomp(status: &str) -> Known<u64> {
    let mode = field(status, "Seccomp").map_err(|why| format!("/proc/self/status: {why}"))?;
    mode.parse().map_err(|_| format!("/proc/self/status: Seccomp is '{mode}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_a_version() {
        assert_eq!(version("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("6.1-rc2"), Some((6, 1)));
        assert_eq!(version("unusual"), None);
    }

    #[test]
    fn the_seccomp_mode_is_a_field() {
        assert_eq!(seccomp("NoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n"), Ok(2));
        assert!(seccomp("Name:\tfibra\n").unwrap_err().contains("Seccomp"));
    }
}
