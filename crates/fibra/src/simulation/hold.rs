//! What the user knows of the world outside a simulation: [`hold`].

use super::simulated;
use crate::scheduler::virtual_time;
use std::fmt;

/// While it lives, the time of its simulation does not jump, and nobody is taken for waiting in vain.
#[must_use]
pub struct Hold(#[expect(dead_code, reason = "it is there to be dropped")] Option<virtual_time::Hold>);

/// Says that somebody outside of the simulation may yet wake a coroutine of it: an OS thread, which is given the hold and drops it when it has.
///
/// Calls of the blocking pool and on files need none, nor do threads of [`fibra::thread`](crate::thread) that are no daemons. Outside of a simulation it means nothing.
///
/// ```
/// use fibra::{simulation, timeout};
/// use std::time::Duration;
///
/// simulation::run(|| {
///     let main = fibra::current();
///     let hold = simulation::hold();
///     let thread = std::thread::spawn(move || {
///         std::thread::sleep(Duration::from_millis(5));
///         main.unpark();
///         drop(hold);
///     });
///     assert_eq!(timeout(Duration::from_nanos(1), fibra::park), Ok(()));
///     thread.join().unwrap();
/// });
/// ```
pub fn hold() -> Hold {
    Hold(simulated().and_then(|core| virtual_time::Hold::new(&core)))
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").finish_non_exhaustive()
    }
}
