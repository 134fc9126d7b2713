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
use results::{Results, SCHEMA};
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
            Some(What::Costs(run)) => Session::open(&run)?.carry_out(|session| session.costs()),
            Some(What::Serve(ServeRun { run, serve })) => {
                let settings = serve.settings(&run)?;
                Session::open(&run)?.carry_out(|session| session.serve(settings))
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
                let settings = self.serve.settings(&self.run)?;
                Session::open(&self.run)?.carry_out(|session| {
                    session.costs()?;
                    session.serve(settings)
                })
            }
        }
    }
}

/// A run: where its results are kept, and what has been asked of it.
struct Session<'a> {
    run: &'a Run,
    results: Results,
    interrupt: Interrupt,
}

impl<'a> Session<'a> {
    /// Goes on from what the folder has, if that was made on this machine.
    fn open(run: &'a Run) -> Result<Session<'a>, String> {
        let folder = &run.out.out;
        fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let machine = Machine::look();
        let found = match Results::load(folder) {
            Err(why) if !run.fresh => return Err(why),
            Err(_) => None,
            Ok(found) => found,
        };
        let results = match found {
            Some(results) if results.machine == machine && results.fibra == env!("CARGO_PKG_VERSION") => {
                results
            }
            Some(_) if !run.fresh => {
                return Err(format!(
                    "the results in {} are of another machine or another fibra: choose another folder with --out, or \
                     say --fresh to start over",
                    folder.display()
                ));
            }
            _ => Results {
                schema: SCHEMA,
                fibra: env!("CARGO_PKG_VERSION").to_owned(),
                machine,
                began: now(),
                ended: now(),
                command: String::new(),
                costs: None,
                serve: None,
                summary: Vec::new(),
            },
        };
        Ok(Session { run, results, interrupt: Interrupt::listen()? })
    }

    /// Measures, and shows what there is then, also when it was cut off.
    fn carry_out(mut self, measure: impl FnOnce(&mut Self) -> Result<(), Stopped>) -> Result<(), String> {
        self.results.command = command_line();
        let outcome = measure(&mut self);
        let folder = &self.run.out.out;
        if self.results.costs.is_some() || self.results.serve.is_some() {
            self.results.save(folder)?;
            finish(&self.results, folder)?;
        }
        match outcome {
            Ok(()) => Ok(()),
            Err(Stopped::Failed(why)) => Err(why),
            Err(Stopped::Interrupted) => Err(format!(
                "cut off; what was finished is in {}. The same command goes on from there:\n  {}",
                folder.display(),
                self.results.command.replace(" --fresh", "")
            )),
        }
    }

    fn costs(&mut self) -> Result<(), Stopped> {
        let plan = costs::Plan::new(self.run.quick, self.run.rounds.map(usize::from));
        let kept = self.results.costs.take().filter(|kept| !self.run.fresh && plan.goes_on_from(kept));
        self.results.costs = Some(kept.unwrap_or_else(|| plan.empty()));
        while let Some(figures) = self.results.costs.as_mut() {
            let more = plan.next_round(figures, &self.interrupt)?;
            self.keep()?;
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn serve(&mut self, settings: results::ServeSettings) -> Result<(), Stopped> {
        let kept = self.results.serve.take().filter(|_| !self.run.fresh);
        if let Some(other) = kept.as_ref().filter(|kept| kept.settings != settings) {
            let cells = other.cells.len();
            self.results.serve = kept;
            return Err(Stopped::Failed(format!(
                "{} has {cells} cells of a run with other settings (models, levels, seconds, rounds …): choose another \
                 folder with --out, or say --fresh to start over",
                self.run.out.out.display()
            )));
        }
        let serve = kept.unwrap_or_else(|| results::Serve { settings, cells: Vec::new() });
        let mut plan = serve::Plan::new(&serve)?;
        self.results.serve = Some(serve);
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
        Ok(self.results.save(&self.run.out.out)?)
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
