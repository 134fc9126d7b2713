//! Generators, through the public interface.
#![allow(missing_docs)]

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use fibra_context::generator::{Builder, GeneratorState};
use fibra_context::{Generator, Resumed, Suspender, arena};

/// Writes to a log when dropped.
struct Note(Rc<RefCell<Vec<&'static str>>>, &'static str);

impl Drop for Note {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1);
    }
}

type Log = Rc<RefCell<Vec<&'static str>>>;

#[test]
fn values_go_in_and_out() {
    let mut echo = Generator::new(|handle: &Suspender<u32, String>, first| {
        let second = handle.suspend(format!("one {first}"));
        let third = handle.suspend(format!("two {second}"));
        third * 10
    });
    assert_eq!(echo.state(), GeneratorState::Created);
    assert_eq!(echo.resume(1), Resumed::Yielded("one 1".to_owned()));
    assert_eq!(echo.state(), GeneratorState::Suspended);
    assert_eq!(echo.resume(2), Resumed::Yielded("two 2".to_owned()));
    assert_eq!(echo.resume(3), Resumed::Returned(30));
    assert_eq!(echo.state(), GeneratorState::Finished);
}

#[test]
fn a_producer_and_a_consumer_take_turns_without_a_lock() {
    let log: Log = Log::default();
    let (produced, consumed) = (Rc::clone(&log), Rc::clone(&log));
    let producer = Generator::new(move |handle: &Suspender<(), u32>, ()| {
        for item in 0..3 {
            produced.borrow_mut().push("produced");
            handle.suspend(item);
        }
    });
    let mut consumer = Generator::new(move |handle: &Suspender<u32, ()>, first| {
        let mut sum = first;
        loop {
            consumed.borrow_mut().push("consumed");
            sum += handle.suspend(());
            if sum == 3 {
                return sum;
            }
        }
    });
    let results: Vec<_> = producer.map(|item| consumer.resume(item)).collect();
    assert_eq!(results, [Resumed::Yielded(()), Resumed::Yielded(()), Resumed::Returned(3)]);
    assert_eq!(*log.borrow(), ["produced", "consumed", "produced", "consumed", "produced"]);
}

#[test]
fn it_yields_from_deep_within_recursion() {
    fn walk(handle: &Suspender<(), u32>, low: u32, high: u32) {
        if low < high {
            let middle = (low + high) / 2;
            walk(handle, low, middle);
            handle.suspend(middle);
            walk(handle, middle + 1, high);
        }
    }
    let numbers = Generator::new(|handle, ()| walk(handle, 0, 100));
    assert!(numbers.eq(0..100));
}

#[test]
fn an_inner_generator_receives_what_the_outer_is_sent() {
    let mut outer = Generator::new(|handle: &Suspender<i32, i32>, first| {
        let inner = Generator::new(|handle: &Suspender<i32, i32>, first| {
            let second = handle.suspend(first + 100);
            let third = handle.suspend(second + 100);
            format!("{first} {second} {third}")
        });
        let heard = handle.delegate(inner, first);
        let last = handle.suspend(-1);
        format!("{heard} then {last}")
    });
    assert_eq!(outer.resume(1), Resumed::Yielded(101));
    assert_eq!(outer.resume(2), Resumed::Yielded(102));
    assert_eq!(outer.resume(3), Resumed::Yielded(-1));
    assert_eq!(outer.resume(4), Resumed::Returned("1 2 3 then 4".to_owned()));
}

#[test]
fn delegation_goes_through_every_level() {
    fn nested(depth: u32) -> Generator<u32, u32, u32> {
        Generator::new(move |handle: &Suspender<u32, u32>, first| match depth {
            0 => handle.suspend(first) + handle.suspend(0),
            _ => handle.delegate(nested(depth - 1), first) + 1,
        })
    }
    let mut outer = nested(10);
    assert_eq!(outer.resume(7), Resumed::Yielded(7));
    assert_eq!(outer.resume(20), Resumed::Yielded(0));
    assert_eq!(outer.resume(30), Resumed::Returned(60));
}

#[test]
fn closing_the_outer_closes_the_inner_first() {
    let log: Log = Log::default();
    let (outer_log, inner_log) = (Rc::clone(&log), Rc::clone(&log));
    let mut outer = Generator::new(move |handle: &Suspender<(), ()>, ()| {
        let _note = Note(outer_log, "outer");
        let inner = Generator::new(move |handle: &Suspender<(), ()>, ()| {
            let _note = Note(inner_log, "inner");
            handle.suspend(());
        });
        handle.delegate(inner, ());
    });
    outer.resume(());
    outer.close();
    assert_eq!(*log.borrow(), ["inner", "outer"]);
}

#[test]
fn closing_runs_destructors_and_finishes() {
    let log: Log = Log::default();
    let inside = Rc::clone(&log);
    let mut waiting = Generator::new(move |handle: &Suspender<(), ()>, ()| {
        let _first = Note(Rc::clone(&inside), "first");
        let _second = Note(Rc::clone(&inside), "second");
        handle.suspend(());
        inside.borrow_mut().push("went on");
    });
    waiting.resume(());
    assert!(log.borrow().is_empty());
    waiting.close();
    assert_eq!(*log.borrow(), ["second", "first"]);
    assert_eq!(waiting.state(), GeneratorState::Finished);
    waiting.close();
}

