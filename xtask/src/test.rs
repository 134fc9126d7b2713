//! `cargo xtask test`: everything that must pass, in the order in which failure is cheapest to learn of.
//!
//! The tests themselves run once for each driver, then again under settings that change which code runs: one
//! worker only, guards by `mprotect`. The hand-offs between threads are model-checked. Settings inherited from
//! the shell are taken away first, so that a run means the same everywhere.

mod tally;

use crate::{setup, tidy};
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};
use tally::Tally;

/// The drivers that the tests run on, the default one first.
const DRIVERS: &[&str] = &["epoll", "uring"];
/// The settings that a step may set, and that no step inherits: fibra's, and those by which a model is checked in part.
const SETTINGS: &[&str] = &[
    "FIBRA_DRIVER",
    "FIBRA_WORKERS",
    "FIBRA_GUARD",
    "FIBRA_URING",
    "LOOM_MAX_PREEMPTIONS",
    "LOOM_MAX_PERMUTATIONS",
    "LOOM_MAX_DURATION",
];
/// An example ends by itself, well within this.
const EXAMPLE_LIMIT: Duration = Duration::from_secs(60);
/// How long the output of `cargo test` may stay open when cargo itself has ended.
const OUTPUT_LIMIT: Duration = Duration::from_secs(5);

struct Step {
    name: String,
    work: Work,
    /// The same tests as an earlier step, under other settings.
    repeats: bool,
}

enum Work {
    Setup,
    Tidy,
    Cargo(Cargo),
    /// With each driver.
    Examples,
    /// A build that has to fail, and say why.
    Refused,
}

/// One call of cargo.
struct Cargo {
    arguments: &'static str,
    environment: Vec<(&'static str, &'static str)>,
}

/// Runs the steps until one fails.
///
/// # Errors
///
/// The step that failed.
pub(crate) fn run(root: &Path, quick: bool) -> Result<(), String> {
    let mut tally = Tally::default();
    let began = Instant::now();
    let outcome = steps(quick).iter().try_for_each(|step| {
        println!("\n==> {}", step.name);
        let began = Instant::now();
        let outcome = step.work.run(root, &mut tally);
        let verdict = if outcome.is_ok() { "passed" } else { "FAILED" };
        println!("==> {} {verdict} in {:.1} s", step.name, began.elapsed().as_secs_f64());
        outcome.map_err(|why| format!("the step '{}' failed: {why}", step.name))
    });
    println!("\n==> all in {:.1} s", began.elapsed().as_secs_f64());
    // A test that is skipped is skipped in each configuration.
    for test in BTreeSet::from_iter(&tally.skips) {
        println!("skipped {test}");
    }
    for step in &tally.left_out {
        println!("skipped {step}");
    }
    println!("{tally}");
    outcome
}

/// Prints what `run` would do.
pub(crate) fn list(quick: bool) {
    for step in steps(quick) {
        match &step.work {
            Work::Cargo(cargo) => println!("{:<24}{}", step.name, cargo.in_words()),
            Work::Setup => {
                println!("{}", step.name);
                for setup::Program { name, package, needed_by } in setup::PROGRAMS {
                    println!("    {name:<20}package {package}, for {needed_by}");
                }
            }
            Work::Tidy | Work::Examples | Work::Refused => println!("{}", step.name),
        }
    }
}

fn steps(quick: bool) -> Vec<Step> {
    let step = |name: &str, work| Step { name: name.into(), work, repeats: false };
    let cargo =
        |arguments, environment: &[_]| Work::Cargo(Cargo { arguments, environment: environment.to_vec() });
    let again = |name: &str, work| Step { name: name.into(), work, repeats: true };

    let mut steps = vec![
        step("set-up", Work::Setup),
        step("format", cargo("fmt --all --check", &[])),
        step("tidy", Work::Tidy),
        step("clippy", cargo("clippy --workspace --all-targets -- -D warnings", &[])),
        step("build", cargo("build --workspace --all-targets", &[])),
    ];
    for (nth, &driver) in DRIVERS.iter().enumerate() {
        let tests = cargo("test --workspace --tests --no-fail-fast", &[("FIBRA_DRIVER", driver)]);
        steps.push(Step { name: format!("tests, {driver}"), work: tests, repeats: nth > 0 });
    }
    // What a setting of the rings, or the kind of guards, makes a difference to.
    let of_drivers = "test -p fibra-driver -p fibra --no-fail-fast --test epoll --test uring --test both_drivers --test hang_up --test net_* --test io_copy --test fs \
                      --test driver --test cancel_points --test event_loop* --test blocking --test runtime --test stop --test stress";
    let of_stacks = "test -p fibra-context -p fibra --no-fail-fast --test arena --test overflow --test generator --test symmetric \
                     --test spawn --test panic --test runtime --test stress";
    let uring = ("FIBRA_DRIVER", "uring");
    steps.extend([
        again(
            "tests, one worker",
            cargo("test --workspace --exclude xtask --tests --no-fail-fast", &[("FIBRA_WORKERS", "1")]),
        ),
        again("tests, uring, no attempts", cargo(of_drivers, &[uring, ("FIBRA_URING", "submit")])),
        again("tests, uring, Linux 5.19", cargo(of_drivers, &[uring, ("FIBRA_URING", "no-single-issuer")])),
        again("tests, uring, Linux 5.11", cargo(of_drivers, &[uring, ("FIBRA_URING", "plain,entries=1")])),
        again("tests, no ring", cargo(of_drivers, &[("FIBRA_DRIVER", "epoll"), ("FIBRA_URING", "off")])),
        again("tests, mprotect guards", cargo(of_stacks, &[("FIBRA_GUARD", "mprotect")])),
        step(
            "models",
            cargo(
                "test -p fibra-driver -p fibra --lib --profile models --no-fail-fast models",
                &[("RUSTFLAGS", "--cfg loom")],
            ),
        ),
        step("doc tests", cargo("test --workspace --doc --no-fail-fast", &[])),
        step("examples", Work::Examples),
        step("panic = \"abort\" is refused", Work::Refused),
        step("documentation", cargo("doc --workspace --no-deps", &[("RUSTDOCFLAGS", "-D warnings")])),
    ]);
    steps.retain(|step| !(quick && step.repeats));
    steps
}

