//! What a run has found: the file `results.json`, which is also what a run that was cut off goes on from.
//!
//! The schema, in words, is `docs/lab-results.md`. The file is written anew after each finished cell, beside the old one, and put in its place by a rename: whatever
//! ends the program, there is a whole file.

use super::machine::Machine;
use super::statistics::Spread;
use super::summary::Row;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The number of the schema: it moves when a reader of the old one would misread the new one.
pub(super) const SCHEMA: u32 = 1;

/// The whole file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) schema: u32,
    /// fibra's version.
    pub(super) fibra: String,
    pub(super) machine: Machine,
    /// RFC 3339, in UTC: when the first cell was begun.
    pub(super) began: String,
    /// When the last cell was finished.
    pub(super) ended: String,
    /// The command of the run that finished it.
    pub(super) command: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) costs: Option<Costs>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) serve: Option<Serve>,
    /// The medians of `serve`, for readers; made anew at each writing.
    #[serde(default, skip_deserializing)]
    pub(super) summary: Vec<Row>,
}

/// The cost ladder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Costs {
    pub(super) quick: bool,
    pub(super) rounds: usize,
    pub(super) figures: Vec<Figure>,
}

/// One cost, of several rounds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Figure {
    /// `GROUP.NAME`, such as `switch.coroutine`.
    pub(super) id: String,
    pub(super) what: String,
    pub(super) unit: Unit,
    /// A value a round, in the order in which they were measured.
    pub(super) values: Vec<f64>,
    /// Rounds in which it was tried, those without a value included.
    pub(super) tried: usize,
    #[serde(skip_deserializing)]
    pub(super) spread: Option<Spread>,
    /// The figure elsewhere that it may be compared with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<f64>,
    /// What one should know about it; or why there are no values.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
    Milliseconds,
    /// Times as fast.
    Ratio,
}

/// Service models under load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Serve {
    pub(super) settings: ServeSettings,
    pub(super) cells: Vec<Cell>,
}

/// What must be equal for one run to go on from another's cells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ServeSettings {
    pub(super) quick: bool,
    pub(super) protocol: String,
    /// The models by their `--model` names, then the foreign servers by theirs.
    pub(super) models: Vec<String>,
    /// The foreign servers: how each is started or where it listens.
    pub(super) foreign: BTreeMap<String, String>,
    pub(super) levels: Vec<u32>,
    pub(super) rounds: usize,
    /// Of load that counts, in each cell; see [`ServeSettings::seconds_at`].
    pub(super) seconds: f64,
    pub(super) warm_up_seconds: f64,
    /// The most workers of each pool; see [`ServeSettings::workers_at`]. None in old files: the pools had as many as they have unasked.
    #[serde(default)]
    pub(super) pool_workers: BTreeMap<String, u32>,
    pub(super) server_cores: Vec<usize>,
    pub(super) load_cores: Vec<usize>,
}

/// Connections for which a second is time enough: each then has a few turns in it, at the rates that are usual on one core. Ten thousand get 4 s.
const TURNS: f64 = 2_500.0;

impl ServeSettings {
    /// A cell's seconds at a level: as many as were asked for, and more where each connection would get few turns in them.
    pub(super) fn seconds_at(&self, level: u32) -> f64 {
        self.seconds.max(f64::from(level) / TURNS)
    }

    /// The same for the warm-up.
    pub(super) fn warm_up_seconds_at(&self, level: u32) -> f64 {
        self.warm_up_seconds * self.seconds_at(level) / self.seconds
    }

    /// The most that opening the connections may take: a model may have to fork for each of them.
    pub(super) fn opening_seconds_at(&self, level: u32) -> f64 {
        10.0 + 3e-3 * f64::from(level)
    }

    /// The size of a pool of which each worker serves one connection at a time: as many as there are connections, as far as that is allowed.
    pub(super) fn workers_at(&self, model: &str, level: u32) -> Option<u32> {
        self.pool_workers.get(model).map(|most| level.min(*most))
    }
}

/// One measurement: a server of its own, under one load.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    #[serde(flatten)]
    pub(super) key: Key,
    /// How many workers the server was told to have, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) workers: Option<u32>,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
}

/// Which measurement.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) model: String,
    pub(super) way: Way,
    /// Connections at a time.
    pub(super) level: u32,
    /// From 0.
    pub(super) round: usize,
}

/// What a connection is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Way {
    /// Requests one after the other, for as long as the load lasts.
    KeepAlive,
    /// One request: what the historic tables were made with.
    OneRequest,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Outcome {
    Measured(Box<Measured>),
    /// There is no measurement, and this is why.
    Failed(String),
}

