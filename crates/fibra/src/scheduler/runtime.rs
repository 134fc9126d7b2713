//! Making a runtime, running in it, and its end.

use super::core::Core;
use super::living;
use super::run_queue::Schedule;
use super::settings::{self, DriverKind};
use super::shared::Shared;
use super::task::{Settings, new_task};
use super::virtual_time::VirtualTime;
use super::worker::{self, Worker};
use crate::spawn::{Builder, JoinHandle};
use crate::time::clock::Clock;
use fibra_context::overflow;
use fibra_driver::{Driver, RingSettings};
use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, OnceLock};
use std::thread;

/// How a runtime is to be. Made with [`Runtime::builder`].
///
/// What is not said here is taken from the environment (`FIBRA_WORKERS`, `FIBRA_STACK_SIZE`, `FIBRA_DRIVER`), and else has a default.
///
/// ```
/// let sum = fibra::Runtime::builder().workers(1).stack_size(128 * 1024).run(|| {
///     let two = fibra::spawn(|| 2);
///     two.join().unwrap() + 3
/// })?;
/// assert_eq!(sum, 5);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct RuntimeBuilder {
    workers: Option<usize>,
    stack_size: Option<usize>,
    driver: Option<DriverKind>,
    name: Option<String>,
    schedule: Option<Arc<dyn Schedule>>,
    clock: Option<Arc<dyn Clock>>,
    virtual_time: Option<Arc<VirtualTime>>,
}

impl std::fmt::Debug for RuntimeBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RuntimeBuilder")
            .field("workers", &self.workers)
            .field("stack_size", &self.stack_size)
            .field("driver", &self.driver)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// A runtime of its own, with all its workers in the background.
///
/// Most programs need none: [`run`] makes one for the calling thread, and [`spawn`](crate::spawn()) outside of any uses a default one.
///
/// # Dropping
/// Dropping a runtime waits until every coroutine in it that is not a daemon has ended. Then its daemons are asked to unwind: the
/// parking point in which one is suspended does not return but unwinds the coroutine, running its destructors, with
/// [`Cancelled`](crate::Cancelled) as the payload. A daemon that has not ended a second later is left suspended for ever: it never runs again, and its memory is not freed, so
/// nothing that borrows from its stack dangles. The same happens at the end of [`run`].
///
/// A runtime that is dropped by one of its own coroutines cannot be waited for there: it is left to end by itself.
///
/// ```
/// let runtime = fibra::Runtime::builder().workers(2).build()?;
/// let answer = runtime.spawn(|| 6 * 7);
/// assert_eq!(answer.join().unwrap(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct Runtime {
    core: Arc<Core>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("workers", &self.workers.len())
            .field("phase", &self.phase())
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// The runtime that `spawn` on this thread uses, when the thread is no worker: set on the blocking pool's threads.
    static AMBIENT: RefCell<Option<Arc<Core>>> = const { RefCell::new(None) };
}

static DEFAULT: OnceLock<io::Result<Runtime>> = OnceLock::new();

impl RuntimeBuilder {
    /// How many workers (OS threads that run coroutines) there are: 1 to 1,024. The default is what the machine allows this process: its
    /// cores, the affinity mask, the cgroup's quota ([`std::thread::available_parallelism`]).
    pub fn workers(mut self, count: usize) -> Self {
        self.workers = Some(count);
        self
    }

    /// The stack of each coroutine that does not ask for another, in bytes: 16 KiB to 1 GiB, rounded up. The default is 64 KiB.
    pub fn stack_size(mut self, bytes: usize) -> Self {
        self.stack_size = Some(bytes);
        self
    }

    /// Which driver waits for descriptors.
    pub fn driver(mut self, driver: DriverKind) -> Self {
        self.driver = Some(driver);
        self
    }

    /// The name of the workers' threads, to which a number is added; the default is `fibra`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Chooses what runs next, instead of the order in which tasks became runnable. Meant for tests with one worker.
    pub fn schedule(mut self, schedule: impl Schedule) -> Self {
        self.schedule = Some(Arc::new(schedule));
        self
    }

