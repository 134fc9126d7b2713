//! The command line.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::rival::Rival;

/// fibra beside other runtimes: every measured runtime in a process of its own, rounds interleaved, ratios with
/// their 95% intervals.
#[derive(Debug, Parser)]
#[command(name = "rivals", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to measure; and, hidden, what the harness starts itself again as.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// A bare switch: resume and suspend.
    Switch(Settings),
    /// yield_now between two tasks.
    Yield(Settings),
    /// Spawn and join one empty task at a time.
    Spawn(Settings),
    /// Spawn many empty tasks, then join them.
    SpawnMany(Settings),
    /// Ping-pong of park and unpark between two tasks.
    Park(Settings),
    /// Locks: uncontended, and contended on one worker and on two.
    Locks(Settings),
    /// Queues: items per second of several producers and consumers, and ping-pong.
    Queues(Settings),
    /// Timers: set and cancelled, and fired in great number.
    Timers(Settings),
    /// Memory of idle tasks, and the time to create and to wake them.
    Memory(Settings),
    /// Connect, one exchange, close: processor time per connection.
    Accept(Settings),
    /// Echo under load: processor time per request, throughput, latency.
    Echo(Settings),
    /// Memory of idle connections, and the latency of a few active ones among many.
    EchoIdle(Settings),
    /// A hello page over HTTP/1.1: processor time per request.
    Http(Settings),
    /// Load generators on one nginx: throughput, and processor time of both sides per request.
    Clients(Settings),
    /// Reads of a file, random and sequential, cached and cold: throughput, processor time per read.
    Files(Settings),
    /// Everything above.
    All(Settings),

    #[command(hide = true)]
    One(One),
    #[command(hide = true)]
    Read(Read),
    #[command(hide = true)]
    Server(Server),
    #[command(hide = true)]
    Load(Load),
    #[command(hide = true)]
    Program {
        /// Seconds after which the kernel ends it.
        #[arg(long)]
        at_most: Option<f64>,
        /// The program and its arguments.
        #[arg(required = true, last = true)]
        words: Vec<OsString>,
    },
}

/// How to measure.
#[derive(Args, Clone, Debug)]
pub(crate) struct Settings {
    /// Rounds; in each, every rival is measured once, in an order drawn anew.
    #[arg(long, default_value_t = 20)]
    pub(crate) rounds: usize,
    /// Seconds of load in a round; measurements without load take a tenth of it.
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Seconds of load before it counts.
    #[arg(long, default_value_t = 0.3)]
    pub(crate) warm_up: f64,
    /// Measure these rivals only (the one that others are compared to is kept).
    #[arg(long, value_delimiter = ',')]
    pub(crate) only: Vec<Rival>,
    /// Numbers of connections for `echo`.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 50, 1_000, 8_000])]
    pub(crate) connections: Vec<usize>,
    /// Bytes in an echoed message.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pub(crate) size: u32,
    /// Connections of one round of `accept`.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) accepts: usize,
    /// Connections open at once in `accept`.
    #[arg(long, default_value_t = 50)]
    pub(crate) accepts_at_once: usize,
    /// Connections held idle by `echo-idle`.
    #[arg(long, default_value_t = 10_000)]
    pub(crate) idle: usize,
    /// Connections of `http`.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) http_connections: usize,
    /// Numbers of connections for `clients`.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 100, 1_000])]
    pub(crate) clients_connections: Vec<usize>,
    /// Tasks of `spawn-many`.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) tasks: usize,
    /// Timers fired by `timers`.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) timers: usize,
    /// Tasks of `memory`.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) idle_tasks: usize,
    /// The directory, on a disk, in which `files` makes the file that it reads; it is gone when the program ends.
    #[arg(long, default_value = ".")]
    pub(crate) dir: PathBuf,
    /// Mebibytes of that file.
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u64).range(16..=1_048_576))]
    pub(crate) file_size: u64,
    /// Readers at once in `files`.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64])]
    pub(crate) readers: Vec<usize>,
    /// The core of what is measured.
    #[arg(long, default_value_t = 0)]
    pub(crate) server_core: usize,
    /// The core of the load.
    #[arg(long, default_value_t = 1)]
    pub(crate) load_core: usize,
    /// The fibra program, for `http` and `clients`.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/release/fibra"))]
    pub(crate) fibra: PathBuf,
    /// The nginx program, for `http` and `clients`: left out when it is not found.
    #[arg(long, default_value = "nginx")]
    pub(crate) nginx: PathBuf,
    /// The wrk program, for `clients`.
    #[arg(long, default_value = "wrk")]
    pub(crate) wrk: PathBuf,
    /// The h2load program, for `clients`.
    #[arg(long, default_value = "h2load")]
    pub(crate) h2load: PathBuf,
    /// A running HTTP server to measure too: its address, and the process whose processor time counts. Pin it yourself.
    #[arg(long, value_name = "ADDRESS/PID")]
    pub(crate) external: Option<External>,
    /// Seed of everything drawn; by default from the clock.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Write the report to this file as well.
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// Write every figure of every round to this file, as comma-separated values.
    #[arg(long)]
    pub(crate) raw: Option<PathBuf>,
}

