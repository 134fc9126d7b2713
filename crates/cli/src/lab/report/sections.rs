//! The sections of the page: text, charts, and the table behind each chart.

use super::bars::{self, Bar, Base, Dot};
use super::families::Family;
use super::lines::{Axes, Line, Point};
use super::tables::Table;
use super::words::{bytes, compact, digits, escaped, microseconds, nanoseconds, rate};
use crate::doctor::report::grouped;
use crate::lab::advice::Advice;
use crate::lab::history::{self, LEVELS, TABLES};
use crate::lab::results::{Costs, Figure, Serve, Unit, Way};
use crate::lab::statistics::Spread;
use crate::lab::summary::{Row, State};

/// Writes a figure.
type Write = fn(f64) -> String;
/// A figure of a row.
type Of = fn(&Row) -> Option<f64>;

fn kept(rows: &[Row]) -> impl Iterator<Item = &Row> + Clone {
    rows.iter().filter(|row| row.way == Way::KeepAlive)
}

/// The models, in the order in which they come.
fn models(rows: &[Row]) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for row in kept(rows) {
        if !names.contains(&row.model.as_str()) {
            names.push(&row.model);
        }
    }
    names
}

fn levels(rows: &[Row]) -> Vec<u32> {
    let mut levels: Vec<u32> = kept(rows).map(|row| row.level).collect();
    levels.sort_unstable();
    levels.dedup();
    levels
}

fn p99(row: &Row) -> Option<f64> {
    Some(row.figures?.p99_us).filter(|value| *value > 0.0)
}

fn memory_each(row: &Row) -> Option<f64> {
    Some(row.figures?.server?.memory_per_connection)
}

pub(super) fn advice(advice: &[Advice]) -> String {
    let items = advice
        .iter()
        .map(|one| format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escaped(&one.about), escaped(&one.text)));
    format!(
        "<p class=\"soft\">Ranked by the server's processor time for a request, among the models that held the level; what differs by less than 5% is \
         taken for equal.</p>\n<dl class=\"advice\">{}</dl>\n",
        items.collect::<String>()
    )
}

fn points(model: &str, rows: &[Row], of: Of) -> Vec<Point> {
    let of_it = kept(rows).filter(|row| row.model == model);
    of_it.filter_map(|row| Some(Point { x: row.level.into(), y: of(row)?, held: row.is_held() })).collect()
}

fn axes(rows: &[Row], of: Of, name: &str, write: Write) -> Option<Axes> {
    let all: Vec<Point> = models(rows).into_iter().flat_map(|model| points(model, rows, of)).collect();
    Axes::over(all.iter(), name, write)
}

/// One line for each family: of the member with the most requests per second at the highest level that any of them holds.
pub(super) fn glance(rows: &[Row]) -> String {
    let leaders: Vec<(Family, &str)> =
        Family::ALL.iter().filter_map(|&family| Some((family, leader(family, rows)?))).collect();
    let chart = |title: &str, of: Of, name: &str, write: Write| {
        let lines: Vec<Line> = leaders
            .iter()
            .map(|&(family, model)| Line {
                name: model.to_owned(),
                points: points(model, rows, of),
                style: Some(family.number()),
            })
            .collect();
        let drawn = axes(rows, of, name, write).map(|axes| axes.draw(title, &lines)).unwrap_or_default();
        format!("<figure><h3>{title}</h3>{drawn}</figure>\n")
    };
    let mut table = Table::new(["family", "here", "its members"]);
    for &(family, model) in &leaders {
        let members: Vec<&str> = models(rows).into_iter().filter(|name| Family::of(name) == family).collect();
        table.row([family.title(), model, &members.join(", ")]);
    }
    format!(
        "<p>The strongest member of each family, which is the one with the most requests per second at the highest level that the family held. Both axes are \
         logarithmic. A hollow marker is a level with errors, or with connections that were not served.</p>\n<div class=\"pair\">{}{}</div>\n<div class=\"prose\">{}</div>",
        chart(
            "Requests per second (more is better)",
            Row::requests_per_second,
            "requests per second",
            compact
        ),
        chart("p99 latency (less is better)", p99, "p99 latency", microseconds),
        table.folded("who stands for whom"),
    )
}

