//! `report.html`: one file, which opens from disk, and asks the network for nothing.
//!
//! No script, no font, no image: a style sheet, text, and charts as SVG inside it. So there is nothing to load, nothing to go wrong, and it prints.

use super::sections;
use super::words::escaped;
use crate::doctor::report::grouped;
use crate::lab::results::{Results, Serve};
use crate::lab::summary;

const STYLE: &str = include_str!("style.css");

/// The whole file.
pub(in crate::lab) fn page(results: &Results) -> String {
    let rows = results.serve.as_ref().map(summary::rows).unwrap_or_default();
    let mut parts: Vec<(&str, &str, String)> = Vec::new();
    let advice = crate::lab::advice::advice(results, &rows);
    if !advice.is_empty() {
        parts.push(("which", "Which model for which load", sections::advice(&advice)));
    }
    if let Some(serve) = &results.serve {
        parts.push(("glance", "At a glance", sections::glance(&rows)));
        parts.push(("throughput", "Requests per second", sections::throughput(serve, &rows)));
        parts.push(("latency", "The slowest of a hundred", sections::latency(serve, &rows)));
        parts.push(("cpu", "Processor time for a request", sections::processor(serve, &rows)));
        parts.push(("memory", "Memory for a connection", sections::memory(serve, &rows)));
        parts.push(("limits", "What could not be held", sections::limits(&rows)));
    }
    if let Some(costs) = &results.costs {
        parts.push(("costs", "The cost ladder", sections::costs(costs)));
    }
    if results.serve.is_some() {
        parts.push(("history", "Then and now", sections::history(&rows)));
    }
    parts.push(("how", "How this was measured", how(results)));
    assemble(results, &parts)
}

