//! Requests to stop reach every point that parks, and leave the primitive as if nobody had come (row I2).

mod limit;
mod settings;

use fibra::net::{TcpListener, UdpSocket, UnixStream};
use fibra::queue::{Queue, after, select};
use fibra::sync::{Barrier, Condvar, Event, Mutex, ReentrantMutex, RwLock, Semaphore};
use fibra::{
    Cancelled, Elapsed, JoinHandle, Stop, WaitsFor, inspect, park, park_timeout, scope, shield, sleep, spawn,
    spawn_blocking, thread, timeout,
};
use settings::{Kind, Setting, join_all};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex, mpsc};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(2);

/// What contexts wait for that nobody brings; made anew for each wait.
struct World {
    event: Event,
    semaphore: Semaphore,
    barrier: Barrier,
    mutex: Mutex<()>,
    reentrant: ReentrantMutex<()>,
    rwlock: RwLock<()>,
    condvar: Condvar,
    empty: Queue<u32>,
    full: Queue<u32>,
    stream: UnixStream,
    _peer: UnixStream,
    listener: TcpListener,
    datagrams: UdpSocket,
    /// A context that ends when it is told to, and a job that does.
    idle: StdMutex<Vec<JoinHandle<()>>>,
    over: Arc<AtomicBool>,
}

type Wait = fn(&World);

impl World {
    fn new() -> World {
        let (stream, peer) = UnixStream::pair().unwrap();
        let full = Queue::bounded(1);
        full.put(1).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let until_over = |over: &Arc<AtomicBool>| {
            let over = Arc::clone(over);
            move || {
                while !over.load(Ordering::SeqCst) {
                    park_timeout(Duration::from_millis(20));
                }
            }
        };
        let idle = vec![
            spawn(until_over(&over)),
            thread::spawn(until_over(&over)),
            spawn_blocking(until_over(&over)),
        ];
        World {
            event: Event::new(),
            semaphore: Semaphore::new(2),
            barrier: Barrier::new(2),
            mutex: Mutex::new(()),
            reentrant: ReentrantMutex::new(()),
            rwlock: RwLock::new(()),
            condvar: Condvar::new(),
            empty: Queue::unbounded(),
            full,
            stream,
            _peer: peer,
            listener: TcpListener::bind("127.0.0.1:0").unwrap(),
            datagrams: UdpSocket::bind("127.0.0.1:0").unwrap(),
            idle: StdMutex::new(idle),
            over,
        }
    }

    fn idle(&self) -> JoinHandle<()> {
        self.idle.lock().unwrap().pop().unwrap()
    }

    /// Whether nobody has left a trace.
    fn is_as_new(&self) -> bool {
        self.event.waiting() == 0
            && (self.semaphore.waiting(), self.semaphore.available_permits()) == (0, 2)
            && self.barrier.waiting() == 0
            && self.condvar.waiting() == 0
            && self.mutex.try_lock().is_some()
            && self.reentrant.try_lock().is_some()
            && self.rwlock.try_write().is_some()
            && (self.empty.len(), self.full.len(), self.full.try_get()) == (0, 1, Ok(1))
            && self.empty.try_get().is_err()
    }
}

