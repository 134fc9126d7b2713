//! A report as text.

use super::report::{Loop, Protocol, Report};
use super::tally::Tally;
use indicatif::{BinaryBytes, HumanCount};
use std::fmt::Write;

/// The report for people, with a line end.
pub(super) fn text(report: &Report, tally: &Tally) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, report, tally);
    text
}

fn write(out: &mut String, report: &Report, tally: &Tally) -> std::fmt::Result {
    let what = match (report.protocol, &report.path) {
        (Protocol::Echo, _) => {
            format!("echo of {} bytes on {}", HumanCount(report.payload as u64), report.address)
        }
        (Protocol::Http, path) => format!("http://{}{}", report.address, path.as_deref().unwrap_or("/")),
    };
    let connections = match (report.connections, report.keep_alive) {
        (1, true) => "1 connection".to_owned(),
        (count, true) => format!("{} connections", HumanCount(count as u64)),
        (count, false) => format!("{} at a time, a connection for each request", HumanCount(count as u64)),
    };
    let kind = match (report.kind, report.rate) {
        (Loop::Open, Some(rate)) => format!("open loop at {rate} a second"),
        _ => "closed loop".to_owned(),
    };
    writeln!(out, "{what}: {connections}, {kind}")?;
    let warm_up = match report.warm_up_seconds {
        0.0 => String::new(),
        seconds => format!(" after {} s of warm-up", decimal(seconds)),
    };
    let interrupted = if report.interrupted { ", interrupted" } else { "" };
    writeln!(out, "  measured   {} s{warm_up}{interrupted}", decimal(report.seconds))?;
    writeln!(
        out,
        "  answered   {} requests, {} a second",
        HumanCount(report.requests),
        HumanCount(report.requests_per_second.round() as u64)
    )?;
    let per_second = |bytes: u64| BinaryBytes((bytes as f64 / report.seconds.max(1e-9)) as u64);
    let (received, sent) = (report.bytes_in, report.bytes_out);
    writeln!(
        out,
        "  received   {} ({}/s), sent {} ({}/s)",
        BinaryBytes(received),
        per_second(received),
        BinaryBytes(sent),
        per_second(sent)
    )?;
    match &report.latency_us {
        None => writeln!(out, "  latency    nothing was answered")?,
        Some(latency) => {
            let since = if report.kind == Loop::Open { ", from when each request was due" } else { "" };
            writeln!(
                out,
                "  latency    p50 {}, p90 {}, p99 {}, p99.9 {}, max {}{since}",
                duration(latency.p50),
                duration(latency.p90),
                duration(latency.p99),
                duration(latency.p999),
                duration(latency.max)
            )?;
            writeln!(out, "             mean {}, min {}", duration(latency.mean), duration(latency.min))?;
        }
    }
    if report.errors_total == 0 {
        writeln!(out, "  errors     none")?;
    }
    for (index, (fault, times)) in tally.faults.iter().enumerate() {
        let label = if index == 0 { "errors" } else { "" };
        writeln!(out, "  {label:10} {} {}", HumanCount(*times), fault.meaning())?;
    }
    let all = report.connections;
    if let Some(open) = report.connections_open_at_start.filter(|open| *open < all) {
        writeln!(
            out,
            "  opening    {} of {} connections were open after {} s (--open-timeout), and it was measured with these",
            HumanCount(open as u64),
            HumanCount(all as u64),
            decimal(report.opening_seconds)
        )?;
    }
    let unserved = all - report.connections_served.min(all);
    // In an open loop, or with few requests, there may simply have been none for them.
    if unserved > 0
        && report.requests > 0
        && report.kind == Loop::Closed
        && report.errors_total >= unserved as u64
    {
        writeln!(
            out,
            "  served     {} of {} connections: the latencies are theirs alone, the others are in the errors",
            HumanCount(report.connections_served as u64),
            HumanCount(all as u64)
        )?;
    }
    writeln!(
        out,
        "  opened     {} connections, {} open at the end",
        HumanCount(report.connections_made),
        HumanCount(report.connections_open_at_end as u64)
    )?;
    let client = &report.client;
    let computed = client.user_seconds + client.system_seconds;
    let each = computed * 1e6 / report.requests.max(1) as f64;
    let of = if client.threads == 1 { "its core" } else { "the busiest thread's core" };
    writeln!(
        out,
        "  client     used {:.0}% of {of}: {} a request, {:.0}% of it in the kernel",
        client.cpu_share * 100.0,
        duration(each),
        client.system_seconds / computed.max(1e-9) * 100.0
    )?;
    if client.client_bound {
        writeln!(
            out,
            "  client-bound: the client was always busy, so the server may be faster than this. Use more --threads if there are cores\n  \
             to spare, or compare servers by their processor time per request."
        )?;
    }
    Ok(())
}

/// Microseconds, in the unit that suits.
fn duration(microseconds: f64) -> String {
    match microseconds {
        short if short < 1_000.0 => format!("{} µs", decimal(short)),
        middle if middle < 1_000_000.0 => format!("{} ms", decimal(middle / 1e3)),
        long => format!("{} s", decimal(long / 1e6)),
    }
}

/// Three digits, or all before the point.
fn decimal(value: f64) -> String {
    let places = match value {
        large if large >= 99.95 => 0,
        middle if middle >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.places$}");
    if places > 0 { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        for (microseconds, expected) in [
            (0.0, "0 µs"),
            (7.254, "7.25 µs"),
            (40.04, "40 µs"),
            (999.4, "999 µs"),
            (1_234.5, "1.23 ms"),
            (12_345.6, "12.3 ms"),
            (1_003_000.0, "1 s"),
            (61_000_000.0, "61 s"),
        ] {
            assert_eq!(duration(microseconds), expected);
        }
    }
}
