//! Being told of an end: done callbacks, outcomes, handles as futures; and waiting for several (rows H2 and I1).

mod limit;
mod settings;
mod simulated;
mod storm;

use fibra::group::{Completed, First, WaitFor, wait};
use fibra::{
    Builder, Cancelled, Elapsed, JoinHandle, Outcome, as_completed, first_of, first_of_timeout, join_all,
    join_all_timeout, simulation, sleep, sleep_until, spawn, spawn_after, spawn_blocking, timeout,
};
use limit::on_workers;
use settings::{Setting, each};
use simulated::explored;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};
use storm::{Random, storm_end};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A panic that no hook reports.
fn fail() -> ! {
    resume_unwind(Box::new("failed"))
}

/// A context that waits until it is cancelled.
fn endless(setting: &Setting) -> JoinHandle<()> {
    setting.spawn(|| sleep(HOUR))
}

/// What several have noted, in order.
#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Vec<&'static str>>>);

impl Trace {
    fn note(&self, what: &'static str) {
        self.0.lock().unwrap().push(what);
    }

    fn seen(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().clone()
    }
}

// Done callbacks.

#[test]
fn callbacks_are_called_in_their_order_each_once_and_with_how_it_ended() {
    each(|setting| {
        for outcome in [Outcome::Returned, Outcome::Panicked, Outcome::Cancelled] {
            let calls = Arc::new(Mutex::new(Vec::new()));
            let go = Arc::new(fibra::sync::Event::new());
            let handle = setting.spawn({
                let go = Arc::clone(&go);
                move || {
                    go.wait();
                    if outcome == Outcome::Panicked {
                        fail();
                    }
                }
            });
            for number in 0..3 {
                let calls = Arc::clone(&calls);
                handle.on_done(move |outcome| calls.lock().unwrap().push((number, outcome)));
            }
            assert!(calls.lock().unwrap().is_empty(), "it has not ended");
            if outcome == Outcome::Cancelled {
                handle.cancel();
            } else {
                go.set();
            }
            setting.until(|| calls.lock().unwrap().len() == 3);
            assert_eq!(*calls.lock().unwrap(), [(0, outcome), (1, outcome), (2, outcome)]);
            assert_eq!(handle.outcome(), Some(outcome));
            assert_eq!(handle.join().is_ok(), outcome == Outcome::Returned);
            assert_eq!(calls.lock().unwrap().len(), 3);
        }
    });
}

#[test]
fn a_callback_that_comes_late_is_called_at_once_by_who_brings_it() {
    each(|setting| {
        let handle = setting.spawn(|| fail());
        setting.until(|| handle.is_finished());
        let caller = fibra::current();
        let called = Arc::new(Mutex::new(None));
        handle.on_done({
            let called = Arc::clone(&called);
            move |outcome| *called.lock().unwrap() = Some((outcome, fibra::current() == caller))
        });
        assert_eq!(*called.lock().unwrap(), Some((Outcome::Panicked, true)));
        assert!(handle.join().is_err());
    });
}

#[test]
fn a_callback_that_panics_stops_no_other_and_neither_the_context_nor_the_caller() {
    each(|setting| {
        let trace = Trace::default();
        let handle = setting.spawn(|| {
            sleep(Duration::from_millis(1));
            5
        });
        let noting = |what| {
            let trace = trace.clone();
            move |_| trace.note(what)
        };
        handle.on_done(noting("first"));
        handle.on_done(|_| fail());
        handle.on_done(noting("third"));
        setting.until(|| trace.seen().len() == 2);
        handle.on_done(|_| fail());
        handle.on_done(noting("late"));
        assert_eq!(trace.seen(), ["first", "third", "late"]);
        assert_eq!(handle.join().unwrap(), 5);
    });
}

