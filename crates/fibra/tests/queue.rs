//! Queues of each order: what comes out, who waits, and what becomes of items when a wait ends early (rows F1 and F5).

mod limit;
mod settings;
mod waiting;

use fibra::queue::{GetError, LifoQueue, Order, PriorityQueue, PutError, Queue, QueueBy};
use fibra::{Cancelled, scope, timeout};
use std::cmp::{Ordering, Reverse};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use waiting::waiting;

const SHORT: Duration = Duration::from_millis(2);

/// Counts how many of it are there.
#[derive(Debug)]
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(count: &Arc<AtomicUsize>) -> Counted {
        count.fetch_add(1, Relaxed);
        Counted(Arc::clone(count))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The same for each of the three orders.
fn of_each_order(body: impl Fn(fn(usize) -> Box<dyn Numbers>)) {
    body(|capacity| Box::new(Queue::<u32>::bounded(capacity)));
    body(|capacity| Box::new(LifoQueue::<u32>::bounded(capacity)));
    body(|capacity| Box::new(PriorityQueue::<u32>::bounded(capacity)));
}

/// A queue of numbers in whichever order.
trait Numbers: Debug + Send + Sync {
    fn put(&self, item: u32) -> Result<(), PutError<u32>>;
    fn try_put(&self, item: u32) -> Result<(), PutError<u32>>;
    fn put_timeout(&self, item: u32, timeout: Duration) -> Result<(), PutError<u32>>;
    fn put_deadline(&self, item: u32, deadline: Instant) -> Result<(), PutError<u32>>;
    fn get(&self) -> Result<u32, GetError>;
    fn try_get(&self) -> Result<u32, GetError>;
    fn get_timeout(&self, timeout: Duration) -> Result<u32, GetError>;
    fn get_deadline(&self, deadline: Instant) -> Result<u32, GetError>;
    fn len(&self) -> usize;
}

impl<O: Order<Item = u32> + Send> Numbers for QueueBy<O> {
    fn put(&self, item: u32) -> Result<(), PutError<u32>> {
        self.put(item)
    }
    fn try_put(&self, item: u32) -> Result<(), PutError<u32>> {
        self.try_put(item)
    }
    fn put_timeout(&self, item: u32, timeout: Duration) -> Result<(), PutError<u32>> {
        self.put_timeout(item, timeout)
    }
    fn put_deadline(&self, item: u32, deadline: Instant) -> Result<(), PutError<u32>> {
        self.put_deadline(item, deadline)
    }
    fn get(&self) -> Result<u32, GetError> {
        self.get()
    }
    fn try_get(&self) -> Result<u32, GetError> {
        self.try_get()
    }
    fn get_timeout(&self, timeout: Duration) -> Result<u32, GetError> {
        self.get_timeout(timeout)
    }
    fn get_deadline(&self, deadline: Instant) -> Result<u32, GetError> {
        self.get_deadline(deadline)
    }
    fn len(&self) -> usize {
        self.len()
    }
}

#[test]
fn a_queue_gives_items_in_the_order_in_which_they_came() {
    let queue = Queue::unbounded();
    (0..100).for_each(|item| queue.put(item).unwrap());
    for item in 0..100 {
        assert_eq!(queue.get(), Ok(item));
    }
    assert_eq!(queue.try_get(), Err(GetError::Empty));
}

#[test]
fn a_lifo_queue_gives_the_last_item_first() {
    let queue = LifoQueue::unbounded();
    (0..100).for_each(|item| queue.put(item).unwrap());
    for item in (0..100).rev() {
        assert_eq!(queue.get(), Ok(item));
    }
    assert_eq!(queue.try_get(), Err(GetError::Empty));
}

/// Compared by its first part alone.
#[derive(Clone, Copy, Debug)]
struct Job(u32, usize);

impl Ord for Job {
    fn cmp(&self, other: &Job) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Job) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Job) -> bool {
        self.0 == other.0
    }
}

impl Eq for Job {}

