//! `fibra lab costs`: from a function call to a process, what each step costs.
//!
//! Every value is measured by a program of its own, started for it: nothing has been left behind by another measurement, and no process with threads is ever
//! forked. The rounds take turns: each measures everything once, so that a slow minute of the machine is everybody's.

mod creating;
mod idle;
mod ladder;
mod locks;
mod peer;
mod work;

use super::interrupt::{Interrupt, Stopped};
use super::machine::cores;
use super::program::{self, Program};
use super::progress::Progress;
use super::results::{Costs, Figure, Unit};
pub(super) use peer::Role;
use std::fmt::Display;
use std::io::{Read, Write};
use std::process::Stdio;
use std::time::{Duration, Instant};

/// How long one value may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// A quick run does this part of the work.
const QUICK_PART: u64 = 8;

/// Something that is measured.
struct Measure {
    id: &'static str,
    what: &'static str,
    unit: Unit,
    /// What was published elsewhere, in the same unit.
    published: Option<f64>,
    note: Option<&'static str>,
    /// How many operations make a value.
    count: u64,
    /// Whether all of it runs on one core; else on all that there are.
    one_core: bool,
    run: fn(count: u64) -> Result<f64, String>,
}

/// All of them, in the order in which they are shown.
fn measures() -> impl Iterator<Item = &'static Measure> {
    [ladder::MEASURES, creating::MEASURES, idle::MEASURES, work::MEASURES, locks::MEASURES]
        .into_iter()
        .flatten()
}

/// `cost ID COUNT`: measures, and prints the value.
pub(super) fn measure(id: &str, count: u64) -> Result<(), String> {
    let measure =
        measures().find(|measure| measure.id == id).ok_or_else(|| format!("no cost is called '{id}'"))?;
    let value = (measure.run)(count.max(1))?;
    writeln!(std::io::stdout(), "{value}").map_err(|error| format!("the value cannot be told: {error}"))
}

/// What is measured how often.
pub(super) struct Plan {
    quick: bool,
    rounds: usize,
    progress: Option<Progress>,
}

impl Plan {
    pub(super) fn new(quick: bool, rounds: Option<usize>) -> Plan {
        Plan { quick, rounds: rounds.unwrap_or(if quick { 3 } else { 11 }), progress: None }
    }

    /// Whether a run of this plan may go on from what there is.
    pub(super) fn goes_on_from(&self, kept: &Costs) -> bool {
        let ids =
            kept.figures.iter().filter(|figure| !is_derived(&figure.id)).map(|figure| figure.id.as_str());
        kept.quick == self.quick && kept.rounds == self.rounds && ids.eq(measures().map(|measure| measure.id))
    }

    pub(super) fn empty(&self) -> Costs {
        let figures = measures().map(|measure| Figure {
            id: measure.id.to_owned(),
            what: measure.what.to_owned(),
            unit: measure.unit,
            values: Vec::new(),
            tried: 0,
            spread: None,
            published: measure.published,
            note: measure.note.map(str::to_owned),
        });
        Costs { quick: self.quick, rounds: self.rounds, figures: figures.collect() }
    }

    /// Measures everything once more; whether there is another round to come.
    pub(super) fn next_round(&mut self, costs: &mut Costs, interrupt: &Interrupt) -> Result<bool, Stopped> {
        costs.figures.retain(|figure| !is_derived(&figure.id));
        // A round that was cut off has been tried with some of them.
        let round = costs.figures.iter().map(|figure| figure.tried).min().unwrap_or(self.rounds);
        for (figure, measure) in costs.figures.iter_mut().zip(measures()) {
            if figure.tried > round || round >= self.rounds {
                continue;
            }
            let left = (self.rounds - round) * measures().count();
            let progress = self.progress.get_or_insert_with(|| Progress::new("costs", left));
            progress.begin(&format!("round {} of {}: {}", round + 1, self.rounds, measure.what));
            match value(measure, self.quick, interrupt) {
                Ok(value) => figure.values.push(value),
                Err(Stopped::Failed(why)) => figure.note = Some(format!("not measured: {why}")),
                Err(Stopped::Interrupted) => return Err(Stopped::Interrupted),
            }
            figure.tried += 1;
            progress.end();
        }
        costs.figures.extend(work::speed_ups(&costs.figures));
        Ok(round + 1 < self.rounds)
    }
}

/// Has a program measure a value.
fn value(measure: &Measure, quick: bool, interrupt: &Interrupt) -> Result<f64, Stopped> {
    let count = if quick { measure.count / QUICK_PART } else { measure.count };
    let cores = cores();
    let mut command = program::on_cores(if measure.one_core { &cores[..1] } else { &cores })?;
    command.arg(program::this()?).args(["lab-part", "cost", measure.id, &count.max(1).to_string()]);
    // The measurement is of fibra's defaults.
    for variable in ["FIBRA_WORKERS", "FIBRA_STACK_SIZE", "FIBRA_DRIVER", "FIBRA_URING", "FIBRA_GUARD"] {
        command.env_remove(variable);
    }
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program::start(command, measure.id)?;
    let ended = interrupt.wait_for(Instant::now() + PATIENCE, || Ok(program.ended()?))?;
    let (Some(out), Some(errors)) = (program.child.stdout.as_mut(), program.child.stderr.as_mut()) else {
        return Err(Stopped::Failed("its output is not there".to_owned()));
    };
    let Some(how) = ended else {
        return Err(Stopped::Failed(format!("it had no value after {} s", PATIENCE.as_secs())));
    };
    // A line each at most: both fit into the pipes, and nobody holds them open any more.
    let (mut told, mut complaint) = (String::new(), String::new());
    out.read_to_string(&mut told).and_then(|_| errors.read_to_string(&mut complaint)).map_err(in_words)?;
    match told.trim().parse() {
        Ok(value) => Ok(value),
        Err(_) => Err(Stopped::Failed(format!("{how}: {}", complaint.trim()))),
    }
}

/// Figures that are worked out from others.
fn is_derived(id: &str) -> bool {
    id.starts_with("speed-up.")
}

/// Nanoseconds for each of `count` operations that `f` makes.
fn per_operation(count: u64, f: impl FnOnce() -> Result<(), String>) -> Result<f64, String> {
    let began = Instant::now();
    f()?;
    Ok(began.elapsed().as_nanos() as f64 / count as f64)
}

/// Runs `f` as a coroutine, with so many workers.
fn with_workers<T>(workers: usize, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    fibra::Runtime::builder().workers(workers).run(f).map_err(in_words)?
}

fn in_words(error: impl Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_measure_has_a_name_of_its_own_and_gives_a_value() {
        let mut names = HashSet::new();
        for measure in measures() {
            assert!(names.insert(measure.id), "{} is there twice", measure.id);
            assert!(measure.id.contains('.') && measure.count >= QUICK_PART, "{}", measure.id);
        }
    }

    #[test]
    fn a_run_goes_on_only_from_one_of_the_same_plan() {
        let plan = Plan::new(true, None);
        let kept = plan.empty();
        assert!(plan.goes_on_from(&kept));
        assert!(!Plan::new(false, None).goes_on_from(&kept));
        assert!(!Plan::new(true, Some(4)).goes_on_from(&kept));
        let mut other = kept;
        other.figures.pop();
        assert!(!plan.goes_on_from(&other));
    }
}
