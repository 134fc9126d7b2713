//! The readiness gate: workers that need a server wait for it with an [`Event`], and say so, until it is up.
//!
//! ```text
//! coroutine: redis is not up yet
//! thread: redis is not up yet
//! gate: starts redis-server
//! coroutine: redis is not up yet
//! thread: redis is not up yet
//! gate: redis answers at 127.0.0.1:40123
//! thread: has set a key and read it back
//! coroutine: has set a key and read it back
//! ```
//!
//! Two workers, one a coroutine and the other an OS thread, wait for at most 20 ms at a time and log in between. The main coroutine starts a real Redis server on a free port
//! of the loopback (once both have logged, so that there is something to see), asks it until it answers, and sets the event: that releases both, and whoever came later would
//! not wait at all. The number and the order of the lines vary.
//!
//! Without `redis-server` on this machine it says `skipped` and ends.

use fibra::net::TcpStream;
use fibra::sync::Event;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How long a worker waits before it logs that it does.
const LOG: Duration = Duration::from_millis(20);

/// How long all of it may take: then something is wrong with the server.
const LIMIT: Duration = Duration::from_secs(30);

fn main() -> io::Result<()> {
    match fibra::run(|| run(&|line| println!("{line}"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            println!("skipped: redis-server is not installed");
            Ok(())
        }
        result => result,
    }
}

/// What the workers wait for.
#[derive(Default)]
struct Gate {
    ready: Event,
    /// There when `ready` is set.
    address: OnceLock<SocketAddr>,
    /// How many have said that they wait.
    waiting: AtomicUsize,
}

/// Runs both workers, and the server that they wait for. `NotFound` when there is no such program.
pub(crate) fn run(log: &(impl Fn(String) + Sync)) -> io::Result<()> {
    let gate = Gate::default();
    fibra::timeout(LIMIT, || {
        fibra::scope(|scope| {
            let coroutine = scope.spawn(|| work("coroutine", &gate, log));
            let thread = fibra::thread::Builder::new().spawn_scoped(scope, || work("thread", &gate, log))?;
            while gate.waiting.load(Ordering::Relaxed) < 2 {
                fibra::sleep(Duration::from_millis(1));
            }
            log("gate: starts redis-server".into());
            // It lives until the workers have ended. Without one they are not to wait for ever.
            let server = Server::start().inspect_err(|_| scope.cancel())?;
            log(format!("gate: redis answers at {}", server.address));
            gate.address.get_or_init(|| server.address);
            gate.ready.set();
            for worker in [coroutine, thread] {
                worker.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload))?;
            }
            Ok(())
        })
    })?
}

/// A worker that can do nothing without the server.
fn work(name: &str, gate: &Gate, log: &(impl Fn(String) + Sync)) -> io::Result<()> {
    let mut said = false;
    while !gate.ready.wait_timeout(LOG) {
        log(format!("{name}: redis is not up yet"));
        if !std::mem::replace(&mut said, true) {
            gate.waiting.fetch_add(1, Ordering::Relaxed);
        }
    }
    let address = gate.address.get().expect("it is there when the event is set");
    let mut redis = TcpStream::connect(address)?;
    assert_eq!(ask(&mut redis, &format!("SET {name} ready"))?, "+OK");
    assert_eq!(ask(&mut redis, &format!("STRLEN {name}"))?, ":5");
    log(format!("{name}: has set a key and read it back"));
    Ok(())
}

/// A Redis server of our own, which ends with this.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    /// Starts one and waits until it answers.
    fn start() -> io::Result<Server> {
        // Somebody else may take a free port before the server does; it ends then.
        for _ in 0..5 {
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
            let process = Command::new("redis-server")
                .args(["--bind", "127.0.0.1", "--port", &address.port().to_string()])
                .args(["--save", "", "--appendonly", "no"])
                .current_dir(std::env::temp_dir())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?;
            let mut server = Server { process, address };
            while server.process.try_wait()?.is_none() {
                if answers(address) {
                    return Ok(server);
                }
                fibra::sleep(Duration::from_millis(5));
            }
        }
        Err(io::Error::other("redis-server ends as soon as it has begun"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn answers(address: SocketAddr) -> bool {
    TcpStream::connect(address)
        .and_then(|mut redis| ask(&mut redis, "PING"))
        .is_ok_and(|answer| answer == "+PONG")
}

/// A command in one line, and the answer, if that has one line.
fn ask(redis: &mut TcpStream, command: &str) -> io::Result<String> {
    redis.write_all(format!("{command}\r\n").as_bytes())?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n") {
        let mut byte = [0];
        redis.read_exact(&mut byte)?;
        answer.extend(byte);
    }
    Ok(String::from_utf8_lossy(&answer).trim_end().to_owned())
}
