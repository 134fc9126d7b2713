//! `fibra load`: requests for a server, as fast as it answers or at a fixed rate, and what came of them.

pub(crate) mod report;

/// The line that says on stderr that the time that counts begins, with `--mark`.
pub(crate) const MARK: &str = "measuring";
