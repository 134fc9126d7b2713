//! What the control groups allow this process: version 1, version 2, and both at once.
//!
//! A limit holds for everything below the group that it is set on, so each group from the process's own up to the root of what is mounted
//! is looked at, and the lowest counts. Groups above that root (those of the host, seen from a container) cannot be seen.

use super::files::{Files, Known, nth};
use std::path::{Path, PathBuf};

/// Version 1 writes "no limit" as the largest number of whole pages.
const UNLIMITED: u64 = 1 << 60;

/// The groups of this process.
#[derive(Debug)]
pub(super) struct Cgroups<'a> {
    files: &'a Files,
    groups: Known<String>,
    mounts: Known<String>,
}

/// The folders of the groups that one controller has this process in, its own first.
#[derive(Debug, PartialEq, Eq)]
struct Groups {
    folders: Vec<PathBuf>,
    /// Whether this is version 2.
    unified: bool,
}

/// A limit of memory, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    pub(super) limit: u64,
    /// What is left of it; the kernel gives file caches up before it refuses anything, so they do not count as used.
    pub(super) left: u64,
}

impl<'a> Cgroups<'a> {
    pub(super) fn new(files: &'a Files) -> Cgroups<'a> {
        let (groups, mounts) = (files.text("/proc/self/cgroup"), files.text("/proc/self/mountinfo"));
        Cgroups { files, groups, mounts }
    }

    /// How many cores' worth of time there is, if that is limited.
    pub(super) fn cpu_quota(&self) -> Known<Option<f64>> {
        self.lowest("cpu", f64::min, |folder, unified| {
            if unified {
                let text = self.files.optional(folder.join("cpu.max"))?;
                return text.map_or(Ok(None), |text| quota_of_max(&text));
            }
            let quota = self.files.optional(folder.join("cpu.cfs_quota_us"))?;
            let period = self.files.optional(folder.join("cpu.cfs_period_us"))?;
            match (quota, period) {
                (Some(quota), Some(period)) => quota_of_max(&format!("{quota} {period}")),
                _ => Ok(None),
            }
        })
    }

    /// The limit of memory that leaves the least.
    pub(super) fn memory(&self) -> Known<Option<MemoryLimit>> {
        let less = |a: MemoryLimit, b: MemoryLimit| if b.left < a.left { b } else { a };
        self.lowest("memory", less, |folder, unified| {
            let (limit, usage, cached) = if unified {
                ("memory.max", "memory.current", "inactive_file")
            } else {
                ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            };
            let Some(limit) = self.number(folder, limit)? else { return Ok(None) };
            let used = self.number(folder, usage)?.unwrap_or(0);
            let statistics = self.files.optional(folder.join("memory.stat"))?.unwrap_or_default();
            let used = used.saturating_sub(statistic(&statistics, cached));
            Ok(Some(MemoryLimit { limit, left: limit.saturating_sub(used) }))
        })
    }

    /// How many threads there may be.
    pub(super) fn threads(&self) -> Known<Option<u64>> {
        self.lowest("pids", u64::min, |folder, _| self.number(folder, "pids.max"))
    }

    /// What `limit` finds in each group, brought together by `least`.
    fn lowest<T>(
        &self,
        controller: &str,
        least: impl Fn(T, T) -> T,
        limit: impl Fn(&Path, bool) -> Known<Option<T>>,
    ) -> Known<Option<T>> {
        let (groups, mounts) = (self.groups.as_ref()?, self.mounts.as_ref()?);
        let Some(groups) = groups_of(groups, mounts, controller) else {
            return Err(format!("no cgroup of the controller '{controller}' is mounted"));
        };
        let mut found = None;
        for folder in &groups.folders {
            found = match (found, limit(folder, groups.unified)?) {
                (Some(a), Some(b)) => Some(least(a, b)),
                (a, b) => a.or(b),
            };
        }
        Ok(found)
    }

    /// A number in a file of a group; none where there is no such file (as in the root), or no limit.
    fn number(&self, folder: &Path, name: &str) -> Known<Option<u64>> {
        let path = folder.join(name);
        match self.files.optional(&path)?.as_deref() {
            None | Some("max") => Ok(None),
            Some(text) => match text.parse() {
                Ok(number) => Ok(Some(number).filter(|number| *number < UNLIMITED)),
                Err(_) => Err(format!("{}: '{text}' is not a number", path.display())),
            },
        }
    }
}

/// The groups of a controller, from `/proc/self/cgroup` and `/proc/self/mountinfo`.
fn groups_of(groups: &str, mounts: &str, controller: &str) -> Option<Groups> {
    let old = groups.lines().find_map(|line| {
        let (names, path) = line.split_once(':')?.1.split_once(':')?;
        names.split(',').any(|name| name == controller).then_some(path)
    });
    let (path, unified) = match old {
        Some(path) => (path, false),
        None => (groups.lines().find_map(|line| line.strip_prefix("0::"))?, true),
    };
    let (root, mount) = mounts.lines().find_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut back = back.split(' ');
        let (kind, options) = (back.next()?, back.nth(1)?);
        let fits = if unified {
            kind == "cgroup2"
        } else {
            kind == "cgroup" && options.split(',').any(|option| option == controller)
        };
        let mut front = front.split(' ').skip(3);
        fits.then_some((front.next()?, front.next()?))
    })?;
    // A path that is not below the mounted root, or has "..", is a group that cannot be seen from here.
    let below = Path::new(path).strip_prefix(root).ok().filter(|_| !path.contains("/.."));
    let own = below.map_or_else(|| PathBuf::from(mount), |below| Path::new(mount).join(below));
    let folders = own.ancestors().take_while(|folder| folder.starts_with(mount)).map(Path::to_owned);
    Some(Groups { folders: folders.collect(), unified })
}