#[test]
fn a_priority_queue_gives_the_greatest_first_and_equals_in_the_order_in_which_they_came() {
    let queue = PriorityQueue::unbounded();
    let mut jobs: Vec<_> =
        (0..1000).map(|number| Job((number as u32).wrapping_mul(2_654_435_761) >> 28, number)).collect();
    jobs.iter().for_each(|&job| queue.put(job).unwrap());
    jobs.sort_by_key(|job| Reverse(job.0)); // a stable sort
    for job in jobs {
        let got = queue.get().unwrap();
        assert_eq!((got.0, got.1), (job.0, job.1));
    }
}

#[test]
fn a_priority_queue_among_puts_and_gets_always_gives_the_greatest_it_has() {
    let queue = PriorityQueue::unbounded();
    let mut there = Vec::new();
    let mut random = 1_u32;
    for _ in 0..5000 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if random >> 30 != 0 {
            queue.put(random).unwrap();
            there.push(random);
        } else {
            there.sort_unstable();
            assert_eq!(queue.try_get().ok(), there.pop());
        }
    }
    assert_eq!(queue.len(), there.len());
}

#[test]
fn its_length_and_bounds_are_told() {
    of_each_order(|bounded| {
        let queue = bounded(2);
        assert_eq!(queue.len(), 0);
        assert_eq!(queue.try_put(1), Ok(()));
        assert_eq!(queue.try_put(2), Ok(()));
        assert_eq!(queue.try_put(3), Err(PutError::Full(3)));
        assert_eq!(queue.len(), 2);
        assert!(queue.try_get().is_ok() && queue.try_get().is_ok());
        assert_eq!(queue.try_get(), Err(GetError::Empty));
    });
    let queue = Queue::bounded(1);
    assert!(queue.is_empty() && !queue.is_full());
    assert_eq!(queue.capacity(), Some(1));
    queue.put(1).unwrap();
    assert!(!queue.is_empty() && queue.is_full());
    let endless = Queue::unbounded();
    (0..10_000).for_each(|item| endless.try_put(item).unwrap());
    assert_eq!((endless.len(), endless.capacity(), endless.is_full()), (10_000, None, false));
    let hand = Queue::<()>::rendezvous();
    assert!(hand.is_empty() && hand.is_full(), "it has no room ever");
}

#[test]
fn get_waits_for_an_item() {
    settings::each(|setting| {
        of_each_order(|bounded| {
            let queue = bounded(1);
            scope(|scope| {
                let getter = setting.spawn_scoped(scope, || queue.get());
                setting.until(|| waiting(&queue, "getters") == 1);
                assert!(!getter.is_finished());
                queue.put(7).unwrap();
                assert_eq!(getter.join().unwrap(), Ok(7));
                assert_eq!(queue.len(), 0);
            });
        });
    });
}

#[test]
fn put_waits_for_room() {
    settings::each(|setting| {
        of_each_order(|bounded| {
            let queue = bounded(1);
            queue.put(1).unwrap();
            scope(|scope| {
                let putter = setting.spawn_scoped(scope, || queue.put(2));
                setting.until(|| waiting(&queue, "putters") == 1);
                assert_eq!(queue.len(), 1, "who waits to put has not put");
                assert_eq!(queue.get(), Ok(1));
                assert_eq!(queue.get(), Ok(2));
                assert_eq!(putter.join().unwrap(), Ok(()));
            });
        });
    });
}

#[test]
fn getters_are_served_in_the_order_in_which_they_came() {
    settings::each(|setting| {
        let queue = Queue::unbounded();
        scope(|scope| {
            let getters: Vec<_> = (0..5)
                .map(|number| {
                    let getter = setting.spawn_scoped(scope, || queue.get());
                    setting.until(|| waiting(&queue, "getters") == number + 1);
                    getter
                })
                .collect();
            (0..5).for_each(|item| queue.put(item).unwrap());
            for (number, getter) in getters.into_iter().enumerate() {
                assert_eq!(getter.join().unwrap(), Ok(number));
            }
        });
    });
}

