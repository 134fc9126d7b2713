//! Generators: asymmetric coroutines without a scheduler.
//!
//! The caller resumes a [`Generator`] with a value; its body yields values from however deep in its calls, and goes on with what
//! the next resume brings. Each runs on a stack of its own, so the body is plain code.
//!
//! ```text
//!   caller                         body
//!   resume(a)  ───────────────▶    |handle, a| …
//!   Yielded(x) ◀───────────────    handle.suspend(x)
//!   resume(b)  ───────────────▶    … returns b …
//!   Returned(r) ◀──────────────    r
//! ```
//!
//! ```
//! use fibra_context::{Generator, Resumed};
//!
//! let mut average = Generator::new(|handle, first: f64| {
//!     let (mut sum, mut count) = (first, 1.0);
//!     while count < 3.0 {
//!         sum += handle.suspend(sum / count);
//!         count += 1.0;
//!     }
//!     "three are enough"
//! });
//! assert_eq!(average.resume(2.0), Resumed::Yielded(2.0));
//! assert_eq!(average.resume(4.0), Resumed::Yielded(3.0));
//! assert_eq!(average.resume(9.0), Resumed::Returned("three are enough"));
//! ```
//!
//! # Closing
//!
//! Dropping or [closing](Generator::close) a suspended generator unwinds its body from where it waits, and runs the
//! destructors there. No panic message is printed and no hook runs. A body that catches the unwind may finish, and its
//! result is dropped; one that catches it and suspends again is unwound again, and one that does so for ever hangs
//! its closer. A destructor must not suspend while it is being unwound: that is a panic in a destructor during
//! cleanup, which aborts.
//!
//! # Why bodies are `'static`
//!
//! A generator can be leaked (`mem::forget`), and a suspended body that borrowed would outlive what it borrowed.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use corosensei::{CoroutineResult, Yielder};

use crate::arena::{self, Label, StackSpan};
use crate::coroutine::{Coroutine, coroutine};
use crate::overflow;

/// What came of resuming a generator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resumed<Yield, Return> {
    /// The body suspended itself, with this value.
    Yielded(Yield),
    /// The body ended, with this value. The generator is finished.
    Returned(Return),
}

impl<Yield, Return> Resumed<Yield, Return> {
    /// The yielded value, if that is what it is.
    pub fn yielded(self) -> Option<Yield> {
        match self {
            Resumed::Yielded(value) => Some(value),
            Resumed::Returned(_) => None,
        }
    }

    /// The returned value, if that is what it is.
    pub fn returned(self) -> Option<Return> {
        match self {
            Resumed::Yielded(_) => None,
            Resumed::Returned(value) => Some(value),
        }
    }
}

/// How far a generator has got. That it is running cannot be seen: it is borrowed meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GeneratorState {
    /// Made, never resumed.
    Created,
    /// Waiting in a [`suspend`](Suspender::suspend).
    Suspended,
    /// Returned, panicked, or closed.
    Finished,
}

/// A coroutine driven by its caller; see the [module](self).
pub struct Generator<Resume, Yield, Return> {
    /// `None` once finished, when the stack has gone back. Before `name`, which the label on the stack points to.
    coroutine: Option<Coroutine<Resume, Yield, Return>>,
    name: Box<str>,
    id: u64,
}

impl<Resume: 'static, Yield: 'static, Return: 'static> Generator<Resume, Yield, Return> {
    /// A generator that will run `body` on a stack of the default size. The body gets the value of the first resume.
    ///
    /// # Panics
    /// If there is no stack to be had; [`Generator::try_new`] returns that as an error.
    pub fn new<F>(body: F) -> Self
    where
        F: FnOnce(&Suspender<Resume, Yield>, Resume) -> Return + 'static,
    {
        Self::try_new(body).unwrap_or_else(|error| panic!("a generator could not be made: {error}"))
    }

    /// As [`Generator::new`].
    ///
    /// # Errors
    /// As [`arena::allocate`] and [`arena::default_size`].
    pub fn try_new<F>(body: F) -> io::Result<Self>
    where
        F: FnOnce(&Suspender<Resume, Yield>, Resume) -> Return + 'static,
    {
        Builder::new().generator(body)
    }

    /// Runs the body until it suspends itself or ends.
    ///
    /// # Panics
    /// With the body's panic, if it panics; the generator is finished then. If it was finished before.
    pub fn resume(&mut self, value: Resume) -> Resumed<Yield, Return> {
        let coroutine = self.coroutine.as_mut().filter(|coroutine| !coroutine.done());
        match coroutine.expect("a finished generator was resumed").resume(value) {
            CoroutineResult::Yield(value) => Resumed::Yielded(value),
            CoroutineResult::Return(value) => {
                self.coroutine = None;
                Resumed::Returned(value)
            }
        }
    }

    /// Unwinds the body if it is suspended, running the destructors on its stack, and drops it if it never ran.
    /// Closing a finished generator does nothing.
    ///
    /// # Panics
    /// With the panic of a destructor, if one panics. (In a mere drop that aborts the process.)
    pub fn close(&mut self) {
        if let Some(mut coroutine) = self.coroutine.take() {
            coroutine.force_unwind();
        }
    }
}

