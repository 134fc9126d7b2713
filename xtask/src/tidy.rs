//! `cargo xtask tidy`: the house rules that a machine can check.
//!
//! Each check is a function from the files to what it finds wrong, so that its tests show it a small bad tree
//! and see it complain. After the example of rust-analyzer, whose architecture is kept true in the same way.

mod architecture;
mod dependencies;
mod files;
mod links;
mod rust_code;
mod unsafe_code;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Crates in which unsafe may stand anywhere.
const UNSAFE_CRATES: &[&str] = &["crates/context/", "crates/driver/", "crates/patch/"];
/// Files of other crates in which unsafe may stand: each wraps it in a safe interface.
const UNSAFE_FILES: &[&str] = &[
    "crates/fibra/src/blocking.rs",
    "crates/fibra/src/call.rs",
    "crates/fibra/src/cancel/mod.rs",
    "crates/fibra/src/cancel/region.rs",
    "crates/fibra/src/cancel/stop.rs",
    "crates/fibra/src/context.rs",
    "crates/fibra/src/event_loop/poller.rs",
    "crates/fibra/src/fs/file.rs",
    "crates/fibra/src/net/handle.rs",
    "crates/fibra/src/net/operation.rs",
    "crates/fibra/src/queue/arms.rs",
    "crates/fibra/src/queue/models.rs",
    "crates/fibra/src/queue/select.rs",
    "crates/fibra/src/queue/when.rs",
    "crates/fibra/src/scheduler/core.rs",
    "crates/fibra/src/scheduler/living.rs",
    "crates/fibra/src/scheduler/lock.rs",
    "crates/fibra/src/scheduler/models/mod.rs",
    "crates/fibra/src/scheduler/models/sleep.rs",
    "crates/fibra/src/scheduler/park.rs",
    "crates/fibra/src/scheduler/runtime.rs",
    "crates/fibra/src/scheduler/started.rs",
    "crates/fibra/src/scheduler/task.rs",
    "crates/fibra/src/scheduler/task/body.rs",
    "crates/fibra/src/scheduler/worker.rs",
    "crates/fibra/src/scheduler/worker/end.rs",
    "crates/fibra/src/scheduler/worker/standstill.rs",
    "crates/fibra/src/scope.rs",
    "crates/fibra/src/spawn.rs",
    "crates/fibra/src/sync/condvar.rs",
    "crates/fibra/src/sync/condvar/models.rs",
    "crates/fibra/src/sync/event/models.rs",
    "crates/fibra/src/sync/mutex/arc_guard.rs",
    "crates/fibra/src/sync/mutex/data.rs",
    "crates/fibra/src/sync/mutex/models.rs",
    "crates/fibra/src/sync/mutex/raw.rs",
    "crates/fibra/src/sync/once.rs",
    "crates/fibra/src/sync/once/cell.rs",
    "crates/fibra/src/sync/once/lazy.rs",
    "crates/fibra/src/sync/once/models.rs",
    "crates/fibra/src/sync/reentrant.rs",
    "crates/fibra/src/sync/rwlock/data.rs",
    "crates/fibra/src/sync/rwlock/models.rs",
    "crates/fibra/src/sync/rwlock/raw.rs",
    "crates/fibra/src/sync/semaphore/models.rs",
    "crates/fibra/src/sync/semaphore/select.rs",
    "crates/fibra/src/sync/wait_list.rs",
    "crates/fibra/src/thread/builder.rs",
    "crates/fibra/tests/net_conversions.rs",
    "crates/serve/src/model/fork.rs",
    "crates/serve/src/model/uring/ring.rs",
];
/// Packages by layer: each may depend on those of the layers before its own.
const LAYERS: &[&[&str]] =
    &[&["fibra-context", "fibra-driver"], &["fibra"], &["fibra-patch", "fibra-serve"], &["fibra-cli"]];
/// Folders that are not ours to check.
const LEFT_OUT: &[&str] = &[".git", "target"];

/// The files of the repository: their text where a check reads it, by path from the root, `/` between
/// folders.
#[derive(Default)]
struct Tree {
    files: BTreeMap<String, String>,
}

/// Something that a check found.
#[derive(Debug, PartialEq)]
struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
    /// Worth a look, and no more.
    warning: bool,
}

