//! The listing of the living contexts (rows A2, A3, A7).

mod limit;
mod settings;

use fibra::inspect::{self, Entry, Kind, Listing, Object, State};
use fibra::sync::{Barrier, Event, Semaphore};
use fibra::{Builder, Runtime, WaitsFor, park, sleep, spawn, spawn_blocking, thread};
use limit::{LIMIT, on_any_workers, on_workers, within};
use settings::join_all;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

const HOUR: Duration = Duration::from_secs(3600);

/// Waits until a context is seen that waits for something of this kind.
fn parked(id: u64, kind: WaitsFor) -> Entry {
    loop {
        if let Some(entry) = inspect::contexts().entry(id)
            && matches!(entry.state, State::Parked { waits_for, .. } if waits_for == kind)
        {
            return entry.clone();
        }
        fibra::yield_now();
    }
}

fn object(entry: &Entry) -> Option<Object> {
    match entry.state {
        State::Parked { object, .. } => object,
        state => panic!("{state:?}"),
    }
}

fn ids(listing: &Listing) -> Vec<u64> {
    listing.iter().map(|entry| entry.id).collect()
}

#[test]
fn what_has_not_started_and_what_has_ended_is_not_listed() {
    on_workers(1, || {
        let (one, other) = (spawn(park), spawn(|| 5));
        let later = Builder::new().spawn_after(HOUR, || ()).unwrap();
        let listing = inspect::contexts();
        assert!(
            [one.id(), other.id(), later.id()].iter().all(|id| listing.entry(*id).is_none()),
            "{listing}"
        );
        assert!(listing.entry(fibra::current().id()).is_some(), "{listing}");
        fibra::yield_now();
        let listing = inspect::contexts();
        assert!(listing.entry(one.id()).is_some(), "{listing}");
        assert!(
            listing.entry(other.id()).is_none(),
            "it has ended, and its handle does not make it live: {listing}"
        );
        one.context().unpark();
        let id = one.id();
        one.join().unwrap();
        assert!(inspect::contexts().entry(id).is_none());
        later.cancel();
        // A thread and a job.
        let (thread, job) = (thread::spawn(park), spawn_blocking(park));
        for (handle, kind) in [(thread, Kind::Thread), (job, Kind::Job)] {
            let entry = parked(handle.id(), WaitsFor::Unpark);
            assert_eq!(entry.kind, kind);
            let id = handle.id();
            handle.context().unpark();
            handle.join().unwrap();
            assert!(inspect::contexts().entry(id).is_none(), "{kind}");
        }
    });
}

#[test]
fn each_says_what_it_waits_for_and_on_which_object() {
    settings::each(|setting| {
        let event = Arc::new(Event::new());
        let semaphore = Arc::new(Semaphore::new(0));
        let barrier = Arc::new(Barrier::new(2));
        let joined = setting.spawn(park);
        let (joined_id, joined_context) = (joined.id(), joined.context());
        let near = |entry: &Entry, address: usize, size: usize| match object(entry) {
            Some(Object::Address(at)) => assert!((address..address + size).contains(&at), "{entry:?}"),
            other => panic!("{other:?}"),
        };
        let (a, b, c) = (Arc::clone(&event), Arc::clone(&semaphore), Arc::clone(&barrier));
        let waits = [
            (WaitsFor::Unpark, setting.spawn(park)),
            (WaitsFor::Time, setting.spawn(|| sleep(HOUR))),
            (WaitsFor::Event, setting.spawn(move || a.wait())),
            (WaitsFor::Semaphore, setting.spawn(move || b.acquire().forget())),
            (WaitsFor::Barrier, setting.spawn(move || drop(c.wait()))),
            (WaitsFor::Join, setting.spawn(move || drop(joined.join()))),
            (
                WaitsFor::Scope,
                setting.spawn(|| {
                    fibra::scope(|scope| {
                        scope.spawn(|| sleep(HOUR));
                        scope.spawn(|| sleep(HOUR));
                    });
                }),
            ),
        ];
        for (kind, handle) in waits {
            let entry = parked(handle.id(), kind);
            match kind {
                WaitsFor::Unpark | WaitsFor::Time => assert_eq!(object(&entry), None),
                WaitsFor::Event => near(&entry, Arc::as_ptr(&event).addr(), size_of::<Event>()),
                WaitsFor::Semaphore => near(&entry, Arc::as_ptr(&semaphore).addr(), size_of::<Semaphore>()),
                WaitsFor::Barrier => near(&entry, Arc::as_ptr(&barrier).addr(), size_of::<Barrier>()),
                WaitsFor::Join => assert_eq!(object(&entry), Some(Object::Context(joined_id))),
                WaitsFor::Scope => assert_eq!(object(&entry), Some(Object::Several(2))),
                _ => unreachable!(),
            }
            handle.cancel();
            assert!(handle.join().unwrap_err().is::<fibra::Cancelled>());
        }
        // Its handle is gone with the one that waited for it.
        joined_context.unpark();
    });
}

