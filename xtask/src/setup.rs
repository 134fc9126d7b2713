//! The programs that tests start: which there are, and how a machine gets them.
//!
//! Root on a machine with `apt-get` has the missing ones installed. Elsewhere they are named and the tests go
//! on without them, unless `CI=true`: there a test that did not run must not look like one that passed.
//!
//! # What a test does
//!
//! A test that needs a program looks for it on `PATH`. If it is not there, the test writes one line to
//! [`std::io::stdout`] and returns:
//!
//! ```text
//! writeln!(io::stdout(), "[skipped] {test}: needs {program}")
//! ```
//!
//! `writeln!` and not `println!`, whose output the test harness keeps to itself when a test passes. `cargo
//! xtask test` counts such lines as skipped instead of passed, and repeats them at the end. A test that needs
//! a feature of the kernel says so in the same way.

use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that tests start.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The Debian package that has it.
    pub(crate) package: &'static str,
    pub(crate) needed_by: &'static str,
}

/// Every program outside the toolchain that some test starts.
pub(crate) const PROGRAMS: &[Program] = &[
    Program { name: "curl", package: "curl", needed_by: "HTTP tests against a client that is not ours" },
    Program {
        name: "nc",
        package: "netcat-openbsd",
        needed_by: "echo tests against a client that is not ours",
    },
    Program { name: "wrk", package: "wrk", needed_by: "HTTP tests under load" },
    Program {
        name: "redis-server",
        package: "redis-server",
        needed_by: "workers that wait for a real server",
    },
    Program { name: "valgrind", package: "valgrind", needed_by: "the stack arena under valgrind" },
    Program { name: "chromium", package: "chromium", needed_by: "the lab's report in a browser" },
    Program { name: "strace", package: "strace", needed_by: "tests that count system calls" },
];

/// Installs what is missing, as far as it can.
///
/// # Errors
///
/// When a program is still missing and `CI=true`.
pub(crate) fn run() -> Result<(), String> {
    let mut missing = missing();
    if !missing.is_empty() && may_install() {
        let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
        println!("installing {}", packages.join(", "));
        if let Err(why) = install(&packages) {
            println!("{why}");
        }
        missing = self::missing();
    }
    for Program { name, package, needed_by } in &missing {
        println!("missing: {name} (package {package}), for {needed_by}");
    }
    if !missing.is_empty() && env::var_os("CI").is_some_and(|ci| ci == "true") {
        return Err("under CI every program that a test needs must be there".into());
    }
    Ok(())
}

fn missing() -> Vec<&'static Program> {
    PROGRAMS.iter().filter(|program| !on_path(program.name)).collect()
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder| is_executable(&folder.join(program)))
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn may_install() -> bool {
    // The owner of /proc/self is the effective user.
    fs::metadata("/proc/self").is_ok_and(|this| this.uid() == 0) && on_path("apt-get")
}

fn install(packages: &[&str]) -> Result<(), String> {
    apt_get(&["update"])?;
    let options = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&options, packages].concat())
}

fn apt_get(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("apt-get")
        .args(["-qq", "-o", "DPkg::Lock::Timeout=300"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .map_err(|error| format!("apt-get did not start: {error}"))?;
    status.success().then_some(()).ok_or_else(|| format!("apt-get {}: {status}", arguments.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_by_name_and_a_folder_is_not_a_program() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
        assert!(!is_executable(Path::new("/usr/bin")));
    }
}
