//! What a ring is made with: what the kernel offers, less what the settings forbid.

use io_uring::{IoUring, Probe, opcode};
use std::fmt;
use std::io;
use std::str::FromStr;

/// How many submissions are collected before the kernel must take them, unless the settings say otherwise.
const ENTRIES: u32 = 256;

/// Completions that find no room wait in the kernel, at a cost; so there is room for many more than submissions.
const COMPLETIONS_PER_ENTRY: u32 = 16;

/// Whether an operation on a socket is attempted before it is handed to the ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum First {
    /// A direct attempt first, unless the last operation of its kind has emptied (or filled) the socket.
    #[default]
    Try,
    /// Every operation goes to the ring.
    Submit,
}

/// What a ring may use, and how. By default all that the kernel has.
///
/// Its text form, which `FIBRA_URING` holds, is a list of words with commas between them:
///
/// | word | |
/// |---|---|
/// | `off` | no rings at all, not even for files |
/// | `try`, `submit` | whether operations on sockets are attempted before they go to the ring ([`First`]) |
/// | `entries=N` | how many submissions are collected at most: 1 to 32,768, rounded up to a power of two |
/// | `no-single-issuer`, `no-defer-taskrun`, `no-coop-taskrun`, `no-submit-all` | without that flag of `io_uring_setup(2)`, as on an older kernel |
/// | `no-skip`, `no-multishot`, `no-poll-first` | without `IOSQE_CQE_SKIP_SUCCESS`, without multishot requests, without `IORING_RECVSEND_POLL_FIRST` |
/// | `plain` | all of these `no-…` at once: Linux 5.11 |
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub struct RingSettings {
    /// Whether there may be rings.
    pub enabled: bool,
    /// What comes first.
    pub first: First,
    /// How many submissions are collected at most.
    pub entries: u32,
    /// `IORING_SETUP_SINGLE_ISSUER` (Linux 6.0).
    pub single_issuer: bool,
    /// `IORING_SETUP_DEFER_TASKRUN` (6.1), which needs `single_issuer`.
    pub defer_taskrun: bool,
    /// `IORING_SETUP_COOP_TASKRUN` (5.19).
    pub coop_taskrun: bool,
    /// `IORING_SETUP_SUBMIT_ALL` (5.18).
    pub submit_all: bool,
    /// `IOSQE_CQE_SKIP_SUCCESS` (5.17).
    pub skip_success: bool,
    /// Requests that are answered many times: multishot poll (5.13) and accept (5.19). Used from 5.19 on.
    pub multishot: bool,
    /// `IORING_RECVSEND_POLL_FIRST` (5.19).
    pub poll_first: bool,
}

impl Default for RingSettings {
    fn default() -> RingSettings {
        RingSettings {
            enabled: true,
            first: First::default(),
            entries: ENTRIES,
            single_issuer: true,
            defer_taskrun: true,
            coop_taskrun: true,
            submit_all: true,
            skip_success: true,
            multishot: true,
            poll_first: true,
        }
    }
}

impl FromStr for RingSettings {
    type Err = String;

    fn from_str(text: &str) -> Result<RingSettings, String> {
        let mut settings = RingSettings::default();
        for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
            settings.set(word)?;
        }
        Ok(settings)
    }
}

impl RingSettings {
    fn set(&mut self, word: &str) -> Result<(), String> {
        match word {
            "off" => self.enabled = false,
            "try" => self.first = First::Try,
            "submit" => self.first = First::Submit,
            "no-single-issuer" => self.single_issuer = false,
            "no-defer-taskrun" => self.defer_taskrun = false,
            "no-coop-taskrun" => self.coop_taskrun = false,
            "no-submit-all" => self.submit_all = false,
            "no-skip" => self.skip_success = false,
            "no-multishot" => self.multishot = false,
            "no-poll-first" => self.poll_first = false,
            "plain" => {
                *self = RingSettings {
                    single_issuer: false,
                    defer_taskrun: false,
                    coop_taskrun: false,
                    submit_all: false,
                    skip_success: false,
                    multishot: false,
                    poll_first: false,
                    ..self.clone()
                };
            }
            _ => match word.strip_prefix("entries=").map(str::parse) {
                Some(Ok(entries @ 1..=32_768)) => self.entries = entries,
                Some(_) => return Err(format!("'{word}': a ring has 1 to 32768 entries")),
                None => {
                    return Err(format!(
                        "'{word}' is not known; the words are off, try, submit, entries=N, plain, no-single-issuer, no-defer-taskrun, \
                         no-coop-taskrun, no-submit-all, no-skip, no-multishot, no-poll-first"
                    ));
                }
            },
        }
        Ok(())
    }
}

