//! The textbook echo (row B13).

mod driving;

use driving::torture::echo_by_definition;
use fibra_serve::protocol::echo::Echo;

#[test]
fn bytes_go_back_as_they_arrive_without_waiting_for_a_newline() {
    let mut echo = Echo::new();
    for byte in b"no newline, and don" {
        let reply = echo.receive(&[*byte]);
        assert_eq!((reply.echo, reply.then, reply.close), (1, &b""[..], false));
    }
}

#[test]
fn the_line_done_is_answered_bye_and_ends_the_conversation() {
    for line in ["done\n", "done\r\n", "a line\ndone\n", "\n\n\r\ndone\n", "done \nundone\nDone\ndone\n"] {
        let reply = Echo::new().receive(line.as_bytes());
        assert_eq!((reply.echo, reply.then, reply.close), (line.len(), &b"bye!\n"[..], true), "{line:?}");
    }
}

#[test]
fn the_line_done_is_seen_when_it_comes_byte_by_byte() {
    let mut echo = Echo::new();
    for byte in b"hello\ndone\r" {
        assert!(!echo.receive(&[*byte]).close);
    }
    let reply = echo.receive(b"\n");
    assert_eq!((reply.echo, reply.then, reply.close), (1, &b"bye!\n"[..], true));
}

#[test]
fn other_lines_are_only_echoed() {
    for line in [
        "done",
        "done\r",
        "xdone\n",
        "done \n",
        " done\n",
        "done\r\r\n",
        "don\ne\n",
        "donedone\n",
        "done\rx\n",
    ] {
        let reply = Echo::new().receive(line.as_bytes());
        assert_eq!((reply.echo, reply.close), (line.len(), false), "{line:?}");
    }
}

#[test]
fn nothing_is_answered_after_bye() {
    let mut echo = Echo::new();
    assert_eq!(echo.receive(b"done\nmore").echo, 5);
    let reply = echo.receive(b"done\n");
    assert_eq!((reply.echo, reply.then, reply.close), (0, &b""[..], true));
}

#[test]
fn every_cut_of_every_short_stream_gives_what_the_definition_says() {
    let alphabet = ["d", "do", "done", "ne", "\r", "\n", "x"];
    let mut words = vec![String::new()];
    for _ in 0..5 {
        words =
            words.iter().flat_map(|word| alphabet.iter().map(move |next| format!("{word}{next}"))).collect();
        for stream in &words {
            let stream = stream.as_bytes();
            let expected = echo_by_definition(stream);
            for cut in 0..=stream.len() {
                let (mut echo, mut bytes, mut closed) = (Echo::new(), Vec::new(), false);
                for piece in [&stream[..cut], &stream[cut..]] {
                    let reply = echo.receive(piece);
                    bytes.extend_from_slice(&piece[..reply.echo]);
                    bytes.extend_from_slice(reply.then);
                    closed |= reply.close;
                }
                assert_eq!(
                    (&bytes, closed),
                    (&expected.bytes, expected.closed),
                    "{} at {cut}",
                    stream.escape_ascii()
                );
            }
        }
    }
}
