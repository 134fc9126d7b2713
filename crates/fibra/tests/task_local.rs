//! Task-locals: a static of which each context has its own (row E6).

mod limit;
mod settings;

use fibra::{Builder, Cancelled, park, scope, sleep, spawn, spawn_blocking, task_local, thread};
use limit::{on_any_workers, on_workers};
use settings::join_all;
use std::cell::{Cell, RefCell};
use std::panic::resume_unwind;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[test]
fn each_context_has_its_own_and_keeps_it_while_others_run() {
    task_local! { static OWN: Cell<usize> = Cell::new(1000); }
    settings::each(|setting| {
        OWN.set(7);
        let others = setting.spawn_all(20, |number| {
            assert_eq!(OWN.get(), 1000, "as the initialiser says");
            OWN.set(number);
            for round in 0..20 {
                match round % 5 {
                    0 => sleep(Duration::from_micros(10)),
                    1 => spawn(|| OWN.set(2000)).join().unwrap(),
                    _ => fibra::yield_now(),
                }
                assert_eq!(OWN.get(), number + round);
                OWN.set(number + round + 1);
            }
        });
        join_all(others);
        assert_eq!(OWN.get(), 7);
    });
}

#[test]
fn it_is_initialised_on_first_use_once_for_each_context_and_not_by_set() {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    fn make() -> usize {
        MADE.fetch_add(1, Ordering::SeqCst)
    }
    task_local! {
        static VALUE: usize = make();
        static CELL: Cell<usize> = Cell::new(make());
        static REF_CELL: RefCell<Vec<usize>> = RefCell::new(vec![make()]);
    }
    settings::each(|setting| {
        let before = MADE.load(Ordering::SeqCst);
        setting.spawn(|| ()).join().unwrap();
        assert_eq!(MADE.load(Ordering::SeqCst), before, "nobody used it");
        let used = setting.spawn_all(3, |_| {
            let first = VALUE.with(|value| *value);
            fibra::yield_now();
            assert_eq!(VALUE.with(|value| *value), first);
            assert_eq!(VALUE.try_with(|value| *value), Ok(first));
            first
        });
        let mut values = join_all(used);
        values.sort_unstable();
        assert_eq!(values, [before, before + 1, before + 2]);
        setting
            .spawn(|| {
                CELL.set(5);
                REF_CELL.set(vec![6]);
                assert_eq!((CELL.replace(8), CELL.take(), CELL.get()), (5, 8, 0));
                REF_CELL.with_borrow_mut(|list| list.push(7));
                assert_eq!(REF_CELL.with_borrow(Vec::len), 2);
                assert_eq!(
                    (REF_CELL.replace(vec![1]), REF_CELL.take(), REF_CELL.take()),
                    (vec![6, 7], vec![1], vec![])
                );
            })
            .join()
            .unwrap();
        assert_eq!(MADE.load(Ordering::SeqCst), before + 3);
    });
}

#[test]
fn what_is_declared_inherited_is_copied_to_all_that_is_started_and_the_rest_is_not() {
    task_local! {
        static OWN: Cell<u32> = Cell::new(0);
        inherited static HANDED_DOWN: RefCell<Vec<u32>> = RefCell::new(Vec::new())
    }
    fn seen() -> (u32, Vec<u32>) {
        (OWN.get(), HANDED_DOWN.with_borrow(Clone::clone))
    }
    settings::each(|setting| {
        // Without a value there is nothing to copy.
        assert_eq!(setting.spawn(seen).join().unwrap(), (0, vec![]));
        OWN.set(1);
        HANDED_DOWN.set(vec![2]);
        let expected = (0, vec![2]);
        assert_eq!(setting.spawn(seen).join().unwrap(), expected);
        assert_eq!(spawn(seen).join().unwrap(), expected, "a coroutine");
        assert_eq!(fibra::spawn_after(Duration::ZERO, seen).join().unwrap(), expected, "a later one");
        assert_eq!(thread::spawn(seen).join().unwrap(), expected, "a thread");
        assert_eq!(spawn_blocking(seen).join().unwrap(), expected, "a job");
        assert_eq!(scope(|scope| scope.spawn(seen).join().unwrap()), expected, "one that borrows");
        let scoped = scope(|scope| thread::Builder::new().spawn_scoped(scope, seen).unwrap().join().unwrap());
        assert_eq!(scoped, expected, "a thread that borrows");
        assert_eq!(std::thread::spawn(seen).join().unwrap(), (0, vec![]), "a thread of std's");
        // A copy as of the start: later changes are each one's own.
        let child = setting.spawn(|| {
            let before = seen();
            HANDED_DOWN.with_borrow_mut(|list| list.push(3));
            let grandchild = spawn(seen).join().unwrap();
            (before, grandchild)
        });
        HANDED_DOWN.set(vec![9]);
        assert_eq!(child.join().unwrap(), ((0, vec![2]), (0, vec![2, 3])));
        assert_eq!(seen(), (1, vec![9]));
        OWN.take();
        HANDED_DOWN.take();
    });
}

