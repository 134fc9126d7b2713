//! One conversation without its socket: bytes in, bytes out, what it wishes for next, and until when.
//!
//! This is what all models but the coroutines have in common. The protocols say what is answered; a [`Conversation`] keeps what an answer needs while
//! the socket cannot take it (the bytes left, the file they come from), the time limit that runs, and the way to a farewell that arrives. It never
//! waits, so it can be left at any point and gone on with later: what used to stand on a stack stands in its fields.
//!
//! ```text
//!              received                 sent: all
//!  Receive ────────────────▶ Send ─────────────────────┬──▶ Receive
//!     │  ▲                   │  ▲ sent: a part         ├──▶ Send       the next chunk of a file, the next answers
//!     │  └─ half a request   └──┘                      ├──▶ Shut ──▶ Receive, thrown away, until the end ──▶ Over
//!     └─ the end, or idle for too long ──▶ Over        └──▶ Over
//! ```
//!
//! Files are read where this runs, a chunk at a time as the socket takes them: a regular file is always *ready*, so no loop can wait for one, and
//! a cold one holds up everybody on the loop. The coroutine model has a pool (or a ring) for that.

use super::Protocol;
use super::deadlines::after;
use crate::protocol::echo::Echo;
use crate::protocol::http::{Connection, Date, FileSpan, Next, Service, Stage, refuse_overload};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How many bytes of a file are read and sent at once.
const CHUNK: usize = 64 << 10;

/// An output buffer that has grown beyond this is not kept.
const KEPT: usize = 2 * CHUNK;

/// How many output buffers are kept.
const SPARE: usize = 64;

/// What the conversations of one loop share, and what they need in order to answer.
#[derive(Debug)]
pub(super) struct Desk {
    pub(super) protocol: Protocol,
    pub(super) service: Arc<Service>,
    /// The present, as of when the loop last woke up.
    pub(super) now: Instant,
    date: Date,
    /// Output buffers that nobody uses: an idle conversation has none.
    spare: Vec<Vec<u8>>,
}

impl Desk {
    pub(super) fn new(protocol: Protocol, service: Arc<Service>) -> Desk {
        let date = Date::at(SystemTime::now());
        Desk { protocol, service, now: Instant::now(), date, spare: Vec::new() }
    }

    /// What a client is told for whom there is no room.
    pub(super) fn refusal(&self) -> Vec<u8> {
        let mut refusal = Vec::new();
        if self.protocol == Protocol::Http {
            refuse_overload(&Date::at(SystemTime::now()), &mut refusal);
        }
        refusal
    }

    fn give_back(&mut self, mut output: Vec<u8>) {
        output.clear();
        if output.capacity() <= KEPT && self.spare.len() < SPARE {
            self.spare.push(output);
        }
    }
}

/// What a conversation wants of its socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// More bytes: then [`Conversation::received`]; if there are none for now, [`Conversation::drained`].
    Receive,
    /// That [`Conversation::unsent`] is sent: then [`Conversation::sent`].
    Send,
    /// That the sending side is shut down: then [`Conversation::shut`].
    Shut,
    /// To be closed.
    Over,
}

/// One client's conversation.
#[derive(Debug)]
pub(super) struct Conversation {
    speech: Speech,
    state: State,
    /// What is being sent, and how much of it has been.
    output: Vec<u8>,
    sent: usize,
    /// The present stage of HTTP, and until when it may last.
    stage: Stage,
    stage_ends: Instant,
    deadline: Instant,
    /// Whether the server stops: then what is idle is over.
    stopping: bool,
    /// Whether the last look for bytes found none.
    drained: bool,
}

#[derive(Debug)]
enum Speech {
    Echo(Echo),
    Http(Connection),
}

#[derive(Debug)]
enum State {
    Receiving,
    /// And what follows when everything has been sent.
    Sending(After),
    Shutting,
    /// The client reads the last answer; what it still says is thrown away.
    Lingering,
    Over,
}

#[derive(Debug)]
enum After {
    Receive,
    /// Requests that were received before are answered.
    Resume,
    File(Box<FileSpan>),
    Close {
        linger: bool,
    },
}

impl Conversation {
    pub(super) fn new(desk: &Desk) -> Conversation {
        let (speech, stage) = match desk.protocol {
            Protocol::Echo => (Speech::Echo(Echo::new()), Connection::new().stage()),
            Protocol::Http => {
                let connection = Connection::new();
                let stage = connection.stage();
                (Speech::Http(connection), stage)
            }
        };
        let idle_until = after(desk.now, desk.service.limits().idle_timeout);
        Conversation {
            speech,
            state: State::Receiving,
            output: Vec::new(),
            sent: 0,
            stage,
            stage_ends: idle_until,
            deadline: idle_until,
            stopping: false,
            drained: false,
        }
    }

