//! `fibra lab serve`: every model at every level of concurrency.
//!
//! ```text
//!  for each round:                                                  so that a slow minute is everybody's
//!    for each level:
//!      for each model, beginning with another one each round:       a cell:
//!        ┌─────────────── server's cores ──┐   ┌── load's cores ──┐
//!        │ fibra serve --model NAME        │◀──│ fibra load       │  and the lab, which reads /proc
//!        └─────────────────────────────────┘   └──────────────────┘
//! ```
//!
//! A model that fails at a level has its reason in the cell; after a second failure it is not asked again.

mod cell;
mod foreign;
mod load;
mod server;
mod usage;

use super::Run;
use super::history;
use super::interrupt::{Interrupt, Stopped};
use super::machine::{Machine, cores};
use super::program;
use super::progress::Progress;
use super::results::{Cell, Key, Outcome, Serve, ServeSettings, Way};
use clap::{Args, ValueEnum};
use fibra_serve::Model;
use foreign::Foreign;
use std::collections::BTreeMap;

const LEVELS: [u32; 13] = [1, 2, 3, 4, 10, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000];
const QUICK_LEVELS: [u32; 2] = [10, 1_000];
/// The most workers of a pool unasked: as many as `process` and `thread` come to.
const POOL_WORKERS: u32 = 10_000;
/// The models of which each worker serves one connection at a time, and what a worker takes, in bytes, with what the kernel keeps for it: generously, as half
/// of the memory is to be enough for all.
const POOLS: [(&str, u64); 2] = [("prefork", 512 << 10), ("thread-pool", 64 << 10)];
/// Failures after which a model is not asked again for a level.
const ENOUGH_FAILURES: usize = 2;
/// The models of the historic tables, and today's; they are measured with one request a connection too.
const CLASSIC: [&str; 3] = ["process", "thread", "coroutine"];

/// The options of `lab serve`.
#[derive(Args, Debug, Clone)]
pub(super) struct ServeArgs {
    /// The models to measure, by their --model names [default: all that there are]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = model)]
    models: Vec<String>,

    /// Connections at a time [default: 1 to 10,000 in 13 levels; 10 and 1,000 when quick]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=20_000))]
    levels: Vec<u32>,

    /// Seconds of load that count, in each cell [default: 2; 0.8 when quick]; more at levels beyond 2,500 times as many
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<f64>,

    /// Workers that prefork and thread-pool have at most; they have one for each connection, since each serves one at a time
    /// [default: 10,000, or as many as half of the memory has room for, at 512 KiB a process and 64 KiB a thread]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16_384))]
    pool_workers: Option<u32>,

    /// What is spoken
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    protocol: Protocol,

    /// Another server for the table, any number of times: NAME=COMMAND, in which {port} stands for the port it is to listen on, or
    /// 'NAME=COMMAND @ ADDR:PORT'; or NAME=ADDR:PORT for one that runs already
    #[arg(long = "server", value_name = "NAME=WHAT")]
    servers: Vec<Foreign>,

    /// Cores for the server; the load has the others, where there are others
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    server_cores: u16,
}

#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    /// HTTP/1.1, a hello page
    Http,
    /// The textbook echo, 64 bytes
    Echo,
}

fn model(name: &str) -> Result<String, String> {
    if Model::ALL.iter().any(|model| model.name() == name) {
        return Ok(name.to_owned());
    }
    let names: Vec<_> = Model::ALL.iter().map(|model| model.name()).collect();
    Err(format!("there are {}", names.join(", ")))
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if (0.1..=3_600.0).contains(&seconds) => Ok(seconds),
        _ => Err("expected seconds, from 0.1 to 3600".to_owned()),
    }
}

