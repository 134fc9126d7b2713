//! The server of one cell: `fibra serve`, or a foreign one; and what its log complains of.

use super::foreign::Source;
use crate::lab::interrupt::{Interrupt, Stopped};
use crate::lab::program::{self, Program};
use crate::lab::results::ServeSettings;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long a server may take until it listens.
const START: Duration = Duration::from_secs(20);
/// And more for each worker that it starts first.
const TO_START_ONE: Duration = Duration::from_millis(5);
/// How long it may take to stop in good order.
const STOP: Duration = Duration::from_millis(500);
/// How long the last lines of a log may be on their way.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// A server that listens. Stopped, and if need be killed, when dropped.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// `None` if it ran before, and goes on.
    program: Option<Program>,
    /// Lines of its log.
    log: Option<Receiver<String>>,
    complaint: Option<String>,
}

impl Server {
    pub(super) fn start(
        name: &str,
        level: u32,
        settings: &ServeSettings,
        interrupt: &Interrupt,
    ) -> Result<Server, Stopped> {
        match settings.foreign.get(name) {
            None => Server::of_model(name, settings.workers_at(name, level), settings, interrupt),
            Some(what) => match Source::parse(what)? {
                Source::Address(address) => Ok(Server { address, program: None, log: None, complaint: None }),
                Source::Command(command, address) => Server::foreign(&command, address, settings, interrupt),
                Source::Port(command) => {
                    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
                    let address = free.map_err(|error| format!("no port is free: {error}"))?;
                    let command = command.replace("{port}", &address.port().to_string());
                    Server::foreign(&command, address, settings, interrupt)
                }
            },
        }
    }

    fn of_model(
        name: &str,
        workers: Option<u32>,
        settings: &ServeSettings,
        interrupt: &Interrupt,
    ) -> Result<Server, Stopped> {
        let mut command = program::on_cores(&settings.server_cores)?;
        command.arg(program::this()?).args(["--log", "warn", "serve", "127.0.0.1:0"]);
        command.args(["--protocol", &settings.protocol, "--model", name]);
        if let Some(workers) = workers {
            command.args(["--workers", &workers.to_string()]);
        }
        let patience = START + TO_START_ONE * workers.unwrap_or(0);
        for (variable, _) in
            std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FIBRA_"))
        {
            command.env_remove(variable);
        }
        let (mut server, announcements) = Server::spawn(command, SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let listening = interrupt.wait_for(Instant::now() + patience, || {
            // Before the look at the pipe: what was said before the end is there then.
            let ended = server.ended()?;
            match announcements.try_iter().find_map(|line| announced(&line)) {
                Some(address) => Ok(Some(address)),
                None => ended.map_or(Ok(None), |why| Err(Stopped::Failed(why))),
            }
        })?;
        server.address = listening
            .ok_or_else(|| Stopped::Failed(format!("it did not listen within {} s", patience.as_secs())))?;
        Ok(server)
    }

    fn foreign(
        line: &str,
        address: SocketAddr,
        settings: &ServeSettings,
        interrupt: &Interrupt,
    ) -> Result<Server, Stopped> {
        let patience = Duration::from_millis(100);
        if TcpStream::connect_timeout(&address, patience).is_ok() {
            return Err(Stopped::Failed(format!("another program listens on {address} already")));
        }
        let mut command = program::on_cores(&settings.server_cores)?;
        // As fibra's own servers do: as many descriptors as it may have.
        command.args(["sh", "-c", &format!("ulimit -n \"$(ulimit -Hn)\"; exec {line}")]);
        let (mut server, _) = Server::spawn(command, address)?;
        let listening = interrupt.wait_for(Instant::now() + START, || {
            if let Some(why) = server.ended()? {
                return Err(Stopped::Failed(why));
            }
            Ok(TcpStream::connect_timeout(&address, patience).ok().map(drop))
        })?;
        match listening {
            Some(()) => Ok(server),
            None => {
                Err(Stopped::Failed(format!("nobody listened on {address} within {} s", START.as_secs())))
            }
        }
    }

    fn spawn(mut command: Command, address: SocketAddr) -> Result<(Server, Receiver<String>), String> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(command, "the server")?;
        let (said, announcements) = mpsc::channel();
        let (complains, log) = mpsc::channel();
        // Both pipes are emptied until they end, so that a server that talks much is not held up.
        if let Some(out) = program.child.stdout.take() {
            thread::spawn(move || {
                for line in BufReader::new(out).lines().map_while(Result::ok) {
                    let _ = said.send(line);
                }
            });
        }
        if let Some(errors) = program.child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    let _ = complains.send(line);
                }
            });
        }
        Ok((Server { address, program: Some(program), log: Some(log), complaint: None }, announcements))
    }

    /// The process at the root of it, if it is the lab's.
    pub(super) fn id(&self) -> Option<u32> {
        self.program.as_ref().map(Program::id)
    }

    /// Why it has ended, if it has: what it said last, else how.
    pub(super) fn ended(&mut self) -> Result<Option<String>, String> {
        let Some(how) = self.program.as_ref().map(Program::ended).transpose()?.flatten() else {
            return Ok(None);
        };
        let deadline = Instant::now() + LAST_WORDS;
        if let Some(log) = &self.log {
            while let Ok(line) = log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                self.complaint = complaint(&line).or(self.complaint.take());
            }
        }
        Ok(Some(match &self.complaint {
            Some(why) => why.clone(),
            None => format!("the server {how}"),
        }))
    }

    /// What its log has complained of so far; the last of it.
    pub(super) fn complaint(&mut self) -> Option<String> {
        if let Some(log) = &self.log {
            self.complaint =
                log.try_iter().filter_map(|line| complaint(&line)).last().or(self.complaint.take());
        }
        self.complaint.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(program) = self.program.take() {
            program.stop(STOP);
        }
    }
}

/// The address in what a server says first.
fn announced(line: &str) -> Option<SocketAddr> {
    let mut words = line.split_whitespace();
    words.find_map(|word| word.trim_start_matches("http://").trim_end_matches('/').parse().ok())
}

/// What a line of the log complains of: a warning, an error, or the last word of a program that fails.
fn complaint(line: &str) -> Option<String> {
    let said = [" WARN ", " ERROR ", "fibra: "].iter().find_map(|mark| line.split_once(mark))?.1.trim();
    let mut text: String = said.chars().take(300).collect();
    if text.len() < said.len() {
        text.push('…');
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_what_a_server_says() {
        let http = "fibra: a hello page on http://127.0.0.1:4321/ (model coroutine, driver epoll, 1 worker)";
        assert_eq!(announced(http), Some(SocketAddr::from(([127, 0, 0, 1], 4321))));
        assert_eq!(announced("fibra: echo on 127.0.0.1:99 (model poll)").unwrap().port(), 99);
        assert_eq!(announced("try:   nc 127.0.0.1 99"), None);
    }

    #[test]
    fn warnings_errors_and_last_words_are_complaints() {
        let warned = "2026-11-28T00:00:00.000000Z  WARN cannot accept error=Too many open files";
        assert_eq!(complaint(warned).as_deref(), Some("cannot accept error=Too many open files"));
        assert_eq!(complaint("fibra: select takes 1,024").as_deref(), Some("select takes 1,024"));
        assert_eq!(complaint("2026-11-28T00:00:00Z  INFO stopped"), None);
        assert!(complaint(&format!("fibra: {}", "é".repeat(400))).unwrap().ends_with('…'));
    }
}
