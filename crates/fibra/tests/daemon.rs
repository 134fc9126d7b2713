//! Daemons: whom the end waits for, and whom not (row A3).

mod child;
mod limit;

use fibra::inspect;
use fibra::{Builder, Runtime, park, scope, sleep, spawn, spawn_after, spawn_blocking, spawn_local, thread};
use limit::{LIMIT, on_any_workers, within};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// Sets a flag when it is dropped.
struct Flag(Arc<AtomicBool>);

impl Drop for Flag {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Whether what is started here, in all the ways there are, is a daemon.
fn children_are(daemon: bool) {
    let is = || fibra::current().is_daemon();
    assert_eq!(is(), daemon, "the creator");
    assert_eq!(spawn(is).join().unwrap(), daemon, "a coroutine");
    assert_eq!(spawn_after(Duration::from_micros(1), is).join().unwrap(), daemon, "a later one");
    assert_eq!(thread::spawn(is).join().unwrap(), daemon, "a thread");
    assert_eq!(spawn_blocking(is).join().unwrap(), daemon, "a job");
    assert_eq!(scope(|scope| scope.spawn(is).join().unwrap()), daemon, "one that borrows");
    let scoped = scope(|scope| thread::Builder::new().spawn_scoped(scope, is).unwrap().join().unwrap());
    assert_eq!(scoped, daemon, "a thread that borrows");
    if fibra::current().is_coroutine() {
        assert_eq!(spawn_local(is).join().unwrap(), daemon, "a local one");
    }
    // Whoever says something else has it.
    for said in [false, true] {
        assert_eq!(Builder::new().daemon(said).spawn(is).unwrap().join().unwrap(), said);
        assert_eq!(thread::Builder::new().daemon(said).spawn(is).unwrap().join().unwrap(), said);
    }
}

#[test]
fn daemons_start_daemons_and_others_start_none() {
    on_any_workers(|| {
        children_are(false);
        Builder::new().daemon(true).spawn(|| children_are(true)).unwrap().join().unwrap();
        thread::Builder::new().daemon(true).spawn(|| children_are(true)).unwrap().join().unwrap();
        // Through generations.
        let grandchild = Builder::new()
            .daemon(true)
            .spawn(|| {
                spawn(|| thread::spawn(|| spawn(|| children_are(true)).join().unwrap()).join().unwrap())
                    .join()
            })
            .unwrap();
        grandchild.join().unwrap().unwrap();
        // And one that a daemon declares none starts none.
        let upright = Builder::new().daemon(true).spawn(|| {
            Builder::new().daemon(false).spawn(|| children_are(false)).unwrap().join().unwrap();
        });
        upright.unwrap().join().unwrap();
    });
}

#[test]
fn an_os_thread_from_outside_is_none_and_starts_none() {
    within(LIMIT, || children_are(false));
}

#[test]
fn the_listing_says_who_is_a_daemon() {
    on_any_workers(|| {
        for said in [false, true] {
            let coroutine = Builder::new().daemon(said).spawn(park).unwrap();
            let thread = thread::Builder::new().daemon(said).spawn(park).unwrap();
            for handle in [coroutine, thread] {
                assert_eq!(handle.context().is_daemon(), said);
                let entry = loop {
                    match inspect::contexts().entry(handle.id()) {
                        Some(entry) => break entry.clone(),
                        None => fibra::yield_now(),
                    }
                };
                assert_eq!(entry.daemon, said);
                handle.context().unpark();
                handle.join().unwrap();
            }
        }
    });
}

#[test]
fn the_end_waits_for_what_is_no_daemon_and_for_what_that_starts() {
    for workers in [1, 2, 8] {
        within(LIMIT, move || {
            let done = Arc::new(AtomicUsize::new(0));
            let count = Arc::clone(&done);
            Runtime::builder()
                .workers(workers)
                .run(move || {
                    let last = move || {
                        sleep(Duration::from_millis(2));
                        count.fetch_add(1, Ordering::SeqCst);
                    };
                    // Each goes on when the one before has ended; a daemon among them says that its child is none.
                    drop(spawn(move || {
                        sleep(Duration::from_millis(2));
                        drop(thread::spawn(move || {
                            sleep(Duration::from_millis(2));
                            let daemon = Builder::new().daemon(true).spawn(move || {
                                drop(Builder::new().daemon(false).spawn(last).unwrap());
                            });
                            daemon.unwrap().join().unwrap();
                        }));
                    }));
                })
                .unwrap();
            assert_eq!(done.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn the_end_cuts_daemons_short_and_their_destructors_run() {
    for workers in [1, 2, 8] {
        within(LIMIT, move || {
            let dropped = [(); 4].map(|()| Arc::new(AtomicBool::new(false)));
            let went_on = Arc::new(AtomicBool::new(false));
            let flags = dropped.clone().map(Flag);
            let beyond = Arc::clone(&went_on);
            Runtime::builder()
                .workers(workers)
                .run(move || {
                    let waiting = Arc::new(AtomicUsize::new(0));
                    let wait = |flag: Flag| {
                        let (waiting, beyond) = (Arc::clone(&waiting), Arc::clone(&beyond));
                        move || {
                            let _flag = flag;
                            waiting.fetch_add(1, Ordering::SeqCst);
                            sleep(HOUR);
                            beyond.store(true, Ordering::SeqCst);
                        }
                    };
                    let [one, two, three, four] = flags;
                    drop(Builder::new().daemon(true).spawn(wait(one)).unwrap());
                    drop(thread::Builder::new().daemon(true).spawn(wait(two)).unwrap());
                    // What a daemon starts.
                    let (three, four) = (wait(three), wait(four));
                    let parent = Builder::new().daemon(true).spawn(move || {
                        drop((spawn(three), thread::spawn(four)));
                    });
                    parent.unwrap().join().unwrap();
                    while waiting.load(Ordering::SeqCst) < 4 {
                        fibra::yield_now();
                    }
                })
                .unwrap();
            // The coroutines have unwound. The threads are asked, and not waited for: here they do as they are asked.
            assert!(dropped[0].load(Ordering::SeqCst) && dropped[2].load(Ordering::SeqCst));
            while !(dropped[1].load(Ordering::SeqCst) && dropped[3].load(Ordering::SeqCst)) {
                std::thread::yield_now();
            }
            assert!(!went_on.load(Ordering::SeqCst));
        });
    }
}

#[test]
fn a_daemon_thread_that_computes_is_not_waited_for() {
    within(LIMIT, || {
        let over = Arc::new(AtomicBool::new(false));
        let (started, told) = (Arc::new(AtomicBool::new(false)), Arc::clone(&over));
        let thread = fibra::run(move || {
            let thread = thread::Builder::new().daemon(true).spawn({
                let started = Arc::clone(&started);
                move || {
                    started.store(true, Ordering::SeqCst);
                    while !told.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    7
                }
            });
            while !started.load(Ordering::SeqCst) {
                fibra::yield_now();
            }
            thread.unwrap()
        });
        // The runtime has ended, and the thread has not.
        assert!(!thread.is_finished());
        over.store(true, Ordering::SeqCst);
        assert_eq!(thread.join().unwrap(), 7);
    });
}

/// A program whose main coroutine ends first, and one whose other contexts do.
#[test]
fn a_program_waits_for_the_others_at_its_exit_and_never_for_daemons() {
    const NAME: &str = "a_program_waits_for_the_others_at_its_exit_and_never_for_daemons";
    // The test harness does not end its lines before.
    let say = |text: &str| println!("\n[{text}]");
    if let Some(part) = child::part() {
        let daemon = part.contains("daemon");
        let main_first = part.contains("first");
        let other = move || {
            if main_first {
                // Woken when the main coroutine has said its last word.
                park();
                sleep(Duration::from_millis(if daemon { 3_600_000 } else { 20 }));
            }
            say("other");
        };
        fibra::run(|| {
            let other = if part.contains("thread") {
                thread::Builder::new().daemon(daemon).spawn(other).unwrap()
            } else {
                Builder::new().daemon(daemon).spawn(other).unwrap()
            };
            let context = other.context();
            if !main_first {
                other.join().unwrap();
            }
            say("main");
            context.unpark();
        });
        say("end");
        return;
    }
    for kind in ["coroutine", "thread"] {
        for (part, expected) in [
            ("main first", vec!["[main]", "[other]", "[end]"]),
            ("main first, daemon", vec!["[main]", "[end]"]),
            ("main last", vec!["[other]", "[main]", "[end]"]),
            ("main last, daemon", vec!["[other]", "[main]", "[end]"]),
        ] {
            let part = format!("{part}, {kind}");
            let text = child::run(&mut child::command(NAME, &part)).well();
            let said: Vec<&str> = text.lines().filter(|line| line.starts_with('[')).collect();
            assert_eq!(said, expected, "{part}:\n{text}");
        }
    }
}
