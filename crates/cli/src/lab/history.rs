//! Tables of 2014, and whether their shape holds today.
//!
//! Requests per second by connections at a time, from a talk at PyCon China 2014. What a fork did there with one client, 384 a second, suggests that each request had a
//! connection of its own: so today's figures beside them are those of [`Way::OneRequest`]. The machines are others; what can be compared is the shape.

use super::report::words::{rate, ratio};
use super::results::Way;
use super::summary::Row;
use crate::doctor::report::grouped;

/// The levels that the tables have.
pub(super) const LEVELS: [u32; 9] = [1, 2, 3, 4, 10, 50, 100, 200, 500];

/// One table.
pub(super) struct Table {
    /// The model's name today.
    pub(super) model: &'static str,
    pub(super) what: &'static str,
    /// Level, requests per second.
    pub(super) rates: &'static [(u32, f64)],
    /// The level at which errors came up.
    pub(super) errors_at: Option<u32>,
}

pub(super) const TABLES: [Table; 3] = [
    Table {
        model: "thread",
        what: "threads on a virtual machine, 2014",
        rates: &[
            (1, 909.0),
            (2, 3_778.0),
            (3, 4_815.0),
            (4, 5_000.0),
            (10, 4_998.0),
            (50, 4_882.0),
            (100, 4_603.0),
            (200, 3_445.0),
            (500, 1_778.0),
        ],
        errors_at: Some(500),
    },
    Table {
        model: "process",
        what: "fork on a virtual machine, 2014",
        rates: &[(1, 384.0), (2, 436.0), (3, 435.0), (4, 438.0), (10, 383.0), (50, 364.0), (100, 321.0)],
        errors_at: Some(100),
    },
    Table {
        model: "thread",
        what: "threads on bare metal, 2014",
        rates: &[
            (1, 6_943.0),
            (2, 6_891.0),
            (3, 6_584.0),
            (4, 6_517.0),
            (10, 6_179.0),
            (50, 4_927.0),
            (100, 2_378.0),
        ],
        errors_at: None,
    },
];

/// Something that the tables show, and what today's figures say to it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Claim {
    pub(super) then: String,
    pub(super) today: String,
    /// `None` if this run has no figures for it.
    pub(super) holds: Option<bool>,
}

/// The claims, held against today's rows.
pub(super) fn claims(rows: &[Row]) -> Vec<Claim> {
    let mut claims: Vec<Claim> = TABLES.iter().map(|table| decline(table, rows)).collect();
    claims.push(forking(rows));
    claims.extend(TABLES.iter().filter_map(|table| errors(table, rows)));
    claims
}

fn today<'a>(rows: &'a [Row], model: &'a str) -> impl Iterator<Item = (&'a Row, f64)> + Clone {
    let of_it = rows.iter().filter(move |row| row.way == Way::OneRequest && row.model == model);
    of_it.filter_map(|row| Some((row, row.requests_per_second()?)))
}

/// The peak, and the highest of all levels.
fn ends<T: Copy>(points: impl Iterator<Item = (T, f64)> + Clone) -> Option<((T, f64), (T, f64))> {
    let peak = points.clone().max_by(|one, other| one.1.total_cmp(&other.1))?;
    Some((peak, points.last()?))
}

fn nothing(then: String, why: String) -> Claim {
    Claim { then, today: why, holds: None }
}

fn decline(table: &Table, rows: &[Row]) -> Claim {
    let ((peak, best), (top, worst)) = ends(table.rates.iter().copied()).expect("a table has entries");
    let then = format!(
        "{}: from {} requests/s with {peak} at a time down to {} with {top}: {} of the peak.",
        capital(table.what),
        grouped(best as u64),
        grouped(worst as u64),
        share(worst / best),
    );
    let levels = today(rows, table.model).filter(|(row, _)| row.level <= top);
    match ends(levels.clone().map(|(row, rate)| (row.level, rate))) {
        Some(((peak, best), (top, last))) if levels.clone().count() >= 3 && top > peak => {
            let part = last / best;
            let today = format!(
                "{}: {} requests/s with {peak} at a time, {} with {top}: {} of the peak.",
                capital(table.model),
                rate(best),
                rate(last),
                share(part)
            );
            Claim { then, today, holds: Some(part <= 0.8) }
        }
        Some(((peak, best), (top, _))) if levels.count() >= 3 && peak == top => {
            let today =
                format!("{}: most with {top} at a time, {} requests/s.", capital(table.model), rate(best));
            Claim { then, today, holds: Some(false) }
        }
        _ => nothing(
            then,
            format!("This run has too few levels of '{}' with a request a connection.", table.model),
        ),
    }
}

fn forking(rows: &[Row]) -> Claim {
    let then = format!(
        "A thread for each connection served {} times what a fork for each served, with 10 at a time on the same virtual machine ({} and {} requests/s).",
        ratio(4_998.0 / 383.0),
        grouped(4_998),
        grouped(383)
    );
    let pair = today(rows, "thread").find_map(|(row, threads)| {
        let forks = today(rows, "process").find(|(other, _)| other.level == row.level && row.level >= 10)?;
        Some((row.level, threads, forks.1))
    });
    match pair {
        Some((level, threads, forks)) => {
            let times = threads / forks;
            let today = format!(
                "{} times with {level} at a time ({} and {} requests/s).",
                ratio(times),
                rate(threads),
                rate(forks)
            );
            Claim { then, today, holds: Some(times >= 2.0) }
        }
        None => nothing(then, "This run has not measured both.".to_owned()),
    }
}

fn errors(table: &Table, rows: &[Row]) -> Option<Claim> {
    let level = table.errors_at?;
    let then = format!("{}: errors with {level} at a time.", capital(table.what));
    let row =
        rows.iter().find(|row| row.way == Way::OneRequest && row.model == table.model && row.level == level);
    Some(match row {
        Some(row) if row.is_held() => {
            Claim { then, today: format!("'{}' has none with {level}.", table.model), holds: Some(false) }
        }
        Some(row) => {
            let why = row.reason.as_deref().unwrap_or("errors");
            Claim { then, today: format!("'{}' with {level}: {why}.", table.model), holds: Some(true) }
        }
        None => nothing(then, format!("This run has not measured '{}' there.", table.model)),
    })
}

fn share(part: f64) -> String {
    format!("{:.0}%", part * 100.0)
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fixture;
    use crate::lab::summary::rows;

    #[test]
    fn the_shape_is_judged_by_the_figures_of_the_run() {
        let results = fixture::results();
        let claims = claims(&rows(results.serve.as_ref().unwrap()));
        assert_eq!(claims.len(), 6);
        let fork = claims.iter().find(|claim| claim.then.contains("a fork for each")).unwrap();
        assert_eq!(fork.holds, Some(true), "{fork:?}");
        assert!(claims.iter().all(|claim| claim.holds.is_some()), "{claims:#?}");
    }

    #[test]
    fn without_figures_nothing_is_claimed() {
        assert!(claims(&[]).iter().all(|claim| claim.holds.is_none() && claim.today.contains("This run")));
    }
}
