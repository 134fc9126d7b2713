//! The blocking pool: calls that would block a worker run on OS threads of their own, while the coroutine parks.
//!
//! The pool belongs to the process. It grows a thread at a time when a call finds no idle one, up to [`max_threads`]; beyond that calls
//! wait in line. A thread that has been idle for ten seconds ends.
//!
//! Two ways in: [`spawn_blocking`] for a closure of its own, with a handle; and `run`, inside the library, for a closure that borrows
//! from its caller. The latter is a wait that neither a timeout nor a request to stop ends, because a thread of the pool is using
//! the caller's memory until it says that it is done.
//!
//! # Every call meets a thread
//! A call is queued and its thread found in one step, under the lock: an idle thread, which is *notified* (and from then on not idle, though
//! it may sleep for a while yet), or a new one, or one of those that work. Whoever works, was notified or is new looks into the queue
//! before it becomes idle; and a thread that ends while calls are left notifies an idle one, if there is one, in its stead. So calls are
//! never left to idle threads alone, and when there is no thread the queue is empty.

use crate::cancel;
use crate::scheduler::core::Core;
use crate::scheduler::living;
use crate::scheduler::park;
use crate::scheduler::runtime::{enter_ambient, existing_core};
use crate::scheduler::task::{Kind, Settings, TaskPtr, new_task};
use crate::scheduler::virtual_time::Hold;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::Worker;
use crate::spawn::JoinHandle;
use fibra_driver::Token;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How many threads the pool has at most, unless [`set_max_threads`] says otherwise.
const MAX_THREADS: usize = 512;

/// How long an idle thread waits for more, in milliseconds.
static IDLE: AtomicU64 = AtomicU64::new(10_000);

static MAXIMUM: AtomicUsize = AtomicUsize::new(MAX_THREADS);

static POOL: Pool = Pool {
    queue: Mutex::new(Queue { calls: VecDeque::new(), idle: 0, notified: 0, threads: 0, started: 0 }),
    work: Condvar::new(),
};

struct Pool {
    queue: Mutex<Queue>,
    work: Condvar,
}

struct Queue {
    calls: VecDeque<Call>,
    /// Threads that wait for a call and have not been notified of one.
    idle: usize,
    /// Notifications that no thread has taken yet.
    notified: usize,
    threads: usize,
    /// How many threads there have ever been, for their names.
    started: u64,
}

/// One call for a thread of the pool.
enum Call {
    /// A task with a handle, and the runtime that its spawns belong to; in a simulation the time waits for it. The call owns a reference.
    Job(TaskPtr, Option<Arc<Core>>, Option<Hold>),
    /// A closure that somebody is parked for.
    Borrowed(Borrowed),
}

/// A closure on the stack of a parked context. It is called once.
#[derive(Clone)]
struct Borrowed {
    run: unsafe fn(*mut ()),
    closure: *mut (),
    token: Token,
    core: Option<Arc<Core>>,
}

// SAFETY: the closure behind the pointer is `Send` (`run` demands it), and its owner is parked until the call is over.
unsafe impl Send for Borrowed {}

/// How many threads the blocking pool has at most.
pub fn max_threads() -> usize {
    MAXIMUM.load(Ordering::Relaxed)
}

/// Sets how many threads the blocking pool has at most, at least one. Threads beyond that end, those that work when their call is over;
/// and calls that wait in line for want of threads get theirs.
pub fn set_max_threads(count: usize) {
    let mut queue = POOL.lock();
    MAXIMUM.store(count.max(1), Ordering::Relaxed);
    let waiting = queue.calls.len().saturating_sub(queue.notified);
    let room = max_threads().saturating_sub(queue.threads);
    for _ in 0..waiting.min(room) {
        if POOL.start_thread(&mut queue).is_err() {
            // Those that there are will come to it.
            break;
        }
    }
    drop(queue);
    POOL.work.notify_all();
}

