//! A worker's own supply of stacks: taking and giving without a lock or a system call.
//!
//! Last in, first out, for the stack used last is the one still in the processor's cache. A cache that runs dry fetches
//! a batch of free stacks from the [arena]; one that overflows gives half of what it holds back, the
//! coldest. One lock a batch, then.

use std::io;

use crate::arena::{self, Stack};
use crate::size_class::{self, SizeClass};

/// Stacks kept at hand by one thread.
///
/// ```
/// use fibra_context::StackCache;
///
/// let mut cache = StackCache::new(128);
/// let stack = cache.take(64 * 1024)?;
/// cache.give(stack);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct StackCache {
    /// Never more than `limit` of each size.
    limit: usize,
    /// The size asked for last, and its class: most programs use one.
    last_size: usize,
    last_class: SizeClass,
    kept: Box<[Vec<Stack>; size_class::COUNT]>,
}

/// How many stacks are fetched from the arena at once, at most.
const BATCH: usize = 32;

impl StackCache {
    /// An empty cache that keeps up to `limit` stacks of each size class.
    pub fn new(limit: usize) -> StackCache {
        let last_class = SizeClass::at(0);
        let kept = Box::new([const { Vec::new() }; size_class::COUNT]);
        StackCache { limit, last_size: last_class.bytes(), last_class, kept }
    }

    /// A stack of at least `size` usable bytes: one from the cache, or else from the arena.
    ///
    /// # Errors
    /// As [`arena::allocate`]; a stack that is in the cache already cannot fail.
    #[inline]
    pub fn take(&mut self, size: usize) -> io::Result<Stack> {
        if size != self.last_size {
            self.last_class = arena::class_for(size)?;
            self.last_size = size;
        }
        match self.kept[self.last_class.index()].pop() {
            Some(stack) => {
                stack.prepare();
                Ok(stack)
            }
            None => self.fetch(),
        }
    }

    /// Fetches a batch of `last_class` and takes one of it.
    #[cold]
    fn fetch(&mut self) -> io::Result<Stack> {
        let kept = &mut self.kept[self.last_class.index()];
        arena::take_free(self.last_class, self.limit.div_ceil(2).clamp(1, BATCH), kept);
        // The warmest was fetched first.
        kept.reverse();
        match kept.pop() {
            Some(stack) => Ok(stack),
            None => arena::allocate(self.last_size),
        }
    }

    /// Puts a stack into the cache. Beyond the limit, half of those of its size go back to the arena.
    #[inline]
    pub fn give(&mut self, stack: Stack) {
        stack.clear_label();
        let class = stack.class();
        let kept = &mut self.kept[class.index()];
        kept.push(stack);
        if kept.len() > self.limit {
            self.spill(class);
        }
    }

    #[cold]
    fn spill(&mut self, class: SizeClass) {
        let kept = &mut self.kept[class.index()];
        let surplus = kept.len() - self.limit / 2;
        arena::give_back(class, kept.drain(..surplus));
    }

    /// Keeps the `keep` warmest stacks of each size; the rest go back to the arena, and their memory to the kernel.
    pub fn trim(&mut self, keep: usize) {
        for (index, kept) in self.kept.iter_mut().enumerate().filter(|(_, kept)| kept.len() > keep) {
            let surplus = kept.len() - keep;
            arena::give_back_clean(SizeClass::at(index), kept.drain(..surplus));
            kept.shrink_to(2 * keep);
        }
    }

    /// How many stacks are in the cache.
    pub fn len(&self) -> usize {
        self.kept.iter().map(Vec::len).sum()
    }

    /// Whether the cache holds no stack.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Drop for StackCache {
    fn drop(&mut self) {
        for (index, kept) in self.kept.iter_mut().enumerate().filter(|(_, kept)| !kept.is_empty()) {
            arena::give_back(SizeClass::at(index), kept.drain(..));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use corosensei::stack::Stack as _;

    #[test]
    fn the_stack_given_last_is_taken_first() {
        let mut cache = StackCache::new(8);
        let (first, second) = (cache.take(40 << 10).unwrap(), cache.take(40 << 10).unwrap());
        let (first_base, second_base) = (first.base(), second.base());
        cache.give(first);
        cache.give(second);
        assert_eq!(cache.take(40 << 10).unwrap().base(), second_base);
        assert_eq!(cache.take(40 << 10).unwrap().base(), first_base);
    }

    #[test]
    fn a_full_cache_gives_the_colder_half_back() {
        let mut cache = StackCache::new(8);
        let stacks: Vec<Stack> = (0..9).map(|_| arena::allocate(56 << 10).unwrap()).collect();
        let last = stacks[8].base();
        stacks.into_iter().for_each(|stack| cache.give(stack));
        assert_eq!(cache.len(), 4);
        assert_eq!(cache.take(56 << 10).unwrap().base(), last);
    }

    #[test]
    fn a_cache_without_room_keeps_nothing() {
        let mut cache = StackCache::new(0);
        let stack = cache.take(20 << 10).unwrap();
        cache.give(stack);
        assert!(cache.is_empty());
        cache.take(20 << 10).unwrap();
    }

    #[test]
    fn sizes_do_not_mix() {
        let mut cache = StackCache::new(8);
        let (small, large) = (cache.take(16 << 10).unwrap(), cache.take(1 << 20).unwrap());
        cache.give(small);
        cache.give(large);
        assert_eq!(cache.take(1 << 20).unwrap().usable_size(), 1 << 20);
        assert_eq!(cache.take(16 << 10).unwrap().usable_size(), 16 << 10);
    }
}
