//! The rounds of each (model, way, level) drawn together: what tables, charts and sentences are made of.

use super::results::{Cell, Measured, Outcome, Serve, ServerUse, Way};
use super::statistics::Spread;
use crate::doctor::report::grouped;
use serde::Serialize;

/// One place of the table.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) model: String,
    pub(super) way: Way,
    pub(super) level: u32,
    /// How many workers the server was told to have, if it was.
    pub(super) workers: Option<u32>,
    /// Rounds that were measured.
    pub(super) rounds: usize,
    pub(super) state: State,
    /// Why it is not [`State::Held`].
    pub(super) reason: Option<String>,
    /// The figures, if there was a measurement.
    #[serde(flatten)]
    pub(super) figures: Option<Figures>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// Every connection was served, without an error.
    Held,
    /// There are figures, and errors or connections that were not served.
    Partly,
    /// There are no figures.
    Failed,
}

/// Medians of the rounds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figures {
    pub(super) requests_per_second: Spread,
    pub(super) p50_us: f64,
    pub(super) p90_us: f64,
    pub(super) p99_us: f64,
    pub(super) p999_us: f64,
    pub(super) max_us: f64,
    pub(super) errors: f64,
    /// In most rounds the load had no processor time left.
    pub(super) client_bound: bool,
    #[serde(flatten)]
    pub(super) server: Option<ServerFigures>,
}

/// What the server used, where that can be known.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct ServerFigures {
    /// Processor time for one request, in microseconds.
    pub(super) cpu_us: Spread,
    pub(super) user_us: f64,
    pub(super) system_us: f64,
    pub(super) cpu_share: f64,
    pub(super) switches: Option<f64>,
    pub(super) memory_per_connection: f64,
    pub(super) memory_total: f64,
    pub(super) processes: f64,
    pub(super) threads: f64,
    pub(super) descriptors: Option<f64>,
}

impl Row {
    /// Processor time for one request, in microseconds.
    pub(super) fn cpu_us(&self) -> Option<f64> {
        Some(self.figures?.server?.cpu_us.median)
    }

    pub(super) fn requests_per_second(&self) -> Option<f64> {
        Some(self.figures?.requests_per_second.median)
    }

    pub(super) fn is_held(&self) -> bool {
        self.state == State::Held
    }
}

/// A row for each place that has a cell: by model in the order of the settings, then way and level.
pub(super) fn rows(serve: &Serve) -> Vec<Row> {
    let mut rows = Vec::new();
    for model in &serve.settings.models {
        for way in [Way::KeepAlive, Way::OneRequest] {
            for &level in &serve.settings.levels {
                let of_place = |cell: &&Cell| {
                    let key = &cell.key;
                    key.model == *model && key.way == way && key.level == level
                };
                let cells: Vec<&Cell> = serve.cells.iter().filter(of_place).collect();
                if !cells.is_empty() {
                    rows.push(row(model, way, level, &cells));
                }
            }
        }
    }
    rows
}

fn row(model: &str, way: Way, level: u32, cells: &[&Cell]) -> Row {
    let mut measured: Vec<&Measured> = Vec::new();
    let mut failures: Vec<&str> = Vec::new();
    for cell in cells {
        match &cell.outcome {
            Outcome::Measured(figures) => measured.push(figures),
            Outcome::Failed(why) => failures.push(why),
        }
    }
    let shortfall = measured.iter().find_map(|figures| shortfall(figures, way, level));
    // One round that failed is told beside the figures of the others.
    let reason = failures.first().map(|&why| why.to_owned()).or(shortfall);
    let figures = figures(&measured, level);
    let state = match (&figures, &reason) {
        (None, _) => State::Failed,
        (Some(_), Some(_)) => State::Partly,
        (Some(_), None) => State::Held,
    };
    let workers = cells.first().and_then(|cell| cell.workers);
    Row { model: model.to_owned(), way, level, workers, rounds: measured.len(), state, reason, figures }
}

/// What keeps a measurement from being one of a level that is held.
fn shortfall(measured: &Measured, way: Way, level: u32) -> Option<String> {
    let mut parts = Vec::new();
    if measured.errors_total > 0 {
        let kinds = measured.errors.iter().filter(|(_, count)| **count > 0);
        let kinds: Vec<_> = kinds.map(|(kind, count)| format!("{kind} {}", grouped(*count))).collect();
        parts.push(format!("errors: {}", kinds.join(", ")));
    }
    if way == Way::KeepAlive && measured.connections_open < u64::from(level) {
        parts.push(format!(
            "{} of {} connections open at the end",
            grouped(measured.connections_open),
            grouped(level.into())
        ));
    }
    if measured.requests_per_second <= 0.0 {
        parts.push("no request was answered".to_owned());
    }
    if parts.is_empty() {
        return None;
    }
    parts.extend(measured.complaint.as_ref().map(|line| format!("the server says: {line}")));
    Some(parts.join("; "))
}

