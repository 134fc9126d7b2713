//! Which driver a runtime gets, and what it says when it cannot have the one that it was to have.

mod child;

use fibra::{DriverKind, Runtime};
use std::io::{self, Write};
use std::process::Command;

/// In a child: starts two runtimes of four workers and prints what became of them, with the log.
fn report() {
    tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(false).init();
    for _ in 0..2 {
        match Runtime::builder().workers(4).build() {
            Ok(runtime) => {
                println!("<driver {}>", runtime.driver());
                runtime.run(|| assert!(fibra::fs::exists("/").unwrap()));
            }
            Err(error) => println!("<error {error}>"),
        }
    }
}

fn command(name: &str, driver: &str, ring: &str) -> Command {
    let mut command = child::command(name, "reports");
    command.env("FIBRA_DRIVER", driver).env("FIBRA_URING", ring);
    command
}

/// The command under `strace`, which makes `io_uring_setup` fail as `how` says.
fn with_failing_rings(command: &Command, how: &str) -> Command {
    let mut traced = Command::new("strace");
    let inject = format!("inject=io_uring_setup:{how}");
    traced.args(["-f", "-o", "/dev/null", "-e", "trace=io_uring_setup", "-e", &inject]);
    traced.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Says that a test is skipped when something that it needs is missing here.
fn lacks(test: &str) -> bool {
    let strace = Command::new("strace").arg("-V").output().map(drop);
    // Without the settings of this process.
    let ring = child::run(&mut command(test, "uring", "")).text.contains("<driver uring>");
    let missing = [("strace", strace.is_err()), ("io_uring", !ring)].into_iter().find(|(_, is)| *is);
    if let Some((what, _)) = missing {
        // Not `println`, which the harness keeps to itself when a test passes.
        let mut stdout = io::stdout();
        writeln!(stdout, "[skipped] {test}: needs {what}").unwrap();
    }
    missing.is_some()
}

#[test]
fn a_ring_that_is_forbidden_is_an_error_or_a_line_in_the_log() {
    const NAME: &str = "a_ring_that_is_forbidden_is_an_error_or_a_line_in_the_log";
    if child::part().is_some() {
        return report();
    }
    let text = child::run(&mut command(NAME, "uring", "off")).well();
    assert_eq!(
        text.matches("<error no io_uring driver for worker 0 of 4: FIBRA_URING=off").count(),
        2,
        "{text}"
    );
    for driver in ["auto", "epoll"] {
        let text = child::run(&mut command(NAME, driver, "off")).well();
        // That is what was asked for.
        assert!(text.matches("<driver epoll>").count() == 2 && !text.contains("WARN"), "{text}");
    }
}

#[test]
fn what_the_kernel_refuses_is_said_in_words() {
    const NAME: &str = "what_the_kernel_refuses_is_said_in_words";
    if child::part().is_some() {
        return report();
    }
    if lacks(NAME) {
        return;
    }
    for (how, because) in [
        ("error=EPERM", "a system call filter"),
        ("error=ENOSYS", "without io_uring"),
        ("error=ENOMEM", "ulimit -l"),
        ("error=EMFILE", "ulimit -n"),
        // The third worker's; the rings of the others are given back.
        ("error=ENOMEM:when=3+", "worker 2 of 4"),
        ("error=EINVAL", "io_uring_setup"),
    ] {
        let text = child::run(&mut with_failing_rings(&command(NAME, "uring", ""), how)).well();
        assert!(text.contains("<error ") && text.contains(because), "{how}: {text}");
        // Two runtimes make two rings, for files.
        if !how.contains("when") {
            let text = child::run(&mut with_failing_rings(&command(NAME, "auto", ""), how)).well();
            assert_eq!(text.matches("<driver epoll>").count(), 2, "{how}: {text}");
            let line = "calls on files go to the blocking pool";
            assert_eq!(text.matches(line).count(), 1, "one line, not one for each worker: {how}: {text}");
            assert!(text.contains("WARN") && text.contains(because), "{how}: {text}");
        }
    }
}

/// An older kernel does not know some flags: they are given up one after another.
#[test]
fn an_older_kernel_s_ring_is_taken() {
    const NAME: &str = "an_older_kernel_s_ring_is_taken";
    if child::part().is_some() {
        return report();
    }
    if lacks(NAME) {
        return;
    }
    let traced = &mut with_failing_rings(&command(NAME, "uring", ""), "error=EINVAL:when=1..3");
    let text = child::run(traced).well();
    assert_eq!(text.matches("<driver uring>").count(), 2, "{text}");
}

#[test]
fn settings_that_are_wrong_are_named() {
    const NAME: &str = "settings_that_are_wrong_are_named";
    if child::part().is_some() {
        return report();
    }
    let text = child::run(&mut command(NAME, "kqueue", "")).well();
    assert!(
        text.contains("<error FIBRA_DRIVER is 'kqueue'; it must be 'auto', 'epoll' or 'uring'>"),
        "{text}"
    );
    let text = child::run(&mut command(NAME, "uring", "fast")).well();
    assert!(
        text.contains("<error FIBRA_URING is 'fast'; 'fast' is not known; the words are off, try"),
        "{text}"
    );
}

#[test]
fn the_builder_s_word_counts_more_than_the_environment_s() {
    const NAME: &str = "the_builder_s_word_counts_more_than_the_environment_s";
    if child::part().is_some() {
        let runtime = Runtime::builder().workers(1).driver(DriverKind::Epoll).build().unwrap();
        return println!("<driver {}>", runtime.driver());
    }
    let text = child::run(&mut command(NAME, "uring", "")).well();
    assert!(text.contains("<driver epoll>"), "{text}");
}
