//! What a server and all its descendants have used, from `/proc`.
//!
//! Processor time is that of the living, and of the dead whom their parents have waited for (`cutime` and `cstime`): a server that forks for each connection is
//! charged for all of them. Of a process with one thread the kernel tells it to the nanosecond; of others, and of how it is shared between user and kernel, in
//! ticks of 10 ms. Over a cell that is a few per cent at worst.

use crate::doctor::files::{Files, Known, field_bytes};
use crate::lab::machine::count;
use rustix::param::clock_ticks_per_second;
use std::collections::HashMap;
use std::time::Instant;

/// Threads beyond which nobody is asked how often it was switched: it would take longer than a cell.
const MOST_THREADS: u64 = 256;
/// Processes beyond which some speak for all.
const SAMPLE: usize = 32;

/// A process, from `/proc/PID/stat`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    id: u32,
    parent: u32,
    /// It has not ended: one that has, and was not waited for, has no memory any more.
    lives: bool,
    /// Ticks, those of the children that were waited for included.
    user: u64,
    system: u64,
    /// Of these its own.
    own: u64,
    threads: u64,
}

/// At one moment.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) at: Instant,
    /// Seconds of processor time.
    pub(super) user: f64,
    pub(super) system: f64,
    /// Both, and finer: a thousand processes may each use less than a tick.
    pub(super) total: f64,
    /// Of the threads that live; `None` when there are too many.
    pub(super) switches: Option<u64>,
    pub(super) processes: u64,
    pub(super) threads: u64,
}

/// What it holds, at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Footprint {
    /// Resident, each page by the share of those who have it, and page tables; in bytes.
    pub(super) memory: f64,
    /// What of that is the server's own: not from files, whose pages it may share with any program that comes and goes.
    pub(super) own: f64,
    pub(super) descriptors: Option<f64>,
}

impl Footprint {
    /// What was more, of two moments.
    pub(super) fn or_larger(self, other: Option<Footprint>) -> Footprint {
        let Some(other) = other else { return self };
        let descriptors = [self.descriptors, other.descriptors].into_iter().flatten();
        Footprint {
            memory: self.memory.max(other.memory),
            own: self.own.max(other.own),
            descriptors: descriptors.reduce(f64::max),
        }
    }
}

/// Looks at the family of a process.
pub(super) struct Usage {
    files: Files,
    root: u32,
}

impl Usage {
    pub(super) fn of(root: u32) -> Usage {
        Usage { files: Files::new("/"), root }
    }

    pub(super) fn sample(&self) -> Known<Sample> {
        let at = Instant::now();
        let family = self.family()?;
        let ticks = clock_ticks_per_second() as f64;
        let sum = |of: fn(&Process) -> u64| family.iter().map(of).sum::<u64>();
        let threads = sum(|process| process.threads);
        Ok(Sample {
            at,
            user: sum(|process| process.user) as f64 / ticks,
            system: sum(|process| process.system) as f64 / ticks,
            total: family.iter().map(|process| self.seconds(process, ticks)).sum(),
            switches: (threads <= MOST_THREADS).then(|| self.switches(&family)),
            processes: family.len() as u64,
            threads,
        })
    }

    /// Processor time of a process, to the nanosecond where the kernel tells it: of a single thread, in `schedstat`.
    fn seconds(&self, process: &Process, ticks: f64) -> f64 {
        let all = (process.user + process.system) as f64 / ticks;
        let own = process.own as f64 / ticks;
        let told = || {
            let text = self.files.text(format!("/proc/{}/schedstat", process.id)).ok()?;
            text.split(' ').next()?.parse::<f64>().ok()
        };
        match process.threads {
            1 => told().map_or(all, |nanoseconds| all - own + nanoseconds / 1e9),
            _ => all,
        }
    }

    pub(super) fn footprint(&self) -> Known<Footprint> {
        let family = self.family()?;
        let (root, others) = family.split_first().ok_or("the server has gone")?;
        let first = self.footprint_of(root.id)?;
        let others: Vec<&Process> = others.iter().filter(|process| process.lives).collect();
        let step = others.len().div_ceil(SAMPLE).max(1);
        // One that ends meanwhile is left out.
        let asked: Vec<Footprint> =
            others.iter().step_by(step).filter_map(|process| self.footprint_of(process.id).ok()).collect();
        let scale = if asked.is_empty() { 0.0 } else { others.len() as f64 / asked.len() as f64 };
        let descriptors = |one: &Footprint| one.descriptors.unwrap_or(0.0);
        Ok(Footprint {
            memory: first.memory + scale * asked.iter().map(|one| one.memory).sum::<f64>(),
            own: first.own + scale * asked.iter().map(|one| one.own).sum::<f64>(),
            descriptors: first
                .descriptors
                .map(|own| own + scale * asked.iter().map(descriptors).sum::<f64>()),
        })
    }