/// Prints what is wrong.
///
/// # Errors
///
/// When anything is.
pub(crate) fn run(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root).map_err(|error| format!("reading {}: {error}", root.display()))?;
    let findings = check(&tree);
    for finding in &findings {
        println!("{finding}");
    }
    match findings.iter().filter(|finding| !finding.warning).count() {
        0 => Ok(()),
        errors => Err(format!("tidy found {errors} things wrong")),
    }
}

fn check(tree: &Tree) -> Vec<Finding> {
    let checks = [architecture::check, dependencies::check, files::check, links::check, unsafe_code::check];
    checks.iter().flat_map(|check| check(tree)).collect()
}

impl Tree {
    fn read(root: &Path) -> io::Result<Tree> {
        let mut tree = Tree::default();
        tree.read_folder(root, "")?;
        Ok(tree)
    }

    fn read_folder(&mut self, folder: &Path, prefix: &str) -> io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = format!("{prefix}{name}");
            if LEFT_OUT.contains(&name.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                self.read_folder(&entry.path(), &format!("{path}/"))?;
                continue;
            }
            let is_read = [".rs", ".toml", ".md"].iter().any(|ending| name.ends_with(ending));
            let text = if is_read { fs::read_to_string(entry.path())? } else { String::new() };
            self.files.insert(path, text);
        }
        Ok(())
    }

    /// The Rust files of the crates and of xtask, with their paths.
    fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.with_ending(".rs").filter(|(path, _)| path.starts_with("crates/") || path.starts_with("xtask/"))
    }

    fn with_ending(&self, ending: &str) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().filter(move |(path, _)| path.ends_with(ending));
        files.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Whether a file or a folder of this path exists.
    fn has(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        path.is_empty()
            || self.files.contains_key(path)
            || self.files.range(folder.clone()..).next().is_some_and(|(file, _)| file.starts_with(&folder))
    }

    /// The folders below `crates/`.
    fn crates(&self) -> Vec<&str> {
        let manifests =
            self.files.keys().filter_map(|path| path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml"));
        manifests.filter(|name| !name.contains('/')).collect()
    }

    #[cfg(test)]
    fn of(files: &[(&str, &str)]) -> Tree {
        Tree { files: files.iter().map(|&(path, text)| (path.into(), text.into())).collect() }
    }
}

impl Finding {
    fn error(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: path.into(), line, what: what.into(), warning: false }
    }

    fn warning(path: &str, line: usize, what: impl Into<String>) -> Finding {
        Finding { warning: true, ..Finding::error(path, line, what) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { path, line, what, warning } = self;
        let kind = if *warning { "warning: " } else { "" };
        match line {
            0 => write!(out, "{path}: {kind}{what}"),
            _ => write!(out, "{path}:{line}: {kind}{what}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_a_compiler_would_print_it() {
        assert_eq!(Finding::error("a.rs", 3, "wrong").to_string(), "a.rs:3: wrong");
        assert_eq!(Finding::warning("a.rs", 0, "long").to_string(), "a.rs: warning: long");
    }

    #[test]
    fn tree_knows_its_files_folders_and_crates() {
        let tree =
            Tree::of(&[("crates/a/Cargo.toml", ""), ("crates/a/b/Cargo.toml", ""), ("crates-not", "")]);
        assert!(
            tree.has("crates")
                && tree.has("crates/a/Cargo.toml")
                && !tree.has("crates/b")
                && !tree.has("crate")
        );
        assert_eq!(tree.crates(), ["a"]);
    }

    #[test]
    fn every_check_is_run() {
        let tree = Tree::of(&[
            ("crates/new/Cargo.toml", "[package]\nname = \"fibra-new\""),
            ("crates/new/src/lib.rs", "unsafe fn f() {}"),
            ("README.md", "[gone](gone.md)"),
        ]);
        let found: Vec<String> = check(&tree).into_iter().map(|finding| finding.to_string()).collect();
        for part in ["ARCHITECTURE.md", "layer", "//!", "gone.md", "unsafe"] {
            assert!(found.iter().any(|finding| finding.contains(part)), "{part} is not in {found:#?}");
        }
    }
}
