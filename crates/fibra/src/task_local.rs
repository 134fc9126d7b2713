//! Task-locals: a static of which each context has its own.
//!
//! What [`std::thread_local!`] is for threads, [`task_local!`](crate::task_local!) is for contexts: the coroutines of a worker share its thread-locals, but each has its own
//! task-locals, and so has each OS thread and each job of the blocking pool. A generator has those of the context that resumes it.
//!
//! ```text
//!   static KEY ──address──▶ header.locals ──▶ [ (key, value) … ]     in the order of initialisation
//! ```
//!
//! # From the first use to the end
//! A context without task-locals has a null pointer, and that is looked at when it starts something and when it ends; no more. The table is touched by the context alone
//! (before its start: by whoever makes it). No borrow of it is held while a user's code runs, so initialisers, destructors and `Clone` may use other task-locals, and may wait.
//!
//! A value is counted ([`Rc`]): a generator that is suspended inside of [`with`](LocalKey::with) keeps the value, also when the context that resumed it has ended.
//!
//! **The end.** When the closure has returned, or has unwound, the values are dropped on the context's own stack, the last initialised first, and only
//! then does `join` return. What a destructor initialises is destroyed in its turn; what has been destroyed does not come back.
//! Destructors run in a [shield](crate::shield()): what they wait for they get, though the context be cancelled. One that panics disturbs neither the others nor the result.

use crate::cancel;
use crate::scheduler::park;
use crate::scheduler::task::swallow;
use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::ptr;
use std::rc::Rc;

