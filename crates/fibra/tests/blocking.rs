//! The blocking pool: bounded, growing and shrinking, and every call meets a thread.

use fibra::blocking::{max_threads, set_idle_time, set_max_threads, threads};
use fibra::fs::{self, File};
use fibra::{Runtime, spawn_blocking};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::Duration;

/// The pool belongs to the process, so who changes its settings goes alone, and leaves it as it was.
struct Alone(#[expect(dead_code, reason = "held, not read")] MutexGuard<'static, ()>);

fn alone(max: usize) -> Alone {
    static ALONE: Mutex<()> = Mutex::new(());
    let alone = Alone(ALONE.lock().unwrap_or_else(PoisonError::into_inner));
    set_max_threads(max);
    wait_until(|| threads() <= max);
    alone
}

impl Drop for Alone {
    fn drop(&mut self) {
        set_max_threads(512);
        set_idle_time(Duration::from_secs(10));
    }
}

/// For what happens soon, and tells nobody.
fn wait_until(happened: impl Fn() -> bool) {
    while !happened() {
        thread::yield_now();
    }
}

fn on_one_worker<T>(main: impl FnOnce() -> T) -> T {
    Runtime::builder().workers(1).run(main).unwrap()
}

/// A door that is opened once.
#[derive(Default)]
struct Door(Mutex<bool>, Condvar);

impl Door {
    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }

    fn pass(&self) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |open| !*open).unwrap());
    }
}

/// How many are inside at once, and how many there were at most.
#[derive(Default)]
struct Room {
    inside: AtomicUsize,
    most: AtomicUsize,
}

impl Room {
    fn enter(&self) {
        let inside = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(inside, Ordering::SeqCst);
    }

    fn leave(&self) {
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

#[test]
fn there_are_never_more_threads_than_the_maximum() {
    let _alone = alone(3);
    assert_eq!(max_threads(), 3);
    let (room, door) = (Arc::new(Room::default()), Arc::new(Door::default()));
    let calls: Vec<_> = (0..60)
        .map(|_| {
            let (room, door) = (Arc::clone(&room), Arc::clone(&door));
            spawn_blocking(move || {
                room.enter();
                door.pass();
                let count = threads();
                room.leave();
                count
            })
        })
        .collect();
    // As many as may be are, and the others wait in line.
    wait_until(|| room.inside.load(Ordering::SeqCst) == 3);
    assert_eq!(threads(), 3);
    door.open();
    assert!(calls.into_iter().all(|call| call.join().unwrap() <= 3));
    assert_eq!(room.most.load(Ordering::SeqCst), 3);
}

#[test]
fn the_pool_grows_with_demand_and_shrinks_when_idle() {
    let _alone = alone(32);
    // Meets only if each has a thread of its own.
    let barrier = Arc::new(Barrier::new(32));
    let meet = || {
        let calls: Vec<_> = (0..32)
            .map(|_| {
                let barrier = Arc::clone(&barrier);
                spawn_blocking(move || barrier.wait())
            })
            .collect();
        calls.into_iter().for_each(|call| assert!(call.join().is_ok()));
    };
    meet();
    assert_eq!(threads(), 32);
    set_idle_time(Duration::from_millis(1));
    wait_until(|| threads() == 0);
    meet();
    wait_until(|| threads() == 0);
}

#[test]
fn a_lower_maximum_ends_idle_threads_at_once_and_working_ones_after_their_call() {
    let _alone = alone(4);
    let (first, door) = (Arc::new(Room::default()), Arc::new(Door::default()));
    let working: Vec<_> = (0..4)
        .map(|_| {
            let (first, door) = (Arc::clone(&first), Arc::clone(&door));
            spawn_blocking(move || {
                first.enter();
                door.pass();
            })
        })
        .collect();
    wait_until(|| first.inside.load(Ordering::SeqCst) == 4);
    let second = Arc::new(Room::default());
    let waiting: Vec<_> = (0..40)
        .map(|_| {
            let second = Arc::clone(&second);
            spawn_blocking(move || {
                second.enter();
                thread::yield_now();
                second.leave();
            })
        })
        .collect();
    set_max_threads(1);
    door.open();
    working.into_iter().chain(waiting).for_each(|call| call.join().unwrap());
    assert_eq!(second.most.load(Ordering::SeqCst), 1, "threads beyond the maximum went on working");
    wait_until(|| threads() <= 1);

    set_max_threads(4);
    let barrier = Arc::new(Barrier::new(4));
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let barrier = Arc::clone(&barrier);
            spawn_blocking(move || barrier.wait())
        })
        .collect();
    calls.into_iter().for_each(|call| assert!(call.join().is_ok()));
    assert_eq!(threads(), 4);
    set_max_threads(2);
    wait_until(|| threads() <= 2);
}

