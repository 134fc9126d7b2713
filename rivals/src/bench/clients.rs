//! HTTP load generators on one server, in a closed loop: whether `fibra load` asks as fast as those that are in common use, and what each takes for it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use super::http::{find_program, start_nginx};
use super::{Experiment, Metric};
use crate::cli::Settings;
use crate::process::{Child, CpuClock, Figures, Unavailable};
use crate::report::grouped;
use crate::rival::Rival;

/// Seconds that a client may take beyond those that it is asked for.
const PATIENCE: f64 = 30.0;

const METRICS: &[Metric] = &[
    Metric { key: "per_second", title: "requests/s", decimals: 0, compared: true },
    Metric { key: "client_us", title: "client CPU µs per request", decimals: 2, compared: true },
    Metric { key: "server_us", title: "server CPU µs per request", decimals: 2, compared: true },
];

pub(crate) fn experiments(settings: &Settings) -> Vec<Experiment> {
    settings.clients_connections.iter().map(|connections| at(settings, *connections)).collect()
}

fn at(settings: &Settings, connections: usize) -> Experiment {
    let options = settings.clone();
    let seconds = whole_seconds(settings.seconds);
    let experiment = Experiment {
        key: format!("clients-{connections}"),
        title: format!(
            "Load generators on nginx, {} connection{}",
            grouped(connections as f64, 0),
            if connections == 1 { "" } else { "s" }
        ),
        about: format!(
            "GET / of one nginx process on connections kept alive, {seconds} s without a warm-up, one thread. Requests per second are what each says of \
             itself. Processor time is that of the whole of the client's process and of the server for as long as it runs, by all requests that it made."
        ),
        metrics: METRICS,
        rivals: vec![Rival::FibraLoad, Rival::Wrk, Rival::H2load],
        baseline: Some(Rival::FibraLoad),
        aims: vec![],
        measure: Box::new(move |rival, _seed| measure(&options, rival, connections, seconds)),
    };
    experiment.choose(settings)
}

/// wrk knows no parts of a second.
fn whole_seconds(seconds: f64) -> u32 {
    seconds.ceil().max(1.0) as u32
}

fn measure(settings: &Settings, rival: Rival, connections: usize, seconds: u32) -> Result<Figures> {
    let nginx = installed(&settings.nginx, "nginx", "--nginx")?;
    let client = match rival {
        Rival::Wrk => installed(&settings.wrk, "wrk", "--wrk")?,
        Rival::H2load => installed(&settings.h2load, "nghttp2-client", "--h2load")?,
        _ if settings.fibra.exists() => settings.fibra.clone(),
        _ => bail!("{} is not there: build it, or name another with --fibra", settings.fibra.display()),
    };
    let (_server, process, address) = start_nginx(settings.server_core, &nginx)?;
    let url = format!("http://{address}/");
    let (count, time) = (connections.to_string(), seconds.to_string());
    let arguments: &[&str] = match rival {
        Rival::Wrk => &["-t", "1", "-c", &count, "-d", &time, &url],
        Rival::H2load => &["--h1", "-t", "1", "-c", &count, "-D", &time, &url],
        _ => &["load", &url, "-c", &count, "-d", &time, "--warm-up", "0", "--quiet", "--json"],
    };
    let clock = CpuClock::of(process)?;
    let before = clock.nanoseconds()?;
    let client = Child::of_talker(settings.load_core, &client, arguments, f64::from(seconds) + PATIENCE)?;
    let (text, used) = client.said()?;
    let by_server = clock.nanoseconds()? - before;
    let told = match rival {
        Rival::Wrk => Told::by_wrk(&text),
        Rival::H2load => Told::by_h2load(&text),
        _ => Told::by_fibra(&text),
    };
    let told = told.with_context(|| format!("what it said: {text}"))?;
    let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / told.made;
    Ok(Figures::default()
        .with("per_second", told.per_second)
        .with("client_us", each(used))
        .with("server_us", each(by_server)))
}

/// The program, or which package has it.
fn installed(name: &Path, package: &str, option: &str) -> Result<PathBuf> {
    find_program(name).ok_or_else(|| {
        let why = format!("there is no {}: apt install {package}, or name it with {option}", name.display());
        Unavailable::because(why).into()
    })
}