impl<Resume, Yield, Return> Generator<Resume, Yield, Return> {
    /// How far it has got.
    pub fn state(&self) -> GeneratorState {
        match &self.coroutine {
            Some(coroutine) if !coroutine.started() => GeneratorState::Created,
            Some(coroutine) if !coroutine.done() => GeneratorState::Suspended,
            _ => GeneratorState::Finished,
        }
    }

    /// The name it was [built](Builder::name) with, or the empty one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its number, unlike that of any other generator of the process.
    pub fn id(&self) -> u64 {
        self.id
    }
}

impl<Yield: 'static> Iterator for Generator<(), Yield, ()> {
    type Item = Yield;

    /// The next value yielded; `None` once finished.
    fn next(&mut self) -> Option<Yield> {
        match self.state() {
            GeneratorState::Finished => None,
            _ => self.resume(()).yielded(),
        }
    }
}

impl<Yield: 'static> std::iter::FusedIterator for Generator<(), Yield, ()> {}

impl<Resume, Yield, Return> fmt::Debug for Generator<Resume, Yield, Return> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator")
            .field("id", &self.id)
            .field("name", &self.name)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// Chooses a generator's name and stack size.
///
/// ```
/// use fibra_context::generator::Builder;
///
/// let digits = Builder::new().name("digits").stack_size(32 * 1024).generator(|handle, ()| {
///     (0..10).for_each(|digit| handle.suspend(digit))
/// })?;
/// assert_eq!(digits.sum::<i32>(), 45);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: String,
    stack_size: Option<usize>,
}

impl Builder {
    /// No name, and a stack of the default size.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Names the generator, for the report should it overflow its stack.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = name.into();
        self
    }

    /// Sets the usable size of its stack in bytes, which is rounded up. The default is [`arena::default_size`].
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// Makes the generator. [Installs](overflow::install) the overflow report, if that has not been done.
    ///
    /// # Errors
    /// As [`arena::allocate`] and [`arena::default_size`].
    pub fn generator<Resume, Yield, Return, F>(self, body: F) -> io::Result<Generator<Resume, Yield, Return>>
    where
        F: FnOnce(&Suspender<Resume, Yield>, Resume) -> Return + 'static,
        Resume: 'static,
        Yield: 'static,
        Return: 'static,
    {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);

        overflow::install();
        let stack = arena::allocate(match self.stack_size {
            Some(size) => size,
            None => arena::default_size()?,
        })?;
        let (name, id) = (self.name.into_boxed_str(), NEXT_ID.fetch_add(1, Ordering::Relaxed));
        // SAFETY: the generator keeps the name and drops it after the coroutine, and so after the stack. Its text is on
        // the heap, so moving the generator does not move it.
        unsafe { stack.set_label(Label::generator(id, &name)) };
        let span = stack.span();
        let coroutine = coroutine(stack, move |yielder: &Yielder<Resume, Yield>, first| {
            body(&Suspender { yielder, span }, first)
        });
        Ok(Generator { coroutine: Some(coroutine), name, id })
    }
}

/// How the body of a generator suspends itself.
pub struct Suspender<Resume, Yield> {
    /// Lives at the root of the generator's stack, above the frame this value lives in.
    yielder: *const Yielder<Resume, Yield>,
    span: StackSpan,
}

impl<Resume, Yield> Suspender<Resume, Yield> {
    /// Returns to whoever resumed the generator, with `value`. Comes back with the value of the next resume.
    ///
    /// # Panics
    /// If called on another stack than the generator's own, for instance by a coroutine that borrowed the handle.
    /// Unwinds if the generator is closed meanwhile.
    pub fn suspend(&self, value: Yield) -> Resume {
        assert!(self.span.is_current(), "a generator can be suspended from its own stack only");
        // SAFETY: this value is only ever seen by reference, during the body, whose frame lies below the yielder's.
        // The yielder may only be used by what runs on its stack, which was just checked: then the generator is
        // being resumed, and the link to its resumer is current.
        unsafe { (*self.yielder).suspend(value) }
    }

    /// Lets `inner` stand in: what it yields goes to this generator's caller, what that sends goes to `inner`, and what
    /// `inner` returns is the result. `first` is its first resume.
    ///
    /// Closing the outer generator closes the inner one.
    ///
    /// # Panics
    /// If `inner` panics or is finished; and as [`Suspender::suspend`].
    pub fn delegate<Return: 'static>(
        &self,
        mut inner: Generator<Resume, Yield, Return>,
        first: Resume,
    ) -> Return
    where
        Resume: 'static,
        Yield: 'static,
    {
        let mut sent = first;
        loop {
            match inner.resume(sent) {
                Resumed::Yielded(value) => sent = self.suspend(value),
                Resumed::Returned(value) => return value,
            }
        }
    }
}

impl<Resume, Yield> fmt::Debug for Suspender<Resume, Yield> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Suspender").finish_non_exhaustive()
    }
}