/// Declares statics of which each context (coroutine, OS thread, job of the blocking pool) has its own, as [`std::thread_local!`] does for threads.
///
/// Each is initialised when its context first uses it. One that is declared `inherited` is copied with [`Clone`] into whatever its context starts, if it has it by then:
/// coroutines, scoped ones too, threads of [`fibra::thread`](crate::thread) and jobs of [`spawn_blocking`](crate::spawn_blocking). Its type has to be `Clone + Send`. From then on each has
/// its own: a later change is seen by what is started later, and by nobody else. A thread of std inherits nothing.
///
/// ```
/// use std::cell::{Cell, RefCell};
/// use std::sync::Arc;
///
/// fibra::task_local! {
///     static REQUESTS: Cell<u64> = Cell::new(0);
///     /// For the log.
///     pub inherited static TRACE: RefCell<Option<Arc<str>>> = RefCell::new(None);
/// }
///
/// fibra::run(|| {
///     REQUESTS.set(3);
///     TRACE.set(Some("request 17".into()));
///     let child = fibra::spawn(|| (REQUESTS.get(), TRACE.with_borrow(|trace| trace.clone())));
///     let (requests, trace) = child.join().unwrap();
///     assert_eq!(requests, 0);
///     assert_eq!(trace.as_deref(), Some("request 17"));
/// });
/// ```
///
/// The values are dropped when their context ends, on its own stack: see [`LocalKey`].
#[macro_export]
macro_rules! task_local {
    () => {};
    ($(#[$attribute:meta])* $visibility:vis inherited static $name:ident: $type:ty = $initial:expr; $($rest:tt)*) => {
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> = $crate::LocalKey::__inherited(|| $initial);
        $crate::task_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visibility:vis inherited static $name:ident: $type:ty = $initial:expr) => {
        $crate::task_local!($(#[$attribute])* $visibility inherited static $name: $type = $initial;);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $initial:expr; $($rest:tt)*) => {
        $(#[$attribute])*
        $visibility static $name: $crate::LocalKey<$type> = $crate::LocalKey::__new(|| $initial);
        $crate::task_local!($($rest)*);
    };
    ($(#[$attribute:meta])* $visibility:vis static $name:ident: $type:ty = $initial:expr) => {
        $crate::task_local!($(#[$attribute])* $visibility static $name: $type = $initial;);
    };
}

/// A static of which each context has its own: made by [`task_local!`](crate::task_local!), and used as [`std::thread::LocalKey`] is.
///
/// # Destruction
/// When a context ends its values are dropped on its own stack, the last initialised first; [`join`](crate::JoinHandle::join) returns afterwards. A destructor may use other
/// task-locals. One that its context has not used yet is initialised, and destroyed in turn; one that was destroyed already is gone: [`try_with`](Self::try_with) says so, and
/// the others panic. A destructor may wait, and is not cancelled; a panic in it is reported and goes no further. A context that is left suspended for ever
/// (a daemon that refuses to end) keeps its values. OS threads that fibra did not start destroy theirs together with std's thread-locals.
pub struct LocalKey<T: 'static> {
    initial: fn() -> T,
    inherit: Option<Inherit>,
}

/// A task-local was used when its context had destroyed it already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AccessError;

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the task-local was destroyed: its context is at its end")
    }
}

impl std::error::Error for AccessError {}

/// The task-locals of one context, as its header has them.
#[derive(Default)]
pub(crate) struct Locals(OnceCell<Box<Table>>);

#[derive(Default)]
struct Table {
    entries: RefCell<Vec<Entry>>,
    /// Whether everything has been destroyed, and nothing is accepted any more.
    over: Cell<bool>,
}

/// Makes the copy of a value that a child gets.
type Inherit = fn(&dyn Any) -> Rc<dyn Any>;

struct Entry {
    /// The address of the `LocalKey`.
    key: usize,
    /// None when it has been destroyed.
    value: Option<Rc<dyn Any>>,
    inherit: Option<Inherit>,
}

/// What a table has of a key.
enum Found {
    Value(Rc<dyn Any>),
    Nothing,
    Gone,
}

impl Locals {
    /// Copies of what is inherited, for a context that is about to be made.
    #[inline]
    pub(crate) fn for_a_child(&self) -> Locals {
        self.0.get().map_or_else(Locals::default, |table| table.for_a_child())
    }

    /// Drops the values; by the context itself, at its end.
    #[inline]
    pub(crate) fn destroy(&self) {
        if let Some(table) = self.0.get() {
            table.destroy();
        }
    }

    /// Accepts nothing, from the beginning: nobody would destroy it.
    #[cold]
    pub(crate) fn close(&self) {
        self.0.get_or_init(Box::default).over.set(true);
    }
}

impl Table {
    fn find(&self, key: usize) -> Found {
        match self.entries.borrow().iter().find(|entry| entry.key == key) {
            Some(Entry { value: Some(value), .. }) => Found::Value(Rc::clone(value)),
            Some(_) => Found::Gone,
            None if self.over.get() => Found::Gone,
            None => Found::Nothing,
        }
    }

    #[cold]
    fn for_a_child(&self) -> Locals {
        let locals = Locals::default();
        // By number, since a user's `clone` may add some.
        for number in 0.. {
            let Some((key, value, inherit)) = self
                .entries
                .borrow()
                .get(number)
                .map(|entry| (entry.key, entry.value.clone(), entry.inherit))
            else {
                break;
            };
            if let (Some(value), Some(inherit)) = (value, inherit) {
                let entry = Entry { key, value: Some(inherit(&*value)), inherit: Some(inherit) };
                locals.0.get_or_init(Box::default).entries.borrow_mut().push(entry);
            }
        }
        locals
    }

    #[cold]
    fn destroy(&self) {
        if self.over.get() {
            return;
        }
        cancel::shield(|| {
            loop {
                let last = self.entries.borrow_mut().iter_mut().rev().find_map(|entry| entry.value.take());
                match last {
                    Some(value) => swallow(|| drop(value)),
                    None => break,
                }
            }
        });
        self.over.set(true);
        *self.entries.borrow_mut() = Vec::new();
    }
}

impl<T: 'static> LocalKey<T> {
    #[doc(hidden)]
    pub const fn __new(initial: fn() -> T) -> LocalKey<T> {
        LocalKey { initial, inherit: None }
    }

    #[doc(hidden)]
    pub const fn __inherited(initial: fn() -> T) -> LocalKey<T>
    where
        T: Clone + Send,
    {
        LocalKey { initial, inherit: Some(copy::<T>) }
    }

    /// Runs `f` with the running context's value, which is initialised first if need be.
    ///
    /// # Panics
    /// When the value has been destroyed already, at the context's end.
    pub fn with<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.try_with(f).unwrap_or_else(|error| gone(error))
    }

    /// The same.
    ///
    /// # Errors
    /// When the value has been destroyed already, at the context's end.
    pub fn try_with<R>(&'static self, f: impl FnOnce(&T) -> R) -> Result<R, AccessError> {
        let value = self.value(self.initial)?;
        Ok(f(downcast(&value)))
    }

    /// Runs `f` with the value; or, if there is none yet, makes `initial` the value.
    fn with_or_set(&'static self, new: T, f: impl FnOnce(&T, T)) {
        let mut new = Some(new);
        let value = self.value(|| new.take().expect("called once")).unwrap_or_else(|error| gone(error));
        if let Some(new) = new {
            f(downcast(&value), new);
        }
    }

    #[inline]
    fn value(&'static self, initial: impl FnOnce() -> T) -> Result<Rc<dyn Any>, AccessError> {
        // The context lives as long as its code runs; the reference is for the initialiser's sake, which may take long.
        let found = with_table(|table| table.find(self.key()));
        match found {
            Found::Value(value) => Ok(value),
            Found::Gone => Err(AccessError),
            Found::Nothing => {
                let value: Rc<dyn Any> = Rc::new(initial());
                with_table(|table| match table.find(self.key()) {
                    Found::Nothing => {
                        let entry =
                            Entry { key: self.key(), value: Some(Rc::clone(&value)), inherit: self.inherit };
                        table.entries.borrow_mut().push(entry);
                        Ok(value)
                    }
                    // The initialiser has used the key itself; what it saw then stays.
                    Found::Value(value) => Ok(value),
                    Found::Gone => Err(AccessError),
                })
            }
        }
    }

    /// Statics of a size have addresses of their own.
    fn key(&'static self) -> usize {
        ptr::from_ref(self).addr()
    }
}

/// The table of the running context.
#[inline]
fn with_table<R>(f: impl FnOnce(&Table) -> R) -> R {
    park::with_locals(|locals| f(locals.0.get_or_init(Box::default)))
}

fn downcast<T: 'static>(value: &Rc<dyn Any>) -> &T {
    value.downcast_ref().expect("a key has one type")
}

fn copy<T: Clone + 'static>(value: &dyn Any) -> Rc<dyn Any> {
    Rc::new(value.downcast_ref::<T>().expect("a key has one type").clone())
}