/// The points that park. What a wait needs is held by the context itself or by the world.
const WAITS: &[(&str, Wait)] = &[
    ("sleep", |_| sleep(HOUR)),
    ("park", |_| park()),
    ("park_timeout", |_| {
        let _ = park_timeout(HOUR);
    }),
    ("join a coroutine, a thread or a job", |world| drop(world.idle().join())),
    ("join_timeout", |world| drop(world.idle().join_timeout(HOUR))),
    ("scope", |_| {
        scope(|scope| {
            scope.spawn(|| sleep(HOUR));
        })
    }),
    ("Event::wait", |world| world.event.wait()),
    ("Event::wait_timeout", |world| {
        let _ = world.event.wait_timeout(HOUR);
    }),
    ("Semaphore::acquire_many", |world| world.semaphore.acquire_many(3).forget()),
    ("Semaphore::acquire_timeout", |world| {
        let _all = world.semaphore.acquire_many(2);
        drop(world.semaphore.acquire_timeout(HOUR));
    }),
    ("Barrier::wait", |world| {
        let _ = world.barrier.wait();
    }),
    ("Condvar::wait", |world| world.condvar.wait(&mut world.mutex.lock())),
    ("Condvar::wait_timeout", |world| {
        let _ = world.condvar.wait_timeout(&mut world.mutex.lock(), HOUR);
    }),
    ("Queue::get", |world| {
        let _ = world.empty.get();
    }),
    ("Queue::put", |world| {
        let _ = world.full.put(2);
    }),
    ("Queue::get_timeout", |world| {
        let _ = world.empty.get_timeout(HOUR);
    }),
    ("select", |world| {
        let (mut get, mut later) = (world.empty.select_get(), after(HOUR));
        select(&mut [&mut get, &mut later]);
    }),
    ("Mutex::lock", |world| held(&world.mutex, Mutex::lock, |mutex| drop(mutex.lock()))),
    ("ReentrantMutex::lock", |world| {
        held(&world.reentrant, ReentrantMutex::lock, |mutex| drop(mutex.lock()))
    }),
    ("RwLock::read", |world| held(&world.rwlock, RwLock::write, |lock| drop(lock.read()))),
    ("RwLock::write", |world| held(&world.rwlock, RwLock::read, |lock| drop(lock.write()))),
];

/// Those that wait for sockets, which a request by a signal does not end on an OS thread.
const SOCKETS: &[(&str, Wait)] = &[
    ("read", |world| drop((&world.stream).read(&mut [0]))),
    ("write", |world| drop((&world.stream).write_all(&vec![0; 1 << 24]))),
    ("accept", |world| drop(world.listener.accept())),
    ("recv", |world| drop(world.datagrams.recv_from(&mut [0]))),
];

/// Waits for a lock that another has, who gives it back when this one is gone.
fn held<'a, L: Sync, G>(lock: &'a L, take: fn(&'a L) -> G, wait: fn(&'a L)) {
    let (taken, over) = (Event::new(), Event::new());
    scope(|scope| {
        scope.spawn(|| {
            // Not ended together with the scope: it would give the lock back before the wait has ended.
            shield(|| {
                let _guard = take(lock);
                taken.set();
                over.wait();
            });
        });
        struct Over<'a>(&'a Event);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.set();
            }
        }
        let _over = Over(&over);
        taken.wait();
        wait(lock);
    });
}

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits until the context has come to a wait that is none of its preparations.
fn until_it_waits(setting: &Setting, handle: &JoinHandle<impl Sized>) {
    // (Its preparations may park for a moment too; then the request comes a little early, which is right as well.)
    setting.until(|| {
        let parked = |entry: &inspect::Entry| matches!(entry.state, inspect::State::Parked { .. });
        handle.is_finished() || inspect::contexts().entry(handle.id()).is_some_and(parked)
    });
}

fn points(setting: &Setting, by_signal: bool) -> Vec<(&'static str, Wait)> {
    let on_threads = matches!(setting.kind, Kind::Threads | Kind::Mixed);
    let sockets = if on_threads && by_signal { &[] } else { SOCKETS };
    WAITS.iter().chain(sockets).copied().collect()
}

/// Runs each wait in a context of its own, which `ask` asks to stop; `bound` is the boundary inside of that context, if the request has one.
fn each_point(
    setting: &Setting,
    by_signal: bool,
    bound: impl Fn(&mut dyn FnMut()) + Clone + Send + 'static,
    ask: impl Fn(&JoinHandle<()>),
) -> Vec<(&'static str, bool)> {
    let mut ends = Vec::new();
    for (name, wait) in points(setting, by_signal) {
        let (world, dropped) = (Arc::new(World::new()), Arc::new(AtomicBool::new(false)));
        let (of_context, flag, bound) = (Arc::clone(&world), Flag(Arc::clone(&dropped)), bound.clone());
        let handle = setting.spawn(move || {
            let mut flag = Some(flag);
            bound(&mut || {
                let _flag = flag.take();
                wait(&of_context);
                unreachable!("nobody ends this wait but the request");
            });
        });
        until_it_waits(setting, &handle);
        ask(&handle);
        let cancelled = match handle.join() {
            Ok(()) => false,
            Err(payload) if payload.is::<Cancelled>() => true,
            Err(payload) => std::panic::resume_unwind(payload),
        };
        assert!(dropped.load(Ordering::SeqCst), "{name}: destructors run");
        assert!(world.is_as_new(), "{name} has left something behind");
        world.over.store(true, Ordering::SeqCst);
        ends.push((name, cancelled));
    }
    ends
}

