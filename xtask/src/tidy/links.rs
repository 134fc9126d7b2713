//! Relative links of Markdown files lead somewhere: to a file, a folder, or a heading.

use super::{Finding, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.with_ending(".md") {
        for (line, target) in links(text) {
            if !resolves(tree, path, target) {
                findings.push(Finding::error(path, line, format!("the link to {target} leads nowhere")));
            }
        }
    }
    findings
}

fn resolves(tree: &Tree, from: &str, target: &str) -> bool {
    if target.starts_with("//") || target.split_once(':').is_some_and(|(scheme, _)| !scheme.contains('/')) {
        return true;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let file = match file {
        "" => Some(from.to_string()),
        _ => joined(from, file),
    };
    let Some(file) = file.filter(|file| tree.has(file)) else { return false };
    let is_text = file.ends_with(".md");
    heading.is_empty() || !is_text || headings(&tree.files[&file]).any(|known| known == heading)
}

/// The path that `target` means in the file `from`; none when it leads out of the repository.
fn joined(from: &str, target: &str) -> Option<String> {
    let mut parts: Vec<&str> = match target.starts_with('/') {
        true => Vec::new(),
        false => from.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
    };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The targets of `[text](target)`, `[text](<target>)`, `[text](target "title")` and `[label]: target`.
fn links(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        let mut targets = Vec::new();
        let mut definition = line.trim_start();
        if definition.starts_with('[')
            && let Some((label, target)) = definition.split_once("]: ")
            && !label.starts_with("[^")
        {
            definition = target;
            targets.push(definition);
        }
        for (at, _) in line.match_indices("](") {
            // Within backticks it is an example of a link.
            if line[..at].matches('`').count() % 2 == 0 {
                targets.push(line[at + 2..].split(')').next().unwrap_or_default());
            }
        }
        targets.into_iter().map(move |target| (number, destination(target)))
    })
}

/// The target without angle brackets and title.
fn destination(target: &str) -> &str {
    let target = target.trim();
    match target.strip_prefix('<') {
        Some(bracketed) => bracketed.split('>').next().unwrap_or_default(),
        None => target.split_whitespace().next().unwrap_or_default(),
    }
}

/// What follows `#` in a link to each heading, as GitHub makes it.
fn headings(text: &str) -> impl Iterator<Item = String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// The lines outside fenced code, with their numbers from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(line, text)| {
        let fence = text.trim_start().starts_with("```") || text.trim_start().starts_with("~~~");
        fenced ^= fence;
        (!fenced && !fence).then_some((line + 1, text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<usize> {
        let tree = Tree::of(&[
            ("docs/a.md", text),
            ("docs/b.md", "# The `b` file: one, two\n"),
            ("README.md", ""),
            ("crates/x/src/lib.rs", ""),
        ]);
        check(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        for text in [
            "[a](gone.md)",
            "![a](gone.png)",
            "[a](../../README.md)",
            "[a](<gone.md>)",
            "[a](gone.md \"title\")",
            "[a](/docs/gone.md)",
            "[a]: gone.md",
            "[a](#no-such-heading)",
            "[a](b.md#no-such-heading)",
            "`code` and [a](gone.md)",
            "[good](b.md) [a](gone.md)",
        ] {
            assert_eq!(findings(&format!("first\n{text}")), [2], "{text}");
        }
    }

    #[test]
    fn links_that_lead_somewhere_are_left_alone() {
        for text in [
            "[a](b.md)",
            "[a](../README.md)",
            "[a](../crates/x)",
            "[a](../crates/x/)",
            "[a](./b.md#the-b-file-one-two)",
            "[a](/docs/b.md)",
            "[a](..)",
            "[a](https://example.org/gone)",
            "[a](mailto:a@example.org)",
            "[a]: b.md",
            "[^1]: a footnote",
            "# Here\n[a](#here)",
            "```\n[a](gone.md)\n```",
            "`[a](gone.md)`",
            "array[0](argument",
        ] {
            let expected: &[usize] = if text.starts_with("array") { &[1] } else { &[] };
            assert_eq!(findings(text), expected, "{text}");
        }
    }
}
