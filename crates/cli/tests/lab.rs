//! `fibra lab` as its users meet it: small runs of the real thing.

mod server;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use server::{PATIENCE, Server, program};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

fn lab(out: &Path, arguments: &[&str]) -> Command {
    let mut command = program();
    command.arg("lab").args(arguments).arg("--out").arg(out).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn well(output: Output) -> String {
    let told = text(&output.stdout);
    assert!(output.status.success(), "{}\n{}\n{told}", output.status, text(&output.stderr));
    told
}

fn results(out: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(out.join("results.json")).unwrap()).unwrap()
}

fn cells(results: &Value) -> &Vec<Value> {
    results["serve"]["cells"].as_array().unwrap()
}

#[test]
fn two_servers_are_measured_and_a_second_run_has_nothing_left_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let running = Server::start(&["--protocol", "echo"]);
    let there = format!("there={}", running.address);
    let own = format!("own={} serve 127.0.0.1:{{port}} --protocol echo", env!("CARGO_BIN_EXE_fibra"));
    let arguments = ["serve", "--models", "coroutine", "--levels", "2", "--seconds", "0.5", "--rounds", "1"];
    let arguments = [&arguments[..], &["--protocol", "echo", "--server", &own, "--server", &there]].concat();
    let told = well(lab(folder.path(), &arguments).output().unwrap());
    for name in ["coroutine", "own", "there", "report.html"] {
        assert!(told.contains(name), "{name} is not in\n{told}");
    }
    let first = results(folder.path());
    // Each server with connections that are kept, and the coroutine model also with one for each request.
    assert_eq!(cells(&first).len(), 4, "{first:#}");
    for cell in cells(&first) {
        let measured = &cell["measured"];
        assert!(measured["requests_per_second"].as_f64().unwrap() > 0.0, "{cell:#}");
        assert_eq!(measured["errors_total"], 0, "{cell:#}");
        // A server that runs already is watched by nobody.
        assert_eq!(measured["server"].is_null(), cell["model"] == "there", "{cell:#}");
    }
    let coroutine = cells(&first).iter().find(|cell| cell["model"] == "coroutine").unwrap();
    assert!(coroutine["measured"]["server"]["descriptors"].as_u64().unwrap() >= 2 + 3, "{coroutine:#}");
    assert!(fs::read_to_string(folder.path().join("report.html")).unwrap().contains(">there</th>"));

    well(lab(folder.path(), &arguments).output().unwrap());
    assert_eq!(cells(&results(folder.path())), cells(&first), "nothing is measured twice");

    let refused = lab(folder.path(), &["serve", "--levels", "3"]).output().unwrap();
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("--fresh"),
        "{}",
        text(&refused.stderr)
    );
    assert_eq!(cells(&results(folder.path())), cells(&first), "what was measured is kept");
    running.stop();
}

#[test]
fn a_server_that_cannot_be_had_is_in_the_table_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["serve", "--models", "coroutine", "--levels", "1", "--seconds", "0.5", "--rounds", "1"];
    let broken = ["--server", "broken=echo 'fibra: no wish to serve' >&2; exit 3; {port}"];
    let told = well(lab(folder.path(), &[&arguments[..], &broken].concat()).output().unwrap());
    assert!(told.contains("broken: failed with 1: no wish to serve"), "{told}");
}

#[test]
fn connections_that_are_never_served_are_errors_and_not_silence() {
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("half={}", listener.local_addr().unwrap());
    let deaf = std::thread::spawn(move || {
        let (mut first, _) = listener.accept().unwrap();
        // Accepted, and left waiting.
        let _second = listener.accept().unwrap();
        let mut buffer = [0; 1024];
        while let Ok(length @ 1..) = first.read(&mut buffer) {
            if first.write_all(&buffer[..length]).is_err() {
                break;
            }
        }
    });
    let arguments = ["serve", "--models", "coroutine", "--levels", "2", "--seconds", "0.5", "--rounds", "1"];
    let arguments = [&arguments[..], &["--protocol", "echo", "--server", &server]].concat();
    let told = well(lab(folder.path(), &arguments).output().unwrap());
    let results = results(folder.path());
    let half = cells(&results).iter().find(|cell| cell["model"] == "half").unwrap();
    assert!(half["measured"]["requests_per_second"].as_f64().unwrap() > 0.0, "{half:#}");
    assert_eq!(half["measured"]["errors"]["not_admitted"], 1, "{half:#}");
    assert!(told.contains("half: with errors with 2: errors: not_admitted 1"), "{told}");
    deaf.join().unwrap();
}

