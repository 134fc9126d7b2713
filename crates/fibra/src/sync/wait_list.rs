//! Who waits in a primitive: a state and lists of waiters, behind one lock.
//!
//! Every lock, queue and event of the library is a [`WaitLists`] and perhaps an atomic word for its fast path. A waiter stands on the stack of the
//! context that waits, in a list that is linked through it, so that to wait needs no memory and to leave takes constant time.
//!
//! ```text
//!   waiter                                        waker
//!   lock; look; not yet                           lock; change the state
//!   Guard::wait: into the list, unlock, park      Guard::next: out of the list (and claim it)
//!        │                                          write the waiter's value, unlock
//!        │◀──────────────── wake ───────────────────┘  exactly one for each waiter taken out
//!        ├─ Woken:  the value is what the waker wrote
//!        └─ TimedOut, Cancelled: lock; still in the list? take it out, and go: as if it had never come.
//!                                Else a waker has it: park until its wake-up, and be Woken after all.
//! ```
//!
//! # The rules
//! * The links and the value of a waiter are touched under the lock while it is in the list; by the waker alone from when it took it out until its wake-up;
//!   and else by the waiter alone.
//! * A waiter's memory is there while it is in a list, and until its wake-up: [`Guard::wait`] does not return before one or the other is over, nor unwind (a panic in
//!   there, of a user's clock, aborts).
//! * What was given is kept: a context that is asked to stop in the moment in which it is given something goes on with it, and meets the
//!   request at its next wait. Nothing has to be passed on, and nothing is lost.
//!
//! # Waiting for one of several
//! A context that waits in several lists at once ([`select`](crate::queue::select())) has one [`Claim`] for all its waiters. Who takes one of them out must win the claim
//! before it gives anything; who loses has taken out a waiter that is served elsewhere, and goes on to the next. So there is one
//! wake-up, as always. The context then takes its other waiters out of their lists, under their locks.

use crate::scheduler::lock::{Lock, LockGuard};
use crate::scheduler::park;
use crate::scheduler::state::Reason;
use crate::scheduler::sync::{AtomicU32, Ordering};
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::worker::or_abort;
use fibra_driver::Token;
use std::cell::{Cell, UnsafeCell};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr;
use std::time::Instant;

/// A state, and `N` lists of waiters that each bring a value.
pub struct WaitLists<S, T = (), const N: usize = 1>(Lock<Locked<S, T, N>>);

struct Locked<S, T, const N: usize> {
    state: S,
    lists: [List<T>; N],
}

/// The lock is held: the state is at hand, and the lists.
pub(crate) struct Guard<'a, S, T = (), const N: usize = 1> {
    owner: &'a WaitLists<S, T, N>,
    guard: LockGuard<'a, Locked<S, T, N>>,
}

/// A list of waiters, first come first out.
struct List<T> {
    first: *const Waiter<T>,
    last: *const Waiter<T>,
    len: usize,
}

/// A context that waits, in one list.
pub(crate) struct Waiter<T> {
    token: Token,
    /// Null for who waits in this list only.
    claim: *const Claim,
    /// What the claim is to say when it is won by way of this waiter.
    index: u32,
    value: UnsafeCell<T>,
    previous: Cell<*const Waiter<T>>,
    next: Cell<*const Waiter<T>>,
    listed: Cell<bool>,
}

/// Which of several waits of one context has been served.
pub struct Claim(AtomicU32);

/// A waiter that was taken out of its list, and has to be woken: on drop, if not before.
#[must_use]
pub(crate) struct Served<'a, T> {
    waiter: *const Waiter<T>,
    /// The wake-up may come after the lock was given back, but not after the primitive is gone.
    primitive: PhantomData<&'a T>,
}

/// Where a waiter goes in its list.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// To wait its turn.
    Back,
    /// It had its turn, and could not use it.
    Front,
}

// SAFETY: the lists hold addresses of waiters on other stacks; these, and the values in them, are touched under the lock only, and values go
// from one context to another as `T: Send` allows.
unsafe impl<S: Send, T: Send, const N: usize> Send for Locked<S, T, N> {}

impl<S, T, const N: usize> WaitLists<S, T, N> {
    #[cfg(not(loom))]
    pub(crate) const fn new(state: S) -> Self {
        WaitLists(Lock::new(Locked { state, lists: [const { List::new() }; N] }))
    }

    /// loom's locks are not made by constants.
    #[cfg(loom)]
    pub(crate) fn new(state: S) -> Self {
        WaitLists(Lock::new(Locked { state, lists: [const { List::new() }; N] }))
    }

    #[inline]
    pub(crate) fn lock(&self) -> Guard<'_, S, T, N> {
        Guard { owner: self, guard: self.0.lock() }
    }

    /// For the object of [`crate::scheduler::waiting::Waiting`].
    fn address(&self) -> usize {
        ptr::from_ref(self).addr()
    }
}