#[test]
fn one_that_waits_for_a_socket_or_for_the_pool_says_so() {
    on_any_workers(|| {
        let (one, other) = fibra::net::UnixStream::pair().unwrap();
        let descriptor = one.as_raw_fd();
        let reader = spawn(move || (&one).read(&mut [0]));
        let entry = parked(reader.id(), WaitsFor::Receive);
        assert_eq!(object(&entry), Some(Object::Descriptor(descriptor)));
        drop(other);
        assert_eq!(reader.join().unwrap().unwrap(), 0);

        let (told, tell) = mpsc::channel::<()>();
        let waits = spawn(move || spawn_blocking(move || tell.recv()).join().unwrap());
        // What it waits for is the job's end.
        parked(waits.id(), WaitsFor::Join);
        told.send(()).unwrap();
        waits.join().unwrap().unwrap();
    });
}

#[test]
fn who_waits_longer_is_seen_to_wait_longer() {
    on_any_workers(|| {
        let began = Instant::now();
        let long = spawn(park);
        parked(long.id(), WaitsFor::Unpark);
        // The clock of waits moves every few milliseconds.
        sleep(Duration::from_millis(50));
        let short = spawn(park);
        parked(short.id(), WaitsFor::Unpark);
        let listing = inspect::contexts();
        let [long_since, short_since] = [&long, &short].map(|handle| match listing.entry(handle.id()) {
            Some(Entry { state: State::Parked { since, .. }, .. }) => *since,
            other => panic!("{other:?}"),
        });
        assert!(long_since < short_since, "{listing}");
        assert!(short_since <= listing.taken(), "{listing}");
        assert!(long_since + Duration::from_secs(10) > began, "not before the test: {listing}");
        for handle in [long, short] {
            handle.context().unpark();
            handle.join().unwrap();
        }
    });
}

