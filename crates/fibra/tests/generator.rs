//! Generators inside of coroutines: a body that waits, parks its coroutine.

mod limit;

use fibra::{Builder, park, scope, sleep, spawn, spawn_local, yield_now};
use fibra_context::{Generator, Resumed};
use limit::{on_any_workers, on_workers};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

#[test]
fn a_body_may_sleep_and_its_coroutine_sleeps() {
    on_any_workers(|| {
        let generators: Vec<_> = (0..20_u64)
            .map(|n| {
                spawn(move || {
                    let naps = Generator::new(move |handle, ()| {
                        for nap in 0..5 {
                            let began = Instant::now();
                            sleep(Duration::from_micros(100 * n + nap));
                            assert!(began.elapsed() >= Duration::from_micros(100 * n + nap));
                            handle.suspend(nap);
                            yield_now();
                        }
                    });
                    naps.sum::<u64>()
                })
            })
            .collect();
        for generator in generators {
            assert_eq!(generator.join().unwrap(), 10);
        }
    });
}

#[test]
fn a_body_may_do_all_that_a_coroutine_may() {
    on_any_workers(|| {
        let mut numbers = Generator::new(|handle, first: i32| {
            let doubled = spawn(move || first * 2).join().unwrap();
            let second = handle.suspend(doubled);
            let borrowed = [second; 3];
            let sum = scope(|scope| {
                let children: Vec<_> = borrowed.iter().map(|n| scope.spawn(move || n + 1)).collect();
                children.into_iter().map(|child| child.join().unwrap()).sum::<i32>()
            });
            let third = handle.suspend(sum);
            let context = fibra::current();
            spawn(move || context.unpark());
            park();
            third
        });
        assert_eq!(numbers.resume(4), Resumed::Yielded(8));
        assert_eq!(numbers.resume(5), Resumed::Yielded(18));
        assert_eq!(numbers.resume(6), Resumed::Returned(6));
    });
}

#[test]
fn generators_in_generators_park_one_coroutine() {
    fn tree(depth: u32) -> Generator<(), u32, ()> {
        Generator::new(move |handle, ()| {
            sleep(Duration::from_micros(50));
            if depth > 0 {
                handle.delegate(tree(depth - 1), ());
            }
            yield_now();
            handle.suspend(depth);
        })
    }
    on_any_workers(|| {
        let handles: Vec<_> = (0..5).map(|_| spawn(|| tree(4).collect::<Vec<_>>())).collect();
        for handle in handles {
            assert_eq!(handle.join().unwrap(), [0, 1, 2, 3, 4]);
        }
    });
}

#[test]
fn a_generator_may_go_to_another_coroutine_of_the_worker() {
    on_workers(1, || {
        let mut counter = Generator::new(|handle, ()| {
            for n in 0.. {
                sleep(Duration::from_micros(10));
                handle.suspend((n, fibra::current().id()));
            }
        });
        let Resumed::Yielded((0, id)) = counter.resume(()) else { panic!("the first") };
        assert_eq!(id, fibra::current().id());
        let other = spawn_local(move || {
            let Resumed::Yielded((1, id)) = counter.resume(()) else { panic!("the second") };
            assert_eq!(id, fibra::current().id());
            counter
        });
        let mut counter = other.join().unwrap();
        let Resumed::Yielded((2, id)) = counter.resume(()) else { panic!("the third") };
        assert_eq!(id, fibra::current().id());
    });
}

#[test]
fn a_generator_that_is_dropped_may_wait_in_its_destructors() {
    struct Waits(Rc<Cell<u32>>);
    impl Drop for Waits {
        fn drop(&mut self) {
            sleep(Duration::from_millis(1));
            self.0.set(self.0.get() + 1);
        }
    }
    on_workers(1, || {
        let count = Rc::new(Cell::new(0));
        let waits = Waits(Rc::clone(&count));
        let mut generator = Generator::new(move |handle, ()| {
            let _waits = waits;
            handle.suspend(());
        });
        assert_eq!(generator.resume(()), Resumed::Yielded(()));
        let others = Rc::clone(&count);
        let other = spawn_local(move || {
            while others.get() == 0 {
                yield_now();
            }
        });
        drop(generator);
        assert_eq!(count.get(), 1);
        other.join().unwrap();
    });
}

#[test]
fn a_panic_in_a_body_comes_out_of_resume() {
    on_any_workers(|| {
        let mut bad = Generator::new(|handle, ()| {
            handle.suspend(1);
            sleep(Duration::from_micros(10));
            std::panic::panic_any("body");
        });
        assert_eq!(bad.next(), Some(1));
        let caught = catch_unwind(AssertUnwindSafe(|| bad.next()));
        assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"body"));
    });
}

#[test]
fn the_end_of_the_runtime_unwinds_through_a_generator() {
    struct Count(Arc<AtomicUsize>);
    impl Drop for Count {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    for workers in [1, 2] {
        let dropped = Arc::new(AtomicUsize::new(0));
        let counts = Arc::clone(&dropped);
        on_workers(workers, move || {
            let daemon = Builder::new().daemon(true);
            let parked = daemon.spawn(move || {
                let (outer, inner) = (Count(Arc::clone(&counts)), Count(counts));
                let mut generator = Generator::new(move |handle, ()| {
                    let _inner = inner;
                    handle.suspend(());
                    park();
                });
                let _outer = outer;
                generator.next();
                generator.next();
                unreachable!("it parks for ever");
            });
            sleep(Duration::from_millis(5));
            drop(parked);
        });
        assert_eq!(dropped.load(Ordering::Relaxed), 2);
    }
}