fn leader(family: Family, rows: &[Row]) -> Option<&str> {
    let members: Vec<&Row> =
        kept(rows).filter(|row| Family::of(&row.model) == family && row.figures.is_some()).collect();
    let held = members.iter().filter(|row| row.is_held()).map(|row| row.level).max();
    let level = held.or_else(|| members.iter().map(|row| row.level).max())?;
    let rate = |row: &Row| row.requests_per_second().unwrap_or(0.0);
    let there: Vec<&Row> =
        members.into_iter().filter(|row| row.level == level && row.is_held() == held.is_some()).collect();
    // Of those that are as good as equal, the first: it is the plain one of its kind.
    let best = there.iter().map(|row| rate(row)).fold(0.0, f64::max);
    there.into_iter().find(|row| rate(row) * 1.03 >= best).map(|row| row.model.as_str())
}

/// A chart for each family, with all others in grey, and the table of all.
fn by_family(serve: &Serve, rows: &[Row], of: Of, name: &str, write: Write) -> String {
    let Some(axes) = axes(rows, of, name, write) else {
        return "<p>This run has no figures for it.</p>\n".to_owned();
    };
    let names = models(rows);
    let mut out = String::from("<div class=\"grid-of\">");
    for family in Family::ALL {
        let members: Vec<&str> = names.iter().copied().filter(|model| Family::of(model) == family).collect();
        if members.is_empty() {
            continue;
        }
        let lines: Vec<Line> = names
            .iter()
            .map(|model| Line {
                name: (*model).to_owned(),
                points: points(model, rows, of),
                style: members.iter().position(|member| member == model).map(|place| place % 7),
            })
            .collect();
        out.push_str(&format!(
            "<figure><h3>{0}</h3>{1}</figure>\n",
            family.title(),
            axes.draw(family.title(), &lines)
        ));
    }
    out.push_str("</div>\n");
    out.push_str(&by_level(serve, rows, of, write).folded(name));
    out
}

/// Models by levels.
fn by_level(serve: &Serve, rows: &[Row], of: Of, write: Write) -> Table {
    let levels = levels(rows);
    let head = std::iter::once("model".to_owned()).chain(levels.iter().map(|level| grouped((*level).into())));
    let mut table = Table::new(head);
    for model in &serve.settings.models {
        let cell = |level: &u32| match kept(rows).find(|row| row.model == *model && row.level == *level) {
            None => String::new(),
            Some(row) => match (of(row), row.state) {
                (Some(value), State::Partly) => format!("{} *", write(value)),
                (Some(value), _) => write(value),
                (None, State::Failed) => "failed".to_owned(),
                (None, _) => "–".to_owned(),
            },
        };
        table.row(std::iter::once(model.clone()).chain(levels.iter().map(cell)));
    }
    table
}

pub(super) fn throughput(serve: &Serve, rows: &[Row]) -> String {
    let bound: Vec<String> = kept(rows)
        .filter(|row| row.figures.is_some_and(|figures| figures.client_bound))
        .map(|row| format!("{} at {}", row.model, grouped(row.level.into())))
        .collect();
    let mut out = String::from(
        "<p>Each family in colour, all others behind it in grey; the axes of all charts are the same. A hollow marker, and a * in the table, is a level with errors \
         or with connections that were not served: see <a href=\"#limits\">what could not be held</a>.</p>\n",
    );
    out.push_str(&by_family(serve, rows, Row::requests_per_second, "requests per second", compact));
    out.push_str(&pools(rows));
    if !bound.is_empty() {
        out.push_str(&format!(
            "<p class=\"soft\">The load itself was at its limit in {} places ({}): there the server could have done more, and processor time is what to compare.</p>\n",
            bound.len(),
            escaped(&if bound.len() > 12 { format!("{}, …", bound[..12].join(", ")) } else { bound.join(", ") })
        ));
    }
    out
}

