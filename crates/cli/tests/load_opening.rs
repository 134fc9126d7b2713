//! `fibra load` against servers that do not take everybody: what is open is measured, what is not is told, and it ends.

mod server;

use serde_json::Value;
use server::{PATIENCE, Server, program};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

fn report(address: &str, arguments: &[&str]) -> Value {
    let output = program().args(["load", address, "--json", "-"]).args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn error(report: &Value, kind: &str) -> u64 {
    report["errors"][kind].as_u64().unwrap_or(0)
}

/// Echoes lines: as many as it is told to, and then it is silent.
fn echo_lines(stream: TcpStream, count: usize) {
    let mut writer = stream.try_clone().unwrap();
    for line in BufReader::new(stream).split(b'\n').map_while(Result::ok).take(count) {
        if writer.write_all(&[&line[..], b"\n"].concat()).is_err() {
            return;
        }
    }
    thread::park();
}

/// A server that takes one connection, and lets the system keep at most two others.
fn serve_one() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&listener, 1).unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        // The listener lives as long as this does.
        let (stream, _) = listener.accept().unwrap();
        echo_lines(stream, usize::MAX);
    });
    address
}

#[test]
fn a_pool_that_is_too_small_is_measured_by_whom_it_serves_and_the_others_are_told() {
    let server = Server::of_model("prefork", &[]).expect("it needs no ring");
    let address = server.address.to_string();
    let began = Instant::now();
    // Whoever waited for each request's limit would take longer than the test has patience.
    let arguments = ["-c", "100", "-d", "1", "--open-timeout", "5", "--timeout", "120", "--json"];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.json");
    let output = program().args(["load", &address]).args(arguments).arg(&file).output().unwrap();
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(began.elapsed() < PATIENCE, "it ends in time");
    for (field, expected) in [
        ("connections_open_at_start", 8),
        ("connections_served", 8),
        ("connections_open_at_end", 8),
        ("errors_total", 92),
    ] {
        assert_eq!(report[field], expected, "{field}: {report}");
    }
    assert_eq!(error(&report, "not_admitted"), 92, "{report}");
    assert!(report["requests"].as_u64().unwrap() > 8 && report["seconds"] == 1.0, "{report}");
    assert!(report["opening_seconds"].as_f64().unwrap() >= 5.0, "{report}");

    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["8 of 100 connections were open after", "served     8 of 100", "92 not admitted"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    server.stop();
}

#[test]
fn connections_that_cannot_be_made_are_left_out_when_the_time_for_it_is_over() {
    for arguments in [
        &["-d", "0.5"][..],
        &["-d", "0.5", "--threads", "2"],
        &["-n", "50", "--timeout", "2"],
        &["-d", "0.5", "--rate", "40", "--timeout", "2"],
        &["-n", "20", "--rate", "40", "--timeout", "2", "--threads", "2"],
    ] {
        let began = Instant::now();
        let common = ["-c", "12", "--open-timeout", "0.5"];
        let report = report(&format!("echo://{}", serve_one()), &[&common[..], arguments].concat());
        assert!(began.elapsed() < PATIENCE, "{arguments:?} ends in time");
        // The system keeps one or two more than the length of its queue.
        let left_out = error(&report, "not_opened");
        assert!((8..=11).contains(&left_out), "{arguments:?}: {report}");
        assert_eq!(report["connections_made"], 12 - left_out, "{arguments:?}: {report}");
        assert_eq!(report["connections_served"], 1, "{arguments:?}: {report}");
        let silent = error(&report, "not_admitted");
        if arguments == ["-d", "0.5"] {
            assert_eq!(
                (left_out + silent, &report["connections_open_at_start"]),
                (11, &1.into()),
                "{report}"
            );
        }
    }
}

#[test]
fn a_connection_that_is_silent_for_all_of_the_measured_time_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let count = if number == 0 { usize::MAX } else { 1 };
            thread::spawn(move || echo_lines(stream.unwrap(), count));
        }
    });
    let began = Instant::now();
    let arguments = ["-c", "3", "-d", "0.5", "--warm-up", "0.2", "--timeout", "120"];
    let report = report(&format!("echo://{address}"), &arguments);
    assert!(began.elapsed() < PATIENCE, "it ends in time");
    assert_eq!(
        (&report["connections_open_at_start"], error(&report, "unanswered")),
        (&3.into(), 2),
        "{report}"
    );
    assert_eq!((&report["errors_total"], &report["connections_served"]), (&2.into(), &3.into()), "{report}");
}
