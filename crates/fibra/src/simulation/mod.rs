//! Tests of concurrent code that take no time and can be repeated: virtual time, and schedules from a seed.
//!
//! A simulation is a runtime with one worker, on the calling thread. Two things are different from [`fibra::run`](crate::run()):
//!
//! * **Time** stands still while anybody can run, and when nobody can it jumps to the next timer. Every sleep, timeout and deadline of the library goes by it. So a
//!   retry loop that backs off for hours is tested in microseconds, and a timeout fires when it should and never because the machine was slow.
//! * **The order** in which coroutines run is chosen by a pseudo-random number generator. Its seed determines the whole run, so what failed once fails again.
//!
//! And a test that hangs fails: when every context waits, no timer is set, and nobody outside is known who could wake one, the simulation ends with a panic that says who
//! waits for what.
//!
//! # Virtual time
//! ```
//! use fibra::simulation;
//! use std::time::Duration;
//!
//! /// Tries again after 1, 2, 4, … minutes.
//! fn persistently<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
//!     let mut pause = Duration::from_secs(60);
//!     loop {
//!         if let Some(value) = attempt() {
//!             return value;
//!         }
//!         fibra::sleep(pause);
//!         pause *= 2;
//!     }
//! }
//!
//! simulation::run(|| {
//!     let mut attempts = 0;
//!     persistently(|| {
//!         attempts += 1;
//!         (attempts == 10).then_some(())
//!     });
//!     assert_eq!(simulation::elapsed(), Duration::from_secs(511 * 60), "eight and a half hours, at once");
//! });
//! ```
//!
//! # Exploring
//! [`explore`] runs the same code under many seeds. Coroutines change places only where one waits or yields, so that is where it can find something:
//!
//! ```
//! use fibra::{simulation, spawn};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
//!
//! fn deposit(account: &AtomicU32) {
//!     let balance = account.load(Relaxed);
//!     fibra::yield_now(); // The bank is asked.
//!     account.store(balance + 1, Relaxed);
//! }
//!
//! let found = std::panic::catch_unwind(|| {
//!     simulation::explore(100, || {
//!         let account = Arc::new(AtomicU32::new(0));
//!         let deposits = [(); 2].map(|()| {
//!             let account = Arc::clone(&account);
//!             spawn(move || deposit(&account))
//!         });
//!         for deposit in deposits {
//!             deposit.join().unwrap();
//!         }
//!         assert_eq!(account.load(Relaxed), 2, "a deposit is lost");
//!     });
//! });
//! assert!(found.is_err());
//! ```
//!
//! The panic is the test's own; before it a line says how to see that very run again, under a debugger or with more output:
//!
//! ```text
//! fibra: the simulation failed with seed 2 (and not with the 2 before it); to repeat that run: FIBRA_SEED=2 cargo test bank::a_deposit_is_never_lost
//! ```
//!
//! What is done on one worker without waiting is one step for all its coroutines. To test code that is to run on several workers, say where
//! the others may come in between: [`perhaps_yield`] does nothing outside of a simulation.
//!
//! # What is determined, and what is not
//! The seed determines which of the coroutines that can run goes next: those that were woken, that yielded, that have not started, and those whose timers fired together; and which
//! operations that need not wait let others run in between. It does not determine
//!
//! * the order of a `HashMap` with std's random state, addresses, the numbers of contexts, or what else the program asks the system for: an [`Instant`] is
//!   comparable within one run only (print [`elapsed`]);
//! * when calls come back that are made by OS threads or the kernel: [`spawn_blocking`](crate::spawn_blocking), [`fs`](mod@crate::fs), name resolution. The time does
//!   not jump while one is under way, so no timeout overtakes it; but the others run on meanwhile;
//! * sockets. Before the time jumps it is looked whether one is ready, for five milliseconds of real time at the most, which is enough for both ends of a connection inside one simulation. Of a peer outside it is not known whether it
//!   will answer: the time jumps over it;
//! * threads of [`fibra::thread`](crate::thread). The time does not jump while one of them works, sleeps, or waits with a limit, for all of which time is real there. It goes on while one
//!   waits without a limit by the library's means: for a coroutine, say. (A wait by other means than the library's, or for a socket, is taken for work.) Daemons are left out.
//! * other OS threads that wake a coroutine by the library's means, and daemons. The simulation does not know of them: let them have a [`hold`], or they will be slept over, or taken for
//!   a deadlock.
//!
//! A deadlock in which somebody waits for a socket is not seen as one, since somebody outside might write; that run hangs.

