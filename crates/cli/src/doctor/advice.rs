//! What to change for more connections: an item for each bound that is below the aim, and for what else is amiss.

use super::Facts;
use super::bounds::{Bound, Cause, aim, workers};
use super::limits::BACKLOG;
use super::report::Report;
use fibra::DriverKind;
use fibra_context::arena::GuardKind;
use std::io::{self, ErrorKind, Write};

/// What open files are raised to: the next power of two above a million, and the kernel's default for `fs.nr_open`.
const FILES: u64 = 1 << 20;

/// What the mappings are raised to: two for each of a million stacks, and the sixteenth that the arena leaves alone.
const MAPPINGS: u64 = 2_200_000;

/// Threads of the blocking pool and others that a runtime may want besides its workers.
const OTHER_THREADS: u64 = 600;

/// Something to do: why, and what to type where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Change {
    why: String,
    commands: Vec<(String, String)>,
}

impl Change {
    fn new(why: impl Into<String>) -> Change {
        Change { why: why.into(), commands: Vec::new() }
    }

    fn with(mut self, command: impl Into<String>, place: impl Into<String>) -> Change {
        self.commands.push((command.into(), place.into()));
        self
    }

    fn sysctl(self, name: &str, value: u64) -> Change {
        self.with(format!("sysctl -w {name}={value}"), "")
    }

    fn has_sysctl(&self) -> bool {
        self.why.contains("sysctl -w")
            || self.commands.iter().any(|(command, _)| command.starts_with("sysctl"))
    }
}

/// Prints what to do.
pub(super) fn print(facts: &Facts, bounds: &[Bound], report: &mut Report<impl Write>) -> io::Result<()> {
    let changes = changes(facts, bounds);
    if changes.is_empty() {
        return report
            .paragraph("nothing: none of the settings and limits above stands in the way of so many.");
    }
    for (number, change) in changes.iter().enumerate() {
        report.item(number + 1, &change.why, &change.commands)?;
    }
    if changes.iter().any(Change::has_sysctl) {
        report.plain("")?;
        report.paragraph(
            "sysctl needs root, and for a container root of its host; a line NAME=VALUE in a file /etc/sysctl.d/*.conf \
             keeps the value over a restart.",
        )?;
    }
    Ok(())
}

/// What to do, what matters most first.
fn changes(facts: &Facts, bounds: &[Bound]) -> Vec<Change> {
    let aim = aim(facts);
    let mut changes: Vec<Change> = start(facts).into_iter().collect();
    // A hard limit that is raised takes the soft one with it.
    let hard_binds = bounds.iter().any(|bound| bound.cause == Cause::HardFiles && bound.connections < aim);
    for bound in bounds.iter().filter(|bound| bound.connections < aim) {
        let change = match bound.cause {
            Cause::SoftFiles if hard_binds => None,
            cause => lift(facts, cause),
        };
        // One thing may be in the way twice.
        changes.extend(change.filter(|change| !changes.contains(change)));
    }
    changes.extend(queues(facts));
    changes.extend(threads(facts));
    changes.extend(rings(facts));
    changes
}

/// What to do when a runtime does not even start.
fn start(facts: &Facts) -> Option<Change> {
    if !facts.settings.invalid().is_empty() {
        return Some(Change::new(
            "Correct or unset what is NOT VALID under Settings: fibra does not start with it.",
        ));
    }
    let why = facts.trial.as_ref().err()?;
    let mut text = format!("fibra does not start with these settings: {why}.");
    if facts.settings.driver.value == Ok(Some(DriverKind::Uring)) && facts.drivers.auto.is_ok() {
        text.push_str(" Unset FIBRA_DRIVER: 'auto' takes what there is.");
    }
    if facts.limits.files.soft != facts.limits.files.hard {
        text.push_str(" (This was with the soft limit of open files, which fibra serve raises first.)");
    }
    Some(Change::new(text))
}

