//! One connection's side of HTTP: which request is being read, and what is to be done next.
//!
//! ```text
//!            ┌──────────────────────────────────────────────┐
//!            ▼                                              │ kept alive
//!   ┌─────► Head ── complete ──► (body?) ──► answer ────────┤
//!   input    │                      │          │  ▲         │
//!            │                    Body ──complete─┘│        ▼
//!            │ malformed            │          Opening    Over
//!            └──────────────────────┴─────────────────────► │
//! ```
//! A request is answered once it is complete, so a body is read before the answer to it is written; what was
//! asked is remembered meanwhile. Input that belongs to a later request waits until the present one is
//! answered. Usually a read brings one whole request, which is answered straight from the caller's buffer:
//! nothing is copied, and no memory is held between requests.

use super::body::{Body, Progress};
use super::date::Date;
use super::files::{FileSpan, Found, Wanted};
use super::head::{Head, Search};
use super::request::{Method, Request};
use super::response::{self, Persistence, Problem, Status};
use super::target::Target;
use super::{Next, Phase, Service, Stage};

/// Once this many bytes wait to be sent, they are, before another request is answered.
const ENOUGH: usize = 64 << 10;

/// Most empty lines before a request.
const EMPTY_LINES: u8 = 8;

/// The server's side of one connection. See the [module](super) for how it is driven.
#[derive(Debug, Default)]
pub struct Connection {
    /// Input that could not be used yet; what is before `used` is done with.
    kept: Vec<u8>,
    used: usize,
    search: Search,
    state: State,
    /// Requests whose heads are complete; wraps around.
    requests: u32,
    finishing: bool,
    /// Empty lines since the last request.
    empty_lines: u8,
}

#[derive(Debug, Default)]
enum State {
    /// Reading a head, or waiting for one.
    #[default]
    Head,
    Body(Box<Pending>),
    /// The caller looks for a file; the connection will be this afterwards.
    Opening(Persistence),
    /// Nothing more will be answered. Whether the client may still be sending.
    Over {
        linger: bool,
    },
}

/// A request whose body is being read.
#[derive(Debug)]
struct Pending {
    body: Body,
    asked: Asked,
}

/// What a request comes to once it is complete.
#[derive(Debug)]
struct Asked {
    head_only: bool,
    persistence: Persistence,
    what: What,
}

#[derive(Debug)]
enum What {
    Hello,
    File(Box<Wanted>),
    Problem(Problem),
}

impl Connection {
    /// A connection on which nothing was received yet.
    #[must_use]
    pub fn new() -> Connection {
        Connection::default()
    }

    /// Takes in `input`, the next bytes of the stream, and appends the answers to `out`. To be called after
    /// [`Next::Receive`], and on a new connection. All of `input` is taken: what cannot be answered yet is
    /// kept.
    #[inline]
    pub fn receive(&mut self, input: &[u8], service: &Service, date: &Date, out: &mut Vec<u8>) -> Next {
        if self.kept.is_empty() {
            let (used, next) = self.advance(input, service, date, out);
            if used < input.len() {
                self.kept.extend_from_slice(&input[used..]);
            }
            return next;
        }
        self.kept.drain(..self.used);
        self.used = 0;
        self.kept.extend_from_slice(input);
        self.resume(service, date, out)
    }

    /// Goes on after [`Next::Send`] and [`Next::SendFile`], with input that was received before.
    pub fn resume(&mut self, service: &Service, date: &Date, out: &mut Vec<u8>) -> Next {
        let kept = std::mem::take(&mut self.kept);
        let (used, next) = self.advance(&kept[self.used..], service, date, out);
        self.used += used;
        if self.used < kept.len() {
            self.kept = kept;
        } else {
            self.used = 0;
        }
        next
    }

    /// Goes on after [`Next::Open`], with what was found.
    ///
    /// # Panics
    /// If nothing was to be opened.
    pub fn opened(&mut self, found: Found, service: &Service, date: &Date, out: &mut Vec<u8>) -> Next {
        let State::Opening(persistence) = self.state else {
            panic!("a file was found that the connection did not want");
        };
        let persistence = self.persistence(persistence, !self.kept.is_empty());
        self.answered(persistence);
        match found.write(out, date, persistence) {
            Some(span) => Next::SendFile(span),
            None => self.resume(service, date, out),
        }
    }

    /// Ends the connection after the requests of which something has been received: the last answer will say
    /// so. An idle connection may be closed at once, but a request may be on its way to it: the kindest is to
    /// look once more, without waiting, for bytes that have already arrived.
    pub fn finish(&mut self) {
        self.finishing = true;
    }

