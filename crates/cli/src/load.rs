//! `fibra load`: requests for a server, as fast as it answers or at a fixed rate, and what came of them.
//!
//! As lean as the servers that it measures: an epoll loop of its own, no runtime, and a thread only where one is asked for. It tells what it used of
//! its own core, because a load generator that is always busy measures itself.
//!
//! ```text
//!   command line ─▶ Plan ─▶ a Client a thread ─▶ Tally ─▶ Report ─▶ text, JSON
//!                             │   Pace: when a request is due (open loop)
//!                             │   Dialer: sockets
//!                             └─▶ Conversation: Echo, Http
//! ```

mod chunked;
mod client;
mod conversation;
mod echo;
mod fault;
mod http;
mod pace;
mod plan;
mod processor_time;
mod progress;
pub(crate) mod report;
mod sockets;
mod summary;
mod tally;
mod target;
mod window;

use clap::{Args, ValueEnum};
use client::{Client, Outcome};
use conversation::Conversation;
use echo::Echo;
use http::Http;
use pace::Length;
use plan::{Plan, Shared, nanoseconds};
use progress::Progress;
use report::{Loop, Protocol, Report, SCHEMA};
use signal_hook::consts::{SIGINT, SIGTERM};
use sockets::Dialer;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, SystemTime};
use tally::Tally;
use target::Target;
use window::Measured;

/// What `--mark` writes to stderr when the measured time begins.
pub(crate) const MARK: &str = "measuring";

/// The longest warm-up that is made unasked, in seconds, and its part of the measured time.
const WARM_UP: (f64, f64) = (1.0, 0.1);
/// A thread that used more of its core than this left the server waiting.
const CLIENT_BOUND: f64 = 0.9;

/// Put load on a server of HTTP or echo, and tell how it answers
///
/// Closed loop (the default): each connection sends a request when the answer to the one before is there. That finds the most that a server can do.
/// Its latencies flatter a server that stalls, for a stalled server is asked for nothing.
///
/// Open loop (--rate): requests are due at fixed times, whatever became of the others, and latency counts from when a request was due. That
/// shows what users meet at a given load, stalls included.
///
/// What the client itself used of its core is told, too. If it was always busy ("client-bound"), the server could have done more:
/// use --threads on a machine with cores to spare, or compare servers by their processor time per request.
///
/// Connections are opened first. That one is made says little, for the system makes it, and keeps it until the server takes it: so in a closed loop one
/// is open when a first request has been answered on it (with -n, --rate and --no-keep-alive when it is made). Opening has a time limit,
/// --open-timeout; after it what is open is measured. Who is not connected by then is left out, an error "not_opened"; who is and
/// waits for the first answer goes on waiting, and is an error "not_admitted" if none has come until the end.
///
/// SIGINT (^C) or SIGTERM ends it early and tells what there is so far. It fails if nothing was answered.
///
/// Examples:{n}
/// fibra load :8080                              / of a local server, 50 connections, 10 seconds{n}
/// fibra load http://10.0.0.2/a -c 1000 -d 60    another machine's /a, 1,000 connections, a minute{n}
/// fibra load :8080 -c 200 --rate 20000          20,000 requests a second, come what may{n}
/// fibra load :8080 --no-keep-alive              a connection for each request{n}
/// fibra load echo://:9090 -n 100000 --json      exactly 100,000 echoes, as JSON
#[derive(Args, Debug)]
pub(crate) struct Load {
    /// The server: ADDR:PORT, :PORT or PORT (on 127.0.0.1), http://HOST[:PORT][/PATH] or echo://HOST:PORT
    #[arg(value_name = "ADDRESS")]
    address: String,

    /// What is spoken [default: what the address says, else http]
    #[arg(long, value_enum)]
    protocol: Option<ProtocolName>,

    /// Connections, each with one request at a time; 20,000 are no trouble
    #[arg(short, long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500_000))]
    connections: u32,

    /// Seconds that are measured, after ramp and warm-up
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    duration: f64,

    /// Measure exactly so many requests instead of a time
    #[arg(short = 'n', long, value_name = "N", conflicts_with = "duration", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// Open loop: so many requests a second are due, over all connections
    #[arg(short, long, value_name = "PER_SECOND", value_parser = rate)]
    rate: Option<f64>,

