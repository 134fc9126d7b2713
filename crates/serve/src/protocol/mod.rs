//! The protocols, without input or output: bytes in, bytes out, and what to do next.
//!
//! Nothing here reads a socket or a clock, so every service model speaks exactly the same bytes.

pub mod echo;
pub mod http;
