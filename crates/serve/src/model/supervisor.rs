//! A parent and its workers, which are processes: it starts them, puts another in the place of one that has died, and sees to it that all end.
//!
//! ```text
//!                 fork                    it says so on the scoreboard
//!   Missing ────────────────▶ starting ────────────────────────────────▶ ready
//!      ▲                          │                                        │ finished in order: at once
//!      └──────────────────────────┴────────────────────────────────────────┘ died: at once; died young, again: after a pause
//! ```
//! The parent serves nobody. It has one thread (see `fork`), and blocks in `poll` until its bell rings: for a signal, for the end of a child, or by
//! a worker's hand.
//!
//! A worker that dies before all have been ready once is no accident but a mistake: then the server does not start.

use super::blocking::Insistence;
use super::deadlines::after;
use super::fork;
use super::process::tell_death;
use super::rarely::Rarely;
use super::scoreboard::{Row, Scoreboard};
use super::shortage::Shortage;
use super::stopping::{Bell, Ending, tell, tell_cut_off};
use super::{Options, Summary};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitStatus, kill_process};
use std::io;
use std::task::Waker;
use std::time::{Duration, Instant};

/// What a model's workers do.
pub(super) trait Crew {
    /// The whole life of a worker, in its own process: returns its exit status. `rope` rings the parent's bell.
    fn work(&mut self, number: usize, board: &Scoreboard, rope: &Waker) -> i32;

    /// In the parent: the server stops. Called once, before the workers are told.
    fn close(&mut self);

    /// How workers are told.
    const TOLD: Told;
}

/// How a worker is told that the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// By signals, again and again, since one that finds it on its way into a call does not wake it. What is not finished in time is killed.
    Insistently,
    /// Once to finish, by SIGTERM, and once more if it is to hurry, by SIGINT: for it counts them, and of two of a kind it may hear one. It keeps to the time limit itself, and is killed if it is late by this.
    Once { grace: Duration },
}

#[derive(Clone, Copy, Debug)]
enum Worker {
    Running {
        pid: Pid,
        since: Instant,
        /// How many signals were passed on to it.
        told: usize,
    },
    Missing {
        again: Instant,
    },
}

/// How long a worker lives at least, unless something is wrong with it.
const YOUNG: Duration = Duration::from_secs(10);

struct Supervisor<'a, C> {
    options: &'a Options,
    crew: &'a mut C,
    bell: Bell,
    board: Scoreboard,
    workers: Vec<Worker>,
    backoff: Backoff,
    shortage: Shortage,
    told_full: Rarely,
    ending: Ending,
    /// How many signals have come, and when the last one.
    asked: (usize, Instant),
    insistence: Insistence,
}

/// Runs `count` workers until SIGINT or SIGTERM, and waits for their end. `started` is called with the first row of the scoreboard, once all workers
/// are ready.
///
/// # Errors
/// When this process has several threads, descriptors are out, or a worker cannot be started or dies before all are ready.
pub(super) fn supervise<C: Crew>(
    options: &Options,
    count: usize,
    crew: &mut C,
    started: impl FnOnce(Row),
) -> io::Result<Summary> {
    fork::is_possible()?;
    let now = Instant::now();
    let mut supervisor = Supervisor {
        options,
        crew,
        bell: Bell::of_a_parent()?,
        board: Scoreboard::new(count)?,
        workers: vec![Worker::Missing { again: now }; count],
        backoff: Backoff::default(),
        shortage: Shortage::default(),
        told_full: Rarely::default(),
        ending: Ending::No,
        asked: (0, now),
        insistence: Insistence::default(),
    };
    let result = supervisor.run(started);
    // After an error, too, nobody is left behind.
    supervisor.kill_all();
    result?;
    let rows = supervisor.board.all();
    Ok(Summary {
        accepted: rows.iter().map(|row| row.accepted).sum(),
        cut_off: rows.iter().map(|row| row.open as usize).sum(),
        ..Summary::default()
    })
}

