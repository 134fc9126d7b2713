//! What a developer of fibra repeats: `cargo xtask test` and `cargo xtask tidy`.
//!
//! Nothing but std, so that it builds in a second on a machine that has built nothing yet.

mod setup;
mod test;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

const HELP: &str = "\
Usage: cargo xtask <task>

Tasks:
  test           Set up and pass every test: format, tidy, clippy, build, the tests in each
                 configuration, doc tests, examples, documentation. Stops at the first step that fails.
    --quick      leave out the configurations that repeat tests under other settings
    --list       print the steps and the programs that tests need, and run nothing
  tidy           Check what can be checked of the house rules: dependency directions, where unsafe
                 may stand, module documentation, ARCHITECTURE.md, links, file sizes and names.
  help, --help   Print this.

Environment of `test`:
  CI=true        a program that tests need and that cannot be installed is a failure, not a skip
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        [] | ["help" | "--help" | "-h"] | [_, "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        ["tidy"] => tidy::run(&root()),
        ["test", ref options @ ..] => test_with(options),
        _ => Err(format!("no such task: {}\n\n{HELP}", arguments.join(" "))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::FAILURE
        }
    }
}

fn test_with(options: &[&str]) -> Result<(), String> {
    let unknown = options.iter().find(|option| !["--quick", "--list"].contains(option));
    if let Some(unknown) = unknown {
        return Err(format!("no such option of test: {unknown}\n\n{HELP}"));
    }
    let quick = options.contains(&"--quick");
    if options.contains(&"--list") {
        test::list(quick);
        return Ok(());
    }
    test::run(&root(), quick)
}

/// The folder of the workspace.
fn root() -> PathBuf {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    manifest.parent().expect("xtask stands in the folder of the workspace").to_path_buf()
}
