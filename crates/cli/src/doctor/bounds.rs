//! How many connections each limit allows.
//!
//! The aim is what the machine has memory for, but not more than a million: what allows less is to be changed ([`advice`](super::advice)).

use super::Facts;
use super::capacity::idle_connections;
use super::files::Known;
use super::report::{Report, about, grouped};
use fibra_context::arena::GuardKind;
use std::io::{self, Write};

/// As many connections as are aimed at, at most.
pub(super) const AIM: u64 = 1_000_000;

/// What allows so many connections and no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) connections: u64,
    pub(super) cause: Cause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    SoftFiles,
    HardFiles,
    SystemFiles,
    Mappings,
    Commit,
    AddressSpace,
    Data,
    Firewall,
    CgroupMemory,
    Memory,
}

impl Cause {
    fn name(self) -> &'static str {
        match self {
            Cause::SoftFiles => {
                "open files, soft limit: for programs of your own; fibra serve raises it to the hard limit"
            }
            Cause::HardFiles => "open files, hard limit",
            Cause::SystemFiles => "open files of all processes (fs.file-max)",
            Cause::Mappings => "memory mappings, two for each coroutine (vm.max_map_count)",
            Cause::Commit => "memory that can still be promised (vm.overcommit_memory=2)",
            Cause::AddressSpace => "address space (ulimit -v)",
            Cause::Data => "data (ulimit -d)",
            Cause::Firewall => "connections that the firewall tracks (net.netfilter.nf_conntrack_max)",
            Cause::CgroupMemory => "memory that the cgroup leaves (estimate)",
            Cause::Memory => "memory (estimate)",
        }
    }
}

/// Prints them.
pub(super) fn print(bounds: &[Bound], report: &mut Report<impl Write>) -> io::Result<()> {
    for bound in bounds {
        let figure = match bound.cause {
            Cause::Memory | Cause::CgroupMemory => format!("about {}", about(bound.connections)),
            _ => grouped(bound.connections),
        };
        report.figure(&figure, bound.cause.name())?;
    }
    if bounds.is_empty() {
        report.paragraph("nothing is known that limits them")?;
    }
    let own = fibra_serve::Limits::default().connections;
    report.plain("")?;
    report.paragraph(&format!(
        "fibra serve has a limit of its own besides: --max-connections, {} unless you say otherwise.",
        grouped(own as u64)
    ))
}

/// As many connections as are aimed at here.
pub(super) fn aim(facts: &Facts) -> u64 {
    facts.memory.available.clone().map_or(AIM, |available| idle_connections(available).min(AIM))
}

/// What limits the number of connections, the lowest first.
pub(super) fn bounds(facts: &Facts) -> Vec<Bound> {
    let Facts { limits, stacks, memory, .. } = facts;
    let workers = workers(facts);
    let connections_of = |files: u64| files.saturating_sub(16 + 4 * workers);
    let stacks_in = |limit: Option<u64>, used: &Known<u64>, each: u64| {
        limit.map(|limit| limit.saturating_sub(used.clone().unwrap_or(0)) / each)
    };
    let data_each = match stacks.kind {
        GuardKind::Lightweight => stacks.span(),
        GuardKind::Mprotect => stacks.size,
    };
    let system = limits.file_max.as_ref().ok().map(|most| {
        let open = limits.files_open.clone().unwrap_or(0);
        most.saturating_sub(open)
    });
    // It is loaded on many machines whose firewall does not use it.
    let tracked = match (&limits.tracked_most, &limits.tracked) {
        (Ok(Some(most)), Ok(Some(now))) if *now > 0 => Some(most.saturating_sub(*now)),
        _ => None,
    };
    let candidates = [
        (
            Cause::SoftFiles,
            limits.files.soft.filter(|_| limits.files.soft != limits.files.hard).map(connections_of),
        ),
        (Cause::HardFiles, limits.files.hard.map(connections_of)),
        (Cause::SystemFiles, system.filter(|most| *most < i64::MAX as u64 / 2)),
        (Cause::Mappings, stacks.most_by_mappings()),
        (Cause::Commit, stacks.most_by_commit()),
        (
            Cause::AddressSpace,
            stacks_in(limits.address_space.soft, &limits.address_space_used, stacks.span()),
        ),
        (Cause::Data, stacks_in(limits.data.soft, &limits.data_used, data_each)),
        (Cause::Firewall, tracked),
        (Cause::CgroupMemory, memory.cgroup_left().map(idle_connections)),
        (Cause::Memory, memory.available.clone().ok().map(idle_connections)),
    ];
    let mut bounds: Vec<Bound> = candidates
        .into_iter()
        .filter_map(|(cause, connections)| Some(Bound { connections: connections?, cause }))
        .collect();
    bounds.sort_by_key(|bound| bound.connections);
    bounds
}