/// What a client says of its run.
#[derive(Debug, PartialEq)]
struct Told {
    per_second: f64,
    /// Requests that were answered, also those that it does not count.
    made: f64,
}

impl Told {
    /// `  51234 requests in 2.00s, 7.50MB read`, `Requests/sec:  25617.00`; lines about errors only if there were some.
    fn by_wrk(text: &str) -> Result<Told> {
        if let Some(line) = text.lines().find(|line| line.contains("errors:") || line.contains("Non-2xx")) {
            bail!("{}", line.trim());
        }
        let made = text.lines().find_map(|line| line.trim().split_once(" requests in "));
        let per_second = text.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
        Ok(Told {
            per_second: per_second.context("no rate")?.trim().parse()?,
            made: made.context("no count")?.0.parse()?,
        })
    }

    /// `finished in 2.00s, 25617.00 req/s, 7.50MB/s`, `requests: 51234 total, … 51234 succeeded, 0 failed, 0 errored, 0 timeout`.
    fn by_h2load(text: &str) -> Result<Told> {
        let finished = text.lines().find_map(|line| line.strip_prefix("finished in ")).context("no rate")?;
        let rate = finished.split(", ").find_map(|part| part.strip_suffix(" req/s")).context("no rate")?;
        let requests = text.lines().find_map(|line| line.strip_prefix("requests: ")).context("no count")?;
        let of = |kind: &str| -> Result<f64> {
            let count = requests.split(", ").find_map(|part| part.strip_suffix(kind)?.strip_suffix(' '));
            Ok(count.with_context(|| format!("no count of {kind}"))?.parse()?)
        };
        for kind in ["failed", "errored", "timeout"] {
            if of(kind)? > 0.0 {
                bail!("requests: {requests}");
            }
        }
        Ok(Told { per_second: rate.parse()?, made: of("succeeded")? })
    }

    /// The report's JSON, a field a line. The requests that open the connections are not among those that are counted.
    fn by_fibra(text: &str) -> Result<Told> {
        let field = |name: &str| -> Result<f64> {
            let value = text.lines().find_map(|line| line.trim().strip_prefix(&format!("\"{name}\": ")));
            Ok(value.with_context(|| format!("no {name}"))?.trim_end_matches(',').parse()?)
        };
        if field("errors_total")? > 0.0 {
            bail!("there were errors");
        }
        Ok(Told {
            per_second: field("requests_per_second")?,
            made: field("requests")? + field("connections_open_at_start")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_each_client_says_is_understood() {
        let wrk = "Running 2s test @ http://127.0.0.1:80/\n  1 threads and 10 connections\n  4000 requests in 2.00s, 1.00MB read\n\
                   Requests/sec:   2000.50\nTransfer/sec:      0.50MB\n";
        assert_eq!(Told::by_wrk(wrk).unwrap(), Told { per_second: 2_000.5, made: 4_000.0 });
        let h2load = "starting benchmark...\n\nfinished in 2.00s, 2000.50 req/s, 1.00MB/s\n\
                      requests: 4001 total, 4010 started, 4001 done, 4001 succeeded, 0 failed, 0 errored, 0 timeout\n";
        assert_eq!(Told::by_h2load(h2load).unwrap(), Told { per_second: 2_000.5, made: 4_001.0 });
        let fibra = "{\n  \"requests\": 4000,\n  \"requests_per_second\": 2000.5,\n  \"errors_total\": 0,\n  \
                     \"connections_open_at_start\": 10\n}\n";
        assert_eq!(Told::by_fibra(fibra).unwrap(), Told { per_second: 2_000.5, made: 4_010.0 });
    }

    #[test]
    fn errors_are_no_measurement() {
        let wrk = "  4000 requests in 2.00s, 1.00MB read\n  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec: 2000\n";
        assert!(Told::by_wrk(wrk).unwrap_err().to_string().contains("read 3"));
        let h2load = "finished in 2.00s, 2000.50 req/s, 1.00MB/s\n\
                      requests: 4 total, 4 started, 4 done, 3 succeeded, 1 failed, 0 errored, 0 timeout\n";
        assert!(Told::by_h2load(h2load).unwrap_err().to_string().contains("1 failed"));
        assert!(Told::by_fibra("{\n  \"errors_total\": 2\n}").is_err());
    }
}