impl ServeArgs {
    /// What they come to.
    pub(super) fn settings(&self, run: &Run) -> Result<ServeSettings, String> {
        let chosen =
            |model: &&Model| self.models.is_empty() || self.models.iter().any(|name| name == model.name());
        let models = Model::ALL.iter().filter(chosen).map(|model| model.name().to_owned());
        let mut levels = match (self.levels.is_empty(), run.quick) {
            (false, _) => self.levels.clone(),
            (true, true) => QUICK_LEVELS.to_vec(),
            (true, false) => LEVELS.to_vec(),
        };
        levels.sort_unstable();
        levels.dedup();
        let mut foreign = BTreeMap::new();
        for server in &self.servers {
            let taken = Model::ALL.iter().any(|model| model.name() == server.name);
            if taken || foreign.insert(server.name.clone(), server.what.clone()).is_some() {
                return Err(format!("the name '{}' is taken: give the server another", server.name));
            }
        }
        let names: Vec<String> = models.chain(foreign.keys().cloned()).collect();
        let (server_cores, load_cores) = share(&cores(), self.server_cores.into());
        let seconds = self.seconds.unwrap_or(if run.quick { 0.8 } else { 2.0 });
        Ok(ServeSettings {
            quick: run.quick,
            protocol: if self.protocol == Protocol::Http { "http" } else { "echo" }.to_owned(),
            models: names,
            foreign,
            levels,
            rounds: run.rounds.map_or(if run.quick { 1 } else { 3 }, usize::from),
            seconds,
            warm_up_seconds: (seconds / 4.0).min(1.0),
            pool_workers: pools(self.pool_workers, Machine::look().memory_bytes),
            server_cores,
            load_cores,
        })
    }
}

/// The most workers of each pool, on a machine with so much memory.
fn pools(wanted: Option<u32>, memory: u64) -> BTreeMap<String, u32> {
    let most = |each: u64| {
        let room = u32::try_from(memory / 2 / each).unwrap_or(u32::MAX);
        wanted.unwrap_or_else(|| room.clamp(1, POOL_WORKERS))
    };
    POOLS.iter().map(|(model, each)| ((*model).to_owned(), most(*each))).collect()
}

/// The server's cores and the load's: apart, if there are two.
fn share(cores: &[usize], wanted: usize) -> (Vec<usize>, Vec<usize>) {
    match cores.len() {
        0 | 1 => (cores.to_vec(), cores.to_vec()),
        all => {
            let (server, load) = cores.split_at(wanted.clamp(1, all - 1));
            (server.to_vec(), load.to_vec())
        }
    }
}

/// The cells of a run, in their order.
pub(super) struct Plan {
    keys: Vec<Key>,
    progress: Progress,
}

impl Plan {
    pub(super) fn new(serve: &Serve) -> Result<Plan, String> {
        let settings = &serve.settings;
        // The lab computes beside the load, and its children are moved by their launchers.
        program::keep_to(&settings.load_cores)
            .map_err(|error| format!("cannot keep to the load's cores: {error}"))?;
        let keys = remaining(serve);
        let progress = Progress::new("serve", keys.len());
        Ok(Plan { keys, progress })
    }

    /// Measures the next cell that has none; false when all have one.
    pub(super) fn next(&mut self, serve: &mut Serve, interrupt: &Interrupt) -> Result<bool, Stopped> {
        interrupt.check()?;
        let Some(key) = self.keys.first().cloned() else {
            return Ok(false);
        };
        self.keys.remove(0);
        if !is_hopeless(&key, &serve.cells) {
            self.progress.begin(&in_words(&key));
            let outcome = cell::measure(&key, &serve.settings, interrupt)?;
            let workers = serve.settings.workers_at(&key.model, key.level);
            serve.cells.push(Cell { key, workers, outcome });
        }
        self.progress.end();
        Ok(true)
    }
}

fn in_words(key: &Key) -> String {
    let way = if key.way == Way::OneRequest { ", a request a connection" } else { "" };
    format!("round {}: {} at {}{way}", key.round + 1, key.model, key.level)
}

/// What has to be measured yet.
fn remaining(serve: &Serve) -> Vec<Key> {
    let is_done = |key: &Key| serve.cells.iter().any(|cell| cell.key == *key);
    keys(&serve.settings).into_iter().filter(|key| !is_done(key)).collect()
}

/// How many cells are missing, those that have no prospect aside.
pub(super) fn unfinished(serve: &Serve) -> usize {
    remaining(serve).iter().filter(|key| !is_hopeless(key, &serve.cells)).count()
}