#[test]
fn a_timeout_ends_every_wait() {
    settings::each(|setting| {
        let bound = |f: &mut dyn FnMut()| assert_eq!(timeout(SHORT, f), Err(Elapsed));
        let ends = each_point(setting, false, bound, |_| {});
        assert!(ends.iter().all(|(_, cancelled)| !cancelled), "{ends:?}");
    });
}

#[test]
fn a_cancelled_handle_ends_every_wait() {
    settings::each(|setting| {
        let ends = each_point(setting, true, |f| f(), JoinHandle::cancel);
        assert!(ends.iter().all(|(_, cancelled)| *cancelled), "{ends:?}");
    });
}

#[test]
fn a_stop_ends_every_wait() {
    settings::each(|setting| {
        let stop = Arc::new(StdMutex::new(Stop::new()));
        let bound = {
            let stop = Arc::clone(&stop);
            move |f: &mut dyn FnMut()| {
                let enrolled = stop.lock().unwrap().enroll();
                assert!(enrolled.interruptible(f).is_err());
            }
        };
        let ask = |_: &JoinHandle<()>| {
            // The next context has a request of its own.
            let stop = std::mem::take(&mut *stop.lock().unwrap());
            stop.trigger();
        };
        let ends = each_point(setting, true, bound, ask);
        assert!(ends.iter().all(|(_, cancelled)| !cancelled), "{ends:?}");
    });
}

#[test]
fn a_request_that_was_made_before_ends_the_wait_at_once() {
    settings::each(|setting| {
        for (name, wait) in points(setting, true) {
            let world = World::new();
            assert_eq!(timeout(Duration::ZERO, || wait(&world)), Err(Elapsed), "{name}");
            assert!(world.is_as_new(), "{name}");
            world.over.store(true, Ordering::SeqCst);
        }
    });
}

#[test]
fn who_catches_the_payload_meets_it_again_at_every_point() {
    settings::each(|setting| {
        for by_handle in [false, true] {
            let (met, world) = (Arc::new(AtomicUsize::new(0)), Arc::new(World::new()));
            let points = points(setting, true);
            let count = points.len();
            let (of_context, met_there) = (Arc::clone(&world), Arc::clone(&met));
            let stubborn = move || {
                for (name, wait) in points {
                    let payload = catch_unwind(AssertUnwindSafe(|| wait(&of_context))).unwrap_err();
                    assert!(payload.is::<Cancelled>(), "{name}");
                    met_there.fetch_add(1, Ordering::SeqCst);
                }
                sleep(HOUR);
            };
            let handle = setting.spawn(move || {
                if by_handle {
                    stubborn();
                } else {
                    assert_eq!(timeout(SHORT, stubborn), Err(Elapsed));
                }
            });
            if by_handle {
                until_it_waits(setting, &handle);
                handle.cancel();
            }
            assert_eq!(handle.join().is_err(), by_handle);
            assert_eq!(met.load(Ordering::SeqCst), count);
            assert!(world.is_as_new());
            world.over.store(true, Ordering::SeqCst);
        }
    });
}

