//! `ARCHITECTURE.md` names every crate that exists, and none that does not.
//!
//! A crate is named as `crates/name`, as a line `name/` of the tree drawn below a line `crates/`, or, with
//! backticks, as the package `fibra-name`.

use super::{Finding, Tree};
use std::collections::BTreeMap;

const PATH: &str = "ARCHITECTURE.md";

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(text) = tree.files.get(PATH) else {
        return vec![Finding::error(PATH, 0, "there is no such file")];
    };
    let named = named(text);
    let crates = tree.crates();
    let missing = crates.iter().filter(|name| !named.contains_key(**name));
    let missing = missing.map(|name| Finding::error(PATH, 0, format!("does not name crates/{name}")));
    let gone = named.iter().filter(|(name, _)| !crates.contains(&name.as_str()));
    let gone = gone.map(|(name, &line)| {
        Finding::error(PATH, line, format!("names crates/{name}, which does not exist"))
    });
    missing.chain(gone).collect()
}

/// The folder names of the crates that a text names, with the first line of each.
fn named(text: &str) -> BTreeMap<String, usize> {
    let mut named = BTreeMap::new();
    // In a drawn tree: how deep `crates/` stands, and how deep what is in it.
    let (mut crates_at, mut entries_at) = (None, None);
    for (line, text) in text.lines().enumerate() {
        let mut name = |name: &str| {
            if !name.is_empty() {
                named.entry(name.to_string()).or_insert(line + 1);
            }
        };
        text.split("crates/").skip(1).for_each(|after| name(word(after)));
        for code in text.split('`').skip(1).step_by(2) {
            let package =
                if code == "fibra" { code } else { code.strip_prefix("fibra-").unwrap_or_default() };
            name(if word(package) == package { package } else { "" });
        }

        let entry = text.trim_start_matches([' ', '│', '├', '└', '─']);
        let indent = text.chars().count() - entry.chars().count();
        let first = entry.split_whitespace().next().unwrap_or_default();
        if first == "crates/" {
            (crates_at, entries_at) = (Some(indent), None);
        } else if crates_at.is_some_and(|crates_at| indent > crates_at) {
            if *entries_at.get_or_insert(indent) == indent {
                name(first.strip_suffix('/').unwrap_or_default());
            }
        } else {
            crates_at = None;
        }
    }
    named
}

/// The name that a text begins with.
fn word(text: &str) -> &str {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_'));
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let tree =
            Tree::of(&[("crates/context/Cargo.toml", ""), ("crates/fibra/Cargo.toml", ""), (PATH, text)]);
        check(&tree).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn missing_file_is_found() {
        assert_eq!(check(&Tree::default()).len(), 1);
    }

    #[test]
    fn crate_that_is_not_named_is_found() {
        assert_eq!(findings("In crates/fibra/src."), ["ARCHITECTURE.md: does not name crates/context"]);
    }

    #[test]
    fn crates_may_be_named_by_path_by_package_or_in_a_tree() {
        assert_eq!(findings("`crates/context`, crates/fibra."), [""; 0]);
        assert_eq!(findings("`fibra-context` and `fibra`"), [""; 0]);
        assert_eq!(findings("crates/\n  context/  stacks\n    src/\n  fibra/\nxtask/\n  src/\n"), [""; 0]);
        assert_eq!(
            findings("├─ crates/\n│  ├─ context/  stacks\n│  └─ fibra/\n└─ xtask/\n   └─ src/\n"),
            [""; 0]
        );
    }

    #[test]
    fn crate_that_does_not_exist_is_found() {
        let all = "`crates/context`, `fibra`.\n";
        let gone = ["ARCHITECTURE.md:2: names crates/lost, which does not exist"];
        assert_eq!(findings(&format!("{all}crates/lost")), gone);
        assert_eq!(findings(&format!("{all}`fibra-lost`")), gone);
        assert_eq!(findings(&format!("{all}crates/\n  lost/"))[0], gone[0].replace(":2", ":3"));
    }
}