/// What a ring that was made uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a feature of its own")]
pub struct Features {
    /// Submissions that are collected at most.
    pub entries: u32,
    /// Completions that find room.
    pub completions: u32,
    /// `IORING_SETUP_SINGLE_ISSUER`.
    pub single_issuer: bool,
    /// `IORING_SETUP_DEFER_TASKRUN`.
    pub defer_taskrun: bool,
    /// `IORING_SETUP_COOP_TASKRUN`.
    pub coop_taskrun: bool,
    /// `IORING_SETUP_SUBMIT_ALL`.
    pub submit_all: bool,
    /// `IOSQE_CQE_SKIP_SUCCESS`.
    pub skip_success: bool,
    /// Requests that are answered many times: the notifier's poll, and accepting ahead.
    pub multishot: bool,
    /// `IORING_RECVSEND_POLL_FIRST`.
    pub poll_first: bool,
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} entries, {} completions", self.entries, self.completions)?;
        for (name, has) in [
            ("single issuer", self.single_issuer),
            ("deferred task work", self.defer_taskrun),
            ("cooperative task work", self.coop_taskrun && !self.defer_taskrun),
            ("submit all", self.submit_all),
            ("skipped successes", self.skip_success),
            ("multishot", self.multishot),
            ("poll first", self.poll_first),
        ] {
            if has {
                write!(f, ", {name}")?;
            }
        }
        Ok(())
    }
}

/// What of `io_uring_setup(2)`'s flags is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Flags {
    single_issuer: bool,
    defer_taskrun: bool,
    coop_taskrun: bool,
    submit_all: bool,
}

impl Flags {
    /// The next older kernel's; none below the oldest.
    fn step_down(self) -> Option<Flags> {
        let mut less = self;
        match self {
            Flags { defer_taskrun: true, .. } => less.defer_taskrun = false,
            Flags { single_issuer: true, .. } => less.single_issuer = false,
            Flags { coop_taskrun: true, .. } => less.coop_taskrun = false,
            Flags { submit_all: true, .. } => less.submit_all = false,
            _ => return None,
        }
        Some(less)
    }

    fn build(self, entries: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.dontfork().setup_clamp().setup_cqsize(entries.saturating_mul(COMPLETIONS_PER_ENTRY));
        if self.submit_all {
            builder.setup_submit_all();
        }
        if self.single_issuer {
            // The thread that enables the ring becomes its issuer; it is made by another.
            builder.setup_single_issuer().setup_r_disabled();
        }
        if self.defer_taskrun {
            builder.setup_defer_taskrun().setup_taskrun_flag();
        } else if self.coop_taskrun {
            builder.setup_coop_taskrun().setup_taskrun_flag();
        }
        builder.build(entries)
    }
}

/// Makes a ring with the most that both the settings and the kernel allow.
///
/// # Errors
/// Why there can be none, in words.
pub(super) fn make(settings: &RingSettings) -> io::Result<(IoUring, Features)> {
    if !settings.enabled {
        return Err(io::Error::new(io::ErrorKind::Unsupported, "FIBRA_URING=off forbids io_uring"));
    }
    let mut flags = Flags {
        single_issuer: settings.single_issuer,
        defer_taskrun: settings.defer_taskrun && settings.single_issuer,
        coop_taskrun: settings.coop_taskrun,
        submit_all: settings.submit_all,
    };
    let mut entries = settings.entries.next_power_of_two();
    let ring = loop {
        match flags.build(entries) {
            Ok(ring) => break ring,
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => match flags.step_down() {
                Some(less) => flags = less,
                None => return Err(explain(&error)),
            },
            // The memory of rings counts against RLIMIT_MEMLOCK on older kernels: a smaller one may do.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) && entries > 8 => entries /= 2,
            Err(error) => return Err(explain(&error)),
        }
    };
    let parameters = ring.params();
    if !(parameters.is_feature_nodrop()
        && parameters.is_feature_ext_arg()
        && parameters.is_feature_fast_poll())
    {
        return Err(unsupported("this kernel's io_uring is too old: Linux 5.11 or newer is needed"));
    }
    check_operations(&ring)?;
    // The kernel has no flags for these; what came with the same release tells.
    let has_5_19 = flags.coop_taskrun || flags.single_issuer;
    let features = Features {
        entries: parameters.sq_entries(),
        completions: parameters.cq_entries(),
        single_issuer: flags.single_issuer,
        defer_taskrun: flags.defer_taskrun,
        coop_taskrun: flags.coop_taskrun,
        submit_all: flags.submit_all,
        skip_success: settings.skip_success && parameters.is_feature_skip_cqe_on_success(),
        multishot: settings.multishot && has_5_19,
        poll_first: settings.poll_first && has_5_19,
    };
    Ok((ring, features))
}