#[test]
fn callbacks_are_called_when_the_handle_is_gone_and_when_it_never_ran() {
    each(|setting| {
        let called = Arc::new(AtomicUsize::new(0));
        let count = || {
            let called = Arc::clone(&called);
            move |_| {
                called.fetch_add(1, Ordering::Relaxed);
            }
        };
        let detached = setting.spawn(|| sleep(Duration::from_millis(1)));
        detached.on_done(count());
        drop(detached);
        let unrun = setting.spawn(|| ());
        unrun.on_done(count());
        unrun.cancel();
        let late = Builder::new().spawn_after(HOUR, || ()).unwrap();
        late.on_done(count());
        late.cancel();
        setting.until(|| called.load(Ordering::Relaxed) == 3);
        assert!(late.join().unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn a_callback_may_wait_also_where_its_context_was_cancelled() {
    each(|setting| {
        let handle = endless(setting);
        let trace = Trace::default();
        handle.on_done({
            let trace = trace.clone();
            move |_| {
                sleep(Duration::from_millis(1));
                trace.note("slept");
            }
        });
        handle.cancel();
        setting.until(|| trace.seen() == ["slept"]);
    });
}

#[test]
fn a_result_can_be_joined_in_the_moment_in_which_a_callback_is_called() {
    each(|setting| {
        let place = Arc::new(Mutex::new(None::<JoinHandle<u32>>));
        let found = Arc::new(Mutex::new(None));
        let go = Arc::new(fibra::sync::Event::new());
        let handle = setting.spawn({
            let go = Arc::clone(&go);
            move || {
                go.wait();
                7
            }
        });
        handle.on_done({
            let (place, found) = (Arc::clone(&place), Arc::clone(&found));
            move |_| {
                let handle = place.lock().unwrap().take().expect("the handle");
                assert!(handle.is_finished());
                *found.lock().unwrap() = Some(handle.join_timeout(Duration::ZERO).unwrap().unwrap());
            }
        });
        *place.lock().unwrap() = Some(handle);
        go.set();
        setting.until(|| *found.lock().unwrap() == Some(7));
    });
}

/// Callbacks that come in the moment of the end, from several contexts.
#[test]
fn no_callback_is_lost_or_called_twice_however_it_meets_the_end() {
    each(|setting| {
        for _ in 0..200 {
            let calls: Arc<[AtomicUsize]> = (0..4).map(|_| AtomicUsize::new(0)).collect();
            let handle = Arc::new(setting.spawn(|| ()));
            let watchers = setting.spawn_all(4, {
                let (handle, calls) = (Arc::clone(&handle), Arc::clone(&calls));
                move |number| {
                    let calls = Arc::clone(&calls);
                    handle.on_done(move |_| {
                        calls[number].fetch_add(1, Ordering::Relaxed);
                    });
                }
            });
            settings::join_all(watchers);
            setting.until(|| calls.iter().all(|calls| calls.load(Ordering::Relaxed) > 0));
            drop(handle);
            assert!(calls.iter().all(|calls| calls.load(Ordering::Relaxed) == 1));
        }
    });
}

// Outcomes and deadlines.

#[test]
fn the_outcome_of_coroutines_threads_and_jobs_is_told_once_they_have_ended() {
    on_workers(2, || {
        for start in [spawn::<fn(), ()>, fibra::thread::spawn::<fn(), ()>, spawn_blocking::<fn(), ()>] {
            let [returned, panicked, cancelled] = [start(|| ()), start(|| fail()), start(|| sleep(HOUR))];
            assert_eq!(cancelled.outcome(), None);
            cancelled.cancel();
            let handles = [returned, panicked, cancelled];
            let (done, _) = wait(&handles, WaitFor::All, None);
            let outcomes: Vec<_> = done.iter().map(|handle| handle.outcome().unwrap()).collect();
            assert_eq!(outcomes, [Outcome::Returned, Outcome::Panicked, Outcome::Cancelled]);
        }
    });
}

#[test]
fn join_deadline_waits_until_then_and_no_longer_and_gives_the_handle_back() {
    explored(|| {
        let began = simulation::now();
        let nap = spawn(|| sleep(10 * SECOND));
        let nap = nap.join_deadline(began + 3 * SECOND).unwrap_err();
        assert_eq!(simulation::elapsed(), 3 * SECOND);
        let nap = nap.join_deadline(began).unwrap_err();
        assert_eq!(simulation::elapsed(), 3 * SECOND, "that moment is over");
        nap.join_deadline(began + HOUR).unwrap().unwrap();
        assert_eq!(simulation::elapsed(), 10 * SECOND);
        let over = spawn(|| 1);
        sleep(SECOND);
        assert_eq!(over.join_deadline(began).unwrap().unwrap(), 1, "what is there is returned");
    });
}

// Handles as futures.

/// Wakes a context.
struct Unpark(fibra::Context);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// The smallest executor.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(fibra::current())));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        fibra::park();
    }
}

/// Counts.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<T>(handle: &mut JoinHandle<T>, count: &Arc<Count>) -> Poll<std::thread::Result<T>> {
    let waker = Waker::from(Arc::clone(count));
    std::pin::Pin::new(handle).poll(&mut Context::from_waker(&waker))
}

#[test]
fn a_handle_is_a_future_of_its_result_in_any_executor() {
    each(|setting| {
        let slow = setting.spawn(|| {
            sleep(Duration::from_millis(1));
            5
        });
        let quick = setting.spawn(|| 6);
        let failing = setting.spawn(|| fail());
        let idle = endless(setting);
        idle.cancel();
        let sum = block_on(async { slow.await.unwrap() + quick.await.unwrap() });
        assert_eq!(sum, 11);
        assert_eq!(block_on(failing).unwrap_err().downcast_ref(), Some(&"failed"));
        assert!(block_on(idle).unwrap_err().is::<Cancelled>());
    });
}

#[test]
fn the_waker_of_the_last_poll_is_woken_once_and_none_is_kept() {
    each(|setting| {
        let go = Arc::new(fibra::sync::Event::new());
        let mut handle = setting.spawn({
            let go = Arc::clone(&go);
            move || go.wait()
        });
        let [first, last] = [Arc::<Count>::default(), Arc::<Count>::default()];
        assert!(poll(&mut handle, &first).is_pending());
        assert!(poll(&mut handle, &last).is_pending());
        assert!(poll(&mut handle, &last).is_pending());
        assert_eq!(Arc::strong_count(&first), 1, "it was replaced");
        go.set();
        setting.until(|| last.0.load(Ordering::Relaxed) > 0);
        assert!(poll(&mut handle, &first).is_ready());
        setting.until(|| Arc::strong_count(&last) == 1);
        assert_eq!((first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)), (0, 1));
    });
}