/// Notes in a list when it is dropped.
struct Noted(&'static str, Arc<Mutex<Vec<&'static str>>>);

impl Drop for Noted {
    fn drop(&mut self) {
        self.1.lock().unwrap().push(self.0);
    }
}

#[test]
fn values_are_dropped_at_the_end_the_last_first_and_before_join_returns() {
    task_local! {
        static ONE: RefCell<Option<Noted>> = RefCell::new(None);
        static TWO: RefCell<Option<Noted>> = RefCell::new(None);
        static THREE: RefCell<Option<Noted>> = RefCell::new(None);
    }
    fn fill(notes: &Arc<Mutex<Vec<&'static str>>>) {
        for (key, name) in [(&TWO, "two"), (&ONE, "one"), (&THREE, "three")] {
            key.set(Some(Noted(name, Arc::clone(notes))));
        }
    }
    settings::each(|setting| {
        // However it ends.
        let ways: [fn(); 3] = [
            || (),
            || resume_unwind(Box::new("a panic")),
            || {
                fibra::current().unpark();
                park();
                park();
            },
        ];
        for (number, way) in ways.into_iter().enumerate() {
            let notes = Arc::new(Mutex::new(Vec::new()));
            let of_context = Arc::clone(&notes);
            let handle = setting.spawn(move || {
                let _closure = Noted("closure", Arc::clone(&of_context));
                fill(&of_context);
                way();
            });
            if number == 2 {
                setting.until(|| Arc::strong_count(&notes) == 6);
                handle.cancel();
            }
            assert_eq!(handle.join().is_err(), number > 0);
            assert_eq!(*notes.lock().unwrap(), ["closure", "three", "one", "two"]);
        }
    });
}

#[test]
fn destructors_may_wait_and_use_others_and_what_is_gone_does_not_come_back() {
    static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());
    struct First;
    struct Last;
    impl Drop for First {
        fn drop(&mut self) {
            // Its own context, and it may wait, though that was cancelled.
            sleep(Duration::from_micros(100));
            spawn(|| ()).join().unwrap();
            let late = LATE.with(Cell::get);
            let again = FIRST.try_with(|_| ()).is_err();
            let last = LAST.try_with(|_| ()).is_err();
            SEEN.lock().unwrap().push(format!("late {late}, own gone {again}, last gone {last}"));
        }
    }
    impl Drop for Last {
        fn drop(&mut self) {
            let first = FIRST.try_with(|_| ()).is_ok();
            SEEN.lock().unwrap().push(format!("first there {first}"));
        }
    }
    task_local! {
        static FIRST: First = First;
        static LAST: Last = Last;
        static LATE: Cell<u32> = Cell::new(5);
    }
    settings::each(|setting| {
        for cancelled in [false, true] {
            SEEN.lock().unwrap().clear();
            let ready = Arc::new(AtomicUsize::new(0));
            let told = Arc::clone(&ready);
            let handle = setting.spawn(move || {
                FIRST.with(|_| ());
                LAST.with(|_| ());
                told.store(1, Ordering::SeqCst);
                if cancelled {
                    sleep(Duration::from_secs(3600));
                }
            });
            setting.until(|| ready.load(Ordering::SeqCst) == 1);
            if cancelled {
                handle.cancel();
            }
            assert_eq!(handle.join().is_err(), cancelled);
            assert_eq!(*SEEN.lock().unwrap(), ["first there true", "late 5, own gone true, last gone true"]);
        }
    });
}

#[test]
fn a_destructor_that_panics_disturbs_neither_the_others_nor_the_result() {
    struct Panics;
    impl Drop for Panics {
        fn drop(&mut self) {
            resume_unwind(Box::new("in a destructor"));
        }
    }
    task_local! {
        static QUIET: RefCell<Option<Noted>> = RefCell::new(None);
        static PANICS: Panics = Panics;
    }
    settings::each(|setting| {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let of_context = Arc::clone(&notes);
        let handle = setting.spawn(move || {
            QUIET.set(Some(Noted("quiet", of_context)));
            PANICS.with(|_| ());
            5
        });
        assert_eq!(handle.join().unwrap(), 5);
        assert_eq!(*notes.lock().unwrap(), ["quiet"]);
    });
}

