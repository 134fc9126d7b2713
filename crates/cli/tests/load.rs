//! `fibra load` against small servers that behave as each test needs (J6).

mod server;

use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use serde_json::Value;
use server::{Server, program};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

/// A server whose every connection is left to `handle`, on a thread of its own, until the test ends.
fn serve(handle: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let handle = Arc::new(handle);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, handle) = (stream.unwrap(), Arc::clone(&handle));
            thread::spawn(move || handle(stream));
        }
    });
    address
}

/// One that answers each line with what `answer` makes of its number on the connection; an empty answer ends it.
fn serve_lines(answer: impl Fn(u64, &[u8]) -> Vec<u8> + Send + Sync + 'static) -> SocketAddr {
    serve(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        for number in 0.. {
            let mut line = Vec::new();
            if !matches!(reader.read_until(b'\n', &mut line), Ok(1..)) {
                return;
            }
            let answer = answer(number, &line);
            if answer.is_empty() || writer.write_all(&answer).is_err() {
                return;
            }
        }
    })
}

/// One that answers each HTTP request with `answer` of its number on the connection, and then goes on if `true`.
fn serve_http(answer: impl Fn(u64) -> (Vec<u8>, bool) + Send + Sync + 'static) -> SocketAddr {
    serve(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        for number in 0.. {
            if !read_request(&mut reader) {
                return;
            }
            let (answer, goes_on) = answer(number);
            if writer.write_all(&answer).is_err() || !goes_on {
                return;
            }
        }
    })
}

/// Reads the head of a request; false if there is none.
fn read_request(reader: &mut impl BufRead) -> bool {
    let mut line = String::new();
    loop {
        line.clear();
        match reader.read_line(&mut line) {
            Ok(1..) if line == "\r\n" => return true,
            Ok(1..) => {}
            _ => return false,
        }
    }
}

fn load(arguments: &[&str]) -> Output {
    program().arg("load").args(arguments).output().expect("the program starts")
}

/// Runs it on an address and returns its JSON, whether or not it failed because nothing was answered.
fn report(address: &str, arguments: &[&str]) -> Value {
    let mut all = vec![address, "--json", "-"];
    all.extend(arguments);
    let output = load(&all);
    parsed(&output)
}

fn parsed(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("{error}: {output:?}");
    })
}

fn echo(address: SocketAddr) -> String {
    format!("echo://{address}")
}

fn http(address: SocketAddr) -> String {
    format!("http://{address}/")
}

/// The errors of a report, as text: "refused 3, reset 1".
fn errors(report: &Value) -> String {
    let errors = report["errors"].as_object().expect("errors are an object");
    let all: Vec<_> = errors.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let total: u64 = errors.values().map(|count| count.as_u64().expect("a count")).sum();
    assert_eq!(report["errors_total"], total);
    all.join(", ")
}

#[test]
fn a_count_of_requests_is_exact() {
    for (mode, made) in
        [(&[][..], 10), (&["--threads", "3"], 10), (&["--rate", "5000", "--threads", "2"], 10)]
    {
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&seen);
        let address = serve_lines(move |_, line| {
            counter.fetch_add(1, Ordering::SeqCst);
            line.to_vec()
        });
        let mut arguments = vec!["-c", "10", "-n", "1003", "--payload", "100"];
        arguments.extend(mode);
        let report = report(&echo(address), &arguments);
        assert_eq!(report["requests"], 1_003, "{report}");
        assert_eq!(seen.load(Ordering::SeqCst), 1_003, "{mode:?}");
        assert_eq!(errors(&report), "");
        assert_eq!((&report["bytes_in"], &report["bytes_out"]), (&100_300.into(), &100_300.into()));
        assert_eq!(
            (&report["connections_made"], &report["connections_open_at_end"]),
            (&made.into(), &made.into())
        );
        assert_eq!(report["schema"], 1);
        assert_eq!(report["loop"], if mode.contains(&"--rate") { "open" } else { "closed" });
        assert!(report["latency_us"]["p50"].as_f64() <= report["latency_us"]["p999"].as_f64());
        assert!(report["started"].as_f64().unwrap() > 1.7e9, "seconds since 1970");
    }
}