#[test]
fn a_handle_that_was_polled_can_be_joined_or_dropped_and_its_waker_goes() {
    each(|setting| {
        let count = Arc::<Count>::default();
        let mut joined = setting.spawn(|| {
            sleep(Duration::from_millis(1));
            5
        });
        let _ = poll(&mut joined, &count);
        if !joined.is_finished() {
            assert_eq!(joined.join().unwrap(), 5);
        }
        let mut dropped = endless(setting);
        assert!(poll(&mut dropped, &count).is_pending());
        dropped.cancel();
        drop(dropped);
        setting.until(|| Arc::strong_count(&count) == 1);
    });
}

#[test]
fn a_future_that_was_ready_has_nothing_more_to_give() {
    each(|setting| {
        let mut handle = setting.spawn(|| 5);
        setting.until(|| handle.is_finished());
        let count = Arc::<Count>::default();
        assert!(matches!(poll(&mut handle, &count), Poll::Ready(Ok(5))));
        assert!(catch_unwind(AssertUnwindSafe(|| poll(&mut handle, &count).is_ready())).is_err());
        assert!(catch_unwind(AssertUnwindSafe(|| handle.join())).is_err());
    });
}

// join_all.

#[test]
fn join_all_has_the_results_at_their_places_and_panics_disturb_no_other() {
    each(|setting| {
        let handles = setting.spawn_all(10, |number| {
            if number % 3 == 1 {
                fail();
            }
            number
        });
        for (number, result) in join_all(handles).into_iter().enumerate() {
            assert_eq!(result.ok(), (number % 3 != 1).then_some(number));
        }
        assert!(join_all::<()>([]).is_empty());
    });
}

