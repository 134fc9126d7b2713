//! Which model for which load, and why: sentences, each of which rests on a figure of the run.
//!
//! Models are ranked by the server's processor time for a request, which says how much a core can serve also where the load could not keep up. Only those that
//! held the level are compared.

use super::report::words::{bytes, join, microseconds, nanoseconds, rate, ratio};
use super::results::{Costs, Results, Serve, Way};
use super::summary::Row;
use crate::doctor::report::grouped;

/// Within this factor two models cost the same: cells spread by about as much.
const SAME: f64 = 1.05;
/// Who is worth naming beside the best.
const REFERENCES: [&str; 3] = ["coroutine", "thread", "process"];
/// Pairs of which one is said to take over from the other.
const RIVALS: [(&str, &str); 7] = [
    ("process", "coroutine"),
    ("thread", "coroutine"),
    ("thread", "epoll-et"),
    ("select", "epoll-lt"),
    ("poll", "epoll-lt"),
    ("epoll-et", "uring"),
    ("coroutine-epoll", "coroutine-uring"),
];

/// A sentence or two under a heading.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice {
    pub(super) about: String,
    pub(super) text: String,
}

/// What the run has to say.
pub(super) fn advice(results: &Results, rows: &[Row]) -> Vec<Advice> {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.way == Way::KeepAlive).collect();
    let mut said = Vec::new();
    said.extend(results.serve.as_ref().and_then(trust));
    for (about, level) in loads(&rows) {
        said.extend(best(&about, level, &rows));
    }
    said.extend(tail(&rows));
    said.extend(memory(&rows));
    said.extend(isolation(&rows));
    said.extend(polling(&rows));
    said.extend(crossovers(&rows));
    said.extend(results.costs.as_ref().and_then(switches));
    said
}

/// What a run of few rounds is not good for.
fn trust(serve: &Serve) -> Option<Advice> {
    let settings = &serve.settings;
    if settings.rounds >= 3 {
        return None;
    }
    let rounds = if settings.rounds == 1 { "one round" } else { "two rounds" };
    Some(Advice {
        about: "How far to trust this".to_owned(),
        text: format!(
            "Figures of {rounds}, {} s a cell, show orders of magnitude. Neighbours in a ranking may well change places in the next run: for those measure with three rounds or more.",
            settings.seconds
        ),
    })
}

/// Few connections, many, and as many as there are: the highest level of each that was measured.
fn loads(rows: &[&Row]) -> Vec<(String, u32)> {
    let highest = |from: u32, to: u32| {
        rows.iter()
            .filter(|row| row.is_held())
            .map(|row| row.level)
            .filter(|level| (from..=to).contains(level))
            .max()
    };
    let named = [
        (1, 10, "Few connections"),
        (11, 1_000, "Many connections"),
        (1_001, u32::MAX, "Very many connections"),
    ];
    let found = named.into_iter().filter_map(|(from, to, name)| Some((name, highest(from, to)?)));
    found.map(|(name, level)| (format!("{name} ({} at a time)", grouped(level.into())), level)).collect()
}

/// Those that held a level, the cheapest first.
fn ranked<'a>(level: u32, rows: &[&'a Row]) -> Vec<(&'a Row, f64)> {
    let held = rows.iter().filter(|row| row.level == level && row.is_held());
    let mut ranked: Vec<(&Row, f64)> = held.filter_map(|row| Some((*row, row.cpu_us()?))).collect();
    ranked.sort_by(|one, other| one.1.total_cmp(&other.1));
    ranked
}

