//! A `fibra serve` process under test, and a client that knows just enough HTTP.

#![allow(dead_code, reason = "each test file uses its part")]

use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
    /// The first line that it printed.
    pub(crate) banner: String,
    log: Option<JoinHandle<String>>,
}

/// The program, with nothing of the caller's settings but the driver's.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fibra"));
    command.env_remove("FIBRA_LOG");
    command
}

impl Server {
    /// Starts the server on a port of the system's choice.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        let mut command = program();
        command.arg("serve").arg("127.0.0.1:0").args(arguments);
        Server::start_with(command)
    }

    /// The same under a model. None, with a line about it, if this machine has no io_uring and the model needs it.
    pub(crate) fn of_model(model: &str, arguments: &[&str]) -> Option<Server> {
        if model.ends_with("uring") && !has_io_uring() {
            println!("not tested: there is no io_uring here");
            return None;
        }
        let mut all = vec!["--model", model];
        all.extend(arguments);
        Some(Server::start(&all))
    }

    pub(crate) fn start_with(command: Command) -> Server {
        Server::start_logging(command, |mut errors| {
            std::thread::spawn(move || {
                let mut log = String::new();
                errors.read_to_string(&mut log).map(|_| log).unwrap_or_default()
            })
        })
    }

    /// Starts it with a log that nobody can write to: the reader of the pipe is gone.
    pub(crate) fn start_unheard(command: Command) -> Server {
        Server::start_logging(command, |errors| {
            drop(errors);
            std::thread::spawn(String::new)
        })
    }

    fn start_logging(mut command: Command, read: impl FnOnce(ChildStderr) -> JoinHandle<String>) -> Server {
        let mut child =
            command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the program starts");
        let log = read(child.stderr.take().expect("stderr is a pipe"));
        let mut banner = String::new();
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is a pipe"));
        lines.read_line(&mut banner).expect("the server says something");
        let address = banner
            .split_whitespace()
            .filter_map(|word| word.trim_start_matches("http://").trim_end_matches('/').parse().ok())
            .next();
        let Some(address) = address else {
            let _ = child.kill();
            panic!("no address in {banner:?}; the log: {}", log.join().expect("no panic"));
        };
        Server { child, address, banner, log: Some(log) }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("the server lives");
    }

    /// A field of `/proc/PID/status` in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("the server lives");
        let line = status.lines().find(|line| line.starts_with(field)).expect("the field exists");
        line.split_whitespace().nth(1).and_then(|number| number.parse::<u64>().ok()).expect("a number") * 1024
    }

    /// Its children, those who have ended and were not reaped included.
    pub(crate) fn children(&self) -> Vec<Pid> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).expect("the server lives");
        children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
    }

    /// The server and its children.
    fn processes(&self) -> Vec<Pid> {
        let mut processes = vec![self.pid()];
        processes.extend(self.children());
        processes
    }

    /// Stops all its processes, so that what happens until [`thaw`](Self::thaw) becomes visible to them at once.
    pub(crate) fn freeze(&self) {
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::STOP);
        }
    }

    /// They go on.
    pub(crate) fn thaw(&self) {
        for pid in self.processes() {
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    fn descriptors_each(&self) -> impl Iterator<Item = usize> {
        // A child may have ended meanwhile.
        self.processes().into_iter().filter_map(|pid| {
            Some(std::fs::read_dir(format!("/proc/{}/fd", pid.as_raw_nonzero())).ok()?.count())
        })
    }

    /// How many descriptors it and its children have open.
    pub(crate) fn descriptors(&self) -> usize {
        self.descriptors_each().sum()
    }

    /// How many descriptors that one of its processes has open which has most.
    pub(crate) fn most_descriptors(&self) -> usize {
        self.descriptors_each().max().expect("the server lives")
    }

    /// How many threads it has, its children aside.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the server lives").count()
    }

    /// How often its threads went to sleep so far.
    pub(crate) fn sleeps(&self) -> u64 {
        let sleeps = self.of_threads("voluntary_ctxt_switches:");
        sleeps.iter().map(|sleeps| sleeps.parse::<u64>().expect("a number")).sum()
    }

    /// Whether all its threads sleep: who has been woken does not, even before it has a core.
    pub(crate) fn is_asleep(&self) -> bool {
        self.of_threads("State:").iter().all(|state| state.starts_with('S'))
    }

    /// What the kernel says of each of its threads, behind this word.
    fn of_threads(&self, word: &str) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("the server lives");
        let of_task = |task: std::fs::DirEntry| {
            let status = std::fs::read_to_string(task.path().join("status")).ok()?;
            Some(status.lines().find_map(|line| line.strip_prefix(word))?.trim().to_owned())
        };
        tasks.filter_map(|task| of_task(task.ok()?)).collect()
    }

    /// How long it and its living children have computed so far, to a hundredth of a second.
    pub(crate) fn computed(&self) -> Duration {
        let of_process = |pid: Pid| {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
            // The name, in parentheses, may hold anything; utime and stime are the 12th and 13th fields after it.
            let fields = stat.rsplit_once(')').expect("a name").1.split_whitespace();
            Some(fields.skip(11).take(2).map(|field| field.parse::<u64>().expect("a number")).sum::<u64>())
        };
        let ticks: u64 = self.processes().into_iter().filter_map(of_process).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Waits until `done`, which is asked again and again, or fails.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut(&Server) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "waited too long for: {what}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits for its end: how it ended, and its log.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is our child") {
                return (status, self.log.take().expect("taken once").join().expect("no panic"));
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops it in good order: it must end with success.
    pub(crate) fn stop(self) -> String {
        self.signal(Signal::TERM);
        let (status, log) = self.wait();
        assert!(status.success(), "{status}; the log:\n{log}");
        log
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether this machine has io_uring.
pub(crate) fn has_io_uring() -> bool {
    fibra_driver::Driver::uring(&fibra_driver::uring::RingSettings::default()).is_ok()
}

/// Sends a GET and reads the whole answer: status and body.
pub(crate) fn get(stream: &mut TcpStream, path: &str) -> io::Result<(u16, Vec<u8>)> {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n")?;
    answer(stream)
}

/// Reads one answer with a `Content-Length`.
pub(crate) fn answer(stream: &mut TcpStream) -> io::Result<(u16, Vec<u8>)> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData)?;
    let status = head
        .split_whitespace()
        .nth(1)
        .and_then(|status| status.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    let length = head
        .lines()
        .find_map(|line| {
            line.to_ascii_lowercase().strip_prefix("content-length:").map(|value| value.trim().parse())
        })
        .and_then(Result::ok)
        .unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok((status, body))
}

/// Whether the other end has closed.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

/// A seed for this run, printed by whoever fails.
pub(crate) fn seed() -> u64 {
    match std::env::var("FIBRA_SEED") {
        Ok(seed) => seed.parse().expect("FIBRA_SEED is a number"),
        Err(_) => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1,
    }
}

/// xorshift64*, Vigna 2014.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}

/// Closes with a reset, as the kernel of a killed process with unread input does.
pub(crate) fn reset(stream: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
}

/// One connection of a client that means no good.
pub(crate) fn misbehave(server: &Server, random: &mut Random) {
    let mut stream = server.connect();
    match random.below(6) {
        // Never says a word, and closes.
        0 => {}
        // Random bytes.
        1 => {
            let bytes: Vec<u8> = (0..random.below(300)).map(|_| random.next() as u8).collect();
            let _ = stream.write_all(&bytes);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
        // Half a request, then a reset.
        2 => {
            let request = b"GET / HTTP/1.1\r\nHost: test\r\nAccept: */*\r\n\r\n";
            let _ = stream.write_all(&request[..random.below(request.len() as u64) as usize]);
            reset(stream);
        }
        // A request whose answer is never read, then a reset.
        3 => {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            reset(stream);
        }
        // Half-open: no more to say, but an answer is expected.
        4 => {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Write);
            let mut answered = Vec::new();
            stream.read_to_end(&mut answered).expect("an answer and the end");
            assert!(!answered.is_empty());
        }
        // A mutated request.
        _ => {
            let mut request =
                b"GET / HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n"
                    .to_vec();
            for _ in 0..=random.below(4) {
                let at = random.below(request.len() as u64) as usize;
                request[at] = random.next() as u8;
            }
            let _ = stream.write_all(&request);
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
}