#[test]
fn dropping_closes() {
    let log: Log = Log::default();
    let (inside, captured) = (Rc::clone(&log), Note(Rc::clone(&log), "captured"));
    let mut waiting = Generator::new(move |handle: &Suspender<(), ()>, ()| {
        let _captured = captured;
        let _note = Note(inside, "on the stack");
        handle.suspend(());
    });
    waiting.resume(());
    drop(waiting);
    assert_eq!(*log.borrow(), ["on the stack", "captured"]);
}

#[test]
fn one_that_never_ran_drops_what_it_captured() {
    let log: Log = Log::default();
    let captured = Note(Rc::clone(&log), "captured");
    let ballast = [0u64; 512];
    drop(Generator::new(move |_: &Suspender<(), ()>, ()| {
        let _captured = &captured;
        ballast.len()
    }));
    assert_eq!(*log.borrow(), ["captured"]);
}

#[test]
fn a_generator_dropped_during_a_panic_is_closed() {
    let log: Log = Log::default();
    let inside = Rc::clone(&log);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut waiting = Generator::new(move |handle: &Suspender<(), ()>, ()| {
            let _note = Note(inside, "dropped");
            handle.suspend(());
        });
        waiting.resume(());
        std::panic::resume_unwind(Box::new("outside"));
    }));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"outside"));
    assert_eq!(*log.borrow(), ["dropped"]);
}

#[test]
fn a_panic_comes_out_of_resume_and_finishes() {
    let mut broken = Generator::new(|handle: &Suspender<(), ()>, ()| {
        handle.suspend(());
        std::panic::resume_unwind(Box::new("inside"));
    });
    broken.resume(());
    let caught = catch_unwind(AssertUnwindSafe(|| broken.resume(())));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"inside"));
    assert_eq!(broken.state(), GeneratorState::Finished);
    let again = catch_unwind(AssertUnwindSafe(|| broken.resume(())));
    assert!(again.unwrap_err().downcast_ref::<String>().unwrap().contains("finished generator"));
}

#[test]
fn a_panic_instead_of_the_unwind_comes_out_of_close() {
    let mut waiting = Generator::new(|handle: &Suspender<(), ()>, ()| {
        let closed = catch_unwind(AssertUnwindSafe(|| handle.suspend(())));
        if closed.is_err() {
            std::panic::resume_unwind(Box::new("instead"));
        }
    });
    waiting.resume(());
    let caught = catch_unwind(AssertUnwindSafe(|| waiting.close()));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"instead"));
    assert_eq!(waiting.state(), GeneratorState::Finished);
}

#[test]
fn a_body_that_catches_the_close_once_is_unwound_again() {
    let log: Log = Log::default();
    let inside = Rc::clone(&log);
    let mut stubborn = Generator::new(move |handle: &Suspender<(), ()>, ()| {
        let _ = catch_unwind(AssertUnwindSafe(|| handle.suspend(())));
        inside.borrow_mut().push("caught");
        handle.suspend(());
        inside.borrow_mut().push("went on");
    });
    stubborn.resume(());
    stubborn.close();
    assert_eq!(*log.borrow(), ["caught"]);
}

#[test]
fn a_generator_cannot_be_suspended_from_the_stack_of_another() {
    // A coroutine that borrows, which this crate does not offer but others do.
    let mut outer = Generator::new(|handle: &Suspender<(), u32>, ()| {
        let stack = arena::allocate(64 * 1024).unwrap();
        let body = |_: &fibra_context::Yielder<(), ()>, ()| handle.suspend(1);
        // SAFETY: the coroutine is dropped before what it borrows.
        let mut inner = unsafe { fibra_context::Coroutine::with_stack_unchecked(stack, body) };
        let refused = catch_unwind(AssertUnwindSafe(|| inner.resume(())));
        let message = refused.unwrap_err();
        assert!(message.downcast_ref::<&str>().unwrap().contains("own stack only"));
        handle.suspend(2);
    });
    assert_eq!(outer.next(), Some(2));
    assert_eq!(outer.next(), None);
}

#[test]
fn an_iterator_stays_finished() {
    let mut three = Generator::new(|handle: &Suspender<(), u32>, ()| (0..3).for_each(|n| handle.suspend(n)));
    assert_eq!(three.by_ref().collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!(three.next(), None);
    assert_eq!(three.next(), None);
}

#[test]
fn a_finished_generator_has_given_its_stack_back() {
    const ODD_SIZE: usize = 448 * 1024;
    let address = |size: usize| {
        let stack = arena::allocate(size).unwrap();
        corosensei::stack::Stack::base(&stack)
    };
    let base = address(ODD_SIZE);
    let mut one = Builder::new().stack_size(ODD_SIZE).generator(|_: &Suspender<(), ()>, ()| 1).unwrap();
    assert_ne!(address(ODD_SIZE), base);
    assert_eq!(one.resume(()), Resumed::Returned(1));
    assert_eq!(address(ODD_SIZE), base);
}

#[test]
fn a_stack_that_cannot_be_had_is_an_error() {
    let made = Builder::new().stack_size(usize::MAX).generator(|_: &Suspender<(), ()>, ()| ());
    assert_eq!(made.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn generators_have_names_and_numbers() {
    let named = Builder::new().name("rows").generator(|_: &Suspender<(), ()>, ()| ()).unwrap();
    let nameless = Generator::new(|_: &Suspender<(), ()>, ()| ());
    assert_eq!((named.name(), nameless.name()), ("rows", ""));
    assert_ne!(named.id(), nameless.id());
    assert!(format!("{named:?}").contains("Created"));
}