fn best(about: &str, level: u32, rows: &[&Row]) -> Option<Advice> {
    let ranked = ranked(level, rows);
    let &(first, cost) = ranked.first()?;
    let mut text = format!(
        "{} needs the least processor time for a request: {} ({} requests/s measured).",
        first.model,
        microseconds(cost),
        rate(first.requests_per_second()?)
    );
    let equals: Vec<_> = ranked[1..]
        .iter()
        .filter(|(_, other)| other / cost <= SAME)
        .map(|(row, _)| row.model.clone())
        .collect();
    if !equals.is_empty() {
        text.push_str(&format!(" Within 5% of it: {}.", join(&equals)));
    }
    let further =
        ranked.iter().filter(|(row, other)| REFERENCES.contains(&row.model.as_str()) && other / cost > SAME);
    let further: Vec<_> =
        further.map(|(row, other)| format!("{} {} times as much", row.model, ratio(other / cost))).collect();
    if !further.is_empty() {
        text.push_str(&format!(" Against that: {}.", join(&further)));
    }
    if let Some((_, coroutine)) = ranked.iter().find(|(row, _)| row.model == "coroutine") {
        let price = (coroutine / cost - 1.0) * 100.0;
        match coroutine / cost {
            ..SAME => {
                text.push_str(" So straight-line code, a coroutine for each connection, is had for nothing.")
            }
            ..1.3 => text.push_str(&format!(
                " So straight-line code, a coroutine for each connection, is had for {price:.0}% more."
            )),
            _ => {}
        }
    }
    Some(Advice { about: about.to_owned(), text })
}

fn tail(rows: &[&Row]) -> Option<Advice> {
    let level = rows.iter().filter(|row| row.is_held()).map(|row| row.level).max()?;
    let held = rows.iter().filter(|row| row.level == level && row.is_held());
    let mut by_tail: Vec<(&str, f64)> = held
        .filter_map(|row| Some((row.model.as_str(), row.figures?.p99_us)))
        .filter(|(_, p99)| *p99 > 0.0)
        .collect();
    by_tail.sort_by(|one, other| one.1.total_cmp(&other.1));
    let (&(first, least), &(last, most)) = (by_tail.first()?, by_tail.last()?);
    if by_tail.len() < 2 {
        return None;
    }
    Some(Advice {
        about: "The slowest of a hundred".to_owned(),
        text: format!(
            "With {} one request in a hundred takes at least {} under {first}, and {} under {last}.",
            connections(level),
            microseconds(least),
            microseconds(most)
        ),
    })
}

fn memory(rows: &[&Row]) -> Option<Advice> {
    let all = rows.iter().filter(|row| row.is_held() && row.level >= 100);
    let each = |row: &Row| Some(row.figures?.server?.memory_per_connection);
    let level = all.clone().filter(|row| each(row).is_some()).map(|row| row.level).max()?;
    let mut here: Vec<(&str, f64)> = all
        .filter(|row| row.level == level)
        .filter_map(|row| Some((row.model.as_str(), each(row)?)))
        .collect();
    here.sort_by(|one, other| one.1.total_cmp(&other.1));
    let named = |name: &str| here.iter().find(|(model, _)| *model == name).copied();
    let mut told = vec![here.first().copied()?];
    told.extend(
        REFERENCES.iter().filter_map(|name| named(name)).filter(|one| one.0 != told[0].0).collect::<Vec<_>>(),
    );
    let told: Vec<_> =
        told.into_iter().map(|(model, each)| format!("{} under {model}", bytes(each))).collect();
    Some(Advice {
        about: "Memory".to_owned(),
        text: format!(
            "With {} connections the server holds for each {} (what the kernel keeps for sockets, and for threads' own stacks, not counted).",
            grouped(level.into()),
            join(&told)
        ),
    })
}

fn isolation(rows: &[&Row]) -> Option<Advice> {
    let both = |level: u32| {
        let of = |name: &str| {
            rows.iter().find(|row| row.model == name && row.level == level && row.is_held())?.cpu_us()
        };
        Some((level, of("process")?, of("coroutine")?))
    };
    let mut levels: Vec<u32> = rows.iter().map(|row| row.level).collect();
    levels.sort_unstable();
    let (level, process, coroutine) = levels.into_iter().rev().find_map(both)?;
    Some(Advice {
        about: "Isolation".to_owned(),
        text: format!(
            "A process for each connection keeps a crash to one connection. With {} connections its price is {} for a request, against {} under coroutine: {} times.",
            grouped(level.into()),
            microseconds(process),
            microseconds(coroutine),
            ratio(process / coroutine)
        ),
    })
}

