//! `fibra serve`: a server of echo or HTTP, under a model of choice.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use fibra_serve::protocol::http::Service;
use fibra_serve::{Accept, Limits, Model, Options, Site, Started, Summary};
use std::io::{self, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Workers that a model may have whose workers are not there for one connection each: they are to share the cores.
const MOST_WORKERS: u16 = 1_024;

/// Serve HTTP (a directory, or a hello page) or the textbook echo
///
/// SIGINT or SIGTERM stops it: no new connections, what runs finishes, and after --stop-deadline the rest is cut off.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// Where to listen: ADDR:PORT, :PORT or PORT, on 127.0.0.1 unless told otherwise; port 0 lets the system choose
    /// [default: 127.0.0.1:8080 for http, 127.0.0.1:9090 for echo]
    #[arg(value_name = "ADDR")]
    address: Option<String>,

    /// What is spoken
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    protocol: Protocol,

    /// The way to serve
    #[arg(long, value_name = "NAME", default_value = Model::Coroutine.name(), value_parser = model_parser())]
    model: Model,

    /// OS threads that run coroutines, loops of epoll-lt and epoll-et, threads of thread-pool, processes of prefork and multi-process
    /// (at most 1,024, those of the pools 16,384) [default: FIBRA_WORKERS, or as many as the machine has cores for us; 1 loop; 64 threads of thread-pool, 8 processes of prefork]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=16_384))]
    workers: Option<u16>,

    /// Connections that a process of prefork serves before another takes its place; 0 for no end
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections_per_child: u64,

    /// How several loops (of epoll-lt and epoll-et) share the address
    #[arg(long, value_enum, default_value_t = AcceptName::Exclusive)]
    accept: AcceptName,

    /// For fault runs: a request for this target panics in the handler
    #[arg(long, value_name = "TARGET", hide = true)]
    crash_at: Option<String>,

    /// The directory whose files are served; without it there is only a hello page at /
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// List directories that have no index.html
    #[arg(long, requires = "root")]
    listing: bool,

    /// Most connections open at once; others wait to be accepted
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,

    /// Seconds that a connection may be silent between two requests
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().idle_timeout.as_secs_f64(), value_parser = seconds)]
    idle_timeout: f64,

    /// Seconds that a request's head may take from its first byte to its last
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().head_deadline.as_secs_f64(), value_parser = seconds)]
    head_timeout: f64,

    /// Seconds that a request's body may take
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().body_deadline.as_secs_f64(), value_parser = seconds)]
    body_timeout: f64,

    /// Seconds that a client may take to read on
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().write_timeout.as_secs_f64(), value_parser = seconds)]
    write_timeout: f64,

    /// Seconds that requests in progress may take once the server is asked to stop
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().stop_deadline.as_secs_f64(), value_parser = seconds)]
    stop_deadline: f64,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// HTTP/1.1
    Http,
    /// Bytes go back as they arrive; the line "done" is answered "bye!" and ends the connection
    Echo,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum AcceptName {
    /// One listener: a connection wakes every loop that sleeps
    Shared,
    /// One listener: a connection wakes one loop (EPOLLEXCLUSIVE)
    Exclusive,
    /// A listener for each loop (SO_REUSEPORT)
    Reuseport,
}

/// The models by their names.
fn model_parser() -> impl TypedValueParser<Value = Model> {
    let names = Model::ALL.iter().map(|model| PossibleValue::new(model.name()).help(model.about()));
    PossibleValuesParser::new(names)
        .map(|name| Model::from_name(&name).expect("it is one of the possible values"))
}

/// A duration in seconds, at least a millisecond and less than a year.
fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.001..31_536_000.0).contains(&seconds) => Ok(seconds),
        Ok(seconds) if seconds < 0.001 => Err("expected at least 0.001 seconds".into()),
        _ => Err("expected seconds, such as 30 or 0.5".into()),
    }
}

