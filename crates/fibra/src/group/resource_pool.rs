//! [`ResourcePool`]: at most so many of what is dear to make, each used by one at a time.
//!
//! ```text
//!   get ──▶ a place, in the order of coming ──▶ an idle one? ──▶ too old, or unhealthy: drop it, look again ──▶ the guard has both
//!              ▲                                  none: make one ── fails: the error, and the place goes on ──┐        │
//!              └──────────── the resource is put among the idle ones, then the place is given back ◀──────────┴────────┘
//! ```
//!
//! # Never more than there are places
//! Each resource that lives is idle, or belongs to who holds a place (who uses it, makes it, checks it, drops it). There is never more idle than there are places that are free or
//! held by somebody without a resource: who gives one back puts it among the idle ones *before* the place is free, and who has a place makes one only when, under the lock, none is
//! idle. So a place in hand, and nothing idle, means that there are fewer than so many. One that is thrown away is dropped before another is made, or its place given back.
//!
//! No code of users (making, checking, dropping) runs under the lock. All of it may wait, and may be ended by a request to stop there: what was being made or checked is
//! dropped as the stack unwinds, and then the place is given back.

#[cfg(all(test, loom))]
mod models;

use crate::cancel::{self, Elapsed};
use crate::scheduler::sync::{Mutex, MutexGuard};
use crate::sync::{OwnedSemaphorePermit, Semaphore};
use crate::time;
use std::error::Error;
use std::fmt;
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// At most so many resources (connections, say), which are made when they are needed, kept when they are given back, and lent to one context at a time.
///
/// Who finds none free waits, and is served in the order of coming. A resource is kept for the next one who asks, the one that was used last first; so when little is asked for
/// some stay idle for long, and can be let go ([`idle_timeout`](ResourcePoolBuilder::idle_timeout)).
///
/// A clone is the same pool. When the last clone and the last guard are gone, so are the idle resources.
///
/// ```
/// use fibra::ResourcePool;
/// use fibra::net::{TcpListener, TcpStream};
/// use std::io::{Read, Write};
///
/// fibra::run(|| {
///     let echo = TcpListener::bind("127.0.0.1:0")?;
///     let address = echo.local_addr()?;
///     fibra::Builder::new().daemon(true).spawn(move || {
///         for stream in echo.incoming() {
///             let mut stream = stream.unwrap();
///             fibra::spawn(move || std::io::copy(&mut stream.try_clone().unwrap(), &mut stream));
///         }
///     })?;
///
///     let connections = ResourcePool::new(2, move || TcpStream::connect(address));
///     fibra::scope(|scope| {
///         for _ in 0..10 {
///             scope.spawn(|| {
///                 let mut connection = connections.get()?;
///                 connection.write_all(b"hello")?;
///                 let mut answer = [0; 5];
///                 connection.read_exact(&mut answer)?;
///                 assert_eq!(&answer, b"hello");
///                 Ok::<(), std::io::Error>(())
///             });
///         }
///     });
///     assert!(connections.idle() <= 2);
///     Ok::<(), std::io::Error>(())
/// })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct ResourcePool<T, E = io::Error>(Arc<Inner<T, E>>);

struct Inner<T, E> {
    size: usize,
    places: Arc<Semaphore>,
    /// The one that was given back last is the last.
    idle: Mutex<Vec<Kept<T>>>,
    make: Box<Make<T, E>>,
    check: Option<Box<Check<T>>>,
    max_lifetime: Option<Duration>,
    idle_timeout: Option<Duration>,
}

type Make<T, E> = dyn Fn() -> Result<T, E> + Send + Sync;
type Check<T> = dyn Fn(&mut T) -> bool + Send + Sync;

/// A resource of the pool.
struct Kept<T> {
    resource: T,
    made: Instant,
    /// When it was given back.
    idle_since: Instant,
}

/// The settings of a [`ResourcePool`]: see [`ResourcePool::builder`].
#[must_use]
pub struct ResourcePoolBuilder<T, E>(Inner<T, E>);

/// A resource that is lent: given back when it is dropped, also while a panic or a request to stop unwinds the stack.
///
/// One that is broken is to be [discarded](Self::discard). If it may break without a notice, let the pool [check](ResourcePoolBuilder::check) it.
#[must_use = "a resource is given back when it is dropped"]
pub struct Pooled<T, E = io::Error> {
    pool: Arc<Inner<T, E>>,
    /// Gone when it is given back or thrown away.
    kept: Option<Kept<T>>,
    /// Given back when the resource is gone.
    _place: OwnedSemaphorePermit,
}

/// Why there is no resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceError<E> {
    /// None was free until the time was up, or the making of one, or its check, was not over by then.
    TimedOut,
    /// One could not be made.
    Make(E),
}