    /// The source of time of sleeps and timeouts, instead of the system's monotonic clock. Meant for tests with one worker.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Some(Arc::new(clock));
        self
    }

    /// One worker, with a time of its own.
    pub(crate) fn simulated(mut self, time: Arc<VirtualTime>) -> Self {
        self.workers = Some(1);
        self.clock = Some(Arc::clone(&time) as Arc<dyn Clock>);
        self.virtual_time = Some(time);
        self
    }

    /// Starts a runtime, with all its workers in the background.
    ///
    /// # Errors
    /// A setting that is out of its bounds (here or in the environment), or no descriptors or threads left.
    pub fn build(self) -> io::Result<Runtime> {
        let name = self.thread_name();
        let (core, drivers) = self.core(0)?;
        let threads = start_threads(&core, drivers, 0, &name)?;
        Ok(Runtime { core, threads })
    }

    /// Runs `main` in a runtime whose first worker is the calling thread: see [`run`].
    ///
    /// # Errors
    /// As [`build`](Self::build).
    ///
    /// # Panics
    /// When `main` panics, with its payload, after everything else has ended; and when the calling thread is already a worker.
    pub fn run<F, T>(self, main: F) -> io::Result<T>
    where
        F: FnOnce() -> T,
    {
        assert!(
            Worker::here().is_none(),
            "fibra::run was called inside a runtime: use fibra::spawn, or run it on another thread"
        );
        let name = self.thread_name();
        let (core, mut drivers) = self.core(settings::MAIN_STACK_SIZE)?;
        let own = drivers.remove(0);
        let threads = start_threads(&core, drivers, 1, &name)?;
        let result = work_here(&core, own, main);
        for thread in threads {
            thread.join().expect("a worker does not panic");
        }
        match result {
            Ok(value) => Ok(value),
            Err(payload) => resume_unwind(payload),
        }
    }

    fn thread_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| "fibra".into())
    }

    /// Checks the settings and makes what the workers share, and a driver for each.
    fn core(self, main_stack_size: usize) -> io::Result<(Arc<Core>, Vec<Driver>)> {
        let workers = match self.workers {
            Some(count) => count,
            None => settings::workers()?.unwrap_or_else(settings::default_workers),
        };
        let stack_size = match self.stack_size {
            Some(size) => size,
            None => {
                let size = fibra_context::arena::default_size()?;
                check_stack_size(size).map_err(|error| {
                    settings::invalid(format!("FIBRA_STACK_SIZE is too small or too large: {error}"))
                })?;
                size
            }
        };
        let driver = match self.driver {
            Some(driver) => driver,
            None => settings::driver()?.unwrap_or_default(),
        };
        if !settings::WORKERS.contains(&workers) {
            return Err(settings::invalid(format!("a runtime has 1 to 1024 workers, not {workers}")));
        }
        check_stack_size(stack_size)?;
        // A first stack for trial, for without any a runtime would wait in silence for one to come free.
        drop(fibra_context::arena::allocate(stack_size.max(main_stack_size))?);
        overflow::install();
        let drivers = drivers(driver, workers, &settings::ring()?)?;
        let shared = drivers.iter().map(|driver| Arc::new(Shared::new(driver.notifier()))).collect();
        let driver_name = drivers[0].name();
        let core = Core::new(shared, stack_size, driver_name, self.schedule, self.clock, self.virtual_time);
        let core = Arc::new(core);
        living::enter_runtime(&core);
        Ok((core, drivers))
    }
}

/// A driver for each worker.
fn drivers(kind: DriverKind, count: usize, ring: &RingSettings) -> io::Result<Vec<Driver>> {
    let nth = |nth| match kind {
        DriverKind::Auto | DriverKind::Epoll => Driver::epoll(ring.clone()),
        DriverKind::Uring => Driver::uring(ring).map_err(|error| {
            let why = format!("no io_uring driver for worker {nth} of {count}: {error}");
            io::Error::new(error.kind(), why)
        }),
    };
    (0..count).map(nth).collect()
}