/// A server that the harness has not started.
#[derive(Clone, Copy, Debug)]
pub(crate) struct External {
    pub(crate) address: SocketAddr,
    pub(crate) process: u32,
}

impl FromStr for External {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Some((address, process)) = text.split_once('/') else {
            bail!("not of the form 127.0.0.1:80/1234")
        };
        Ok(Self {
            address: address.parse().context("the address")?,
            process: process.parse().context("the process id")?,
        })
    }
}

/// A measurement that one child makes on its own, without load from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    Switch,
    Yield,
    Spawn,
    SpawnMany,
    Park,
    Mutex,
    RwLockRead,
    RwLockWrite,
    Semaphore,
    MutexContended,
    Queue,
    PingPong,
    TimersCancel,
    TimersFire,
    Memory,
}

/// Makes one such measurement in this process.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct One {
    pub(crate) work: Work,
    pub(crate) rival: Rival,
    /// How long the counted run takes, for work that can be repeated at will.
    #[arg(long, default_value_t = 0.2)]
    pub(crate) seconds: f64,
    /// How many tasks, for the other work.
    #[arg(long, default_value_t = 1_000)]
    pub(crate) count: usize,
}

/// In which order the pages of a file are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Access {
    /// All over the file, without read-ahead.
    Random,
    /// Each reader its part of the file from the beginning to the end.
    Sequential,
}

/// Reads a file, in this process.
#[derive(Args, Clone, Debug)]
pub(crate) struct Read {
    pub(crate) rival: Rival,
    pub(crate) access: Access,
    #[arg(long)]
    pub(crate) file: PathBuf,
    /// No page twice: what was on the disk alone when it began is read from there.
    #[arg(long)]
    pub(crate) once: bool,
    #[arg(long)]
    pub(crate) readers: usize,
    #[arg(long, default_value_t = 0.5)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 0.1)]
    pub(crate) warm_up: f64,
    #[arg(long)]
    pub(crate) seed: u64,
}

/// What a server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Protocol {
    Echo,
    Http,
}

/// Serves on a port of the system's choosing, which it prints.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Server {
    pub(crate) rival: Rival,
    pub(crate) protocol: Protocol,
}

/// The kinds of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LoadKind {
    /// Echo requests on all connections, each waiting for its answer before the next.
    Echo,
    /// HTTP requests likewise.
    Http,
    /// Connect, one exchange, close.
    Accept,
    /// Many connections, few of them active.
    Idle,
}

/// Loads a server and prints what that cost it.
#[derive(Args, Clone, Debug)]
pub(crate) struct Load {
    pub(crate) kind: LoadKind,
    #[arg(long)]
    pub(crate) address: SocketAddr,
    #[arg(long)]
    pub(crate) server: u32,
    #[arg(long)]
    pub(crate) connections: usize,
    /// Connections in all, for `accept`.
    #[arg(long, default_value_t = 0)]
    pub(crate) total: usize,
    #[arg(long, default_value_t = 64)]
    pub(crate) size: usize,
    #[arg(long, default_value_t = 1.0)]
    pub(crate) seconds: f64,
    #[arg(long, default_value_t = 0.1)]
    pub(crate) warm_up: f64,
    #[arg(long)]
    pub(crate) seed: u64,
}
