//! Reading `/proc` and `/sys`: what is there, or why it is not known.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A fact; or why there is none, in words for the report.
pub(crate) type Known<T> = Result<T, String>;

/// The files of the machine, below a folder: `/`, or a sample in tests.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

impl Files {
    pub(crate) fn new(root: impl Into<PathBuf>) -> Files {
        Files { root: root.into() }
    }

    /// The text of a file, without white space around it.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Known<String> {
        let path = path.as_ref();
        self.optional(path)?.ok_or_else(|| format!("{}: no such file", path.display()))
    }

    /// The same, for a file that need not exist.
    pub(crate) fn optional(&self, path: impl AsRef<Path>) -> Known<Option<String>> {
        let path = path.as_ref();
        let below = path.strip_prefix("/").unwrap_or(path);
        match fs::read_to_string(self.root.join(below)) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) => match error.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
                ErrorKind::PermissionDenied => Err(format!("{}: permission denied", path.display())),
                ErrorKind::InvalidData => Err(format!("{}: not text", path.display())),
                _ => Err(format!("{}: {error}", path.display())),
            },
        }
    }

    /// A sysctl that is a number: `vm.max_map_count`.
    pub(crate) fn sysctl(&self, name: &str) -> Known<u64> {
        let path = sysctl_path(name);
        number(&self.text(&path)?, &path)
    }

    /// The same, for one that need not exist.
    pub(crate) fn optional_sysctl(&self, name: &str) -> Known<Option<u64>> {
        let path = sysctl_path(name);
        self.optional(&path)?.map(|text| number(&text, &path)).transpose()
    }
}

/// Where a sysctl is.
pub(crate) fn sysctl_path(name: &str) -> String {
    format!("/proc/sys/{}", name.replace('.', "/"))
}

fn number(text: &str, path: &str) -> Known<u64> {
    text.parse().map_err(|_| format!("{path}: '{text}' is not a number"))
}

/// The value behind `name:` in a file of such lines, as `/proc/self/status` and `/proc/meminfo` are.
pub(crate) fn field<'a>(text: &'a str, name: &str) -> Known<&'a str> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map(str::trim).ok_or_else(|| format!("no field {name}"))
}

/// The value of a field in kB, in bytes.
pub(crate) fn field_bytes(text: &str, name: &str) -> Known<u64> {
    let value = field(text, name)?;
    let kib = value.strip_suffix("kB").and_then(|number| number.trim().parse::<u64>().ok());
    kib.and_then(|kib| kib.checked_mul(1024)).ok_or_else(|| format!("{name} is '{value}'"))
}

/// The number at a position of a line of numbers.
pub(crate) fn nth(text: &str, position: usize) -> Known<u64> {
    let word = text.split_whitespace().nth(position);
    word.and_then(|word| word.parse().ok()).ok_or_else(|| format!("'{text}' is not what was expected"))
}

/// How many there are in a list such as `0-3,8`.
pub(crate) fn count_of_list(text: &str) -> Known<u64> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?);
        last.checked_sub(first)?.checked_add(1)
    };
    let counts: Option<Vec<u64>> = text.split(',').map(part).collect();
    counts.map(|counts| counts.iter().sum()).ok_or_else(|| format!("'{text}' is not a list of cores"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_is_read_or_it_is_said_why_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("proc/sys/vm");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("max_map_count"), "65530\n").unwrap();
        fs::write(folder.join("odd"), "many\n").unwrap();
        let files = Files::new(root.path());
        assert_eq!(files.sysctl("vm.max_map_count"), Ok(65530));
        assert_eq!(files.sysctl("vm.odd").unwrap_err(), "/proc/sys/vm/odd: 'many' is not a number");
        assert_eq!(files.sysctl("vm.none").unwrap_err(), "/proc/sys/vm/none: no such file");
        assert_eq!(files.optional_sysctl("vm.none"), Ok(None));
        assert!(files.text("/proc/sys/vm").is_err(), "a folder");
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "Name:\tfibra\nSeccomp_filters:\t3\nSeccomp:\t2\nCpus_allowed_list:\t0-1\n";
        assert_eq!(field(status, "Seccomp"), Ok("2"));
        assert_eq!(field(status, "Cpus_allowed_list"), Ok("0-1"));
        assert_eq!(field(status, "Sec").unwrap_err(), "no field Sec");
        let memory = "MemTotal:       24684096 kB\nHugePages_Total:       0\n";
        assert_eq!(field_bytes(memory, "MemTotal"), Ok(24_684_096 * 1024));
        assert!(field_bytes(memory, "HugePages_Total").is_err());
    }

    #[test]
    fn lists_and_lines_of_numbers() {
        assert_eq!(count_of_list("0-3,8"), Ok(5));
        assert_eq!(count_of_list("0"), Ok(1));
        for wrong in ["", "3-1", "a"] {
            assert!(count_of_list(wrong).is_err(), "{wrong}");
        }
        assert_eq!(nth("376\t0\t2466183", 0), Ok(376));
        assert!(nth("376", 1).is_err());
    }
}