#[test]
fn putters_are_served_in_the_order_in_which_they_came() {
    settings::each(|setting| {
        for capacity in [0, 1, 3] {
            let queue = Queue::bounded(capacity);
            (0..capacity).for_each(|item| queue.put(item).unwrap());
            scope(|scope| {
                for number in 0..5 {
                    let queue = &queue;
                    setting.spawn_scoped(scope, move || queue.put(capacity + number).unwrap());
                    setting.until(|| waiting(&queue, "putters") == number + 1);
                }
                for item in 0..capacity + 5 {
                    assert_eq!(queue.get(), Ok(item));
                }
            });
        }
    });
}

#[test]
fn who_tries_does_not_overtake_who_waits() {
    settings::each(|setting| {
        let queue = Queue::bounded(1);
        queue.put(1).unwrap();
        scope(|scope| {
            let putter = setting.spawn_scoped(scope, || queue.put(2));
            setting.until(|| waiting(&queue, "putters") == 1);
            assert_eq!(queue.try_get(), Ok(1));
            assert_eq!(queue.try_put(3), Err(PutError::Full(3)), "the room is the waiting putter's");
            assert_eq!(queue.try_get(), Ok(2));
            putter.join().unwrap().unwrap();
        });
    });
}

#[test]
fn timed_out_get_never_swallows_an_item() {
    settings::each(|setting| {
        of_each_order(|bounded| {
            let queue = bounded(1);
            scope(|scope| {
                let hasty = setting.spawn_scoped(scope, || queue.get_timeout(SHORT));
                assert_eq!(hasty.join().unwrap(), Err(GetError::Empty));
                assert_eq!(queue.get_deadline(Instant::now()), Err(GetError::Empty));
                assert_eq!(queue.get_timeout(Duration::ZERO), Err(GetError::Empty));
                let patient = setting.spawn_scoped(scope, || queue.get());
                setting.until(|| waiting(&queue, "getters") == 1);
                queue.put(1).unwrap();
                assert_eq!(patient.join().unwrap(), Ok(1), "the next getter has it");
                assert_eq!(queue.len(), 0);
            });
        });
    });
}

#[test]
fn timed_out_get_leaves_those_behind_it_in_line() {
    settings::each(|setting| {
        let queue = Queue::unbounded();
        scope(|scope| {
            let hasty = setting.spawn_scoped(scope, || queue.get_timeout(Duration::from_millis(20)));
            setting.until(|| waiting(&queue, "getters") == 1 || hasty.is_finished());
            let patient: Vec<_> = (0..2).map(|_| setting.spawn_scoped(scope, || queue.get())).collect();
            setting.until(|| waiting(&queue, "getters") == 2 && hasty.is_finished());
            queue.put(1).unwrap();
            queue.put(1).unwrap();
            assert_eq!(hasty.join().unwrap(), Err(GetError::Empty));
            patient.into_iter().for_each(|getter| assert_eq!(getter.join().unwrap(), Ok(1)));
        });
    });
}

#[test]
fn timed_out_put_leaves_the_item_with_the_caller() {
    settings::each(|setting| {
        of_each_order(|bounded| {
            let queue = bounded(1);
            queue.put(1).unwrap();
            scope(|scope| {
                let hasty = setting.spawn_scoped(scope, || queue.put_timeout(2, SHORT));
                assert_eq!(hasty.join().unwrap(), Err(PutError::Full(2)));
                assert_eq!(queue.put_timeout(3, Duration::ZERO), Err(PutError::Full(3)));
                assert_eq!(queue.put_deadline(4, Instant::now()), Err(PutError::Full(4)));
                assert_eq!((queue.get(), queue.try_get()), (Ok(1), Err(GetError::Empty)));
            });
        });
    });
}

