//! Starting programs for a measurement: on their own cores, in their own process group, and gone when the lab is gone.
//!
//! ```text
//! fibra lab ──spawn──▶ fibra lab-part launch ──exec──▶ the program
//!                        cores, death with the parent
//! ```
//!
//! The launcher is this program once more: it narrows its own affinity, which the program inherits from its first instruction on and with it all threads and
//! processes that it makes; between fork and exec nothing has to be done that would be unsafe.

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process_group, set_parent_process_death_signal, waitid,
};
use rustix::thread::{CpuSet, sched_setaffinity};
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// This program.
pub(super) fn this() -> Result<OsString, String> {
    let path = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    Ok(path.into_os_string())
}

/// A command that will run on these cores (on any, if none is named); what it is to run is added as its arguments.
pub(super) fn on_cores(cores: &[usize]) -> Result<Command, String> {
    let mut command = Command::new(this()?);
    let cores: Vec<String> = cores.iter().map(ToString::to_string).collect();
    command.args(["lab-part", "launch", "--cores", &cores.join(","), "--"]);
    // What the caller's environment says of fibra's log is meant for the lab.
    command.env_remove("FIBRA_LOG").stdin(Stdio::null()).process_group(0);
    Ok(command)
}

/// Becomes `program`, on `cores`: the launcher's part.
pub(super) fn launch(cores: &str, program: &[OsString]) -> Result<(), String> {
    let (name, arguments) = program.split_first().ok_or("no program to launch")?;
    let mut set = CpuSet::new();
    for core in cores.split(',').filter(|core| !core.is_empty()) {
        let core: usize = core.parse().map_err(|_| format!("'{core}' is no core"))?;
        if core >= CpuSet::MAX_CPU {
            return Err(format!("core {core} is past what can be named"));
        }
        set.set(core);
    }
    if set.count() > 0 {
        sched_setaffinity(None, &set)
            .map_err(|error| format!("cannot keep to the cores {cores}: {error}"))?;
    }
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|error| format!("prctl: {error}"))?;
    let error = Command::new(name).args(arguments).exec();
    Err(format!("cannot start '{}': {error}", name.to_string_lossy()))
}

/// A started program and all that it has started: killed when dropped.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) child: Child,
}

impl Program {
    pub(super) fn start(mut command: Command, what: &str) -> Result<Program, String> {
        let child = command.spawn().map_err(|error| format!("cannot start {what}: {error}"))?;
        Ok(Program { child })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, in words; `None` as long as it runs. It is left unreaped, so that its number, which is its group's too, is not given to another.
    pub(super) fn ended(&self) -> Result<Option<String>, String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), options)
            .map_err(|error| format!("waiting for a program: {error}"))?;
        Ok(status.map(|status| match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("ended with status {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended".to_owned(),
        }))
    }

    /// Asks it to end, and gives it a while; then [`drop`] does not ask.
    pub(super) fn stop(self, patience: Duration) {
        self.signal(Signal::TERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline && matches!(self.ended(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn signal(&self, signal: Signal) {
        // A group that has ended wants no signal.
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Also when the program has ended: its children may not have.
        self.signal(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Keeps this process, and what it starts without a launcher, to `cores`.
pub(super) fn keep_to(cores: &[usize]) -> io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    Ok(sched_setaffinity(None, &set)?)
}