    pub(super) fn wish(&self) -> Wish {
        match self.state {
            State::Receiving | State::Lingering => Wish::Receive,
            State::Sending(_) => Wish::Send,
            State::Shutting => Wish::Shut,
            State::Over => Wish::Over,
        }
    }

    /// Until when the present wish has to come true; after that, [`expire`](Self::expire).
    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    fn allow(&mut self, desk: &Desk, patience: Duration) {
        self.deadline = after(desk.now, patience);
    }

    /// Takes in what was received; nothing at all is the end of the stream.
    #[inline]
    pub(super) fn received(&mut self, bytes: &[u8], desk: &mut Desk) {
        self.drained = false;
        match self.state {
            _ if bytes.is_empty() => self.state = State::Over,
            State::Receiving => self.contained(desk, |conversation, desk| conversation.answer(bytes, desk)),
            // Thrown away.
            _ => {}
        }
    }

    /// There is nothing to receive for now. A conversation that has nothing in flight is over, if the server stops.
    #[inline]
    pub(super) fn drained(&mut self) {
        self.drained = true;
        let idle = match &self.speech {
            Speech::Echo(_) => true,
            Speech::Http(connection) => connection.is_idle(),
        };
        if self.stopping && idle && matches!(self.state, State::Receiving) {
            self.state = State::Over;
        }
    }

    /// Whether a look for bytes is still to be taken because the server stops: for who is idle is over, once there are none.
    pub(super) fn owes_a_look(&self) -> bool {
        self.stopping && !self.drained && self.wish() == Wish::Receive
    }

    /// What is to be sent.
    #[inline]
    pub(super) fn unsent(&self) -> &[u8] {
        &self.output[self.sent..]
    }

    /// Hands out the buffer of what is to be sent, and from where on: to the kernel, which sends it in its own time. To be brought back by
    /// [`take_back`](Self::take_back), before [`sent`](Self::sent).
    pub(super) fn lend_unsent(&mut self) -> (Vec<u8>, usize) {
        (std::mem::take(&mut self.output), self.sent)
    }

    /// The buffer is back.
    pub(super) fn take_back(&mut self, output: Vec<u8>) {
        self.output = output;
    }

    /// The socket has failed.
    pub(super) fn give_up(&mut self) {
        self.state = State::Over;
    }

    /// Notes that so many bytes have been sent.
    #[inline]
    pub(super) fn sent(&mut self, count: usize, desk: &mut Desk) {
        self.sent += count;
        if self.sent < self.output.len() {
            return self.allow(desk, desk.service.limits().write_timeout);
        }
        self.output.clear();
        self.sent = 0;
        let State::Sending(after) = std::mem::replace(&mut self.state, State::Over) else {
            unreachable!("only a conversation that sends has something to send");
        };
        match after {
            After::Receive => self.receive(desk),
            After::Resume => self.contained(desk, Conversation::resume),
            After::File(span) => self.send_file(*span, desk),
            After::Close { linger } => self.close(linger, desk),
        }
        if self.output.is_empty() {
            desk.give_back(std::mem::take(&mut self.output));
        }
    }

    /// Notes that the sending side has been shut down.
    pub(super) fn shut(&mut self, desk: &Desk) {
        self.state = State::Lingering;
        self.allow(desk, desk.service.limits().linger_deadline);
    }

    /// Notes that the [`deadline`](Self::deadline) has passed. Mostly that is the end; a client in the middle of a request is told so first.
    pub(super) fn expire(&mut self, desk: &mut Desk) {
        if !matches!(self.state, State::Receiving) {
            self.state = State::Over;
            return;
        }
        self.contained(desk, |conversation, desk| {
            let next = match &mut conversation.speech {
                Speech::Echo(_) => Next::Close { linger: false },
                Speech::Http(connection) => {
                    desk.date.refresh(SystemTime::now());
                    connection.expire(&desk.date, &mut conversation.output)
                }
            };
            conversation.follow(next, desk);
        });
    }

    /// The server stops: what has been begun is finished. A last look for bytes is to follow, and so [`drained`](Self::drained).
    pub(super) fn stop(&mut self) {
        (self.stopping, self.drained) = (true, false);
        if let Speech::Http(connection) = &mut self.speech {
            connection.finish();
        }
    }