/// What to do about a bound.
fn lift(facts: &Facts, cause: Cause) -> Option<Change> {
    let limits = &facts.limits;
    Some(match cause {
        Cause::SoftFiles => {
            let hard = limits.files.hard.unwrap_or(FILES).min(FILES);
            Change::new(
                "Raise the soft limit of open files for programs of your own; fibra serve does it by itself. \
                 Either way:",
            )
            .with(format!("ulimit -n {hard}"), "in the shell that starts the program")
            .with(format!("LimitNOFILE={hard}"), "in its systemd unit")
        }
        Cause::HardFiles => {
            let first = match limits.nr_open {
                Ok(most) if most < FILES => format!("After sysctl -w fs.nr_open={FILES}, any"),
                _ => "Any".to_owned(),
            };
            Change::new(format!(
                "Raise the limit of open files: each connection is one. {first} one of these:"
            ))
            .with(format!("ulimit -n {FILES}"), "in its shell, by root with CAP_SYS_RESOURCE")
            .with(format!("LimitNOFILE={FILES}"), "in its systemd unit")
            .with(format!("* - nofile {FILES}"), "in /etc/security/limits.conf (next login)")
            .with(format!("--ulimit nofile={FILES}"), "for docker run")
        }
        Cause::SystemFiles => Change::new("Raise the number of files that all processes may have open.")
            .sysctl("fs.file-max", 4 * FILES),
        Cause::Mappings => mappings(facts),
        Cause::Commit => overcommit(facts),
        Cause::AddressSpace => {
            Change::new("Lift the limit of address space, in which stacks are reserved in full. Either way:")
                .with("ulimit -v unlimited", "in the shell that starts the program")
                .with("LimitAS=infinity", "in its systemd unit")
        }
        Cause::Data => Change::new("Lift the limit of data, as which stacks count in full. Either way:")
            .with("ulimit -d unlimited", "in the shell that starts the program")
            .with("LimitDATA=infinity", "in its systemd unit"),
        Cause::Firewall => Change::new(
            "Let the firewall track more connections, or leave those to the server's port untracked (NOTRACK).",
        )
        .sysctl("net.netfilter.nf_conntrack_max", 2 * FILES),
        Cause::CgroupMemory => Change::new("Raise the cgroup's limit of memory. Either way:")
            .with("MemoryMax=SIZE", "in the systemd unit")
            .with("--memory SIZE", "for docker run"),
        Cause::Memory => return None,
    })
}

/// What to do about stacks that take mappings.
fn mappings(facts: &Facts) -> Change {
    let chosen = facts.settings.guard.value.as_ref().ok().and_then(Option::as_deref);
    if chosen != Some("mprotect") && facts.stacks.overcommit == Ok(2) {
        return overcommit(facts);
    }
    let what = if chosen == Some("mprotect") {
        "Unset FIBRA_GUARD, so that guards are lightweight if the kernel has them; or raise the limit of memory mappings."
    } else if !facts.kernel.is_at_least((6, 13)) {
        "Use Linux 6.13 or newer, where stacks take no memory mappings of their own; or raise the limit of mappings."
    } else {
        "Raise the limit of memory mappings: each coroutine stack takes two."
    };
    Change::new(what).sysctl("vm.max_map_count", MAPPINGS)
}

/// What to do about strict overcommit.
fn overcommit(facts: &Facts) -> Change {
    let mappings = match facts.stacks.kind {
        GuardKind::Mprotect => "takes two memory mappings and ",
        GuardKind::Lightweight => "",
    };
    let change = Change::new(format!(
        "Allow overcommit: while it is strict, each coroutine stack {mappings}is charged in full, however little of it \
         is used."
    ))
    .sysctl("vm.overcommit_memory", 0);
    if facts.stacks.kind == GuardKind::Mprotect && !facts.kernel.is_at_least((6, 13)) {
        return change.sysctl("vm.max_map_count", MAPPINGS);
    }
    change
}

