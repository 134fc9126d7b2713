//! HTTP/1.1: one GET, over and over, and where its answers end (RFC 9112, 6.3).

use super::chunked::{Chunked, End};
use super::conversation::{After, Answer, Conversation};
use super::fault::Fault;
use httparse::{ParserConfig, Response, Status};
use std::mem::MaybeUninit;

/// Most fields of an answer's head.
const FIELDS: usize = 128;
/// Most bytes of it.
const HEAD: usize = 64 * 1024;

pub(super) struct Http {
    request: Vec<u8>,
    keep_alive: bool,
    slots: Vec<Slot>,
}

/// How far one answer is.
struct Slot {
    part: Part,
    /// What there is of a head that came in pieces.
    head: Vec<u8>,
    outcome: Result<(), Fault>,
    after: After,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Head,
    /// So many bytes of the body are to come.
    Fixed(u64),
    Chunked(Chunked),
    /// The end of the connection is the end of the body.
    UntilEnd,
}

/// A head, as far as it matters.
struct Head {
    length: usize,
    status: u16,
    body: Part,
    keep: bool,
}

/// The bytes of the request.
pub(super) fn request(host: &str, path: &str, fields: &[String], keep_alive: bool) -> Vec<u8> {
    let mut request = format!("GET {path} HTTP/1.1\r\n");
    let given = |name: &str| fields.iter().any(|field| name_of(field).eq_ignore_ascii_case(name));
    if !given("host") {
        request += &format!("Host: {host}\r\n");
    }
    if !given("user-agent") {
        request += concat!("User-Agent: fibra/", env!("CARGO_PKG_VERSION"), "\r\n");
    }
    if !keep_alive {
        request += "Connection: close\r\n";
    }
    for field in fields {
        request += &format!("{field}\r\n");
    }
    request += "\r\n";
    request.into_bytes()
}

/// The name in a `Name: value`.
pub(super) fn name_of(field: &str) -> &str {
    field.split_once(':').map_or(field, |(name, _)| name)
}

impl Http {
    pub(super) fn new(connections: usize, request: Vec<u8>, keep_alive: bool) -> Http {
        let slots = (0..connections)
            .map(|_| Slot { part: Part::Head, head: Vec::new(), outcome: Ok(()), after: After::Keep })
            .collect();
        Http { request, keep_alive, slots }
    }
}

impl Conversation for Http {
    fn begin(&mut self, slot: usize) {
        let slot = &mut self.slots[slot];
        slot.part = Part::Head;
        slot.head.clear();
    }

    fn request(&self, _slot: usize) -> &[u8] {
        &self.request
    }

    fn answer(&mut self, slot: usize, received: &[u8]) -> Answer {
        let slot = &mut self.slots[slot];
        if !matches!(slot.part, Part::Head) {
            return slot.body(received);
        }
        if slot.head.is_empty() {
            return slot.heads(received, self.keep_alive);
        }
        slot.head.extend_from_slice(received);
        let whole = std::mem::take(&mut slot.head);
        slot.heads(&whole, self.keep_alive)
    }

    fn end(&mut self, slot: usize) -> Answer {
        let slot = &self.slots[slot];
        match slot.part {
            Part::UntilEnd => Answer::Whole(slot.outcome, After::Close),
            _ => Answer::Wrong(Fault::ClosedEarly),
        }
    }
}

impl Slot {
    /// Reads a head and what follows it, or keeps what there is of it.
    fn heads(&mut self, mut input: &[u8], keep_alive: bool) -> Answer {
        loop {
            let head = match Head::parse(input) {
                Ok(Some(head)) => head,
                Ok(None) if input.len() > HEAD => return Answer::Wrong(Fault::BadAnswer),
                Ok(None) => {
                    self.head.extend_from_slice(input);
                    return Answer::More;
                }
                Err(fault) => return Answer::Wrong(fault),
            };
            input = &input[head.length..];
            // Interim answers go before the answer; 101 would be a protocol that nobody asked for.
            if (100..200).contains(&head.status) && head.status != 101 {
                continue;
            }
            self.part = head.body;
            self.outcome = if head.status >= 400 { Err(Fault::Status(head.status)) } else { Ok(()) };
            self.after = match (keep_alive, head.keep) {
                (true, true) => After::Keep,
                (false, true) => After::Close,
                (_, false) => After::AwaitEnd,
            };
            return if head.status == 101 { Answer::Wrong(Fault::BadAnswer) } else { self.body(input) };
        }
    }