#[cold]
fn gone(error: AccessError) -> ! {
    panic!("{error}")
}

impl<T: 'static> LocalKey<Cell<T>> {
    /// Sets the value; the initialiser is not run.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn set(&'static self, value: T) {
        self.with_or_set(Cell::new(value), |cell, value| cell.set(value.into_inner()));
    }

    /// A copy of the value.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn get(&'static self) -> T
    where
        T: Copy,
    {
        self.with(Cell::get)
    }

    /// Takes the value and leaves the type's default.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(Cell::take)
    }

    /// Sets the value and returns the one before.
    ///
    /// # Panics
    /// As [`with`](Self::with).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> LocalKey<RefCell<T>> {
    /// Runs `f` with the value borrowed.
    ///
    /// # Panics
    /// When it is mutably borrowed, and as [`with`](Self::with).
    pub fn with_borrow<R>(&'static self, f: impl FnOnce(&T) -> R) -> R {
        self.with(|cell| f(&cell.borrow()))
    }

    /// Runs `f` with the value mutably borrowed. (What is started in there cannot inherit it, and starting it panics.)
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn with_borrow_mut<R>(&'static self, f: impl FnOnce(&mut T) -> R) -> R {
        self.with(|cell| f(&mut cell.borrow_mut()))
    }

    /// Sets the value; the initialiser is not run.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn set(&'static self, value: T) {
        self.with_or_set(RefCell::new(value), |cell, value| {
            let before = cell.replace(value.into_inner());
            drop(before);
        });
    }

    /// Takes the value and leaves the type's default.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn take(&'static self) -> T
    where
        T: Default,
    {
        self.with(RefCell::take)
    }

    /// Sets the value and returns the one before.
    ///
    /// # Panics
    /// When it is borrowed, and as [`with`](Self::with).
    pub fn replace(&'static self, value: T) -> T {
        self.with(|cell| cell.replace(value))
    }
}

impl<T: 'static> fmt::Debug for LocalKey<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalKey").finish_non_exhaustive()
    }
}