/// Sets how long a thread is idle before it ends. For tests.
#[doc(hidden)]
pub fn set_idle_time(time: Duration) {
    IDLE.store(u64::try_from(time.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    POOL.work.notify_all();
}

/// How many threads the blocking pool has now.
pub fn threads() -> usize {
    POOL.lock().threads
}

/// Runs `f` on a thread of the blocking pool, and returns a handle for its result: for calls that block and know nothing of coroutines.
///
/// The runtime's end does not wait for it.
///
/// ```
/// fibra::run(|| {
///     let slow = fibra::spawn_blocking(|| {
///         std::thread::sleep(std::time::Duration::from_millis(5));
///         "done"
///     });
///     assert_eq!(slow.join().unwrap(), "done");
/// });
/// ```
///
/// # Panics
/// When the pool has no thread and cannot start one.
pub fn spawn_blocking<F, T>(f: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    let settings = Settings { kind: Some(Kind::Job), ..Settings::of_a_child() };
    // SAFETY: `F` and `T` are `'static` and may cross threads.
    let task = unsafe { new_task(settings, 1, f) };
    let handle = JoinHandle::new(task.clone());
    let core = existing_core();
    let hold = core.as_ref().and_then(Hold::new);
    if let Err((error, call)) = POOL.submit(Call::Job(task.into_ptr(), core, hold)) {
        call.give_up();
        panic!("cannot start a thread for a blocking call: {error}");
    }
    handle
}

/// Runs `f` where it may block: on an OS thread in place, for a coroutine on the pool, while it parks. Where the pool cannot start its first
/// thread, `f` blocks the worker: slow beats failed.
pub(crate) fn run<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if Worker::here().and_then(Worker::current).is_none() {
        return f();
    }
    // Once begun it is waited for; so this is the moment.
    cancel::forbid(WaitsFor::Blocking);
    cancel::checkpoint();
    run_elsewhere(f, |borrowed| POOL.submit(Call::Borrowed(borrowed)).is_ok())
}

/// The same for a call that waits until another context has done something: on a thread of its own, which the pool does not count. For if such
/// calls had all the threads of the pool, the other would find none for what they wait for.
pub(crate) fn run_apart<F, T>(f: F) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    if Worker::here().and_then(Worker::current).is_none() {
        return f();
    }
    cancel::forbid(WaitsFor::Blocking);
    run_elsewhere(f, |borrowed| {
        let call = Call::Borrowed(borrowed.clone());
        let apart = thread::Builder::new().name("fibra-waiting".into()).spawn(move || call.make());
        // In the pool it is at least off the worker.
        apart.is_ok() || POOL.submit(Call::Borrowed(borrowed)).is_ok()
    })
}

/// The closure's way to the pool and its result's way back.
enum Slot<F, T> {
    Waiting(F),
    Running,
    Done(thread::Result<T>),
}

/// Parks while a thread runs `f`: the one that `start` gives the call to. When it says that it has not, `f` runs in place.
fn run_elsewhere<F, T>(f: F, start: impl FnOnce(Borrowed) -> bool) -> T
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    /// # Safety
    /// `slot` is the caller's `Slot<F, T>`, and nobody else touches it now.
    unsafe fn call<F: FnOnce() -> T, T>(slot: *mut ()) {
        // SAFETY: the contract above.
        let slot = unsafe { &mut *slot.cast::<Slot<F, T>>() };
        let Slot::Waiting(f) = std::mem::replace(slot, Slot::Running) else {
            unreachable!("a call is made once")
        };
        *slot = Slot::Done(catch_unwind(AssertUnwindSafe(f)));
    }

    let mut slot = Slot::Waiting(f);
    let borrowed = Borrowed {
        run: call::<F, T>,
        closure: (&raw mut slot).cast(),
        token: park::token(),
        core: existing_core(),
    };
    let _hold = borrowed.core.as_ref().and_then(Hold::new);
    if start(borrowed) {
        park::waits_for(WaitsFor::Blocking, 0);
        // The pool's thread has the address of `slot`; it wakes us when it has written the result and will not touch it again.
        park::park_until_woken();
        if let Some(worker) = Worker::here() {
            // It may have been so quick that nobody else has had a turn.
            worker.spend();
        }
    } else {
        // SAFETY: no thread has the call, so the slot is ours alone.
        unsafe { call::<F, T>((&raw mut slot).cast()) };
    }
    match slot {
        Slot::Done(Ok(value)) => value,
        Slot::Done(Err(payload)) => resume_unwind(payload),
        Slot::Waiting(_) | Slot::Running => unreachable!("the wake-up comes after the result"),
    }
}

impl Call {
    fn make(self) {
        match self {
            Call::Job(task, core, _hold) => enter_ambient(core, || {
                let runtime = existing_core().map(|core| core.number);
                // SAFETY: the call owns a reference.
                let _listed = living::list(unsafe { task.add_ref() }, runtime);
                // SAFETY: as above; and a job is run once, or else given up.
                park::run_as(task, || unsafe {
                    if task.header().state.is_killed() { task.abandon() } else { task.run(None) }
                });
                // SAFETY: the call's reference; the job is nobody's context any more.
                drop(unsafe { task.into_ref() });
            }),
            Call::Borrowed(Borrowed { run, closure, token, core }) => {
                // SAFETY: the slot's owner is parked until the wake-up below.
                enter_ambient(core, || unsafe { run(closure) });
                park::wake(token);
            }
        }
    }

