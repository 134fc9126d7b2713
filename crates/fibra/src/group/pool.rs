//! [`Pool`]: at most so many coroutines at a time.
//!
//! A pool is a [semaphore](crate::sync::Semaphore) and a [`Group`]. Each member's closure holds a permit, which is given back when the closure is over, be that by returning, by
//! a panic, by being cancelled, or by being dropped unrun; and before the member's result can be joined. So who has joined one finds its place free.

use super::imap::{Imap, Order};
use super::members::{Failure, Group};
use crate::cancel::Elapsed;
use crate::spawn::{Builder, JoinHandle};
use crate::sync::{OwnedSemaphorePermit, Semaphore};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// At most so many coroutines at a time: who wants to start another waits until there is a place.
///
/// Places are given in the order in which they were asked for. A clone is the same pool. To drop it is to do nothing: its coroutines run on, as do
/// those of a [`Group`].
///
/// A coroutine of the pool that spawns into the pool holds its own place while it waits for another; when all do so they wait for ever.
///
/// ```
/// use fibra::Pool;
///
/// fibra::run(|| {
///     let pool = Pool::new(3);
///     for page in 0..20 {
///         // Waits while three are under way.
///         pool.spawn(move || fetch(page));
///     }
///     pool.join().expect("no fetch has panicked");
/// });
/// # fn fetch(_: u32) { fibra::yield_now() }
/// ```
#[derive(Clone)]
pub struct Pool {
    size: usize,
    places: Arc<Semaphore>,
    group: Group,
}

/// There is no place in the [`Pool`], or was none until the time was up. The closure was not started, and is here.
pub struct PoolFull<F>(pub F);

impl Pool {
    /// A pool of at most `size` coroutines at a time.
    ///
    /// # Panics
    /// When `size` is 0: nothing could ever be started.
    pub fn new(size: usize) -> Pool {
        assert!(size > 0, "a pool without a place could never start anything");
        Pool { size, places: Arc::new(Semaphore::new(size)), group: Group::new() }
    }