/// What to do for bursts of new connections.
fn queues(facts: &Facts) -> Vec<Change> {
    let limits = &facts.limits;
    let mut changes = Vec::new();
    if limits.somaxconn.as_ref().is_ok_and(|most| *most < BACKLOG) {
        changes.push(
            Change::new(
                "Let more connections wait to be accepted, so that bursts of new ones are not refused.",
            )
            .sysctl("net.core.somaxconn", BACKLOG),
        );
    }
    if limits.syncookies == Ok(0) && limits.syn_backlog.as_ref().is_ok_and(|most| *most < BACKLOG) {
        changes.push(
            Change::new("Let more connections be half-open, so that bursts of new ones are not dropped.")
                .sysctl("net.ipv4.tcp_max_syn_backlog", BACKLOG),
        );
    }
    changes
}

/// What to do for threads.
fn threads(facts: &Facts) -> Option<Change> {
    let wanted = workers(facts) + OTHER_THREADS;
    let of_user = facts.limits.processes.soft.filter(|_| !facts.limits.spared);
    let of_cgroup = facts.limits.cgroup_threads.clone().ok().flatten();
    let (scarce_user, scarce_cgroup) =
        (of_user.is_some_and(|most| most < wanted), of_cgroup.is_some_and(|most| most < wanted));
    if !scarce_user && !scarce_cgroup {
        return None;
    }
    let mut change = Change::new(format!(
        "Allow more threads: there are workers, and up to {} for calls that block. Either way:",
        fibra::blocking::max_threads()
    ));
    if scarce_user {
        change = change.with("ulimit -u 4096", "in the shell that starts the program");
        change = change.with("LimitNPROC=4096", "in its systemd unit");
    }
    if scarce_cgroup {
        change = change.with("TasksMax=4096", "in the systemd unit");
        change = change.with("--pids-limit 4096", "for docker run");
    }
    Some(change)
}

/// What to do to have io_uring.
fn rings(facts: &Facts) -> Option<Change> {
    const WHAT_FOR: &str = "For io_uring, which needs fewer system calls (epoll holds as many connections):";
    let refusal = match &facts.drivers.uring {
        Ok(_) => return None,
        Err(refusal) => refusal,
    };
    let change = |what: &str| Some(Change::new(format!("{WHAT_FOR} {what}")));
    if !facts.settings.ring().enabled {
        return change("take 'off' out of FIBRA_URING.");
    }
    if facts.kernel.io_uring_disabled.as_ref().is_ok_and(|level| *level > 0) {
        return Some(change("allow it in the kernel.")?.sysctl("kernel.io_uring_disabled", 0));
    }
    if refusal.kind == ErrorKind::OutOfMemory {
        let change = change("raise the limit of locked memory, either way:")?;
        return Some(
            change
                .with("ulimit -l 65536", "in the shell that starts the program")
                .with("LimitMEMLOCK=64M", "in its systemd unit"),
        );
    }
    if !facts.kernel.is_at_least((5, 11)) {
        return change("use Linux 5.11 or newer; from 6.1 on it has all that fibra uses.");
    }
    if facts.kernel.seccomp == Ok(2) {
        let change = change(
            "let the system call filter pass io_uring_setup, io_uring_enter and io_uring_register. Containers' usual filters \
             do not, but they can be given another profile.",
        )?;
        return Some(change.with("--security-opt seccomp=PROFILE.json", "for docker run"));
    }
    change(&format!("it is refused here: {}.", refusal.why))
}

#[cfg(test)]
mod tests {
    use super::super::bounds::{bounds, tests::machine};
    use super::super::drivers::Refusal;
    use super::super::limits::Limit;
    use super::super::settings::Settings;
    use super::*;
    use std::env::VarError;

    fn advice(facts: &Facts) -> String {
        let mut text = Vec::new();
        print(facts, &bounds(facts), &mut Report::new(&mut text)).unwrap();
        // As one line, so that breaks are in nobody's way.
        String::from_utf8(text).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn with(variables: &[(&str, &str)]) -> Settings {
        Settings::of(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
        })
    }

    fn refused(kind: ErrorKind) -> Facts {
        let mut facts = machine();
        facts.drivers.uring = Err(Refusal { kind, why: "no ring".into() });
        facts
    }

    #[test]
    fn where_nothing_binds_there_is_nothing_to_do() {
        assert!(advice(&machine()).starts_with("nothing: "));
    }

