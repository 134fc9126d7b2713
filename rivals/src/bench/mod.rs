//! The measurements, a file each. A file says which rivals take part and what is reported ([`Experiment`]), and, where
//! the work needs no load from outside, does the work in the child ([`one`]).

pub(crate) mod accept;
pub(crate) mod clients;
pub(crate) mod echo;
pub(crate) mod echo_idle;
pub(crate) mod files;
pub(crate) mod http;
pub(crate) mod locks;
pub(crate) mod memory;
pub(crate) mod park;
pub(crate) mod queues;
pub(crate) mod spawn;
pub(crate) mod spawn_many;
pub(crate) mod switch;
pub(crate) mod timers;
pub(crate) mod yields;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum as _;

use crate::cli::{Load, One, Protocol, Settings, Work};
use crate::process::{Child, CpuClock, Figures, Unavailable};
use crate::rival::Rival;

/// A rival that fails this often is left out of the rounds that remain.
const FAILURES_BEFORE_LEAVING_OUT: usize = 2;

/// A number that is reported.
#[derive(Clone, Copy)]
pub(crate) struct Metric {
    /// What the child calls it.
    pub(crate) key: &'static str,
    /// The head of its column.
    pub(crate) title: &'static str,
    pub(crate) decimals: usize,
    /// Whether it is given with its interval, and its ratio to the baseline's.
    pub(crate) compared: bool,
}

/// A figure to reach; met when the 95% interval reaches it.
#[derive(Clone)]
pub(crate) struct Aim {
    /// Whose figure: of several, the one that does best.
    pub(crate) rivals: Vec<Rival>,
    pub(crate) metric: &'static str,
    pub(crate) limit: Limit,
    /// Whether it is the ratio to this rival's figure, not the figure itself, that is limited.
    pub(crate) times: Option<Rival>,
}

#[derive(Clone, Copy)]
pub(crate) enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

impl Aim {
    /// A figure of one rival that is to stay within `limit`.
    fn at_most(rival: Rival, metric: &'static str, limit: f64) -> Self {
        Self::of_the_best(&[rival], metric, Limit::AtMost(limit))
    }

    /// The same of whichever of `rivals` does best.
    fn of_the_best(rivals: &[Rival], metric: &'static str, limit: Limit) -> Self {
        Self { rivals: rivals.to_vec(), metric, limit, times: None }
    }

    /// What is limited is the ratio to the figure of `other`.
    fn times(self, other: Rival) -> Self {
        Self { times: Some(other), ..self }
    }
}

/// fibra's drivers, under the same program.
const DRIVERS: [Rival; 3] = [Rival::Fibra, Rival::FibraUringSubmit, Rival::FibraUringTry];

/// One table of the report, before it is measured.
pub(crate) struct Experiment {
    pub(crate) key: String,
    pub(crate) title: String,
    pub(crate) about: String,
    pub(crate) metrics: &'static [Metric],
    pub(crate) rivals: Vec<Rival>,
    /// The rival the others are compared to.
    pub(crate) baseline: Option<Rival>,
    pub(crate) aims: Vec<Aim>,
    /// Measures one rival once, with a seed.
    pub(crate) measure: Box<dyn Fn(Rival, u64) -> Result<Figures>>,
}

/// One table of the report, measured.
pub(crate) struct Outcome {
    pub(crate) experiment: Experiment,
    /// By rival, what each round gave; `None` where it failed or did not take place.
    pub(crate) rounds: BTreeMap<Rival, Vec<Option<Figures>>>,
    /// Why some rivals are missing, or missing in some rounds.
    pub(crate) failures: Vec<Failure>,
}

/// Why a rival has no figures in a round.
#[derive(PartialEq)]
pub(crate) struct Failure {
    pub(crate) rival: Rival,
    pub(crate) why: String,
    /// There can be none on this system.
    pub(crate) unavailable: bool,
}

impl Experiment {
    /// Keeps the rivals that this build contains and that were asked for.
    fn choose(mut self, settings: &Settings) -> Self {
        let asked = |rival: &Rival| {
            settings.only.is_empty() || settings.only.contains(rival) || Some(*rival) == self.baseline
        };
        self.rivals.retain(|rival| rival.is_built() && asked(rival));
        self
    }

    /// Measures, round by round, every rival once in an order drawn anew.
    pub(crate) fn run(self, rounds: usize, rng: &mut fastrand::Rng) -> Outcome {
        let mut found: BTreeMap<Rival, Vec<Option<Figures>>> = BTreeMap::new();
        let mut failures: Vec<Failure> = Vec::new();
        for round in 0..rounds {
            let mut order = self.rivals.clone();
            rng.shuffle(&mut order);
            for rival in order {
                let failed = || failures.iter().filter(|failure| failure.rival == rival);
                let unavailable = failed().any(|failure| failure.unavailable);
                let figures = if unavailable || failed().count() >= FAILURES_BEFORE_LEAVING_OUT {
                    None
                } else {
                    eprintln!("{}: round {} of {rounds}, {}", self.key, round + 1, rival.label());
                    match (self.measure)(rival, rng.u64(..)) {
                        Ok(figures) => Some(figures),
                        Err(error) => {
                            eprintln!("{}: {} failed: {error:#}", self.key, rival.label());
                            let unavailable = error.is::<Unavailable>();
                            failures.push(Failure { rival, why: format!("{error:#}"), unavailable });
                            None
                        }
                    }
                };
                found.entry(rival).or_default().push(figures);
            }
        }
        Outcome { experiment: self, rounds: found, failures }
    }
}

