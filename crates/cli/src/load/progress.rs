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
        let per_second = ((answered - self.before.1) as f64 / time) as u64;
        self.before = (elapsed, answered);
        let mut text = if shared.start().is_none() && self.keep_alive {
            let opened = HumanCount(shared.opened.load(Ordering::Relaxed));
            format!("opening connections: {opened} of {}", HumanCount(self.connections as u64))
        } else {
            format!("{} answered, {}/s", HumanCount(answered), HumanCount(per_second))
        };
        if failed > 0 {
            text += &format!(", {} failed", HumanCount(failed));
        }
        let done = match (self.expected, self.count) {
            (Some(expected), _) => elapsed.as_secs_f64() / expected.as_secs_f64(),
            (None, Some(count)) => (answered + failed) as f64 / count as f64,
            (None, None) => 0.0,
        };
        if done > 0.0 && done < 1.0 {
            let left = elapsed.as_secs_f64() * (1.0 - done) / done;
            text += &format!(", {:.0} s left", left.ceil());
        }
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

    pub(super) fn finish(&self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}
