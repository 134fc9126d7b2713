//! How far a run is, and how long it will still take: a bar on a terminal, plain lines elsewhere, on stderr both.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Between two plain lines.
const PACE: Duration = Duration::from_secs(5);
const TEMPLATE: &str = "{prefix:>6} {bar:24.cyan} {pos}/{len}  {elapsed} gone, {eta} left  {msg}";

/// Steps that are about equally long.
#[derive(Debug)]
pub(super) struct Progress {
    name: &'static str,
    total: usize,
    done: usize,
    began: Instant,
    told: Instant,
    /// On a terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new(name: &'static str, total: usize) -> Progress {
        let bar = io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template(TEMPLATE).expect("the template is well-formed");
            let bar = ProgressBar::new(total as u64).with_style(style).with_prefix(name);
            // A long cell is no reason to stand still.
            bar.enable_steady_tick(Duration::from_millis(500));
            bar
        });
        let now = Instant::now();
        Progress { name, total, done: 0, began: now, told: now, bar }
    }

    /// Says what is done next.
    pub(super) fn begin(&mut self, what: &str) {
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.told.elapsed() >= PACE => {
                self.told = Instant::now();
                let line = line(self.name, self.done, self.total, self.began.elapsed(), what);
                // Nobody need be there to read it.
                let _ = writeln!(io::stderr(), "{line}");
            }
            None => {}
        }
    }

    /// What was begun is done.
    pub(super) fn end(&mut self) {
        self.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn line(name: &str, done: usize, total: usize, gone: Duration, what: &str) -> String {
    let left = match done {
        0 => String::new(),
        _ => {
            let seconds = gone.as_secs_f64() / done as f64 * total.saturating_sub(done) as f64;
            format!(", about {} left", in_words(seconds))
        }
    };
    format!("{name}: {done} of {total}{left}; now {what}")
}

/// `50 s`, `12 min`, `1 h 05 min`.
pub(super) fn in_words(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match seconds {
        ..100.0 => format!("{seconds:.0} s"),
        ..3600.0 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_how_long_it_will_take_from_what_it_took_so_far() {
        let told = line("serve", 10, 40, Duration::from_secs(20), "poll at 10");
        assert_eq!(told, "serve: 10 of 40, about 60 s left; now poll at 10");
        let told = line("serve", 0, 40, Duration::ZERO, "poll at 10");
        assert_eq!(told, "serve: 0 of 40; now poll at 10");
    }

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        assert_eq!(
            [5.4, 100.0, 3_600.0, 3_900.0].map(in_words),
            ["5 s", "2 min", "1 h 00 min", "1 h 05 min"]
        );
    }
}