pub(crate) fn check_stack_size(size: usize) -> io::Result<()> {
    if settings::STACK_SIZES.contains(&size) {
        return Ok(());
    }
    Err(settings::invalid(format!(
        "a coroutine's stack has {} bytes to 1 GiB, not {size}",
        settings::STACK_SIZES.start()
    )))
}

/// Makes the calling thread the first worker, until everything has ended.
fn work_here<F, T>(core: &Arc<Core>, driver: Driver, main: F) -> thread::Result<T>
where
    F: FnOnce() -> T,
{
    let _stack = overflow::protect_thread();
    let worker = worker::or_abort(|| Worker::new(Arc::clone(core), 0, driver));
    worker.enter(|| {
        let core_of_main = Arc::clone(core);
        let settings = Settings {
            name: Some("main".into()),
            stack_size: core.stack_size.max(settings::MAIN_STACK_SIZE) as u32,
            daemon: false,
            ..Settings::of_a_child()
        };
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(main));
            core_of_main.drain();
            result
        };
        // SAFETY: `main` may borrow from our caller: the loop below does not end before the task has, and the result is taken here. The task is
        // placed on this worker and is not offered to others.
        let main = unsafe { new_task(settings, 1, body) };
        Core::place_here(&worker, main.clone());
        worker.run(&|| (main.header().join.is_done() && core.all_done()) || core.is_hopeless());
        if !main.header().join.is_done() {
            abandoned(core);
        }
        core.kill();
        worker.run(&|| worker.has_ended());
        worker.close();
        // SAFETY: the loop ended because the task had; this is its only handle, and `T` is what it returns.
        unsafe { main.take_result::<thread::Result<T>>() }.and_then(|result| result)
    })
}

/// The main coroutine of a simulation waits for ever, and cannot be unwound. It borrows from our caller, to whom there is no way back.
#[cold]
fn abandoned(core: &Core) -> ! {
    let deadlock = core.virtual_time.as_ref().and_then(|time| time.deadlock()).unwrap_or_default();
    eprintln!(
        "fibra: {deadlock}\nfibra: the main coroutine waits in a shield, or for somebody who does, and cannot be ended"
    );
    std::process::abort();
}

fn start_threads(
    core: &Arc<Core>,
    drivers: Vec<Driver>,
    first: usize,
    name: &str,
) -> io::Result<Vec<thread::JoinHandle<()>>> {
    let mut threads = Vec::with_capacity(drivers.len());
    for (index, driver) in (first..).zip(drivers) {
        let core_of_worker = Arc::clone(core);
        let started = thread::Builder::new().name(format!("{name}-{index}")).spawn(move || {
            let _stack = overflow::protect_thread();
            let worker = worker::or_abort(|| Worker::new(core_of_worker, index, driver));
            worker.enter(|| {
                worker.run(&|| worker.has_ended());
                worker.close();
            });
        });
        match started {
            Ok(thread) => threads.push(thread),
            Err(error) => {
                core.kill();
                for thread in threads {
                    thread.join().expect("a worker does not panic");
                }
                return Err(io::Error::new(error.kind(), format!("cannot start worker {index}: {error}")));
            }
        }
    }
    Ok(threads)
}

