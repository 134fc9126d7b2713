//! Messages that no two requests share, and their comparison.

use anyhow::{Result, bail};

use super::Conversation;

pub(super) struct Echo {
    size: usize,
    /// The message under way on each connection, one after the other.
    messages: Vec<u8>,
    /// How much of it has come back.
    returned: Vec<usize>,
    rng: fastrand::Rng,
}

impl Echo {
    pub(super) fn new(connections: usize, size: usize, seed: u64) -> Self {
        Self {
            size,
            messages: vec![0; connections * size],
            returned: vec![0; connections],
            rng: fastrand::Rng::with_seed(seed),
        }
    }
}

impl Conversation for Echo {
    #[inline]
    fn request(&mut self, index: usize) -> &[u8] {
        let message = &mut self.messages[index * self.size..][..self.size];
        self.rng.fill(message);
        self.returned[index] = 0;
        message
    }

    #[inline]
    fn answer(&mut self, index: usize, received: &[u8]) -> Result<bool> {
        let message = &self.messages[index * self.size..][..self.size];
        let rest = &message[self.returned[index]..];
        if !rest.starts_with(received) {
            bail!("connection {index} was answered with something else than it sent");
        }
        self.returned[index] += received.len();
        Ok(self.returned[index] == self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_in_pieces_is_whole_with_its_last_byte() {
        let mut echo = Echo::new(2, 8, 1);
        let message = echo.request(1).to_vec();
        assert!(!echo.answer(1, &message[..3]).expect("the right bytes"));
        assert!(echo.answer(1, &message[3..]).expect("the right bytes"));
    }

    #[test]
    fn another_answer_is_refused() {
        let mut echo = Echo::new(1, 8, 1);
        let mut message = echo.request(0).to_vec();
        message[7] ^= 1;
        assert!(echo.answer(0, &message).is_err());
        let message = echo.request(0).to_vec();
        assert!(echo.answer(0, &[&message[..], b"x"].concat()).is_err());
    }
}
