//! One conversation from its beginning to its end, by calls that block: what a thread or a process of its own runs.
//!
//! ```text
//!  recv ──blocks──▶ received: an answer ──▶ send ──blocks──▶ sent ──▶ recv …       until it is over
//!    │ SO_RCVTIMEO                            │ SO_SNDTIMEO
//!    └─▶ EAGAIN: the time is over: expire ◀───┘
//! ```
//!
//! The time limits are the socket's own: what is left of one is set before a call that may block, unless just that is set already, which it is
//! as long as the client is in time. So a request costs one `recv` and one `send`, and nothing else.
//!
//! # How who blocks hears that the server stops
//! By a signal, which makes the call return with EINTR: a call on a socket with a timeout is never restarted by the kernel. A signal that comes
//! just before the call, and not during it, would be lost; so whoever stops the server sets `stopping` first, or has the handler do it, and then
//! signals [again and again](Insistence) until the other has left.

use super::conversation::{Conversation, Desk, Wish};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Converses with one client until the end. `input` is for what is received.
pub(super) fn converse(socket: &TcpStream, desk: &mut Desk, input: &mut [u8], stopping: &AtomicBool) {
    desk.now = Instant::now();
    let conversation = Conversation::new(desk);
    let mut line = Line { socket, conversation, receiving: Duration::ZERO, sending: Duration::ZERO };
    if let Err(error) = line.converse(desk, input, stopping) {
        // The client went away: its business, not ours.
        tracing::debug!(%error, "a connection ended early");
    }
}

struct Line<'a> {
    socket: &'a TcpStream,
    conversation: Conversation,
    /// The timeouts that the socket has; zero if they are not known.
    receiving: Duration,
    sending: Duration,
}

impl Line<'_> {
    fn converse(&mut self, desk: &mut Desk, input: &mut [u8], stopping: &AtomicBool) -> io::Result<()> {
        let mut told = false;
        loop {
            if !told && stopping.load(Ordering::SeqCst) {
                told = true;
                self.conversation.stop();
            }
            let left = self.conversation.deadline().saturating_duration_since(desk.now);
            let result = match self.conversation.wish() {
                Wish::Over => return Ok(()),
                _ if left.is_zero() => {
                    self.conversation.expire(desk);
                    Ok(())
                }
                Wish::Receive if self.conversation.owes_a_look() => self.look(desk, input),
                Wish::Receive => self.receive(left, desk, input),
                Wish::Send => self.send(left, desk),
                Wish::Shut => self.shut(desk),
            };
            match result {
                Ok(()) => {}
                // The time is over, or there was a signal: the next round finds out.
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    desk.now = Instant::now();
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn receive(&mut self, left: Duration, desk: &mut Desk, input: &mut [u8]) -> io::Result<()> {
        if self.receiving != left {
            self.socket.set_read_timeout(Some(whole(left)))?;
            self.receiving = left;
        }
        let len = self.socket.read(input)?;
        desk.now = Instant::now();
        self.conversation.received(&input[..len], desk);
        Ok(())
    }

    /// Receives what is there, without waiting.
    fn look(&mut self, desk: &mut Desk, input: &mut [u8]) -> io::Result<()> {
        let result = rustix::net::recv(self.socket, &mut *input, RecvFlags::DONTWAIT);
        desk.now = Instant::now();
        match result {
            Ok((len, _)) => self.conversation.received(&input[..len], desk),
            Err(Errno::AGAIN) => self.conversation.drained(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn send(&mut self, left: Duration, desk: &mut Desk) -> io::Result<()> {
        if self.sending != left {
            self.socket.set_write_timeout(Some(whole(left)))?;
            self.sending = left;
        }
        let count = self.socket.write(self.conversation.unsent())?;
        desk.now = Instant::now();
        self.conversation.sent(count, desk);
        Ok(())
    }

    fn shut(&mut self, desk: &Desk) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)?;
        self.conversation.shut(desk);
        Ok(())
    }
}

/// Whole milliseconds: the kernel counts ticks, and what is left of one at the end would be waited for in vain.
fn whole(left: Duration) -> Duration {
    Duration::from_millis(left.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u64::MAX))
}

/// How long a signal that may have been lost is waited for before it is sent again: longer each time, since what it found in the middle of
/// something, and not on its way into a call, has heard it.
#[derive(Debug, Default)]
pub(super) struct Insistence {
    again: Option<(Instant, Duration)>,
}

impl Insistence {
    const FIRST: Duration = Duration::from_millis(5);
    const LAST: Duration = Duration::from_millis(500);

    /// Whether to send one now; it counts as sent then.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        match self.again {
            Some((at, _)) if now < at => return false,
            Some((_, pause)) => {
                let pause = (pause * 2).min(Self::LAST);
                self.again = Some((now + pause, pause));
            }
            None => self.again = Some((now + Self::FIRST, Self::FIRST)),
        }
        true
    }

    /// When to ask again.
    pub(super) fn next(&self) -> Option<Instant> {
        self.again.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http::Service;
    use crate::{Limits, Protocol, Site};
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn insisting_asks_at_once_and_then_less_and_less_often() {
        let (mut insistence, mut now) = (Insistence::default(), Instant::now());
        let mut pauses = Vec::new();
        for _ in 0..10 {
            assert!(insistence.is_due(now) && !insistence.is_due(now));
            let next = insistence.next().unwrap();
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses[..2], [Insistence::FIRST, Insistence::FIRST * 2]);
        assert_eq!(pauses[9], Insistence::LAST);
    }

    #[test]
    fn a_conversation_that_is_told_to_stop_answers_what_has_arrived_and_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"the last words").unwrap();
        let (socket, _) = listener.accept().unwrap();
        let mut desk = Desk::new(Protocol::Echo, Arc::new(Service::new(Site::hello(), Limits::default())));
        let stopping = AtomicBool::new(true);
        thread::scope(|scope| {
            scope.spawn(|| {
                converse(&socket, &mut desk, &mut [0; 4], &stopping);
                drop(socket);
            });
            let mut echoed = String::new();
            client.read_to_string(&mut echoed).unwrap();
            assert_eq!(echoed, "the last words");
        });
    }
}
