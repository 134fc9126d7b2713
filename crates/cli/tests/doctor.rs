//! `fibra doctor` as its users meet it: what the machine has is told, what it lacks is told too, and neither ends the report.

mod server;

use server::program;
use std::process::{Command, Output};

/// The program with these variables, and no others of fibra's.
fn doctor(variables: &[(&str, &str)]) -> Command {
    let mut command = program();
    command.arg("doctor");
    clear(&mut command);
    command.envs(variables.iter().copied());
    command
}

fn clear(command: &mut Command) {
    for name in ["FIBRA_WORKERS", "FIBRA_DRIVER", "FIBRA_URING", "FIBRA_STACK_SIZE", "FIBRA_GUARD"] {
        command.env_remove(name);
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is told, of a run that must end well and in silence otherwise.
fn report(mut command: Command) -> String {
    let output: Output = command.output().unwrap();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success() && errors.is_empty(), "{}\n{errors}\n{told}", output.status);
    told
}

/// The value behind a label, its lines joined.
fn value(report: &str, label: &str) -> String {
    let label = format!("{label} ");
    let mut lines = report.lines().skip_while(|line| !line.trim_start().starts_with(&label));
    let first = lines.next().unwrap_or_else(|| panic!("no '{label}' in\n{report}"));
    let rest = lines.take_while(|line| line.starts_with(&" ".repeat(23)));
    let first = first.trim_start().strip_prefix(&label).unwrap();
    std::iter::once(first).chain(rest).map(str::trim).collect::<Vec<_>>().join(" ")
}

#[test]
fn every_group_is_there_and_fits_a_terminal() {
    let told = report(doctor(&[]));
    for group in [
        "Kernel",
        "Drivers",
        "Stacks",
        "Limits",
        "Cores",
        "Memory",
        "Settings (environment)",
        "Connections: ",
        "For more connections",
    ] {
        assert!(told.lines().any(|line| line.starts_with(group)), "no {group} in\n{told}");
    }
    let wide = told.lines().filter(|line| line.chars().count() > 80).collect::<Vec<_>>();
    assert!(wide.is_empty(), "{wide:#?}");
    assert_eq!(value(&told, "epoll"), "yes");
    let workers = std::thread::available_parallelism().unwrap().get();
    assert!(value(&told, "workers by default").starts_with(&workers.to_string()), "{told}");
    assert!(value(&told, "trial start").starts_with("works: "), "{told}");
    assert_eq!(value(&told, "FIBRA_DRIVER=auto"), "takes epoll here");
    let files = if value(&told, "uring").starts_with("yes: ") { "io_uring" } else { "pool" };
    assert!(value(&told, "calls on files").contains(files), "{told}");
    let guards = value(&told, "guard pages");
    assert!(guards.starts_with("lightweight") || guards.starts_with("mprotect"), "{guards}");
}

#[test]
fn a_driver_that_is_missing_is_told_and_ends_nothing() {
    let told = report(doctor(&[("FIBRA_URING", "off")]));
    assert_eq!(value(&told, "uring"), "no: FIBRA_URING=off forbids io_uring");
    assert_eq!(value(&told, "FIBRA_DRIVER=auto"), "takes epoll here");
    assert!(value(&told, "calls on files").contains("pool"), "{told}");
    assert!(value(&told, "trial start").contains("driver epoll"), "{told}");

    let told = report(doctor(&[("FIBRA_URING", "off"), ("FIBRA_DRIVER", "uring")]));
    assert!(value(&told, "trial start").starts_with("FAILS: no io_uring driver"), "{told}");
    assert!(told.contains("  1.  fibra does not start with these settings"), "{told}");
}

#[test]
fn a_low_limit_of_open_files_is_what_is_to_be_changed_first() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 64; exec \"$0\" doctor"]).arg(program().get_program());
    clear(&mut command);
    command.env("FIBRA_WORKERS", "1");
    let told = report(command);
    assert!(value(&told, "open files").starts_with("64 (ulimit -n)"), "{told}");
    assert!(told.contains("                44  open files, hard limit\n"), "{told}");
    assert!(told.contains("  1.  Raise the limit of open files"), "{told}");
    assert!(told.contains("LimitNOFILE=1048576"), "{told}");
}

#[test]
fn guards_of_mappings_say_how_many_coroutines_they_allow() {
    let told = report(doctor(&[("FIBRA_GUARD", "mprotect")]));
    assert!(value(&told, "guard pages").contains("two memory mappings"), "{told}");
    assert!(told.contains("memory mappings, two for each coroutine (vm.max_map_count)"), "{told}");
}

#[test]
fn variables_that_are_not_valid_are_all_told_and_fail_at_the_end() {
    let wrong = [
        ("FIBRA_WORKERS", "many"),
        ("FIBRA_DRIVER", "magic"),
        ("FIBRA_URING", "fast"),
        ("FIBRA_STACK_SIZE", "1"),
        ("FIBRA_GUARD", "none"),
    ];
    let output = doctor(&wrong).output().unwrap();
    let (told, errors) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{errors}");
    for (variable, value_of) in wrong {
        let line = value(&told, variable);
        assert!(line.starts_with("NOT VALID: it is") && line.contains(value_of), "{variable}: {line}");
        assert!(errors.contains(&format!("fibra: {variable} is '{value_of}'")), "{errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
    assert!(value(&told, "trial start").starts_with("FAILS"), "{told}");
    assert!(told.contains("\nMemory\n") && told.contains("\nFor more connections"), "{told}");
    // The library has the same opinion.
    for (variable, value) in wrong {
        let server = program().args(["serve", "127.0.0.1:0"]).env(variable, value).output().unwrap();
        assert!(!server.status.success() && text(&server.stderr).contains(variable), "{variable}");
    }
}

#[test]
fn what_is_valid_here_is_valid_for_the_library() {
    for (variable, good) in [
        ("FIBRA_WORKERS", " 3 "),
        ("FIBRA_WORKERS", ""),
        ("FIBRA_DRIVER", "auto"),
        ("FIBRA_DRIVER", "epoll"),
        ("FIBRA_URING", "plain, entries=8"),
        ("FIBRA_URING", " "),
        ("FIBRA_STACK_SIZE", "16k"),
        ("FIBRA_STACK_SIZE", "1024m"),
        ("FIBRA_GUARD", ""),
        ("FIBRA_GUARD", "mprotect"),
    ] {
        let told = report(doctor(&[(variable, good)]));
        assert!(value(&told, "trial start").starts_with("works: "), "{variable}={good}\n{told}");
        let set = value(&told, variable);
        assert_eq!(set.starts_with("not set"), good.trim().is_empty(), "{variable}: {set}");
    }
}

#[test]
fn whoever_reads_only_the_first_line_gets_it() {
    let mut command = Command::new("sh");
    command.args(["-c", "\"$0\" doctor | head -n 1"]).arg(program().get_program());
    clear(&mut command);
    assert!(report(command).starts_with("fibra "));
    let mut full = Command::new("sh");
    full.args(["-c", "exec \"$0\" doctor > /dev/full"]).arg(program().get_program());
    let output = full.output().unwrap();
    assert!(!output.status.success() && text(&output.stderr).contains("cannot be written"));
}
