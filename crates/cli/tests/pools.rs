//! Processes and pools under fire: what a death costs, that it is made good, and that nobody is left behind (B1, B2, B4, B12, C5, K1, K6).

mod server;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use server::{Server, answer, get, program};
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The models whose parent has a pool of processes.
const POOLS: &[&str] = &["prefork", "multi-process"];

/// Sends a byte and has it back: whoever serves the connection has begun to.
fn exchange(client: &mut TcpStream) {
    client.write_all(b"?").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

/// Whether the other end has closed, or died with something unread.
fn is_closed(client: &mut TcpStream) -> bool {
    match client.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// The child that serves a connection.
fn served_by(server: &Server, client: &TcpStream) -> Pid {
    let socket = format!("socket:[{}]", end_of(server, client)[9]);
    let children = server.children().into_iter();
    let mut holders = children.filter(|pid| sockets_of(*pid).contains(&socket));
    holders.next().expect("a child serves it")
}

/// What the kernel says of the server's end of a connection.
fn end_of(server: &Server, client: &TcpStream) -> Vec<String> {
    let port = |address: SocketAddr| format!(":{:04X}", address.port());
    let (local, remote) = (port(server.address), port(client.local_addr().unwrap()));
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let fields = table.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut ends = fields.filter(|fields| fields[1].ends_with(&local) && fields[2].ends_with(&remote));
    ends.next().expect("the connection is there")
}

fn sockets_of(pid: Pid) -> HashSet<String> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())) else {
        return HashSet::new();
    };
    let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.map(|link| link.to_string_lossy().into_owned()).collect()
}

fn state_of(pid: Pid) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// Whether a process has a handler for a signal; None if it has ended.
fn handles(pid: Pid, signal: Signal) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).ok()?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
    Some(u64::from_str_radix(caught.trim(), 16).ok()? & (1 << (signal.as_raw() - 1)) != 0)
}

#[test]
fn a_child_that_dies_takes_its_connection_with_it_and_no_other() {
    let server = Server::start(&["--model", "process", "--protocol", "echo"]);
    let mut clients: Vec<_> = (0..4).map(|_| server.connect()).collect();
    clients.iter_mut().for_each(exchange);
    for (victim, signal) in [(0, Signal::KILL), (1, Signal::ABORT), (2, Signal::SEGV)] {
        let child = served_by(&server, &clients[victim]);
        kill_process(child, signal).unwrap();
        if signal == Signal::SEGV {
            // std's handler lets the first one pass, and expects that it comes again if there is reason to.
            server.until("the handler to have run", |_| handles(child, signal) == Some(false));
            kill_process(child, signal).unwrap();
        }
        assert!(is_closed(&mut clients[victim]));
        exchange(&mut clients[3]);
        exchange(&mut server.connect());
    }
    let log = server.stop();
    assert_eq!(log.matches("a child was killed").count(), 3, "{log}");
}

#[test]
fn children_are_reaped() {
    let server = Server::start(&["--model", "process"]);
    for _ in 0..200 {
        assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
    }
    // A zombie is a child until it is reaped.
    server.until("the last to be reaped", |server| server.children().is_empty());
    assert!(server.stop().contains("accepted=200 cut_off=0"));
}

#[test]
fn a_pool_is_whole_again_after_a_worker_was_killed() {
    for model in POOLS {
        let server = Server::start(&["--model", model, "--protocol", "echo", "--workers", "3"]);
        let before = server.children();
        assert_eq!(before.len(), 3);
        let mut clients: Vec<_> = (0..2).map(|_| server.connect()).collect();
        clients.iter_mut().for_each(exchange);
        let victim = served_by(&server, &clients[0]);
        // Under coroutines both may be served by the same.
        let spared = served_by(&server, &clients[1]) != victim;
        kill_process(victim, Signal::KILL).unwrap();
        assert!(is_closed(&mut clients[0]));
        if spared {
            exchange(&mut clients[1]);
        }
        server.until("another worker", |server| {
            let now = server.children();
            now.len() == 3 && !now.contains(&victim)
        });
        let after = server.children();
        assert_eq!(before.iter().filter(|pid| after.contains(pid)).count(), 2, "{model}: the others live");
        // As many as the pool has room for, and for every listener there is somebody.
        drop(clients);
        for _ in 0..20 {
            exchange(&mut server.connect());
        }
        let log = server.stop();
        assert_eq!(log.matches("a child was killed").count(), 1, "{model}: {log}");
    }
}

#[test]
fn a_worker_is_replaced_after_as_many_connections_as_it_is_to_serve() {
    let server = Server::start(&["--model", "prefork", "--workers", "1", "--connections-per-child", "5"]);
    let mut pids = HashSet::new();
    for _ in 0..15 {
        let mut client = server.connect();
        assert_eq!(get(&mut client, "/").unwrap().0, 200);
        pids.insert(served_by(&server, &client));
    }
    assert_eq!(pids.len(), 3);
    let log = server.stop();
    assert!(log.contains("accepted=15") && !log.contains("a child"), "{log}");
}

