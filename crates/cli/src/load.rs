//! `fibra load`: requests for a server, as fast as it answers or at a fixed rate, and what came of them.

pub(crate) mod report;