/// The cores' worth of `QUOTA PERIOD`, where the quota may be `max` or -1.
fn quota_of_max(text: &str) -> Known<Option<f64>> {
    if text.starts_with("max") || text.starts_with('-') {
        return Ok(None);
    }
    let (quota, period) = (nth(text, 0)?, nth(text, 1)?);
    Ok((period > 0).then(|| quota as f64 / period as f64))
}

/// A line of `memory.stat`; 0 without it.
fn statistic(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const UNIFIED: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
    const SPLIT: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                         32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                         35 31 0:32 /docker/abc /sys/fs/cgroup/memory rw shared:7 - cgroup cgroup rw,memory";

    fn files(written: &[(&str, &str)]) -> (tempfile::TempDir, Files) {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in written {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = Files::new(root.path());
        (root, files)
    }

    #[test]
    fn version_2_the_lowest_limit_on_the_way_up_counts() {
        let (_root, files) = files(&[
            ("proc/self/cgroup", "0::/user.slice/app\n"),
            ("proc/self/mountinfo", UNIFIED),
            ("sys/fs/cgroup/user.slice/cpu.max", "150000 100000\n"),
            ("sys/fs/cgroup/user.slice/app/cpu.max", "max 100000\n"),
            ("sys/fs/cgroup/user.slice/app/memory.max", "1073741824\n"),
            ("sys/fs/cgroup/user.slice/app/memory.current", "700000000\n"),
            ("sys/fs/cgroup/user.slice/app/memory.stat", "anon 5\ninactive_file 300000000\n"),
            ("sys/fs/cgroup/user.slice/memory.max", "max\n"),
            ("sys/fs/cgroup/user.slice/app/pids.max", "100\n"),
            ("sys/fs/cgroup/user.slice/pids.max", "99\n"),
        ]);
        let groups = Cgroups::new(&files);
        assert_eq!(groups.cpu_quota(), Ok(Some(1.5)));
        let limit = 1 << 30;
        assert_eq!(groups.memory(), Ok(Some(MemoryLimit { limit, left: limit - 400_000_000 })));
        assert_eq!(groups.threads(), Ok(Some(99)));
    }

    #[test]
    fn version_1_has_a_folder_for_each_controller() {
        let (_root, files) = files(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu,cpuacct:/\n0::/\n"),
            ("proc/self/mountinfo", SPLIT),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "50000\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "36870912\n"),
            ("sys/fs/cgroup/memory/memory.stat", "cache 1\ntotal_inactive_file 0\n"),
        ]);
        let groups = Cgroups::new(&files);
        assert_eq!(groups.cpu_quota(), Ok(Some(0.5)));
        assert_eq!(groups.memory(), Ok(Some(MemoryLimit { limit: 536_870_912, left: 500_000_000 })));
        assert!(groups.threads().unwrap_err().contains("pids"));
    }

    #[test]
    fn no_limit_is_no_limit_in_either_version() {
        let (_root, old) = files(&[
            ("proc/self/cgroup", "4:memory:/docker/abc\n1:cpu,cpuacct:/\n"),
            ("proc/self/mountinfo", SPLIT),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
            ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        let (_other, new) =
            files(&[("proc/self/cgroup", "0::/\n"), ("proc/self/mountinfo", UNIFIED), ("sys/none", "")]);
        for files in [&old, &new] {
            let groups = Cgroups::new(files);
            assert_eq!((groups.cpu_quota(), groups.memory()), (Ok(None), Ok(None)));
        }
    }

    #[test]
    fn without_proc_nothing_is_known() {
        let (_root, files) = files(&[]);
        assert_eq!(Cgroups::new(&files).cpu_quota().unwrap_err(), "/proc/self/cgroup: no such file");
    }

    #[test]
    fn groups_that_cannot_be_seen_are_left_out() {
        let folders = |groups, mounts| groups_of(groups, mounts, "memory").unwrap().folders;
        let top = [PathBuf::from("/sys/fs/cgroup")];
        assert_eq!(folders("0::/../../other", UNIFIED), top);
        assert_eq!(folders("0::/", UNIFIED), top);
        assert_eq!(folders("4:memory:/elsewhere", SPLIT), [PathBuf::from("/sys/fs/cgroup/memory")]);
        assert_eq!(
            folders("0::/a/b", UNIFIED),
            ["/sys/fs/cgroup/a/b", "/sys/fs/cgroup/a", "/sys/fs/cgroup"].map(PathBuf::from)
        );
        assert_eq!(groups_of("0::/", SPLIT, "memory"), None);
    }
}
