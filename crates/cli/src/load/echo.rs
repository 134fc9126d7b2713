//! The echo: what is sent comes back.
//!
//! Payloads are lines of the given size, a few dozen different ones in turn, so that a byte from an earlier answer is noticed, and servers
//! that read by lines answer, too. They are made once: an exchange costs the comparison, and nothing else.

use super::conversation::{After, Answer, Conversation};
use super::fault::Fault;

/// Different lines, if they are short.
const LINES: usize = 61;
/// Most bytes of all lines together, if they are long; there are never less than two.
const BYTES: usize = 256 * 1024;

/// Without lower case: no line is the word that ends the textbook's echo.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

pub(super) struct Echo {
    size: usize,
    lines: Vec<u8>,
    count: usize,
    keep_alive: bool,
    slots: Vec<Slot>,
}

#[derive(Clone)]
struct Slot {
    line: usize,
    returned: usize,
}

impl Echo {
    /// For so many connections, with payloads of `size` bytes, at least one.
    pub(super) fn new(connections: usize, size: usize, keep_alive: bool) -> Echo {
        let count = (BYTES / size).clamp(2, LINES);
        let mut lines = Vec::with_capacity(size * count);
        // Marsaglia's xorshift: all that is asked of it is that lines differ.
        let mut random = 0x2545_f491_u32;
        for index in 0..size * count {
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let last = index % size == size - 1;
            lines.push(if last { b'\n' } else { ALPHABET[random as usize % ALPHABET.len()] });
        }
        let slots = (0..connections).map(|slot| Slot { line: slot % count, returned: 0 }).collect();
        Echo { size, lines, count, keep_alive, slots }
    }
}

impl Conversation for Echo {
    fn begin(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.line = if slot.line + 1 == self.count { 0 } else { slot.line + 1 };
        slot.returned = 0;
    }

    fn request(&self, slot: usize) -> &[u8] {
        &self.lines[self.slots[slot].line * self.size..][..self.size]
    }

    fn answer(&mut self, slot: usize, received: &[u8]) -> Answer {
        let rest = &self.request(slot)[self.slots[slot].returned..];
        if !rest.starts_with(received) {
            return Answer::Wrong(Fault::BadAnswer);
        }
        if received.len() == rest.len() {
            return Answer::Whole(Ok(()), if self.keep_alive { After::Keep } else { After::Close });
        }
        self.slots[slot].returned += received.len();
        Answer::More
    }

    fn end(&mut self, _slot: usize) -> Answer {
        Answer::Wrong(Fault::ClosedEarly)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Answer = Answer::Whole(Ok(()), After::Keep);

    #[test]
    fn an_answer_in_pieces_is_whole_with_its_last_byte() {
        let mut echo = Echo::new(2, 8, true);
        for _ in 0..200 {
            echo.begin(1);
            let line = echo.request(1).to_vec();
            assert_eq!((line.len(), line[7]), (8, b'\n'));
            assert_eq!(echo.answer(1, &line[..3]), Answer::More);
            assert_eq!(echo.answer(1, &line[3..]), WHOLE);
        }
    }

    #[test]
    fn another_answer_and_a_longer_one_are_refused() {
        let mut echo = Echo::new(1, 8, true);
        echo.begin(0);
        let mut line = echo.request(0).to_vec();
        line[6] ^= 1;
        assert_eq!(echo.answer(0, &line), Answer::Wrong(Fault::BadAnswer));
        echo.begin(0);
        let line = echo.request(0).to_vec();
        assert_eq!(echo.answer(0, &[&line[..], b"x"].concat()), Answer::Wrong(Fault::BadAnswer));
    }

    #[test]
    fn the_answer_to_the_request_before_is_refused() {
        let mut echo = Echo::new(1, 100_000, true);
        echo.begin(0);
        let line = echo.request(0).to_vec();
        echo.begin(0);
        assert_eq!(echo.answer(0, &line), Answer::Wrong(Fault::BadAnswer));
        echo.begin(0);
        assert_eq!(echo.answer(0, &line), WHOLE, "two lines in turn");
    }

    #[test]
    fn a_payload_may_be_one_byte() {
        let mut echo = Echo::new(1, 1, false);
        echo.begin(0);
        assert_eq!(echo.request(0), b"\n");
        assert_eq!(echo.answer(0, b"\n"), Answer::Whole(Ok(()), After::Close));
    }
}
