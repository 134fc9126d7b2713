//! The drivers: which there are here, and which one `auto` takes. Each is made, asked, and dropped.

use super::report::{Report, unknown};
use super::settings::{Settings, quietly};
use fibra::{DriverKind, Runtime};
use fibra_context::arena;
use fibra_driver::uring::Features;
use fibra_driver::{Driver, RingSettings};
use std::io::{self, ErrorKind, Write};

/// What became of making a driver.
#[derive(Clone, Debug)]
pub(super) struct Drivers {
    /// Or why not.
    pub(super) epoll: Result<(), String>,
    /// Or why not.
    pub(super) uring: Result<Features, Refusal>,
    /// The driver that `auto` takes, or why a runtime does not start.
    pub(super) auto: Result<&'static str, String>,
    /// What a ring does without.
    pub(super) left_out: LeftOut,
    /// Whether rings were made as by default because `FIBRA_URING` is not valid.
    pub(super) by_default: bool,
}

/// Features that are not used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// The settings forbid them.
    forbidden: Vec<&'static str>,
    /// The kernel is older than they are: with the release that brought them.
    missing: Vec<String>,
}

/// Why there is no ring.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) kind: ErrorKind,
    pub(super) why: String,
}

impl Drivers {
    pub(super) fn probe(settings: &Settings) -> Drivers {
        let ring = settings.ring();
        let uring = match Driver::uring(&ring) {
            Ok(Driver::Uring(made)) => Ok(made.features()),
            Ok(other) => Err(Refusal {
                kind: ErrorKind::Other,
                why: format!("the driver that was made is {}", other.name()),
            }),
            Err(error) => Err(Refusal { kind: error.kind(), why: error.to_string() }),
        };
        let auto = Runtime::builder().workers(1).stack_size(arena::DEFAULT_SIZE).driver(DriverKind::Auto);
        Drivers {
            epoll: Driver::epoll(ring.clone()).map(drop).map_err(|error| error.to_string()),
            left_out: uring.as_ref().map(|features| left_out(&ring, features)).unwrap_or_default(),
            uring,
            auto: match &settings.ring.value {
                Err(_) => Err("FIBRA_URING is not valid".into()),
                Ok(_) => quietly(|| auto.build())
                    .map(|runtime| runtime.driver())
                    .map_err(|error| error.to_string()),
            },
            by_default: settings.ring.value.is_err(),
        }
    }

    pub(super) fn print(&self, report: &mut Report<impl Write>) -> io::Result<()> {
        match &self.epoll {
            Ok(()) => report.line("epoll", "yes")?,
            Err(why) => report.line("epoll", format!("no: {why}"))?,
        }
        let note = if self.by_default { " (asked without FIBRA_URING, which is not valid)" } else { "" };
        match &self.uring {
            Ok(features) => report.line("uring", format!("yes: {features}{note}"))?,
            Err(refusal) => report.line("uring", format!("no: {}{note}", refusal.why))?,
        }
        let LeftOut { forbidden, missing } = &self.left_out;
        if !missing.is_empty() {
            report.line("  not in this kernel", missing.join(", "))?;
        }
        if !forbidden.is_empty() {
            report.line("  forbidden", format!("by FIBRA_URING: {}", forbidden.join(", ")))?;
        }
        match &self.auto {
            Ok(driver) => report.line("FIBRA_DRIVER=auto", format!("takes {driver} here"))?,
            Err(why) => report.line("FIBRA_DRIVER=auto", unknown(why))?,
        }
        let files = match &self.uring {
            Ok(_) => "through io_uring, whichever the driver".to_owned(),
            Err(_) => format!("on a pool of threads, {} at most", fibra::blocking::max_threads()),
        };
        report.line("calls on files", files)
    }
}

/// What a ring does without.
fn left_out(settings: &RingSettings, has: &Features) -> LeftOut {
    let deferred = settings.defer_taskrun && settings.single_issuer;
    let features = [
        ("single issuer", settings.single_issuer, has.single_issuer, "6.0"),
        ("deferred task work", deferred, has.defer_taskrun, "6.1"),
        // Deferred is better, and then this is not wanted.
        ("cooperative task work", settings.coop_taskrun, has.coop_taskrun || has.defer_taskrun, "5.19"),
        ("submit all", settings.submit_all, has.submit_all, "5.18"),
        ("skipped successes", settings.skip_success, has.skip_success, "5.17"),
        ("multishot", settings.multishot, has.multishot, "5.19"),
        ("poll first", settings.poll_first, has.poll_first, "5.19"),
    ];
    let mut left_out = LeftOut::default();
    for (name, wanted, has, since) in features {
        match (wanted, has) {
            (_, true) => {}
            (true, false) => left_out.missing.push(format!("{name} (Linux {since})")),
            (false, false) => left_out.forbidden.push(name),
        }
    }
    left_out
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a new kernel has.
    pub(in crate::doctor) const ALL: Features = Features {
        entries: 256,
        completions: 4096,
        single_issuer: true,
        defer_taskrun: true,
        coop_taskrun: false,
        submit_all: true,
        skip_success: true,
        multishot: true,
        poll_first: true,
    };

    #[test]
    fn what_is_not_used_says_whose_decision_it_is() {
        let all = ALL;
        let settings = RingSettings::default();
        assert_eq!(left_out(&settings, &all), LeftOut::default());
        let old = Features { defer_taskrun: false, coop_taskrun: true, ..all };
        assert_eq!(left_out(&settings, &old).missing, ["deferred task work (Linux 6.1)"]);
        let forbidden = RingSettings { multishot: false, ..settings };
        let without = Features { multishot: false, ..all };
        assert_eq!(left_out(&forbidden, &without).forbidden, ["multishot"]);
    }
}
