//! Named coroutines that switch to one another, in the manner of greenlets: no caller and callee, only peers.
//!
//! ```text
//!   main ──switch_to(a)──▶ a ──switch_to(b)──▶ b ──switch_to(a)──▶ a ──ends, handing over to b──▶ b ──ends──▶ main
//! ```
//!
//! [`run`] makes a [`Hub`]; members are added to it by name and body. A switch names a member and carries a value, which
//! becomes the result of the switch the member waits in, or the argument of its body if it has not begun. A body
//! ends by saying who goes on: [`Handover`].
//!
//! ```
//! use fibra_context::symmetric::{self, Handover};
//!
//! let order = symmetric::run(|hub| {
//!     let second = hub.add("second", |cx, mut heard: Vec<u32>| {
//!         heard.push(56);
//!         let first = cx.find("first").expect("added below");
//!         let mut heard = cx.switch_to(first, heard).expect("first is waiting");
//!         heard.push(78);
//!         Handover::Main(heard)
//!     })?;
//!     let first = hub.add("first", move |cx, mut heard: Vec<u32>| {
//!         heard.push(12);
//!         let mut heard = cx.switch_to(second, heard).expect("second has not begun");
//!         heard.push(34);
//!         Handover::To(second, heard)
//!     })?;
//!     Ok::<_, std::io::Error>(hub.switch_to(first, Vec::new()).expect("first has not begun"))
//! })?;
//! assert_eq!(order, [12, 56, 34, 78]);
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! # How
//!
//! Main's `switch_to` resumes the member; a member's suspends it with the name of the next, whom main's loop resumes. That is two
//! switches of the stack and no system call. Whatever a member panics with comes out of main's `switch_to`. When
//! `run` ends, members that are still suspended are unwound, in the order in which they were added, as
//! [generators](crate::generator) are when closed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use corosensei::{CoroutineResult, Yielder};

use crate::arena::{self, Label, StackSpan};
use crate::coroutine::{Coroutine, coroutine};
use crate::overflow;

/// A member of a hub, or its main program. Only good in the hub it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MemberId {
    hub: u64,
    /// The position among the members, from 1; 0 is main.
    number: usize,
}

/// How the body of a member ends: who goes on, and with what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover<T> {
    /// This member goes on. If it cannot (it has finished), main's `switch_to` returns the error.
    To(MemberId, T),
    /// Main goes on.
    Main(T),
}

/// Why a switch did not take place, with the value it was to carry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum SwitchError<T> {
    /// The member has returned, or panicked.
    Finished(MemberId, T),
    /// There is no such member in this hub.
    Unknown(MemberId, T),
    /// The member is running: it is waiting for the hub itself, so cannot be switched to.
    Running(MemberId, T),
}

impl<T> SwitchError<T> {
    /// The value that was to be carried.
    pub fn into_value(self) -> T {
        match self {
            SwitchError::Finished(_, value)
            | SwitchError::Unknown(_, value)
            | SwitchError::Running(_, value) => value,
        }
    }
}

impl<T> fmt::Display for SwitchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SwitchError::Finished(id, _) => write!(f, "member {} of the hub has finished", id.number),
            SwitchError::Unknown(id, _) => write!(f, "member {} belongs to another hub", id.number),
            SwitchError::Running(id, _) => write!(f, "member {} of the hub is running", id.number),
        }
    }
}

impl<T> fmt::Debug for SwitchError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwitchError({self})")
    }
}

impl<T> std::error::Error for SwitchError<T> {}

/// What a member suspends itself with: who goes on, and with what.
type Switch<T> = (MemberId, T);
/// Boxed, as it goes back and forth between the table and the loop.
type Body<T> = Box<Coroutine<T, Switch<T>, Handover<T>>>;

enum Member<T> {
    /// Has not begun, or waits in a switch.
    Waiting(Body<T>),
    /// Is being resumed by main's loop, which holds it.
    Running,
    Finished,
}

struct Entry<T> {
    /// Before `name`, which the label on the member's stack points to.
    member: Member<T>,
    name: Rc<str>,
}