    /// Starts a coroutine, and waits for a place before. Who is asked to stop in that wait unwinds; the closure is dropped then, and no place is taken.
    ///
    /// # Panics
    /// When memory for stacks is out.
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.start(self.places.acquire_owned(), f)
    }

    /// The same, with settings.
    ///
    /// # Errors
    /// As [`Builder::spawn`].
    pub fn spawn_with<F, T>(&self, settings: Builder, f: F) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.start_with(self.places.acquire_owned(), settings, f)
    }

    /// Starts a coroutine if there is a place, and nobody waits for it.
    ///
    /// # Errors
    /// [`PoolFull`] with the closure.
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn try_spawn<F, T>(&self, f: F) -> Result<JoinHandle<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.places.try_acquire_owned() {
            Some(place) => Ok(self.start(place, f)),
            None => Err(PoolFull(f)),
        }
    }

    /// Starts a coroutine, and waits for a place for at most `timeout`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fibra::simulation::run(|| {
    ///     let pool = fibra::Pool::new(1);
    ///     pool.spawn(|| fibra::sleep(Duration::from_secs(60)));
    ///     let fibra::group::PoolFull(work) =
    ///         pool.spawn_timeout(Duration::from_secs(1), || "done").unwrap_err();
    ///     assert_eq!(work(), "done", "it was not started");
    /// });
    /// ```
    ///
    /// # Errors
    /// As [`try_spawn`](Self::try_spawn).
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn spawn_timeout<F, T>(&self, timeout: Duration, f: F) -> Result<JoinHandle<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.places.acquire_timeout_owned(timeout) {
            Some(place) => Ok(self.start(place, f)),
            None => Err(PoolFull(f)),
        }
    }

    /// Starts a coroutine, and waits for a place until `deadline` at most.
    ///
    /// # Errors
    /// As [`try_spawn`](Self::try_spawn).
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn spawn_deadline<F, T>(&self, deadline: Instant, f: F) -> Result<JoinHandle<T>, PoolFull<F>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        match self.places.acquire_deadline_owned(deadline) {
            Some(place) => Ok(self.start(place, f)),
            None => Err(PoolFull(f)),
        }
    }

    /// Applies `f` to each item in a coroutine of its own, and returns the results in the order of the items. A panic comes out at its item.
    ///
    /// When the caller is asked to stop while it waits, or the iterator of the items panics, those that are under way are cancelled.
    ///
    /// ```
    /// fibra::run(|| {
    ///     let pool = fibra::Pool::new(2);
    ///     let lengths = pool.map(["one", "three"], |word| word.len());
    ///     let lengths: Vec<usize> = lengths.into_iter().map(|length| length.unwrap()).collect();
    ///     assert_eq!(lengths, [3, 5]);
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`spawn`](Self::spawn).
    pub fn map<I, F, R>(&self, items: I, f: F) -> Vec<thread::Result<R>>
    where
        I: IntoIterator<Item: Send + 'static>,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        /// Those under way are cancelled if nobody has joined them.
        struct UnderWay<R>(Vec<JoinHandle<R>>);
        impl<R> Drop for UnderWay<R> {
            fn drop(&mut self) {
                self.0.iter().for_each(JoinHandle::cancel);
            }
        }
        let f = Arc::new(f);
        let mut under_way = UnderWay(Vec::new());
        for item in items {
            let f = Arc::clone(&f);
            under_way.0.push(self.spawn(move || f(item)));
        }
        // None is taken out of the guard before all have ended.
        super::wait(&under_way.0, super::WaitFor::All, None);
        std::mem::take(&mut under_way.0).into_iter().map(JoinHandle::join).collect()
    }

    /// Applies `f` to each item in a coroutine of its own, and gives out the results in the order of the items, each as soon as it and those before it are there. A panic
    /// comes out at its item.
    ///
    /// `ahead` is how far it runs ahead of who takes the results: at most so many are under way, or have ended, and have not been given out. So when the result number
    /// n (from 0) has come out, at most n + 1 + `ahead` items have been taken from the iterator and started. `usize::MAX` is for no bound.
    ///
    /// The items are taken and started by a coroutine of their own (which takes no place in the pool), as fast as both bounds allow. To drop the iterator is to cancel
    /// what is under way.
    ///
    /// ```
    /// fibra::run(|| {
    ///     let pool = fibra::Pool::new(4);
    ///     let squares = pool.imap(1_u64.., 8, |n| n * n);
    ///     let sum: u64 = squares.map(|square| square.unwrap()).take_while(|square| *square < 50).sum();
    ///     assert_eq!(sum, 1 + 4 + 9 + 16 + 25 + 36 + 49);
    /// });
    /// ```
    ///
    /// # Panics
    /// When `ahead` is 0, and as [`spawn`](Self::spawn). The iterator panics, after it has given out what was started, when that of the items has panicked; or when
    /// the runtime in which it was made ends.
    pub fn imap<I, F, R>(&self, items: I, ahead: usize, f: F) -> Imap<R>
    where
        I: IntoIterator<Item: Send + 'static> + Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Imap::new(self, items, ahead, f, Order::OfItems)
    }

    /// As [`imap`](Self::imap), but gives out the results in the order in which they come.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// fibra::simulation::run(|| {
    ///     let pool = fibra::Pool::new(3);
    ///     let naps = pool.imap_unordered([30, 10, 20], 3, |seconds| {
    ///         fibra::sleep(Duration::from_secs(seconds));
    ///         seconds
    ///     });
    ///     assert_eq!(naps.map(|nap| nap.unwrap()).collect::<Vec<_>>(), [10, 20, 30]);
    /// });
    /// ```
    ///
    /// # Panics
    /// As [`imap`](Self::imap).
    pub fn imap_unordered<I, F, R>(&self, items: I, ahead: usize, f: F) -> Imap<R>
    where
        I: IntoIterator<Item: Send + 'static> + Send + 'static,
        F: Fn(I::Item) -> R + Send + Sync + 'static,
        R: Send + 'static,
    {
        Imap::new(self, items, ahead, f, Order::OfEnds)
    }

    /// How many it runs at most.
    pub fn size(&self) -> usize {
        self.size
    }

    /// How many could be started without a wait. A snapshot.
    pub fn free_count(&self) -> usize {
        self.places.available_permits()
    }

    /// How many places are taken. A snapshot.
    pub fn len(&self) -> usize {
        self.size - self.free_count()
    }

    /// Whether no place is taken. A snapshot.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether no place is free. A snapshot.
    pub fn is_full(&self) -> bool {
        self.free_count() == 0
    }

    /// How many wait for a place. A snapshot.
    pub fn waiting(&self) -> usize {
        self.places.waiting()
    }

    /// Waits until all have ended: see [`Group::join`]. Who waits for a place is not counted.
    ///
    /// # Errors
    /// As [`Group::join`].
    ///
    /// # Panics
    /// As [`Group::join`].
    pub fn join(&self) -> Result<(), Failure> {
        self.group.join()
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// As [`Group::join_timeout`].
    ///
    /// # Panics
    /// As [`Group::join`].
    pub fn join_timeout(&self, timeout: Duration) -> Result<Result<(), Failure>, Elapsed> {
        self.group.join_timeout(timeout)
    }

    /// Waits until `deadline` at most.
    ///
    /// # Errors
    /// As [`Group::join_timeout`].
    ///
    /// # Panics
    /// As [`Group::join`].
    pub fn join_deadline(&self, deadline: Instant) -> Result<Result<(), Failure>, Elapsed> {
        self.group.join_deadline(deadline)
    }

    /// The first panic that no [`join`](Self::join) has returned yet.
    pub fn first_failure(&self) -> Option<Failure> {
        self.group.first_failure()
    }

    /// Asks all of them to stop, and does not wait: see [`Group::cancel`]. Who waits for a place still gets one.
    pub fn cancel(&self) {
        self.group.cancel();
    }

    /// Asks all of them to stop, and waits until they have: see [`Group::cancel_and_join`].
    ///
    /// # Errors
    /// As [`Group::join`].
    ///
    /// # Panics
    /// As [`Group::join`].
    pub fn cancel_and_join(&self) -> Result<(), Failure> {
        self.group.cancel_and_join()
    }

    fn start<F, T>(&self, place: OwnedSemaphorePermit, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.start_with(place, Builder::new(), f)
            .unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
    }

    fn start_with<F, T>(
        &self,
        place: OwnedSemaphorePermit,
        settings: Builder,
        f: F,
    ) -> io::Result<JoinHandle<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.group.spawn_with(settings, move || {
            // Given back when `f`, and what it has captured, is over.
            let _place = place;
            f()
        })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("size", &self.size).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<F> PoolFull<F> {
    /// The closure.
    pub fn into_inner(self) -> F {
        self.0
    }
}

impl<F> fmt::Debug for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PoolFull(..)")
    }
}

impl<F> fmt::Display for PoolFull<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the pool is full")
    }
}

impl<F> std::error::Error for PoolFull<F> {}
