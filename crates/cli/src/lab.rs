//! `fibra lab`: what each way of serving costs, on this machine.
//!
//! ```text
//!  costs ─┐   each measurement in a program of its own,          results.json ──▶ summary ──▶ terminal table
//!         ├─▶ in rounds that take turns                      ──▶  (whole after        │
//!  serve ─┘   (model × level: a server and a load, own cores)      each cell)         └─────▶ report.html
//! ```
//!
//! [`costs`] climbs the ladder from a function call to a process; [`serve`] puts every service model under load; both fill [`results`], of which the
//! [`report`] is made. What a run has finished is never measured again by the next one in the same folder: it goes on. Nothing here forks: whatever is to be
//! measured in a process of its own is [this program started again](program), with a hidden subcommand ([`part`]).

mod advice;
mod costs;
#[cfg(test)]
mod fixture;
mod history;
mod interrupt;
mod machine;
mod part;
mod program;
mod progress;
mod report;
mod results;
mod serve;
mod statistics;
mod summary;

use clap::{Args, Subcommand};
use interrupt::{Interrupt, Stopped};
use machine::Machine;
pub(crate) use part::LabPart;
use results::{Costs, Results, SCHEMA, Serve, ServeSettings};
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Measure what each way of serving costs on this machine, and write a report
///
/// Without a subcommand: the costs, then every model under load. Results are kept after each measurement; a run that is cut off goes on where it was.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true, subcommand_precedence_over_arg = true)]
pub(crate) struct Lab {
    #[command(subcommand)]
    what: Option<What>,

    #[command(flatten)]
    run: Run,

    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Subcommand, Debug)]
enum What {
    /// The cost ladder: calls, switches, creating, idling, computing in parallel, locking
    Costs(Run),
    /// The service models under load, at rising concurrency
    Serve(ServeRun),
    /// Write report.html and the table again, from results.json
    Report {
        #[command(flatten)]
        out: Out,
    },
}

#[derive(Args, Debug)]
struct ServeRun {
    #[command(flatten)]
    run: Run,

    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Args, Debug, Clone)]
struct Out {
    /// The folder of results.json and report.html
    #[arg(long, value_name = "DIR", default_value = "fibra-lab")]
    out: PathBuf,
}

#[derive(Args, Debug, Clone)]
struct Run {
    /// Short: every model at two levels, one round; in about a minute
    #[arg(long)]
    quick: bool,

    /// How often everything is measured, in turns [default: 11 for costs, 3 for serve; 3 and 1 when quick]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    rounds: Option<u16>,

    /// Start over: what the folder has of this is thrown away
    #[arg(long)]
    fresh: bool,

    #[command(flatten)]
    out: Out,
}

impl Lab {
    pub(crate) fn run(self) -> Result<(), String> {
        match self.what {
            Some(What::Costs(run)) => Session::open(&run, Some(run.costs()), None)?.carry_out(),
            Some(What::Serve(ServeRun { run, serve })) => {
                Session::open(&run, None, Some(serve.settings(&run)?))?.carry_out()
            }
            Some(What::Report { out }) => {
                let results = Results::load(&out.out)?;
                let mut results = results.ok_or_else(|| {
                    format!("{} has no results.json: measure first, with 'fibra lab'", out.out.display())
                })?;
                results.save(&out.out)?;
                finish(&results, &out.out)
            }
            None => {
                let (run, settings) = (&self.run, self.serve.settings(&self.run)?);
                Session::open(run, Some(run.costs()), Some(settings))?.carry_out()
            }
        }
    }
}

impl Run {
    fn costs(&self) -> costs::Plan {
        costs::Plan::new(self.quick, self.rounds.map(usize::from))
    }
}

/// A run: what is asked of it, and where its results are kept.
struct Session<'a> {
    folder: &'a Path,
    costs: Option<costs::Plan>,
    serve: Option<ServeSettings>,
    results: Results,
    interrupt: Interrupt,
}