#[test]
fn join_all_starts_all_of_a_lazy_iterator_before_it_waits() {
    each(|setting| {
        let barrier = Arc::new(fibra::sync::Barrier::new(3));
        let handles = (0..3).map(|_| {
            let barrier = Arc::clone(&barrier);
            setting.spawn(move || barrier.wait().map(|_| ()))
        });
        assert!(join_all(handles).into_iter().all(|met| met.unwrap().is_ok()));
    });
}

#[test]
fn one_list_may_have_coroutines_threads_and_jobs() {
    on_workers(2, || {
        let handles = [spawn(|| 1), fibra::thread::spawn(|| 2), spawn_blocking(|| 3)];
        let (handles, pending) = wait(handles, WaitFor::All, None);
        assert!(pending.is_empty());
        let sum: i32 = as_completed(handles).map(|done| done.result.unwrap()).sum();
        assert_eq!(sum, 6);
        let all = join_all([spawn_blocking(|| 1), spawn(|| 2), fibra::thread::spawn(|| 3)]);
        assert_eq!(all.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 3]);
        first_of([spawn_blocking(|| 1), fibra::thread::spawn(|| 3)]).result.unwrap();
    });
}

#[test]
fn join_all_timeout_gives_back_what_has_ended_and_the_handles_of_the_rest() {
    explored(|| {
        let naps = [1, 5, 2, 4].map(|seconds| {
            spawn(move || {
                sleep(seconds * SECOND);
                if seconds == 2 {
                    fail();
                }
                seconds
            })
        });
        let naps = join_all_timeout(naps, 3 * SECOND).unwrap_err();
        assert_eq!(simulation::elapsed(), 3 * SECOND);
        assert!(matches!(naps[..], [Ok(Ok(1)), Err(_), Ok(Err(_)), Err(_)]), "{naps:?}");
        let rest: Vec<_> = naps.into_iter().filter_map(Result::err).collect();
        let rest = join_all_timeout(rest, Duration::ZERO).unwrap_err();
        assert_eq!(simulation::elapsed(), 3 * SECOND);
        let rest: Vec<_> = rest.into_iter().filter_map(Result::err).collect();
        let rest = join_all_timeout(rest, HOUR).unwrap();
        assert_eq!(simulation::elapsed(), 5 * SECOND, "it does not wait for longer than it takes");
        assert_eq!(rest.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [5, 4]);
    });
}

#[test]
fn who_is_ended_in_join_all_leaves_the_others_running() {
    explored(|| {
        let ended = Arc::new(AtomicUsize::new(0));
        let naps = [1, 2, 3].map(|seconds| {
            let ended = Arc::clone(&ended);
            spawn(move || {
                sleep(seconds * SECOND);
                ended.fetch_add(1, Ordering::Relaxed);
            })
        });
        assert!(timeout(SECOND / 2, || join_all(naps)).is_err());
        sleep(HOUR);
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    });
}

// first_of.

#[test]
fn the_first_has_ended_and_the_others_come_back_in_their_order() {
    each(|setting| {
        let handles = vec![endless(setting), setting.spawn(|| ()), endless(setting)];
        let ids: Vec<u64> = handles.iter().map(JoinHandle::id).collect();
        let First { index, result, others } = first_of(handles);
        assert_eq!((index, result.is_ok()), (1, true));
        assert_eq!(others.iter().map(JoinHandle::id).collect::<Vec<_>>(), [ids[0], ids[2]]);
        others.iter().for_each(JoinHandle::cancel);
        assert!(join_all(others).into_iter().all(|result| result.unwrap_err().is::<Cancelled>()));
    });
}