#[test]
fn a_run_that_is_interrupted_keeps_what_it_has_and_goes_on_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["serve", "--models", "coroutine", "--levels", "1,2,3", "--seconds", "0.5", "--rounds", "1"];
    let child = lab(folder.path(), &arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    // It is there, whole, after the first cell.
    while !folder.path().join("results.json").exists() {
        assert!(Instant::now() < deadline, "no cell is finished");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = text(&output.stderr);
    assert!(!output.status.success() && errors.contains("fibra lab serve --models coroutine"), "{errors}");
    let first = results(folder.path());
    let count = cells(&first).len();
    assert!((1..6).contains(&count), "{count} of 6 cells");

    well(lab(folder.path(), &arguments).output().unwrap());
    let all = results(folder.path());
    assert_eq!(cells(&all).len(), 6);
    assert_eq!(cells(&all)[..count], cells(&first)[..], "what was finished is not measured again");
    assert_eq!(all["began"], first["began"]);
}

#[test]
fn costs_have_a_figure_for_every_step_and_are_not_measured_twice() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = ["costs", "--quick", "--rounds", "1"];
    let told = well(lab(folder.path(), &arguments).output().unwrap());
    let first = results(folder.path());
    let figures = first["costs"]["figures"].as_array().unwrap();
    assert!(figures.len() >= 25, "{}", figures.len());
    for figure in figures {
        assert!(figure["values"][0].as_f64().is_some_and(|value| value > 0.0), "{figure:#}");
        assert!(told.contains(figure["what"].as_str().unwrap().split(", against").next().unwrap()), "{told}");
    }
    let value =
        |id: &str| figures.iter().find(|figure| figure["id"] == id).unwrap()["values"][0].as_f64().unwrap();
    assert!(value("switch.coroutine-bare") < value("switch.thread"), "a coroutine's switch needs no kernel");
    assert!(
        value("create.coroutine") < value("create.thread")
            && value("create.thread") < value("create.process")
    );
    assert!(value("idle.coroutine") < value("idle.process"));

    well(lab(folder.path(), &arguments).output().unwrap());
    assert_eq!(results(folder.path())["costs"], first["costs"]);
}

#[test]
fn models_and_levels_that_there_are_not_are_refused_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, hint) in [
        (["serve", "--models", "telepathy"], "coroutine"),
        (["serve", "--levels", "0"], "1..=20000"),
        (["serve", "--server", "nginx=nginx"], "{port}"),
        (["serve", "--seconds", "0"], "from 0.1"),
    ] {
        let output = lab(folder.path(), &arguments).output().unwrap();
        assert!(!output.status.success() && text(&output.stderr).contains(hint), "{}", text(&output.stderr));
    }
    assert!(!folder.path().join("results.json").exists());
}

#[test]
fn a_pool_is_as_large_as_the_level_up_to_its_limit_and_who_finds_no_worker_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let arguments =
        ["serve", "--models", "prefork", "--levels", "2,5", "--pool-workers", "4", "--seconds", "0.5"];
    well(lab(folder.path(), &[&arguments[..], &["--rounds", "1"]].concat()).output().unwrap());
    let found = results(folder.path());
    let of = |level: u32| cells(&found).iter().find(|cell| cell["level"] == level).unwrap();
    assert_eq!((&of(2)["workers"], &of(2)["measured"]["errors_total"]), (&2.into(), &0.into()), "{found:#}");
    let errors = &of(5)["measured"]["errors"];
    assert_eq!((&of(5)["workers"], &errors["not_admitted"]), (&4.into(), &1.into()), "{found:#}");
    assert_eq!(found["summary"][1]["workers"], 4, "{found:#}");
    assert!(fs::read_to_string(folder.path().join("report.html")).unwrap().contains("workers of the pools"));
}
