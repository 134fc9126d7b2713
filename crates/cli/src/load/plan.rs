//! What a run is to be, and what its threads share while it lasts.

use super::pace::Length;
use super::sockets::Dialer;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// What a run is to be. Times are in nanoseconds.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) dialer: Dialer,
    pub(super) connections: usize,
    pub(super) threads: usize,
    pub(super) keep_alive: bool,
    /// Requests per second that are due, in an open loop.
    pub(super) rate: Option<f64>,
    pub(super) timeout: u64,
    pub(super) ramp: u64,
    /// How long opening may take beyond the ramp.
    pub(super) open_timeout: u64,
    pub(super) warm_up: u64,
    pub(super) length: Length,
}

impl Plan {
    /// When those connections that are not open are left out, on the run's clock.
    pub(super) fn opening_ends(&self) -> u64 {
        self.ramp.saturating_add(self.open_timeout)
    }

    /// Whether a connection is open only when the server has answered on it. That it is made says little: the system makes it, and keeps it in the
    /// listener's queue until the server takes it. Not where each request counts, nor where connections are to be idle until one is due.
    pub(super) fn opens_with_an_answer(&self) -> bool {
        self.keep_alive && self.rate.is_none() && matches!(self.length, Length::Time(_))
    }

    /// The connections of thread `thread`: how many come before them, and how many they are.
    pub(super) fn share(&self, thread: usize) -> (usize, usize) {
        let first = self.connections * thread / self.threads;
        (first, self.connections * (thread + 1) / self.threads - first)
    }
}

/// What the threads of a run share. None of it is written in the course of an ordinary request, but for the count of those that are
/// taken in a run of a given number.
#[derive(Debug)]
pub(super) struct Shared {
    began: Instant,
    /// Threads that have opened their connections.
    ready: AtomicUsize,
    /// When all of them had, which is when the warm-up begins; 0 until then.
    start: AtomicU64,
    /// Counted requests that were begun, in a closed loop of a given number.
    taken: AtomicU64,
    /// A signal has come.
    stop: Arc<AtomicBool>,
    /// It is yet to be said that the measured time begins.
    pub(super) mark: AtomicBool,
    /// For the progress, brought up to date several times a second: connections opened, requests answered and failed, counted or not.
    pub(super) opened: AtomicU64,
    pub(super) answered: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Shared {
    pub(super) fn new(stop: Arc<AtomicBool>) -> Shared {
        Shared {
            began: Instant::now(),
            ready: AtomicUsize::new(0),
            start: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            stop,
            mark: AtomicBool::new(false),
            opened: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        }
    }

    /// The run's clock: nanoseconds since it began, never 0.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// The measured time has begun: says so, once, if that is wanted.
    pub(super) fn measuring(&self) {
        if self.mark.load(Ordering::Relaxed) && self.mark.swap(false, Ordering::Relaxed) {
            // Nobody need be there to read it.
            let _ = writeln!(std::io::stderr(), "{}", super::MARK);
        }
    }

    /// One more thread is ready; the last one sets the start.
    pub(super) fn ready(&self, threads: usize, now: u64) {
        // The start is the only thing that is handed on, and it is in the word itself: no ordering is needed.
        if self.ready.fetch_add(1, Ordering::Relaxed) + 1 == threads {
            self.start.store(now, Ordering::Relaxed);
        }
    }

    /// When all were ready, if they are.
    pub(super) fn start(&self) -> Option<u64> {
        Some(self.start.load(Ordering::Relaxed)).filter(|start| *start != 0)
    }

    /// Takes one of `count` requests, if there is one.
    pub(super) fn take(&self, count: u64) -> bool {
        self.taken.load(Ordering::Relaxed) < count && self.taken.fetch_add(1, Ordering::Relaxed) < count
    }

    pub(super) fn all_taken(&self, count: u64) -> bool {
        self.taken.load(Ordering::Relaxed) >= count
    }
}

/// In nanoseconds.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_is_somebodys() {
        let dialer = Dialer::new(([127, 0, 0, 1], 1).into(), 1, true, 1);
        for (connections, threads) in [(1, 1), (10, 3), (1_000, 7), (5, 5)] {
            let plan = Plan {
                dialer: dialer.clone(),
                connections,
                threads,
                keep_alive: true,
                rate: None,
                timeout: 1,
                ramp: 0,
                open_timeout: 1,
                warm_up: 0,
                length: Length::Count(1),
            };
            let mut next = 0;
            for thread in 0..threads {
                let (first, count) = plan.share(thread);
                assert!(first == next && count >= 1);
                next += count;
            }
            assert_eq!(next, connections);
        }
    }

    #[test]
    fn no_more_requests_are_taken_than_there_are() {
        let shared = Shared::new(Arc::default());
        let taken = std::thread::scope(|scope| {
            let take = || (0..1_000).filter(|_| shared.take(1_500)).count();
            let other = scope.spawn(take);
            take() + other.join().unwrap()
        });
        assert_eq!(taken, 1_500);
        assert!(shared.all_taken(1_500));
    }
}