fn figures(measured: &[&Measured], level: u32) -> Option<Figures> {
    let all = |of: fn(&Measured) -> f64| Spread::of(measured.iter().map(|one| of(one)));
    let middle = |of: fn(&Measured) -> f64| all(of).map(|spread| spread.median);
    let bound = measured.iter().filter(|one| one.client_bound).count();
    Some(Figures {
        requests_per_second: all(|one| one.requests_per_second)?,
        p50_us: middle(|one| one.latency_us.p50)?,
        p90_us: middle(|one| one.latency_us.p90)?,
        p99_us: middle(|one| one.latency_us.p99)?,
        p999_us: middle(|one| one.latency_us.p999)?,
        max_us: middle(|one| one.latency_us.max)?,
        errors: middle(|one| one.errors_total as f64)?,
        client_bound: bound * 2 > measured.len(),
        server: server(measured, level),
    })
}

fn server(measured: &[&Measured], level: u32) -> Option<ServerFigures> {
    let uses: Vec<ServerUse> = measured.iter().filter_map(|one| one.server).collect();
    let all = |of: fn(&ServerUse) -> f64| Spread::of(uses.iter().map(of));
    let middle = |of: fn(&ServerUse) -> f64| all(of).map(|spread| spread.median);
    let optional = |of: fn(&ServerUse) -> Option<f64>| {
        Spread::of(uses.iter().filter_map(of)).map(|spread| spread.median)
    };
    Some(ServerFigures {
        cpu_us: all(|one| one.user_us + one.system_us)?,
        user_us: middle(|one| one.user_us)?,
        system_us: middle(|one| one.system_us)?,
        cpu_share: middle(|one| one.cpu_share)?,
        switches: optional(|one| one.switches),
        memory_per_connection: middle(|one| one.memory)? / f64::from(level),
        memory_total: middle(|one| one.memory_total)?,
        processes: middle(|one| one.processes as f64)?,
        threads: middle(|one| one.threads as f64)?,
        descriptors: optional(|one| one.descriptors.map(|count| count as f64)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::results::{Key, Latency};

    fn measured(requests_per_second: f64, connections_open: u64) -> Measured {
        Measured {
            requests_per_second,
            latency_us: Latency::default(),
            errors: Default::default(),
            errors_total: 0,
            connections_open,
            client_bound: false,
            client_cpu_share: 0.5,
            server: None,
            complaint: None,
        }
    }

    fn row_of(outcomes: Vec<Outcome>) -> Row {
        let cell = |(round, outcome)| {
            let key = Key { model: "poll".into(), way: Way::KeepAlive, level: 10, round };
            Cell { key, workers: Some(10), outcome }
        };
        let cells: Vec<Cell> = outcomes.into_iter().enumerate().map(cell).collect();
        row("poll", Way::KeepAlive, 10, &cells.iter().collect::<Vec<_>>())
    }

    #[test]
    fn the_rounds_of_a_place_become_a_median() {
        let rounds = [300.0, 100.0, 200.0].map(|rate| Outcome::Measured(Box::new(measured(rate, 10))));
        let row = row_of(rounds.into());
        assert_eq!((row.state, row.rounds, row.requests_per_second()), (State::Held, 3, Some(200.0)));
        assert_eq!((row.reason, row.workers), (None, Some(10)));
    }

    #[test]
    fn a_place_without_a_measurement_says_why() {
        let row = row_of(vec![Outcome::Failed("select takes at most 1,024".into())]);
        assert_eq!((row.state, row.requests_per_second()), (State::Failed, None));
        assert_eq!(row.reason.as_deref(), Some("select takes at most 1,024"));
    }

    #[test]
    fn errors_and_connections_that_are_not_served_are_told_beside_the_figures() {
        let mut with_errors = measured(100.0, 7);
        with_errors.errors = [("reset".to_owned(), 3)].into();
        with_errors.errors_total = 3;
        with_errors.complaint = Some("too many open files".into());
        let row = row_of(vec![Outcome::Measured(Box::new(with_errors))]);
        assert_eq!(row.state, State::Partly);
        let reason = row.reason.unwrap();
        for part in ["reset 3", "7 of 10 connections", "too many open files"] {
            assert!(reason.contains(part), "{reason}");
        }
    }

    #[test]
    fn a_round_that_failed_is_not_hidden_by_those_that_did_not() {
        let row = row_of(vec![
            Outcome::Measured(Box::new(measured(100.0, 10))),
            Outcome::Failed("the server ended".into()),
        ]);
        assert_eq!((row.state, row.rounds), (State::Partly, 1));
        assert_eq!(row.reason.as_deref(), Some("the server ended"));
    }
}
