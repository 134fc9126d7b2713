//! Every service model behaves in the same way: the same conversations, limits, faults and ends (B1 to B13, C6, K6, K7).
//!
//! The tests are functions of a model's name; the macro at the end runs each of them under each model.

mod server;

use rustix::process::{Resource, Signal, getrlimit, setrlimit};
use server::{PATIENCE, Server, answer, get, is_closed, program};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of which no two parts nearby look alike.
fn content(words: u32) -> Vec<u8> {
    (0..words).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// A directory with a file of 12 MiB, which is more than sockets hold; and what is in it.
fn site() -> (tempfile::TempDir, Vec<u8>) {
    let root = tempfile::tempdir().unwrap();
    // 61 KiB and some: chunks and parts of any usual size look different.
    let content = content(15_731).repeat(200);
    std::fs::write(root.path().join("file"), &content).unwrap();
    (root, content)
}

/// A server of the echo; the connection has exchanged a byte, so it has been accepted.
fn echo(model: &str, arguments: &[&str]) -> Option<(Server, TcpStream)> {
    let mut all = vec!["--protocol", "echo"];
    all.extend(arguments);
    let server = Server::of_model(model, &all)?;
    let mut client = server.connect();
    exchange(&mut client, b"?");
    Some((server, client))
}

fn exchange(client: &mut TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
    let mut echoed = vec![0; bytes.len()];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, bytes);
}

fn the_textbook_echo_says_bye(model: &str) {
    let Some((server, mut client)) = echo(model, &[]) else { return };
    assert!(server.banner.contains(&format!("model {model},")), "{}", server.banner);
    client.write_all(b"\nhel").unwrap();
    let mut echoed = [0; 4];
    client.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"\nhel", "back before the line ends");
    client.write_all(b"lo\n").unwrap();
    for byte in b"done\n" {
        client.write_all(&[*byte]).unwrap();
    }
    let mut rest = String::new();
    client.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "lo\ndone\nbye!\n");
    server.stop();
}

/// More bytes than one read takes, and the end of the stream, which all become visible at once: under edge-triggered models they are one edge.
fn what_one_read_leaves_is_not_lost(model: &str) {
    let Some((server, mut client)) = echo(model, &[]) else { return };
    let mut reader = client.try_clone().unwrap();
    for burst in [1, 16 << 10, (16 << 10) + 1, 100_000] {
        server.freeze();
        let bytes = content(burst);
        let sent = bytes.clone();
        let writer = thread::spawn({
            let mut client = client.try_clone().unwrap();
            move || client.write_all(&sent).unwrap()
        });
        if burst <= 16 << 10 {
            // The socket holds it all, so it is there when the server wakes up.
            writer.join().unwrap();
            server.thaw();
        } else {
            server.thaw();
            writer.join().unwrap();
        }
        let mut echoed = vec![0; bytes.len()];
        reader.read_exact(&mut echoed).unwrap();
        assert!(echoed == bytes, "another answer to a burst of {burst} words");
    }
    server.freeze();
    client.write_all(b"the last words").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    server.thaw();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"the last words");
    server.stop();
}

