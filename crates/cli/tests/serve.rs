//! `fibra serve` as its users meet it: start, talk, stop (B10, B13, I7).

mod server;

use rustix::process::Signal;
use server::{PATIENCE, Server, answer, get, is_closed, program};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

#[test]
fn a_hello_page_is_all_there_is_without_a_root() {
    let server = Server::start(&[]);
    assert!(
        server.banner.contains("model coroutine") && server.banner.contains("worker"),
        "{}",
        server.banner
    );
    let mut client = server.connect();
    let (status, body) = get(&mut client, "/").unwrap();
    assert_eq!(status, 200);
    assert!(String::from_utf8(body).unwrap().contains("fibra"));
    assert_eq!(get(&mut client, "/Cargo.toml").unwrap().0, 404, "on the same connection");
    drop(client);
    server.stop();
}

#[test]
fn files_are_served_below_the_root_and_nowhere_else() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("public")).unwrap();
    std::fs::write(root.path().join("secret"), "no").unwrap();
    std::fs::write(root.path().join("public/page.html"), "<p>yes</p>").unwrap();
    std::os::unix::fs::symlink("../secret", root.path().join("public/link")).unwrap();
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    std::fs::write(root.path().join("public/large"), &large).unwrap();
    let public = root.path().join("public");
    let server = Server::start(&["--root", public.to_str().unwrap()]);
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/page.html").unwrap(), (200, b"<p>yes</p>".to_vec()));
    assert_eq!(get(&mut client, "/large").unwrap(), (200, large));
    for outside in ["/../secret", "/%2e%2e/secret", "/link"] {
        let mut client = server.connect();
        let (status, body) = get(&mut client, outside).unwrap();
        assert!(matches!(status, 400 | 403 | 404), "{outside}: {status}");
        assert_ne!(body, b"no");
    }
    server.stop();
}

#[test]
fn a_mistake_on_the_command_line_is_told_and_fails() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, expected) in [
        (&["serve", "nowhere"][..], "no address to listen on"),
        (&["serve", "--root", "/no/such/folder", "127.0.0.1:0"], "/no/such/folder"),
        (&["serve", "--protocol", "echo", "--root", "/", "127.0.0.1:0"], "--root goes with --protocol http"),
        (&["serve", "--workers", "0", "127.0.0.1:0"], "--workers"),
        (&["serve", "--idle-timeout", "0", "127.0.0.1:0"], "--idle-timeout"),
        (&["serve", "--write-timeout", "1e-10", "127.0.0.1:0"], "at least 0.001 seconds"),
        (&["serve", "--head-timeout", "0.0009", "127.0.0.1:0"], "at least 0.001 seconds"),
        (&["serve", "--stop-deadline", "nan", "127.0.0.1:0"], "expected seconds"),
        (&["serve", "--max-connections", "0", "127.0.0.1:0"], "--max-connections"),
        (&["serve", &taken], "another program listens there"),
        (&["--log", "=,=", "serve", "127.0.0.1:0"], "--log"),
    ] {
        let output = program().args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(told.contains(expected), "{arguments:?}: {told}");
        assert!(!told.contains("panicked"), "{arguments:?}: {told}");
    }
    for (variable, value) in [("FIBRA_WORKERS", "many"), ("FIBRA_STACK_SIZE", "1"), ("FIBRA_DRIVER", "magic")]
    {
        let output = program().args(["serve", "127.0.0.1:0"]).env(variable, value).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains(variable) && told.contains(value),
            "{variable}: {told}"
        );
    }
}