    /// Ends a job that no thread will run.
    fn give_up(self) {
        if let Call::Job(task, ..) = self {
            // SAFETY: the call owns the reference of a task that never ran.
            unsafe {
                task.abandon();
                drop(task.into_ref());
            }
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a call, and sees to it that a thread will make it. Gives it back when there is no thread and none can be started.
    fn submit(&'static self, call: Call) -> Result<(), (io::Error, Call)> {
        let mut queue = self.lock();
        if queue.idle > 0 {
            queue.calls.push_back(call);
            self.notify(queue);
            return Ok(());
        }
        if queue.threads < max_threads()
            && let Err(error) = self.start_thread(&mut queue)
            && queue.threads == 0
        {
            return Err((error, call));
        }
        // The new thread, or else one of those that work.
        queue.calls.push_back(call);
        Ok(())
    }

    /// One idle thread is spoken for; the next call looks for another.
    fn notify(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.idle -= 1;
        queue.notified += 1;
        drop(queue);
        self.work.notify_one();
    }

    /// Starts a thread. With the lock held: a thread that is counted is there, or others would rely on one that fails to start.
    fn start_thread(&'static self, queue: &mut Queue) -> io::Result<()> {
        // No longer, for the kernel keeps 15 bytes.
        let name = format!("fibra-pool-{}", queue.started);
        thread::Builder::new().name(name).spawn(move || self.serve())?;
        queue.started += 1;
        queue.threads += 1;
        Ok(())
    }

    fn serve(&self) {
        let mut queue = self.lock();
        loop {
            while let Some(call) = queue.calls.pop_front() {
                drop(queue);
                call.make();
                queue = self.lock();
                if queue.threads > max_threads() {
                    return self.end(queue);
                }
            }
            queue.idle += 1;
            loop {
                // Idle, and not notified.
                if queue.threads > max_threads() {
                    queue.idle -= 1;
                    return self.end(queue);
                }
                let idle = Duration::from_millis(IDLE.load(Ordering::Relaxed));
                let (guard, timeout) =
                    self.work.wait_timeout(queue, idle).unwrap_or_else(PoisonError::into_inner);
                queue = guard;
                if queue.notified > 0 {
                    // Who notified has taken a thread off the idle: this one, whichever was meant.
                    queue.notified -= 1;
                    break;
                }
                if timeout.timed_out() {
                    queue.idle -= 1;
                    return self.end(queue);
                }
            }
        }
    }

    /// The calling thread ends. It may have been the one that a call in the queue relied on.
    fn end(&self, mut queue: MutexGuard<'_, Queue>) {
        queue.threads -= 1;
        if queue.calls.len() > queue.notified && queue.idle > 0 {
            self.notify(queue);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Runtime;
    use std::sync::atomic::AtomicBool;

    fn on_one_worker<T>(main: impl FnOnce() -> T) -> T {
        Runtime::builder().workers(1).run(main).unwrap()
    }

    #[test]
    fn a_borrowing_call_sees_and_changes_its_caller_s_memory_on_another_thread() {
        on_one_worker(|| {
            let here = thread::current().id();
            let mut buffer = vec![1_u8; 100_000];
            let (before, there) = run(|| {
                let sum: u64 = buffer.iter().map(|byte| u64::from(*byte)).sum();
                buffer.fill(7);
                (sum, thread::current().id())
            });
            assert_eq!(before, 100_000);
            assert!(buffer.iter().all(|byte| *byte == 7));
            assert_ne!(there, here);
            assert_ne!(run_apart(|| thread::current().id()), here);
        });
    }

    #[test]
    fn on_an_os_thread_the_call_is_made_in_place() {
        let here = thread::current().id();
        assert_eq!(run(|| thread::current().id()), here);
        assert_eq!(run_apart(|| thread::current().id()), here);
        // Also on a thread of the pool.
        on_one_worker(|| assert!(run(|| thread::current().id() == run(|| thread::current().id()))));
    }

    #[test]
    fn a_panic_in_a_call_comes_out_in_the_caller_and_its_memory_is_intact() {
        on_one_worker(|| {
            for wait in [run::<fn(), ()>, run_apart::<fn(), ()>] {
                let caught = catch_unwind(|| wait(|| resume_unwind(Box::new(5_u8))));
                assert_eq!(caught.unwrap_err().downcast_ref(), Some(&5_u8));
            }
            let mut buffer = vec![0; 10];
            let caught = catch_unwind(AssertUnwindSafe(|| {
                run(|| {
                    buffer[0] = 1;
                    resume_unwind(Box::new(()));
                });
            }));
            assert!(caught.is_err());
            assert_eq!(buffer, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        });
    }

    #[test]
    fn others_run_while_a_call_is_made() {
        on_one_worker(|| {
            let over = Arc::new(AtomicBool::new(false));
            let ending = Arc::clone(&over);
            crate::spawn(move || ending.store(true, Ordering::Release));
            // Ends because the other coroutine has its turn.
            run(|| {
                while !over.load(Ordering::Acquire) {
                    thread::yield_now();
                }
            });
        });
    }

    #[test]
    fn an_unpark_token_is_not_spent_on_a_call() {
        on_one_worker(|| {
            crate::current().unpark();
            assert_eq!(run(|| 3), 3);
            crate::park();
        });
    }
}
