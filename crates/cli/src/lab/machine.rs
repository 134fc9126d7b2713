//! On what machine a run was made.

use crate::doctor::files::{Files, field, field_bytes};
use rustix::thread::sched_getaffinity;
use serde::{Deserialize, Serialize};

/// What figures depend on, and what must not have changed when a run goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) kernel: String,
    pub(super) architecture: String,
    pub(super) processor: String,
    /// Cores that this process may use.
    pub(super) cores: usize,
    pub(super) memory_bytes: u64,
    pub(super) is_virtual: bool,
}

impl Machine {
    pub(super) fn look() -> Machine {
        let name = rustix::system::uname();
        let files = Files::new("/");
        let processors = files.text("/proc/cpuinfo").unwrap_or_default();
        Machine {
            kernel: format!("Linux {}", name.release().to_string_lossy()),
            architecture: name.machine().to_string_lossy().into_owned(),
            processor: processor(&processors).unwrap_or("a processor that gives no name").to_owned(),
            cores: cores().len(),
            memory_bytes: files
                .text("/proc/meminfo")
                .and_then(|text| field_bytes(&text, "MemTotal"))
                .unwrap_or(0),
            is_virtual: is_virtual(&processors),
        }
    }

    /// In a line.
    pub(super) fn describe(&self) -> String {
        let cores = if self.cores == 1 { "core" } else { "cores" };
        let gib = self.memory_bytes as f64 / f64::from(1 << 30);
        let kind = if self.is_virtual { ", a virtual machine" } else { "" };
        format!(
            "{} {cores} of {}, {gib:.1} GiB, {} on {}{kind}",
            self.cores, self.processor, self.kernel, self.architecture
        )
    }
}

/// The cores that this process may use, by number.
pub(super) fn cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..rustix::thread::CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        // A machine of more cores than the set has room for: whatever is first is there.
        Err(_) => vec![0],
    }
}

fn processor(cpuinfo: &str) -> Option<&str> {
    // x86 says `model name`, ARM has at best `Model` or `CPU part`.
    let named = |name: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
    };
    named("model name").or_else(|| named("Model")).or_else(|| named("CPU part"))
}

/// x86 has a flag for it; elsewhere it is not known, and not claimed.
fn is_virtual(cpuinfo: &str) -> bool {
    cpuinfo.lines().filter_map(|line| line.split_once(':')).any(|(key, flags)| {
        key.trim() == "flags" && flags.split_whitespace().any(|flag| flag == "hypervisor")
    })
}

/// The value of a field of `/proc/PID/status` that is a number.
pub(super) fn count(status: &str, name: &str) -> Option<u64> {
    field(status, name).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_has_a_name_and_says_when_it_is_virtual() {
        let text = "processor\t: 0\nmodel name\t: Some Processor @ 2.3\nflags\t\t: fpu hypervisor sse\n";
        assert_eq!(processor(text), Some("Some Processor @ 2.3"));
        assert!(is_virtual(text) && !is_virtual("flags\t\t: fpu sse\n"));
        assert_eq!(processor("processor\t: 0\nCPU part\t: 0xd40\n"), Some("0xd40"));
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::look();
        assert!(machine.cores >= 1 && machine.memory_bytes > 0);
        assert!(machine.describe().contains("Linux"));
    }
}
