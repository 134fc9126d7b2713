//! What a server allows one peer, and all of them together.
//!
//! The protocols are pure: they enforce the sizes themselves, and name the time that applies with a
//! [`Stage`](crate::protocol::http::Stage). Reading clocks and ending waits is the service model's part.

use std::time::Duration;

use crate::protocol::http::Phase;

/// The sizes, times and counts a server keeps to. Sizes are in bytes.
///
/// ```
/// use std::time::Duration;
/// use fibra_serve::Limits;
///
/// let limits = Limits { idle_timeout: Duration::from_secs(5), ..Limits::default() };
/// assert!(limits.head_bytes >= limits.request_line_bytes);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest request line, its CRLF included; a longer one is answered 414. Default: 8 KiB.
    pub request_line_bytes: usize,
    /// Longest request head, from the first byte of the request line to the empty line that ends the
    /// header, both included; a longer one is answered 431. The chunk extensions and trailer fields of a
    /// body may have as many bytes, all together. Default: 16 KiB.
    pub head_bytes: usize,
    /// Most header lines in one request; more are answered 431. Default: 100, and never more than
    /// [`MAX_HEADERS`](Limits::MAX_HEADERS).
    pub headers: usize,
    /// Longest request body, which is read and thrown away; a longer one is answered 413. Default: 1 MiB.
    pub body_bytes: u64,
    /// How long a connection may stay silent between two requests, or an echo conversation between two
    /// reads, before it is closed without a word. Default: 60 s.
    pub idle_timeout: Duration,
    /// How long a request head may take from its first byte to its last, however steadily it drips in: an
    /// absolute deadline, so that a slow client cannot stretch it byte by byte. Default: 10 s.
    pub head_deadline: Duration,
    /// How long a request body may take from the end of its head to its last byte: absolute, too.
    /// With [`body_bytes`](Limits::body_bytes) it amounts to a lowest acceptable rate. Default: 60 s.
    pub body_deadline: Duration,
    /// How long one write may wait before the peer accepts at least one byte. Default: 30 s.
    pub write_timeout: Duration,
    /// How long a closing connection is read, and the bytes thrown away, so that the peer sees the last
    /// answer instead of a reset. Default: 2 s.
    pub linger_deadline: Duration,
    /// How long a stopping server lets the requests in flight finish. Default: 10 s.
    pub stop_deadline: Duration,
    /// Most connections open at once. Default: 16,384.
    pub connections: usize,
}

impl Limits {
    /// The largest number of header lines that can be allowed: the parser keeps them on the stack.
    pub const MAX_HEADERS: usize = 128;

    /// How long a connection in `phase` may stay in it before the model gives up waiting for input: the
    /// clock starts when the [`Stage`](crate::protocol::http::Stage) changes. While a request is being
    /// answered nothing is read, and what applies is [`write_timeout`](Limits::write_timeout).
    #[must_use]
    pub fn patience(&self, phase: Phase) -> Duration {
        match phase {
            Phase::Idle => self.idle_timeout,
            Phase::Head => self.head_deadline,
            Phase::Body => self.body_deadline,
            Phase::Answer | Phase::Over => self.write_timeout,
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_line_bytes: 8 << 10,
            head_bytes: 16 << 10,
            headers: 100,
            body_bytes: 1 << 20,
            idle_timeout: Duration::from_secs(60),
            head_deadline: Duration::from_secs(10),
            body_deadline: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            linger_deadline: Duration::from_secs(2),
            stop_deadline: Duration::from_secs(10),
            connections: 16_384,
        }
    }
}