/// How many workers the pools had, which are made as large as each level asks for; nothing if there are none.
fn pools(rows: &[Row]) -> String {
    let levels = levels(rows);
    let head = std::iter::once("model".to_owned()).chain(levels.iter().map(|level| grouped((*level).into())));
    let mut table = Table::new(head);
    let of_pools = || kept(rows).filter(|row| row.workers.is_some());
    let mut names: Vec<&str> = of_pools().map(|row| row.model.as_str()).collect();
    names.dedup();
    if names.is_empty() {
        return String::new();
    }
    for name in &names {
        let cell = |level: &u32| {
            let row = of_pools().find(|row| row.model == *name && row.level == *level);
            row.and_then(|row| row.workers).map_or(String::new(), |workers| grouped(workers.into()))
        };
        table.row(std::iter::once((*name).to_owned()).chain(levels.iter().map(cell)));
    }
    table.folded("workers of the pools")
}

pub(super) fn latency(serve: &Serve, rows: &[Row]) -> String {
    let mut out = String::from(
        "<p>What one request in a hundred takes, or longer, from its sending to its answer. In a closed loop latency and throughput are two sides of one: with N \
         connections, the middle is about N by the requests per second.</p>\n",
    );
    out.push_str(&by_family(serve, rows, p99, "p99 latency", microseconds));
    let median: Of = |row| Some(row.figures?.p50_us).filter(|value| *value > 0.0);
    let last: Of = |row| Some(row.figures?.p999_us).filter(|value| *value > 0.0);
    out.push_str(&by_level(serve, rows, median, microseconds).folded("median latency"));
    out.push_str(&by_level(serve, rows, last, microseconds).folded("p99.9 latency"));
    out
}

/// Up to three levels that stand for the rest: few, many, and the most.
fn shown_levels(rows: &[Row], of: Of) -> Vec<u32> {
    let with_figure: Vec<u32> = kept(rows).filter(|row| of(row).is_some()).map(|row| row.level).collect();
    let highest = |most: u32| with_figure.iter().copied().filter(|level| *level <= most).max();
    let mut levels: Vec<u32> = [10, 1_000, u32::MAX].into_iter().filter_map(highest).collect();
    levels.dedup();
    levels
}

pub(super) fn processor(serve: &Serve, rows: &[Row]) -> String {
    let mut out = String::from(
        "<p>What the server computes for one request: in user code (full colour), and in the kernel (pale). It says how many requests a core can serve, also where the load \
         could not keep up.</p>\n<div class=\"pair\">",
    );
    for level in shown_levels(rows, Row::cpu_us) {
        let mut there: Vec<&Row> =
            kept(rows).filter(|row| row.level == level && row.cpu_us().is_some()).collect();
        there.sort_by(|one, other| one.cpu_us().unwrap_or(0.0).total_cmp(&other.cpu_us().unwrap_or(0.0)));
        let bars: Vec<Bar> = there.iter().filter_map(|row| cost_bar(row)).collect();
        let title = format!("With {} connections", grouped(level.into()));
        out.push_str(&format!(
            "<figure><h3>{title}</h3>{}</figure>\n",
            bars::bars(&title, &bars, |value| format!("{} µs", digits(value)))
        ));
    }
    out.push_str("</div>\n<h3>By concurrency</h3>\n");
    out.push_str(&by_family(serve, rows, Row::cpu_us, "processor time for a request", microseconds));
    let switches: Of = |row| row.figures?.server?.switches;
    out.push_str(&by_level(serve, rows, switches, digits).folded("context switches for a request"));
    out
}

fn cost_bar(row: &Row) -> Option<Bar> {
    let server = row.figures?.server?;
    let note = if row.is_held() { "" } else { " *" };
    Some(Bar {
        name: row.model.clone(),
        parts: [server.user_us, server.system_us],
        published: None,
        figure: format!("{}{note}", microseconds(server.cpu_us.median)),
        style: Family::of(&row.model).number(),
    })
}