#[test]
fn a_higher_maximum_lets_waiting_calls_begin() {
    let _alone = alone(1);
    let (sender, receiver) = mpsc::channel();
    let waiting = spawn_blocking(move || receiver.recv().unwrap());
    let behind = spawn_blocking(move || sender.send("now").unwrap());
    // The only thread waits for what is behind it in the line.
    set_max_threads(2);
    assert_eq!(waiting.join().unwrap(), "now");
    behind.join().unwrap();
}

#[test]
fn a_panic_comes_out_of_join_and_the_thread_goes_on() {
    let _alone = alone(1);
    for _ in 0..10 {
        let failing = spawn_blocking(|| -> u32 { resume_unwind(Box::new("alas")) });
        assert_eq!(failing.join().unwrap_err().downcast_ref(), Some(&"alas"));
        assert_eq!(spawn_blocking(|| 7).join().unwrap(), 7);
    }
    assert_eq!(threads(), 1);
}

#[test]
fn a_thousand_concurrent_calls_on_one_worker_all_end_with_four_threads() {
    let _alone = alone(4);
    let done = on_one_worker(|| {
        let calls: Vec<_> = (0..1000)
            .map(|i| {
                fibra::spawn(move || {
                    // One with a handle, and one that borrows.
                    let handled = spawn_blocking(move || i);
                    assert!(fs::metadata("/").unwrap().is_dir());
                    handled.join().unwrap()
                })
            })
            .collect();
        calls.into_iter().map(|call| call.join().unwrap()).sum::<u32>()
    });
    assert_eq!(done, 499_500);
    assert!(threads() <= 4);
}

#[test]
fn os_threads_and_coroutines_call_and_join() {
    let _alone = alone(8);
    let calling =
        |i: usize| (0..200).map(|j| spawn_blocking(move || i * 1000 + j).join().unwrap()).sum::<usize>();
    let expected = |i: usize| i * 200_000 + 19_900;
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..4).map(|i| scope.spawn(move || assert_eq!(calling(i), expected(i)))).collect();
        Runtime::builder()
            .workers(2)
            .run(|| {
                let coroutines: Vec<_> = (0..20).map(|i| fibra::spawn(move || (i, calling(i)))).collect();
                for coroutine in coroutines {
                    let (i, sum) = coroutine.join().unwrap();
                    assert_eq!(sum, expected(i));
                }
            })
            .unwrap();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn a_handle_goes_from_a_coroutine_to_an_os_thread_and_back() {
    let _alone = alone(2);
    on_one_worker(|| {
        let call = spawn_blocking(|| 1);
        let joined = spawn_blocking(move || call.join().unwrap() + 1);
        assert_eq!(joined.join().unwrap(), 2);
    });
}