    /// The path that HTTP asks for [default: the address's, else /]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,

    /// Another field of the HTTP request; may be given several times
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    header: Vec<String>,

    /// Bytes that an echo sends and expects back [default: 64]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(1..=16 << 20))]
    payload: Option<u32>,

    /// Open a connection for each request; its time counts in the request's
    #[arg(long)]
    no_keep_alive: bool,

    /// Seconds over which connections are opened; they are used at once in a closed loop, and what they do is not counted
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = seconds_or_none)]
    ramp: f64,

    /// Seconds, after the ramp, in which connections are to be open
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    open_timeout: f64,

    /// Seconds of load before it is measured [default: a tenth of --duration, at most 1; none with --count]
    #[arg(long, value_name = "SECONDS", value_parser = seconds_or_none)]
    warm_up: Option<f64>,

    /// Seconds that a request may take, its connection included
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, value_parser = seconds)]
    timeout: f64,

    /// OS threads that put the load on, which share the connections
    #[arg(short, long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,

    /// Write the report as JSON to FILE; to stdout, instead of the text, without FILE or with -
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,

    /// Show no progress
    #[arg(short, long)]
    quiet: bool,

    /// Say on stderr when the measured time begins, for a program that watches the server meanwhile
    #[arg(long, hide = true)]
    mark: bool,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum ProtocolName {
    /// HTTP/1.1: GET, again and again
    Http,
    /// Bytes that must come back as they were sent
    Echo,
}

/// A duration in seconds, at least a millisecond and less than a year.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..31_536_000.0).contains(&seconds) => Ok(seconds),
        Ok(seconds) if seconds < 0.001 => Err("expected at least 0.001 seconds".into()),
        _ => Err("expected seconds, such as 30 or 0.5".into()),
    }
}

/// The same, or 0.
fn seconds_or_none(text: &str) -> Result<f64, String> {
    if text.parse() == Ok(0.0) { Ok(0.0) } else { seconds(text) }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if (0.001..=1e8).contains(&rate) => Ok(rate),
        _ => Err("expected requests per second, such as 1000 or 0.5".into()),
    }
}

/// The command line, checked.
struct Order {
    target: Target,
    protocol: Protocol,
    path: String,
    /// Bytes of a request.
    request_bytes: usize,
    plan: Plan,
    first: OwnedFd,
    address: String,
}

impl Load {
    pub(crate) fn run(self) -> Result<(), String> {
        let started = SystemTime::now();
        let order = self.order()?;
        // From here on; a signal that comes before has nothing to tell of.
        let stop = Arc::new(AtomicBool::new(false));
        watch_signals(&stop).map_err(|error| format!("cannot watch for signals: {error}"))?;
        let shared = Shared::new(stop);
        shared.mark.store(self.mark, Ordering::Relaxed);
        let connections = |thread| order.plan.share(thread).1;
        let (plan, keep_alive) = (&order.plan, order.plan.keep_alive);
        let progress = Progress::new(plan, self.quiet);
        let outcomes = match order.protocol {
            Protocol::Echo => put_on(plan, &shared, order.first, progress, |thread| {
                Echo::new(connections(thread), order.request_bytes, keep_alive)
            }),
            Protocol::Http => put_on(plan, &shared, order.first, progress, |thread| {
                Http::new(connections(thread), self.http_request(&order.target, &order.path), keep_alive)
            }),
        }
        .map_err(|error| format!("cannot put the load on: {error}"))?;

        let mut tally = Tally::new();
        for outcome in &outcomes {
            tally.add(&outcome.tally);
        }
        let seconds = outcomes.iter().map(|outcome| outcome.measured.time).max().unwrap_or(0) as f64 / 1e9;
        let interrupted = shared.stopped();
        let report = Report {
            schema: SCHEMA,
            address: order.address,
            protocol: order.protocol,
            path: (order.protocol == Protocol::Http).then_some(order.path),
            kind: if self.rate.is_some() { Loop::Open } else { Loop::Closed },
            connections: plan.connections,
            rate: self.rate,
            keep_alive,
            payload: order.request_bytes,
            started: started.duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
            seconds,
            warm_up_seconds: plan.warm_up as f64 / 1e9,
            opening_seconds: shared.start().unwrap_or(0) as f64 / 1e9,
            interrupted,
            requests: tally.requests,
            requests_per_second: if seconds > 0.0 { tally.requests as f64 / seconds } else { 0.0 },
            bytes_in: tally.bytes_in,
            bytes_out: tally.bytes_out,
            latency_us: tally.latency(),
            errors: errors(&tally),
            errors_total: tally.failures(),
            connections_made: tally.connections_made,
            connections_open_at_start: keep_alive.then_some(tally.connections_at_start),
            connections_served: tally.connections_served,
            connections_open_at_end: tally.connections_open,
            client: client(&outcomes),
        };
        self.tell(&report, &tally)?;
        match report.requests {
            0 if !interrupted => Err("no request was answered as it should be".into()),
            _ => Ok(()),
        }
    }

