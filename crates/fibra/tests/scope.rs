//! Children that borrow.

mod limit;

use fibra::{Builder, Cancelled, Runtime, Stop, scope, spawn};
use limit::{on_any_workers, on_workers, within};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

#[test]
fn children_borrow_and_change_what_the_caller_owns() {
    on_any_workers(|| {
        let words = ["write".to_owned(), "threads".to_owned()];
        let mut lengths = [0; 2];
        let total = scope(|scope| {
            let handles: Vec<_> = words
                .iter()
                .zip(&mut lengths)
                .map(|(word, length)| {
                    scope.spawn(move || {
                        fibra::yield_now();
                        *length = word.len();
                        &word[..1]
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect::<String>()
        });
        assert_eq!((total.as_str(), lengths), ("wt", [5, 7]));
    });
}

#[test]
fn a_scope_waits_for_children_that_nobody_joins() {
    on_any_workers(|| {
        let mut seen = vec![0; 100];
        scope(|scope| {
            for (n, place) in seen.iter_mut().enumerate() {
                scope.spawn(move || {
                    fibra::sleep(Duration::from_millis(n as u64 % 7));
                    *place = n;
                });
            }
        });
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
        assert_eq!(scope(|_| 5), 5, "a scope may have no children");
    });
}

#[test]
fn scopes_nest_and_children_have_children() {
    fn sum(numbers: &[u64]) -> u64 {
        if numbers.len() <= 4 {
            return numbers.iter().sum();
        }
        let (left, right) = numbers.split_at(numbers.len() / 2);
        scope(|scope| {
            let left = scope.spawn(|| sum(left));
            sum(right) + left.join().unwrap()
        })
    }
    on_any_workers(|| {
        let numbers: Vec<u64> = (0..2000).collect();
        assert_eq!(sum(&numbers), 1_999_000);
        // A child spawns into the scope that it is in.
        let count = AtomicUsize::new(0);
        scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    count.fetch_add(1, Ordering::Relaxed);
                    scope.spawn(|| {
                        fibra::yield_now();
                        count.fetch_add(1, Ordering::Relaxed)
                    });
                });
            }
        });
        assert_eq!(count.into_inner(), 20);
    });
}

#[test]
fn a_panic_in_the_closure_waits_for_the_children() {
    on_any_workers(|| {
        let ended = AtomicBool::new(false);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                scope.spawn(|| {
                    fibra::sleep(Duration::from_millis(10));
                    ended.store(true, Ordering::Relaxed);
                });
                std::panic::panic_any(7);
            })
        }));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&7));
        assert!(ended.into_inner());
    });
}