/// What one cell has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Measured {
    pub(super) requests_per_second: f64,
    pub(super) latency_us: Latency,
    /// By kind, over the whole load.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) errors_total: u64,
    /// Connections that were open when the load ended.
    pub(super) connections_open: u64,
    /// The load had no processor time left: the throughput is the load's, not the server's.
    pub(super) client_bound: bool,
    pub(super) client_cpu_share: f64,
    /// `None` for a server at an address that is no process of this machine.
    pub(super) server: Option<ServerUse>,
    /// What the server's log said last, if it complained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) complaint: Option<String>,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
    pub(super) max: f64,
}

/// What the server used, with all its processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct ServerUse {
    /// Processor time for one request, in microseconds, in user code and in the kernel.
    pub(super) user_us: f64,
    pub(super) system_us: f64,
    /// Seconds of processor time in a second.
    pub(super) cpu_share: f64,
    /// Context switches for one request; `None` where there are too many threads to ask.
    pub(super) switches: Option<f64>,
    pub(super) processes: u64,
    pub(super) threads: u64,
    pub(super) descriptors: Option<u64>,
    /// Under load, in bytes, without what the server had before the load: its own pages (not those of files), and page tables.
    pub(super) memory: f64,
    /// All that is resident, pages of files by share, and page tables.
    pub(super) memory_total: f64,
}

impl Results {
    /// Reads the file in `folder`; `None` when there is none.
    pub(super) fn load(folder: &Path) -> Result<Option<Results>, String> {
        let path = file(folder);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        let odd = |why: String| {
            format!(
                "{} is not what this fibra writes ({why}); move it away, or say --fresh to start over",
                path.display()
            )
        };
        let results: Results = serde_json::from_str(&text).map_err(|error| odd(error.to_string()))?;
        if results.schema != SCHEMA {
            return Err(odd(format!("its schema is {}, not {SCHEMA}", results.schema)));
        }
        Ok(Some(results))
    }

    /// Writes the file, whole or not at all.
    pub(super) fn save(&mut self, folder: &Path) -> Result<(), String> {
        self.summary = self.serve.as_ref().map(super::summary::rows).unwrap_or_default();
        for figure in self.costs.iter_mut().flat_map(|costs| &mut costs.figures) {
            figure.spread = Spread::of(figure.values.iter().copied());
        }
        let text = serde_json::to_string_pretty(self).map_err(|error| format!("results.json: {error}"))?;
        write_whole(&file(folder), text.as_bytes())
    }
}

/// Where the results of a folder are.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("results.json")
}

/// Writes a file beside its place, and moves it there.
pub(super) fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let beside = path.with_extension("part");
    let written = (|| {
        let mut out = fs::File::create(&beside)?;
        out.write_all(bytes)?;
        out.sync_data()?;
        fs::rename(&beside, path)
    })();
    written.map_err(|error| format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fixture;

    #[test]
    fn what_is_written_is_read_again_to_the_last_digit() {
        let folder = tempfile::tempdir().unwrap();
        let mut results = fixture::results();
        let serve = results.serve.as_mut().unwrap();
        serve.settings.seconds = 0.1 + 0.2;
        // Digits that a parser which rounds twice reads as another number.
        serve.settings.warm_up_seconds = 0.394_459_500_777_362_86;
        results.save(folder.path()).unwrap();
        let again = Results::load(folder.path()).unwrap().unwrap();
        let (wrote, read) = (results.serve.unwrap(), again.serve.unwrap());
        assert_eq!(wrote.settings, read.settings);
        assert_eq!(wrote.cells, read.cells);
        assert!(Results::load(&folder.path().join("nowhere")).unwrap().is_none());
    }

    #[test]
    fn a_cell_is_longer_where_each_connection_would_have_few_turns() {
        let settings = fixture::results().serve.unwrap().settings;
        assert_eq!((settings.seconds_at(1_000), settings.warm_up_seconds_at(1_000)), (2.0, 0.5));
        assert_eq!((settings.seconds_at(10_000), settings.warm_up_seconds_at(10_000)), (4.0, 1.0));
    }

    #[test]
    fn a_pool_has_a_worker_for_each_connection_up_to_the_limit() {
        let pool_workers = BTreeMap::from([("prefork".to_owned(), 1_000), ("thread-pool".to_owned(), 1_500)]);
        let settings = ServeSettings { pool_workers, ..fixture::results().serve.unwrap().settings };
        let of = |model, level| settings.workers_at(model, level);
        assert_eq!(
            [of("prefork", 4), of("thread-pool", 2_000), of("thread", 4)],
            [Some(4), Some(1_500), None]
        );
        let old = ServeSettings { pool_workers: BTreeMap::new(), ..settings };
        assert_eq!(old.workers_at("prefork", 4), None);
    }
}