impl<S, T, const N: usize> Deref for Guard<'_, S, T, N> {
    type Target = S;

    #[inline]
    fn deref(&self) -> &S {
        &self.guard.state
    }
}

impl<S, T, const N: usize> DerefMut for Guard<'_, S, T, N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut S {
        &mut self.guard.state
    }
}

impl<'a, S, T, const N: usize> Guard<'a, S, T, N> {
    /// How many wait in a list; some of them may have been served elsewhere.
    #[inline]
    pub(crate) fn len(&self, list: usize) -> usize {
        self.guard.lists[list].len
    }

    /// Whether nobody waits in a list.
    #[inline]
    pub(crate) fn is_empty(&self, list: usize) -> bool {
        self.guard.lists[list].len == 0
    }

    /// The state, and the value of the first that waits in a list and has not been served elsewhere (it may be by the time that it is [taken out](Self::take_front)).
    #[inline]
    pub(crate) fn front(&mut self, list: usize) -> Option<(&mut S, &mut T)> {
        loop {
            let waiter = self.guard.lists[list].first;
            // SAFETY: it is in the list, whose lock is held, so it is there; and so is its claim.
            let served = unsafe { waiter.as_ref()?.claim.as_ref() }.is_some_and(Claim::is_won);
            if !served {
                // SAFETY: as above; the value is the lock's holder's while the waiter is in the list, and the borrow keeps the guard.
                return Some((&mut self.guard.state, unsafe { &mut *(*waiter).value.get() }));
            }
            // SAFETY: it is in this list.
            unsafe { self.guard.lists[list].unlink(waiter) };
        }
    }

    /// Takes out the first that waits in a list, who is to be given what it waits for: unless there is none, or it is served elsewhere.
    #[inline]
    pub(crate) fn take_front(&mut self, list: usize) -> Option<Served<'a, T>> {
        let waiter = self.guard.lists[list].first;
        if waiter.is_null() {
            return None;
        }
        // SAFETY: it is in this list, whose lock is held, so it and its claim are there, and stay while the lock is held.
        let won = unsafe {
            self.guard.lists[list].unlink(waiter);
            (*waiter).claim.as_ref().is_none_or(|claim| claim.win((*waiter).index))
        };
        // Not made if lost: to drop it is to wake.
        won.then(|| Served { waiter, primitive: PhantomData })
    }

    /// Takes out the first that waits in a list and is not served elsewhere.
    #[inline]
    pub(crate) fn next(&mut self, list: usize) -> Option<Served<'a, T>> {
        while !self.is_empty(list) {
            let served = self.take_front(list);
            if served.is_some() {
                return served;
            }
        }
        None
    }

    /// Whether somebody waits in a list who has not been served elsewhere, and is not the context with this claim.
    pub(crate) fn has_other(&self, list: usize, claim: &Claim) -> bool {
        let mut waiter = self.guard.lists[list].first;
        // SAFETY: what is in the list, whose lock is held, is there, and so are the claims.
        while let Some(other) = unsafe { waiter.as_ref() } {
            // SAFETY: as above.
            let other_claim = unsafe { other.claim.as_ref() };
            if other_claim.is_none_or(|other| !ptr::eq(other, claim) && !other.is_won()) {
                return true;
            }
            waiter = other.next.get();
        }
        false
    }

    /// Waits in a list, with the lock given back. Returns why the wait has ended, and the value: the waker's if the reason is `Woken`, else the one brought.
    ///
    /// When the waiter leaves by itself `left` is called, under the lock: others may have been waiting behind it that need not.
    pub(crate) fn wait(
        self,
        list: usize,
        place: Place,
        value: T,
        deadline: Option<Instant>,
        waits_for: WaitsFor,
        left: impl FnOnce(&mut Self),
    ) -> (Reason, T) {
        self.wait_by(list, place, value, waits_for, left, || park::park(deadline))
    }

    /// The same, with the caller's way to park: it calls one of [`park`]'s functions, once.
    #[inline]
    pub(crate) fn wait_by(
        mut self,
        list: usize,
        place: Place,
        value: T,
        waits_for: WaitsFor,
        left: impl FnOnce(&mut Self),
        park: impl FnOnce() -> Reason,
    ) -> (Reason, T) {
        let waiter = Waiter::new(value, ptr::null(), 0);
        // SAFETY: this function does not return, nor unwind, before the waiter has been taken out and, if a waker did that, the wake-up has come. A stack
        // that is suspended for ever is never freed.
        unsafe { self.guard.lists[list].link(&waiter, place) };
        let owner = self.owner;
        drop(self.guard);
        let reason = or_abort(|| {
            park::waits_for(waits_for, owner.address());
            let reason = park();
            if reason == Reason::Woken {
                return reason;
            }
            let mut guard = owner.lock();
            // SAFETY: if it is in a list, it is in this one.
            if unsafe { guard.guard.lists[list].remove(&waiter) } {
                left(&mut guard);
                return reason;
            }
            drop(guard);
            park::park_until_woken();
            Reason::Woken
        });
        (reason, waiter.value.into_inner())
    }

    /// Puts a waiter of several into a list.
    ///
    /// # Safety
    /// The waiter stays where it is until [`leave`](Self::leave) was called with it; if that says that it had been taken out and the claim is for it, until the
    /// wake-up, too.
    pub(crate) unsafe fn join(&mut self, list: usize, waiter: &Waiter<T>) {
        // SAFETY: the caller's promise.
        unsafe { self.guard.lists[list].link(waiter, Place::Back) };
    }

    /// Takes a waiter of several out of the list that it was put into, if it is still there. Whether it was.
    ///
    /// # Safety
    /// It was put into this very list.
    pub(crate) unsafe fn leave(&mut self, list: usize, waiter: &Waiter<T>) -> bool {
        // SAFETY: the caller's promise.
        unsafe { self.guard.lists[list].remove(waiter) }
    }
}

