//! Limits: of this process, and of the system.

use super::cgroup::Cgroups;
use super::files::{Files, Known, field_bytes, nth, sysctl_path};
use super::report::{Report, bytes, grouped};
use rustix::process::{Resource, getrlimit};
use std::io::{self, Write};

/// The accept queue that the library asks for.
pub(super) const BACKLOG: u64 = 4096;

/// A limit of `getrlimit(2)`; none is unlimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) soft: Option<u64>,
    pub(super) hard: Option<u64>,
}

/// All that bear on connections.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    pub(super) files: Limit,
    pub(super) locked: Limit,
    pub(super) processes: Limit,
    pub(super) address_space: Limit,
    pub(super) data: Limit,
    /// What the process has of these two, in bytes.
    pub(super) address_space_used: Known<u64>,
    pub(super) data_used: Known<u64>,
    /// `fs.nr_open`: the most that the limit of open files can be.
    pub(super) nr_open: Known<u64>,
    /// `fs.file-max`, and how many files are open now.
    pub(super) file_max: Known<u64>,
    pub(super) files_open: Known<u64>,
    /// The cgroup's limit of threads.
    pub(super) cgroup_threads: Known<Option<u64>>,
    pub(super) somaxconn: Known<u64>,
    pub(super) syn_backlog: Known<u64>,
    pub(super) syncookies: Known<u64>,
    /// The first and the last local port that is chosen for outgoing connections.
    pub(super) ports: Known<(u64, u64)>,
    /// `nf_conntrack_max`, if a firewall can track connections here, and how many it tracks.
    pub(super) tracked_most: Known<Option<u64>>,
    pub(super) tracked: Known<Option<u64>>,
    /// Whether the limit of processes does not apply, as to root; the root of a user namespace of its own is somebody else outside.
    pub(super) spared: bool,
}

impl Limits {
    /// Looks at what is used, too: best before there are any stacks.
    pub(super) fn look(files: &Files, cgroups: &Cgroups<'_>) -> Limits {
        let status = files.text("/proc/self/status");
        let used = |name| status.clone().and_then(|status| field_bytes(&status, name));
        Limits {
            files: limit(Resource::Nofile),
            locked: limit(Resource::Memlock),
            processes: limit(Resource::Nproc),
            address_space: limit(Resource::As),
            data: limit(Resource::Data),
            address_space_used: used("VmSize"),
            data_used: used("VmData"),
            nr_open: files.sysctl("fs.nr_open"),
            file_max: files.sysctl("fs.file-max"),
            files_open: files.text(sysctl_path("fs.file-nr")).and_then(|text| nth(&text, 0)),
            cgroup_threads: cgroups.threads(),
            somaxconn: files.sysctl("net.core.somaxconn"),
            syn_backlog: files.sysctl("net.ipv4.tcp_max_syn_backlog"),
            syncookies: files.sysctl("net.ipv4.tcp_syncookies"),
            ports: files
                .text(sysctl_path("net.ipv4.ip_local_port_range"))
                .and_then(|text| Ok((nth(&text, 0)?, nth(&text, 1)?))),
            tracked_most: files.optional_sysctl("net.netfilter.nf_conntrack_max"),
            tracked: files.optional_sysctl("net.netfilter.nf_conntrack_count"),
            spared: rustix::process::geteuid().is_root()
                && files.text("/proc/self/uid_map").is_ok_and(|map| nth(&map, 1) == Ok(0)),
        }
    }