#[test]
fn a_stall_shows_in_the_open_loop_and_hides_in_the_closed_one() {
    const STALL: Duration = Duration::from_secs(1);
    // Every 400th request; of them, 3 of 1,200 meet a stall themselves, and at 400 a second all others are due in one.
    let stalling = || {
        serve_lines(|number, line| {
            if number % 400 == 399 {
                thread::sleep(STALL);
            }
            line.to_vec()
        })
    };
    let arguments = ["-c", "1", "-n", "1200"];
    let (closed, open) = thread::scope(|scope| {
        let closed = scope.spawn(|| report(&echo(stalling()), &arguments));
        let open = scope.spawn(|| report(&echo(stalling()), &[&arguments[..], &["--rate", "400"]].concat()));
        (closed.join().unwrap(), open.join().unwrap())
    });
    let p99 = |report: &Value| report["latency_us"]["p99"].as_f64().unwrap();
    assert_eq!((&closed["requests"], &open["requests"]), (&1_200.into(), &1_200.into()));
    assert!(p99(&open) > 500_000.0, "due during a stall, so at least half of it late: {open}");
    assert!(p99(&closed) * 5.0 < p99(&open), "{closed} {open}");
    let stall = STALL.as_micros() as f64;
    assert!(closed["latency_us"]["max"].as_f64().unwrap() > 0.99 * stall, "the few that met it: {closed}");
}

#[test]
fn answers_end_where_http_says() {
    let address = serve_http(|number| {
        let answer: &[u8] = match number % 5 {
            0 => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            1 => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x\r\nlo\r\n0\r\nA: b\r\n\r\n",
            2 => b"HTTP/1.1 204 No Content\r\n\r\n",
            3 => b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
            _ => return (b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec(), false),
        };
        (answer.to_vec(), true)
    });
    let report = report(&http(address), &["-c", "3", "-n", "100"]);
    assert_eq!((&report["requests"], errors(&report)), (&100.into(), String::new()));
    assert!(report["connections_made"].as_u64().unwrap() >= 20, "every fifth answer ends one: {report}");
}

