//! The event loop's callbacks and timers: what is called, in which order, and when the loop ends.

use fibra::event_loop::{EventLoop, Panic};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(2);

#[test]
fn callbacks_are_called_in_the_order_in_which_they_were_given() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    for number in 0..10 {
        events.call_soon(move |events| {
            events.data.push(number);
            events.call_soon(move |events| events.data.push(number + 10));
        });
    }
    events.run().unwrap();
    assert_eq!(events.data, (0..20).collect::<Vec<_>>());
}

#[test]
fn what_a_callback_gives_is_called_at_the_next_turn() {
    let mut events = EventLoop::with_data(0).unwrap();
    events.call_soon(|events| {
        events.data += 1;
        events.call_soon(|events| events.data += 1);
    });
    assert_eq!((events.run_once(None).unwrap(), events.data), (1, 1));
    assert_eq!((events.run_once(None).unwrap(), events.data), (1, 2));
    assert_eq!(events.run_once(None).unwrap(), 0, "with nothing to wait for it returns at once");
}

#[test]
fn a_cancelled_callback_is_never_called() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let handles: Vec<_> =
        (0..4).map(|number| events.call_soon(move |events| events.data.push(number))).collect();
    let later = events.call_later(MOMENT, |events| events.data.push(10));
    assert!(events.cancel(handles[1]));
    assert!(!events.cancel(handles[1]), "once");
    let last = handles[3];
    events.call_soon(move |events| assert!(!events.cancel(last), "it has been called"));
    assert!(events.is_pending(later) && events.cancel(later));
    events.run().unwrap();
    assert_eq!(events.data, [0, 2, 3]);
    assert!(events.is_empty());
}

#[test]
fn a_callback_cancels_one_that_is_queued_behind_it() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let behind = Rc::new(Cell::new(None));
    let found = Rc::clone(&behind);
    events.call_soon(move |events| {
        let behind = found.get().unwrap();
        assert!(events.cancel(behind));
        // It takes the place, and must not be taken for the other.
        events.call_soon(|events| events.data.push("new"));
    });
    behind.set(Some(events.call_soon(|events| events.data.push("cancelled"))));
    events.run().unwrap();
    assert_eq!(events.data, ["new"]);
}

#[test]
fn a_handle_means_nothing_to_another_loop() {
    let mut one = EventLoop::with_data(0).unwrap();
    let mut other = EventLoop::with_data(0).unwrap();
    let handle = one.call_soon(|events| events.data += 1);
    other.call_soon(|events| events.data += 1);
    assert!(!other.cancel(handle) && !other.is_pending(handle));
    one.run().unwrap();
    other.run().unwrap();
    assert_eq!((one.data, other.data), (1, 1));
}

/// Bytes of stack that do not grow with the number of calls.
const FEW: usize = 1024;

/// The addresses between which the stack has been.
struct Depth(usize, usize);

impl Depth {
    #[inline(never)]
    fn note(&mut self) {
        let local = 0_u8;
        let here = std::hint::black_box(&raw const local) as usize;
        (self.0, self.1) = (self.0.min(here), self.1.max(here));
    }
}

#[test]
fn a_million_continuations_do_not_grow_the_stack() {
    fn next(events: &mut EventLoop<(u32, Depth)>) {
        let (left, depth) = &mut events.data;
        depth.note();
        *left -= 1;
        if *left > 0 {
            events.call_soon(next);
        }
    }
    let mut events = EventLoop::with_data((1_000_000, Depth(usize::MAX, 0))).unwrap();
    events.call_soon(next);
    events.run().unwrap();
    let (left, Depth(low, high)) = events.data;
    assert_eq!(left, 0);
    assert!(high - low < FEW, "each was called at about the same depth");
}

#[test]
fn a_callback_server_of_a_million_continuations_keeps_its_stack() {
    type Then = Box<dyn FnOnce(&mut EventLoop<Depth>, u64)>;
    /// Continuation-passing style: whoever asks hands over what is to be done with the answer.
    fn ask(events: &mut EventLoop<Depth>, question: u64, then: Then) {
        events.data.note();
        events.call_soon(move |events| then(events, question + 1));
    }
    fn serve(events: &mut EventLoop<Depth>, number: u64, done: Rc<Cell<u64>>) {
        if number == 500_000 {
            return done.set(number);
        }
        ask(
            events,
            number,
            Box::new(move |events, answer| {
                events.call_soon(move |events| serve(events, answer, done));
            }),
        );
    }
    let mut events = EventLoop::with_data(Depth(usize::MAX, 0)).unwrap();
    let done = Rc::new(Cell::new(0));
    let finished = Rc::clone(&done);
    events.call_soon(move |events| serve(events, 0, finished));
    events.run().unwrap();
    assert_eq!(done.get(), 500_000);
    assert!(events.data.1 - events.data.0 < FEW);
}

