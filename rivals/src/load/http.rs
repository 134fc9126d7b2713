//! GET / over and over. The first answer is read with care; the later ones have to be as long and begin alike, which
//! is checked at little cost, and are read with care when they do not.

use anyhow::{Context as _, Result, anyhow, bail};

use super::Conversation;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
const STATUS: &[u8] = b"HTTP/1.1 200";

pub(super) struct Http {
    /// The length of a whole answer, once one has been read.
    usual_length: Option<usize>,
    /// Of each connection, the parts of an answer that came in pieces.
    parts: Vec<Vec<u8>>,
}

impl Http {
    pub(super) fn new(connections: usize) -> Self {
        Self { usual_length: None, parts: vec![Vec::new(); connections] }
    }
}

impl Conversation for Http {
    fn request(&mut self, _index: usize) -> &[u8] {
        REQUEST
    }

    fn answer(&mut self, index: usize, received: &[u8]) -> Result<bool> {
        let parts = &mut self.parts[index];
        if parts.is_empty() && self.usual_length == Some(received.len()) && received.starts_with(STATUS) {
            return Ok(true);
        }
        parts.extend_from_slice(received);
        match whole_length(parts)? {
            Some(length) if length == parts.len() => {
                self.usual_length = Some(length);
                parts.clear();
                Ok(true)
            }
            Some(length) if length < parts.len() => bail!("more was answered than asked for"),
            _ => Ok(false),
        }
    }
}

/// The length of the answer that begins here, head and body, once its head is there.
fn whole_length(answer: &[u8]) -> Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return Ok(None) };
    if !answer.starts_with(STATUS) {
        bail!("answered {:?}", String::from_utf8_lossy(&answer[..head.min(80)]));
    }
    let body = std::str::from_utf8(&answer[..head])?
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .ok_or_else(|| anyhow!("an answer without content-length"))?;
    let body: usize = body.1.trim().parse().context("content-length")?;
    Ok(Some(head + 4 + body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_body() {
        let mut http = Http::new(1);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert!(!http.answer(0, &answer[..20]).expect("a good answer"));
        assert!(http.answer(0, &answer[20..]).expect("a good answer"));
        assert!(http.answer(0, answer).expect("a good answer"));
        assert!(!http.answer(0, &answer[..42]).expect("a good answer"));
    }

    #[test]
    fn an_error_is_not_an_answer() {
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        assert!(Http::new(1).answer(0, answer).is_err());
    }
}
