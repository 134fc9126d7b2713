//! The fuzz targets' checks over some thousands of inputs, so that every `cargo test` makes them.
//!
//! `FIBRA_SEED` repeats a run, `FIBRA_ROUNDS` makes it longer.

mod driving;

use std::env;
use std::panic::{self, AssertUnwindSafe};
use std::time::{SystemTime, UNIX_EPOCH};

use driving::torture;

/// SplitMix64: enough to vary inputs with, and a seed is all it takes to repeat them.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    fn one_of<'w>(&mut self, words: &[&'w [u8]]) -> &'w [u8] {
        words[self.below(words.len())]
    }
}

fn number(name: &str, default: impl FnOnce() -> u64) -> u64 {
    env::var(name).ok().map_or_else(default, |text| text.parse().expect("a number"))
}

fn rounds_of(check: fn(&[u8]), words: &[&[u8]]) {
    let seed = number("FIBRA_SEED", || {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_nanos() as u64)
    });
    for round in 0..number("FIBRA_ROUNDS", || 3_000) {
        let mut random = Random(seed.wrapping_add(round));
        let input = input(&mut random, words);
        if let Err(payload) = panic::catch_unwind(AssertUnwindSafe(|| check(&input))) {
            eprintln!("repeat with FIBRA_SEED={} FIBRA_ROUNDS=1", seed.wrapping_add(round));
            panic::resume_unwind(payload);
        }
    }
}

/// A few cuts, then words of the protocol, most of the time as they are, else with a byte or two changed.
fn input(random: &mut Random, words: &[&[u8]]) -> Vec<u8> {
    let cuts = random.below(6);
    let mut input = vec![cuts as u8];
    input.extend((0..cuts).map(|_| random.next() as u8));
    let start = input.len();
    for _ in 0..random.below(24) {
        match random.below(20) {
            0 => input.push(random.next() as u8),
            _ => input.extend_from_slice(random.one_of(words)),
        }
    }
    for _ in 0..random.below(8).saturating_sub(5) {
        if input.len() > start {
            let at = start + random.below(input.len() - start);
            match random.below(3) {
                0 => input[at] = random.next() as u8,
                1 => input[at] ^= 1 << random.below(8),
                _ => drop(input.remove(at)),
            }
        }
    }
    input
}

#[test]
fn http_answers_any_bytes_and_always_the_same_however_they_are_cut() {
    rounds_of(
        torture::http,
        &[
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n",
            b"GET /Cargo.toml HTTP/1.1\r\nHost: a\r\nRange: bytes=2-\r\n\r\n",
            b"HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
            b"GET /%2e%2e/x HTTP/1.1\r\n",
            b"GET http://a/?q HTTP/1.1\r\n",
            b"HEAD / HTTP/1.1\r\n",
            b"Host: a\r\n",
            b"Host: b\r\n",
            b"Connection: close\r\n",
            b"Content-Length: 5\r\n",
            b"Content-Length: 90\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"Expect: 100-continue\r\n",
            b"If-None-Match: *\r\n",
            b"GET /Cargo.toml HTTP/1.1\r\n",
            b"\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b"5\r\nhello\r\n",
            b"0\r\n\r\n",
            b"0;x=y\r\nTrailer: z\r\n\r\n",
            b"ffffffffffffffff1\r\n",
            b"X: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\r\n",
            b"\x16\x03\x01",
            b" ",
            b"HTTP/2.0\r\n",
        ],
    );
}

#[test]
fn the_echo_is_what_its_definition_says_for_any_bytes() {
    rounds_of(torture::echo, &[b"done", b"done\n", b"done\r\n", b"\n", b"\r", b"d", b"do", b"ne", b"hello"]);
}