mod hold;
mod seeded;

pub use hold::{Hold, hold};

use self::seeded::Seeded;
use crate::scheduler::core::Core;
use crate::scheduler::runtime::{Runtime, existing_core};
use crate::scheduler::virtual_time::VirtualTime;
use crate::scheduler::worker::Worker;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where the seed comes from that is to be repeated.
const VARIABLE: &str = "FIBRA_SEED";

/// The seed when nothing is said.
const DEFAULT_SEED: u64 = 0;

/// How a simulation is to be; [`run`] and [`explore`] are for the usual ones.
///
/// ```
/// use fibra::simulation::Simulation;
/// use std::time::Duration;
///
/// let order = Simulation::new().seed(7).run(|| {
///     let (send, receive) = std::sync::mpsc::channel();
///     for n in 0..5 {
///         let send = send.clone();
///         fibra::spawn(move || send.send(n));
///     }
///     fibra::sleep(Duration::from_secs(1));
///     receive.try_iter().collect::<Vec<_>>()
/// });
/// assert_eq!(order.len(), 5);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct Simulation {
    seed: Option<u64>,
    in_order: bool,
    stack_size: Option<usize>,
}

impl Simulation {
    /// The usual one: its seed is `FIBRA_SEED`, or else always the same.
    pub fn new() -> Simulation {
        Simulation::default()
    }

    /// The seed, whatever the environment says.
    pub fn seed(mut self, seed: u64) -> Simulation {
        self.seed = Some(seed);
        self
    }

    /// Lets coroutines run in the order in which they become runnable, as any runtime does. Only the time is virtual then.
    pub fn in_order(mut self) -> Simulation {
        self.in_order = true;
        self
    }

    /// The stack of each coroutine that does not ask for another, in bytes.
    pub fn stack_size(mut self, bytes: usize) -> Simulation {
        self.stack_size = Some(bytes);
        self
    }

    /// Runs `main` as [`run`] does.
    ///
    /// # Panics
    /// As [`run`].
    pub fn run<F, T>(&self, main: F) -> T
    where
        F: FnOnce() -> T,
    {
        let seed = self.seed.or_else(seed_to_repeat).unwrap_or(DEFAULT_SEED);
        self.run_with(seed, main).unwrap_or_else(|payload| {
            if !self.in_order {
                eprintln!(
                    "fibra: the simulation failed with seed {seed}; to repeat that run: {}",
                    again(seed)
                );
            }
            resume_unwind(payload)
        })
    }

    /// Runs `main` under so many seeds as [`explore`] does; they begin with this simulation's seed, if it has one.
    ///
    /// # Panics
    /// As [`explore`].
    pub fn explore<F>(&self, count: u64, main: F)
    where
        F: Fn(),
    {
        if self.seed.is_none()
            && let Some(seed) = seed_to_repeat()
        {
            return self.clone().seed(seed).run(main);
        }
        let first = self.seed.unwrap_or(DEFAULT_SEED);
        for passed in 0..count {
            let seed = first.wrapping_add(passed);
            if let Err(payload) = self.run_with(seed, &main) {
                eprintln!(
                    "fibra: the simulation failed with seed {seed} (and not with the {passed} before it); to repeat that run: {}",
                    again(seed)
                );
                resume_unwind(payload);
            }
        }
    }

