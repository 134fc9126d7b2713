//! [`Group`]: contexts that are counted, waited for and cancelled together.
//!
//! ```text
//!   spawn: made ──▶ into the list, watched ──▶ placed, so that it may run
//!   its finisher: the result is there ──▶ out of the list ──▶ was it the last? those who wait for all go on
//! ```
//!
//! So whoever runs as a member is in the list, and whoever is not in the list any more has a result that can be joined.

use crate::cancel::{self, Cancelled, Elapsed};
use crate::scheduler::state::Reason;
use crate::scheduler::task::TaskRef;
use crate::scheduler::waiting::WaitsFor;
use crate::scheduler::watchers::Outcome;
use crate::spawn::{Builder, JoinHandle, cancel_task};
use crate::sync::wait_list::{Place, WaitLists};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Contexts that are counted, waited for and cancelled together.
///
/// A clone is the same group, so a member can have one, and spawn further members. What a member returns, or the payload of its panic, is its handle's, which may be
/// dropped; the group keeps a note of the first panic.
///
/// **To drop a group is to do nothing**: its members run on, as one does whose [`JoinHandle`] is dropped, and the runtime's end waits for
/// them. Where the members shall not outlive a piece of code there is [`scope`](crate::scope()), in which they may also borrow.
///
/// ```
/// use fibra::Group;
///
/// /// Visits a tree of numbers.
/// fn visit(group: &Group, node: u64, found: std::sync::mpsc::Sender<u64>) {
///     let children = group.clone();
///     group.spawn(move || {
///         for child in [2 * node, 2 * node + 1].into_iter().filter(|child| *child < 16) {
///             visit(&children, child, found.clone());
///         }
///         found.send(node).unwrap();
///     });
/// }
///
/// fibra::run(|| {
///     let (found, list) = std::sync::mpsc::channel();
///     let group = Group::new();
///     visit(&group, 1, found);
///     group.join()?;
///     assert_eq!(list.try_iter().sum::<u64>(), (1..16).sum());
///     Ok::<(), fibra::group::Failure>(())
/// }).unwrap();
/// ```
#[derive(Clone)]
pub struct Group(Arc<WaitLists<Members>>);

#[derive(Default)]
struct Members {
    /// By their numbers, so that all that is done with each is done in the order in which they were made.
    living: BTreeMap<u64, Member>,
    first_failure: Option<Failure>,
    /// How many wait for the end of a group that they have cancelled: what comes while they do is cancelled, too.
    cancelling: usize,
}

struct Member {
    task: TaskRef,
    /// Its panic has been noted, with its words, before anybody can join it.
    noted: bool,
}

/// A member of a [`Group`] has panicked: a note that outlives it. The panic's payload is with its [`JoinHandle`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    id: u64,
    name: Option<Box<str>>,
    message: Option<Box<str>>,
}

