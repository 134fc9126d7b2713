//! The load of one cell: `fibra load`, in a process of its own.

use crate::lab::interrupt::{Interrupt, Stopped};
use crate::lab::program::{self, Program};
use crate::lab::results::{Key, ServeSettings, Way};
use crate::load::report::{Report, SCHEMA};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// How long a load may take beyond the time that it is asked for.
const PATIENCE: Duration = Duration::from_secs(30);
/// Threads of the load, at the most; it has one for each of its cores.
const MOST_THREADS: usize = 8;
/// Seconds that answers may take beyond the measured time.
const LAST_ANSWERS: f64 = 2.0;

/// A load that runs.
pub(super) struct Load {
    program: Program,
    deadline: Instant,
    report: Receiver<String>,
    log: Receiver<String>,
    last_line: Option<String>,
}

impl Load {
    pub(super) fn start(address: SocketAddr, key: &Key, settings: &ServeSettings) -> Result<Load, String> {
        let mut command = program::on_cores(&settings.load_cores)?;
        command.arg(program::this()?).args(["--log", "off", "load", &address.to_string()]);
        command.args(["--protocol", &settings.protocol, "--connections", &key.level.to_string()]);
        let (seconds, warm_up) = (settings.seconds_at(key.level), settings.warm_up_seconds_at(key.level));
        let opening = settings.opening_seconds_at(key.level);
        command.args(["--open-timeout", &opening.to_string()]);
        command.args(["--duration", &seconds.to_string(), "--warm-up", &warm_up.to_string()]);
        let threads = settings.load_cores.len().clamp(1, MOST_THREADS);
        command.args(["--threads", &threads.to_string()]);
        // Whoever is not answered in all that time has been refused service.
        let timeout = warm_up + seconds + LAST_ANSWERS;
        command.args(["--timeout", &timeout.to_string(), "--json", "-", "--quiet", "--mark"]);
        if key.way == Way::OneRequest {
            command.arg("--no-keep-alive");
        }
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(command, "the load")?;
        let time = Duration::from_secs_f64(opening + timeout);
        let (sends, report) = mpsc::channel();
        let (complains, log) = mpsc::channel();
        if let Some(mut out) = program.child.stdout.take() {
            thread::spawn(move || {
                let mut text = String::new();
                // What is not text is no report, and told as such.
                let _ = out.read_to_string(&mut text);
                let _ = sends.send(text);
            });
        }
        if let Some(errors) = program.child.stderr.take() {
            thread::spawn(move || {
                for line in BufReader::new(errors).lines().map_while(Result::ok) {
                    let _ = complains.send(line);
                }
            });
        }
        Ok(Load { program, deadline: Instant::now() + time + PATIENCE, report, log, last_line: None })
    }

    /// Waits until the time that counts begins: false if there is to be none.
    pub(super) fn measuring(&mut self, interrupt: &Interrupt) -> Result<bool, Stopped> {
        let begun = interrupt.wait_for(self.deadline, || {
            loop {
                match self.log.try_recv() {
                    Ok(line) if line == crate::load::MARK => return Ok(Some(true)),
                    Ok(line) => self.last_line = Some(line),
                    Err(mpsc::TryRecvError::Empty) => return Ok(None),
                    Err(mpsc::TryRecvError::Disconnected) => return Ok(Some(false)),
                }
            }
        })?;
        Ok(begun.unwrap_or(false))
    }

    /// Waits for what it has come to.
    pub(super) fn report(mut self, interrupt: &Interrupt) -> Result<Report, Stopped> {
        let text = interrupt.wait_for(self.deadline, || match self.report.try_recv() {
            Ok(text) => Ok(Some(text)),
            Err(mpsc::TryRecvError::Empty) => Ok(None),
            Err(mpsc::TryRecvError::Disconnected) => Ok(Some(String::new())),
        })?;
        let Some(text) = text else {
            return Err(Stopped::Failed("the load did not come to an end".to_owned()));
        };
        match serde_json::from_str::<Report>(&text) {
            Ok(report) if report.schema == SCHEMA => Ok(report),
            Ok(report) => Err(Stopped::Failed(format!("the load's report has schema {}", report.schema))),
            Err(error) => {
                Err(Stopped::Failed(self.why().unwrap_or_else(|| format!("no report of the load: {error}"))))
            }
        }
    }

    /// What the load said last, if it said why it failed.
    fn why(&mut self) -> Option<String> {
        let deadline = Instant::now() + Duration::from_millis(200);
        while let Ok(line) = self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.last_line = Some(line);
        }
        let how = self.program.ended().ok().flatten();
        let said = self.last_line.take().filter(|line| line != crate::load::MARK);
        said.map(|line| line.trim_start_matches("fibra: ").to_owned())
            .or(how.map(|how| format!("the load {how}")))
    }
}