impl<T> Waiter<T> {
    /// A waiter for the calling context. With a claim, the context waits in other lists, too.
    pub(crate) fn new(value: T, claim: *const Claim, index: u32) -> Waiter<T> {
        Waiter {
            token: park::token(),
            claim,
            index,
            value: UnsafeCell::new(value),
            previous: Cell::new(ptr::null()),
            next: Cell::new(ptr::null()),
            listed: Cell::new(false),
        }
    }

    /// The value, when the wait is over.
    pub(crate) fn into_value(self) -> T {
        self.value.into_inner()
    }
}

impl Claim {
    /// What it says as long as nobody has won it.
    const OPEN: u32 = u32::MAX;

    pub(crate) fn new() -> Claim {
        Claim(AtomicU32::new(Claim::OPEN))
    }

    /// The one call that wins is told so; `index` is what the claim says from then on.
    pub(crate) fn win(&self, index: u32) -> bool {
        debug_assert_ne!(index, Claim::OPEN);
        self.0.compare_exchange(Claim::OPEN, index, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// By which index it was won.
    pub(crate) fn winner(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Acquire)).filter(|&index| index != Claim::OPEN)
    }

    fn is_won(&self) -> bool {
        self.winner().is_some()
    }
}

impl<T> Served<'_, T> {
    /// What the waiter brought, and will find when it is woken.
    #[inline]
    pub(crate) fn value(&mut self) -> &mut T {
        // SAFETY: it was taken out of its list and has not been woken, so it is there, and its value is the waker's.
        unsafe { &mut *(*self.waiter).value.get() }
    }

    /// Who waits.
    #[inline]
    pub(crate) fn token(&self) -> Token {
        // SAFETY: it is there until the wake-up.
        unsafe { (*self.waiter).token }
    }

    /// Wakes the waiter. Better without the lock.
    #[inline]
    pub(crate) fn wake(self) {}
}

impl<T> Drop for Served<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: it is there until the wake-up; the token is read before.
        park::wake(unsafe { (*self.waiter).token });
    }
}

impl<T> List<T> {
    const fn new() -> List<T> {
        List { first: ptr::null(), last: ptr::null(), len: 0 }
    }

    /// # Safety
    /// The waiter is in no list, and stays where it is until it is in none again.
    unsafe fn link(&mut self, waiter: &Waiter<T>, place: Place) {
        let (previous, next) = match place {
            Place::Back => (self.last, ptr::null()),
            Place::Front => (ptr::null(), self.first),
        };
        waiter.previous.set(previous);
        waiter.next.set(next);
        waiter.listed.set(true);
        // SAFETY: what is in the list is there.
        unsafe {
            match previous.as_ref() {
                Some(previous) => previous.next.set(waiter),
                None => self.first = waiter,
            }
            match next.as_ref() {
                Some(next) => next.previous.set(waiter),
                None => self.last = waiter,
            }
        }
        self.len += 1;
    }

    /// # Safety
    /// The waiter is in this list.
    unsafe fn unlink(&mut self, waiter: *const Waiter<T>) {
        // SAFETY: it, and what stands before and behind it, is in the list, so it is there.
        unsafe {
            let (previous, next) = ((*waiter).previous.get(), (*waiter).next.get());
            match previous.as_ref() {
                Some(previous) => previous.next.set(next),
                None => self.first = next,
            }
            match next.as_ref() {
                Some(next) => next.previous.set(previous),
                None => self.last = previous,
            }
            (*waiter).listed.set(false);
        }
        self.len -= 1;
    }

    /// Takes the waiter out if it is in the list.
    ///
    /// # Safety
    /// If it is in a list, it is in this one.
    unsafe fn remove(&mut self, waiter: &Waiter<T>) -> bool {
        let listed = waiter.listed.get();
        if listed {
            // SAFETY: the caller's promise.
            unsafe { self.unlink(waiter) };
        }
        listed
    }
}
