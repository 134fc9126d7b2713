//! The tables for the terminal.

use super::words::{compact, digits, microseconds};
use crate::doctor::report::grouped;
use crate::lab::advice::advice;
use crate::lab::history;
use crate::lab::results::{Costs, Results, Unit, Way};
use crate::lab::statistics::Spread;
use crate::lab::summary::{self, Row, State};
use std::fmt::Write as _;

/// Where the width is not known.
pub(in crate::lab) const WIDTH: usize = 100;
const NAMES: usize = 16;
const COLUMN: usize = 8;

/// How wide stdout's terminal is.
pub(in crate::lab) fn width() -> usize {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    size.map_or(WIDTH, |size| usize::from(size.ws_col).clamp(40, 200))
}

/// A figure of a row, and how it is written.
type Column = (fn(&Row) -> Option<f64>, fn(f64) -> String);

/// What the run has found, in lines of at most `width` letters, names and reasons aside.
pub(in crate::lab) fn text(results: &Results, width: usize) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "\nfibra lab {}: {}", results.fibra, results.machine.describe());
    if let Some(found) = &results.costs {
        costs(&mut out, found);
    }
    let rows = results.serve.as_ref().map(summary::rows).unwrap_or_default();
    if !rows.is_empty() {
        let rate: Column = (Row::requests_per_second, compact);
        let p99: Column = (
            |row| Some(row.figures?.p99_us).filter(|value| *value > 0.0),
            |value| microseconds(value).replace(' ', ""),
        );
        let cpu: Column = (Row::cpu_us, digits);
        let memory: Column = (|row| Some(row.figures?.server?.memory_per_connection / 1024.0), digits);
        let kept = Way::KeepAlive;
        block(
            &mut out,
            "Requests per second, by connections at a time (* with errors)",
            &rows,
            kept,
            rate,
            width,
        );
        block(&mut out, "p99 latency", &rows, kept, p99, width);
        block(&mut out, "Processor time of the server for a request, µs", &rows, kept, cpu, width);
        block(&mut out, "Memory of the server for a connection, KiB", &rows, kept, memory, width);
        let pools: Vec<Row> = rows.iter().filter(|row| row.workers.is_some()).cloned().collect();
        let workers: Column = (|row| row.workers.map(f64::from), |count| grouped(count as u64));
        block(
            &mut out,
            "Workers of the pools, each of which serves one connection at a time",
            &pools,
            kept,
            workers,
            width,
        );
        block(&mut out, "Requests per second, a connection for each", &rows, Way::OneRequest, rate, width);
        not_held(&mut out, &rows, width);
        let claims = history::claims(&rows).into_iter().filter_map(|claim| Some((claim.holds?, claim)));
        let claims: Vec<_> = claims.collect();
        if !claims.is_empty() {
            let _ = writeln!(out, "\nThe tables of 2014, today");
            for (holds, claim) in claims {
                let verdict = if holds { "holds:" } else { "no:" };
                paragraph(&mut out, &claim.then, width);
                paragraph(&mut out, &format!("→ {verdict} {}", claim.today), width);
            }
        }
    }
    let advice = advice(results, &rows);
    if !advice.is_empty() {
        let _ = writeln!(out, "\nWhich model for which load");
        for one in advice {
            paragraph(&mut out, &format!("{}. {}", one.about, one.text), width);
        }
    }
    out
}

fn costs(out: &mut String, costs: &Costs) {
    let _ = writeln!(out, "\nCosts, {} rounds: median, quartiles, published elsewhere", costs.rounds);
    for figure in &costs.figures {
        let unit = match figure.unit {
            Unit::Nanoseconds => "ns",
            Unit::Bytes => "bytes",
            Unit::Milliseconds => "ms",
            Unit::Ratio => "×",
        };
        let (what, _) = figure.what.split_once(", against").unwrap_or((&figure.what, ""));
        let what = if figure.unit == Unit::Ratio { format!("speed-up of {what}") } else { what.to_owned() };
        let Some(spread) = Spread::of(figure.values.iter().copied()) else {
            let _ = writeln!(out, "  {what:<44} {}", figure.note.as_deref().unwrap_or("not measured"));
            continue;
        };
        let range = format!("[{} – {}]", digits(spread.low), digits(spread.high));
        let published =
            figure.published.map(|value| format!("  published: {}", digits(value))).unwrap_or_default();
        let line = format!("  {what:<44} {:>9} {unit:<5} {range:<20}{published}", digits(spread.median));
        let _ = writeln!(out, "{}", line.trim_end());
    }
}