pub(super) fn memory(serve: &Serve, rows: &[Row]) -> String {
    let mut out = String::from(
        "<p>The server's own memory (pages of files not counted) and page tables under load, less what it had before, for each connection. The workers of a pool \
         are there before the first connection, so what they have at rest is not in it, but in the memory of the server, all of it. What the kernel keeps for sockets and for threads is not counted, \
         and is the same for all, the threads' kernel stacks aside (16 KiB each on x86-64).</p>\n<div class=\"pair\">",
    );
    let positive: Of = |row| memory_each(row).filter(|value| *value >= 1.0);
    for level in shown_levels(rows, positive).into_iter().filter(|level| *level >= 100) {
        let there = kept(rows).filter(|row| row.level == level && row.is_held());
        let mut dots: Vec<Dot> = there
            .filter_map(|row| {
                let value = positive(row)?;
                let style = Family::of(&row.model).number();
                let name = row.model.clone();
                Some(Dot { name, value, range: None, published: None, figure: bytes(value), style })
            })
            .collect();
        dots.sort_by(|one, other| one.value.total_cmp(&other.value));
        let title = format!("With {} connections", grouped(level.into()));
        out.push_str(&format!(
            "<figure><h3>{title}</h3>{}</figure>\n",
            bars::dots(&title, &dots, Base::Two, bytes)
        ));
    }
    out.push_str("</div>\n");
    out.push_str(&by_level(serve, rows, memory_each, bytes).folded("memory for a connection"));
    let total: Of = |row| Some(row.figures?.server?.memory_total);
    out.push_str(&by_level(serve, rows, total, bytes).folded("memory of the server, all of it"));
    let descriptors: Of = |row| row.figures?.server?.descriptors;
    out.push_str(&by_level(serve, rows, descriptors, digits).folded("descriptors of the server"));
    out
}

pub(super) fn limits(rows: &[Row]) -> String {
    let mut table = Table::new(["model", "connections", "what", "why"]);
    let mut any = false;
    for row in rows.iter().filter(|row| !row.is_held()) {
        any = true;
        let way = if row.way == Way::OneRequest { " (a request each)" } else { "" };
        let what = if row.state == State::Failed { "no figures" } else { "figures with errors" };
        let why = row.reason.as_deref().unwrap_or("unknown");
        table.row([
            row.model.clone(),
            format!("{}{way}", grouped(row.level.into())),
            what.to_owned(),
            why.to_owned(),
        ]);
    }
    if any {
        format!("<div class=\"prose\">{}</div>", table.html("levels that were not held"))
    } else {
        "<p>Nothing: every model held every level that was asked of it.</p>\n".to_owned()
    }
}

pub(super) fn costs(costs: &Costs) -> String {
    let mut out = String::from(
        "<p>From a function call to a process. A bar through a dot goes from quartile to quartile; a hollow diamond is a published figure that it may be compared with.</p>\n<div class=\"pair\">",
    );
    let groups: [(&str, &str, Write); 6] = [
        ("switch.", "Going from one to another", nanoseconds),
        ("create.", "Making one, and waiting for its end", nanoseconds),
        ("idle.", "Memory of one that waits", bytes),
        ("work.", "Work that only computes", |value| nanoseconds(value * 1e6)),
        ("speed-up.", "Times as fast as one after the other", |value| format!("{value:.2}×")),
        ("lock.", "A change under a lock", nanoseconds),
    ];
    for (prefix, title, write) in groups {
        let figures: Vec<&Figure> =
            costs.figures.iter().filter(|figure| figure.id.starts_with(prefix)).collect();
        if figures.is_empty() {
            continue;
        }
        let dots: Vec<Dot> = figures.iter().filter_map(|figure| dot(figure, write)).collect();
        // What differs by little is seen from zero, what differs by orders of magnitude by its order.
        let drawn = match prefix {
            "switch." | "create." => bars::dots(title, &dots, Base::Ten, write),
            "idle." => bars::dots(title, &dots, Base::Two, write),
            _ => bars::bars(title, &dots.into_iter().map(Bar::from).collect::<Vec<_>>(), write),
        };
        out.push_str(&format!("<figure><h3>{title}</h3>{drawn}"));
        let mut table = Table::new(["what", "median", "quartiles", "published", "note"]);
        for figure in figures {
            let spread = Spread::of(figure.values.iter().copied());
            table.row([
                figure.what.clone(),
                spread.map_or("–".into(), |spread| write(spread.median)),
                spread
                    .map_or("–".into(), |spread| format!("{} – {}", write(spread.low), write(spread.high))),
                figure.published.map(write).unwrap_or_default(),
                figure.note.clone().unwrap_or_default(),
            ]);
        }
        out.push_str(&format!("<div class=\"prose\">{}</div></figure>\n", table.folded(title)));
    }
    out.push_str("</div>\n");
    out
}