impl<'a> Session<'a> {
    /// Goes on from what the folder has, if that was made on this machine and in the same way.
    fn open(
        run: &'a Run,
        costs: Option<costs::Plan>,
        serve: Option<ServeSettings>,
    ) -> Result<Session<'a>, String> {
        let folder = &run.out.out;
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let new = Results {
            schema: SCHEMA,
            fibra: env!("CARGO_PKG_VERSION").to_owned(),
            machine: Machine::look(),
            began: now(),
            ended: now(),
            command: String::new(),
            costs: None,
            serve: None,
            summary: Vec::new(),
        };
        let mut results = match Results::load(folder) {
            Err(why) if !run.fresh => return Err(why),
            Err(_) | Ok(None) => new.clone(),
            Ok(Some(found)) => found,
        };
        let other = |what: &str| {
            format!(
                "the results in {} are {what}: choose another folder with --out, or say --fresh to start over",
                folder.display()
            )
        };
        if (&results.machine, &results.fibra) != (&new.machine, &new.fibra) {
            if !run.fresh {
                return Err(other("of another machine or another fibra"));
            }
            results = new;
        }
        // Only what is to be measured is started over.
        results.costs = results.costs.filter(|_| !(run.fresh && costs.is_some()));
        results.serve = results.serve.filter(|_| !(run.fresh && serve.is_some()));
        let is_other = |kept: &Costs| costs.as_ref().is_some_and(|plan| !plan.goes_on_from(kept));
        if results.costs.as_ref().is_some_and(is_other) {
            return Err(other(
                "costs of a run with other rounds, or of one that was quick where this is not",
            ));
        }
        let is_other = |kept: &Serve| serve.as_ref().is_some_and(|settings| kept.settings != *settings);
        if results.serve.as_ref().is_some_and(is_other) {
            return Err(other("of a run with other settings (models, levels, rounds, seconds, cores …)"));
        }
        Ok(Session { folder, costs, serve, results, interrupt: Interrupt::listen()? })
    }

    /// Measures, and shows what there is then, also when it was cut off.
    fn carry_out(mut self) -> Result<(), String> {
        self.results.command = command_line();
        let outcome = self.measure();
        if self.results.costs.is_some() || self.results.serve.is_some() {
            self.results.save(self.folder)?;
            finish(&self.results, self.folder)?;
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(Stopped::Failed(why)) => Err(why),
            Err(Stopped::Interrupted) => Err(format!(
                "cut off; what was finished is in {}. The same command goes on from there:\n  {}",
                self.folder.display(),
                self.results.command.replace(" --fresh", "")
            )),
        }
    }

    fn measure(&mut self) -> Result<(), Stopped> {
        if let Some(plan) = self.costs.take() {
            self.costs(plan)?;
        }
        match self.serve.take() {
            Some(settings) => self.serve(settings),
            None => Ok(()),
        }
    }

    fn costs(&mut self, mut plan: costs::Plan) -> Result<(), Stopped> {
        let mut kept = self.results.costs.take().unwrap_or_else(|| plan.empty());
        loop {
            let more = plan.next_round(&mut kept, &self.interrupt);
            self.results.costs = Some(kept.clone());
            let more = more?;
            self.keep()?;
            if !more {
                return Ok(());
            }
        }
    }

    fn serve(&mut self, settings: ServeSettings) -> Result<(), Stopped> {
        let new = Serve { settings, cells: Vec::new() };
        let mut plan = serve::Plan::new(self.results.serve.get_or_insert(new))?;
        while let Some(cells) = self.results.serve.as_mut() {
            if !plan.next(cells, &self.interrupt)? {
                break;
            }
            self.keep()?;
        }
        Ok(())
    }

    fn keep(&mut self) -> Result<(), Stopped> {
        self.results.ended = now();
        Ok(self.results.save(self.folder)?)
    }
}

/// The table, the report, and where they are.
fn finish(results: &Results, folder: &Path) -> Result<(), String> {
    let page = folder.join("report.html");
    results::write_whole(&page, report::page(results).as_bytes())?;
    let wide = if io::stdout().is_terminal() { report::terminal::width() } else { report::terminal::WIDTH };
    let mut text = report::terminal::text(results, wide);
    text.push_str(&format!("\nreport:  {}\nresults: {}\n", page.display(), results::file(folder).display()));
    // Nobody need be there to read it.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}

fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}

/// This run's command, as one would type it.
fn command_line() -> String {
    let quoted = |word: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_=.,:/@".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            word
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    let arguments = std::env::args().skip(1).map(quoted);
    std::iter::once("fibra".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}
