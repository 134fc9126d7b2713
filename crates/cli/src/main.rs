//! The `fibra` program.
fn main() {}