impl Work {
    fn run(&self, root: &Path, tally: &mut Tally) -> Result<(), String> {
        match self {
            Work::Setup => setup::run(),
            Work::Tidy => tidy::run(root),
            Work::Cargo(cargo) => match cargo.driver().map_or(Ok(()), is_there) {
                Ok(()) => cargo.run(root, tally),
                Err(why) => leave_out(cargo.in_words(), &why, tally),
            },
            Work::Refused => refused(root),
            Work::Examples => {
                for driver in DRIVERS {
                    match is_there(driver) {
                        Ok(()) => {
                            examples(root)?.iter().try_for_each(|path| run_example(root, path, driver))?
                        }
                        Err(why) => leave_out(format!("examples, {driver}"), &why, tally)?,
                    }
                }
                Ok(())
            }
        }
    }
}

/// Where panics abort, fibra says that it cannot be.
fn refused(root: &Path) -> Result<(), String> {
    let mut command = without_settings(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).as_ref());
    command.args(["check", "-q", "-p", "fibra", "--config", "profile.dev.panic='abort'"]);
    let output = command.current_dir(root).output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    match (output.status.success(), said.contains("fibra stops coroutines by unwinding their stacks")) {
        (false, true) => Ok(()),
        (true, _) => Err("fibra was built with panic = \"abort\"".into()),
        (false, false) => Err(format!("the build failed for another reason:\n{said}")),
    }
}

/// A step cannot be made on this machine: that is said at the end, and under CI it is a failure.
fn leave_out(what: String, why: &str, tally: &mut Tally) -> Result<(), String> {
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        return Err(format!("under CI every driver must be there: {why}"));
    }
    tally.left_out.push(format!("{what}: {why}"));
    Ok(())
}

/// Whether this machine has a driver, and if not, why: as `fibra doctor` says.
fn is_there(driver: &str) -> Result<(), String> {
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let program = this.parent().expect("a program stands in a folder").join("fibra");
    let report = without_settings(&program).arg("doctor").output();
    let report = report.map_err(|error| format!("{}: {error}", program.display()))?;
    says(&String::from_utf8_lossy(&report.stdout), driver)
}

fn says(report: &str, driver: &str) -> Result<(), String> {
    let line = report.lines().find_map(|line| line.trim_start().strip_prefix(driver)).map(str::trim_start);
    match line {
        Some(line) if line.starts_with("yes") => Ok(()),
        Some(line) => Err(format!("{driver}: {line}")),
        None => Err(format!("`fibra doctor` says nothing of {driver}")),
    }
}

impl Cargo {
    /// The driver that the step needs.
    fn driver(&self) -> Option<&'static str> {
        self.environment.iter().find(|(name, _)| *name == "FIBRA_DRIVER").map(|(_, driver)| *driver)
    }

    fn run(&self, root: &Path, tally: &mut Tally) -> Result<(), String> {
        let mut command = without_settings(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()).as_ref());
        command.args(self.arguments.split(' ')).envs(self.environment.iter().copied()).current_dir(root);
        let status = if self.arguments.starts_with("test ") {
            let mut child = start(command.stdout(Stdio::piped()))?;
            let output = child.stdout.take().expect("the output was asked for");
            follow(child, output, OUTPUT_LIMIT, tally)?
        } else {
            start(&mut command)?.wait().map_err(|error| error.to_string())?
        };
        status.success().then_some(()).ok_or_else(|| format!("{}\n    {status}", self.in_words()))
    }

    /// The call as one would type it.
    fn in_words(&self) -> String {
        let quoted = |value: &str| if value.contains(' ') { format!("'{value}'") } else { value.into() };
        let settings = self.environment.iter().map(|(name, value)| format!("{name}={} ", quoted(value)));
        format!("{}cargo {}", settings.collect::<String>(), self.arguments)
    }
}