#[test]
fn a_panic_is_an_end_and_of_those_that_have_ended_the_first_in_the_list_is_it() {
    each(|setting| {
        let handles = setting.spawn_all(3, |number| if number == 0 { fail() } else { number });
        setting.until(|| handles.iter().all(JoinHandle::is_finished));
        let first = first_of(handles);
        assert_eq!((first.index, first.result.is_err()), (0, true));
        let next = first_of(first.others);
        assert_eq!((next.index, next.result.unwrap()), (0, 1));
    });
}

#[test]
fn without_handles_there_is_no_first() {
    assert!(catch_unwind(|| first_of::<()>([])).is_err());
}

#[test]
fn first_of_timeout_gives_all_handles_back_when_the_time_is_up() {
    explored(|| {
        let naps = [3, 2].map(|seconds| spawn(move || sleep(seconds * SECOND)));
        let naps = first_of_timeout(naps, SECOND).unwrap_err();
        assert_eq!((naps.len(), simulation::elapsed()), (2, SECOND));
        let first = first_of_timeout(naps, HOUR).unwrap();
        assert_eq!((first.index, simulation::elapsed()), (1, 2 * SECOND));
    });
}

// as_completed.

#[test]
fn results_come_as_they_end_and_each_once() {
    explored(|| {
        let naps = [30, 10, 40, 20].map(|seconds| {
            spawn(move || {
                sleep(seconds * SECOND);
                if seconds == 40 {
                    fail();
                }
                seconds
            })
        });
        let mut seen = Vec::new();
        let mut ending = as_completed(naps);
        while let (left, Some(Completed { index, result })) = (ending.len(), ending.next()) {
            seen.push((left, index, result.ok(), simulation::elapsed().as_secs()));
        }
        assert_eq!(
            seen,
            [(4, 1, Some(10), 10), (3, 3, Some(20), 20), (2, 0, Some(30), 30), (1, 2, None, 40)]
        );
        assert!(ending.next().is_none());
    });
}

#[test]
fn those_that_have_ended_already_come_first_in_their_order() {
    each(|setting| {
        let mut handles = setting.spawn_all(5, |number| number);
        setting.until(|| handles.iter().all(JoinHandle::is_finished));
        handles.insert(
            0,
            setting.spawn(|| {
                sleep(HOUR);
                9
            }),
        );
        let mut ending = as_completed(handles);
        let first: Vec<_> = ending.by_ref().take(5).map(|done| done.index).collect();
        assert_eq!(first, [1, 2, 3, 4, 5]);
        let [idle] = &ending.into_pending()[..] else { panic!("one is left") };
        idle.cancel();
        assert!(as_completed::<()>([]).next().is_none());
    });
}

#[test]
fn every_result_comes_once_in_a_crowd() {
    each(|setting| {
        let handles = setting.spawn_all(50, |number| {
            if number % 2 == 0 {
                fibra::yield_now();
            }
            number
        });
        let mut seen: Vec<_> = as_completed(handles)
            .map(|done| {
                assert_eq!(done.result.unwrap(), done.index);
                done.index
            })
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).collect::<Vec<_>>());
    });
}

#[test]
fn a_next_whose_time_is_up_or_that_is_cancelled_loses_nothing() {
    explored(|| {
        let naps = [2, 4, 6].map(|seconds| {
            spawn(move || {
                sleep(seconds * SECOND);
                seconds
            })
        });
        let mut ending = as_completed(naps);
        assert_eq!(ending.next_timeout(SECOND).unwrap_err(), Elapsed);
        assert_eq!(ending.next_timeout(2 * SECOND).unwrap().unwrap().result.unwrap(), 2);
        assert!(timeout(SECOND, || ending.next()).is_err());
        assert_eq!(ending.len(), 2);
        assert_eq!(ending.next_deadline(simulation::now() + HOUR).unwrap().unwrap().result.unwrap(), 4);
        assert_eq!(ending.next().unwrap().result.unwrap(), 6);
        assert!(ending.next_timeout(HOUR).unwrap().is_none());
    });
}