#[test]
fn a_worker_that_is_asked_to_end_by_hand_finishes_and_is_replaced() {
    let server = Server::start(&["--model", "prefork", "--workers", "1"]);
    let mut client = server.connect();
    assert_eq!(get(&mut client, "/").unwrap().0, 200);
    let worker = served_by(&server, &client);
    // Half a request is there, so there is something to be finished.
    write!(client, "GET / HTTP/1.1\r\nHo").unwrap();
    server.until("it to wait for the rest", |server| {
        state_of(worker) == Some('S') && unread(server, &client) == 0
    });
    kill_process(worker, Signal::TERM).unwrap();
    write!(client, "st: test\r\n\r\n").unwrap();
    assert_eq!(answer(&mut client).unwrap().0, 200);
    assert!(is_closed(&mut client));
    drop(client);
    assert_eq!(get(&mut server.connect(), "/").unwrap().0, 200);
    assert!(!server.children().contains(&worker));
    assert!(!server.stop().contains("a child"));
}

/// How many bytes the server has not read yet.
fn unread(server: &Server, client: &TcpStream) -> u64 {
    let queues = &end_of(server, client)[4];
    u64::from_str_radix(queues.split_once(':').unwrap().1, 16).unwrap()
}

#[test]
fn a_pool_of_threads_never_has_more_than_it_was_given_and_the_others_wait() {
    let server = Server::start(&["--model", "thread-pool", "--protocol", "echo", "--workers", "4"]);
    let mut clients: Vec<_> = (0..50).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.write_all(b"?").unwrap();
    }
    let mut waiting = clients.split_off(4);
    for client in &mut clients {
        client.read_exact(&mut [0]).unwrap();
    }
    for client in &mut waiting {
        client.set_nonblocking(true).unwrap();
        assert!(client.read(&mut [0]).is_err(), "served, though the pool is busy");
        client.set_nonblocking(false).unwrap();
        assert_eq!(server.threads(), 5, "the four and the one that accepts");
    }
    drop(clients);
    for mut client in waiting {
        client.read_exact(&mut [0]).unwrap();
        assert_eq!(server.threads(), 5);
    }
    assert!(server.stop().contains("accepted=50 cut_off=0"));
}

/// C5: N workers accept from one listener, and one connection wakes one of them.
#[test]
fn a_connection_wakes_one_worker_of_those_that_block_in_accept() {
    let server = Server::start(&["--model", "prefork", "--protocol", "echo", "--workers", "8"]);
    let all_sleep = |server: &Server| server.children().iter().all(|pid| state_of(*pid) == Some('S'));
    let mut clients = Vec::new();
    let mut woken = 0;
    for _ in 0..7 {
        server.until("the workers to wait", all_sleep);
        let before: Vec<_> = server.children().into_iter().map(|pid| (pid, sleeps_of(pid))).collect();
        let mut client = server.connect();
        exchange(&mut client);
        // Whoever was woken with it, and found nothing, sleeps again then, and that is counted.
        server.until("the workers to wait", all_sleep);
        woken += before.into_iter().filter(|(pid, sleeps)| sleeps_of(*pid) > *sleeps).count();
        clients.push(client);
    }
    assert_eq!(woken, 7);
    server.stop();
}

/// How often a process went to sleep so far.
fn sleeps_of(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", pid.as_raw_nonzero())).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn nobody_outlives_a_parent_that_was_killed() {
    for model in ["process", "prefork", "multi-process"] {
        let server = Server::start(&["--model", model, "--protocol", "echo"]);
        let mut client = server.connect();
        exchange(&mut client);
        let children = server.children();
        assert!(!children.is_empty());
        server.signal(Signal::KILL);
        assert!(is_closed(&mut client), "{model}");
        // Whoever adopts them has to reap them, too; dead they are at once.
        server.until("the children to end", |_| {
            children.iter().all(|pid| {
                test_kill_process(*pid).is_err() || matches!(state_of(*pid), None | Some('Z' | 'X'))
            })
        });
    }
}

/// K6: EAGAIN of fork and of clone. Needs another user, who has no processes and may have few.
#[test]
fn running_out_of_processes_or_threads_is_told_once_and_gets_over() {
    if !rustix::process::geteuid().is_root() {
        println!("not tested: only root can become a user without processes");
        return;
    }
    for (model, user) in [("process", 64_101), ("thread", 64_102)] {
        // Others need not be able to read where the program was built.
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("fibra");
        std::fs::copy(program().get_program(), &copy).unwrap();
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), readable).unwrap();
        let mut command = Command::new("prlimit");
        command
            .arg("--nproc=6")
            .arg(&copy)
            .args(["serve", "127.0.0.1:0", "--protocol", "echo", "--model", model])
            .current_dir("/")
            .uid(user);
        let server = Server::start_with(command);
        let mut clients: Vec<_> = (0..12).map(|_| server.connect()).collect();
        for client in &mut clients {
            client.write_all(b"?").unwrap();
        }
        // The server itself is one of the six.
        let mut waiting = clients.split_off(5);
        for client in &mut clients {
            client.read_exact(&mut [0]).unwrap();
        }
        clients.clear();
        for mut client in waiting.drain(..) {
            client.read_exact(&mut [0]).unwrap();
        }
        let log = server.stop();
        assert_eq!(log.matches("cannot accept for now").count(), 1, "{model}: {log}");
        assert_eq!(log.matches("accepting again").count(), 1, "{model}: {log}");
        assert!(log.contains("accepted=12 cut_off=0"), "{model}: {log}");
    }
}