/// Passes the output of `cargo test` on while counting what it reports.
fn follow(
    mut cargo: Child,
    output: impl Read + Send + 'static,
    limit: Duration,
    tally: &mut Tally,
) -> Result<ExitStatus, String> {
    let reader = thread::spawn(move || tally::read(output, io::stdout()));
    let status = cargo.wait().map_err(|error| error.to_string())?;
    // The output ends when the last process that holds it does, which may be one that a test left behind.
    if !within(limit, || reader.is_finished()) {
        return Err("a process that some test started has outlived the tests".into());
    }
    let counted = reader.join().expect("reading lines does not panic");
    tally.add(counted.map_err(|error| format!("the output of cargo test could not be passed on: {error}"))?);
    Ok(status)
}

/// The programs under `crates/fibra/examples`, as `cargo build --all-targets` has left them.
fn examples(root: &Path) -> Result<Vec<PathBuf>, String> {
    let folder = root.join("crates/fibra/examples");
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let this = env::current_exe().map_err(|error| error.to_string())?;
    let built = this.parent().expect("a program stands in a folder").join("examples");
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut examples = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| error.to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "rs") || path.join("main.rs").exists() {
            examples.push(built.join(path.file_stem().expect("an entry of a folder has a name")));
        }
    }
    examples.sort();
    Ok(examples)
}

fn run_example(root: &Path, example: &Path, driver: &str) -> Result<(), String> {
    let name = example.file_name().unwrap_or_default().display();
    println!("--> {name}, {driver}");
    let mut child = start(without_settings(example).env("FIBRA_DRIVER", driver).current_dir(root))?;
    let mut ended = Ok(None);
    if !within(EXAMPLE_LIMIT, || {
        ended = child.try_wait();
        !matches!(ended, Ok(None))
    }) {
        child.kill().and_then(|()| child.wait()).map_err(|error| error.to_string())?;
        return Err(format!("the example {name} was still running after {EXAMPLE_LIMIT:?}"));
    }
    match ended.map_err(|error| error.to_string())? {
        Some(status) if !status.success() => Err(format!("the example {name}: {status}")),
        _ => Ok(()),
    }
}

/// Waits until `done`, and tells whether that came about in time.
fn within(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let began = Instant::now();
    while !done() {
        if began.elapsed() > limit {
            return false;
        }
        thread::sleep(Duration::from_millis(10));
    }
    true
}

fn without_settings(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    for setting in SETTINGS {
        command.env_remove(setting);
    }
    command
}

fn start(command: &mut Command) -> Result<Child, String> {
    command.spawn().map_err(|error| format!("{}: {error}", command.get_program().display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(quick: bool) -> Vec<String> {
        steps(quick).into_iter().map(|step| step.name).collect()
    }

    #[test]
    fn quick_leaves_out_repetitions_and_nothing_else() {
        let (all, quick) = (names(false), names(true));
        let left_out: Vec<&String> = all.iter().filter(|name| !quick.contains(name)).collect();
        assert!(left_out.iter().all(|name| name.starts_with("tests, ")), "{left_out:?}");
        assert_eq!(left_out.len(), 7);
        assert!(quick.contains(&format!("tests, {}", DRIVERS[0])));
    }

    #[test]
    fn every_setting_that_a_step_makes_is_taken_from_the_shell() {
        for step in steps(false) {
            if let Work::Cargo(cargo) = step.work {
                let mut settings = cargo.environment.iter().filter(|(name, _)| name.starts_with("FIBRA_"));
                assert!(settings.all(|(name, _)| SETTINGS.contains(name)), "{}", step.name);
            }
        }
    }

    #[test]
    fn a_driver_that_is_missing_is_known_by_the_report() {
        let report = "Drivers\n  epoll    yes\n  uring    no: a system call filter forbids io_uring\n";
        assert_eq!(says(report, "epoll"), Ok(()));
        let why = says(report, "uring").unwrap_err();
        assert!(why.contains("system call filter"), "{why}");
        assert!(says("", "epoll").is_err());
    }

    #[test]
    fn a_call_is_shown_as_one_would_type_it() {
        let cargo =
            Cargo { arguments: "doc", environment: vec![("RUSTDOCFLAGS", "-D warnings"), ("A", "1")] };
        assert_eq!(cargo.in_words(), "RUSTDOCFLAGS='-D warnings' A=1 cargo doc");
    }

    #[test]
    fn process_that_holds_the_output_after_cargo_has_ended_is_a_failure() {
        let ended = || start(&mut Command::new("true")).expect("true starts");
        let (output, held) = io::pipe().expect("a pipe can be had");
        let mut tally = Tally::default();
        assert!(follow(ended(), output, Duration::from_millis(50), &mut tally).is_err());
        drop(held);
        assert!(follow(ended(), io::empty(), OUTPUT_LIMIT, &mut tally).is_ok());
    }
}
