//! Where the log goes, and what is in it.

use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Sends what `filter` lets pass to stderr, for the rest of the program.
///
/// # Errors
/// When the filter is not one.
pub(crate) fn install(filter: &str) -> Result<(), String> {
    let filter = EnvFilter::builder().parse(filter).map_err(|error| {
        format!("--log '{filter}' is no filter: {error}; try 'info' or 'info,fibra_serve=debug'")
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .with_target(false)
        // It would be told on stderr, which is what is broken, and panic over that.
        .log_internal_errors(false)
        .init();
    Ok(())
}