/// Whether the kernel knows every operation that is used.
fn check_operations(ring: &IoUring) -> io::Result<()> {
    let mut probe = Probe::new();
    ring.submitter().register_probe(&mut probe).map_err(|error| explain(&error))?;
    let needed = [
        ("accept", opcode::Accept::CODE),
        ("async_cancel", opcode::AsyncCancel::CODE),
        ("connect", opcode::Connect::CODE),
        ("fsync", opcode::Fsync::CODE),
        ("openat", opcode::OpenAt::CODE),
        ("poll_add", opcode::PollAdd::CODE),
        ("read", opcode::Read::CODE),
        ("readv", opcode::Readv::CODE),
        ("recv", opcode::Recv::CODE),
        ("recvmsg", opcode::RecvMsg::CODE),
        ("renameat", opcode::RenameAt::CODE),
        ("send", opcode::Send::CODE),
        ("sendmsg", opcode::SendMsg::CODE),
        ("shutdown", opcode::Shutdown::CODE),
        ("splice", opcode::Splice::CODE),
        ("statx", opcode::Statx::CODE),
        ("timeout", opcode::Timeout::CODE),
        ("unlinkat", opcode::UnlinkAt::CODE),
        ("write", opcode::Write::CODE),
        ("writev", opcode::Writev::CODE),
    ];
    match needed.iter().find(|(_, code)| !probe.is_supported(*code)) {
        None => Ok(()),
        Some((name, _)) => Err(unsupported(&format!("this kernel's io_uring has no operation '{name}'"))),
    }
}

fn unsupported(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, why)
}

/// What an error of `io_uring_setup(2)` means to somebody who wanted a ring.
fn explain(error: &io::Error) -> io::Error {
    let why = match error.raw_os_error() {
        Some(libc::ENOSYS) => {
            "the kernel was built without io_uring, or a system call filter (seccomp, as in containers) hides it"
                .into()
        }
        Some(libc::EPERM | libc::EACCES) => match disabled() {
            Some(level) => format!("the sysctl kernel.io_uring_disabled is {level}"),
            None => "a system call filter (seccomp, as in containers) forbids io_uring".into(),
        },
        Some(libc::ENOMEM) => {
            "the memory of the ring is above the limit of locked memory (ulimit -l), or memory is out".into()
        }
        Some(libc::EMFILE | libc::ENFILE) => "descriptors are used up (ulimit -n)".into(),
        _ => format!("io_uring_setup: {error}"),
    };
    io::Error::new(error.kind(), why)
}

/// The sysctl `kernel.io_uring_disabled`, when it forbids rings to some (1) or all (2).
pub fn disabled() -> Option<u8> {
    let text = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled").ok()?;
    text.trim().parse().ok().filter(|level| *level > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_words() {
        assert_eq!("".parse(), Ok(RingSettings::default()));
        let some: RingSettings = "submit, entries=8,no-skip".parse().unwrap();
        assert_eq!(
            some,
            RingSettings { first: First::Submit, entries: 8, skip_success: false, ..RingSettings::default() }
        );
        let plain: RingSettings = "try,plain".parse().unwrap();
        assert!(!plain.single_issuer && !plain.multishot && plain.enabled);
        assert!(!"off".parse::<RingSettings>().unwrap().enabled);
    }

    #[test]
    fn a_word_that_is_wrong_is_named() {
        for (text, part) in
            [("fast", "'fast'"), ("entries=0", "1 to 32768"), ("try,entries=x", "'entries=x'")]
        {
            let error = text.parse::<RingSettings>().unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn flags_are_given_up_one_by_one() {
        let mut flags =
            Flags { single_issuer: true, defer_taskrun: true, coop_taskrun: true, submit_all: true };
        let mut steps = 0;
        while let Some(less) = flags.step_down() {
            assert!(less != flags);
            assert!(!less.defer_taskrun || less.single_issuer, "the kernel refuses this");
            flags = less;
            steps += 1;
        }
        assert_eq!(steps, 4);
    }

    #[test]
    fn who_forbids_rings_is_told_why() {
        let settings = RingSettings { enabled: false, ..RingSettings::default() };
        let Err(error) = make(&settings) else { panic!("rings are off") };
        assert!(error.to_string().contains("FIBRA_URING=off"), "{error}");
        let error = explain(&io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(error.to_string().contains("seccomp"), "{error}");
    }
}