fn requests_follow_each_other_on_one_connection(model: &str) {
    let Some(server) = Server::of_model(model, &[]) else { return };
    let mut client = server.connect();
    for _ in 0..3 {
        let (status, body) = get(&mut client, "/").unwrap();
        assert_eq!((status, String::from_utf8(body).unwrap().contains("fibra")), (200, true));
        assert_eq!(get(&mut client, "/nothing").unwrap().0, 404);
    }
    write!(client, "GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(answer(&mut client).unwrap().0, 200);
    assert!(is_closed(&mut client));
    drop(client);
    server.stop();
}

/// More requests than one read takes, whose answers are more than is sent at once; and the client does not read while it sends.
fn pipelined_requests_are_all_answered(model: &str) {
    let Some(server) = Server::of_model(model, &[]) else { return };
    let mut client = server.connect();
    let count = 3_000;
    let mut writer = client.try_clone().unwrap();
    let writing = thread::spawn(move || {
        let requests = "GET / HTTP/1.1\r\nHost: test\r\n\r\n".repeat(count);
        writer.write_all(requests.as_bytes()).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut answers = Vec::new();
    client.read_to_end(&mut answers).unwrap();
    writing.join().unwrap();
    assert_eq!(String::from_utf8(answers).unwrap().matches("HTTP/1.1 200 OK").count(), count);
    server.stop();
}

/// A body is thrown away while it comes in, and its request answered.
fn a_body_that_comes_in_pieces_is_read_to_its_end(model: &str) {
    let Some(server) = Server::of_model(model, &[]) else { return };
    let mut client = server.connect();
    write!(client, "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 500000\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    let mut go_on = [0; 25];
    client.read_exact(&mut go_on).unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    for part in content(125_000).chunks(70_000) {
        client.write_all(part).unwrap();
    }
    assert_eq!(answer(&mut client).unwrap().0, 200);
    assert_eq!(get(&mut client, "/").unwrap().0, 200, "on the same connection");
    server.stop();
}

/// A large answer to a client that reads slowly arrives whole, and holds up nobody.
fn a_slow_reader_gets_everything_and_holds_up_nobody(model: &str) {
    let (root, content) = site();
    let Some(server) = Server::of_model(model, &["--root", root.path().to_str().unwrap()]) else { return };
    let mut slow = server.connect();
    write!(slow, "GET /file HTTP/1.1\r\nHost: test\r\n\r\nGET /file HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    slow.read_exact(&mut [0]).unwrap();
    let mut quick = server.connect();
    assert_eq!(get(&mut quick, "/nothing").unwrap().0, 404);
    let mut head = b"H".to_vec();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        slow.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let mut body = vec![0; content.len()];
    for part in body.chunks_mut(1 << 20) {
        slow.read_exact(part).unwrap();
        assert_eq!(get(&mut quick, "/nothing").unwrap().0, 404);
    }
    assert!(body == content);
    assert!(answer(&mut slow).unwrap() == (200, content), "and the one behind it");
    server.stop();
}

fn a_client_that_does_not_read_is_given_up(model: &str) {
    let (root, _) = site();
    let arguments = ["--root", root.path().to_str().unwrap(), "--write-timeout", "0.2"];
    let Some(server) = Server::of_model(model, &arguments) else { return };
    let before = server.descriptors();
    let mut lazy = server.connect();
    write!(lazy, "GET /file HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    lazy.read_exact(&mut [0]).unwrap();
    server.until("the end of the connection", |server| server.descriptors() <= before);
    server.stop();
}

fn slow_and_silent_clients_are_closed_in_time(model: &str) {
    let arguments = ["--head-timeout", "0.2", "--body-timeout", "0.2", "--idle-timeout", "0.3"];
    let Some(server) = Server::of_model(model, &arguments) else { return };
    let (mut silent, mut head, mut body) = (server.connect(), server.connect(), server.connect());
    write!(head, "GET / HTTP/1.1\r\nHo").unwrap();
    write!(body, "GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\nhalf").unwrap();
    for slow in [&mut head, &mut body] {
        assert_eq!(answer(slow).unwrap().0, 408);
        assert!(is_closed(slow));
    }
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"", "closed without a word");
    // One that drips gains nothing by it.
    let mut drip = server.connect();
    drip.write_all(b"GET / HTTP/1.1\r\nX: ").unwrap();
    let began = Instant::now();
    while drip.write_all(b"x").is_ok() && began.elapsed() < PATIENCE {
        thread::sleep(Duration::from_millis(10));
        drip.set_nonblocking(true).unwrap();
        let answered = drip.peek(&mut [0]).is_ok();
        drip.set_nonblocking(false).unwrap();
        if answered {
            break;
        }
    }
    assert_eq!(answer(&mut drip).unwrap().0, 408);
    // They have read their answers: the server need not linger.
    drop((silent, head, body, drip));
    server.stop();
    let Some((server, mut silent)) = echo(model, &["--idle-timeout", "0.2"]) else { return };
    assert!(is_closed(&mut silent));
    server.stop();
}

fn clients_that_talk_nonsense_or_vanish_leave_nothing(model: &str) {
    let seed = server::seed();
    println!("FIBRA_SEED={seed}");
    let Some(server) = Server::of_model(model, &[]) else { return };
    let mut random = server::Random(seed);
    let before = server.descriptors();
    for _ in 0..200 {
        server::misbehave(&server, &mut random);
    }
    server.until("the end of all connections", |server| server.descriptors() <= before);
    assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
    let log = server.stop();
    assert!(!log.contains("panicked"), "{log}");
}

fn connections_beyond_the_limit_wait_and_are_served_later(model: &str) {
    let mut arguments = vec!["--max-connections", "4"];
    if model == "multi-process" {
        // Of several, each has a part of the limit, and the kernel deals out the connections.
        arguments.extend(["--workers", "1"]);
    }
    let Some(server) = Server::of_model(model, &arguments) else { return };
    let mut first: Vec<_> = (0..4).map(|_| server.connect()).collect();
    for client in &mut first {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }
    let mut late: Vec<_> = (0..6).map(|_| server.connect()).collect();
    for client in &mut late {
        write!(client, "GET / HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    }
    // The four are served while the others wait.
    for client in &mut first {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }
    late[0].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(late[0].read(&mut [0]).is_err(), "not served yet");
    late[0].set_read_timeout(Some(PATIENCE)).unwrap();
    first.clear();
    for mut client in late {
        assert_eq!(answer(&mut client).unwrap().0, 200);
    }
    let log = server.stop();
    assert_eq!(log.matches("as many connections as are allowed").count(), 1, "{log}");
}

fn running_out_of_descriptors_is_told_once_and_gets_over(model: &str) {
    if model.ends_with("uring") && !server::has_io_uring() {
        return;
    }
    if ["process", "prefork"].contains(&model) {
        // A process has one connection, and its descriptors do not run out; processes do: see the tests of processes.
        return;
    }
    let more = if model == "multi-process" { "--workers 1" } else { "" };
    let mut command = Command::new("sh");
    command
        .args(["-c", "ulimit -n 40; exec \"$0\" serve 127.0.0.1:0 --model \"$1\" $2"])
        .arg(program().get_program())
        .args([model, more]);
    let server = Server::start_with(command);
    let mut clients: Vec<_> = (0..60).map(|_| server.connect()).collect();
    assert_eq!(get(&mut clients[0], "/").unwrap().0, 200, "those that were accepted go on");
    server.until("descriptors to run out", |server| server.most_descriptors() >= 39);
    // Those that could not be accepted are, when others go.
    clients.drain(..40);
    for client in &mut clients {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }
    drop(clients);
    let log = server.stop();
    assert_eq!(log.matches("cannot accept for now").count(), 1, "{log}");
    assert_eq!(log.matches("accepting again").count(), 1, "{log}");
}

fn a_thousand_connections_at_once_are_all_served(model: &str) {
    raise_descriptor_limit();
    // A pool serves as many as it has workers.
    let arguments: &[&str] =
        if ["prefork", "thread-pool"].contains(&model) { &["--workers", "1024"] } else { &[] };
    let Some((server, client)) = echo(model, arguments) else { return };
    let before = server.descriptors();
    // select has 1,024 descriptors.
    let mut clients: Vec<_> = (0..1_000).map(|_| server.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.write_all(&(number as u64).to_le_bytes()).unwrap();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let mut echoed = [0; 8];
        client.read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, (number as u64).to_le_bytes());
    }
    drop(clients);
    server.until("the end of all connections", |server| server.descriptors() <= before);
    drop(client);
    let log = server.stop();
    assert!(log.contains("accepted=1001"), "{log}");
}

fn a_crash_in_the_handler_costs_one_connection(model: &str) {
    let Some(server) = Server::of_model(model, &["--crash-at", "/crash"]) else { return };
    let (mut other, mut victim) = (server.connect(), server.connect());
    for client in [&mut other, &mut victim] {
        assert_eq!(get(client, "/").unwrap().0, 200);
    }
    let before = server.descriptors();
    assert!(get(&mut victim, "/crash").is_err(), "closed without an answer");
    assert!(is_closed(&mut victim));
    assert_eq!(get(&mut other, "/").unwrap().0, 200);
    assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
    server.until("the end of the connection", |server| server.descriptors() < before);
    let log = server.stop();
    assert!(log.contains("panicked"), "{log}");
}

/// SIGTERM: what is idle is closed at once, what has been asked for is sent to its end, a request on its way is answered, who waited in the queue
/// is answered too.
fn sigterm_finishes_what_runs_and_closes_what_is_idle(model: &str) {
    let (root, content) = site();
    let Some(server) = Server::of_model(model, &["--root", root.path().to_str().unwrap()]) else { return };
    let (mut idle, mut fresh, mut busy, mut half) =
        (server.connect(), server.connect(), server.connect(), server.connect());
    get(&mut idle, "/nothing").unwrap();
    write!(half, "GET /file HTTP/1.1\r\nHost: te").unwrap();
    write!(busy, "GET /file HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    busy.read_exact(&mut [0]).unwrap();
    // All become visible at once: a request that has arrived with the signal is no idle connection's.
    server.freeze();
    let mut queued = server.connect();
    write!(queued, "GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    write!(idle, "GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    server.signal(Signal::TERM);
    server.thaw();
    assert_eq!(answer(&mut idle).unwrap().0, 404);
    assert_eq!(answer(&mut queued).unwrap().0, 404);
    for client in [&mut idle, &mut queued, &mut fresh] {
        assert!(is_closed(client));
    }
    write!(half, "st\r\n\r\n").unwrap();
    assert!(answer(&mut half).unwrap() == (200, content.clone()));
    assert!(is_closed(&mut half));
    let mut rest = Vec::new();
    busy.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(&content), "cut off after {} bytes", rest.len());
    // They read their last answers to the end, and say so: the server need not linger.
    drop((idle, fresh, busy, half, queued));
    let address = server.address;
    let (status, log) = server.wait();
    assert!(status.success(), "{log}");
    assert!(TcpStream::connect(address).is_err(), "nobody listens any more");
    assert!(log.contains("cut_off=0"), "{log}");
}

fn the_echo_stops_after_the_last_word(model: &str) {
    let Some((server, mut client)) = echo(model, &[]) else { return };
    server.freeze();
    client.write_all(b"one more").unwrap();
    server.signal(Signal::TERM);
    server.thaw();
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"one more");
    let (status, log) = server.wait();
    assert!(status.success() && log.contains("cut_off=0"), "{log}");
}

/// What does not finish is cut off at the deadline, or by a second signal.
fn what_does_not_finish_is_cut_off(model: &str) {
    let (root, _) = site();
    for (deadline, signals) in [("0.2", 1), ("600", 2)] {
        let arguments = ["--root", root.path().to_str().unwrap(), "--stop-deadline", deadline];
        let Some(server) = Server::of_model(model, &arguments) else { return };
        let (mut stuck, mut idle) = (server.connect(), server.connect());
        get(&mut idle, "/nothing").unwrap();
        write!(stuck, "GET /file HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
        stuck.read_exact(&mut [0]).unwrap();
        server.signal(Signal::TERM);
        assert!(is_closed(&mut idle));
        if signals == 2 {
            server.signal(Signal::INT);
        }
        let (status, log) = server.wait();
        // At the second signal the idle one may be closed and not yet be counted as gone.
        assert!(status.success() && log.contains("cutting off"), "{log}");
        assert!(signals == 2 || log.contains("cut_off=1"), "{log}");
    }
}

fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

#[test]
fn select_turns_away_who_has_too_high_a_descriptor_and_says_so() {
    raise_descriptor_limit();
    let server = Server::start(&["--model", "select"]);
    let mut clients: Vec<_> = (0..1_100).map(|_| server.connect()).collect();
    let (mut served, mut refused) = (0, 0);
    for client in &mut clients {
        match get(client, "/") {
            Ok((200, _)) => served += 1,
            Ok((503, _)) | Err(_) => refused += 1,
            Ok(other) => panic!("{other:?}"),
        }
    }
    assert!(served > 1_000 && served < 1_024 && refused == 1_100 - served, "{served} and {refused}");
    drop(clients);
    server.until("descriptors to come back", |server| server.descriptors() < 20);
    assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
    let log = server.stop();
    assert_eq!(log.matches("descriptors below 1024 only").count(), 1, "{log}");
}

#[test]
fn models_of_one_loop_say_that_they_have_one_worker() {
    for model in ["polling", "select", "poll", "callback", "state-machine", "future", "uring"] {
        let arguments = ["serve", "127.0.0.1:0", "--model", model, "--workers", "2"];
        let output = program().args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains("--workers must be 1"), "{model}: {told}");
    }
}

#[test]
fn models_with_somebody_for_each_connection_say_that_they_have_no_workers() {
    for model in ["process", "thread"] {
        let arguments = ["serve", "127.0.0.1:0", "--model", model, "--workers", "2"];
        let output = program().args(arguments).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && told.contains("--workers does not go with it"),
            "{model}: {told}"
        );
    }
}

#[test]
fn several_loops_share_an_address_in_each_of_the_ways() {
    for model in ["epoll-lt", "epoll-et"] {
        for accept in ["shared", "exclusive", "reuseport"] {
            let arguments = ["--workers", "3", "--accept", accept, "--max-connections", "40"];
            let Some((server, client)) = echo(model, &arguments) else { return };
            assert!(server.banner.contains("3 workers"), "{}", server.banner);
            // More than may be open at once: who waits is let in by whichever loop has room.
            let mut clients: Vec<_> = (0..100).map(|_| server.connect()).collect();
            for client in &mut clients {
                client.write_all(b"done\n").unwrap();
            }
            for mut client in clients {
                let mut rest = String::new();
                client.read_to_string(&mut rest).unwrap();
                assert_eq!(rest, "done\nbye!\n");
            }
            drop(client);
            let log = server.stop();
            assert!(log.contains("accepted=101 cut_off=0"), "{model} {accept}: {log}");
        }
    }
}

/// B5: the cost of asking again and again. All others sleep while nothing comes.
#[test]
fn an_idle_server_computes_nothing_unless_it_polls() {
    let idle = |model| {
        let (server, client) = echo(model, &[])?;
        let others: Vec<_> = (0..10).map(|_| server.connect()).collect();
        // Their accepting is part of what is counted, and next to nothing.
        let before = server.computed();
        Some((model, server, before, (client, others)))
    };
    let others = TESTED.iter().filter(|model| **model != "polling");
    let others: Vec<_> = others.filter_map(|model| idle(model)).collect();
    let (_, polling, before, _clients) = idle("polling").unwrap();
    polling.until("60 ms of a core", |server| server.computed() >= before + Duration::from_millis(60));
    for (model, server, before, _) in &others {
        let computed = server.computed() - *before;
        assert!(computed <= Duration::from_millis(30), "{model} computed for {computed:?}");
    }
}

/// C5: with `EPOLLEXCLUSIVE` a connection wakes one loop of those that share a listener, without it the whole herd. Wake-ups are counted by the
/// kernel: most of a herd find that the connection is gone already, and sleep on without a word to the program.
#[test]
fn a_connection_wakes_one_loop_if_they_share_the_listener_exclusively() {
    let sleeps = |accept| {
        let arguments = ["--model", "epoll-lt", "--protocol", "echo", "--workers", "8", "--accept", accept];
        let server = Server::start(&arguments);
        let mut clients = vec![server.connect()];
        exchange(&mut clients[0], b"?");
        let before = server.sleeps();
        for _ in 0..25 {
            let accepted = server.descriptors() + 1;
            clients.push(server.connect());
            // And to be over: loops that have no core yet would be woken once for two connections.
            server.until("the connection to be accepted", |server| {
                server.descriptors() == accepted && server.is_asleep()
            });
        }
        let sleeps = server.sleeps() - before;
        println!("{accept}: the loops slept {sleeps} times for 25 connections");
        sleeps
    };
    let (shared, exclusive, reuseport) = (sleeps("shared"), sleeps("exclusive"), sleeps("reuseport"));
    assert!(shared > 2 * exclusive && shared > 2 * reuseport, "{shared}, {exclusive}, {reuseport}");
}

#[test]
fn the_models_tested_are_all_there_are() {
    let names: Vec<_> = fibra_serve::Model::ALL.iter().map(|model| model.name()).collect();
    assert_eq!(names, TESTED);
}

macro_rules! behaviours {
    ($name:literal: $($behaviour:ident,)*) => {
        $(#[test]
        fn $behaviour() {
            super::$behaviour($name);
        })*
    };
}

macro_rules! under_every_model {
    ($($module:ident: $name:literal,)*) => {
        const TESTED: &[&str] = &[$($name),*];
        $(mod $module {
            behaviours! { $name:
                the_textbook_echo_says_bye,
                what_one_read_leaves_is_not_lost,
                requests_follow_each_other_on_one_connection,
                pipelined_requests_are_all_answered,
                a_body_that_comes_in_pieces_is_read_to_its_end,
                a_slow_reader_gets_everything_and_holds_up_nobody,
                a_client_that_does_not_read_is_given_up,
                slow_and_silent_clients_are_closed_in_time,
                clients_that_talk_nonsense_or_vanish_leave_nothing,
                connections_beyond_the_limit_wait_and_are_served_later,
                running_out_of_descriptors_is_told_once_and_gets_over,
                a_thousand_connections_at_once_are_all_served,
                a_crash_in_the_handler_costs_one_connection,
                sigterm_finishes_what_runs_and_closes_what_is_idle,
                the_echo_stops_after_the_last_word,
                what_does_not_finish_is_cut_off,
            }
        })*
    };
}

under_every_model! {
    coroutine: "coroutine",
    coroutine_epoll: "coroutine-epoll",
    coroutine_uring: "coroutine-uring",
    multi_process: "multi-process",
    process: "process",
    prefork: "prefork",
    thread_each: "thread",
    thread_pool: "thread-pool",
    polling: "polling",
    select: "select",
    poll: "poll",
    epoll_lt: "epoll-lt",
    epoll_et: "epoll-et",
    callback: "callback",
    state_machine: "state-machine",
    future: "future",
    uring: "uring",
}