impl Serve {
    pub(crate) fn run(self) -> Result<(), String> {
        let protocol = match self.protocol {
            Protocol::Http => fibra_serve::Protocol::Http,
            Protocol::Echo => fibra_serve::Protocol::Echo,
        };
        let accept = match self.accept {
            AcceptName::Shared => Accept::Shared,
            AcceptName::Exclusive => Accept::Exclusive,
            AcceptName::Reuseport => Accept::Reuseport,
        };
        if self.protocol == Protocol::Echo && self.root.is_some() {
            return Err("--root goes with --protocol http".into());
        }
        let is_pool = matches!(self.model, Model::Prefork | Model::ThreadPool);
        if let Some(workers) = self.workers.filter(|workers| *workers > MOST_WORKERS && !is_pool) {
            return Err(format!(
                "--workers {workers} is too many: at most {MOST_WORKERS} go with --model {}",
                self.model.name()
            ));
        }
        if self.max_connections == 0 {
            return Err("--max-connections must be at least 1".into());
        }
        let address = match self.address.as_deref() {
            Some(text) => parse_address(text)?,
            None if self.protocol == Protocol::Http => SocketAddr::from(([127, 0, 0, 1], 8080)),
            None => SocketAddr::from(([127, 0, 0, 1], 9090)),
        };
        let site = match &self.root {
            None => Site::hello(),
            Some(root) => Site::root(root)
                .map_err(|error| format!("cannot serve '{}': {error}", root.display()))?
                .with_listing(self.listing),
        };
        let mut service = Service::new(site, self.limits());
        if let Some(target) = &self.crash_at {
            service = service.with_crash_at(target.as_str());
        }
        raise_descriptor_limit();
        let options = Options {
            protocol,
            address,
            workers: self.workers.map(usize::from),
            connections_per_child: self.connections_per_child,
            accept,
            service: Arc::new(service),
        };
        let summary = fibra_serve::serve(self.model, options, |started| self.announce(started))
            .map_err(|error| hint(error, address))?;
        let Summary { accepted, cut_off, wakeups, .. } = summary;
        tracing::info!(accepted, cut_off, wakeups, "stopped");
        Ok(())
    }

    fn limits(&self) -> Limits {
        Limits {
            idle_timeout: Duration::from_secs_f64(self.idle_timeout),
            head_deadline: Duration::from_secs_f64(self.head_timeout),
            body_deadline: Duration::from_secs_f64(self.body_timeout),
            write_timeout: Duration::from_secs_f64(self.write_timeout),
            stop_deadline: Duration::from_secs_f64(self.stop_deadline),
            connections: self.max_connections,
            ..Limits::default()
        }
    }

    /// What is served, where, how, and what to try.
    fn announce(&self, started: &Started) {
        let address = started.address;
        let workers = match started.workers {
            1 => "1 worker".into(),
            count => format!("{count} workers"),
        };
        let how = format!("model {}, driver {}, {workers}", self.model.name(), started.driver);
        let (what, try_it) = match (self.protocol, &self.root) {
            (Protocol::Echo, _) => (
                format!("echo on {address}"),
                format!("nc {} {}        (the line \"done\" ends it)", address.ip(), address.port()),
            ),
            (Protocol::Http, None) => (
                format!("a hello page on http://{address}/"),
                format!("curl http://{address}/        (--root DIR serves files)"),
            ),
            (Protocol::Http, Some(root)) => {
                (format!("{} on http://{address}/", root.display()), format!("curl http://{address}/"))
            }
        };
        // Nobody need be there to read it.
        let _ = writeln!(io::stdout(), "fibra: {what} ({how})\ntry:   {try_it}");
    }
}

/// `ADDR:PORT`, `:PORT`, `PORT`; a name is looked up.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let local = |port: &str| port.parse::<u16>().ok().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    if let Some(address) = local(text.strip_prefix(':').unwrap_or(text)) {
        return Ok(address);
    }
    match text.to_socket_addrs().map(|mut addresses| addresses.next()) {
        Ok(Some(address)) => Ok(address),
        Ok(None) => Err(format!("'{text}' has no address")),
        Err(error) => {
            Err(format!("'{text}' is no address to listen on: {error}; try 127.0.0.1:8080 or :8080"))
        }
    }
}

/// Adds what to do about it.
fn hint(error: io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("{error}; another program listens there: choose another port, or 0 for any")
        }
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            format!("{error}; ports below 1024 need root or CAP_NET_BIND_SERVICE")
        }
        _ => error.to_string(),
    }
}

/// Each connection needs a descriptor: takes as many as this process may have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::warn!(%error, "cannot raise the limit of open files");
        }
    }
}