    /// Ends the connection because the client took longer than the present [`Stage`] allows. A client in
    /// the middle of a request is told so.
    pub fn expire(&mut self, date: &Date, out: &mut Vec<u8>) -> Next {
        match self.phase() {
            Phase::Idle => self.state = State::Over { linger: false },
            Phase::Head | Phase::Body => {
                let detail = "the request took too long to arrive";
                self.refuse(Problem { status: Status::RequestTimeout, detail }, date, out);
            }
            Phase::Answer | Phase::Over => {}
        }
        Next::Close { linger: matches!(self.state, State::Over { linger: true }) }
    }

    /// What the connection is waiting for, and in which request: the clock of a timeout starts anew when
    /// this changes.
    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage { phase: self.phase(), request: self.requests }
    }

    /// Whether no part of a request has been received that is not answered yet.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.phase() == Phase::Idle
    }

    fn phase(&self) -> Phase {
        match self.state {
            // Half an empty line begins no request; or each would start the clocks anew.
            State::Head if matches!(self.kept[self.used..], [] | [b'\r']) => Phase::Idle,
            State::Head => Phase::Head,
            State::Body(_) => Phase::Body,
            State::Opening(_) => Phase::Answer,
            State::Over { .. } => Phase::Over,
        }
    }

    /// Uses as much of `input` as can be used now, and says how much that was.
    #[inline]
    fn advance(&mut self, input: &[u8], service: &Service, date: &Date, out: &mut Vec<u8>) -> (usize, Next) {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            match &mut self.state {
                State::Head => match self.head(rest, service, date, out) {
                    Step::Used(len) => used += len,
                    Step::Stop(len, next) => return (used + len, next),
                },
                State::Body(pending) => match pending.body.discard(rest, &service.limits) {
                    Progress::Unfinished => return (input.len(), Next::Receive),
                    Progress::Refused(problem) => self.refuse(problem, date, out),
                    Progress::Complete(len) => {
                        used += len;
                        let State::Body(pending) = std::mem::take(&mut self.state) else {
                            unreachable!("the state was Body");
                        };
                        let more = used < input.len();
                        if let Some(next) = self.answer(pending.asked, more, service, date, out) {
                            return (used, next);
                        }
                    }
                },
                State::Over { linger } => return (input.len(), Next::Close { linger: *linger }),
                State::Opening(_) => panic!("the connection waits for a file to be opened"),
            }
        }
    }

    /// Takes a request off the front of the input, if its head is complete.
    #[inline]
    fn head(&mut self, rest: &[u8], service: &Service, date: &Date, out: &mut Vec<u8>) -> Step {
        match rest {
            [] if self.finishing => {
                self.state = State::Over { linger: false };
                return Step::Used(0);
            }
            [] | [b'\r'] => return Step::Stop(0, Next::Receive),
            [b'\r', b'\n', ..] if self.empty_lines == EMPTY_LINES => {
                let detail = "there are too many empty lines before a request";
                self.refuse(Problem { status: Status::BadRequest, detail }, date, out);
                return Step::Used(0);
            }
            // Empty lines before a request are to be ignored (RFC 9112, 2.2).
            [b'\r', b'\n', ..] => {
                self.empty_lines += 1;
                return Step::Used(2);
            }
            _ => {}
        }
        if out.len() >= ENOUGH {
            return Step::Stop(0, Next::Send);
        }
        let (len, fields) = match self.search.go_on(rest, &service.limits) {
            Head::Complete { len, fields } => (len, fields),
            Head::Unfinished => return Step::Stop(0, Next::Receive),
            Head::Refused(problem) => {
                self.refuse(problem, date, out);
                return Step::Used(0);
            }
        };
        self.search = Search::default();
        self.requests = self.requests.wrapping_add(1);
        self.empty_lines = 0;
        let (asked, body, expects_continue) = match self.understand(&rest[..len], fields, service, date) {
            Ok(understood) => understood,
            Err(problem) => {
                self.refuse(problem, date, out);
                return Step::Used(len);
            }
        };
        let Some(body) = body else {
            return match self.answer(asked, len < rest.len(), service, date, out) {
                None => Step::Used(len),
                Some(next) => Step::Stop(len, next),
            };
        };
        if expects_continue {
            if let What::Problem(problem) = asked.what {
                // The client waits for our word before it sends the body, and now it may or may not send it:
                // where the next request would begin cannot be known.
                self.refuse_to(problem, asked.head_only, date, out);
                return Step::Used(len);
            }
            out.extend_from_slice(response::CONTINUE);
        }
        self.state = State::Body(Box::new(Pending { body, asked }));
        Step::Used(len)
    }

    #[inline]
    fn understand(
        &self,
        head: &[u8],
        fields: usize,
        service: &Service,
        date: &Date,
    ) -> Result<(Asked, Option<Body>, bool), Problem> {
        let files = !service.site.is_hello();
        let request = Request::parse(head, fields, files)?;
        if service.crash_at.as_deref().is_some_and(|target| target == request.target) {
            panic!("a request for {} crashes the handler, as was asked", request.target);
        }
        let body = Body::announced(request.body, &service.limits)?;
        let expects_continue = request.expects_continue;
        Ok((Asked::new(request, files, date)?, body, expects_continue))
    }

    /// Answers a request that is complete; there may be more input after it. Says what is to be done, if that
    /// is not the next request.
    #[inline]
    fn answer(
        &mut self,
        asked: Asked,
        more: bool,
        service: &Service,
        date: &Date,
        out: &mut Vec<u8>,
    ) -> Option<Next> {
        let Asked { head_only, persistence, what } = asked;
        let wanted = match what {
            What::File(wanted) => wanted,
            What::Hello => {
                let persistence = self.persistence(persistence, more);
                service.hello.write(out, date, persistence, head_only);
                self.answered(persistence);
                return None;
            }
            What::Problem(problem) => {
                let persistence = self.persistence(persistence, more);
                response::problem(out, problem, date, persistence, head_only);
                self.answered(persistence);
                return None;
            }
        };
        self.state = State::Opening(persistence);
        Some(Next::Open(wanted))
    }

    fn persistence(&self, wanted: Persistence, more: bool) -> Persistence {
        if self.finishing && !more { Persistence::Close } else { wanted }
    }

    fn answered(&mut self, persistence: Persistence) {
        self.state = match persistence {
            Persistence::Keep | Persistence::KeepAndSay => State::Head,
            // The client knows that this is the last answer, but may have sent more already.
            Persistence::Close => State::Over { linger: true },
        };
    }

    /// Answers a request after which the rest of the stream cannot be understood.
    fn refuse(&mut self, problem: Problem, date: &Date, out: &mut Vec<u8>) {
        self.refuse_to(problem, false, date, out);
    }

    fn refuse_to(&mut self, problem: Problem, head_only: bool, date: &Date, out: &mut Vec<u8>) {
        response::problem(out, problem, date, Persistence::Close, head_only);
        self.state = State::Over { linger: true };
    }
}