#[test]
fn timers_are_called_by_their_deadlines_and_equal_ones_in_order() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let now = Instant::now();
    for number in [3, 1, 2] {
        for tie in 0..3 {
            events.call_at(now + number * MOMENT, move |events| events.data.push((number, tie)));
        }
    }
    events.call_at(now - MOMENT, |events| events.data.push((0, 0)));
    events.call_later(Duration::ZERO, |events| events.data.push((0, 1)));
    events.run().unwrap();
    let expected: Vec<_> =
        [(0, 0), (0, 1)].into_iter().chain((1..4).flat_map(|n| (0..3).map(move |tie| (n, tie)))).collect();
    assert_eq!(events.data, expected);
    assert!(now.elapsed() >= 3 * MOMENT);
}

#[test]
fn a_timer_is_never_early() {
    let mut events = EventLoop::with_data(0).unwrap();
    for micros in [1, 10, 100, 500, 1_000, 3_000, 25_000] {
        let due = Instant::now() + Duration::from_micros(micros);
        events.call_at(due, move |events| {
            assert!(Instant::now() >= due);
            events.data += 1;
        });
    }
    events.run().unwrap();
    assert_eq!(events.data, 7);
}

#[test]
fn a_callback_that_calls_itself_soon_lets_timers_have_their_turn() {
    fn again(events: &mut EventLoop<bool>) {
        if !events.data {
            events.call_soon(again);
        }
    }
    let mut events = EventLoop::with_data(false).unwrap();
    events.call_soon(again);
    events.call_later(MOMENT, |events| events.data = true);
    events.run().unwrap();
}

#[test]
fn a_repeating_timer_beats_until_it_cancels_itself() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let began = Instant::now();
    events.call_every(Duration::ZERO, MOMENT, |events| {
        events.data.push(Instant::now());
        if events.data.len() == 5 {
            assert!(events.cancel_current());
            assert!(!events.cancel_current());
        }
    });
    events.run().unwrap();
    assert_eq!(events.data.len(), 5);
    for (beat, called) in events.data.iter().enumerate() {
        assert!(called.duration_since(began) >= MOMENT * beat as u32);
    }
}

#[test]
fn beats_that_were_missed_are_left_out() {
    let mut events = EventLoop::with_data(0).unwrap();
    let beat = events.call_every(Duration::ZERO, 5 * MOMENT, |events| events.data += 1);
    events.run_once(None).unwrap();
    std::thread::sleep(21 * MOMENT);
    events.run_once(None).unwrap();
    assert_eq!(events.data, 2);
    assert!(events.remaining(beat).unwrap() <= 5 * MOMENT);
    events.cancel(beat);
    events.run().unwrap();
}

#[test]
fn a_timer_that_is_put_off_is_called_later_only() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let idle = events.call_later(MOMENT, |events| events.data.push("idle"));
    events.call_later(2 * MOMENT, |events| events.data.push("work"));
    assert!(events.put_off(idle, 5 * MOMENT));
    assert!(events.remaining(idle).unwrap() > 2 * MOMENT);
    events.run().unwrap();
    assert_eq!(events.data, ["work", "idle"]);
    assert!(!events.put_off(idle, MOMENT));
    assert_eq!(events.remaining(idle), None);
}

#[test]
fn a_due_timer_that_is_put_off_for_ever_by_a_callback_before_it_is_not_called() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let past = Instant::now() - MOMENT;
    let other = Rc::new(Cell::new(None));
    let found = Rc::clone(&other);
    events.call_at(past, move |events| {
        events.data.push(1);
        assert!(events.put_off(found.get().unwrap(), Duration::MAX));
    });
    other.set(Some(events.call_at(past, |events| events.data.push(2))));
    events.run_once(None).unwrap();
    assert!(events.cancel(other.get().unwrap()), "it is still there");
    assert_eq!(events.data, [1]);
}

#[test]
fn a_due_timer_that_is_put_off_by_a_callback_before_it_is_not_called_yet() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let past = Instant::now() - MOMENT;
    let other = Rc::new(Cell::new(None));
    let found = Rc::clone(&other);
    events.call_at(past, move |events| {
        events.data.push(1);
        assert!(events.put_off(found.get().unwrap(), MOMENT));
    });
    other.set(Some(events.call_at(past, |events| events.data.push(2))));
    assert_eq!((events.run_once(None).unwrap(), events.data.as_slice()), (1, &[1][..]));
    events.run().unwrap();
    assert_eq!(events.data, [1, 2]);
}