// wait.

#[test]
fn wait_for_the_first_returns_who_has_ended_and_who_has_not() {
    each(|setting| {
        let handles = vec![endless(setting), setting.spawn(|| ()), endless(setting)];
        let (done, pending) = wait(&handles, WaitFor::First, None);
        assert_eq!((done.len(), pending.len()), (1, 2));
        assert_eq!(done[0].id(), handles[1].id());
        // One that has ended already is enough.
        let (done, pending) = wait(handles, WaitFor::First, None);
        assert_eq!((done.len(), pending.len()), (1, 2));
        pending.iter().for_each(JoinHandle::cancel);
    });
}

#[test]
fn wait_for_the_first_error_takes_a_panic_for_one_and_a_cancellation_for_none() {
    explored(|| {
        let naps = [1, 2, 3].map(|seconds| {
            spawn(move || {
                sleep(seconds * SECOND);
                if seconds == 2 {
                    fail();
                }
            })
        });
        naps[0].cancel();
        let (done, pending) = wait(naps, WaitFor::FirstError, None);
        assert_eq!((done.len(), pending.len(), simulation::elapsed()), (2, 1, 2 * SECOND));
        // An error that is there already ends it at once; none at all makes it wait for all.
        let naps = done.into_iter().chain([spawn(|| sleep(HOUR))]);
        let (_, hour) = wait(naps, WaitFor::FirstError, None);
        assert_eq!(simulation::elapsed(), 2 * SECOND);
        let (done, rest) = wait(pending.into_iter().chain(hour), WaitFor::FirstError, None);
        assert_eq!((done.len(), rest.len(), simulation::elapsed()), (2, 0, HOUR + 2 * SECOND));
    });
}

#[test]
fn wait_for_all_waits_until_the_time_is_up() {
    explored(|| {
        let naps = [1, 2, 30].map(|seconds| spawn(move || sleep(seconds * SECOND)));
        let (done, pending) = wait(&naps, WaitFor::All, Some(Duration::ZERO));
        assert_eq!((done.len(), pending.len(), simulation::elapsed()), (0, 3, Duration::ZERO));
        let (done, pending) = wait(&naps, WaitFor::All, Some(5 * SECOND));
        assert_eq!((done.len(), pending.len(), simulation::elapsed()), (2, 1, 5 * SECOND));
        let (done, pending) = wait(&naps, WaitFor::All, None);
        assert_eq!((done.len(), pending.len(), simulation::elapsed()), (3, 0, 30 * SECOND));
        for until in [WaitFor::First, WaitFor::FirstError, WaitFor::All] {
            let (done, pending) = wait([] as [JoinHandle<()>; 0], until, None);
            assert!(done.is_empty() && pending.is_empty());
        }
    });
}

#[test]
fn a_wait_that_is_ended_leaves_borrowed_handles_as_they_were() {
    explored(|| {
        let naps = [1, 2].map(|seconds| spawn(move || sleep(seconds * SECOND)));
        assert_eq!(timeout(SECOND / 2, || wait(&naps, WaitFor::All, None).0.len()), Err(Elapsed));
        // The same handle may be in a list twice, and in several waits.
        let (done, _) = wait([&naps[0], &naps[1], &naps[0]], WaitFor::All, None);
        assert_eq!((done.len(), simulation::elapsed()), (3, 2 * SECOND));
    });
}