/// All cells, in the order in which they are measured.
fn keys(settings: &ServeSettings) -> Vec<Key> {
    let mut keys = Vec::new();
    for round in 0..settings.rounds {
        for &level in &settings.levels {
            for way in [Way::KeepAlive, Way::OneRequest] {
                let count = settings.models.len();
                let turned = (0..count).map(|place| &settings.models[(place + round) % count]);
                let measured = turned.filter(|model| {
                    way == Way::KeepAlive
                        || (CLASSIC.contains(&model.as_str()) && history::LEVELS.contains(&level))
                });
                keys.extend(measured.map(|model| Key { model: model.clone(), way, level, round }));
            }
        }
    }
    keys
}

/// Whether this has failed often enough, and was never measured.
fn is_hopeless(key: &Key, cells: &[Cell]) -> bool {
    let same = cells.iter().filter(|cell| {
        let other = &cell.key;
        (&other.model, other.way, other.level) == (&key.model, key.way, key.level)
    });
    let outcomes: Vec<bool> = same.map(|cell| matches!(cell.outcome, Outcome::Failed(_))).collect();
    outcomes.len() >= ENOUGH_FAILURES && outcomes.iter().all(|failed| *failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> ServeSettings {
        ServeSettings {
            quick: false,
            protocol: "http".into(),
            models: ["thread", "coroutine", "nginx"].map(str::to_owned).into(),
            foreign: BTreeMap::new(),
            levels: vec![10, 1_000],
            rounds: 2,
            seconds: 1.0,
            warm_up_seconds: 0.25,
            pool_workers: BTreeMap::new(),
            server_cores: vec![0],
            load_cores: vec![1],
        }
    }

    fn failed(key: &Key, round: usize) -> Cell {
        let key = Key { round, ..key.clone() };
        Cell { key, workers: None, outcome: Outcome::Failed("no".into()) }
    }

    #[test]
    fn every_round_has_every_cell_and_begins_with_another_model() {
        let keys = keys(&settings());
        // Two levels of three models, and two classic models at the one level that the historic tables have.
        assert_eq!(keys.len(), 2 * (2 * 3 + 2));
        assert_eq!((keys[0].model.as_str(), keys[0].round), ("thread", 0));
        assert_eq!((keys[8].model.as_str(), keys[8].round), ("coroutine", 1));
        let classic: Vec<_> = keys.iter().filter(|key| key.way == Way::OneRequest).collect();
        assert!(classic.iter().all(|key| key.level == 10 && key.model != "nginx"), "{classic:?}");
    }

    #[test]
    fn a_run_goes_on_with_the_cells_that_have_not_been_measured() {
        let all = keys(&settings());
        let done: Vec<Cell> = all[..5].iter().map(|key| failed(key, key.round)).collect();
        assert_eq!(remaining(&Serve { settings: settings(), cells: done }), all[5..]);
    }

    #[test]
    fn what_fails_twice_is_not_tried_again() {
        let key = Key { model: "select".into(), way: Way::KeepAlive, level: 2_000, round: 2 };
        let once = [failed(&key, 0)];
        let twice = [failed(&key, 0), failed(&key, 1)];
        assert!(!is_hopeless(&key, &once) && is_hopeless(&key, &twice));
        let elsewhere = Key { level: 1_000, ..key };
        assert!(!is_hopeless(&elsewhere, &twice));
    }

    #[test]
    fn pools_have_room_in_half_of_the_memory() {
        let most = |wanted, memory| pools(wanted, memory).into_values().collect::<Vec<_>>();
        assert_eq!(most(None, 24 << 30), [10_000, 10_000]);
        assert_eq!(most(None, 2 << 30), [2_048, 10_000]);
        assert_eq!(most(Some(5), 2 << 30), [5, 5]);
    }

    #[test]
    fn server_and_load_have_cores_of_their_own_where_there_are_two() {
        assert_eq!(share(&[3], 1), (vec![3], vec![3]));
        assert_eq!(share(&[0, 1], 1), (vec![0], vec![1]));
        assert_eq!(share(&[0, 1], 8), (vec![0], vec![1]));
        assert_eq!(share(&[0, 1, 4, 5], 2), (vec![0, 1], vec![4, 5]));
    }
}