enum Step {
    /// This much of the input is done with; go on.
    Used(usize),
    /// And this is what is to be done before anything else.
    Stop(usize, Next),
}

impl Asked {
    /// # Errors
    /// A problem after which the connection cannot go on.
    #[inline]
    fn new(request: Request<'_>, files: bool, date: &Date) -> Result<Asked, Problem> {
        let Request { method, target, mut persistence, conditions, .. } = request;
        let head_only = match method {
            Method::Get => false,
            Method::Head => true,
            _ => {
                let (status, detail) = match method {
                    Method::Unknown => (Status::NotImplemented, "this method is not known here"),
                    _ => (Status::MethodNotAllowed, ""),
                };
                if method == Method::Connect {
                    // What follows may be meant for somebody else.
                    persistence = Persistence::Close;
                }
                let what = What::Problem(Problem { status, detail });
                return Ok(Asked { head_only: false, persistence, what });
            }
        };
        if !files && target == "/" {
            return Ok(Asked { head_only, persistence, what: What::Hello });
        }
        let target = Target::parse(target)?;
        let what = match target.decode() {
            Err(problem) => What::Problem(problem),
            Ok(path) if files => {
                let query = target.query.into();
                What::File(Box::new(Wanted { path, query, head_only, conditions, now: date.seconds() }))
            }
            Ok(path) if path.name().is_empty() => What::Hello,
            Ok(_) => What::Problem(Problem { status: Status::NotFound, detail: "" }),
        };
        Ok(Asked { head_only, persistence, what })
    }
}

/// Appends to `out` what a client is told before its connection is closed because there are too many: 503.
pub fn refuse_overload(date: &Date, out: &mut Vec<u8>) {
    let problem = Problem { status: Status::ServiceUnavailable, detail: "there are too many connections" };
    response::problem(out, problem, date, Persistence::Close, false);
}

// A parked connection costs what this costs; file spans are handed over, not kept.
const _: () = assert!(size_of::<Connection>() <= 96);
const _: () = assert!(size_of::<Next>() <= size_of::<FileSpan>() + 8);