#[test]
fn sigterm_finishes_what_runs_and_closes_what_is_idle() {
    let root = tempfile::tempdir().unwrap();
    let large: Vec<u8> = (0..40_000_000u32).map(|n| (n % 253) as u8).collect();
    std::fs::write(root.path().join("large"), &large).unwrap();
    let server = Server::start(&["--root", root.path().to_str().unwrap()]);
    let (mut idle, mut fresh, mut busy) = (server.connect(), server.connect(), server.connect());
    get(&mut idle, "/nothing").unwrap();
    write!(busy, "GET /large HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut first = [0; 1];
    busy.read_exact(&mut first).unwrap();
    server.signal(Signal::TERM);
    assert!(is_closed(&mut idle), "an idle connection is closed at once");
    assert!(is_closed(&mut fresh), "and one that never said a word");
    // The download, of which far more is left than buffers hold, goes on to its end.
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&large[large.len() - 1000..]), "cut off after {} bytes", rest.len());
    let address = server.address;
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    assert!(log.contains("cut_off=0"), "{log}");
}

#[test]
fn a_request_that_is_on_its_way_when_sigterm_comes_is_answered() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    write!(client, "GET / HTTP/1.1\r\nHost: te").unwrap();
    get(&mut server.connect(), "/").unwrap();
    server.signal(Signal::TERM);
    // Another connection is not accepted any more, which shows that the signal has been seen.
    server.until("the end of accepting", |server| {
        std::net::TcpStream::connect(server.address).map_or(true, |mut late| {
            late.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            is_closed(&mut late)
        })
    });
    write!(client, "st\r\n\r\n").unwrap();
    assert_eq!(answer(&mut client).unwrap().0, 200);
    assert!(is_closed(&mut client));
    assert!(server.wait().0.success());
}

#[test]
fn the_stop_deadline_cuts_off_what_does_not_finish() {
    let root = tempfile::tempdir().unwrap();
    std::fs::File::create(root.path().join("huge")).unwrap().set_len(1 << 30).unwrap();
    let server = Server::start(&["--root", root.path().to_str().unwrap(), "--stop-deadline", "0.3"]);
    let mut stuck = server.connect();
    write!(stuck, "GET /huge HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    stuck.read_exact(&mut [0]).unwrap();
    let began = Instant::now();
    server.signal(Signal::TERM);
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(log.contains("cut_off=1"), "{log}");
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < PATIENCE);
}

#[test]
fn a_second_signal_does_not_wait() {
    let root = tempfile::tempdir().unwrap();
    std::fs::File::create(root.path().join("huge")).unwrap().set_len(1 << 30).unwrap();
    let server = Server::start(&["--root", root.path().to_str().unwrap(), "--stop-deadline", "600"]);
    let mut stuck = server.connect();
    write!(stuck, "GET /huge HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    stuck.read_exact(&mut [0]).unwrap();
    let mut idle = server.connect();
    server.signal(Signal::INT);
    assert!(is_closed(&mut idle));
    server.signal(Signal::INT);
    assert!(server.wait().0.success());
}

#[test]
fn a_log_that_cannot_be_written_stops_nothing() {
    let mut full = std::process::Command::new("sh");
    full.args(["-c", "exec \"$0\" serve 127.0.0.1:0 --log debug 2>/dev/full"]).arg(program().get_program());
    let mut unheard = program();
    unheard.args(["serve", "127.0.0.1:0", "--log", "debug"]);
    for server in [Server::start_with(full), Server::start_unheard(unheard)] {
        assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
        let began = Instant::now();
        server.stop();
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_late_answer_carries_the_time_that_it_is_sent_at() {
    let server = Server::start(&["--workers", "1", "--head-timeout", "2.1"]);
    let mut slow = server.connect();
    slow.write_all(b"GET / HT").unwrap();
    let mut told = String::new();
    slow.read_to_string(&mut told).unwrap();
    let mut quick = server.connect();
    quick.write_all(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answered = String::new();
    quick.read_to_string(&mut answered).unwrap();
    let second = |answer: &str| -> u32 {
        let date = answer.lines().find(|line| line.starts_with("Date: ")).expect("a date");
        date.strip_suffix(" GMT").unwrap().rsplit(':').next().unwrap().parse().unwrap()
    };
    assert!(told.starts_with("HTTP/1.1 408"), "{told}");
    let later = (60 + second(&answered) - second(&told)) % 60;
    assert!(later <= 1, "{told}\n{answered}");
    server.stop();
}