    #[test]
    fn the_hard_limit_of_open_files_is_raised_with_the_soft_one() {
        let mut facts = machine();
        facts.limits.files = Limit { soft: Some(1024), hard: Some(1 << 20) };
        let soft = advice(&facts);
        assert!(soft.contains("soft limit") && soft.contains("LimitNOFILE=1048576"), "{soft}");
        facts.limits.files.hard = Some(4096);
        let hard = advice(&facts);
        assert!(hard.contains("1. Raise the limit of open files") && !hard.contains("2."), "{hard}");
        assert!(!hard.contains("fs.nr_open"), "{hard}");
        facts.limits.nr_open = Ok(65_536);
        assert!(advice(&facts).contains("After sysctl -w fs.nr_open=1048576"));
    }

    #[test]
    fn mappings_are_spared_or_raised() {
        let mut facts = machine();
        facts.stacks.kind = GuardKind::Mprotect;
        assert!(advice(&facts).contains("two. sysctl -w vm.max_map_count=2200000"));
        facts.kernel.release = "6.1.0-13-amd64".into();
        assert!(advice(&facts).contains("1. Use Linux 6.13 or newer"));
        facts.settings = with(&[("FIBRA_GUARD", "mprotect")]);
        assert!(advice(&facts).contains("1. Unset FIBRA_GUARD"));
    }

    #[test]
    fn strict_overcommit_is_one_thing_though_it_is_in_the_way_twice() {
        let mut facts = machine();
        facts.stacks.kind = GuardKind::Mprotect;
        facts.stacks.overcommit = Ok(2);
        let text = advice(&facts);
        assert!(text.contains("1. Allow overcommit") && !text.contains("2. "), "{text}");
        assert!(text.contains("vm.overcommit_memory=0") && !text.contains("max_map_count"), "{text}");
    }

    #[test]
    fn what_refuses_io_uring_is_what_is_to_be_changed() {
        let mut facts = refused(ErrorKind::PermissionDenied);
        assert!(advice(&facts).contains("it is refused here: no ring."));
        facts.kernel.seccomp = Ok(2);
        assert!(advice(&facts).contains("seccomp=PROFILE.json"));
        facts.kernel.io_uring_disabled = Ok(1);
        assert!(advice(&facts).contains("sysctl -w kernel.io_uring_disabled=0"));
        facts.settings = with(&[("FIBRA_URING", "off")]);
        assert!(advice(&facts).contains("take 'off' out of FIBRA_URING"));
        let mut old = refused(ErrorKind::Unsupported);
        old.kernel.release = "5.4.0".into();
        assert!(advice(&old).contains("Linux 5.11"));
        assert!(advice(&refused(ErrorKind::OutOfMemory)).contains("LimitMEMLOCK="));
    }

    #[test]
    fn a_runtime_that_does_not_start_comes_first() {
        let mut facts = refused(ErrorKind::PermissionDenied);
        facts.settings = with(&[("FIBRA_DRIVER", "uring")]);
        facts.trial = Err("no io_uring driver".into());
        let text = advice(&facts);
        assert!(
            text.starts_with("1. fibra does not start with these settings: no io_uring driver."),
            "{text}"
        );
        assert!(text.contains("Unset FIBRA_DRIVER"), "{text}");
        facts.settings = with(&[("FIBRA_WORKERS", "none")]);
        assert!(advice(&facts).starts_with("1. Correct or unset"));
    }

    #[test]
    fn queues_and_threads_that_are_short() {
        let mut facts = machine();
        facts.limits.somaxconn = Ok(128);
        facts.limits.syncookies = Ok(0);
        facts.limits.cgroup_threads = Ok(Some(100));
        facts.limits.processes = Limit { soft: Some(100), hard: None };
        let text = advice(&facts);
        for part in
            ["net.core.somaxconn=4096", "net.ipv4.tcp_max_syn_backlog=4096", "--pids-limit", "ulimit -u"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        facts.limits.spared = true;
        assert!(!advice(&facts).contains("ulimit -u"), "root is not held to it");
    }
}