/// Models by levels, in as many pieces as the width asks for.
fn block(out: &mut String, title: &str, rows: &[Row], way: Way, column: Column, width: usize) {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.way == way).collect();
    let mut levels: Vec<u32> = rows.iter().map(|row| row.level).collect();
    levels.sort_unstable();
    levels.dedup();
    if levels.is_empty() {
        return;
    }
    let mut models: Vec<&str> = rows.iter().map(|row| row.model.as_str()).collect();
    models.dedup();
    let names = models.iter().map(|name| name.chars().count() + 3).max().unwrap_or(0).max(NAMES);
    let columns = (width.saturating_sub(names) / COLUMN).max(1);
    let pieces = levels.len().div_ceil(columns);
    for piece in levels.chunks(levels.len().div_ceil(pieces)) {
        let _ = write!(out, "\n{title}\n{:names$}", "");
        for level in piece {
            let _ = write!(out, "{level:>COLUMN$}");
        }
        for model in &models {
            let _ = write!(out, "\n  {model:<width$}", width = names - 2);
            for level in piece {
                let row = rows.iter().find(|row| row.model == *model && row.level == *level);
                let _ = write!(out, "{:>COLUMN$}", row.map(|row| cell(row, column)).unwrap_or_default());
            }
        }
        out.push('\n');
    }
}

fn cell(row: &Row, (of, write): Column) -> String {
    match (of(row), row.state) {
        (Some(value), State::Partly) => format!("{}*", write(value)),
        (Some(value), _) => write(value),
        (None, State::Failed) => "failed".to_owned(),
        (None, _) => "–".to_owned(),
    }
}

fn not_held(out: &mut String, rows: &[Row], width: usize) {
    let mut said: Vec<(&Row, Vec<String>)> = Vec::new();
    for row in rows.iter().filter(|row| !row.is_held()) {
        let is_alike =
            |other: &Row| (&other.model, other.way, other.state) == (&row.model, row.way, row.state);
        match said.iter_mut().find(|(first, _)| is_alike(first)) {
            Some((_, levels)) => levels.push(grouped(row.level.into())),
            None => said.push((row, vec![grouped(row.level.into())])),
        }
    }
    if !said.is_empty() {
        let _ = writeln!(out, "\nNot held");
    }
    for (row, levels) in said {
        let way = if row.way == Way::OneRequest { ", a connection for each request" } else { "" };
        let what = if row.state == State::Failed { "failed" } else { "with errors" };
        let first = if levels.len() > 1 { format!(" (with {})", levels[0]) } else { String::new() };
        let why = row.reason.as_deref().unwrap_or("unknown");
        paragraph(
            out,
            &format!("{}{way}: {what} with {}: {why}{first}", row.model, levels.join(", ")),
            width,
        );
    }
}

/// Breaks text between words; what follows the first line is set in.
fn paragraph(out: &mut String, text: &str, width: usize) {
    let mut line = String::from(" ");
    for word in text.split_whitespace() {
        if line.chars().count() + 1 + word.chars().count() > width {
            let _ = writeln!(out, "{line}");
            line = String::from("   ");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(out, "{line}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fixture;

    #[test]
    fn lines_keep_to_the_width_that_there_is() {
        for width in [80, 120] {
            let text = text(&fixture::results(), width);
            let wide: Vec<&str> = text.lines().skip(2).filter(|line| line.chars().count() > width).collect();
            // Costs have their own columns.
            assert!(wide.iter().all(|line| line.contains('[')), "{wide:#?}");
        }
    }

    #[test]
    fn every_model_has_its_line_and_every_failure_its_reason() {
        let results = fixture::results();
        let text = text(&results, 100);
        for model in &results.serve.as_ref().unwrap().settings.models {
            assert!(text.lines().any(|line| line.trim_start().starts_with(model.as_str())), "{model}");
        }
        assert!(
            text.contains("select: failed with 2,000, 5,000, 10,000: select takes descriptors"),
            "{text}"
        );
        assert!(text.contains("published: 50"), "{text}");
    }
}
