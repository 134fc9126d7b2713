//! ^C: the first one ends the run after what is finished has been kept, the second one ends it at once.

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often those who wait look whether they are to stop.
const GLANCE: Duration = Duration::from_millis(5);

/// Whether somebody has asked for the end.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(Arc<AtomicBool>);

/// Why a run, or a part of it, has come to no result.
#[derive(Debug, PartialEq)]
pub(super) enum Stopped {
    /// By a signal.
    Interrupted,
    /// By what is said.
    Failed(String),
}

impl Interrupt {
    /// Listens to SIGINT and SIGTERM from now on.
    pub(super) fn listen() -> Result<Interrupt, String> {
        let asked = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the second signal finds the flag that the first has set.
            flag::register_conditional_shutdown(signal, 130, Arc::clone(&asked))
                .and_then(|_| flag::register(signal, Arc::clone(&asked)))
                .map_err(|error| format!("cannot listen to signals: {error}"))?;
        }
        Ok(Interrupt(asked))
    }

    pub(super) fn check(&self) -> Result<(), Stopped> {
        if self.0.load(Ordering::Relaxed) { Err(Stopped::Interrupted) } else { Ok(()) }
    }

    /// Waits until `what` is there, or fails at the deadline; `None` means that it is not there yet.
    pub(super) fn wait_for<T>(
        &self,
        deadline: Instant,
        mut what: impl FnMut() -> Result<Option<T>, Stopped>,
    ) -> Result<Option<T>, Stopped> {
        loop {
            self.check()?;
            if let Some(found) = what()? {
                return Ok(Some(found));
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
            std::thread::sleep(GLANCE);
        }
    }

    /// Waits until then.
    pub(super) fn sleep_until(&self, deadline: Instant) -> Result<(), Stopped> {
        self.wait_for(deadline, || Ok(None::<()>)).map(|_| ())
    }
}

impl From<String> for Stopped {
    fn from(why: String) -> Stopped {
        Stopped::Failed(why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_it_waits_for_or_at_its_deadline_or_by_a_signal() {
        let interrupt = Interrupt(Arc::default());
        let soon = Instant::now() + Duration::from_millis(20);
        let mut looks = 0;
        let found = interrupt.wait_for(soon + Duration::from_secs(60), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found, Ok(Some(3)));
        assert_eq!(interrupt.wait_for(soon, || Ok(None::<()>)), Ok(None));
        interrupt.0.store(true, Ordering::Relaxed);
        assert_eq!(interrupt.sleep_until(soon + Duration::from_secs(60)), Err(Stopped::Interrupted));
    }
}