struct Shared<T> {
    hub: u64,
    entries: RefCell<Vec<Entry<T>>>,
    /// Set when the hub is being taken down, and refuses new members.
    ending: Cell<bool>,
}

/// Runs `main`, which adds members to the hub and switches to them. Members that have not ended by the time it
/// returns are unwound.
pub fn run<T: 'static, R>(main: impl FnOnce(&Hub<T>) -> R) -> R {
    static NEXT_HUB: AtomicU64 = AtomicU64::new(1);

    overflow::install();
    let hub = NEXT_HUB.fetch_add(1, Ordering::Relaxed);
    main(&Hub {
        shared: Rc::new(Shared { hub, entries: RefCell::new(Vec::new()), ending: Cell::new(false) }),
    })
}

/// The main program's side of a set of members; see [`run`].
pub struct Hub<T> {
    shared: Rc<Shared<T>>,
}

impl<T: 'static> Hub<T> {
    /// Adds a member that begins, when first switched to, with `body` and the value of that switch. Its stack has the default
    /// size.
    ///
    /// # Errors
    /// As [`arena::allocate`] and [`arena::default_size`].
    pub fn add<F>(&self, name: &str, body: F) -> io::Result<MemberId>
    where
        F: FnOnce(&Cx<T>, T) -> Handover<T> + 'static,
    {
        Shared::add(&self.shared, name, body)
    }

    /// The member added last under this name.
    pub fn find(&self, name: &str) -> Option<MemberId> {
        self.shared.find(name)
    }

    /// Whether the member has returned or panicked, or never was one of this hub.
    pub fn is_finished(&self, member: MemberId) -> bool {
        self.shared.check(member, ()).is_err_and(|error| !matches!(error, SwitchError::Running(..)))
    }

    /// Lets `member` go on with `value`, until somebody switches or hands over to main: the result is what they bring.
    ///
    /// # Errors
    /// If `member`, or one that a member handed over to as it ended, has finished or is unknown here.
    ///
    /// # Panics
    /// With the panic of a member, which is finished then; the others are not affected.
    pub fn switch_to(&self, member: MemberId, value: T) -> Result<T, SwitchError<T>> {
        let (mut next, mut value) = (member, value);
        loop {
            if next == self.shared.main() {
                return Ok(value);
            }
            value = self.shared.check(next, value)?;
            match self.resume(next, value) {
                CoroutineResult::Yield(switch) => (next, value) = switch,
                CoroutineResult::Return(Handover::To(successor, last)) => (next, value) = (successor, last),
                CoroutineResult::Return(Handover::Main(last)) => return Ok(last),
            }
        }
    }

    /// Resumes a member that waits, and puts it back if it waits again. If it panics it stays finished.
    fn resume(&self, id: MemberId, value: T) -> CoroutineResult<Switch<T>, Handover<T>> {
        /// Writes down on the way out, also that of a panic, how the member was left.
        struct Left<'hub, T> {
            shared: &'hub Shared<T>,
            id: MemberId,
            body: Option<Body<T>>,
        }

        impl<T> Drop for Left<'_, T> {
            fn drop(&mut self) {
                let member = match self.body.take() {
                    Some(body) if !body.done() => Member::Waiting(body),
                    _ => Member::Finished,
                };
                self.shared.entries.borrow_mut()[self.id.number - 1].member = member;
            }
        }

        let mut left = Left { shared: &self.shared, id, body: None };
        {
            let mut entries = self.shared.entries.borrow_mut();
            let Member::Waiting(body) =
                std::mem::replace(&mut entries[id.number - 1].member, Member::Running)
            else {
                unreachable!("switch_to has checked that the member waits");
            };
            left.body = Some(body);
        }
        left.body.as_mut().expect("put there above").resume(value)
    }
}

impl<T> Drop for Hub<T> {
    fn drop(&mut self) {
        self.shared.ending.set(true);
        // One at a time and outside the borrow: their destructors may look at the hub.
        let count = self.shared.entries.borrow().len();
        for index in 0..count {
            let member =
                std::mem::replace(&mut self.shared.entries.borrow_mut()[index].member, Member::Finished);
            drop(member);
        }
    }
}

impl<T> fmt::Debug for Hub<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("id", &self.shared.hub).finish_non_exhaustive()
    }
}

