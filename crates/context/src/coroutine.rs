//! A coroutine: a corosensei coroutine on a stack of the arena.

use corosensei::Yielder;

use crate::arena::Stack;

/// A corosensei coroutine on a stack of fibra's arena.
///
/// Make one with [`coroutine`], or with `Coroutine::with_stack`, which panics for a closure of more than 1 KiB.
///
/// Dropping a suspended one unwinds its stack, so that what lives there is dropped; it aborts the process if a
/// destructor panics meanwhile. A finished one gives its stack up with `into_stack`, for
/// [`StackCache::give`](crate::StackCache::give); dropped, it returns the stack to the arena.
pub type Coroutine<Input, Yield, Return> = corosensei::Coroutine<Input, Yield, Return, Stack>;

/// Closures above this many bytes go to the heap, so as not to push a parked coroutine onto a second page: the
/// closure is stored at the top of its stack until it is first resumed, and copied once more as it starts.
const LARGEST_BODY_ON_STACK: usize = 256;

/// A coroutine that will run `body` on `stack`, however much `body` captures.
///
/// ```
/// use fibra_context::{CoroutineResult, arena, coroutine};
///
/// let table = [7u8; 64 * 1024];
/// let stack = arena::allocate(256 * 1024)?;
/// let mut sum = coroutine(stack, move |_, (): ()| -> u64 { table.iter().map(|&byte| u64::from(byte)).sum() });
/// # let _: &fibra_context::Coroutine<(), (), u64> = &sum;
/// assert_eq!(sum.resume(()), CoroutineResult::Return(7 * 64 * 1024));
/// # Ok::<(), std::io::Error>(())
/// ```
#[inline]
pub fn coroutine<Input, Yield, Return, F>(stack: Stack, body: F) -> Coroutine<Input, Yield, Return>
where
    F: FnOnce(&Yielder<Input, Yield>, Input) -> Return + 'static,
    Input: 'static,
    Yield: 'static,
    Return: 'static,
{
    if size_of::<F>() <= LARGEST_BODY_ON_STACK {
        Coroutine::with_stack(stack, body)
    } else {
        let body = Box::new(body);
        Coroutine::with_stack(stack, move |yielder, input| body(yielder, input))
    }
}