#[test]
fn what_is_given_in_the_same_moment_is_kept_and_the_request_met_at_the_next_wait() {
    settings::in_one(Kind::OneWorker, |setting| {
        type Give = fn(&World);
        let gifts: &[(&str, Wait, Give)] = &[
            ("Event", |world| world.event.wait(), |world| world.event.set()),
            (
                "Semaphore",
                |world| world.semaphore.acquire_many(3).forget(),
                |world| world.semaphore.release(1),
            ),
            ("Queue::get", |world| assert_eq!(world.empty.get(), Ok(5)), |world| world.empty.put(5).unwrap()),
            ("Queue::put", |world| world.full.put(2).unwrap(), |world| assert_eq!(world.full.get(), Ok(1))),
            ("park", |_| park(), |_| {}),
        ];
        for (name, wait, give) in gifts {
            let (world, got) = (Arc::new(World::new()), Arc::new(AtomicBool::new(false)));
            let (of_context, told, wait) = (Arc::clone(&world), Arc::clone(&got), *wait);
            let handle = setting.spawn(move || {
                wait(&of_context);
                told.store(true, Ordering::SeqCst);
                sleep(HOUR);
            });
            until_it_waits(setting, &handle);
            give(&world);
            handle.context().unpark();
            // It has not run since.
            handle.cancel();
            assert!(handle.join().unwrap_err().is::<Cancelled>());
            assert!(got.load(Ordering::SeqCst), "{name}: it had it already");
            match *name {
                "Semaphore" => assert_eq!(world.semaphore.available_permits(), 0),
                "Queue::get" => assert!(world.empty.is_empty()),
                "Queue::put" => assert_eq!(world.full.get(), Ok(2)),
                _ => {}
            }
            world.over.store(true, Ordering::SeqCst);
        }
    });
}

