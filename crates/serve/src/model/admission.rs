//! How many connections are open: the limit for accepting, and what stopping waits for.
//!
//! Each open connection holds a [`Place`]. Whoever accepts takes one first, and at the limit leaves a [`Waker`]: the next place that is given
//! back wakes all that are left. All and not one, since the one might have no connection to accept while another has; they are as many as
//! there are loops, or one.

use super::rarely::Rarely;
use fibra::{Context, Reason};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::Instant;

/// Counts the open connections of a server, up to a limit.
#[derive(Debug)]
pub(super) struct Admission {
    limit: usize,
    connections: Mutex<Connections>,
}

#[derive(Debug, Default)]
struct Connections {
    open: usize,
    /// Who waits for the next connection to end.
    waiting: Vec<Waker>,
    told: Rarely,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<Admission>);

impl Admission {
    pub(super) fn new(limit: usize) -> Arc<Admission> {
        Arc::new(Admission { limit, connections: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place if fewer connections are open than are allowed.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut connections = self.lock();
        if connections.open >= self.limit {
            return None;
        }
        connections.open += 1;
        Some(Place(Arc::clone(self)))
    }

    /// Takes a place; if there is none, `waker` is woken when a connection has ended.
    pub(super) fn take_or_wake(self: &Arc<Self>, waker: &Waker) -> Option<Place> {
        let tell = {
            let mut connections = self.lock();
            if connections.open < self.limit {
                connections.open += 1;
                return Some(Place(Arc::clone(self)));
            }
            connections.leave(waker);
            connections.told.now()
        };
        if tell {
            tracing::info!(
                limit = self.limit,
                "as many connections as are allowed: others wait to be accepted"
            );
        }
        None
    }

    /// Takes a place; the calling context, a coroutine or a thread, waits until there is one.
    pub(super) fn wait(self: &Arc<Self>) -> Place {
        if let Some(place) = self.take() {
            return place;
        }
        let waker = waker(fibra::current());
        loop {
            if let Some(place) = self.take_or_wake(&waker) {
                return place;
            }
            fibra::park();
        }
    }

    /// How many connections are open.
    pub(super) fn open(&self) -> usize {
        self.lock().open
    }

    /// The calling context waits until none is open, or the deadline has come.
    pub(super) fn wait_until_empty(&self, deadline: Instant) {
        let waker = waker(fibra::current());
        loop {
            {
                let mut connections = self.lock();
                if connections.open == 0 {
                    return;
                }
                connections.leave(&waker);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if fibra::park_timeout(left) == Reason::TimedOut {
                return;
            }
        }
    }
}

impl Connections {
    fn leave(&mut self, waker: &Waker) {
        if !self.waiting.iter().any(|other| other.will_wake(waker)) {
            self.waiting.push(waker.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let waiting = {
            let mut connections = self.0.lock();
            connections.open -= 1;
            std::mem::take(&mut connections.waiting)
        };
        for waker in waiting {
            waker.wake();
        }
    }
}

/// Ends the next [`park`](fibra::park()) of `context`.
fn waker(context: Context) -> Waker {
    struct Unpark(Context);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    Waker::from(Arc::new(Unpark(context)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_place_that_is_given_back_goes_to_a_thread_that_waits() {
        let admission = Admission::new(1);
        let place = admission.take().unwrap();
        assert!(admission.take().is_none());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| admission.wait());
            drop(place);
            drop(waiting.join().unwrap());
        });
        assert_eq!(admission.open(), 0);
    }

    #[test]
    fn a_place_that_is_given_back_wakes_everybody_who_waits_once() {
        struct Count(Mutex<u32>);
        impl Wake for Count {
            fn wake(self: Arc<Self>) {
                *self.0.lock().unwrap() += 1;
            }
        }
        let admission = Admission::new(1);
        let place = admission.take().unwrap();
        let counts: Vec<_> = (0..2).map(|_| Arc::new(Count(Mutex::new(0)))).collect();
        for count in &counts {
            let waker = Waker::from(Arc::clone(count));
            assert!(admission.take_or_wake(&waker).is_none());
            assert!(admission.take_or_wake(&waker).is_none());
        }
        drop(place);
        assert!(counts.iter().all(|count| *count.0.lock().unwrap() == 1));
        assert!(admission.take().is_some());
    }

    #[test]
    fn waiting_for_the_end_of_all_ends_with_the_last_or_in_time() {
        let admission = Admission::new(2);
        let places = [admission.take().unwrap(), admission.take().unwrap()];
        admission.wait_until_empty(Instant::now());
        assert_eq!(admission.open(), 2);
        thread::scope(|scope| {
            scope.spawn(|| admission.wait_until_empty(Instant::now() + Duration::from_secs(60)));
            drop(places);
        });
    }
}