    pub(super) fn print(&self, old_rings: bool, report: &mut Report<impl Write>) -> io::Result<()> {
        report.line("open files", format!("{} (ulimit -n); one for each connection", counted(self.files)))?;
        let nr_open = self.nr_open.clone();
        report
            .known("  can be raised to", nr_open.map(|count| format!("{} (fs.nr_open)", grouped(count))))?;
        let file_max = self.file_max.clone().map(|most| match &self.files_open {
            Ok(open) => format!("{}, of which {} are open (fs.file-max)", countless(most), grouped(*open)),
            Err(_) => format!("{} (fs.file-max)", countless(most)),
        });
        report.known("  in all processes", file_max)?;
        let of_rings = if old_rings { "io_uring's rings count" } else { "io_uring's rings do not count" };
        report.line("locked memory", format!("{} (ulimit -l); {of_rings}", sized(self.locked)))?;
        let spared = if self.spared { "; root, as here, is exempt" } else { "" };
        report.line(
            "processes",
            format!("{} (ulimit -u), threads included{spared}", counted(self.processes)),
        )?;
        let threads = self.cgroup_threads.clone();
        let threads = threads
            .map(|most| most.map_or("unlimited".into(), |most| format!("{} (pids.max)", grouped(most))));
        report.known("  in the cgroup", threads)?;
        report.line("address space", format!("{} (ulimit -v)", sized(self.address_space)))?;
        report.line("data", format!("{} (ulimit -d)", sized(self.data)))?;
        let queue = self.somaxconn.clone();
        let queue = queue.map(|most| match most < BACKLOG {
            true => format!(
                "{} (net.core.somaxconn), of {} that the library asks for",
                grouped(most),
                grouped(BACKLOG)
            ),
            false => {
                format!("{}, as the library asks for (net.core.somaxconn={most})", grouped(BACKLOG))
            }
        });
        report.known("accept queue", queue)?;
        let half_open = self.syn_backlog.clone().map(|most| {
            let counts = match self.syncookies {
                Ok(0) => "",
                Ok(_) => "; no limit while tcp_syncookies is on",
                Err(_) => "; no limit if tcp_syncookies is on",
            };
            format!("{} (net.ipv4.tcp_max_syn_backlog){counts}", grouped(most))
        });
        report.known("half-open", half_open)?;
        let ports = self.ports.clone().map(|(first, last)| {
            format!(
                "{} (net.ipv4.ip_local_port_range={first}-{last}), for outgoing connections to one address and port; \
                 accepted ones need none",
                grouped(last.saturating_add(1).saturating_sub(first))
            )
        });
        report.known("local ports", ports)?;
        match (&self.tracked_most, &self.tracked) {
            (Ok(None), _) => Ok(()),
            (Ok(Some(most)), Ok(Some(now))) => {
                let now = match now {
                    0 => "none now".to_owned(),
                    now => format!("{} now", grouped(*now)),
                };
                report.line(
                    "tracked by firewall",
                    format!("{} at most, {now} (net.netfilter.nf_conntrack_max)", grouped(*most)),
                )
            }
            (Ok(Some(most)), _) => report.line("tracked by firewall", format!("{} at most", grouped(*most))),
            (Err(why), _) => report.known("tracked by firewall", Err::<&str, _>(why.clone())),
        }
    }
}

fn limit(resource: Resource) -> Limit {
    let limit = getrlimit(resource);
    Limit { soft: limit.current, hard: limit.maximum }
}

fn counted(limit: Limit) -> String {
    written(limit, grouped)
}

fn sized(limit: Limit) -> String {
    written(limit, bytes)
}

fn written(limit: Limit, figure: fn(u64) -> String) -> String {
    let figure = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), figure);
    if limit.soft == limit.hard {
        return figure(limit.soft);
    }
    format!("{} soft, {} hard", figure(limit.soft), figure(limit.hard))
}

/// `fs.file-max` is set to the largest number there is by systemd.
fn countless(most: u64) -> String {
    if most >= i64::MAX as u64 { "unlimited".to_owned() } else { grouped(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_written_once_if_they_are_the_same() {
        assert_eq!(counted(Limit { soft: Some(20_000), hard: Some(20_000) }), "20,000");
        assert_eq!(counted(Limit { soft: Some(1024), hard: None }), "1,024 soft, unlimited hard");
        assert_eq!(sized(Limit { soft: Some(8 << 20), hard: Some(16 << 20) }), "8 MiB soft, 16 MiB hard");
        assert_eq!(countless(u64::MAX >> 1), "unlimited");
    }

    #[test]
    fn this_process_has_limits() {
        let root = tempfile::tempdir().unwrap();
        let files = Files::new(root.path());
        let limits = Limits::look(&files, &Cgroups::new(&files));
        assert!(limits.files.soft.is_none_or(|soft| soft > 0));
        assert!(limits.nr_open.is_err() && limits.tracked_most == Ok(None));
        let mut text = Vec::new();
        limits.print(false, &mut Report::new(&mut text)).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("unknown (/proc/sys/fs/nr_open: no such file)"));
    }
}