/// Measures in a child that works on its own.
fn measure_alone(
    settings: &Settings,
    work: Work,
    count: usize,
) -> Box<dyn Fn(Rival, u64) -> Result<Figures>> {
    measure_on(&[settings.server_core], settings, work, count)
}

/// The same, for work that runs on two cores at once: that of the server and that of the load.
fn measure_on_two(
    settings: &Settings,
    work: Work,
    count: usize,
) -> Box<dyn Fn(Rival, u64) -> Result<Figures>> {
    measure_on(&[settings.server_core, settings.load_core], settings, work, count)
}

fn measure_on(
    cores: &[usize],
    settings: &Settings,
    work: Work,
    count: usize,
) -> Box<dyn Fn(Rival, u64) -> Result<Figures>> {
    let cores = cores.to_vec();
    let seconds = (settings.seconds / 10.0).to_string();
    let work = work.to_possible_value().expect("no variant is skipped").get_name().to_owned();
    Box::new(move |rival, _seed| {
        let count = crate::runtime::at_most_alive(rival, count).to_string();
        let arguments = ["one", &work, &rival.key(), "--seconds", &seconds, "--count", &count];
        Child::of_rival(&cores, rival, arguments)?.figures()
    })
}

/// Starts one of this program's own servers, and says where it listens.
fn start_server(core: usize, rival: Rival, protocol: Protocol) -> Result<(Child, u16)> {
    let protocol = protocol.to_possible_value().expect("no variant is skipped").get_name().to_owned();
    let mut server = Child::of_rival(&[core], rival, ["server", &rival.key(), &protocol])?;
    let port = server.port()?;
    Ok((server, port))
}

/// Runs the load client, and takes what it found.
fn put_load(core: usize, load: &Load) -> Result<Figures> {
    let kind = load.kind.to_possible_value().expect("no variant is skipped").get_name().to_owned();
    let options = [
        ("--address", load.address.to_string()),
        ("--server", load.server.to_string()),
        ("--connections", load.connections.to_string()),
        ("--total", load.total.to_string()),
        ("--size", load.size.to_string()),
        ("--seconds", load.seconds.to_string()),
        ("--warm-up", load.warm_up.to_string()),
        ("--seed", load.seed.to_string()),
    ];
    let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
    Child::again(core, ["load".to_owned(), kind].into_iter().chain(options))?.figures()
}

/// Makes one measurement in this process.
pub(crate) fn one(one: &One) -> Result<Figures> {
    match one.work {
        Work::Switch => switch::one(one),
        Work::Yield => yields::one(one),
        Work::Spawn => spawn::one(one),
        Work::SpawnMany => spawn_many::one(one),
        Work::Park => park::one(one),
        Work::Mutex => locks::one_mutex(one),
        Work::RwLockRead => locks::one_read(one),
        Work::RwLockWrite => locks::one_write(one),
        Work::Semaphore => locks::one_semaphore(one),
        Work::MutexContended => locks::one_contended(one),
        Work::Queue => queues::one(one),
        Work::PingPong => queues::one_ping_pong(one),
        Work::TimersCancel => timers::one_cancel(one),
        Work::TimersFire => timers::one_fire(one),
        Work::Memory => memory::one(one),
    }
}

fn takes_no_part(one: &One) -> Result<Figures> {
    bail!("{} takes no part in this measurement", one.rival.label())
}

/// Repeats `run`, which does the work so many times and says how long that took, until it takes `seconds`; the runs
/// before warm it up. Figures are per repetition: `ns` on the clock, `cpu_ns` of this process's processor time.
fn repeat_for(seconds: f64, mut run: impl FnMut(u64) -> Duration) -> Result<Figures> {
    let cpu = CpuClock::of(std::process::id())?;
    let mut repetitions = 100;
    loop {
        let before = cpu.nanoseconds()?;
        let took = run(repetitions).as_secs_f64();
        let used = (cpu.nanoseconds()? - before) as f64;
        if took >= seconds {
            let each = |nanoseconds: f64| nanoseconds / repetitions as f64;
            return Ok(Figures::default().with("ns", each(took * 1e9)).with("cpu_ns", each(used)));
        }
        let growth = (1.2 * seconds / took.max(1e-9)).clamp(1.5, 10.0);
        repetitions = (repetitions as f64 * growth) as u64;
    }
}

const NANOSECONDS: &[Metric] = &[
    Metric { key: "ns", title: "ns", decimals: 1, compared: true },
    Metric { key: "cpu_ns", title: "ns of processor time", decimals: 1, compared: false },
];