#[test]
fn what_comes_in_time_is_no_timeout() {
    settings::each(|setting| {
        of_each_order(|bounded| {
            let queue = bounded(1);
            scope(|scope| {
                let later = Instant::now() + Duration::from_secs(60);
                let queue = &queue;
                let getters = [
                    setting.spawn_scoped(scope, || queue.get_timeout(Duration::from_secs(60))),
                    setting.spawn_scoped(scope, move || queue.get_deadline(later)),
                    setting.spawn_scoped(scope, || queue.get_timeout(Duration::MAX)),
                ];
                setting.until(|| waiting(&queue, "getters") == 3);
                (0..3).for_each(|_| queue.put(5).unwrap());
                getters.into_iter().for_each(|getter| assert_eq!(getter.join().unwrap(), Ok(5)));
                queue.put(6).unwrap();
                let putters = [
                    setting.spawn_scoped(scope, || queue.put_timeout(6, Duration::from_secs(60))),
                    setting.spawn_scoped(scope, move || queue.put_deadline(6, later)),
                ];
                setting.until(|| waiting(&queue, "putters") == 2);
                (0..3).for_each(|_| assert_eq!(queue.get(), Ok(6)));
                putters.into_iter().for_each(|putter| assert_eq!(putter.join().unwrap(), Ok(())));
            });
        });
    });
}

#[test]
fn a_cancelled_getter_leaves_as_if_it_had_never_come() {
    settings::each(|setting| {
        of_each_order(|bounded| {
            let queue = bounded(1);
            scope(|scope| {
                let cancelled = setting.spawn_scoped(scope, || queue.get());
                setting.until(|| waiting(&queue, "getters") == 1);
                let patient = setting.spawn_scoped(scope, || queue.get());
                setting.until(|| waiting(&queue, "getters") == 2);
                cancelled.cancel();
                assert!(cancelled.join().unwrap_err().is::<Cancelled>());
                assert_eq!(waiting(&queue, "getters"), 1);
                queue.put(9).unwrap();
                assert_eq!(patient.join().unwrap(), Ok(9));
            });
        });
    });
}

#[test]
fn a_cancelled_putter_leaves_as_if_it_had_never_come_and_its_item_is_dropped_once() {
    settings::each(|setting| {
        let count = Arc::new(AtomicUsize::new(0));
        let queue = Queue::bounded(1);
        queue.put(Counted::new(&count)).unwrap();
        scope(|scope| {
            let item = Counted::new(&count);
            let queue = &queue;
            let cancelled = setting.spawn_scoped(scope, move || queue.put(item).is_ok());
            setting.until(|| waiting(&queue, "putters") == 1);
            cancelled.cancel();
            assert!(cancelled.join().unwrap_err().is::<Cancelled>());
            assert_eq!((count.load(Relaxed), waiting(&queue, "putters")), (1, 0));
            drop(queue.get().unwrap());
            assert!(queue.try_get().is_err());
            assert_eq!(count.load(Relaxed), 0);
        });
    });
}

#[test]
fn a_timeout_around_a_get_loses_no_item() {
    settings::each(|setting| {
        let queue = Queue::unbounded();
        assert!(timeout(SHORT, || queue.get()).is_err());
        queue.put(1).unwrap();
        assert_eq!(timeout(Duration::from_secs(60), || queue.get()).unwrap(), Ok(1));
        assert!(!setting.to_string().is_empty());
    });
}

// Rendezvous.

#[test]
fn a_rendezvous_keeps_nothing() {
    settings::each(|setting| {
        let hand = Queue::rendezvous();
        assert_eq!(hand.try_put(1), Err(PutError::Full(1)));
        assert_eq!(hand.put_timeout(1, SHORT), Err(PutError::Full(1)));
        assert_eq!(hand.get_timeout(SHORT), Err(GetError::Empty));
        scope(|scope| {
            let putter = setting.spawn_scoped(scope, || hand.put(2));
            setting.until(|| waiting(&hand, "putters") == 1);
            assert!(!putter.is_finished(), "it returns when somebody has the item");
            assert_eq!(hand.len(), 0);
            assert_eq!(hand.try_get(), Ok(2));
            putter.join().unwrap().unwrap();
            let getter = setting.spawn_scoped(scope, || hand.get());
            setting.until(|| waiting(&hand, "getters") == 1);
            assert_eq!(hand.try_put(3), Ok(()));
            assert_eq!(getter.join().unwrap(), Ok(3));
        });
    });
}

