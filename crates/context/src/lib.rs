//! Stacks and switching: the lowest layer of fibra.
//!
//! | module | what it holds |
//! |---|---|
//! | [`arena`] | where stacks come from: one process-wide arena, guarded slots, labels |
//! | [`cache`] | a worker's own supply of warm stacks, without locks |
//! | [`overflow`] | the report of a coroutine that has run out of stack |
//! | [`generator`] | asymmetric coroutines: resume with a value, yield a value |
//! | [`symmetric`] | named coroutines that switch to one another |
//!
//! The switch itself is [corosensei](https://docs.rs/corosensei)'s; a [`Coroutine`] here is one of its coroutines
//! on a [`Stack`] of the arena. Nothing in this crate schedules, waits or does input and output.
//!
//! ```
//! use fibra_context::{Coroutine, CoroutineResult, StackCache, Yielder};
//!
//! let mut cache = StackCache::new(64);
//! let stack = cache.take(64 * 1024)?;
//! let mut doubler = Coroutine::with_stack(stack, |yielder: &Yielder<u32, u32>, first| {
//!     let second = yielder.suspend(first * 2);
//!     second * 2
//! });
//! assert_eq!(doubler.resume(4), CoroutineResult::Yield(8));
//! assert_eq!(doubler.resume(5), CoroutineResult::Return(10));
//! cache.give(doubler.into_stack());
//! # Ok::<(), std::io::Error>(())
//! ```

mod alternate_stack;
pub mod arena;
pub mod cache;
mod chunk;
mod coroutine;
pub mod generator;
mod guard;
mod label;
pub mod overflow;
mod size_class;
mod stack;
pub mod symmetric;
#[cfg(feature = "valgrind")]
mod valgrind;

pub use arena::{Label, Stack, StackSpan};
pub use cache::StackCache;
pub use corosensei::{CoroutineResult, Yielder};
pub use coroutine::{Coroutine, coroutine};
pub use generator::{Generator, Resumed, Suspender};