impl<T, E> ResourcePool<T, E> {
    /// A pool of at most `size` resources, which `make` makes.
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn new(size: usize, make: impl Fn() -> Result<T, E> + Send + Sync + 'static) -> ResourcePool<T, E> {
        ResourcePool::builder(size, make).build()
    }

    /// The same with settings.
    ///
    /// ```
    /// use fibra::ResourcePool;
    /// use std::time::Duration;
    ///
    /// # struct Session;
    /// # impl Session { fn open() -> std::io::Result<Session> { Ok(Session) } fn ping(&mut self) -> bool { true } }
    /// let sessions = ResourcePool::builder(10, Session::open)
    ///     .check(Session::ping)
    ///     .max_lifetime(Duration::from_secs(3600))
    ///     .idle_timeout(Duration::from_secs(60))
    ///     .build();
    /// # sessions.get().unwrap();
    /// ```
    ///
    /// # Panics
    /// When `size` is 0.
    pub fn builder(
        size: usize,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> ResourcePoolBuilder<T, E> {
        assert!(size > 0, "a pool without a place could never lend anything");
        ResourcePoolBuilder(Inner {
            size,
            places: Arc::new(Semaphore::new(size)),
            idle: Mutex::new(Vec::new()),
            make: Box::new(make),
            check: None,
            max_lifetime: None,
            idle_timeout: None,
        })
    }

    /// A resource: an idle one, or a new one if there may be another; else the caller waits for one to be given back.
    ///
    /// Who is asked to stop leaves the line as if it had never come. One that is being checked or made in that moment is dropped.
    ///
    /// # Errors
    /// What `make` returns. The place goes to the next in line, who tries for itself.
    pub fn get(&self) -> Result<Pooled<T, E>, E> {
        self.0.fill(self.0.places.acquire_owned())
    }

    /// A resource, if one is idle or may be made, and nobody waits.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn try_get(&self) -> Result<Option<Pooled<T, E>>, E> {
        self.0.places.try_acquire_owned().map(|place| self.0.fill(place)).transpose()
    }

    /// A resource within `timeout`, which is for all of it: waiting, checking and making.
    ///
    /// ```
    /// use fibra::group::{ResourceError, ResourcePool};
    /// use std::time::Duration;
    ///
    /// fibra::simulation::run(|| {
    ///     let numbers = ResourcePool::new(1, || Ok::<_, std::io::Error>(7));
    ///     let taken = numbers.get()?;
    ///     let none = numbers.get_timeout(Duration::from_secs(5));
    ///     assert!(matches!(none, Err(ResourceError::TimedOut)));
    ///     drop(taken);
    ///     assert_eq!(*numbers.get()?, 7);
    ///     Ok::<(), std::io::Error>(())
    /// })?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`ResourceError::TimedOut`], and what `make` returns.
    pub fn get_timeout(&self, timeout: Duration) -> Result<Pooled<T, E>, ResourceError<E>> {
        match time::deadline(timeout) {
            Some(deadline) => self.get_deadline(deadline),
            // There is no such instant: never.
            None => self.get().map_err(ResourceError::Make),
        }
    }

    /// A resource until `deadline`.
    ///
    /// # Errors
    /// As [`get_timeout`](Self::get_timeout).
    pub fn get_deadline(&self, deadline: Instant) -> Result<Pooled<T, E>, ResourceError<E>> {
        let place = self.0.places.acquire_deadline_owned(deadline).ok_or(ResourceError::TimedOut)?;
        match cancel::deadline(deadline, || self.0.fill(place)) {
            Ok(filled) => filled.map_err(ResourceError::Make),
            Err(Elapsed) => Err(ResourceError::TimedOut),
        }
    }

    /// Drops the idle resources that are too old, or have been idle for too long; returns how many.
    ///
    /// Such a one is never lent, but is dropped only when somebody comes upon it. Where many may be left over when the rush is gone, let a
    /// [daemon](crate::Builder::daemon) call this once a minute.
    pub fn drop_expired(&self) -> usize {
        let mut dropped = 0;
        // Each has its place while it is dropped, so that nobody makes another meanwhile.
        while let Some(_place) = self.0.places.try_acquire() {
            let now = time::now();
            let mut idle = self.0.lock();
            let Some(index) = idle.iter().position(|kept| self.0.has_expired(kept, now)) else { break };
            let expired = idle.remove(index);
            drop(idle);
            drop(expired);
            dropped += 1;
        }
        dropped
    }

    /// How many resources there are at most.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// How many are idle. A snapshot.
    pub fn idle(&self) -> usize {
        self.0.lock().len()
    }

    /// How many places are taken: by resources that are lent, made, checked or dropped. A snapshot.
    pub fn in_use(&self) -> usize {
        self.0.size - self.0.places.available_permits()
    }

