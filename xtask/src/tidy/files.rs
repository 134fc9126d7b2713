//! What holds for each Rust file by itself: it says what it is, is not too long, has a name of its own, and
//! leaves nothing undone.

use super::rust_code::{code_only, is_word, words};
use super::{Finding, Tree};

/// Past this many lines, ask what the second idea is.
const LONG: usize = 600;
const TOO_LONG: usize = 700;
/// Names of files and folders that say nothing of what is in them.
const NO_NAMES: &[&str] = &["util", "utils", "common", "misc", "helper", "helpers"];

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        findings.extend(of_source(path, text));
        findings.extend(names(path));
        findings.extend(undone(path, text));
    }
    findings
}

/// What concerns modules only, and not tests and examples.
fn of_source(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !path.contains("/src/") {
        return findings;
    }
    if !text.starts_with("//!") {
        findings.push(Finding::error(path, 1, "a module opens with //!: what it is for, what it promises"));
    }
    match text.lines().count() {
        lines if lines > TOO_LONG => {
            findings.push(Finding::error(path, 0, format!("{lines} lines, of {TOO_LONG} at the most")));
        }
        lines if lines > LONG => {
            findings.push(Finding::warning(path, 0, format!("{lines} lines: what is the second idea?")));
        }
        _ => {}
    }
    findings
}

fn names(path: &str) -> Vec<Finding> {
    let parts = path.split('/').map(|part| part.strip_suffix(".rs").unwrap_or(part));
    let unnamed = parts.filter(|part| NO_NAMES.contains(part));
    unnamed
        .map(|part| Finding::error(path, 0, format!("'{part}' is not a name: say what is in it")))
        .collect()
}

fn undone(path: &str, text: &str) -> Vec<Finding> {
    let code = code_only(text);
    let macros = ["todo", "unimplemented"].into_iter().flat_map(|name| {
        let calls = words(&code, name).filter(|(_, after)| after.starts_with('!'));
        calls.map(move |(line, _)| Finding::error(path, line, format!("{name}! is left in the code")))
    });
    let ignored = code.match_indices('#').filter(|&(at, _)| attribute(&code[at..]) == Some("ignore"));
    let ignored = ignored.map(|(at, _)| {
        let line = code[..at].matches('\n').count() + 1;
        Finding::error(path, line, "an ignored test tests nothing: one that cannot run says so and returns")
    });
    macros.chain(ignored).collect()
}

/// The name of the attribute that begins here.
fn attribute(code: &str) -> Option<&str> {
    let inside = code.strip_prefix('#')?.trim_start().strip_prefix('[')?.trim_start();
    inside.split(|c| !is_word(c)).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        check(&Tree::of(&[(path, text)])).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn module_that_does_not_say_what_it_is_for_is_found() {
        assert_eq!(findings("crates/a/src/b.rs", "use std;\n//! Late.\n").len(), 1);
        assert_eq!(findings("crates/a/src/b.rs", "//! For this.\n"), [""; 0]);
        assert_eq!(findings("crates/a/tests/b.rs", "use std;\n"), [""; 0]);
    }

    #[test]
    fn long_file_is_pointed_out_and_one_too_long_is_wrong() {
        let of = |lines| "//! Long.\n".repeat(lines);
        assert_eq!(findings("crates/a/src/b.rs", &of(600)), [""; 0]);
        assert_eq!(
            findings("crates/a/src/b.rs", &of(601)),
            ["crates/a/src/b.rs: warning: 601 lines: what is the second idea?"]
        );
        assert_eq!(
            findings("crates/a/src/b.rs", &of(701)),
            ["crates/a/src/b.rs: 701 lines, of 700 at the most"]
        );
        assert_eq!(findings("crates/a/tests/b.rs", &of(701)), [""; 0]);
    }

    #[test]
    fn names_that_say_nothing_are_found() {
        for path in [
            "crates/a/src/util.rs",
            "crates/a/src/common/b.rs",
            "crates/a/tests/helpers.rs",
            "xtask/src/misc.rs",
        ] {
            assert_eq!(findings(path, "//! Unnamed.\n").len(), 1, "{path}");
        }
        assert_eq!(findings("crates/a/src/commonwealth.rs", "//! Named.\n"), [""; 0]);
    }

    #[test]
    fn what_is_left_undone_is_found() {
        let undone = "//! Undone.\nfn f() { todo!() }\nfn g() { unimplemented!(\"yet\") }\n#[ignore = \"slow\"]\n#[ ignore ]\n";
        let found = findings("crates/a/tests/b.rs", undone);
        let lines: Vec<&str> =
            found.iter().map(|finding| finding.split(':').nth(1).unwrap_or_default()).collect();
        assert_eq!(lines, ["2", "3", "4", "5"]);
        let done = "//! todo!()\n// unimplemented!()\nfn todo() { \"#[ignore]\" }\n#[ignored_lint]\n";
        assert_eq!(findings("crates/a/tests/b.rs", done), [""; 0]);
    }
}
