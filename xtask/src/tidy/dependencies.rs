//! Dependencies between crates go one way: `{context, driver} ← fibra ← {patch, serve} ← cli`.
//!
//! Dependencies of tests and of build scripts count too: a crate that needs a higher one for its tests has
//! them in the wrong place.

use super::{Finding, LAYERS, Tree};

pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in tree.crates() {
        let path = format!("crates/{name}/Cargo.toml");
        let manifest = Manifest::parse(&tree.files[&path]);
        let Some(layer) = layer(&manifest.package) else {
            let what =
                format!("the package '{}' has no layer: give it one in xtask's LAYERS", manifest.package);
            findings.push(Finding::error(&path, 0, what));
            continue;
        };
        for (line, dependency) in manifest.dependencies {
            if self::layer(&dependency).is_some_and(|below| below >= layer) {
                let what =
                    format!("{} may not depend on {dependency}, which is not below it", manifest.package);
                findings.push(Finding::error(&path, line, what));
            }
        }
    }
    findings
}

fn layer(package: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&package))
}

/// What matters here of a `Cargo.toml`.
#[derive(Debug, Default, PartialEq)]
struct Manifest {
    package: String,
    /// The packages depended on, each with its line.
    dependencies: Vec<(usize, String)>,
}

impl Manifest {
    /// Reads the manifests that we write: one key a line, and tables inline only as the value of a
    /// dependency.
    fn parse(text: &str) -> Manifest {
        let mut manifest = Manifest::default();
        let mut table = String::new();
        for (line, text) in text.lines().enumerate().map(|(line, text)| (line + 1, text.trim())) {
            if let Some(header) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
                table = header.0.trim().into();
                // `[dependencies.name]`: what follows is about that one dependency.
                if let Some((_, name)) = table.split_once("dependencies.") {
                    manifest.dependencies.push((line, unquoted(name)));
                }
                continue;
            }
            let Some((key, value)) = text.split_once('=').filter(|_| !text.starts_with('#')) else {
                continue;
            };
            let (key, value) = (key.trim(), value.trim());
            if table == "package" && key == "name" {
                manifest.package = unquoted(value);
            } else if table.ends_with("dependencies") {
                let name = key.split('.').next().unwrap_or(key);
                manifest.dependencies.push((line, renamed(value).unwrap_or_else(|| unquoted(name))));
            } else if let (true, "package", Some(last)) =
                (table.contains("dependencies."), key, manifest.dependencies.last_mut())
            {
                last.1 = unquoted(value);
            }
        }
        manifest
    }
}

/// The package behind `name = { package = "…" }`.
fn renamed(value: &str) -> Option<String> {
    let (_, after) = value.split_once("package")?;
    let package = after.trim_start().strip_prefix('=')?.trim_start().strip_prefix('"')?;
    Some(package.split('"').next().unwrap_or_default().into())
}

fn unquoted(text: &str) -> String {
    match text.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default().into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(package: &str, rest: &str) -> Vec<String> {
        let manifest = format!("[package]\nname = \"{package}\"\n{rest}");
        let tree = Tree::of(&[("crates/a/Cargo.toml", &manifest)]);
        check(&tree).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn dependency_upwards_or_sideways_is_found_however_it_is_written() {
        for (package, rest) in [
            ("fibra-context", "[dependencies]\nfibra-driver.workspace = true"),
            ("fibra-driver", "[dependencies]\nfibra = { path = \"../fibra\" }"),
            ("fibra", "[dev-dependencies]\nfibra-serve.workspace = true"),
            ("fibra", "[build-dependencies]\nfibra-cli = \"1\""),
            ("fibra", "[target.'cfg(unix)'.dependencies]\nfibra-patch = \"1\""),
            ("fibra", "[dependencies.fibra-patch]\npath = \"../patch\""),
            ("fibra", "[dependencies]\nother = { version = \"1\", package = \"fibra-patch\" }"),
            ("fibra", "[dependencies.other]\npackage = \"fibra-patch\""),
            ("fibra-serve", "[dependencies]\nfibra-patch.workspace = true"),
            ("fibra-serve", "[dependencies]\nfibra-cli.workspace = true"),
        ] {
            assert_eq!(findings(package, rest).len(), 1, "{package}: {rest}");
        }
    }

    #[test]
    fn dependency_downwards_or_on_others_is_left_alone() {
        for (package, rest) in [
            ("fibra-context", "[dependencies]\nlibc = \"0.2\""),
            ("fibra", "[dependencies]\nfibra-context.workspace = true\nfibra-driver.workspace = true"),
            ("fibra-cli", "[dependencies]\nfibra.workspace = true\nfibra-serve.workspace = true"),
            ("fibra", "[features]\nfibra-serve = []\n[dependencies]\n# fibra-serve = \"1\""),
        ] {
            assert_eq!(findings(package, rest), [""; 0], "{package}: {rest}");
        }
    }

    #[test]
    fn crate_without_a_layer_is_found() {
        assert_eq!(findings("fibra-new", "").len(), 1);
    }
}