    fn body(&mut self, input: &[u8]) -> Answer {
        let end = match &mut self.part {
            Part::Fixed(left) if *left > input.len() as u64 => {
                *left -= input.len() as u64;
                End::None
            }
            Part::Fixed(left) => End::After(*left as usize),
            Part::Chunked(chunked) => chunked.read(input),
            Part::UntilEnd | Part::Head => End::None,
        };
        match end {
            End::None => Answer::More,
            End::After(length) if length == input.len() => Answer::Whole(self.outcome, self.after),
            // One answer was asked for.
            End::After(_) | End::Malformed => Answer::Wrong(Fault::BadAnswer),
        }
    }
}

impl Head {
    /// The head at the start of `input`, if it is there.
    fn parse(input: &[u8]) -> Result<Option<Head>, Fault> {
        let mut fields = [const { MaybeUninit::uninit() }; FIELDS];
        let mut response = Response::new(&mut []);
        let parsed =
            ParserConfig::default().parse_response_with_uninit_headers(&mut response, input, &mut fields);
        let length = match parsed {
            Ok(Status::Complete(length)) => length,
            Ok(Status::Partial) => return Ok(None),
            Err(_) => return Err(Fault::BadAnswer),
        };
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err(Fault::BadAnswer);
        };
        let (mut size, mut coding) = (None, None);
        let mut keep = version == 1;
        for field in response.headers.iter() {
            let tokens = || field.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            if field.name.eq_ignore_ascii_case("content-length") {
                // The same size given twice is one (RFC 9112, 6.3).
                for token in tokens() {
                    let digits = !token.is_empty() && token.iter().all(u8::is_ascii_digit);
                    let number = std::str::from_utf8(token).ok().filter(|_| digits);
                    let number = number.and_then(|number| number.parse().ok()).ok_or(Fault::BadAnswer)?;
                    if size.replace(number).is_some_and(|before: u64| before != number) {
                        return Err(Fault::BadAnswer);
                    }
                }
            } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
                coding = tokens().next_back().or(coding);
            } else if field.name.eq_ignore_ascii_case("connection") {
                for token in tokens() {
                    if token.eq_ignore_ascii_case(b"close") {
                        keep = false;
                    } else if version == 0 && token.eq_ignore_ascii_case(b"keep-alive") {
                        keep = true;
                    }
                }
            }
        }
        let body = match (status, coding, size) {
            (100..200 | 204 | 304, ..) => Part::Fixed(0),
            (_, Some(coding), _) if coding.eq_ignore_ascii_case(b"chunked") => Part::Chunked(Chunked::new()),
            (_, None, Some(size)) => Part::Fixed(size),
            (_, Some(_), _) | (_, None, None) => Part::UntilEnd,
        };
        Ok(Some(Head { length, status, body, keep }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(keep_alive: bool) -> Http {
        let mut http = Http::new(1, request("localhost", "/", &[], keep_alive), keep_alive);
        http.begin(0);
        http
    }

    /// The same however the answer is cut in two, and byte by byte.
    fn answered(answer: &[u8]) -> Answer {
        let whole = http(true).answer(0, answer);
        for cut in 1..answer.len() {
            let mut http = http(true);
            match http.answer(0, &answer[..cut]) {
                Answer::More => assert_eq!(http.answer(0, &answer[cut..]), whole, "cut at {cut}"),
                // What comes too much is seen when it is there; what is wrong, perhaps before the cut.
                early => assert!(matches!(whole, Answer::Wrong(_)), "{early:?} at {cut}"),
            }
        }
        let mut http = http(true);
        let mut last = Answer::More;
        for byte in answer {
            if last == Answer::More {
                last = http.answer(0, &[*byte]);
            }
        }
        if !matches!(whole, Answer::Wrong(_)) {
            assert_eq!(last, whole);
        }
        whole
    }

    const KEPT: Answer = Answer::Whole(Ok(()), After::Keep);

    #[test]
    fn the_end_of_an_answer_is_where_its_head_says() {
        for answer in [
            &b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\ncontent-length: 5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n",
            b"HTTP/1.1 301 Moved\r\nContent-Length: 1\r\nLocation: /\r\n\r\nx",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
            b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\nx",
        ] {
            assert_eq!(answered(answer), KEPT, "{}", String::from_utf8_lossy(answer));
        }
    }

    #[test]
    fn the_answer_says_whether_the_connection_is_kept() {
        let closing = b"HTTP/1.1 200 OK\r\nConnection: x, close\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(answered(closing), Answer::Whole(Ok(()), After::AwaitEnd));
        let old = b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(answered(old), Answer::Whole(Ok(()), After::AwaitEnd));
        let keeping = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx";
        assert_eq!(http(false).answer(0, keeping), Answer::Whole(Ok(()), After::Close));
        assert_eq!(http(false).answer(0, closing), Answer::Whole(Ok(()), After::AwaitEnd));
    }

    #[test]
    fn an_answer_without_a_length_ends_with_its_connection() {
        let mut http = http(true);
        assert_eq!(http.answer(0, b"HTTP/1.1 200 OK\r\n\r\nhello"), Answer::More);
        assert_eq!(http.answer(0, b" world"), Answer::More);
        assert_eq!(http.end(0), Answer::Whole(Ok(()), After::Close));
        http.begin(0);
        assert_eq!(http.answer(0, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell"), Answer::More);
        assert_eq!(http.end(0), Answer::Wrong(Fault::ClosedEarly));
        http.begin(0);
        assert_eq!(http.end(0), Answer::Wrong(Fault::ClosedEarly));
    }

    #[test]
    fn a_status_of_400_and_more_is_a_failure_and_keeps_the_connection() {
        let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\nno";
        assert_eq!(answered(missing), Answer::Whole(Err(Fault::Status(404)), After::Keep));
        let busy = b"HTTP/1.1 503 Busy\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        assert_eq!(answered(busy), Answer::Whole(Err(Fault::Status(503)), After::AwaitEnd));
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for answer in [
            &b"hello\r\n\r\n"[..],
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!",
            b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        ] {
            assert_eq!(
                answered(answer),
                Answer::Wrong(Fault::BadAnswer),
                "{}",
                String::from_utf8_lossy(answer)
            );
        }
        let mut http = http(true);
        let mut last = http.answer(0, b"HTTP/1.1 200 OK\r\nx: ");
        for _ in 0..100 {
            if last == Answer::More {
                last = http.answer(0, &[b'x'; 1024]);
            }
        }
        assert_eq!(last, Answer::Wrong(Fault::BadAnswer), "a head without end");
    }

    #[test]
    fn a_request_has_what_it_needs_once() {
        let plain = String::from_utf8(request("here:80", "/a?b", &[], true)).unwrap();
        assert!(plain.starts_with("GET /a?b HTTP/1.1\r\nHost: here:80\r\nUser-Agent: fibra/"));
        assert!(plain.ends_with("\r\n\r\n") && !plain.contains("Connection"));
        let fields = ["host: other".to_owned(), "X: y".to_owned()];
        let other = String::from_utf8(request("here:80", "/", &fields, false)).unwrap();
        assert!(
            other.contains("Connection: close\r\nhost: other\r\nX: y\r\n\r\n") && !other.contains("here")
        );
    }
}
