//! The report: what was measured, on what, and tables of medians with intervals and ratios, in Markdown. It is written
//! anew after every table, so that a run cut short leaves what it had.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::bench::{Aim, Failure, Limit, Outcome};
use crate::cli::Settings;
use crate::rival::Rival;
use crate::stats::{self, Estimate};

/// What is named in the head, with the version this program was built with.
const VERSIONS_OF: &[&str] = &[
    "corosensei",
    "crossbeam-channel",
    "fibra",
    "flume",
    "hyper",
    "io-uring",
    "may",
    "monoio",
    "parking_lot",
    "smol",
    "tokio",
];
const LOCK_FILE: &str = include_str!("../Cargo.lock");

pub(crate) struct Report {
    text: String,
    out: Option<PathBuf>,
    raw: Option<BufWriter<File>>,
}

impl Report {
    pub(crate) fn new(settings: &Settings) -> Result<Self> {
        let raw = match &settings.raw {
            Some(path) => {
                let mut file =
                    BufWriter::new(File::create(path).with_context(|| path.display().to_string())?);
                writeln!(file, "measurement,rival,round,figure,value")?;
                Some(file)
            }
            None => None,
        };
        Ok(Self { text: head(settings), out: settings.out.clone(), raw })
    }

    pub(crate) fn add(&mut self, outcome: &Outcome, rng: &mut fastrand::Rng) -> Result<()> {
        let section = section(outcome, rng);
        println!("{section}");
        self.text.push_str(&section);
        self.text.push('\n');
        if let Some(path) = &self.out {
            std::fs::write(path, &self.text).with_context(|| path.display().to_string())?;
        }
        if let Some(raw) = &mut self.raw {
            for (rival, rounds) in &outcome.rounds {
                for (round, figures) in rounds.iter().enumerate() {
                    for (name, value) in figures.iter().flat_map(|figures| figures.iter()) {
                        writeln!(
                            raw,
                            "{},{},{},{name},{value}",
                            outcome.experiment.key,
                            rival.key(),
                            round + 1
                        )?;
                    }
                }
            }
            raw.flush()?;
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Result<()> {
        if let Some(path) = &self.out {
            println!("written to {}", path.display());
        }
        Ok(())
    }
}

fn head(settings: &Settings) -> String {
    let system = rustix::system::uname();
    let processors = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = processors.lines().filter(|line| line.starts_with("processor")).count();
    let model = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown model", |(_, model)| model.trim());
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or("unknown");
    let with_fibra = cfg!(feature = "fibra");
    let versions: Vec<String> = VERSIONS_OF
        .iter()
        .filter(|name| with_fibra || **name != "fibra")
        .filter_map(|name| Some(format!("{name} {}", version_of(name)?)))
        .collect();
    let features = if with_fibra { "" } else { " --no-default-features" };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let memory =
        crate::process::kernel_setting("vm/max_map_count").map_or_else(String::new, |most| most.to_string());

    let mut text = String::from("# fibra beside its rivals\n\n");
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "- {name}: {value}");
    };
    line("Date", &httpdate::fmt_http_date(SystemTime::now()));
    line("Machine", &format!("{cores} cores, {model}; load average {load} at the start"));
    line("Kernel", &format!("{} {}", system.sysname().to_string_lossy(), system.release().to_string_lossy()));
    line("vm.max_map_count", &memory);
    line("Built with", &versions.join(", "));
    if let Some(commit) = commit() {
        line("Commit", &commit);
    }
    line(
        "Command",
        &format!(
            "`cargo run --release --manifest-path rivals/Cargo.toml{features} -- {}`",
            arguments.join(" ")
        ),
    );
    line(
        "Rounds",
        &format!(
            "{}, interleaved, the order drawn anew in each; what is measured runs on core {}, the load on core {}",
            settings.rounds, settings.server_core, settings.load_core
        ),
    );
    text.push_str(
        "\nFigures are medians over the rounds; in brackets the interval that holds 95% of the medians of resampled \
         rounds. Ratios (×) are medians of the ratios round by round to the rival named in the head of the column.\n\n",
    );
    text
}