/// A member's side: how its body switches to others.
pub struct Cx<T> {
    /// Lives at the root of the member's stack, above the frame this value lives in.
    yielder: *const Yielder<T, Switch<T>>,
    span: StackSpan,
    id: MemberId,
    shared: Rc<Shared<T>>,
}

impl<T: 'static> Cx<T> {
    /// Waits here, and lets `member` go on with `value`. Comes back with what the next switch to this member brings.
    /// A switch to oneself comes back at once.
    ///
    /// # Errors
    /// If `member` has finished or is unknown in this hub; the caller goes on then.
    ///
    /// # Panics
    /// If called on another stack than the member's own. Unwinds if the hub ends meanwhile.
    pub fn switch_to(&self, member: MemberId, value: T) -> Result<T, SwitchError<T>> {
        assert!(self.span.is_current(), "a member of a hub can switch from its own stack only");
        if member == self.id {
            return Ok(value);
        }
        let value = self.shared.check(member, value)?;
        // SAFETY: this value is only ever seen by reference, during the body, whose frame lies below the yielder's.
        // The yielder may only be used by what runs on its stack, which was just checked.
        Ok(unsafe { (*self.yielder).suspend((member, value)) })
    }

    /// The main program, as somebody to switch to.
    pub fn main(&self) -> MemberId {
        self.shared.main()
    }

    /// The member itself.
    pub fn id(&self) -> MemberId {
        self.id
    }

    /// As [`Hub::add`].
    ///
    /// # Errors
    /// As [`Hub::add`]; and when the hub is ending.
    pub fn add<F>(&self, name: &str, body: F) -> io::Result<MemberId>
    where
        F: FnOnce(&Cx<T>, T) -> Handover<T> + 'static,
    {
        Shared::add(&self.shared, name, body)
    }

    /// The member added last under this name.
    pub fn find(&self, name: &str) -> Option<MemberId> {
        self.shared.find(name)
    }
}

impl<T> fmt::Debug for Cx<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<T> Shared<T> {
    fn main(&self) -> MemberId {
        MemberId { hub: self.hub, number: 0 }
    }

    /// Hands the value back if `id` can be switched to.
    fn check<V>(&self, id: MemberId, value: V) -> Result<V, SwitchError<V>> {
        if id == self.main() {
            return Ok(value);
        }
        if id.hub != self.hub {
            return Err(SwitchError::Unknown(id, value));
        }
        match self.entries.borrow()[id.number - 1].member {
            Member::Waiting(_) => Ok(value),
            Member::Running => Err(SwitchError::Running(id, value)),
            Member::Finished => Err(SwitchError::Finished(id, value)),
        }
    }

    fn find(&self, name: &str) -> Option<MemberId> {
        let position = self.entries.borrow().iter().rposition(|entry| &*entry.name == name)?;
        Some(MemberId { hub: self.hub, number: position + 1 })
    }

    fn add<F>(this: &Rc<Shared<T>>, name: &str, body: F) -> io::Result<MemberId>
    where
        F: FnOnce(&Cx<T>, T) -> Handover<T> + 'static,
        T: 'static,
    {
        if this.ending.get() {
            return Err(io::Error::other("the hub is ending, and takes no more members"));
        }
        let stack = arena::allocate(arena::default_size()?)?;
        let name: Rc<str> = name.into();
        let id = MemberId { hub: this.hub, number: this.entries.borrow().len() + 1 };
        // SAFETY: the entry keeps the name, on the heap, and drops it after the coroutine, and so after the stack; so
        // does the loop that holds the coroutine while it runs, which borrows the entries' owner.
        unsafe { stack.set_label(Label::coroutine(id.number as u64, &name)) };
        let span = stack.span();
        // Weak would do, and would cost an upgrade at each switch; the cycle is broken when the hub ends.
        let shared = Rc::clone(this);
        let body = coroutine(stack, move |yielder: &Yielder<T, Switch<T>>, first| {
            body(&Cx { yielder, span, id, shared }, first)
        });
        this.entries.borrow_mut().push(Entry { member: Member::Waiting(Box::new(body)), name });
        Ok(id)
    }
}
