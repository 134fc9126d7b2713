//! Who wakes up when a connection comes: counts how often a server's threads go to sleep, model by model.
//!
//! ```text
//! cargo build --release -p fibra-cli
//! cargo run --release -q -p fibra-serve --example wakeups
//! ```
//!
//! For each row it starts `fibra serve` (the one beside it in `target`, or the path that is given), connects [`CONNECTIONS`] times, one after another,
//! and lets everything fall asleep between two. What is counted is the kernel's `voluntary_ctxt_switches` of all threads of the server and of its
//! children, from before the connection to when it has been accepted and all sleep again: whoever sleeps once more has been woken. A thread or a process
//! that is made for the connection counts from its birth. The counter of the server's own log does not show a herd: most of those who are woken in
//! vain find out inside `epoll_wait`, and sleep on without a word to the program.

use rustix::process::{Pid, Signal, kill_process};
use std::collections::HashMap;
use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const CONNECTIONS: u32 = 100;
const PATIENCE: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn Error>> {
    let fibra = match std::env::args_os().nth(1) {
        Some(path) => path.into(),
        // target/release/examples/wakeups and target/release/fibra
        None => std::env::current_exe()?.ancestors().nth(2).ok_or("no folder")?.join("fibra"),
    };
    println!("| model | accept | 2 workers | 4 | 8 |\n|---|---|---:|---:|---:|");
    for model in ["epoll-lt", "epoll-et"] {
        for accept in ["shared", "exclusive", "reuseport"] {
            row(&fibra, model, Some(accept))?;
        }
    }
    for model in ["prefork", "thread-pool", "coroutine", "multi-process"] {
        row(&fibra, model, None)?;
    }
    for model in ["process", "thread"] {
        println!("| {model} | | {:.2} | | |", Server::start(&fibra, &["--model", model])?.wakeups()?);
    }
    Ok(())
}

fn row(fibra: &Path, model: &str, accept: Option<&str>) -> Result<(), Box<dyn Error>> {
    let mut row = format!("| {model} | {} |", accept.unwrap_or_default());
    for workers in ["2", "4", "8"] {
        let mut arguments = vec!["--model", model, "--workers", workers];
        arguments.extend(accept.into_iter().flat_map(|accept| ["--accept", accept]));
        row += &format!(" {:.2} |", Server::start(fibra, &arguments)?.wakeups()?);
    }
    println!("{row}");
    Ok(())
}

struct Server {
    child: Child,
    address: SocketAddr,
}

/// How a server is at one moment.
#[derive(PartialEq, Eq)]
struct Look {
    descriptors: usize,
    all_sleep: bool,
    /// By thread, how often it has gone to sleep.
    sleeps: HashMap<PathBuf, u64>,
}

impl Server {
    fn start(fibra: &Path, arguments: &[&str]) -> Result<Server, Box<dyn Error>> {
        let mut command = Command::new(fibra);
        command.args(["serve", "127.0.0.1:0", "--protocol", "echo", "--log", "warn"]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut banner = String::new();
        BufReader::new(child.stdout.take().ok_or("no output")?).read_line(&mut banner)?;
        let address = banner.split_whitespace().find_map(|word| word.parse().ok()).ok_or("no address")?;
        Ok(Server { child, address })
    }

    /// Wake-ups for a connection, on average.
    fn wakeups(self) -> Result<f64, Box<dyn Error>> {
        // The first connection is served by who has never served before.
        self.wakeups_of_one()?;
        let mut sum = 0;
        for _ in 0..CONNECTIONS {
            sum += self.wakeups_of_one()?;
        }
        Ok(sum as f64 / f64::from(CONNECTIONS))
    }

    /// The wake-ups for one connection, which is closed again, and its end awaited.
    fn wakeups_of_one(&self) -> Result<u64, Box<dyn Error>> {
        let before = self.fallen_asleep(|_| true)?;
        let client = TcpStream::connect(self.address)?;
        let accepted = self.fallen_asleep(|now| now.descriptors > before.descriptors)?;
        drop(client);
        self.fallen_asleep(|now| now.descriptors <= before.descriptors)?;
        let woken = |(thread, sleeps): (&PathBuf, &u64)| sleeps - before.sleeps.get(thread).unwrap_or(&0);
        Ok(accepted.sleeps.iter().map(woken).sum())
    }

    /// Waits until something is so and all threads sleep: two looks in a row are the same.
    fn fallen_asleep(&self, is_so: impl Fn(&Look) -> bool) -> Result<Look, Box<dyn Error>> {
        let (began, mut last) = (Instant::now(), self.look());
        loop {
            thread::sleep(Duration::from_millis(1));
            let now = self.look();
            if now.all_sleep && is_so(&now) && now == last {
                return Ok(now);
            }
            if began.elapsed() > PATIENCE {
                return Err("the server does not come to rest".into());
            }
            last = now;
        }
    }

    /// What `/proc` says of the server and its children. Who has just ended is not there.
    fn look(&self) -> Look {
        let own = PathBuf::from(format!("/proc/{}", self.child.id()));
        let children =
            fs::read_to_string(own.join("task").join(self.child.id().to_string()).join("children"));
        let children = children.unwrap_or_default();
        let children = children.split_whitespace().map(|pid| PathBuf::from(format!("/proc/{pid}")));
        let mut look = Look { descriptors: 0, all_sleep: true, sleeps: HashMap::new() };
        for process in std::iter::once(own).chain(children) {
            look.descriptors += fs::read_dir(process.join("fd")).map_or(0, Iterator::count);
            for thread in fs::read_dir(process.join("task")).into_iter().flatten().flatten() {
                let Ok(status) = fs::read_to_string(thread.path().join("status")) else { continue };
                let field = |name| {
                    let value = status.lines().find_map(|line| line.strip_prefix(name));
                    value.and_then(|value| value.split_whitespace().next())
                };
                look.all_sleep &= field("State:") == Some("S");
                let sleeps = field("voluntary_ctxt_switches:").and_then(|count| count.parse().ok());
                look.sleeps.insert(thread.path(), sleeps.unwrap_or(0));
            }
        }
        look
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}
