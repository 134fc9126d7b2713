//! The lab's page in a browser: it renders, on a phone and on a desk, in the light and in the dark, and asks nobody for anything.

mod lab_fixture;
mod server;

use server::program;
use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the page is asked once it is there: it writes its answers into attributes of the document.
const QUESTIONS: &str = r#"<script>
addEventListener('load', () => {
  const root = document.documentElement, charts = [...document.querySelectorAll('svg.chart')];
  const box = (element) => element.getBoundingClientRect();
  const inside = (text) => { const [t, c] = [box(text), box(text.ownerSVGElement)]; return t.left >= c.left - 1 && t.right <= c.right + 1; };
  root.dataset.fetched = JSON.stringify(performance.getEntriesByType('resource').map((entry) => entry.name));
  root.dataset.charts = charts.filter((chart) => box(chart).width > 200 && box(chart).height > 30).length + '/' + charts.length;
  root.dataset.outside = JSON.stringify([...document.querySelectorAll('svg text')].filter((text) => !inside(text)).map((text) => text.textContent));
  root.dataset.sideways = root.scrollWidth > innerWidth ? 'yes' : 'no';
  root.dataset.paper = getComputedStyle(document.body).backgroundColor;
});
</script>"#;

/// A folder with the made-up results, and the page that the program makes of them.
fn report() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("results.json"), lab_fixture::json()).unwrap();
    let output = program().args(["lab", "report", "--out"]).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    (folder, page)
}

/// What the browser has of the page, and what it says of it on its console; `None` if there is no browser.
fn in_browser(page: &Path, options: &[&str]) -> Option<(String, String)> {
    let profile = tempfile::tempdir().unwrap();
    // Its own end is not left to it.
    let output = Command::new("timeout")
        .args([
            "--kill-after=10",
            "120",
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(options)
        .arg(format!("file://{}", page.display()))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    // What timeout says of a command that it does not find.
    if output.status.code() == Some(127) {
        return None;
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "chromium: {}\n{}", output.status, text(&output.stderr));
    Some((text(&output.stdout), text(&output.stderr)))
}

fn answer<'a>(dom: &'a str, name: &str) -> &'a str {
    let after = dom.split_once(&format!("data-{name}=\"")).unwrap_or_else(|| panic!("no answer to {name}")).1;
    after.split_once('"').unwrap().0
}

#[test]
fn the_page_renders_without_an_error_and_fetches_nothing() {
    let (folder, page) = report();
    let asked = folder.path().join("asked.html");
    fs::write(&asked, page.replace("</body>", &format!("{QUESTIONS}</body>"))).unwrap();
    let mut papers = Vec::new();
    for options in [
        &["--window-size=1280,900"][..],
        &["--window-size=500,900", "--blink-settings=preferredColorScheme=0"],
    ] {
        let Some((dom, console)) = in_browser(&asked, options) else {
            let test = "the_page_renders_without_an_error_and_fetches_nothing";
            writeln!(io::stdout(), "[skipped] {test}: needs chromium").unwrap();
            return;
        };
        let complaints: Vec<&str> = console.lines().filter(|line| line.contains("CONSOLE")).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        assert_eq!(answer(&dom, "fetched"), "[]");
        let (shown, all) = answer(&dom, "charts").split_once('/').unwrap();
        assert!(shown == all && all.parse::<usize>().unwrap() >= 20, "{shown} of {all} charts are shown");
        assert_eq!(answer(&dom, "outside"), "[]", "text that leaves its chart");
        assert_eq!(answer(&dom, "sideways"), "no", "the page is wider than the screen");
        papers.push(answer(&dom, "paper").to_owned());
    }
    assert_ne!(papers[0], papers[1], "the dark page has the paper of the light one");
}

#[test]
fn a_page_is_made_again_from_the_results_alone_and_results_of_another_kind_are_refused() {
    let (folder, page) = report();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    fs::write(folder.path().join("results.json"), "{\"schema\": 99}").unwrap();
    let output = program().args(["lab", "report", "--out"]).arg(folder.path()).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && errors.contains("results.json is not what this fibra writes"),
        "{errors}"
    );
    let empty = tempfile::tempdir().unwrap();
    let output = program().args(["lab", "report", "--out"]).arg(empty.path()).output().unwrap();
    assert!(String::from_utf8(output.stderr).unwrap().contains("measure first"));
}