    fn footprint_of(&self, process: u32) -> Known<Footprint> {
        let status = self.files.text(format!("/proc/{process}/status"))?;
        let shares = self.files.text(format!("/proc/{process}/smaps_rollup"));
        let by_share = |name: &str| field_bytes(shares.as_deref().map_err(Clone::clone)?, name);
        let resident = by_share("Pss").or_else(|_| field_bytes(&status, "VmRSS"))?;
        let own = by_share("Pss_Anon").and_then(|own| Ok(own + by_share("Pss_Shmem")?));
        let own = own.or_else(|_| field_bytes(&status, "RssAnon"))?;
        let tables = field_bytes(&status, "VmPTE")?;
        let descriptors = std::fs::read_dir(format!("/proc/{process}/fd")).ok().map(|all| all.count() as f64);
        Ok(Footprint { memory: (resident + tables) as f64, own: (own + tables) as f64, descriptors })
    }

    /// The root first, then its descendants.
    fn family(&self) -> Known<Vec<Process>> {
        let folder = std::fs::read_dir("/proc").map_err(|error| format!("/proc: {error}"))?;
        let ids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
        // Those that end while we look are not there any more.
        let all = ids.filter_map(|id| stat(&self.files.text(format!("/proc/{id}/stat")).ok()?));
        let family = family(self.root, all);
        if family.is_empty() { Err("the server has gone".to_owned()) } else { Ok(family) }
    }

    fn switches(&self, family: &[Process]) -> u64 {
        let mut total = 0;
        for process in family {
            let Ok(folder) = std::fs::read_dir(format!("/proc/{}/task", process.id)) else { continue };
            for thread in folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
                let status = self.files.text(format!("/proc/{}/task/{thread}/status", process.id));
                total += status.map(|text| switches(&text)).unwrap_or(0);
            }
        }
        total
    }
}

/// A process and all that descend from it, the root first.
fn family(root: u32, all: impl IntoIterator<Item = Process>) -> Vec<Process> {
    let mut found = Vec::new();
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for process in all {
        if process.id == root {
            found.push(process);
        } else {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut place = 0;
    while let Some(process) = found.get(place) {
        let of_it = children.remove(&process.id).unwrap_or_default();
        found.extend(of_it);
        place += 1;
    }
    found
}

/// Reads the line of `/proc/PID/stat`, proc_pid_stat(5): the name in parentheses may hold anything, the fields behind it are numbered from 3.
fn stat(line: &str) -> Option<Process> {
    let id = line.split(' ').next()?.parse().ok()?;
    let fields: Vec<&str> = line.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        id,
        parent: number(4)?.try_into().ok()?,
        lives: !matches!(*fields.first()?, "Z" | "X"),
        user: number(14)? + number(16)?,
        system: number(15)? + number(17)?,
        own: number(14)? + number(15)?,
        threads: number(20)?,
    })
}

fn switches(status: &str) -> u64 {
    let of = |name: &str| count(status, name).unwrap_or(0);
    of("voluntary_ctxt_switches") + of("nonvoluntary_ctxt_switches")
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a (strange) na me) S 7 42 42 0 -1 4194560 160 5 0 0 11 22 33 44 20 0 3 0 5 6 7 18446744073709551615 1 1";

    #[test]
    fn a_stat_line_is_read_behind_the_name_whatever_the_name_is() {
        let process = stat(STAT).unwrap();
        assert_eq!(
            process,
            Process {
                id: 42,
                parent: 7,
                lives: true,
                user: 11 + 33,
                system: 22 + 44,
                own: 11 + 22,
                threads: 3
            }
        );
        assert!(!stat(&STAT.replace(") S ", ") Z ")).unwrap().lives);
        assert_eq!(stat("42 (cut off) S 7 42"), None);
        assert_eq!(stat(""), None);
    }

    #[test]
    fn a_family_is_the_root_and_all_below_in_whatever_order_they_are_found() {
        let process =
            |id, parent| Process { id, parent, lives: true, user: 1, system: 1, own: 1, threads: 1 };
        let all = [process(5, 3), process(3, 1), process(9, 5), process(4, 1), process(1, 0), process(8, 2)];
        let mut ids: Vec<_> = family(1, all.clone()).iter().map(|process| process.id).collect();
        assert_eq!(ids[0], 1);
        ids.sort_unstable();
        assert_eq!(ids, [1, 3, 4, 5, 9]);
        assert!(family(77, all).is_empty());
    }

    #[test]
    fn the_larger_of_two_footprints_counts() {
        let footprint = |memory, own, descriptors| Footprint { memory, own, descriptors };
        let one = footprint(900.0, 500.0, Some(7.0));
        assert_eq!(one.or_larger(None), one);
        let other = footprint(800.0, 600.0, None);
        assert_eq!(one.or_larger(Some(other)), footprint(900.0, 600.0, Some(7.0)));
        assert_eq!(other.or_larger(Some(one)), footprint(900.0, 600.0, Some(7.0)));
    }

    #[test]
    fn switches_of_both_kinds_count() {
        assert_eq!(
            switches("Name:\tx\nvoluntary_ctxt_switches:\t150\nnonvoluntary_ctxt_switches:\t545\n"),
            695
        );
        assert_eq!(switches("Name:\tx\n"), 0);
    }

    #[test]
    fn this_process_uses_something() {
        let usage = Usage::of(std::process::id());
        let (sample, footprint) = (usage.sample().unwrap(), usage.footprint().unwrap());
        assert!(sample.threads >= 1 && sample.processes >= 1);
        assert!(
            footprint.memory > footprint.own && footprint.own > 0.0 && footprint.descriptors.unwrap() >= 3.0
        );
        assert!(Usage::of(u32::MAX).sample().is_err());
    }
}