/// The commit this stands at, when it stands in a repository.
fn commit() -> Option<String> {
    let git = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty=, and changes on top"])
        .output()
        .ok()?;
    let text = String::from_utf8(git.stdout).ok()?;
    (git.status.success()).then(|| text.trim().to_owned())
}

/// The newest, where there are several: that is ours.
fn version_of(package: &str) -> Option<&'static str> {
    let name = format!("name = \"{package}\"\nversion = \"");
    let rest = &LOCK_FILE[LOCK_FILE.rfind(&name)? + name.len()..];
    rest.split_once('"').map(|(version, _)| version)
}

fn section(outcome: &Outcome, rng: &mut fastrand::Rng) -> String {
    let experiment = &outcome.experiment;
    let mut text = format!("## {}\n\n{}\n\n", experiment.title, experiment.about);

    let mut titles = vec!["".to_owned()];
    for metric in experiment.metrics {
        titles.push(metric.title.to_owned());
        if let (true, Some(baseline)) = (metric.compared, experiment.baseline) {
            titles.push(format!("× {}", baseline.label()));
        }
    }
    let _ = writeln!(text, "| {} |", titles.join(" | "));
    let _ = writeln!(text, "|---|{}", "---:|".repeat(titles.len() - 1));

    for rival in &experiment.rivals {
        if outcome.column(*rival, None).is_empty() {
            let unavailable = |failure: &Failure| failure.rival == *rival && failure.unavailable;
            if outcome.failures.iter().any(unavailable) {
                let nothing = " – |".repeat(titles.len() - 2);
                let _ = writeln!(text, "| {} | not available |{nothing}", rival.label());
            }
            continue;
        }
        let mut cells = vec![rival.label().to_owned()];
        for metric in experiment.metrics {
            let values: Vec<f64> = outcome.column(*rival, Some(metric.key)).into_iter().flatten().collect();
            let cell = if metric.compared {
                stats::estimate(&values, rng).map(|estimate| shown(estimate, metric.decimals))
            } else {
                stats::median(&values).map(|median| grouped(median, metric.decimals))
            };
            cells.push(cell.unwrap_or_else(|| "–".into()));
            if let (true, Some(baseline)) = (metric.compared, experiment.baseline) {
                let ratio = if *rival == baseline {
                    Some("1".to_owned())
                } else {
                    outcome.ratio(*rival, baseline, metric.key, rng).map(|ratio| shown(ratio, 2))
                };
                cells.push(ratio.unwrap_or_else(|| "–".into()));
            }
        }
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');

    for aim in &experiment.aims {
        if let Some(verdict) = verdict(outcome, aim, rng) {
            let _ = writeln!(text, "- {verdict}");
        }
    }
    let mut told: Vec<&Failure> = Vec::new();
    for failure in &outcome.failures {
        if !told.contains(&failure) {
            let what = if failure.unavailable { "is not available" } else { "failed" };
            let _ = writeln!(text, "- {} {what}: {}", failure.rival.label(), failure.why);
            told.push(failure);
        }
    }
    for (note, rivals) in outcome.notes() {
        let rivals: Vec<&str> = rivals.into_iter().map(Rival::label).collect();
        let _ = writeln!(text, "- {}: {note}", rivals.join("; "));
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

impl Outcome {
    /// One figure of one rival, round by round; without a name, only which rounds there are. Empty when it never
    /// succeeded.
    fn column(&self, rival: Rival, metric: Option<&str>) -> Vec<Option<f64>> {
        let Some(rounds) = self.rounds.get(&rival) else { return vec![] };
        if rounds.iter().all(Option::is_none) {
            return vec![];
        }
        let value = |figures: &Option<crate::process::Figures>| figures.as_ref()?.get(metric?);
        rounds.iter().map(value).collect()
    }

    /// What was said of figures that are missing, and the rivals it was said of.
    fn notes(&self) -> BTreeMap<&str, BTreeSet<Rival>> {
        let mut notes: BTreeMap<&str, BTreeSet<Rival>> = BTreeMap::new();
        for (rival, rounds) in &self.rounds {
            for note in rounds.iter().flatten().flat_map(|figures| figures.notes()) {
                notes.entry(note).or_default().insert(*rival);
            }
        }
        notes
    }

    fn ratio(&self, rival: Rival, to: Rival, metric: &str, rng: &mut fastrand::Rng) -> Option<Estimate> {
        let ratios = stats::paired_ratios(&self.column(rival, Some(metric)), &self.column(to, Some(metric)));
        stats::estimate(&ratios, rng)
    }
}

fn verdict(outcome: &Outcome, aim: &Aim, rng: &mut fastrand::Rng) -> Option<String> {
    let metric = outcome.experiment.metrics.iter().find(|metric| metric.key == aim.metric)?;
    let mut found: Vec<(Rival, Estimate)> = Vec::new();
    for rival in &aim.rivals {
        let estimate = match aim.times {
            Some(other) => outcome.ratio(*rival, other, aim.metric, rng),
            None => {
                let values: Vec<f64> =
                    outcome.column(*rival, Some(aim.metric)).into_iter().flatten().collect();
                stats::estimate(&values, rng)
            }
        };
        found.extend(estimate.map(|estimate| (*rival, estimate)));
    }
    let by_median =
        |one: &&(Rival, Estimate), other: &&(Rival, Estimate)| one.1.median.total_cmp(&other.1.median);
    let (best, limit, sign, reached, perhaps) = match aim.limit {
        Limit::AtMost(limit) => {
            let (best, found) = *found.iter().min_by(by_median)?;
            ((best, found), limit, '≤', found.median <= limit, found.low <= limit)
        }
        Limit::AtLeast(limit) => {
            let (best, found) = *found.iter().max_by(by_median)?;
            ((best, found), limit, '≥', found.median >= limit, found.high >= limit)
        }
    };
    let verdict = match (reached, perhaps) {
        (true, _) => "met",
        (false, true) => "met within the interval",
        (false, false) => "missed",
    };
    let (decimals, of) = match aim.times {
        Some(other) => (2, format!(" × {}", other.label())),
        None => (metric.decimals, String::new()),
    };
    let limit = if limit >= 10.0 { grouped(limit, 0) } else { limit.to_string() };
    // Rivals' names have commas.
    let names: Vec<&str> = aim.rivals.iter().map(|rival| rival.label()).collect();
    let (who, which) = match names[..] {
        [one] => (one.to_owned(), String::new()),
        _ => (format!("the best of ({})", names.join("; ")), format!(" by {}", best.0.label())),
    };
    Some(format!(
        "Aim: {who}, {} {sign} {limit}{of}: **{verdict}**{which}, {}",
        metric.title,
        shown(best.1, decimals)
    ))
}

fn shown(estimate: Estimate, decimals: usize) -> String {
    format!(
        "{} [{}–{}]",
        grouped(estimate.median, decimals),
        grouped(estimate.low, decimals),
        grouped(estimate.high, decimals)
    )
}

/// A number with commas between its thousands.
pub(crate) fn grouped(value: f64, decimals: usize) -> String {
    let plain = format!("{value:.decimals$}");
    let (sign, plain) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = plain.split_once('.').map_or((plain, ""), |(whole, fraction)| (whole, fraction));
    let mut text = sign.to_owned();
    for (at, digit) in whole.char_indices() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated() {
        assert_eq!(grouped(1_234_567.89, 1), "1,234,567.9");
        assert_eq!(grouped(-1_000.0, 0), "-1,000");
        assert_eq!(grouped(999.0, 0), "999");
    }

    #[test]
    fn versions_come_from_the_lock_file() {
        assert!(version_of("tokio").is_some_and(|version| version.starts_with("1.")));
        assert_eq!(version_of("no such package"), None);
    }
}