    /// How many wait in line. A snapshot.
    pub fn waiting(&self) -> usize {
        self.0.places.waiting()
    }
}

impl<T, E> ResourcePoolBuilder<T, E> {
    /// Has an idle resource looked at before it is lent; one for which this says `false` is dropped, and the next is taken, or made. It may wait: a ping,
    /// say.
    pub fn check(mut self, check: impl Fn(&mut T) -> bool + Send + Sync + 'static) -> Self {
        self.0.check = Some(Box::new(check));
        self
    }

    /// How long after it was made a resource is still lent. One that is lent then is not taken away, but dropped when it is given back.
    pub fn max_lifetime(mut self, lifetime: Duration) -> Self {
        self.0.max_lifetime = Some(lifetime);
        self
    }

    /// For how long a resource may be idle and still be lent.
    pub fn idle_timeout(mut self, timeout: Duration) -> Self {
        self.0.idle_timeout = Some(timeout);
        self
    }

    /// The pool. No resource is made before one is asked for.
    pub fn build(self) -> ResourcePool<T, E> {
        ResourcePool(Arc::new(self.0))
    }
}

impl<T, E> Inner<T, E> {
    /// A resource for who has a place.
    fn fill(self: &Arc<Self>, place: OwnedSemaphorePermit) -> Result<Pooled<T, E>, E> {
        // From here on the guard has the place: whatever is thrown away is dropped before it.
        let mut pooled = Pooled { pool: Arc::clone(self), kept: None, _place: place };
        loop {
            let Some(mut kept) = self.lock().pop() else { break };
            let fresh = !self.has_expired(&kept, time::now());
            if fresh && self.check.as_ref().is_none_or(|check| check(&mut kept.resource)) {
                pooled.kept = Some(kept);
                return Ok(pooled);
            }
            drop(kept);
        }
        let resource = (self.make)()?;
        let now = time::now();
        pooled.kept = Some(Kept { resource, made: now, idle_since: now });
        Ok(pooled)
    }

    /// Whether it is not to be lent any more.
    fn has_expired(&self, kept: &Kept<T>, now: Instant) -> bool {
        let since = |then: Instant| now.saturating_duration_since(then);
        self.is_too_old(kept, now) || self.idle_timeout.is_some_and(|limit| since(kept.idle_since) >= limit)
    }

    fn is_too_old(&self, kept: &Kept<T>, now: Instant) -> bool {
        self.max_lifetime.is_some_and(|limit| now.saturating_duration_since(kept.made) >= limit)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept<T>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, E> Pooled<T, E> {
    /// Drops the resource instead of giving it back, because it is broken. Its place is free then.
    ///
    /// It is an associated function, as those of std's guards, so that it does not hide a method of the resource.
    pub fn discard(mut this: Self) {
        drop(this.kept.take());
    }

    fn kept(&self) -> &Kept<T> {
        self.kept.as_ref().expect("a guard that is lent out has its resource until it is dropped")
    }
}

impl<T, E> Deref for Pooled<T, E> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.kept().resource
    }
}

impl<T, E> DerefMut for Pooled<T, E> {
    fn deref_mut(&mut self) -> &mut T {
        let kept = self.kept.as_mut();
        &mut kept.expect("a guard that is lent out has its resource until it is dropped").resource
    }
}

impl<T, E> Drop for Pooled<T, E> {
    fn drop(&mut self) {
        let Some(mut kept) = self.kept.take() else { return };
        let now = time::now();
        if self.pool.is_too_old(&kept, now) {
            return drop(kept);
        }
        kept.idle_since = now;
        // Before the place: see the module.
        self.pool.lock().push(kept);
    }
}

impl<T, E> Clone for ResourcePool<T, E> {
    fn clone(&self) -> Self {
        ResourcePool(Arc::clone(&self.0))
    }
}

impl<T, E> fmt::Debug for ResourcePool<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePool")
            .field("size", &self.size())
            .field("in_use", &self.in_use())
            .field("idle", &self.idle())
            .finish_non_exhaustive()
    }
}

impl<T, E> fmt::Debug for ResourcePoolBuilder<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePoolBuilder").field("size", &self.0.size).finish_non_exhaustive()
    }
}

impl<T: fmt::Debug, E> fmt::Debug for Pooled<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&self.kept().resource).finish()
    }
}

impl<E: fmt::Display> fmt::Display for ResourceError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ResourceError::TimedOut => f.write_str("no resource was free before the time was up"),
            ResourceError::Make(error) => write!(f, "a resource could not be made: {error}"),
        }
    }
}

impl<E: Error + 'static> Error for ResourceError<E> {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ResourceError::TimedOut => None,
            ResourceError::Make(error) => Some(error),
        }
    }
}
