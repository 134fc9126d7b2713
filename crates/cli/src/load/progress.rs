//! How far a run is, on stderr: a bar on a terminal, a line now and then elsewhere, and nothing for short runs.

use super::pace::Length;
use super::plan::{Plan, Shared};
use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the bar moves.
pub(super) const STEP: Duration = Duration::from_millis(200);
/// Shorter runs are over before anybody wonders.
const SHORT: Duration = Duration::from_secs(2);
/// Between two lines.
const LINES: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    display: Display,
    /// Of a run of a given time: how long it takes, if it takes no longer.
    expected: Option<Duration>,
    count: Option<u64>,
    connections: usize,
    keep_alive: bool,
    next_line: Duration,
    /// When answers were last counted, and how many there were.
    before: (Duration, u64),
}

enum Display {
    Nothing,
    Bar(ProgressBar),
    Lines,
}

impl Progress {
    pub(super) fn new(plan: &Plan, quiet: bool) -> Progress {
        let (expected, count) = match plan.length {
            Length::Time(time) => (Some(Duration::from_nanos(plan.ramp + plan.warm_up + time)), None),
            Length::Count(count) => (None, Some(count)),
        };
        let display = if quiet || expected.is_some_and(|expected| expected < SHORT) {
            Display::Nothing
        } else if io::stderr().is_terminal() {
            let length = expected.map_or(count.unwrap_or(0), |expected| expected.as_millis() as u64);
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
            let style = ProgressStyle::with_template("{bar:30} {percent:>3}%  {msg}");
            bar.set_style(style.expect("the template is well formed").progress_chars("━━─"));
            Display::Bar(bar)
        } else {
            Display::Lines
        };
        let (connections, keep_alive) = (plan.connections, plan.keep_alive);
        Progress {
            display,
            expected,
            count,
            connections,
            keep_alive,
            next_line: LINES,
            before: (Duration::ZERO, 0),
        }
    }

    /// Shows how far it is.
    pub(super) fn show(&mut self, shared: &Shared) {
        let elapsed = Duration::from_nanos(shared.now());
        let (answered, failed) =
            (shared.answered.load(Ordering::Relaxed), shared.failed.load(Ordering::Relaxed));
        let late = elapsed >= self.next_line;
        match &self.display {
            Display::Nothing => return,
            Display::Lines if !late => return,
            // A count may be reached before it is a long run.
            Display::Bar(_) if self.expected.is_none() && elapsed < SHORT => return,
            Display::Lines | Display::Bar(_) => {}
        }
        let time = (elapsed - self.before.0).as_secs_f64().max(1e-9);
        let per_second = (answered - self.before.1) as f64 / time;
        self.before = (elapsed, answered);
        let opening =
            (shared.start().is_none() && self.keep_alive).then(|| shared.opened.load(Ordering::Relaxed));
        let done = self.done(elapsed, answered + failed);
        let text = self.text(elapsed, done, opening, (answered, per_second, failed));
        match &self.display {
            Display::Bar(bar) => {
                if bar.is_hidden() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                let length = bar.length().unwrap_or(0);
                bar.set_position((length as f64 * done.min(1.0)) as u64);
                bar.set_message(text);
            }
            Display::Lines => {
                self.next_line = elapsed + LINES;
                // Nobody need be there to read it.
                let _ = writeln!(io::stderr(), "fibra: {:.0} s: {text}", elapsed.as_secs_f64());
            }
            Display::Nothing => {}
        }
    }

    /// The part of the run that is over, as far as it can be known; 0 if it cannot.
    fn done(&self, elapsed: Duration, requests: u64) -> f64 {
        match (self.expected, self.count) {
            (Some(expected), _) => elapsed.as_secs_f64() / expected.as_secs_f64(),
            (None, Some(count)) => requests as f64 / count as f64,
            (None, None) => 0.0,
        }
    }

    /// What is told: connections, while they are being opened, or requests answered, each second, and failed.
    fn text(
        &self,
        elapsed: Duration,
        done: f64,
        opening: Option<u64>,
        (answered, per_second, failed): (u64, f64, u64),
    ) -> String {
        let mut text = match opening {
            Some(opened) => {
                let all = HumanCount(self.connections as u64);
                format!("opening connections: {} of {all}", HumanCount(opened))
            }
            None => format!("{} answered, {}/s", HumanCount(answered), HumanCount(per_second as u64)),
        };
        if failed > 0 {
            text += &format!(", {} failed", HumanCount(failed));
        }
        if done > 0.0 && done < 1.0 {
            let left = elapsed.as_secs_f64() * (1.0 - done) / done;
            text += &format!(", {:.0} s left", left.ceil());
        }
        text
    }

    pub(super) fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sockets::Dialer;

    fn progress(length: Length) -> Progress {
        let plan = Plan {
            dialer: Dialer::new(([127, 0, 0, 1], 1).into(), 1_000, true, 1),
            connections: 1_000,
            threads: 1,
            keep_alive: true,
            rate: None,
            timeout: 1,
            ramp: 0,
            open_timeout: 1,
            warm_up: 1_000_000_000,
            length,
        };
        Progress::new(&plan, false)
    }

    #[test]
    fn the_remaining_time_is_told() {
        let ten = progress(Length::Time(9_000_000_000));
        let at = Duration::from_secs(4);
        assert_eq!(
            ten.text(at, ten.done(at, 7), None, (12_345, 3_000.4, 0)),
            "12,345 answered, 3,000/s, 6 s left"
        );
        let count = progress(Length::Count(1_000));
        let text = count.text(at, count.done(at, 500), None, (400, 50.0, 100));
        assert_eq!(text, "400 answered, 50/s, 100 failed, 4 s left");
        assert_eq!(count.text(at, 0.0, Some(20), (0, 0.0, 0)), "opening connections: 20 of 1,000");
        let late = Duration::from_secs(11);
        assert_eq!(ten.text(late, ten.done(late, 0), None, (1, 0.0, 0)), "1 answered, 0/s");
    }

    #[test]
    fn short_runs_show_nothing() {
        assert!(matches!(progress(Length::Time(900_000_000)).display, Display::Nothing));
        assert!(!matches!(progress(Length::Time(1_000_000_000)).display, Display::Nothing));
    }
}