fn polling(rows: &[&Row]) -> Option<Advice> {
    let share = |row: &Row| Some(row.figures?.server?.cpu_share);
    let first = rows
        .iter()
        .filter(|row| row.model == "polling" && share(row).is_some())
        .min_by_key(|row| row.level)?;
    let other = rows.iter().find(|row| row.model == "epoll-lt" && row.level == first.level)?;
    // On a core that others use, too, it does not get what it would take.
    if share(first)? <= share(other)? {
        return None;
    }
    Some(Advice {
        about: "Asking again and again".to_owned(),
        text: format!(
            "polling keeps {:.0}% of a core busy with {}, where epoll-lt needs {:.0}% (for {} and {} requests/s): it is for nobody who pays for the core.",
            share(first)? * 100.0,
            connections(first.level),
            share(other)? * 100.0,
            rate(first.requests_per_second()?),
            rate(other.requests_per_second()?),
        ),
    })
}

fn connections(level: u32) -> String {
    if level == 1 { "one connection".to_owned() } else { format!("{} connections", grouped(level.into())) }
}

fn crossovers(rows: &[&Row]) -> Option<Advice> {
    let found: Vec<String> = RIVALS.iter().filter_map(|(one, other)| crossover(one, other, rows)).collect();
    let about = "Where one takes over from another".to_owned();
    if found.is_empty() { None } else { Some(Advice { about, text: found.join(" ") }) }
}

/// From which level on `other` is the cheaper one.
fn crossover(one: &str, other: &str, rows: &[&Row]) -> Option<String> {
    let of = |name: &str, level: u32| {
        rows.iter().find(|row| row.model == name && row.level == level && row.is_held())?.cpu_us()
    };
    let mut levels: Vec<u32> = rows.iter().map(|row| row.level).collect();
    levels.sort_unstable();
    levels.dedup();
    let both: Vec<(u32, f64, f64)> =
        levels.into_iter().filter_map(|level| Some((level, of(one, level)?, of(other, level)?))).collect();
    // One level shows no point of crossing.
    if both.len() < 2 {
        return None;
    }
    let cheaper = both.iter().rev().take_while(|(_, one, other)| other * SAME < *one).count();
    let &(level, first, second) = both.get(both.len().checked_sub(cheaper)?)?;
    let from = if cheaper == both.len() {
        "At every level".to_owned()
    } else {
        format!("From {} on", connections(level))
    };
    Some(format!(
        "{from} {other} needs less for a request than {one} ({} and {} with {}).",
        microseconds(second),
        microseconds(first),
        grouped(level.into())
    ))
}

fn switches(costs: &Costs) -> Option<Advice> {
    let of = |id: &str| {
        let figure = costs.figures.iter().find(|figure| figure.id == id)?;
        Some(super::statistics::Spread::of(figure.values.iter().copied())?.median)
    };
    let (coroutine, thread, process) = (of("switch.coroutine")?, of("switch.thread")?, of("switch.process")?);
    Some(Advice {
        about: "Why".to_owned(),
        text: format!(
            "Going from one coroutine to another takes {}, from one thread to another {} ({} times), from one process to another, with a byte through a pipe, {}.",
            nanoseconds(coroutine),
            nanoseconds(thread),
            ratio(thread / coroutine),
            nanoseconds(process)
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fixture;
    use crate::lab::summary;

    #[test]
    fn every_sentence_rests_on_a_figure() {
        let results = fixture::results();
        let said = advice(&results, &summary::rows(results.serve.as_ref().unwrap()));
        assert!(said.len() >= 8, "{said:#?}");
        for Advice { about, text } in &said {
            assert!(text.chars().any(|c| c.is_ascii_digit()), "{about}: {text}");
        }
    }

    #[test]
    fn the_cheapest_that_held_the_level_is_named() {
        let results = fixture::results();
        let rows = summary::rows(results.serve.as_ref().unwrap());
        let held: Vec<&Row> = rows.iter().filter(|row| row.way == Way::KeepAlive).collect();
        let cheapest = ranked(1_000, &held)[0].0.model.clone();
        let said = best("Many", 1_000, &held).unwrap();
        assert!(said.text.starts_with(&format!("{cheapest} needs the least")), "{}", said.text);
        assert!(
            ranked(2_000, &held).iter().all(|(row, _)| row.model != "select"),
            "select cannot hold 2,000"
        );
    }

    #[test]
    fn nothing_is_said_of_a_run_without_figures() {
        let results = Results { costs: None, serve: None, ..fixture::results() };
        assert_eq!(advice(&results, &[]), []);
    }
}