#[test]
fn a_timer_beyond_all_time_waits_until_it_is_cancelled() {
    let mut events = EventLoop::with_data(0).unwrap();
    let never = events.call_later(Duration::MAX, |events| events.data += 1);
    assert_eq!((events.run_once(Some(MOMENT)).unwrap(), events.remaining(never)), (0, None));
    events.call_later(MOMENT, move |events| assert!(events.cancel(never)));
    events.run().unwrap();
    assert_eq!(events.data, 0);
}

#[test]
fn stop_lets_the_turn_end() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    events.call_later(Duration::from_secs(3600), |_| unreachable!());
    events.call_soon(|events| {
        events.data.push(1);
        events.stop();
        events.call_soon(|events| events.data.push(3));
    });
    events.call_soon(|events| events.data.push(2));
    events.run().unwrap();
    assert_eq!(events.data, [1, 2]);
    events.stop();
    events.run().unwrap();
    assert_eq!(events.data, [1, 2, 3], "stopped before it runs, it makes one turn");
}

#[test]
fn a_panic_costs_its_callback_alone() {
    let mut events = EventLoop::with_data(Vec::new()).unwrap();
    let panics: Rc<RefCell<Vec<Panic>>> = Rc::default();
    let told = Rc::clone(&panics);
    events.on_panic(move |events, panic| {
        events.data.push("told");
        told.borrow_mut().push(panic);
    });
    events.call_soon(|_| panic!("one"));
    events.call_soon(|events| events.data.push("after"));
    let line = line!() + 1;
    let beat = events.call_every(MOMENT, MOMENT, |_| std::panic::panic_any(2));
    events.run().unwrap();
    assert_eq!(events.data, ["told", "after", "told"]);
    assert!(!events.is_pending(beat));
    let panics = panics.borrow();
    assert_eq!(panics[0].message(), Some("one"));
    assert_eq!((panics[1].message(), panics[1].payload.downcast_ref()), (None, Some(&2)));
    assert_eq!((panics[1].at.file(), panics[1].at.line()), (file!(), line));
}

#[test]
fn a_panic_of_who_is_told_of_panics_comes_out_of_run_and_the_loop_can_go_on() {
    let mut events = EventLoop::with_data(0).unwrap();
    events.on_panic(|_, panic| std::panic::resume_unwind(panic.payload));
    events.call_soon(|_| std::panic::panic_any(7));
    events.call_soon(|events| events.data += 1);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| events.run())).unwrap_err();
    assert_eq!(caught.downcast_ref(), Some(&7));
    events.run().unwrap();
    assert_eq!(events.data, 1);
}

#[test]
fn a_panic_of_what_a_removed_callback_owned_comes_out_of_run_and_the_loop_can_go_on() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            std::panic::panic_any(7);
        }
    }
    let mut events = EventLoop::with_data(0).unwrap();
    let bad = Bad;
    events.call_every(Duration::ZERO, MOMENT, move |events| {
        let _owned = &bad;
        events.cancel_current();
    });
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| events.run())).unwrap_err();
    assert_eq!(caught.downcast_ref(), Some(&7));
    events.call_soon(|events| events.data += 1);
    events.run().unwrap();
    assert_eq!(events.data, 1);
}

#[test]
fn what_callbacks_own_is_dropped_when_they_have_been_called_or_cancelled_or_with_the_loop() {
    let token = Rc::new(());
    let mut events = EventLoop::new().unwrap();
    for _ in 0..3 {
        let held = Rc::clone(&token);
        events.call_soon(move |_| drop(held));
    }
    let held = Rc::clone(&token);
    let cancelled = events.call_later(MOMENT, move |_| drop(held));
    let held = Rc::clone(&token);
    events.call_every(MOMENT, MOMENT, move |_| assert!(Rc::strong_count(&held) > 1));
    events.run_once(None).unwrap();
    assert_eq!(Rc::strong_count(&token), 3);
    events.cancel(cancelled);
    assert_eq!(Rc::strong_count(&token), 2);
    drop(events);
    assert_eq!(Rc::strong_count(&token), 1);
}

#[test]
fn the_data_may_borrow() {
    let mut seen = Vec::new();
    let mut events = EventLoop::with_data(&mut seen).unwrap();
    events.call_soon(|events| events.data.push(1));
    events.run().unwrap();
    drop(events);
    assert_eq!(seen, [1]);
}