fn dot(figure: &Figure, write: Write) -> Option<Dot> {
    let spread = Spread::of(figure.values.iter().copied())?;
    let style = match figure.id.split_once('.')?.1 {
        name if name.starts_with("coroutine") => Family::Coroutines,
        name if name.starts_with("thread") => Family::Threads,
        name if name.starts_with("process") => Family::Processes,
        _ => Family::Foreign,
    };
    let (what, _) = figure.what.split_once(", against").unwrap_or((&figure.what, ""));
    Some(Dot {
        name: what.to_owned(),
        value: spread.median,
        range: Some((spread.low, spread.high)),
        published: figure.published,
        figure: write(spread.median),
        style: style.number(),
    })
    .filter(|dot| dot.value > 0.0 || figure.unit == Unit::Ratio)
}

pub(super) fn history(rows: &[Row]) -> String {
    let mut out = String::from(
        "<p>Requests per second in tables of 2014 (a talk at PyCon China), and today on this machine, with a connection for each request: the rates of fork suggest that it was so \
         then. Other machines, other protocols: what can be compared is the shape.</p>\n<ul class=\"claims\">",
    );
    for claim in history::claims(rows) {
        let verdict = match claim.holds {
            Some(true) => "<span class=\"verdict yes\">It holds.</span> ",
            Some(false) => "<span class=\"verdict no\">It does not hold.</span> ",
            None => "",
        };
        out.push_str(&format!("<li>{}<br>{verdict}{}</li>\n", escaped(&claim.then), escaped(&claim.today)));
    }
    out.push_str("</ul>\n");
    let mut table =
        Table::new(std::iter::once("what".to_owned()).chain(LEVELS.map(|level| level.to_string())));
    for old in &TABLES {
        let cell = |level: u32| {
            let found = old.rates.iter().find(|(at, _)| *at == level);
            let errors = if old.errors_at == Some(level) { " *" } else { "" };
            found.map_or(String::new(), |(_, value)| format!("{}{errors}", grouped(*value as u64)))
        };
        table.row(std::iter::once(old.what.to_owned()).chain(LEVELS.map(cell)));
    }
    let mut names: Vec<&str> =
        rows.iter().filter(|row| row.way == Way::OneRequest).map(|row| row.model.as_str()).collect();
    names.dedup();
    for model in names {
        let cell = |level: u32| {
            let row = rows
                .iter()
                .find(|row| row.way == Way::OneRequest && row.model == model && row.level == level);
            let errors = if row.is_some_and(|row| !row.is_held()) { " *" } else { "" };
            row.and_then(Row::requests_per_second)
                .map_or(errors.to_owned(), |value| format!("{}{errors}", rate(value)))
        };
        table.row(std::iter::once(format!("{model}, this run")).chain(LEVELS.map(cell)));
    }
    out.push_str(&table.html("requests per second by connections at a time"));
    out.push_str("<p class=\"soft\">* with errors</p>\n");
    out
}