#[test]
fn an_initialiser_may_wait_use_others_and_panic() {
    static TRIES: AtomicUsize = AtomicUsize::new(0);
    fn second_time() -> usize {
        let tries = TRIES.fetch_add(1, Ordering::SeqCst);
        if tries % 2 == 0 {
            resume_unwind(Box::new("the first time"));
        }
        fibra::yield_now();
        BASE.with(|base| base + 1)
    }
    task_local! {
        static BASE: usize = 41;
        static VALUE: usize = second_time();
    }
    settings::each(|setting| {
        let answer = setting.spawn(|| {
            let first = std::panic::catch_unwind(|| VALUE.with(|value| *value));
            assert!(first.is_err());
            VALUE.with(|value| *value)
        });
        assert_eq!(answer.join().unwrap(), 42);
    });
}

#[test]
fn a_value_need_not_be_send_and_never_leaves_its_thread() {
    task_local! { static LOCAL: RefCell<Vec<Rc<u32>>> = RefCell::new(Vec::new()); }
    settings::each(|setting| {
        let contexts = setting.spawn_all(10, |number| {
            let mine = Rc::new(number as u32);
            LOCAL.with_borrow_mut(|list| list.push(Rc::clone(&mine)));
            let thread = std::thread::current().id();
            for _ in 0..10 {
                fibra::yield_now();
                sleep(Duration::from_micros(10));
            }
            assert_eq!(std::thread::current().id(), thread);
            assert_eq!(Rc::strong_count(&mine), 2);
            LOCAL.with_borrow(|list| list.len())
        });
        assert_eq!(join_all(contexts), [1; 10]);
    });
}

#[test]
fn one_that_never_runs_drops_what_it_has_inherited() {
    static COPIES: AtomicUsize = AtomicUsize::new(0);
    struct Counted;
    impl Clone for Counted {
        fn clone(&self) -> Counted {
            COPIES.fetch_add(1, Ordering::SeqCst);
            Counted
        }
    }
    impl Drop for Counted {
        fn drop(&mut self) {
            COPIES.fetch_sub(1, Ordering::SeqCst);
        }
    }
    task_local! { inherited static COUNTED: Counted = { COPIES.fetch_add(1, Ordering::SeqCst); Counted }; }
    on_workers(1, || {
        spawn(|| {
            COUNTED.with(|_| ());
            let unrun = spawn(|| unreachable!("it was cancelled before"));
            let later = Builder::new().spawn_after(Duration::from_secs(3600), || ()).unwrap();
            assert_eq!(COPIES.load(Ordering::SeqCst), 3);
            for handle in [unrun, later] {
                handle.cancel();
                assert!(handle.join().unwrap_err().is::<Cancelled>());
            }
            assert_eq!(COPIES.load(Ordering::SeqCst), 1);
        })
        .join()
        .unwrap();
        assert_eq!(COPIES.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn os_threads_from_outside_destroy_theirs_when_they_end() {
    task_local! { static NOTED: RefCell<Option<Noted>> = RefCell::new(None); }
    let notes = Arc::new(Mutex::new(Vec::new()));
    let of_thread = Arc::clone(&notes);
    std::thread::spawn(move || NOTED.set(Some(Noted("of a thread", of_thread)))).join().unwrap();
    assert_eq!(*notes.lock().unwrap(), ["of a thread"]);
    // The main coroutine has its own, and leaves those of the thread that it runs on alone.
    on_any_workers(|| assert!(NOTED.with_borrow(Option::is_none)));
}

#[test]
fn ten_thousand_have_ten_thousand() {
    task_local! { static NUMBER: Cell<usize> = Cell::new(usize::MAX); }
    on_any_workers(|| {
        let handles: Vec<_> = (0..10_000)
            .map(|number| {
                spawn(move || {
                    NUMBER.set(number);
                    park();
                    NUMBER.get()
                })
            })
            .collect();
        handles.iter().for_each(|handle| handle.context().unpark());
        for (number, handle) in handles.into_iter().enumerate() {
            assert_eq!(handle.join().unwrap(), number);
        }
    });
}
