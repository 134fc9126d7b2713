//! Where unsafe may stand, and that each use of it is argued for.

use super::rust_code::{code_only, words};
use super::{Finding, Tree, UNSAFE_CRATES, UNSAFE_FILES};

/// Lines of code between a `SAFETY:` comment and what it argues for.
const REACH: usize = 3;

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let code = code_only(text);
        let mut uses = words(&code, "unsafe").peekable();
        let listed = UNSAFE_FILES.contains(&path);
        if listed && uses.peek().is_none() {
            findings.push(Finding::warning(
                path,
                0,
                "may hold unsafe code and holds none: take it off the list",
            ));
        }
        let allowed = listed || UNSAFE_CRATES.iter().any(|folder| path.starts_with(folder));
        for (line, after) in uses {
            if !allowed {
                findings.push(Finding::error(path, line, "unsafe may not stand in this file"));
            }
            let after = after.trim_start();
            let needs_argument = after.starts_with('{') || after.starts_with("impl");
            if needs_argument && !is_argued_for(text, line) {
                findings.push(Finding::error(path, line, "no SAFETY: comment within three lines above"));
            }
        }
    }
    findings
}

/// Whether a comment with `SAFETY:` stands on the line or shortly above. The lines of comments do not count:
/// an argument may be long.
fn is_argued_for(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let mut code = 0;
    for line in lines.iter().rev() {
        if line
            .split_once("//")
            .or_else(|| line.split_once("/*"))
            .is_some_and(|(_, said)| said.contains("SAFETY:"))
        {
            return true;
        }
        if !line.trim_start().starts_with("//") {
            code += 1;
        }
        if code > REACH {
            return false;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(usize, String)> {
        let findings = check(&Tree::of(&[(path, text)]));
        findings.into_iter().map(|finding| (finding.line, finding.what)).collect()
    }

    #[test]
    fn unsafe_outside_its_files_is_found() {
        let text = "//! unsafe\nunsafe fn f() {}\n";
        for path in [
            "crates/serve/src/lib.rs",
            "crates/fibra/src/lib.rs",
            "crates/fibra/tests/a.rs",
            "xtask/src/a.rs",
        ] {
            assert_eq!(findings(path, text), [(2, "unsafe may not stand in this file".into())]);
        }
        for path in
            ["crates/context/src/lib.rs", "crates/driver/tests/a.rs", UNSAFE_FILES[0], "rivals/src/main.rs"]
        {
            assert_eq!(findings(path, text), []);
        }
    }

    #[test]
    fn forbidding_unsafe_is_not_using_it() {
        let text = "#![forbid(unsafe_code)]\n// unsafe { }\nconst WORD: &str = \"unsafe\";\n";
        assert_eq!(findings("crates/serve/src/lib.rs", text), []);
    }

    #[test]
    fn unsafe_without_an_argument_is_found() {
        let path = "crates/context/src/a.rs";
        let missing = |line| vec![(line, "no SAFETY: comment within three lines above".into())];
        assert_eq!(findings(path, "fn f() {\n    unsafe { g() }\n}\n"), missing(2));
        assert_eq!(findings(path, "unsafe impl Send for S {}\n"), missing(1));
        assert_eq!(findings(path, "// SAFETY: far\n1;\n2;\n3;\nunsafe { g() }\n"), missing(5));
        assert_eq!(findings(path, "let s = \"SAFETY:\";\nunsafe\n{ g() }\n"), missing(2));
    }

    #[test]
    fn argued_for_unsafe_is_left_alone() {
        let path = "crates/context/src/a.rs";
        assert_eq!(findings(path, "// SAFETY: g is always safe.\nunsafe { g() }\n"), []);
        assert_eq!(
            findings(
                path,
                "// SAFETY: a long\n// argument\n// takes\n// lines\nlet x =\n    unsafe { g() };\n"
            ),
            []
        );
        assert_eq!(findings(path, "unsafe { g() } // SAFETY: here\n"), []);
        assert_eq!(
            findings(path, "unsafe extern \"C\" { fn f(); }\nunsafe fn f() {}\nunsafe trait T {}\n"),
            []
        );
    }

    #[test]
    fn file_listed_for_nothing_is_pointed_out() {
        let tree = Tree::of(&[(UNSAFE_FILES[0], "//! Safe.\n")]);
        assert!(check(&tree).iter().all(|finding| finding.warning) && check(&tree).len() == 1);
    }
}