    /// Checks the command line, and reaches the server.
    fn order(&self) -> Result<Order, String> {
        let target = Target::parse(&self.address)?;
        let named = self.protocol.map(|protocol| match protocol {
            ProtocolName::Http => Protocol::Http,
            ProtocolName::Echo => Protocol::Echo,
        });
        let protocol = match (named, target.protocol) {
            (Some(named), Some(scheme)) if named != scheme => {
                return Err(format!("--protocol says something else than the address '{}'", self.address));
            }
            (named, scheme) => named.or(scheme).unwrap_or(Protocol::Http),
        };
        match protocol {
            Protocol::Http if self.payload.is_some() => return Err("--payload goes with echo".into()),
            Protocol::Echo if self.path.is_some() => return Err("--path goes with http".into()),
            Protocol::Echo if !self.header.is_empty() => return Err("--header goes with http".into()),
            _ => {}
        }
        let path = self.path.clone().or_else(|| target.path.clone()).unwrap_or_else(|| "/".into());
        if !path.starts_with('/') || path.bytes().any(|byte| byte <= b' ' || byte >= 0x7f) {
            return Err(format!("'{path}' is no path: it begins with / and has other characters as %XX"));
        }
        if let Some(field) = self.header.iter().find(|field| !is_field(field)) {
            return Err(format!("'{}' is no header field; try 'Accept: text/html'", field.escape_debug()));
        }
        let request_bytes = match protocol {
            Protocol::Echo => self.payload.unwrap_or(64) as usize,
            Protocol::Http => self.http_request(&target, &path).len(),
        };
        let connections = self.connections as usize;
        let keep_alive = !self.no_keep_alive;
        let length = match self.count {
            Some(count) => Length::Count(count),
            None => Length::Time(nanoseconds(Duration::from_secs_f64(self.duration))),
        };
        let warm_up = self.warm_up.unwrap_or(match self.count {
            Some(_) => 0.0,
            None => (self.duration * WARM_UP.1).min(WARM_UP.0),
        });
        sockets::provide_descriptors(connections)?;
        let timeout = Duration::from_secs_f64(self.timeout);
        let (address, first) = sockets::reach(&target.addresses, timeout)?;
        let plan = Plan {
            dialer: Dialer::new(address, connections, keep_alive, request_bytes),
            connections,
            threads: usize::from(self.threads).min(connections),
            keep_alive,
            rate: self.rate,
            timeout: nanoseconds(timeout),
            ramp: nanoseconds(Duration::from_secs_f64(self.ramp)),
            open_timeout: nanoseconds(Duration::from_secs_f64(self.open_timeout)),
            warm_up: nanoseconds(Duration::from_secs_f64(warm_up)),
            length,
        };
        Ok(Order { target, protocol, path, request_bytes, plan, first, address: address.to_string() })
    }

    fn http_request(&self, target: &Target, path: &str) -> Vec<u8> {
        http::request(&target.host, path, &self.header, !self.no_keep_alive)
    }

    /// Tells the report: text to stdout, unless that is for the JSON.
    fn tell(&self, report: &Report, tally: &Tally) -> Result<(), String> {
        let to_stdout = self.json.as_deref() == Some(Path::new("-"));
        let mut out = String::new();
        if !to_stdout {
            out = summary::text(report, tally);
        }
        if let Some(path) = &self.json {
            let mut json = serde_json::to_string_pretty(report).expect("every field is plain data");
            json.push('\n');
            if to_stdout {
                out = json;
            } else {
                std::fs::write(path, json)
                    .map_err(|error| format!("cannot write '{}': {error}", path.display()))?;
            }
        }
        io::stdout()
            .write_all(out.as_bytes())
            .map_err(|error| format!("cannot write the report to stdout: {error}"))
    }
}