#[test]
fn calls_meet_a_thread_although_threads_end_all_the_time() {
    let _alone = alone(3);
    for idle in [0, 1] {
        set_idle_time(Duration::from_millis(idle));
        thread::scope(|scope| {
            for seed in 1..=4_u32 {
                scope.spawn(move || {
                    let mut random = seed;
                    for i in 0..1500 {
                        assert_eq!(spawn_blocking(move || i).join().unwrap(), i);
                        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        if random >> 28 == 0 {
                            // About as long as a thread is idle.
                            thread::park_timeout(Duration::from_micros(u64::from(random >> 17) % 2000));
                        }
                    }
                });
            }
            scope.spawn(|| (0..500).for_each(|i| set_max_threads(1 + i % 3)));
        });
    }
    wait_until(|| threads() == 0);
}

/// The name that the workers of `builder`'s runtime begin with.
fn spawned_on() -> String {
    let place = fibra::spawn(|| thread::current().name().unwrap().to_owned());
    place.join().unwrap()
}

#[test]
fn what_a_blocking_call_spawns_belongs_to_its_caller_s_runtime() {
    let _alone = alone(4);
    let one = Runtime::builder().workers(1).name("one").build().unwrap();
    let other = Runtime::builder().workers(1).name("other").build().unwrap();
    for (runtime, name) in [(&one, "one-0"), (&other, "other-0"), (&one, "one-0")] {
        let seen = runtime.spawn(|| spawn_blocking(spawned_on).join().unwrap()).join().unwrap();
        assert_eq!(seen, name);
        // Also two calls deep.
        let seen =
            runtime.spawn(|| spawn_blocking(|| spawn_blocking(spawned_on).join().unwrap()).join().unwrap());
        assert_eq!(seen.join().unwrap(), name);
    }
}

#[test]
fn a_runtime_inside_a_blocking_call_is_the_one_inside_it() {
    let _alone = alone(4);
    let outer = Runtime::builder().workers(1).name("outer").build().unwrap();
    let seen = outer.spawn(|| {
        spawn_blocking(|| {
            let inner = Runtime::builder().workers(1).run(|| {
                let me = thread::current().id();
                let spawned = fibra::spawn(move || thread::current().id() == me).join().unwrap();
                let blocking = spawn_blocking(move || fibra::spawn(move || thread::current().id() == me));
                (spawned, blocking.join().unwrap().join().unwrap())
            });
            (inner.unwrap(), spawned_on())
        })
        .join()
        .unwrap()
    });
    assert_eq!(seen.join().unwrap(), ((true, true), "outer-0".into()));
}

#[test]
fn the_runtime_s_end_does_not_wait_for_a_blocking_call() {
    let _alone = alone(4);
    let door = Arc::new(Door::default());
    let passing = Arc::clone(&door);
    let call = on_one_worker(|| spawn_blocking(move || passing.pass()));
    assert!(!call.is_finished());
    door.open();
    call.join().unwrap();
}

#[test]
fn a_call_that_outlives_its_runtime_still_has_its_buffer() {
    let _alone = alone(4);
    let (reader, mut writer) = io::pipe().unwrap();
    let begun = Arc::new(AtomicBool::new(false));
    let beginning = Arc::clone(&begun);
    on_one_worker(|| {
        fibra::Builder::new()
            .daemon(true)
            .spawn(move || {
                let mut file = File::from(OwnedFd::from(reader));
                let mut buffer = [0; 8192];
                beginning.store(true, Ordering::Relaxed);
                // Never returns: its runtime is gone by then.
                let _ = file.read(&mut buffer);
                unreachable!();
            })
            .unwrap();
        while !begun.load(Ordering::Relaxed) {
            fibra::yield_now();
        }
    });
    // The pool's thread reads onto the stack of a coroutine that nobody will resume.
    writer.write_all(&[1; 4096]).unwrap();
    wait_until(|| rustix::io::ioctl_fionread(&writer).unwrap() == 0);
}

