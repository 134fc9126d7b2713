//! Any bytes as an echo conversation: the answer is what the definition says, however they are cut into reads.
#![no_main]

#[path = "../../crates/serve/tests/driving/mod.rs"]
mod driving;

libfuzzer_sys::fuzz_target!(|data: &[u8]| driving::torture::echo(data));