#[test]
fn a_panic_of_a_child_that_nobody_joined_comes_out_after_all_have_ended() {
    on_any_workers(|| {
        let ended = AtomicUsize::new(0);
        let caught = catch_unwind(AssertUnwindSafe(|| {
            scope(|scope| {
                scope.spawn(|| panic!("a child's"));
                for _ in 0..3 {
                    scope.spawn(|| {
                        fibra::sleep(Duration::from_millis(5));
                        ended.fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
        }));
        let text = caught.unwrap_err();
        assert!(text.downcast_ref::<&str>().unwrap().contains("a scoped coroutine panicked"));
        assert_eq!(ended.into_inner(), 3);
    });
}

#[test]
fn a_panic_of_a_child_that_was_joined_is_the_joiners() {
    on_any_workers(|| {
        let value = scope(|scope| {
            let child = scope.spawn(|| -> i32 { std::panic::panic_any("mine") });
            *child.join().unwrap_err().downcast::<&str>().unwrap()
        });
        assert_eq!(value, "mine");
    });
}

#[test]
fn local_children_need_not_be_send() {
    on_any_workers(|| {
        let count = Rc::new(Cell::new(0));
        let here = thread::current().id();
        let parts = scope(|scope| {
            let handles: Vec<_> = (1..=10)
                .map(|n| {
                    let count = &count;
                    scope.spawn_local(move || {
                        count.set(count.get() + n);
                        assert_eq!(thread::current().id(), here);
                        Rc::clone(count)
                    })
                })
                .collect();
            handles.into_iter().map(|handle| handle.join().unwrap()).collect::<Vec<_>>()
        });
        assert_eq!((count.get(), parts.len()), (55, 10));
        assert_eq!(Rc::strong_count(&count), 11);
    });
}

#[test]
fn an_os_thread_has_scopes_too() {
    within(limit::LIMIT, || {
        let mut numbers = [1, 2, 3];
        let here = thread::current().id();
        scope(|scope| {
            for number in &mut numbers {
                scope.spawn(move || {
                    fibra::sleep(Duration::from_millis(2));
                    assert_ne!(thread::current().id(), here);
                    *number *= 2;
                });
            }
        });
        assert_eq!(numbers, [2, 4, 6]);
    });
}

#[test]
fn a_runtime_runs_a_closure_that_borrows_and_returns_what_borrows() {
    within(limit::LIMIT, || {
        let runtime = Runtime::builder().workers(2).build().unwrap();
        let text = "a b c".to_owned();
        let parts: Vec<&str> = runtime.run(|| {
            assert!(fibra::current().is_coroutine());
            text.split(' ').collect()
        });
        assert_eq!(parts, ["a", "b", "c"]);
        let caught = catch_unwind(AssertUnwindSafe(|| runtime.run(|| std::panic::panic_any(9))));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&9));
        // From a coroutine of another runtime, which parks meanwhile.
        let on_one = Runtime::builder().workers(1);
        let together = on_one.run(|| {
            let turns = Rc::new(Cell::new(0));
            let counted = Rc::clone(&turns);
            let counter = fibra::spawn_local(move || {
                for _ in 0..5 {
                    counted.set(counted.get() + 1);
                    fibra::sleep(Duration::from_millis(1));
                }
            });
            runtime.run(|| thread::sleep(Duration::from_millis(50)));
            let meanwhile = turns.get();
            counter.join().unwrap();
            meanwhile
        });
        assert_eq!(together.unwrap(), 5, "others have run meanwhile");
    });
}

#[test]
fn a_handle_that_is_forgotten_leaks_its_result_and_no_more() {
    on_any_workers(|| {
        let mut data = vec![1, 2, 3];
        scope(|scope| {
            let child = scope.spawn(|| &data);
            std::mem::forget(child);
        });
        data.push(4);
        assert_eq!(data.len(), 4);
    });
}

#[test]
fn a_request_to_stop_cancels_the_children_and_waits_for_them() {
    on_any_workers(|| {
        let stop = Stop::new();
        let listener = stop.clone();
        let parent = spawn(move || {
            let enrolled = listener.enroll();
            let mut done = false;
            let result = enrolled.interruptible(|| {
                scope(|scope| {
                    scope.spawn(|| {
                        fibra::shield(|| fibra::sleep(Duration::from_millis(30)));
                        done = true;
                    });
                    scope.spawn(|| fibra::sleep(Duration::from_secs(3600)));
                    fibra::sleep(Duration::from_secs(3600));
                });
            });
            assert!(result.is_err());
            assert!(done, "the child was waited for");
        });
        fibra::sleep(Duration::from_millis(5));
        stop.trigger();
        parent.join().unwrap();
    });
}

#[test]
fn a_daemon_in_a_scope_is_waited_for_since_it_borrows() {
    on_any_workers(|| {
        let mut done = false;
        scope(|scope| {
            scope
                .spawn_with(Builder::new().daemon(true), || {
                    fibra::sleep(Duration::from_millis(10));
                    done = true;
                })
                .unwrap();
        });
        assert!(done);
    });
}

#[test]
fn a_scope_in_a_daemon_ends_with_its_children_when_the_runtime_does() {
    for workers in [1, 2, 8] {
        let (parents, children) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (parent, child) = (Arc::clone(&parents), Arc::clone(&children));
        struct Count<'a>(&'a AtomicUsize);
        impl Drop for Count<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        on_workers(workers, move || {
            let daemon = Builder::new().daemon(true).spawn(move || {
                let _count = Count(&parent);
                scope(|scope| {
                    for _ in 0..3 {
                        scope
                            .spawn_with(Builder::new().daemon(true), || {
                                let _count = Count(&child);
                                fibra::park();
                            })
                            .unwrap();
                    }
                });
                unreachable!("what the children were to do is not done");
            });
            fibra::sleep(Duration::from_millis(10));
            drop(daemon);
        });
        assert_eq!(parents.load(Ordering::Relaxed), 1);
        assert_eq!(children.load(Ordering::Relaxed), 3);
    }
}

#[test]
fn a_child_that_was_cut_short_is_not_taken_for_done() {
    for workers in [1, 2] {
        let (told, tell) = std::sync::mpsc::channel();
        within(limit::LIMIT, move || {
            Runtime::builder().workers(workers).run(move || {
                let busy = move || {
                    // Its waits cannot be interrupted: the runtime's end meets it when a child is refused.
                    let caught = catch_unwind(|| {
                        loop {
                            let ran = AtomicUsize::new(0);
                            scope(|scope| {
                                scope.spawn(|| ran.store(1, Ordering::Relaxed));
                            });
                            assert_eq!(ran.load(Ordering::Relaxed), 1, "taken for done");
                        }
                    });
                    told.send(caught.is_err_and(|payload| payload.is::<Cancelled>())).unwrap();
                };
                Builder::new().daemon(true).spawn(busy).unwrap();
                fibra::sleep(Duration::from_millis(5));
            })
        })
        .unwrap();
        assert!(tell.recv().unwrap());
    }
}