#[test]
fn several_may_wait_for_the_same() {
    each(|setting| {
        let slow = Arc::new(setting.spawn(|| sleep(Duration::from_millis(5))));
        let waiting = setting.spawn_all(4, {
            let slow = Arc::clone(&slow);
            move |_| wait([&*slow], WaitFor::All, None).0.len()
        });
        assert_eq!(settings::join_all(waiting), [1; 4]);
    });
}

#[test]
fn who_waits_for_itself_panics_instead_of_waiting_for_ever() {
    each(|setting| {
        let place = Arc::new(Mutex::new(None::<JoinHandle<bool>>));
        let ready = Arc::new(fibra::sync::Event::new());
        let own = setting.spawn({
            let (place, ready) = (Arc::clone(&place), Arc::clone(&ready));
            move || {
                ready.wait();
                let own = place.lock().unwrap().take().expect("the handle");
                catch_unwind(AssertUnwindSafe(|| wait([&own], WaitFor::All, None).0.len())).is_err()
            }
        });
        let told = Arc::new(Mutex::new(None));
        own.on_done({
            let told = Arc::clone(&told);
            move |outcome| *told.lock().unwrap() = Some(outcome)
        });
        *place.lock().unwrap() = Some(own);
        ready.set();
        setting.until(|| *told.lock().unwrap() == Some(Outcome::Returned));
    });
}

#[test]
fn a_delayed_start_can_be_waited_for() {
    explored(|| {
        let began = simulation::now();
        let late = [2, 1].map(|seconds| spawn_after(seconds * SECOND, || ()));
        let first = first_of(late);
        assert_eq!((first.index, simulation::elapsed()), (1, SECOND));
        sleep_until(began + HOUR);
        assert!(first.others[0].is_finished());
    });
}

/// Waits for several that are ended at random moments, over and over: each result comes once, and nobody waits for ever.
#[test]
fn storm_of_waits_that_are_ended() {
    fn wait_for_all(handles: Vec<JoinHandle<usize>>, random: &Random) {
        let mut left = handles;
        let mut results = Vec::new();
        while !left.is_empty() {
            let limit = random.micros(100);
            match random.below(4) {
                0 => {
                    let mut ending = as_completed(left);
                    while let Ok(Ok(Some(done))) = timeout(limit, || ending.next_timeout(random.micros(100)))
                    {
                        results.push(done.result.unwrap());
                    }
                    left = ending.into_pending();
                }
                1 => {
                    let waited = timeout(limit, || wait(&left, WaitFor::All, None).1.len());
                    assert!(waited.is_err() || left.iter().all(JoinHandle::is_finished));
                }
                2 => match first_of_timeout(left, limit) {
                    Ok(First { result, others, .. }) => {
                        results.push(result.unwrap());
                        left = others;
                    }
                    Err(all) => left = all,
                },
                _ => match join_all_timeout(left, limit) {
                    Ok(all) => {
                        results.extend(all.into_iter().map(Result::unwrap));
                        break;
                    }
                    Err(joined) => {
                        let (ended, rest): (Vec<_>, Vec<_>) = joined.into_iter().partition(Result::is_ok);
                        results.extend(ended.into_iter().flatten().map(Result::unwrap));
                        left = rest.into_iter().filter_map(Result::err).collect();
                    }
                },
            }
        }
        results.sort_unstable();
        assert!(results.into_iter().eq(0..10));
    }
    let random = Arc::new(Mutex::new(Random::seeded()));
    each(move |setting| {
        let until = storm_end();
        let random = random.lock().unwrap().split();
        while Instant::now() < until {
            let waiters: Vec<_> = (0..3)
                .map(|_| {
                    let naps = Arc::new(Mutex::new(random.split()));
                    let handles = setting.spawn_all(10, move |number| {
                        let nap = naps.lock().unwrap().micros(300);
                        sleep(nap);
                        number
                    });
                    let random = random.split();
                    setting.spawn(move || wait_for_all(handles, &random))
                })
                .collect();
            settings::join_all(waiters);
        }
    });
}