impl Failure {
    /// The number of the context that has panicked.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The panic's message, if it was a text, and the member was started by the group.
    pub fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "'{name}' has panicked")?,
            None => write!(f, "context {} has panicked", self.id)?,
        }
        match &self.message {
            Some(message) => write!(f, ": {message}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl Group {
    /// A group without members.
    pub fn new() -> Group {
        Group(Arc::new(WaitLists::new(Members::default())))
    }

    /// Starts a coroutine that is a member.
    ///
    /// # Panics
    /// When memory for stacks is out.
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.spawn_with(Builder::new(), f).unwrap_or_else(|error| panic!("cannot spawn a coroutine: {error}"))
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
        let group = self.clone();
        let body = move || match catch_unwind(AssertUnwindSafe(f)) {
            Ok(value) => value,
            Err(payload) => {
                group.note_panic(&*payload);
                resume_unwind(payload)
            }
        };
        settings.spawn_prepared(body, |handle| self.add(handle))
    }

    /// Makes a member of what was started elsewhere: a coroutine, a [thread](crate::thread), a job of [`spawn_blocking`](crate::spawn_blocking). One that has ended
    /// is none, but counts if it has panicked.
    pub fn add<T>(&self, handle: &JoinHandle<T>) {
        let id = handle.id();
        let mut members = self.0.lock();
        if members.living.contains_key(&id) {
            // It is one already, and watched.
            return;
        }
        members.living.insert(id, Member { task: handle.task().clone(), noted: false });
        let cancelling = members.cancelling > 0;
        drop(members);
        if cancelling {
            handle.cancel();
        }
        let group = self.clone();
        if let Err((_, outcome)) = handle.watch(Box::new(move |outcome| group.leave(id, outcome))) {
            self.leave(id, outcome);
        }
    }

    /// How many members have not ended. A snapshot, that takes time in proportion to their number.
    pub fn len(&self) -> usize {
        self.0.lock().living.values().filter(|member| !member.has_ended()).count()
    }

    /// Whether all members have ended. A snapshot.
    pub fn is_empty(&self) -> bool {
        self.0.lock().living.values().all(Member::has_ended)
    }

    /// Waits until there is no member: for those there are, and those that come meanwhile.
    ///
    /// # Errors
    /// The first panic of a member since this was called last. The others have not been disturbed by it. (That a member was cancelled is no error: somebody
    /// wanted it.)
    ///
    /// # Panics
    /// When the caller is a member, which would wait for itself.
    pub fn join(&self) -> Result<(), Failure> {
        let ended = self.wait(None);
        debug_assert!(ended, "there is no deadline");
        self.outcome()
    }

    /// Waits for at most `timeout`.
    ///
    /// # Errors
    /// [`Elapsed`] when there are members then; else what [`join`](Self::join) returns is in the value.
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn join_timeout(&self, timeout: Duration) -> Result<Result<(), Failure>, Elapsed> {
        if self.wait(crate::time::deadline(timeout)) { Ok(self.outcome()) } else { Err(Elapsed) }
    }

    /// Waits until `deadline` at most.
    ///
    /// # Errors
    /// As [`join_timeout`](Self::join_timeout).
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn join_deadline(&self, deadline: Instant) -> Result<Result<(), Failure>, Elapsed> {
        if self.wait(Some(deadline)) { Ok(self.outcome()) } else { Err(Elapsed) }
    }

    /// The first panic of a member that no [`join`](Self::join) has returned yet.
    pub fn first_failure(&self) -> Option<Failure> {
        self.0.lock().first_failure.clone()
    }

    /// Asks every member to stop, as [`JoinHandle::cancel`] does, and does not wait; the caller, too, if it is one. Those that come later are not asked.
    pub fn cancel(&self) {
        let members: Vec<TaskRef> = self.0.lock().living.values().map(|member| member.task.clone()).collect();
        members.iter().for_each(cancel_task);
    }

    /// Asks every member to stop, and waits until there is none; those that come while it waits are cancelled, too. After that the group can be used again.
    ///
    /// # Errors
    /// As [`join`](Self::join).
    ///
    /// # Panics
    /// As [`join`](Self::join).
    pub fn cancel_and_join(&self) -> Result<(), Failure> {
        struct Cancelling<'a>(&'a Group);
        impl Drop for Cancelling<'_> {
            fn drop(&mut self) {
                self.0.0.lock().cancelling -= 1;
            }
        }
        self.check_outside();
        self.0.lock().cancelling += 1;
        let _cancelling = Cancelling(self);
        self.cancel();
        self.join()
    }

    /// Waits until there is no member; false when the time is up.
    fn wait(&self, deadline: Option<Instant>) -> bool {
        self.check_outside();
        let members = self.0.lock();
        if members.living.is_empty() {
            return true;
        }
        match members.wait(0, Place::Back, (), deadline, WaitsFor::Scope, |_| {}).0 {
            Reason::Woken => true,
            Reason::TimedOut => false,
            Reason::Cancelled => cancel::unwind(),
        }
    }

    fn outcome(&self) -> Result<(), Failure> {
        self.0.lock().first_failure.take().map_or(Ok(()), Err)
    }

    fn check_outside(&self) {
        let caller = crate::current().id();
        let member = self.0.lock().living.contains_key(&caller);
        assert!(!member, "a member of a group cannot wait for all of them: it would wait for itself");
    }

    /// The running context, a member, unwinds with this.
    fn note_panic(&self, payload: &(dyn Any + Send)) {
        if payload.is::<Cancelled>() {
            return;
        }
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        let caller = crate::current();
        let mut members = self.0.lock();
        if let Some(member) = members.living.get_mut(&caller.id()) {
            member.noted = true;
        }
        members.note_failure(caller.id(), caller.name(), text);
    }

    /// The member has ended. Called by its finisher, so this neither waits nor panics.
    fn leave(&self, id: u64, outcome: Outcome) {
        let mut members = self.0.lock();
        let Some(Member { task, noted }) = members.living.remove(&id) else { return };
        if outcome == Outcome::Panicked && !noted {
            // It was started elsewhere.
            members.note_failure(id, task.header().name(), None);
        }
        if members.living.is_empty() {
            while let Some(waiting) = members.next(0) {
                waiting.wake();
            }
        }
        drop(members);
        drop(task);
    }
}

impl Members {
    fn note_failure(&mut self, id: u64, name: Option<&str>, message: Option<&str>) {
        self.first_failure.get_or_insert_with(|| Failure {
            id,
            name: name.map(Box::from),
            message: message.map(Box::from),
        });
    }
}

impl Member {
    /// It may have a result, and not have left.
    fn has_ended(&self) -> bool {
        self.task.header().join.is_done()
    }
}

impl Default for Group {
    fn default() -> Group {
        Group::new()
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("len", &self.len()).finish_non_exhaustive()
    }
}
