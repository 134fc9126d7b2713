//! Cores and memory: what the machine has, and how much of it is for this process.

use super::cgroup::{Cgroups, MemoryLimit};
use super::files::{Files, Known, count_of_list, field, field_bytes};
use super::report::{Report, about, bytes};
use std::io::{self, Write};

/// What an idle connection costs in the process, in bytes: the page of its stack, its task, and their page tables.
const IN_THE_PROCESS: u64 = 4608;

/// What it costs in the kernel, in bytes, as long as no data waits: an idle TCP socket with its inode, file, directory entry and the entry in epoll or
/// io_uring took 4.1 KiB on Linux 6.18.
const IN_THE_KERNEL: u64 = 4096;

/// What computes.
#[derive(Clone, Debug)]
pub(super) struct Cores {
    pub(super) online: Known<String>,
    pub(super) affinity: Known<String>,
    pub(super) quota: Known<Option<f64>>,
    /// How many workers there are if nothing else is said.
    pub(super) default_workers: Known<u64>,
}

/// What remembers.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    pub(super) total: Known<u64>,
    pub(super) available: Known<u64>,
    pub(super) cgroup: Known<Option<MemoryLimit>>,
}

impl Cores {
    pub(super) fn look(files: &Files, cgroups: &Cgroups<'_>) -> Cores {
        let status = files.text("/proc/self/status");
        let parallel = std::thread::available_parallelism();
        Cores {
            online: files.text("/sys/devices/system/cpu/online"),
            affinity: status.and_then(|status| field(&status, "Cpus_allowed_list").map(str::to_owned)),
            quota: cgroups.cpu_quota(),
            default_workers: parallel.map(|count| count.get() as u64).map_err(|error| error.to_string()),
        }
    }

    pub(super) fn print(&self, report: &mut Report<impl Write>) -> io::Result<()> {
        let counted = |list: &Known<String>| -> Known<String> {
            let list = list.clone()?;
            Ok(format!("{} ({list})", count_of_list(&list)?))
        };
        report.known("online", counted(&self.online))?;
        report.known("affinity mask", counted(&self.affinity))?;
        let quota = self.quota.clone();
        report.known(
            "cgroup quota",
            quota.map(|quota| {
                quota.map_or("none".to_owned(), |cores| format!("the time of {} cores", decimal(cores)))
            }),
        )?;
        let workers = self.default_workers.clone();
        report.known("workers by default", workers.map(|count| format!("{count}: what all of these leave")))
    }
}

/// How many idle connections that many bytes have room for, roughly.
pub(super) fn idle_connections(room: u64) -> u64 {
    room / (IN_THE_PROCESS + IN_THE_KERNEL)
}

/// At most two decimals.
fn decimal(number: f64) -> String {
    format!("{number:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Memory {
    pub(super) fn look(files: &Files, cgroups: &Cgroups<'_>) -> Memory {
        let text = files.text("/proc/meminfo");
        let read = |name| text.clone().and_then(|text| field_bytes(&text, name));
        Memory { total: read("MemTotal"), available: read("MemAvailable"), cgroup: cgroups.memory() }
    }

    /// What is left of the cgroup's limit, if it has one.
    pub(super) fn cgroup_left(&self) -> Option<u64> {
        self.cgroup.as_ref().ok()?.as_ref().map(|limit| limit.left)
    }

    /// What this process could still take, in bytes.
    fn room(&self) -> Option<u64> {
        match (self.available.as_ref().ok(), self.cgroup_left()) {
            (Some(available), Some(left)) => Some(left.min(*available)),
            (available, left) => available.copied().or(left),
        }
    }

    pub(super) fn print(&self, report: &mut Report<impl Write>) -> io::Result<()> {
        report.known("total", self.total.clone().map(bytes))?;
        report.known("available", self.available.clone().map(bytes))?;
        let cgroup = self.cgroup.clone().map(|limit| match limit {
            Some(MemoryLimit { limit, left }) => {
                format!("{}, of which {} are left", bytes(limit), bytes(left))
            }
            None => "none".to_owned(),
        });
        report.known("cgroup limit", cgroup)?;
        let Some(room) = self.room() else {
            return report.line("idle connections", "unknown, as the memory is");
        };
        let estimate = format!(
            "about {} in {}: an estimate, at {} for the coroutine (a page of stack, the task, page tables) and {} for an idle \
             TCP socket in the kernel. Bytes that wait in socket buffers, deeper stacks and your own data come on top",
            about(idle_connections(room)),
            bytes(room),
            bytes(IN_THE_PROCESS),
            bytes(IN_THE_KERNEL)
        );
        report.line("idle connections", estimate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_of_machine_and_cgroup_is_what_there_is() {
        let limit = MemoryLimit { limit: 1 << 30, left: 870_400 };
        let memory = Memory { total: Ok(2 << 30), available: Ok(1 << 30), cgroup: Ok(Some(limit)) };
        assert_eq!(memory.room(), Some(870_400));
        assert_eq!(memory.room().map(idle_connections), Some(100));
        let unlimited = Memory { cgroup: Ok(None), ..memory };
        assert_eq!(unlimited.room(), Some(1 << 30));
        let hidden = Memory { available: Err("hidden".into()), ..unlimited };
        assert_eq!(hidden.room(), None);
    }

    #[test]
    fn quotas_are_written_without_needless_digits() {
        assert_eq!([1.5, 2.0, 0.25, 0.333].map(decimal), ["1.5", "2", "0.25", "0.33"]);
    }
}
