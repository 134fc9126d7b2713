//! Stacks: how they are guarded, and how many that leaves room for.

use super::files::{Files, Known, field_bytes};
use super::report::{Report, bytes, grouped};
use super::settings::Settings;
use fibra_context::arena::{self, GuardKind};
use std::io::{self, Write};

/// Bytes of guard below each stack, as in the arena.
const GUARD: u64 = 64 << 10;

/// What stacks are made of here.
#[derive(Clone, Debug)]
pub(super) struct Stacks {
    pub(super) kind: GuardKind,
    /// Why the guards are the expensive ones although nobody asked for that.
    pub(super) notice: Option<String>,
    /// Why there are no stacks at all.
    pub(super) refusal: Option<String>,
    /// The usable size of one, in bytes.
    pub(super) size: u64,
    pub(super) max_map_count: Known<u64>,
    /// The sysctl `vm.overcommit_memory`.
    pub(super) overcommit: Known<u64>,
    /// How much more memory can be promised, in bytes; it counts if overcommit is strict.
    pub(super) commit_left: Known<u64>,
}

impl Stacks {
    pub(super) fn look(files: &Files, settings: &Settings) -> Stacks {
        let size = settings.stack_size();
        let memory = files.text("/proc/meminfo");
        Stacks {
            kind: arena::guard_kind(),
            notice: arena::guard_notice().map(str::to_owned),
            refusal: arena::allocate(size as usize).err().map(|error| error.to_string()),
            size,
            max_map_count: files.sysctl("vm.max_map_count"),
            overcommit: files.sysctl("vm.overcommit_memory"),
            commit_left: memory.and_then(|memory| commit_left(&memory)),
        }
    }

    /// Bytes of address space that a stack takes.
    pub(super) fn span(&self) -> u64 {
        self.size + GUARD
    }

    /// How many stacks the memory mappings have room for; none if they do not bound it.
    pub(super) fn most_by_mappings(&self) -> Option<u64> {
        match (self.kind, &self.max_map_count) {
            (GuardKind::Mprotect, Ok(count)) => Some(stacks_of_mappings(*count)),
            _ => None,
        }
    }

    /// How many stacks the commit limit has room for; none if overcommit is not strict.
    pub(super) fn most_by_commit(&self) -> Option<u64> {
        let each = match self.kind {
            GuardKind::Lightweight => self.span(),
            GuardKind::Mprotect => self.size,
        };
        match (&self.overcommit, &self.commit_left) {
            (Ok(2), Ok(left)) => Some(left / each),
            _ => None,
        }
    }

    pub(super) fn print(&self, report: &mut Report<impl Write>) -> io::Result<()> {
        let size = format!(
            "{} for each coroutine, and {} of guard; a page costs memory once it is touched",
            bytes(self.size),
            bytes(GUARD)
        );
        report.line("stack", size)?;
        let guards = match (self.kind, &self.notice) {
            (GuardKind::Lightweight, _) => {
                "lightweight (MADV_GUARD_INSTALL): stacks take no memory mappings of their \
                                            own, so vm.max_map_count does not limit coroutines"
                    .to_owned()
            }
            (GuardKind::Mprotect, Some(notice)) => format!("mprotect, because {notice}"),
            (GuardKind::Mprotect, None) => match self.most_by_mappings() {
                Some(most) => format!(
                    "mprotect: each coroutine stack takes two memory mappings, so at most {most} fit under \
                     vm.max_map_count"
                ),
                None => "mprotect: each coroutine stack takes two memory mappings".to_owned(),
            },
        };
        report.line("guard pages", guards)?;
        if let Some(why) = &self.refusal {
            report.line("  trial stack", format!("FAILS: {why}"))?;
        }
        let mappings = self.max_map_count.clone();
        report.known(
            "memory mappings",
            mappings.map(|count| format!("{} (vm.max_map_count)", grouped(count))),
        )?;
        let overcommit = self.overcommit.clone().map(|mode| match (mode, &self.commit_left) {
            (0, _) => "heuristic (vm.overcommit_memory=0)".to_owned(),
            (1, _) => "always (vm.overcommit_memory=1)".to_owned(),
            (2, Ok(left)) => {
                format!("strict (vm.overcommit_memory=2): {} can still be promised", bytes(*left))
            }
            (mode, _) => format!("vm.overcommit_memory={mode}"),
        });
        report.known("overcommit", overcommit)
    }
}

/// How many stacks of two mappings each the arena opens: a sixteenth of the mappings is left to the rest of the process.
fn stacks_of_mappings(max_map_count: u64) -> u64 {
    (max_map_count - max_map_count / 16) / 2
}

fn commit_left(memory: &str) -> Known<u64> {
    let (limit, used) = (field_bytes(memory, "CommitLimit")?, field_bytes(memory, "Committed_AS")?);
    Ok(limit.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stacks(kind: GuardKind, overcommit: u64) -> Stacks {
        Stacks {
            kind,
            notice: None,
            refusal: None,
            size: 64 << 10,
            max_map_count: Ok(65_530),
            overcommit: Ok(overcommit),
            commit_left: Ok(1 << 30),
        }
    }

    #[test]
    fn mappings_bound_stacks_only_with_mprotect() {
        assert_eq!(stacks(GuardKind::Mprotect, 0).most_by_mappings(), Some(30_717));
        assert_eq!(stacks(GuardKind::Lightweight, 0).most_by_mappings(), None);
    }

    /// The arena keeps its rule to itself, but says its outcome when it has to fall back.
    #[test]
    fn the_arenas_own_figure_is_the_same() {
        let Some(notice) = arena::guard_notice() else { return };
        let most = stacks_of_mappings(Files::new("/").sysctl("vm.max_map_count").unwrap());
        assert!(notice.contains(&most.to_string()), "{notice}");
    }

    #[test]
    fn the_commit_limit_bounds_stacks_only_if_it_is_strict() {
        assert_eq!(stacks(GuardKind::Mprotect, 2).most_by_commit(), Some(16_384));
        assert_eq!(stacks(GuardKind::Lightweight, 2).most_by_commit(), Some(8_192));
        assert_eq!(stacks(GuardKind::Mprotect, 0).most_by_commit(), None);
        let memory = "CommitLimit:  100 kB\nCommitted_AS:  30 kB\n";
        assert_eq!(commit_left(memory), Ok(70 * 1024));
        assert!(commit_left("").is_err());
    }
}