fn assemble(results: &Results, parts: &[(&str, &str, String)]) -> String {
    let mut out = String::from("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    out.push_str("<title>fibra lab: what each way of serving costs</title>\n");
    // Without an icon of its own a page from a server makes the browser ask for one.
    out.push_str("<link rel=\"icon\" href=\"data:,\">\n");
    out.push_str(&format!("<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n"));
    out.push_str("<h1>What each way of serving costs, on this machine</h1>\n");
    out.push_str(&facts(results));
    out.push_str("<nav aria-label=\"Contents\"><ul>");
    for (id, title, _) in parts {
        out.push_str(&format!("<li><a href=\"#{id}\">{}</a></li>", escaped(title)));
    }
    out.push_str("</ul></nav>\n</header>\n<main>\n");
    for (id, title, text) in parts {
        out.push_str(&format!(
            "<section aria-labelledby=\"{id}\">\n<h2 id=\"{id}\">{}</h2>\n{text}</section>\n",
            escaped(title)
        ));
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn facts(results: &Results) -> String {
    let mut facts = vec![
        ("Machine", escaped(&results.machine.describe())),
        ("Measured", escaped(&format!("{} to {} (UTC)", plain(&results.began), plain(&results.ended)))),
        ("Command", format!("<code>{}</code>", escaped(&results.command))),
        ("fibra", escaped(&results.fibra)),
    ];
    if let Some(serve) = &results.serve {
        let Serve { settings, cells } = serve;
        let unfinished = match crate::lab::serve::unfinished(serve) {
            0 => String::new(),
            count => format!(", {count} yet to be measured"),
        };
        facts.push((
            "Servers",
            escaped(&format!(
                "{} of them, {} levels, {} of {} s, {}; {} cells measured{unfinished}",
                settings.models.len(),
                settings.levels.len(),
                if settings.rounds == 1 {
                    "one round".to_owned()
                } else {
                    format!("{} rounds", settings.rounds)
                },
                settings.seconds,
                settings.protocol.to_uppercase(),
                cells.len()
            )),
        ));
    }
    let items: Vec<String> =
        facts.iter().map(|(name, text)| format!("<dt>{name}</dt><dd>{text}</dd>")).collect();
    format!("<dl class=\"facts\">{}</dl>\n", items.join("\n"))
}

/// `2026-11-28 00:40:00`.
fn plain(time: &str) -> String {
    time.replace('T', " ").replace('Z', "")
}

fn how(results: &Results) -> String {
    let mut out = String::new();
    if let Some(Serve { settings, .. }) = &results.serve {
        let cores = |cores: &[usize]| cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let apart = if settings.server_cores == settings.load_cores {
            "Server and load shared the only core, so the throughput is that of both together.".to_owned()
        } else {
            format!(
                "The server ran on core {} and the load on core {}.",
                cores(&settings.server_cores),
                cores(&settings.load_cores)
            )
        };
        let most: Vec<String> = settings
            .pool_workers
            .iter()
            .map(|(model, most)| format!("{} in {model}", grouped((*most).into())))
            .collect();
        let pools = match most.is_empty() {
            true => "The pools (prefork, thread-pool) had as many workers as they have unasked.".to_owned(),
            false => format!(
                "The pools had a worker for each connection, since each serves one at a time, and at most {}.",
                escaped(&most.join(", "))
            ),
        };
        out.push_str(&format!(
            "<p>Each cell had a server of its own, a program that was started for it, and <code>fibra load</code> in a closed loop: each connection \
             waits for its answer before it asks again. {apart} Rounds take turns: a round measures every model at every level once. Figures are medians \
             of the rounds. Connections are opened before the time that counts, and each is open when it has been \
             answered once. Who is not served then, or not once in that time, is told as an error. {pools}</p>\n<p>Processor time is that of the server and \
             all its processes, user and system, over {:.0}% of the time that counts: of a process with one thread to the nanosecond; of one with several, and \
             the share of the kernel, in the kernel's ticks of 10 ms. Memory is the server's own under load (pages of files not counted) and its page tables, \
             less what it had before, the larger of two looks in the time that counts; of more than 32 processes some speak for all.</p>\n",
            75.0
        ));
    }
    if results.costs.is_some() {
        out.push_str(
            "<p>Each value of the cost ladder was measured by a program of its own, in rounds that take turns. Switches and creations keep to one \
             core.</p>\n",
        );
    }
    out.push_str(
        "<p class=\"soft\">The figures of every cell are in <code>results.json</code> beside this file. A machine that is shared or virtual spreads by \
         several per cent from run to run: take differences of that size for nothing.</p>\n",
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::fixture;

    #[test]
    fn the_page_has_every_section_and_asks_for_nothing() {
        let html = page(&fixture::results());
        for id in
            ["which", "glance", "throughput", "latency", "cpu", "memory", "limits", "costs", "history", "how"]
        {
            assert!(html.contains(&format!("<h2 id=\"{id}\">")), "no section {id}");
            assert!(html.contains(&format!("href=\"#{id}\"")), "no link to {id}");
        }
        for outside in ["http://", "https://", "<script", "<img", "@import", "url("] {
            assert!(!html.contains(outside), "{outside} is in the page");
        }
        assert!(!html.contains("NaN") && !html.contains("inf "), "a figure that is none");
    }

    #[test]
    fn every_model_is_named_with_its_figures_or_with_what_kept_it_from_them() {
        let results = fixture::results();
        let html = page(&results);
        for model in &results.serve.as_ref().unwrap().settings.models {
            assert!(html.contains(&format!(">{model}</th>")), "{model} is in no table");
            assert!(html.contains(&format!(">{model}</text>")), "{model} is in no chart");
        }
        assert!(html.contains("select takes descriptors up to 1,023"));
        assert!(html.contains("&lt;EAGAIN&gt;") && !html.contains("<EAGAIN>"));
    }

    #[test]
    fn every_chart_has_a_table_behind_it() {
        let html = page(&fixture::results());
        for section in html.split("<section").skip(1).filter(|section| section.contains("<svg")) {
            assert!(section.contains("<table>"), "{}", section.lines().nth(1).unwrap_or_default());
        }
    }

    #[test]
    fn a_run_of_costs_alone_has_a_page_too() {
        let results = Results { serve: None, ..fixture::results() };
        let html = page(&results);
        assert!(html.contains("id=\"costs\"") && !html.contains("id=\"throughput\""));
    }
}