#[test]
fn states_are_ready_running_idle_and_parked() {
    on_workers(2, || {
        let this = fibra::current().id();
        let (started, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        // Two on this worker: while this one runs the other, which has yielded, is ready.
        let other = {
            let (started, go) = (Arc::clone(&started), Arc::clone(&go));
            fibra::spawn_local(move || {
                while !go.load(Ordering::Relaxed) {
                    started.fetch_add(1, Ordering::Relaxed);
                    fibra::yield_now();
                }
            })
        };
        while started.load(Ordering::Relaxed) == 0 {
            fibra::yield_now();
        }
        let listing = inspect::contexts();
        assert_eq!(listing.entry(this).map(|entry| entry.state), Some(State::Running), "{listing}");
        assert_eq!(listing.entry(other.id()).map(|entry| entry.state), Some(State::Ready), "{listing}");
        go.store(true, Ordering::Relaxed);
        other.join().unwrap();
        // The other worker starts, and has nothing to do, sooner or later.
        let runtime = inspect::contexts().entry(this).unwrap().runtime;
        loop {
            let listing = inspect::contexts();
            let workers: Vec<&Entry> = listing
                .iter()
                .filter(|entry| entry.kind == Kind::Worker && entry.runtime == runtime)
                .collect();
            assert!((1..=2).contains(&workers.len()), "{listing}");
            assert!(workers.iter().any(|worker| worker.state == State::Running), "this one: {listing}");
            if workers.iter().any(|worker| worker.state == State::Idle) {
                break;
            }
            fibra::yield_now();
        }
    });
}

#[test]
fn names_daemons_runtimes_and_workers_are_told() {
    within(LIMIT, || {
        let one = Runtime::builder().workers(1).build().unwrap();
        let other = Runtime::builder().workers(3).name("elsewhere").build().unwrap();
        let plain = one.spawn_with(Builder::new().name("plain"), park).unwrap();
        let daemon = other.spawn_with(Builder::new().name("daemon").daemon(true), park).unwrap();
        let thread = thread::Builder::new().name("thread").spawn(park).unwrap();
        let [plain_seen, daemon_seen, thread_seen] =
            [&plain, &daemon, &thread].map(|handle| parked(handle.id(), WaitsFor::Unpark));
        assert_eq!(
            [&plain_seen, &daemon_seen, &thread_seen].map(|entry| (entry.name.as_deref(), entry.daemon)),
            [(Some("plain"), false), (Some("daemon"), true), (Some("thread"), false)]
        );
        assert_eq!([&plain_seen, &daemon_seen].map(|entry| entry.kind), [Kind::Coroutine; 2]);
        assert_eq!((plain_seen.worker, thread_seen.worker, thread_seen.runtime), (Some(0), None, None));
        assert!(daemon_seen.worker.unwrap() < 3);
        assert!(plain_seen.runtime.is_some() && plain_seen.runtime != daemon_seen.runtime);
        let workers = |runtime| {
            let listing = inspect::contexts().into_iter();
            let workers = listing.filter(|entry| entry.kind == Kind::Worker && entry.runtime == runtime);
            let mut workers: Vec<_> =
                workers.map(|entry| (entry.worker.unwrap(), entry.name.unwrap())).collect();
            workers.sort();
            workers
        };
        assert_eq!(workers(plain_seen.runtime), [(0, "fibra-0".into())]);
        let elsewhere = || workers(daemon_seen.runtime);
        while elsewhere().len() < 3 {
            std::thread::yield_now();
        }
        assert_eq!(elsewhere(), [0, 1, 2].map(|n| (n, format!("elsewhere-{n}").into())));
        for handle in [plain, daemon, thread] {
            handle.context().unpark();
            handle.join().unwrap();
        }
        let runtimes = [plain_seen.runtime, daemon_seen.runtime];
        drop((one, other));
        assert!(inspect::contexts().iter().all(|entry| !runtimes.contains(&entry.runtime)), "they are gone");
    });
}

#[test]
fn it_prints_as_a_table_with_a_line_for_each() {
    on_workers(1, || {
        let event = Arc::new(Event::new());
        let waiting = {
            let event = Arc::clone(&event);
            Builder::new().name("reader").daemon(true).spawn(move || event.wait()).unwrap()
        };
        fibra::yield_now();
        let listing = inspect::contexts();
        let text = listing.to_string();
        let mut lines = text.lines();
        let head = lines.next().unwrap();
        let row = lines.clone().find(|line| line.contains("reader")).unwrap();
        assert_eq!(lines.count(), listing.len());
        assert!(row.contains("coroutine") && row.contains("daemon") && row.contains("parked"), "{text}");
        assert_eq!(row.find("Event at 0x"), head.find("waits for"), "the columns are aligned:\n{text}");
        event.set();
        waiting.join().unwrap();
        assert!(ids(&listing).is_sorted());
    });
}

#[test]
fn a_test_that_hangs_says_who_waits_for_what() {
    let failure = catch_unwind(AssertUnwindSafe(|| {
        within(Duration::from_millis(300), || {
            fibra::run(|| {
                let never = Event::new();
                never.wait();
            });
        });
    }));
    let text = *failure.unwrap_err().downcast::<String>().unwrap();
    assert!(text.starts_with("hangs") && text.contains("Event at 0x"), "{text}");
}

/// Few where each step is slow.
const fn times(count: usize) -> usize {
    if cfg!(feature = "valgrind") { count / 10 } else { count }
}

/// Looks until it is over, and once more; each entry has to be whole.
fn look(over: &AtomicBool) -> usize {
    let mut looks = 0;
    loop {
        for entry in inspect::contexts() {
            if let Some(number) =
                entry.name.as_deref().and_then(|name| name.strip_prefix("stress of inspect "))
            {
                assert!(number.parse::<usize>().is_ok(), "{entry:?}");
                assert!(entry.id > 0);
            }
        }
        let _ = inspect::count();
        looks += 1;
        if over.load(Ordering::Relaxed) {
            return looks;
        }
        fibra::yield_now();
    }
}

#[test]
fn it_can_be_called_by_anybody_while_thousands_start_and_end() {
    settings::each(|setting| {
        let over = Arc::new(AtomicBool::new(false));
        let looking = setting.spawn_all(2, {
            let over = Arc::clone(&over);
            move |_| look(&over)
        });
        let outside = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || look(&over))
        };
        let starting = setting.spawn_all(3, |starter| {
            for round in 0..times(30) {
                let started: Vec<_> = (0..50)
                    .map(|number| {
                        let name = format!("stress of inspect {number}");
                        let body = move || match number % 4 {
                            0 => fibra::yield_now(),
                            1 => sleep(Duration::from_micros(50)),
                            2 => drop(fibra::park_timeout(Duration::from_micros(10))),
                            _ => {}
                        };
                        match (round + starter) % 10 {
                            0 => thread::Builder::new().name(name).spawn(body).unwrap(),
                            1 => spawn_blocking(body),
                            _ => Builder::new().name(name).spawn(body).unwrap(),
                        }
                    })
                    .collect();
                join_all(started);
                let _ = inspect::count();
            }
        });
        join_all(starting);
        over.store(true, Ordering::Relaxed);
        assert!(join_all(looking).into_iter().all(|looks| looks > 0));
        assert!(outside.join().unwrap() > 0);
    });
}

#[test]
fn it_can_be_called_while_runtimes_and_threads_come_and_go() {
    within(LIMIT, || {
        let over = Arc::new(AtomicBool::new(false));
        let looking = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || look(&over))
        };
        for round in 0..times(100) {
            let runtime = Runtime::builder().workers(1 + round % 3).build().unwrap();
            let handles: Vec<_> = (0..20)
                .map(|number| {
                    let daemon = Builder::new().daemon(number % 2 == 0);
                    runtime
                        .spawn_with(daemon, move || if number % 2 == 0 { park() } else { fibra::yield_now() })
                })
                .collect();
            let outside = std::thread::spawn(|| fibra::park_timeout(Duration::from_micros(100)));
            assert!(handles.iter().all(Result::is_ok));
            drop(runtime);
            outside.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        assert!(looking.join().unwrap() > 0);
    });
}