    fn run_with<F, T>(&self, seed: u64, main: F) -> std::thread::Result<T>
    where
        F: FnOnce() -> T,
    {
        let time = Arc::new(VirtualTime::new((!self.in_order).then_some(seed)));
        let mut runtime = Runtime::builder().simulated(Arc::clone(&time));
        if !self.in_order {
            runtime = runtime.schedule(Seeded::new(seed));
        }
        if let Some(bytes) = self.stack_size {
            runtime = runtime.stack_size(bytes);
        }
        catch_unwind(AssertUnwindSafe(|| {
            let result = catch_unwind(AssertUnwindSafe(|| runtime.run(main)));
            // What came of the main coroutine when it was ended is of no interest then.
            if let Some(deadlock) = time.deadlock() {
                drop(result);
                panic!("{deadlock}");
            }
            match result {
                Ok(Ok(value)) => value,
                Ok(Err(error)) => panic!("the simulation cannot start: {error}"),
                Err(payload) => resume_unwind(payload),
            }
        }))
    }
}

/// Runs `main` in a simulation, and returns what it returns once every coroutine that is not a daemon has ended.
///
/// # Panics
/// When `main` panics, with its payload; when contexts wait for each other for ever, with a text that begins with `deadlock` and lists them; when the calling thread is a
/// runtime's worker; and when `FIBRA_SEED` is no number.
///
/// ```should_panic
/// use fibra::sync::Event;
///
/// fibra::simulation::run(|| {
///     let ready = Event::new();
///     ready.wait(); // deadlock: 1 'main' waits for Event …
/// });
/// ```
pub fn run<F, T>(main: F) -> T
where
    F: FnOnce() -> T,
{
    Simulation::new().run(main)
}

/// Runs `main` in `count` simulations with different seeds, always the same ones. When one panics it prints how to repeat it, and panics likewise.
///
/// When `FIBRA_SEED` is set, that one is all that is run.
///
/// # Panics
/// As [`run`].
pub fn explore<F>(count: u64, main: F)
where
    F: Fn(),
{
    Simulation::new().explore(count, main);
}

/// What the environment asks for.
fn seed_to_repeat() -> Option<u64> {
    let text = std::env::var(VARIABLE).ok()?;
    match text.trim() {
        "" => None,
        number => {
            Some(number.parse().unwrap_or_else(|_| panic!("{VARIABLE} is '{text}'; it must be a number")))
        }
    }
}

/// The command that repeats a run.
fn again(seed: u64) -> String {
    // The test harness names the threads after their tests.
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main").unwrap_or_default();
    format!("{VARIABLE}={seed} cargo test {test}").trim_end().to_owned()
}

/// The runtime of the caller, and its virtual time, if it has that.
fn simulated() -> Option<Arc<Core>> {
    existing_core().filter(|core| core.virtual_time.is_some())
}

/// The present of the running context: its runtime's time, which in a simulation is virtual; else the system's.
pub fn now() -> Instant {
    existing_core().map_or_else(Instant::now, |core| core.now())
}

/// How much time has passed since the simulation began.
///
/// # Panics
/// Outside of a simulation.
pub fn elapsed() -> Duration {
    simulated().and_then(|core| Some(core.virtual_time.as_ref()?.elapsed())).expect(OUTSIDE)
}

/// Lets time pass while the running coroutine goes on: as if it had been computing for so long. What is due by then runs at the caller's next wait.
///
/// ```
/// use fibra::{simulation, timeout};
/// use std::time::Duration;
///
/// simulation::run(|| {
///     let late = timeout(Duration::from_secs(1), || {
///         simulation::advance(Duration::from_secs(5));
///         "a result that is there is returned"
///     });
///     assert!(late.is_ok());
/// });
/// ```
///
/// # Panics
/// Outside of a simulation, and on a thread of the blocking pool.
pub fn advance(duration: Duration) {
    let worker = Worker::here().filter(|worker| worker.current().is_some()).expect(OUTSIDE);
    worker.advance(worker.core.virtual_time.as_ref().expect(OUTSIDE), duration);
}

/// Lets others run here, or does not, as the seed says: a place where, on several workers, something else may happen. Outside of a simulation, and in one that runs
/// [in order](Simulation::in_order), it does nothing.
#[inline]
pub fn perhaps_yield() {
    if let Some(worker) = Worker::here() {
        worker.perhaps_yield();
    }
}

const OUTSIDE: &str = "this is no coroutine of a simulation";