#[test]
fn a_connection_that_the_server_ends_in_good_order_is_no_error() {
    let address = serve_http(|number| match number {
        9 => (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx".to_vec(), false),
        _ => (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx".to_vec(), true),
    });
    let report = report(&http(address), &["-c", "2", "-n", "200"]);
    assert_eq!((&report["requests"], errors(&report)), (&200.into(), String::new()));
    assert!(report["connections_made"].as_u64().unwrap() >= 20, "{report}");
}

#[test]
fn without_keep_alive_each_request_has_a_connection() {
    let server = Server::start(&[]);
    let of_http = report(&http(server.address), &["-c", "7", "-n", "500", "--no-keep-alive"]);
    assert_eq!((&of_http["requests"], errors(&of_http)), (&500.into(), String::new()));
    assert_eq!((&of_http["connections_made"], &of_http["connections_open_at_end"]), (&500.into(), &0.into()));
    assert_eq!(of_http["keep_alive"], false);
    server.stop();

    let address = serve_lines(|_, line| line.to_vec());
    let of_echo = report(&echo(address), &["-c", "7", "-n", "500", "--no-keep-alive"]);
    assert_eq!((&of_echo["requests"], errors(&of_echo)), (&500.into(), String::new()));
    assert_eq!((&of_echo["connections_made"], &of_echo["connections_open_at_end"]), (&500.into(), &0.into()));
}

#[test]
fn large_payloads_pass_in_pieces() {
    let address = serve_lines(|_, line| line.to_vec());
    let report = report(&echo(address), &["-c", "3", "-n", "12", "--payload", "3000000"]);
    assert_eq!((&report["requests"], errors(&report)), (&12.into(), String::new()));
    assert_eq!(report["bytes_in"], 36_000_000);
}

#[test]
fn every_way_to_fail_is_told_by_its_kind() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let alone = |answer: &'static [u8]| http(serve_http(move |_| (answer.to_vec(), true)));
    let cases = [
        // What was sent is not read: closing then is a reset.
        (
            "reset 6",
            echo(serve(|stream| {
                stream.peek(&mut [0]).unwrap();
            })),
        ),
        ("closed_early 6", echo(serve_lines(|_, _| Vec::new()))),
        ("closed_early 6", http(serve_http(move |_| (ok[..30].to_vec(), false)))),
        ("bad_answer 6", echo(serve_lines(|_, _| b"something else".to_vec()))),
        ("bad_answer 6", echo(serve_lines(|_, line| [line, b"!"].concat()))),
        ("bad_answer 6", alone(b"SSH-2.0-OpenSSH_9.2\r\n")),
        ("bad_answer 6", alone(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno chunk")),
        ("bad_answer 6", alone(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\ntoo long")),
        ("status_404 6", alone(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")),
        ("timed_out 6", echo(serve(|mut stream| drop(stream.read_to_end(&mut Vec::new()))))),
        ("timed_out 6", alone(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")),
        ("not_closed 6", alone(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")),
        // Without end, and faster than it can be read.
        (
            "timed_out 6",
            http(serve(|mut stream| {
                let head = b"HTTP/1.1 200 OK\r\n\r\n";
                let _ = stream.read(&mut [0; 4096]);
                let _ = stream.write_all(head);
                while stream.write_all(&[b'x'; 65_536]).is_ok() {}
            })),
        ),
    ];
    for (expected, address) in cases {
        // Only what never comes is waited for so shortly.
        let timeout =
            if expected.starts_with("timed_out") || expected.starts_with("not") { "1" } else { "30" };
        let output = load(&[&address, "-c", "6", "-n", "6", "--timeout", timeout, "--json"]);
        let report = parsed(&output);
        assert_eq!((errors(&report).as_str(), &report["requests"]), (expected, &0.into()), "{address}");
        assert!(report["latency_us"].is_null());
        assert!(!output.status.success(), "nothing was answered");
        assert!(String::from_utf8_lossy(&output.stderr).contains("no request was answered"));
    }
}

#[test]
fn statuses_are_told_apart_and_the_rest_is_counted() {
    let address = serve_http(|number| {
        let status = match number % 4 {
            1 => "404 Not Found",
            3 => "503 Service Unavailable",
            _ => "200 OK",
        };
        (format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").into_bytes(), true)
    });
    let output = load(&[&http(address), "-c", "1", "-n", "100", "--json"]);
    let report = parsed(&output);
    assert_eq!((errors(&report).as_str(), &report["requests"]), ("status_404 25, status_503 25", &50.into()));
    assert_eq!(report["connections_made"], 1, "an answer with a bad status is an answer");
    assert!(output.status.success());
}

#[test]
fn a_server_that_goes_away_is_refused_for_the_rest() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        let mut request = [0; 64];
        stream.read_exact(&mut request).unwrap();
        stream.write_all(&request).unwrap();
        stream.read_exact(&mut request).unwrap();
    });
    let report = report(&echo(address), &["-c", "1", "-n", "8"]);
    server.join().unwrap();
    assert_eq!((errors(&report).as_str(), &report["requests"]), ("closed_early 1, refused 6", &1.into()));
}

#[test]
fn what_was_due_and_never_sent_is_an_error() {
    let address = serve(|mut stream| drop(stream.read_to_end(&mut Vec::new())));
    let arguments = ["-c", "2", "--rate", "100", "-d", "0.5", "--warm-up", "0", "--timeout", "3"];
    let report = report(&echo(address), &arguments);
    assert_eq!(errors(&report), "not_sent 48, timed_out 2");
    assert_eq!(report["seconds"], 0.5);
}

#[test]
fn an_open_loop_sends_all_that_is_due() {
    let address = serve_lines(|_, line| line.to_vec());
    for threads in ["1", "2"] {
        // A connection for each request that is due, so that one is free at any time.
        let arguments = ["-c", "480", "--rate", "800", "-d", "0.5", "--warm-up", "0.1", "--threads", threads];
        let report = report(&echo(address), &arguments);
        assert_eq!((&report["requests"], errors(&report)), (&400.into(), String::new()));
        assert_eq!((&report["rate"], &report["requests_per_second"]), (&800.0.into(), &800.0.into()));
    }
}

#[test]
fn running_out_of_descriptors_is_told() {
    // The tenth answer waits until the client may not open anything any more.
    let (reached, is_reached) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let (number, may_go_on) = (AtomicU64::new(0), Mutex::new(may_go_on));
    let address = serve_lines(move |_, line| {
        if number.fetch_add(1, Ordering::SeqCst) == 9 {
            reached.send(()).unwrap();
            may_go_on.lock().unwrap().recv().unwrap();
        }
        line.to_vec()
    });
    let child = program()
        .args(["load", &echo(address), "-c", "1", "--no-keep-alive", "-n", "20", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    is_reached.recv().unwrap();
    let none = Rlimit { current: Some(3), maximum: Some(3) };
    prlimit(Some(Pid::from_child(&child)), Resource::Nofile, none).unwrap();
    go_on.send(()).unwrap();
    let report = parsed(&child.wait_with_output().unwrap());
    assert_eq!((errors(&report).as_str(), &report["requests"]), ("no_descriptors 10", &10.into()));
}

#[test]
fn too_low_a_limit_of_descriptors_is_told_before_the_start() {
    let address = serve_lines(|_, line| line.to_vec()).to_string();
    let script = "ulimit -n 60 && exec \"$0\" load \"$1\" --protocol echo -c 100 -n 100";
    let program = env!("CARGO_BIN_EXE_fibra");
    // Root could raise the limit.
    let output = match rustix::process::geteuid().is_root() {
        true => Command::new("setpriv")
            .args(["--bounding-set", "-sys_resource", "sh", "-c", script, program, &address])
            .output(),
        false => Command::new("sh").args(["-c", script, program, &address]).output(),
    };
    let output = output.unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    assert!(errors.contains("100 connections need 132 descriptors") && errors.contains("60"), "{errors}");
}

#[test]
fn an_interrupt_tells_what_there_is_so_far() {
    for signal in [Signal::INT, Signal::TERM] {
        let seen = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&seen);
        let address = serve_lines(move |_, line| {
            counter.fetch_add(1, Ordering::SeqCst);
            line.to_vec()
        });
        let child = program()
            .args(["load", &echo(address), "-c", "3", "-d", "600", "--warm-up", "0", "--json"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while seen.load(Ordering::SeqCst) < 100 {
            thread::yield_now();
        }
        // Once to the process and once to its group, as timeout does.
        for _ in 0..2 {
            let _ = kill_process(Pid::from_child(&child), signal);
        }
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let report = parsed(&output);
        let requests = report["requests"].as_u64().unwrap();
        assert!((90..=seen.load(Ordering::SeqCst)).contains(&requests), "{report}");
        assert_eq!(report["interrupted"], true);
        assert!(report["seconds"].as_f64().unwrap() < 600.0);
    }
}

#[test]
fn warm_up_and_ramp_are_not_counted() {
    let first = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&first);
    let address = serve_lines(move |_, line| {
        counter.fetch_add(1, Ordering::SeqCst);
        line.to_vec()
    });
    let arguments = ["-c", "5", "-n", "50", "--ramp", "0.2", "--warm-up", "0.2"];
    let report = report(&echo(address), &arguments);
    assert_eq!((&report["requests"], errors(&report)), (&50.into(), String::new()));
    assert!(first.load(Ordering::SeqCst) > 50, "more were made");
    assert_eq!((&report["bytes_out"], &report["warm_up_seconds"]), (&3_200.into(), &0.2.into()));
}

#[test]
fn a_run_is_told_as_text_and_as_a_file() {
    let server = Server::start(&[]);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let address = server.address.to_string();
    let output = load(&[&address, "-c", "20", "-d", "0.3", "--json", file.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["20 connections, closed loop", "p99.9", "errors     none", "20 open at the end", "its core"]
    {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(output.stderr.is_empty(), "a short run shows no progress");
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!((&report["address"], &report["path"]), (&address.into(), &"/".into()));
    assert!(report["requests"].as_u64().unwrap() > 0 && report["seconds"] == 0.3);
    let client = &report["client"];
    assert!(client["user_seconds"].as_f64().unwrap() + client["system_seconds"].as_f64().unwrap() > 0.0);
    server.stop();
}

#[test]
fn a_mistake_is_told_and_fails() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    for (arguments, expected) in [
        (&[][..], "ADDRESS"),
        (&["nowhere"], "no address of a server"),
        (&["https://127.0.0.1/"], "TLS"),
        (&[&*free], "is a server listening there?"),
        (&[&*free, "-c", "0"], "--connections"),
        (&[&*free, "-c", "500001"], "--connections"),
        (&[&*free, "-d", "0"], "at least 0.001 seconds"),
        (&[&*free, "-d", "nan"], "expected seconds"),
        (&[&*free, "-d", "1", "-n", "1"], "cannot be used with"),
        (&[&*free, "-n", "0"], "--count"),
        (&[&*free, "--rate", "0"], "requests per second"),
        (&[&*free, "--ramp=-1"], "--ramp"),
        (&[&*free, "--threads", "0"], "--threads"),
        (&[&*free, "--payload", "64"], "--payload goes with echo"),
        (&[&*free, "--protocol", "echo", "--path", "/"], "--path goes with http"),
        (&[&*free, "--protocol", "echo", "-H", "a: b"], "--header goes with http"),
        (&[&*free, "--path", "x"], "'x' is no path"),
        (&[&*free, "--path", "/a b"], "is no path"),
        (&[&*free, "-H", "nothing"], "no header field"),
        (&[&*free, "-H", "a: b\r\nc: d"], "no header field"),
        (&["echo://127.0.0.1:1", "--protocol", "http"], "--protocol says something else"),
    ] {
        let output = load(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
        assert!(!errors.contains("panicked") && output.stdout.is_empty(), "{errors}");
    }
    let address = serve_lines(|_, line| line.to_vec());
    let output = load(&[&echo(address), "-n", "1", "--json", "/no/such/folder/report"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write '/no/such/folder/report'"));
    assert!(!output.status.success());
}
