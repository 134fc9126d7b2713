//! A listing as text.

use super::{Entry, Kind, Listing, State};
use std::fmt::{self, Display};

/// The columns, and whether they are numbers, which stand at the right.
const COLUMNS: [(&str, bool); 9] = [
    ("id", true),
    ("kind", false),
    ("name", false),
    ("runtime", true),
    ("worker", true),
    ("daemon", false),
    ("state", false),
    ("waits for", false),
    ("for", true),
];

type Row = [String; COLUMNS.len()];

impl Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Row> = self.iter().map(|entry| self.row(entry)).collect();
        let mut widths = COLUMNS.map(|(title, _)| title.len());
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        write_line(f, &COLUMNS.map(|(title, _)| title.to_owned()), &widths)?;
        rows.iter().try_for_each(|row| {
            f.write_str("\n")?;
            write_line(f, row, &widths)
        })
    }
}

impl Listing {
    fn row(&self, entry: &Entry) -> Row {
        let (state, waits_for, since) = match entry.state {
            State::Ready => ("ready", String::new(), String::new()),
            State::Running => ("running", String::new(), String::new()),
            State::Idle => ("idle", String::new(), String::new()),
            State::Parked { waits_for, object, since } => {
                let what = match object {
                    Some(object) => format!("{waits_for:?} {object}"),
                    None => format!("{waits_for:?}"),
                };
                let waited = self.taken.saturating_duration_since(since);
                ("parked", what, format!("{:.3} s", waited.as_secs_f64()))
            }
        };
        [
            entry.id.to_string(),
            entry.kind.to_string(),
            // A name must not look like a line of the table.
            entry.name.as_deref().unwrap_or_default().replace(|letter: char| letter.is_control(), "?"),
            text(entry.runtime),
            text(entry.worker),
            (if entry.daemon { "daemon" } else { "" }).to_owned(),
            state.to_owned(),
            waits_for,
            since,
        ]
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Coroutine => "coroutine",
            Kind::Thread => "thread",
            Kind::Worker => "worker",
            Kind::Job => "job",
        })
    }
}

fn text(number: Option<impl Display>) -> String {
    number.map_or_else(String::new, |number| number.to_string())
}

fn write_line(f: &mut fmt::Formatter<'_>, cells: &Row, widths: &[usize; COLUMNS.len()]) -> fmt::Result {
    let cells = cells.iter().zip(widths).zip(COLUMNS).map(|((cell, &width), (_, number))| {
        if number { format!("{cell:>width$}") } else { format!("{cell:width$}") }
    });
    let line = cells.collect::<Vec<_>>().join("  ");
    f.write_str(line.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::{Object, WaitsFor};
    use std::time::{Duration, Instant};

    #[test]
    fn columns_are_aligned_and_a_name_stays_in_its_line() {
        let taken = Instant::now();
        let since = taken.checked_sub(Duration::from_millis(1500)).unwrap();
        let parked = |waits_for, object| State::Parked { waits_for, object, since };
        let entry = |id, kind, name: Option<&str>, worker: Option<usize>, daemon, state| Entry {
            id,
            kind,
            name: name.map(Box::from),
            runtime: worker.map(|_| 3),
            worker,
            daemon,
            state,
        };
        let entries = vec![
            entry(7, Kind::Worker, Some("fibra-0"), Some(0), false, State::Idle),
            entry(
                1025,
                Kind::Coroutine,
                None,
                Some(12),
                true,
                parked(WaitsFor::Join, Some(Object::Context(7))),
            ),
            entry(1026, Kind::Thread, Some("two\nlines, ünicode"), None, false, parked(WaitsFor::Time, None)),
            entry(1027, Kind::Job, Some("job"), None, false, State::Running),
        ];
        let text = Listing { entries, taken }.to_string();
        let expected = "
  id  kind       name                runtime  worker  daemon  state    waits for      for
   7  worker     fibra-0                   3       0          idle
1025  coroutine                            3      12  daemon  parked   Join of 7  1.500 s
1026  thread     two?lines, ünicode                           parked   Time       1.500 s
1027  job        job                                          running";
        assert_eq!(format!("\n{text}"), expected);
    }
}