impl<C: Crew> Supervisor<'_, C> {
    fn run(&mut self, started: impl FnOnce(Row)) -> io::Result<()> {
        for number in 0..self.workers.len() {
            self.start(number).map_err(|error| {
                io::Error::new(error.kind(), format!("cannot start worker {}: {error}", number + 1))
            })?;
        }
        let mut started = Some(started);
        loop {
            let now = Instant::now();
            if self.ending != Ending::No {
                if self.running().next().is_none() {
                    return Ok(());
                }
                if now >= self.patience_ends() {
                    let open = self.board.all().iter().map(|row| row.open as usize).sum();
                    tell_cut_off(open);
                    if C::TOLD != Told::Insistently {
                        tracing::warn!(workers = self.running().count(), "killing those that are late");
                    }
                    return Ok(());
                }
                self.pass_on(now);
            } else {
                let rows = self.board.all();
                if rows.iter().all(|row| row.ready != 0)
                    && let Some(started) = started.take()
                {
                    started(rows[0]);
                }
                self.replace_the_missing(now);
            }
            self.wait()?;
            self.bell.silence();
            let failed = self.reap();
            if failed && started.is_some() && self.ending == Ending::No {
                return Err(io::Error::other("a worker ended before it could serve: the log says why"));
            }
            self.hear();
        }
    }

    fn running(&self) -> impl Iterator<Item = Pid> {
        self.workers.iter().filter_map(|worker| match worker {
            Worker::Running { pid, .. } => Some(*pid),
            Worker::Missing { .. } => None,
        })
    }

    fn start(&mut self, number: usize) -> io::Result<()> {
        let Supervisor { crew, bell, board, .. } = self;
        let pid = fork::child(|| {
            bell.deafen();
            crew.work(number, board, &bell.waker())
        })?;
        self.workers[number] = Worker::Running { pid, since: Instant::now(), told: 0 };
        Ok(())
    }

    fn replace_the_missing(&mut self, now: Instant) {
        for number in 0..self.workers.len() {
            if !matches!(self.workers[number], Worker::Missing { again } if again <= now) {
                continue;
            }
            match self.start(number) {
                Ok(()) => self.shortage.is_over(),
                Err(error) => {
                    self.workers[number] = Worker::Missing { again: now + self.shortage.pause(&error) };
                }
            }
        }
    }

    /// Blocks until the bell rings, or there is something to be done.
    fn wait(&self) -> io::Result<()> {
        let missing = self.workers.iter().filter_map(|worker| match worker {
            Worker::Missing { again } => Some(*again),
            Worker::Running { .. } => None,
        });
        let until = match self.ending {
            Ending::No => missing.min(),
            _ => [Some(self.patience_ends()), self.insistence.next()].into_iter().flatten().min(),
        };
        let timeout = until.map(|until| {
            // Longer than the kernel's clock can hold is as good as a day.
            let left = until.saturating_duration_since(Instant::now()).min(Duration::from_secs(86_400));
            Timespec::try_from(left).expect("a day fits into a Timespec")
        });
        match poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Takes note of the workers that have ended; says whether one has failed.
    fn reap(&mut self) -> bool {
        let mut failed = false;
        for (pid, status) in fork::reap(|pid| self.running().any(|ours| ours == pid), || self.running()) {
            failed |= self.ended(pid, status);
        }
        failed
    }

    fn ended(&mut self, ended: Pid, status: WaitStatus) -> bool {
        let found = self.workers.iter().enumerate().find_map(|(number, worker)| match worker {
            Worker::Running { pid, since, .. } if *pid == ended => Some((number, *since)),
            _ => None,
        });
        let Some((number, since)) = found else { return false };
        tell_death(ended, status);
        let failed = status.exit_status() != Some(0);
        let mut row = self.board.read(number);
        row.ready = 0;
        let mut pause = Duration::ZERO;
        if failed {
            // What it served is lost already, and not to be counted as cut off later.
            row.open = 0;
            pause = self.backoff.pause(since.elapsed());
        }
        self.board.write(number, row);
        self.workers[number] = Worker::Missing { again: Instant::now() + pause };
        failed
    }

    /// Why the bell has rung, apart from ends.
    fn hear(&mut self) {
        while let Some(signal) = self.bell.signal() {
            let first = self.ending.asked(self.options.service.limits().stop_deadline);
            self.asked = (self.asked.0 + 1, Instant::now());
            if first {
                self.crew.close();
            }
            tell(signal, first);
        }
        if self.ending == Ending::No && self.board.is_full() && self.told_full.now() {
            tracing::info!(
                limit = self.workers.len(),
                "as many connections as are allowed, one for each worker: others wait to be accepted"
            );
        }
    }

    /// Until when workers may take to end.
    fn patience_ends(&self) -> Instant {
        let grace = match C::TOLD {
            Told::Insistently => Duration::ZERO,
            Told::Once { grace } => grace,
        };
        after(self.ending.deadline().unwrap_or(self.asked.1), grace)
    }

    /// Tells the workers of the signals that have come.
    fn pass_on(&mut self, now: Instant) {
        match C::TOLD {
            Told::Insistently => {
                if self.insistence.is_due(now) {
                    self.signal_all(Signal::TERM);
                }
            }
            Told::Once { .. } => {
                let (asked, rows) = (self.asked.0, self.board.all());
                for (worker, row) in self.workers.iter_mut().zip(rows) {
                    // Before it is ready it has no ears; it rings when it has.
                    if let Worker::Running { pid, told, .. } = worker
                        && row.ready != 0
                        && *told < asked
                    {
                        for signal in [Signal::TERM, Signal::INT].into_iter().take(asked).skip(*told) {
                            let _ = kill_process(*pid, signal);
                        }
                        *told = asked;
                    }
                }
            }
        }
    }

    fn signal_all(&self, signal: Signal) {
        for pid in self.running() {
            // It has not been reaped, so the number is still its own; that it has ended does no harm.
            let _ = kill_process(pid, signal);
        }
    }

    fn kill_all(&mut self) {
        self.signal_all(Signal::KILL);
        self.running().for_each(fork::wait_for_end);
        self.workers.clear();
    }
}

/// The pauses before workers are replaced that died young: something is wrong, and will be so for the next one.
#[derive(Debug, Default)]
struct Backoff(Duration);

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);

    /// The pause after a death at that age. The first is none: it may have been an accident.
    fn pause(&mut self, lived: Duration) -> Duration {
        if lived >= YOUNG {
            self.0 = Duration::ZERO;
        }
        let pause = self.0;
        self.0 = (pause * 2).clamp(Self::FIRST, Self::LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crash_loop_is_slowed_down_and_an_accident_is_not() {
        let mut backoff = Backoff::default();
        let pauses: Vec<_> = (0..9).map(|_| backoff.pause(Duration::ZERO)).collect();
        assert_eq!(pauses[..3], [Duration::ZERO, Backoff::FIRST, Backoff::FIRST * 2]);
        assert_eq!(pauses[8], Backoff::LONGEST);
        assert_eq!(backoff.pause(YOUNG), Duration::ZERO);
    }
}
