//! One cell: a server, its load, and what the server used for it.
//!
//! ```text
//!  server starts ─▶ footprint ─▶ load: connections, warm-up ─▶ │ the time that counts            │ ─▶ report ─▶ server stops
//!                                                              └ sample, footprint     ¾: sample, footprint
//! ```
//!
//! Processor time for a request is that between the samples, by the requests that the whole of the time had on average: so the connections' beginning and end,
//! and the lab's look at the memory, do not count. Of the two footprints the larger one is told. All connections are open when the first is taken, since the
//! load measures only then; but that of thousands of processes is of one moment for the first and of another for the last.

use super::load::Load;
use super::server::Server;
use super::usage::{Footprint, Sample, Usage};
use crate::lab::interrupt::{Interrupt, Stopped};
use crate::lab::results::{Key, Latency, Measured, Outcome, ServeSettings, ServerUse};
use crate::load::report::Report;
use std::time::{Duration, Instant};

/// The part of the time that counts between the two samples.
const BETWEEN: f64 = 0.75;

/// Measures a cell.
///
/// # Errors
/// When it was interrupted; whatever else goes wrong is the cell's outcome.
pub(super) fn measure(
    key: &Key,
    settings: &ServeSettings,
    interrupt: &Interrupt,
) -> Result<Outcome, Stopped> {
    match attempt(key, settings, interrupt) {
        Ok(measured) => Ok(Outcome::Measured(Box::new(measured))),
        Err(Stopped::Failed(why)) => Ok(Outcome::Failed(why)),
        Err(Stopped::Interrupted) => Err(Stopped::Interrupted),
    }
}

fn attempt(key: &Key, settings: &ServeSettings, interrupt: &Interrupt) -> Result<Measured, Stopped> {
    let mut server = Server::start(&key.model, key.level, settings, interrupt)?;
    let usage = server.id().map(Usage::of);
    let before = usage.as_ref().map(Usage::footprint).transpose()?;
    let outcome = under_load(key, settings, interrupt, &server, usage.as_ref());
    // A server that has ended says more than the load that found nobody.
    if let Some(why) = server.ended()? {
        return Err(Stopped::Failed(why));
    }
    let (report, watched) = match outcome {
        Err(Stopped::Failed(why)) => {
            let complaint = server.complaint().map(|line| format!("; the server says: {line}"));
            return Err(Stopped::Failed(why + &complaint.unwrap_or_default()));
        }
        other => other?,
    };
    let used =
        before.zip(watched).and_then(|(before, watched)| watched.used(before, report.requests_per_second));
    Ok(measured(&report, used, server.complaint()))
}

fn under_load(
    key: &Key,
    settings: &ServeSettings,
    interrupt: &Interrupt,
    server: &Server,
    usage: Option<&Usage>,
) -> Result<(Report, Option<Watched>), Stopped> {
    let mut load = Load::start(server.address, key, settings)?;
    let mut watched = None;
    if load.measuring(interrupt)?
        && let Some(usage) = usage
    {
        let began = Instant::now();
        // A server that ends meanwhile is noticed by the caller.
        if let Ok(first) = usage.sample() {
            // It may take a while, and the load must not be over when it is taken.
            let full = usage.footprint();
            interrupt
                .sleep_until(began + Duration::from_secs_f64(settings.seconds_at(key.level) * BETWEEN))?;
            watched = usage
                .sample()
                .and_then(|last| Ok(Watched { first, last, full: full?.or_larger(usage.footprint().ok()) }))
                .ok();
        }
    }
    Ok((load.report(interrupt)?, watched))
}

/// What the server was seen to use.
#[derive(Debug)]
struct Watched {
    first: Sample,
    last: Sample,
    full: Footprint,
}

impl Watched {
    /// For each of so many requests in a second; `None` if there were none.
    fn used(&self, before: Footprint, requests_per_second: f64) -> Option<ServerUse> {
        let Watched { first, last, full } = self;
        let seconds = last.at.duration_since(first.at).as_secs_f64();
        let requests = requests_per_second * seconds;
        if requests < 1.0 {
            return None;
        }
        // A thread or process that ends takes its count with it.
        let (user, system) = ((last.user - first.user).max(0.0), (last.system - first.system).max(0.0));
        let total = (last.total - first.total).max(0.0);
        // The ticks say how the time is shared out; the finer clock how much it is.
        let in_user = if user + system > 0.0 { user / (user + system) } else { 0.0 };
        let (user, system) = (total * in_user, total * (1.0 - in_user));
        let switches =
            first.switches.zip(last.switches).map(|(first, last)| last.saturating_sub(first) as f64);
        Some(ServerUse {
            user_us: user * 1e6 / requests,
            system_us: system * 1e6 / requests,
            cpu_share: (user + system) / seconds,
            switches: switches.map(|count| count / requests),
            processes: first.processes.max(last.processes),
            threads: first.threads.max(last.threads),
            descriptors: full.descriptors.map(|count| count.round() as u64),
            memory: (full.own - before.own).max(0.0),
            memory_total: full.memory,
        })
    }
}

fn measured(report: &Report, server: Option<ServerUse>, complaint: Option<String>) -> Measured {
    let latency = report.latency_us.map(|all| Latency {
        p50: all.p50,
        p90: all.p90,
        p99: all.p99,
        p999: all.p999,
        max: all.max,
    });
    Measured {
        requests_per_second: report.requests_per_second,
        latency_us: latency.unwrap_or_default(),
        errors: report.errors.clone(),
        errors_total: report.errors_total,
        connections_open: report.connections_open_at_end as u64,
        client_bound: report.client.client_bound,
        client_cpu_share: report.client.cpu_share,
        server,
        complaint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: Instant, user: f64, system: f64, switches: Option<u64>) -> Sample {
        Sample { at, user, system, total: user + system, switches, processes: 1, threads: 1 }
    }

    #[test]
    fn processor_time_is_shared_among_the_requests_between_the_samples() {
        let now = Instant::now();
        let watched = Watched {
            first: sample(now, 1.0, 2.0, Some(100)),
            last: sample(now + Duration::from_secs(2), 1.1, 2.3, Some(400)),
            full: Footprint { memory: 9_000.0, own: 8_000.0, descriptors: Some(12.0) },
        };
        let before = Footprint { memory: 5_000.0, own: 1_000.0, descriptors: Some(2.0) };
        let used = watched.used(before, 1_000.0).unwrap();
        assert!((used.user_us - 50.0).abs() < 1e-6 && (used.system_us - 150.0).abs() < 1e-6, "{used:?}");
        assert!((used.cpu_share - 0.2).abs() < 1e-9 && (used.switches.unwrap() - 0.15).abs() < 1e-9);
        assert_eq!((used.memory, used.memory_total, used.descriptors), (7_000.0, 9_000.0, Some(12)));
        assert_eq!(watched.used(before, 0.0), None);
    }

    #[test]
    fn counts_that_went_with_their_threads_are_no_negative_use() {
        let now = Instant::now();
        let watched = Watched {
            first: sample(now, 1.0, 1.0, Some(400)),
            last: sample(now + Duration::from_secs(1), 0.9, 1.1, Some(100)),
            full: Footprint { memory: 0.0, own: 0.0, descriptors: None },
        };
        let used = watched.used(Footprint { memory: 50.0, own: 50.0, descriptors: None }, 10.0).unwrap();
        assert_eq!((used.user_us, used.switches, used.memory), (0.0, Some(0.0), 0.0));
    }
}