/// Puts the load on, with a thread for each part of it.
fn put_on<C: Conversation>(
    plan: &Plan,
    shared: &Shared,
    first: OwnedFd,
    mut progress: Progress,
    conversation: impl Fn(usize) -> C + Sync,
) -> io::Result<Vec<Outcome>> {
    let (mut first, conversation) = (Some(first), &conversation);
    std::thread::scope(|scope| {
        let (running, ended) = mpsc::channel::<()>();
        let threads: Vec<_> = (0..plan.threads)
            .map(|thread| {
                let (running, first) = (running.clone(), first.take());
                std::thread::Builder::new().name("load".into()).spawn_scoped(scope, move || {
                    let client = Client::new(plan, shared, thread, conversation(thread), first);
                    let outcome = client.and_then(Client::run).inspect_err(|_| shared.stop());
                    drop(running);
                    outcome
                })
            })
            .collect::<io::Result<_>>()
            // Those that did start must not wait for the others.
            .inspect_err(|_| shared.stop())?;
        drop(running);
        while ended.recv_timeout(progress::STEP) == Err(mpsc::RecvTimeoutError::Timeout) {
            progress.show(shared);
        }
        progress.finish();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

/// SIGINT and SIGTERM end the run in good order. Again and again, too: some programs pass a signal on that was sent to all (timeout, sudo), and the
/// end is never far.
fn watch_signals(stop: &Arc<AtomicBool>) -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(stop))?;
    }
    Ok(())
}

fn is_field(field: &str) -> bool {
    let name = http::name_of(field);
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    field.len() > name.len()
        && !name.is_empty()
        && name.bytes().all(token)
        && !field.contains(['\r', '\n', '\0'])
}

fn errors(tally: &Tally) -> std::collections::BTreeMap<String, u64> {
    let mut errors = std::collections::BTreeMap::new();
    for (fault, times) in &tally.faults {
        *errors.entry(fault.key().into_owned()).or_default() += times;
    }
    errors
}

/// What the threads used, and whether one of them was always busy.
fn client(outcomes: &[Outcome]) -> report::Client {
    let measured = || outcomes.iter().map(|outcome| outcome.measured);
    let share = |measured: Measured| match measured.watched {
        0 => 0.0,
        watched => measured.computed.total() / (watched as f64 / 1e9),
    };
    let busiest = measured().map(share).fold(0.0, f64::max);
    report::Client {
        user_seconds: measured().map(|measured| measured.computed.user).sum(),
        system_seconds: measured().map(|measured| measured.computed.system).sum(),
        cpu_share: (busiest.min(1.0) * 1e4).round() / 1e4,
        client_bound: busiest > CLIENT_BOUND,
        threads: outcomes.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use processor_time::ProcessorTime;

    /// A thread that computed for so many of 10 seconds.
    fn outcome(seconds: f64) -> Outcome {
        let computed = ProcessorTime { user: seconds / 4.0, system: seconds * 0.75 };
        let measured = Measured { time: 10_000_000_000, computed, watched: 10_000_000_000 };
        Outcome { tally: Tally::new(), measured }
    }

    #[test]
    fn a_thread_that_is_always_busy_makes_the_result_client_bound() {
        let light = client(&[outcome(2.0), outcome(8.0)]);
        assert_eq!((light.client_bound, light.cpu_share, light.threads), (false, 0.8, 2));
        assert_eq!((light.user_seconds, light.system_seconds), (2.5, 7.5));
        let bound = client(&[outcome(2.0), outcome(9.8)]);
        assert_eq!((bound.client_bound, bound.cpu_share), (true, 0.98));
        let never = Outcome { tally: Tally::new(), measured: Measured::default() };
        assert_eq!(client(&[never]).cpu_share, 0.0);
    }

    #[test]
    fn a_field_has_a_name_and_one_line() {
        for field in ["Accept: text/html", "X-Empty:", "a:b"] {
            assert!(is_field(field), "{field}");
        }
        for field in ["", ":", ": b", "a b: c", "a", "a: b\nc: d"] {
            assert!(!is_field(field), "{field}");
        }
    }
}
