//! Any bytes as HTTP: no panic, always progress, the same answer however they are cut into reads.
#![no_main]

#[path = "../../crates/serve/tests/driving/mod.rs"]
mod driving;

libfuzzer_sys::fuzz_target!(|data: &[u8]| driving::torture::http(data));
