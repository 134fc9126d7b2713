//! Buffers that connections borrow while they have something to do.
//!
//! Each worker keeps its own, so nothing is locked. A coroutine stays on its worker, so a buffer comes back to where it was taken,
//! also when its borrower waits in between.

use crate::protocol::http::Date;
use std::cell::RefCell;
use std::time::SystemTime;

/// How many bytes are read at once.
const READ: usize = 16 << 10;

/// An output buffer that has grown beyond this is not kept.
const KEPT: usize = 256 << 10;

/// How many sets of buffers a worker keeps.
const SETS: usize = 64;

/// What a connection needs to answer.
pub(super) struct Buffers {
    pub(super) input: Box<[u8]>,
    pub(super) output: Vec<u8>,
    pub(super) date: Date,
}

thread_local! {
    static FREE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

/// Lends buffers to `f`; the output is empty.
#[inline]
pub(super) fn with<R>(f: impl FnOnce(&mut Buffers) -> R) -> R {
    let kept = FREE.with(|free| free.borrow_mut().pop());
    let mut buffers = kept.unwrap_or_else(|| Buffers {
        input: vec![0; READ].into_boxed_slice(),
        output: Vec::with_capacity(4 << 10),
        date: Date::at(SystemTime::now()),
    });
    let result = f(&mut buffers);
    buffers.output.clear();
    if buffers.output.capacity() <= KEPT {
        FREE.with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < SETS {
                free.push(buffers);
            }
        });
    }
    result
}