// Items with destructors, and with comparisons that panic.

#[test]
fn a_queue_that_is_dropped_drops_each_item_once() {
    let count = Arc::new(AtomicUsize::new(0));
    let (fifo, lifo) = (Queue::unbounded(), LifoQueue::bounded(5));
    for _ in 0..5 {
        fifo.put(Counted::new(&count)).unwrap();
        lifo.put(Counted::new(&count)).unwrap();
    }
    drop((fifo.get(), lifo.get()));
    assert_eq!(count.load(Relaxed), 8);
    drop(fifo);
    assert_eq!(count.load(Relaxed), 4);
    drop(lifo);
    assert_eq!(count.load(Relaxed), 0);
}

/// A number that cannot be compared when it is told so, and only then.
#[derive(Debug)]
struct Moody(u32, Arc<AtomicBool>);

impl Ord for Moody {
    fn cmp(&self, other: &Moody) -> Ordering {
        assert!(!self.1.load(Relaxed), "not in the mood");
        self.0.cmp(&other.0)
    }
}

impl PartialEq for Moody {
    fn eq(&self, other: &Moody) -> bool {
        self.0 == other.0
    }
}

impl Eq for Moody {}

impl PartialOrd for Moody {
    fn partial_cmp(&self, other: &Moody) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[test]
fn a_priority_queue_whose_ord_panics_stays_intact() {
    let moody = Arc::new(AtomicBool::new(false));
    let item = |number| Moody(number, Arc::clone(&moody));
    let queue = PriorityQueue::bounded(8);
    for number in [3, 1, 4, 15, 9, 2, 6] {
        queue.put(item(number)).unwrap();
    }
    moody.store(true, Relaxed);
    assert!(catch_unwind(AssertUnwindSafe(|| queue.put(item(99)))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_put(item(99)))).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| queue.get())).is_err());
    assert!(catch_unwind(AssertUnwindSafe(|| queue.try_get())).is_err());
    moody.store(false, Relaxed);
    assert_eq!(queue.len(), 7, "nothing was put, nothing was lost");
    for number in [15, 9, 6, 4, 3, 2, 1] {
        assert_eq!(queue.get().unwrap().0, number);
        queue.task_done().unwrap();
    }
    assert!(queue.task_done().is_err(), "what was not put does not count");
}

#[test]
fn a_getter_whose_ord_panics_leaves_the_waiting_putters_waiting() {
    settings::each(|setting| {
        let moody = Arc::new(AtomicBool::new(false));
        let item = |number| Moody(number, Arc::clone(&moody));
        let queue = PriorityQueue::bounded(2);
        queue.put(item(5)).unwrap();
        queue.put(item(1)).unwrap();
        scope(|scope| {
            let third = item(3);
            let queue = &queue;
            let putter = setting.spawn_scoped(scope, move || queue.put(third).is_ok());
            setting.until(|| waiting(&queue, "putters") == 1);
            moody.store(true, Relaxed);
            assert!(catch_unwind(AssertUnwindSafe(|| queue.get())).is_err());
            moody.store(false, Relaxed);
            assert_eq!((queue.len(), waiting(&queue, "putters")), (2, 1));
            for number in [5, 3, 1] {
                assert_eq!(queue.get().unwrap().0, number);
            }
            assert!(putter.join().unwrap());
        });
    });
}

#[test]
fn a_waiting_putters_item_takes_its_place_among_the_others() {
    settings::each(|setting| {
        let queue = PriorityQueue::bounded(2);
        queue.put(5).unwrap();
        queue.put(4).unwrap();
        scope(|scope| {
            let putter = setting.spawn_scoped(scope, || queue.put(9));
            setting.until(|| waiting(&queue, "putters") == 1);
            assert_eq!(queue.get(), Ok(5), "it was not in the queue yet");
            putter.join().unwrap().unwrap();
            assert_eq!((queue.get(), queue.get()), (Ok(9), Ok(4)));
        });
    });
}