impl Runtime {
    /// Settings for a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::default()
    }

    /// Spawns a coroutine in this runtime, from anywhere.
    ///
    /// # Panics
    /// When memory for stacks is out.
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_with(Builder::new(), f).expect("cannot spawn a coroutine")
    }

    /// Spawns a coroutine with settings of its own in this runtime.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn_with<F, T>(&self, settings: Builder, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        settings.spawn_in(&self.core, f)
    }

    /// Runs `f` as a coroutine of this runtime and waits for its result. From a coroutine of another runtime this parks the coroutine, from
    /// an OS thread it blocks the thread.
    ///
    /// # Panics
    /// When `f` does, with its payload.
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        match crate::scope::run_in(&self.core, f) {
            Ok(value) => value,
            Err(payload) => resume_unwind(payload),
        }
    }

    /// How many workers it has.
    pub fn workers(&self) -> usize {
        self.core.workers.len()
    }

    /// The name of its driver.
    pub fn driver(&self) -> &'static str {
        self.core.driver_name
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.core.drain();
        if Worker::here().is_some_and(|worker| Arc::ptr_eq(&worker.core, &self.core)) {
            let core = Arc::clone(&self.core);
            let threads = std::mem::take(&mut self.threads);
            // Somebody has to wait, and it cannot be us.
            let waiting = thread::Builder::new().name("fibra-end".into()).spawn(move || end(&core, threads));
            drop(waiting);
            return;
        }
        let (core, threads) = (Arc::clone(&self.core), std::mem::take(&mut self.threads));
        // On another runtime's worker this must not block the thread; nor one of the pool, which the coroutines that are waited for may need.
        crate::blocking::run_apart(move || end(&core, threads));
    }
}

fn end(core: &Core, threads: Vec<thread::JoinHandle<()>>) {
    core.wait_until_done();
    core.kill();
    for thread in threads {
        thread.join().expect("a worker does not panic");
    }
}

/// Runs `f` with `core` as the runtime that the thread's spawns use.
pub(crate) fn enter_ambient<R>(core: Option<Arc<Core>>, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Arc<Core>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            AMBIENT.with(|ambient| ambient.replace(self.0.take()));
        }
    }
    let _restore = Restore(AMBIENT.with(|ambient| ambient.replace(core)));
    f()
}

/// The runtime that a spawn here and now belongs to.
pub(crate) fn current_core() -> io::Result<Arc<Core>> {
    if let Some(core) = existing_core() {
        return Ok(core);
    }
    match DEFAULT.get_or_init(|| Runtime::builder().build()) {
        Ok(runtime) => Ok(Arc::clone(&runtime.core)),
        Err(error) => Err(io::Error::new(error.kind(), format!("the default runtime cannot start: {error}"))),
    }
}

/// The runtime of the calling context, without starting one.
pub(crate) fn existing_core() -> Option<Arc<Core>> {
    // A thread of the blocking pool can become the worker of a runtime of its own, inside of the other.
    match Worker::here() {
        Some(worker) => Some(Arc::clone(&worker.core)),
        // There is none any more while the thread-locals are destroyed.
        None => AMBIENT.try_with(|ambient| ambient.borrow().clone()).ok().flatten(),
    }
}

/// Runs `main` as a coroutine, with the calling thread as the first worker of a new runtime, and returns what it returns once every
/// coroutine that is not a daemon has ended.
///
/// `main` need not be `Send` and may borrow. How many workers there are, the stacks' size and the driver come from the environment; see
/// [`Runtime::builder`] for saying it in code. Daemons end as described at [`Runtime`].
///
/// ```
/// let greeting = fibra::run(|| {
///     let name = fibra::spawn(|| "world");
///     format!("hello, {}", name.join().unwrap())
/// });
/// assert_eq!(greeting, "hello, world");
/// ```
///
/// # Panics
/// When `main` panics, with its payload, after everything else has ended; when the calling thread is already a worker; and when a
/// runtime cannot be made ([`RuntimeBuilder::run`] returns that as an error).
pub fn run<F, T>(main: F) -> T
where
    F: FnOnce() -> T,
{
    match Runtime::builder().run(main) {
        Ok(value) => value,
        Err(error) => panic!("fibra cannot start: {error}"),
    }
}

/// How many workers the runtime of the calling context has, and the name of their driver; that of the default runtime on an OS thread
/// outside of any, which this starts.
///
/// ```
/// fibra::Runtime::builder().workers(2).run(|| {
///     let (workers, driver) = fibra::current_runtime();
///     assert_eq!(workers, 2);
///     println!("on {driver}");
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Panics
/// When the default runtime cannot start.
pub fn current_runtime() -> (usize, &'static str) {
    match current_core() {
        Ok(core) => (core.workers.len(), core.driver_name),
        Err(error) => panic!("{error}"),
    }
}
