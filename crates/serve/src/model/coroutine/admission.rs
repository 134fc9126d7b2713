//! How many connections are open: the limit for accepting, and what stopping waits for.

use super::Rarely;
use fibra::{Context, Reason};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Counts the open connections. One coroutine, the one that accepts, waits here.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<Connections>);

#[derive(Debug, Default)]
struct Connections {
    open: usize,
    /// Who waits for the next connection to end.
    waiting: Option<Context>,
    told: Rarely,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted(Arc<Admission>);

impl Admission {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until fewer than `limit` connections are open, and takes a place.
    pub(super) fn wait(self: &Arc<Self>, limit: usize) -> Admitted {
        loop {
            let tell = {
                let mut connections = self.lock();
                if connections.open < limit {
                    connections.open += 1;
                    return Admitted(Arc::clone(self));
                }
                connections.waiting = Some(fibra::current());
                connections.told.now()
            };
            if tell {
                tracing::info!(limit, "as many connections as are allowed: others wait to be accepted");
            }
            fibra::park();
        }
    }

    /// Takes a place if fewer than `limit` connections are open.
    pub(super) fn take(self: &Arc<Self>, limit: usize) -> Option<Admitted> {
        let mut connections = self.lock();
        if connections.open >= limit {
            return None;
        }
        connections.open += 1;
        Some(Admitted(Arc::clone(self)))
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.lock().open
    }

    /// Waits until none is open, or the deadline has come.
    pub(super) fn wait_until_empty(&self, deadline: Instant) {
        loop {
            {
                let mut connections = self.lock();
                if connections.open == 0 {
                    return;
                }
                connections.waiting = Some(fibra::current());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if fibra::park_timeout(left) == Reason::TimedOut {
                return;
            }
        }
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let waiting = {
            let mut connections = self.0.lock();
            connections.open -= 1;
            connections.waiting.take()
        };
        if let Some(waiting) = waiting {
            waiting.unpark();
        }
    }
}