#[test]
fn a_wait_for_a_file_lock_takes_no_thread_from_who_has_the_lock() {
    let _alone = alone(1);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("locked");
    std::fs::write(&path, "").unwrap();
    on_one_worker(|| {
        let mut holder = File::options().append(true).open(&path).unwrap();
        holder.lock().unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|i| {
                let path = path.clone();
                fibra::spawn(move || {
                    let mut file = File::options().append(true).open(path).unwrap();
                    if i % 2 == 0 {
                        file.lock().unwrap()
                    } else {
                        file.lock_shared().unwrap()
                    }
                    file.write_all(b".").unwrap();
                    file.unlock().unwrap();
                })
            })
            .collect();
        while fs::read("/proc/locks").unwrap().windows(2).filter(|two| two == b"->").count() < 4 {
            fibra::yield_now();
        }
        // This needs the pool's only thread.
        holder.write_all(b"first").unwrap();
        holder.unlock().unwrap();
        waiting.into_iter().for_each(|waiting| waiting.join().unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"first....");
    });
}

#[test]
fn calls_are_made_in_place_when_no_thread_can_be_started() {
    const NAME: &str = "calls_are_made_in_place_when_no_thread_can_be_started";
    if std::env::var_os("FIBRA_TEST_CHILD").is_none() {
        // The limit is the process's own.
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", NAME, "--nocapture", "--test-threads=1"])
            .env("FIBRA_TEST_CHILD", NAME)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && said.contains("1 passed"), "{child:?}");
        return;
    }
    let main = || {
        // The other worker's thread is there, with its signal stack: std aborts a thread that gets none.
        let here = thread::current().id();
        let other = fibra::spawn(|| thread::current().id());
        while !other.is_finished() {
            thread::sleep(Duration::from_millis(1));
        }
        assert_ne!(other.join().unwrap(), here);

        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let size: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        let limit = getrlimit(Resource::As);
        // Room for a little, and not for a thread's stack.
        setrlimit(Resource::As, Rlimit { current: Some(size * 1024 + (1 << 20)), maximum: limit.maximum })
            .unwrap();
        assert!(thread::Builder::new().spawn(|| ()).is_err(), "the limit is no limit");

        // From two workers at once: nobody relies on a thread that the other fails to start.
        set_max_threads(1);
        let calling = || (0..2000).all(|_| fs::metadata("/").unwrap().is_dir());
        let coroutines: Vec<_> = (0..10).map(|_| fibra::spawn(calling)).collect();
        assert!(coroutines.into_iter().all(|coroutine| coroutine.join().unwrap()));
        assert_eq!(threads(), 0);
        let refused = std::panic::catch_unwind(|| spawn_blocking(|| ()));
        assert!(refused.unwrap_err().downcast_ref::<String>().unwrap().contains("cannot start a thread"));

        setrlimit(Resource::As, limit).unwrap();
        let elsewhere = spawn_blocking(|| thread::current().id()).join().unwrap();
        assert_ne!(elsewhere, here);
    };
    Runtime::builder().workers(2).run(main).unwrap();
}

#[test]
fn a_job_that_parks_is_unparked_through_its_handle() {
    let _alone = alone(2);
    on_one_worker(|| {
        for wait in [false, true] {
            let (ids, id) = mpsc::channel();
            let job = spawn_blocking(move || {
                ids.send(fibra::current().id()).unwrap();
                fibra::park();
            });
            if wait {
                fibra::sleep(Duration::from_millis(5));
            }
            job.context().unpark();
            let context = job.context().id();
            job.join().unwrap();
            assert_eq!(id.recv().unwrap(), context);
        }
    });
}

#[test]
fn runtimes_that_are_dropped_in_coroutines_leave_the_pool_to_those_they_wait_for() {
    let _alone = alone(1);
    on_one_worker(|| {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        drop(runtime.spawn(|| {
            fibra::sleep(Duration::from_millis(50));
            assert!(fs::metadata(".").unwrap().is_dir());
        }));
        drop(runtime);
    });
}