#[test]
fn destructors_may_wait_at_every_lock_and_get_what_they_wait_for() {
    settings::each(|setting| {
        let (world, done) = (Arc::new(World::new()), Arc::new(AtomicUsize::new(0)));
        struct Waits(Arc<World>, Arc<AtomicUsize>);
        impl Drop for Waits {
            fn drop(&mut self) {
                let Waits(world, done) = self;
                world.event.wait();
                world.semaphore.acquire_many(3).forget();
                assert_eq!(world.empty.get(), Ok(7));
                drop(world.mutex.lock());
                drop(world.rwlock.write());
                sleep(Duration::from_micros(50));
                spawn(|| ()).join().unwrap();
                scope(|scope| {
                    scope.spawn(fibra::yield_now);
                });
                done.fetch_add(1, Ordering::SeqCst);
            }
        }
        let waits = Waits(Arc::clone(&world), Arc::clone(&done));
        let handle = setting.spawn(move || {
            let _waits = waits;
            sleep(HOUR);
        });
        until_it_waits(setting, &handle);
        handle.cancel();
        // Again and again: it has been asked, and waits in its destructor for what it needs.
        setting.until(|| world.event.waiting() == 1);
        handle.cancel();
        let (mutex, rwlock) = (world.mutex.lock(), world.rwlock.read());
        world.event.set();
        setting.until(|| world.semaphore.waiting() == 1);
        world.semaphore.release(1);
        handle.cancel();
        world.empty.put(7).unwrap();
        fibra::yield_now();
        drop((mutex, rwlock));
        assert!(handle.join().unwrap_err().is::<Cancelled>());
        assert_eq!(done.load(Ordering::SeqCst), 1);
        world.over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_shield_holds_at_every_point_that_is_given_what_it_waits_for() {
    settings::each(|setting| {
        let world = Arc::new(World::new());
        let of_context = Arc::clone(&world);
        let shielded = setting.spawn(move || {
            shield(|| {
                of_context.event.wait();
                of_context.semaphore.acquire_many(3).forget();
                let item = of_context.empty.get();
                // What is inside works as always.
                assert_eq!(timeout(SHORT, || of_context.empty.get()), Err(Elapsed));
                shield(|| sleep(SHORT));
                of_context.full.put(item.unwrap()).unwrap_err();
            });
            unreachable!("the shield's end is no wait, but what follows is: {:?}", sleep(HOUR));
        });
        setting.until(|| world.event.waiting() == 1);
        shielded.cancel();
        world.event.set();
        setting.until(|| world.semaphore.waiting() == 1);
        world.semaphore.release(1);
        world.full.shutdown(fibra::queue::Shutdown::Drain);
        world.empty.put(3).unwrap();
        assert!(shielded.join().unwrap_err().is::<Cancelled>());
        world.over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_job_that_has_begun_is_waited_for_and_the_request_is_met_afterwards() {
    settings::each(|setting| {
        // Its own wait is by other means than the library's.
        let (told, tell) = mpsc::channel::<()>();
        let job = spawn_blocking(move || tell.recv().is_ok());
        setting.until(|| inspect::contexts().entry(job.id()).is_some());
        job.cancel();
        assert!(!job.is_finished());
        told.send(()).unwrap();
        assert!(job.join().unwrap(), "it comes to its end, and has a result");
        // One that waits for a job is ended itself, and the job goes on.
        let (told, tell) = mpsc::channel::<()>();
        let job = spawn_blocking(move || tell.recv().is_ok());
        let (id, joining) = (job.id(), setting.spawn(move || job.join().unwrap()));
        until_it_waits(setting, &joining);
        joining.cancel();
        assert!(joining.join().unwrap_err().is::<Cancelled>());
        setting.until(|| inspect::contexts().entry(id).is_some());
        told.send(()).unwrap();
    });
}

#[test]
fn a_call_on_a_file_that_has_begun_is_waited_for_too_and_its_result_is_kept() {
    settings::each(|setting| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
        for by_handle in [false, true] {
            // Both ends, so that this does not wait.
            let mut fifo = std::fs::File::options().read(true).write(true).open(&path).unwrap();
            let mut file = fibra::fs::File::from(fifo.try_clone().unwrap());
            let (begun, read) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
            let stop = Stop::new();
            let handle = {
                let (begun, read) = (Arc::clone(&begun), Arc::clone(&read));
                let stop = stop.clone();
                setting.spawn(move || {
                    let mut wait = || {
                        begun.store(true, Ordering::SeqCst);
                        read.store(file.read(&mut [0; 8]).unwrap(), Ordering::SeqCst);
                        sleep(HOUR);
                    };
                    if by_handle { wait() } else { assert!(stop.enroll().interruptible(wait).is_err()) }
                })
            };
            setting.until(|| begun.load(Ordering::SeqCst));
            if handle.context().is_coroutine() {
                // A ring has the call, or a thread of the pool.
                setting.until(|| {
                    let state = inspect::contexts().entry(handle.id()).map(|entry| entry.state);
                    let kinds = [WaitsFor::File, WaitsFor::Blocking];
                    matches!(state, Some(inspect::State::Parked { waits_for, .. }) if kinds.contains(&waits_for))
                });
            }
            if by_handle {
                handle.cancel();
            } else {
                stop.trigger();
            }
            sleep(SHORT);
            assert!(!handle.is_finished());
            fifo.write_all(b"late").unwrap();
            assert_eq!(handle.join().is_err_and(|payload| payload.is::<Cancelled>()), by_handle);
            assert_eq!(
                read.load(Ordering::SeqCst),
                4,
                "the call had a result, and the request was met afterwards"
            );
        }
    });
}

#[test]
fn a_failure_in_a_scope_ends_the_waits_of_the_others_wherever_they_are() {
    settings::each(|setting| {
        let world = World::new();
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                scope.cancel_on_failure();
                for (_, wait) in points(setting, true) {
                    let world = &world;
                    setting.spawn_scoped(scope, move || wait(world));
                }
                let world = &world;
                setting.spawn_scoped(scope, move || {
                    while world.event.waiting() < 2 || world.barrier.waiting() < 1 {
                        fibra::yield_now();
                    }
                    std::panic::resume_unwind(Box::new("failed"))
                });
            });
        }));
        assert!(caught.is_err());
        assert!(world.event.waiting() == 0 && world.semaphore.available_permits() == 2);
        world.over.store(true, Ordering::SeqCst);
    });
}

#[test]
fn it_says_in_the_listing_what_a_cancelled_one_still_waits_for() {
    settings::each(|setting| {
        let world = Arc::new(World::new());
        let of_context = Arc::clone(&world);
        let shielded = setting.spawn(move || shield(|| of_context.event.wait()));
        setting.until(|| world.event.waiting() == 1);
        shielded.cancel();
        setting.until(|| {
            let listing = inspect::contexts();
            let state = listing.entry(shielded.id()).map(|entry| entry.state);
            matches!(state, Some(inspect::State::Parked { waits_for: WaitsFor::Event, .. }))
        });
        world.event.set();
        join_all([shielded]);
        world.over.store(true, Ordering::SeqCst);
    });
}