    fn answer(&mut self, bytes: &[u8], desk: &mut Desk) {
        if self.output.capacity() == 0 {
            self.output = desk.spare.pop().unwrap_or_default();
        }
        let next = match &mut self.speech {
            Speech::Echo(echo) => {
                let reply = echo.receive(bytes);
                self.output.extend_from_slice(&bytes[..reply.echo]);
                self.output.extend_from_slice(reply.then);
                if reply.close { Next::Close { linger: false } } else { Next::Receive }
            }
            Speech::Http(connection) => {
                desk.date.refresh(SystemTime::now());
                connection.receive(bytes, &desk.service, &desk.date, &mut self.output)
            }
        };
        self.follow(next, desk);
        if self.output.is_empty() {
            desk.give_back(std::mem::take(&mut self.output));
        }
    }

    fn resume(&mut self, desk: &mut Desk) {
        let Speech::Http(connection) = &mut self.speech else {
            unreachable!("the echo answers everything at once");
        };
        desk.date.refresh(SystemTime::now());
        let next = connection.resume(&desk.service, &desk.date, &mut self.output);
        self.follow(next, desk);
    }

    /// Does what the protocol says, until something is to be sent or received.
    fn follow(&mut self, mut next: Next, desk: &mut Desk) {
        loop {
            let Next::Open(wanted) = next else { break };
            let Speech::Http(connection) = &mut self.speech else {
                unreachable!("the echo has no files");
            };
            // Here the filesystem may block, and all the loop with it.
            let found = wanted.find(desk.service.site());
            next = connection.opened(found, &desk.service, &desk.date, &mut self.output);
        }
        let after = match next {
            Next::Receive => After::Receive,
            Next::Send => After::Resume,
            Next::SendFile(span) => return self.send_file(span, desk),
            Next::Close { linger } => After::Close { linger },
            Next::Open(_) => unreachable!("opened above"),
        };
        if !self.output.is_empty() {
            self.state = State::Sending(after);
            return self.allow(desk, desk.service.limits().write_timeout);
        }
        match after {
            After::Close { linger } => self.close(linger, desk),
            _ => self.receive(desk),
        }
    }

    /// Adds the next chunk of a file to what is to be sent.
    fn send_file(&mut self, mut span: FileSpan, desk: &Desk) {
        match read_chunk(&span.file, span.offset, span.len, &mut self.output) {
            Ok(read) => {
                span.offset += read;
                span.len -= read;
                self.state = State::Sending(match span.len {
                    0 => After::Resume,
                    _ => After::File(Box::new(span)),
                });
                self.allow(desk, desk.service.limits().write_timeout);
            }
            Err(error) => {
                // Its length has been promised: the client has to see that it is not whole.
                tracing::debug!(%error, "a file could not be sent to its end");
                self.state = State::Over;
            }
        }
    }

    fn receive(&mut self, desk: &Desk) {
        self.state = State::Receiving;
        match &self.speech {
            Speech::Echo(_) => self.allow(desk, desk.service.limits().idle_timeout),
            Speech::Http(connection) => {
                let stage = connection.stage();
                // The clock of a stage that goes on is not wound up again by what drips in, nor by an answer that was sent meanwhile.
                if stage != self.stage {
                    self.stage = stage;
                    self.stage_ends = after(desk.now, desk.service.limits().patience(stage.phase));
                }
                self.deadline = self.stage_ends;
            }
        }
    }

    fn close(&mut self, linger: bool, desk: &Desk) {
        self.state = if linger { State::Shutting } else { State::Over };
        self.allow(desk, desk.service.limits().linger_deadline);
    }

    /// Runs what may be broken: a panic costs this conversation and no other.
    #[inline]
    fn contained(&mut self, desk: &mut Desk, f: impl FnOnce(&mut Conversation, &mut Desk)) {
        // What a panic leaves behind is not used any more: the conversation is over, and the desk has only a date and empty buffers.
        if catch_unwind(AssertUnwindSafe(|| f(self, desk))).is_err() {
            tracing::error!("a handler panicked; its connection is closed, the others go on");
            self.state = State::Over;
        }
    }
}

/// Appends up to a chunk of `file` to `out`; says how much that was.
fn read_chunk(file: &File, offset: u64, len: u64, out: &mut Vec<u8>) -> io::Result<u64> {
    let begin = out.len();
    let most = CHUNK.min(usize::try_from(len).unwrap_or(CHUNK));
    out.resize(begin + most, 0);
    let read = loop {
        match file.read_at(&mut out[begin..], offset) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read,
        }
    };
    match read {
        Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(read) => {
            out.truncate(begin + read);
            Ok(read as u64)
        }
        Err(error) => Err(error),
    }
}