pub(super) fn workers(facts: &Facts) -> u64 {
    let chosen = facts.settings.workers.value.clone().ok().flatten();
    chosen.or(facts.cores.default_workers.clone().ok()).unwrap_or(1)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::capacity::{Cores, Memory};
    use super::super::cgroup::MemoryLimit;
    use super::super::drivers::tests::ALL;
    use super::super::drivers::{Drivers, LeftOut};
    use super::super::kernel::Kernel;
    use super::super::limits::{Limit, Limits};
    use super::super::settings::Settings;
    use super::super::stacks::Stacks;
    use super::*;
    use std::env::VarError;

    /// A machine of 32 GiB on which nothing is in the way.
    pub(in super::super) fn machine() -> Facts {
        let unlimited = Limit { soft: None, hard: None };
        let files = Limit { soft: Some(1 << 20), hard: Some(1 << 20) };
        Facts {
            kernel: Kernel {
                release: "6.18.1".into(),
                architecture: "x86_64".into(),
                io_uring_disabled: Ok(0),
                seccomp: Ok(0),
            },
            drivers: Drivers {
                epoll: Ok(()),
                uring: Ok(ALL),
                auto: Ok("uring"),
                left_out: LeftOut::default(),
                by_default: false,
            },
            stacks: Stacks {
                kind: GuardKind::Lightweight,
                notice: None,
                refusal: None,
                size: 64 << 10,
                max_map_count: Ok(65_530),
                overcommit: Ok(0),
                commit_left: Ok(1 << 30),
            },
            limits: Limits {
                files,
                locked: unlimited,
                processes: unlimited,
                address_space: unlimited,
                data: unlimited,
                address_space_used: Ok(0),
                data_used: Ok(0),
                nr_open: Ok(1 << 20),
                file_max: Ok(i64::MAX as u64),
                files_open: Ok(1000),
                cgroup_threads: Ok(None),
                somaxconn: Ok(4096),
                syn_backlog: Ok(2048),
                syncookies: Ok(1),
                ports: Ok((32_768, 60_999)),
                tracked_most: Ok(None),
                tracked: Ok(None),
                spared: false,
            },
            cores: Cores {
                online: Ok("0-3".into()),
                affinity: Ok("0-3".into()),
                quota: Ok(None),
                default_workers: Ok(4),
            },
            memory: Memory { total: Ok(32 << 30), available: Ok(30 << 30), cgroup: Ok(None) },
            settings: Settings::of(|_| Err(VarError::NotPresent)),
            trial: Ok((4, "uring")),
        }
    }

    fn causes(facts: &Facts) -> Vec<Cause> {
        bounds(facts).iter().map(|bound| bound.cause).collect()
    }

    #[test]
    fn the_lowest_bound_comes_first() {
        let mut facts = machine();
        assert_eq!(causes(&facts), [Cause::HardFiles, Cause::Memory]);
        facts.limits.files = Limit { soft: Some(1024), hard: Some(20_000) };
        facts.memory.cgroup = Ok(Some(MemoryLimit { limit: 100 << 20, left: 87_040_000 }));
        assert_eq!(causes(&facts), [Cause::SoftFiles, Cause::CgroupMemory, Cause::HardFiles, Cause::Memory]);
        assert_eq!(bounds(&facts)[1].connections, 10_000);
        assert_eq!(aim(&facts), AIM, "a cgroup's limit is one that can be raised");
    }

    #[test]
    fn stacks_are_bounded_by_what_they_take() {
        let mut facts = machine();
        facts.limits.address_space = Limit { soft: Some(1 << 30), hard: None };
        facts.limits.data = Limit { soft: Some(1 << 31), hard: None };
        assert_eq!(causes(&facts)[..2], [Cause::AddressSpace, Cause::Data]);
        assert_eq!(bounds(&facts)[0].connections, 8192);
        facts.stacks.kind = GuardKind::Mprotect;
        assert_eq!(causes(&facts)[..3], [Cause::AddressSpace, Cause::Mappings, Cause::Data]);
        assert_eq!(bounds(&facts)[2].connections, 32_768, "a guard is no data then");
    }

    #[test]
    fn a_firewall_that_tracks_nothing_bounds_nothing() {
        let mut facts = machine();
        (facts.limits.tracked_most, facts.limits.tracked) = (Ok(Some(262_144)), Ok(Some(0)));
        assert!(!causes(&facts).contains(&Cause::Firewall));
        facts.limits.tracked = Ok(Some(144));
        assert_eq!(bounds(&facts)[0], Bound { connections: 262_000, cause: Cause::Firewall });
    }

    #[test]
    fn little_memory_is_what_is_aimed_at() {
        let mut facts = machine();
        facts.memory.available = Ok(870_400);
        assert_eq!(aim(&facts), 100);
        facts.memory.available = Err("hidden".into());
        assert_eq!(aim(&facts), AIM);
    }
}
