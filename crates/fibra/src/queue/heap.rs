//! A binary heap whose every change is found first and made afterwards.
//!
//! A change moves one entry along the way between the root and some place. The place says the way, since each place has one parent; so to find a change, by comparing, is
//! to find a place, and to make it needs no comparison. An `Ord` that panics finds nothing, and nothing has moved; one that is inconsistent misplaces entries, and
//! no more.
//!
//! ```text
//!            0            place_for: from the end, up past every parent that comes later
//!         1     2         place_without_first: from the root, the last entry, down past every child that comes earlier
//!       3   4 5   6
//! ```

use std::cmp::Ordering;

/// The greatest item first; among equals the one that came first.
#[derive(Debug)]
pub(super) struct Heap<T> {
    entries: Vec<Entry<T>>,
    /// The number of the next to come.
    next: u64,
}

#[derive(Debug)]
struct Entry<T> {
    item: T,
    number: u64,
}

impl<T> Heap<T> {
    pub(super) fn new() -> Heap<T> {
        Heap { entries: Vec::new(), next: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Puts an item in at the place that `place_for` has found.
    pub(super) fn push(&mut self, item: T, place: usize) {
        let entry = self.entry(item);
        self.entries.push(entry);
        let mut at = self.entries.len() - 1;
        while at > place {
            let parent = parent(at);
            self.entries.swap(at, parent);
            at = parent;
        }
    }

    /// Takes the first out; the last entry goes to the place that `place_without_first` has found.
    pub(super) fn pop(&mut self, place: usize) -> T {
        let first = self.entries.swap_remove(0);
        self.sink(place);
        first.item
    }

    /// Takes the first out, and puts another in at the place that `place_instead_of_first` has found.
    pub(super) fn replace(&mut self, item: T, place: usize) -> T {
        let entry = self.entry(item);
        let first = std::mem::replace(&mut self.entries[0], entry);
        self.sink(place);
        first.item
    }

    fn entry(&mut self, item: T) -> Entry<T> {
        let number = self.next;
        self.next += 1;
        Entry { item, number }
    }

    /// Moves the root's entry down to a place.
    fn sink(&mut self, place: usize) {
        let levels = (place + 1).ilog2();
        let mut at = 0;
        for level in (0..levels).rev() {
            // The place's ancestor, one level further down.
            let child = ((place + 1) >> level) - 1;
            self.entries.swap(at, child);
            at = child;
        }
    }
}

impl<T: Ord> Heap<T> {
    pub(super) fn place_for(&self, item: &T) -> usize {
        let mut place = self.entries.len();
        while place > 0 && comes_before((item, self.next), self.key(parent(place))) {
            place = parent(place);
        }
        place
    }

    pub(super) fn place_without_first(&self) -> usize {
        let last = self.entries.len() - 1;
        self.place_below(self.key(last), last)
    }

    pub(super) fn place_instead_of_first(&self, item: &T) -> usize {
        self.place_below((item, self.next), self.entries.len())
    }

    /// Where an entry goes from the root, if there are so many entries.
    fn place_below(&self, key: (&T, u64), len: usize) -> usize {
        let mut place = 0;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= len {
                return place;
            }
            let right_first = right < len && comes_before(self.key(right), self.key(left));
            let child = if right_first { right } else { left };
            if !comes_before(self.key(child), key) {
                return place;
            }
            place = child;
        }
    }

    fn key(&self, place: usize) -> (&T, u64) {
        let entry = &self.entries[place];
        (&entry.item, entry.number)
    }
}

fn parent(place: usize) -> usize {
    (place - 1) / 2
}

fn comes_before<T: Ord>(one: (&T, u64), other: (&T, u64)) -> bool {
    match one.0.cmp(other.0) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => one.1 < other.1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    fn push<T: Ord>(heap: &mut Heap<T>, item: T) {
        let place = heap.place_for(&item);
        heap.push(item, place);
    }

    fn pop<T: Ord>(heap: &mut Heap<T>) -> Option<T> {
        (heap.len() > 0).then(|| heap.pop(heap.place_without_first()))
    }

    /// Any numbers, always the same.
    fn numbers() -> impl Iterator<Item = u64> {
        let mut x = 88_172_645_463_325_252_u64;
        std::iter::repeat_with(move || {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            x
        })
    }

    /// Compared by the first number only.
    #[derive(Debug, Clone, Copy)]
    struct Ranked(u64, usize);

    impl PartialEq for Ranked {
        fn eq(&self, other: &Ranked) -> bool {
            self.0 == other.0
        }
    }
    impl Eq for Ranked {}
    impl PartialOrd for Ranked {
        fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Ranked {
        fn cmp(&self, other: &Ranked) -> Ordering {
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn it_agrees_with_a_stable_sort() {
        for count in 0..70 {
            let items: Vec<_> = numbers().take(count).enumerate().map(|(n, x)| Ranked(x % 10, n)).collect();
            let mut heap = Heap::new();
            items.iter().for_each(|item| push(&mut heap, *item));
            let out: Vec<_> = std::iter::from_fn(|| pop(&mut heap)).map(|item| (item.0, item.1)).collect();
            let mut sorted = items;
            sorted.sort_by_key(|item| std::cmp::Reverse(item.0));
            assert_eq!(out, sorted.into_iter().map(|item| (item.0, item.1)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn to_replace_is_to_pop_and_push() {
        let mut numbers = numbers();
        for count in 1..40 {
            let (mut one, mut other) = (Heap::new(), Heap::new());
            for item in numbers.by_ref().take(count).map(|x| x % 20) {
                push(&mut one, item);
                push(&mut other, item);
            }
            for item in numbers.by_ref().take(100).map(|x| x % 20) {
                let place = one.place_instead_of_first(&item);
                let replaced = one.replace(item, place);
                assert_eq!(Some(replaced), pop(&mut other));
                push(&mut other, item);
            }
            while let Some(item) = pop(&mut one) {
                assert_eq!(Some(item), pop(&mut other));
            }
        }
    }

    thread_local!(static LEFT: Cell<usize> = const { Cell::new(usize::MAX) });

    /// Its comparison panics when as many as are left have been made.
    #[derive(PartialEq, Eq)]
    struct Moody(u64);

    impl PartialOrd for Moody {
        fn partial_cmp(&self, other: &Moody) -> Option<Ordering> {
            Some(self.cmp(other))
        }
    }
    impl Ord for Moody {
        fn cmp(&self, other: &Moody) -> Ordering {
            LEFT.set(LEFT.get().checked_sub(1).expect("in a bad mood"));
            self.0.cmp(&other.0)
        }
    }

    #[test]
    fn a_comparison_that_panics_moves_nothing() {
        let mut heap = Heap::new();
        numbers().take(50).for_each(|x| push(&mut heap, Moody(x)));
        let before: Vec<_> = heap.entries.iter().map(|entry| entry.item.0).collect();
        let mut panics = 0;
        for left in 0..10 {
            LEFT.set(left);
            let found = catch_unwind(AssertUnwindSafe(|| {
                heap.place_without_first();
                heap.place_instead_of_first(&Moody(0));
                heap.place_for(&Moody(u64::MAX));
            }));
            panics += usize::from(found.is_err());
        }
        LEFT.set(usize::MAX);
        assert!(panics > 0);
        assert_eq!(before, heap.entries.iter().map(|entry| entry.item.0).collect::<Vec<_>>());
        let out: Vec<_> = std::iter::from_fn(|| pop(&mut heap)).map(|item| item.0).collect();
        assert!(out.is_sorted_by(|one, next| one >= next) && out.len() == 50);
    }
}
