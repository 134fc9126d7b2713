//! Where the timers of a wheel are kept: a slab, its keys, and lists threaded through it.
//!
//! A list is a first and a last index; the links are in the entries, so that a timer leaves its list without
//! a search, and nothing is allocated for it to join one. The free entries form such a list too.
//!
//! # Giving memory back
//!
//! An entry cannot move, since keys know its index, so memory ends with the last entry in use.
//!
//! ```text
//!   0                      half                      len
//!   │ ■ ■ □ ■ □ □ ■ □ □ ■ □ │ □ □ ■ □ □ □ □ □ □ □ □ ■ │    ■ live, □ free
//!     taken first, latest     taken last: renewed      └── once free, what is free at the end is cut off
//!     freed before others     timers leave this half
//! ```
//!
//! Both the sorting into halves and the cutting off are a few steps at each removal; nothing ever scans.

/// Where a list ends.
const NONE: u32 = u32::MAX;
/// Room kept for entries, however few are live.
const KEPT: usize = 1024;

/// Names one timer of one wheel.
///
/// The index says where, the generation says which: keys of timers that have fired or were cancelled match
/// nothing. A generation returns after 2^32 insertions, and would then have to meet its old index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerKey {
    pub(super) index: u32,
    generation: u32,
}

/// The live timers of a wheel.
pub(super) struct Entries<T> {
    /// The last of them is live.
    slab: Vec<Entry<T>>,
    free: List,
    live: usize,
    /// The generation of the next timer. One counter for all and not one an entry, so that keys of entries
    /// which were cut off stay stale when the entries are made anew.
    generation: u32,
}

/// A list of entries, in the order in which they joined. An entry is in one list at the most.
#[derive(Clone, Copy)]
pub(super) struct List {
    first: u32,
    last: u32,
}

struct Entry<T> {
    /// Nanoseconds since the wheel began.
    deadline: u64,
    prev: u32,
    next: u32,
    generation: u32,
    /// `None` when the entry is free.
    value: Option<T>,
}

impl<T> Entries<T> {
    pub(super) fn new() -> Self {
        Entries { slab: Vec::new(), free: List::EMPTY, live: 0, generation: 0 }
    }

    /// The number of live timers.
    pub(super) fn len(&self) -> usize {
        self.live
    }

    /// Makes an entry, in no list as yet.
    pub(super) fn insert(&mut self, deadline: u64, value: T) -> TimerKey {
        let generation = self.generation;
        self.generation = generation.wrapping_add(1);
        let entry = Entry { deadline, prev: NONE, next: NONE, generation, value: Some(value) };
        let index = if let Some(index) = self.free.first() {
            let next = self.slab[index as usize].next;
            self.free.join(&mut self.slab, NONE, next);
            self.slab[index as usize] = entry;
            index
        } else {
            let index = u32::try_from(self.slab.len()).unwrap_or(NONE);
            assert_ne!(index, NONE, "too many timers");
            self.slab.push(entry);
            index
        };
        self.live += 1;
        TimerKey { index, generation }
    }

    /// The entry of a timer that is still live.
    pub(super) fn find(&self, key: TimerKey) -> Option<u32> {
        let entry = self.slab.get(key.index as usize)?;
        (entry.generation == key.generation && entry.value.is_some()).then_some(key.index)
    }

    pub(super) fn deadline(&self, index: u32) -> u64 {
        self.slab[index as usize].deadline
    }

    /// The entry that follows in the same list.
    pub(super) fn next(&self, index: u32) -> Option<u32> {
        some(self.slab[index as usize].next)
    }

    /// Puts an entry, in no list so far, at the end of one.
    pub(super) fn append(&mut self, list: &mut List, index: u32) {
        list.push_back(&mut self.slab, index);
    }

    /// Takes an entry out of the list that it is in.
    pub(super) fn unlink(&mut self, list: &mut List, index: u32) {
        let Entry { prev, next, .. } = self.slab[index as usize];
        list.join(&mut self.slab, prev, next);
    }

    /// Ends a live timer, which has left its list or whose list has been given up.
    pub(super) fn remove(&mut self, index: u32) -> T {
        let value = self.slab[index as usize].value.take().expect("only live entries are in lists");
        self.live -= 1;
        let all = self.slab.len();
        if self.live < all / 4 && index as usize >= all / 2 {
            self.free.push_back(&mut self.slab, index);
        } else {
            self.free.push_front(&mut self.slab, index);
        }
        while let Some(Entry { prev, next, .. }) = self.slab.pop_if(|last| last.value.is_none()) {
            self.free.join(&mut self.slab, prev, next);
        }
        if self.slab.capacity() > KEPT.max(8 * self.slab.len()) {
            self.slab.shrink_to(KEPT.max(2 * self.slab.len()));
        }
        value
    }

    /// The keys of those whose values are like that.
    pub(super) fn keys(&self, like: impl Fn(&T) -> bool) -> Vec<TimerKey> {
        let found = |(index, entry): (usize, &Entry<T>)| {
            let generation = entry.generation;
            entry.value.as_ref().is_some_and(&like).then_some(TimerKey { index: index as u32, generation })
        };
        self.slab.iter().enumerate().filter_map(found).collect()
    }

    /// Ends all timers, of which those in lists are given up with their lists.
    pub(super) fn drain(&mut self, values: &mut Vec<T>) {
        values.extend(std::mem::take(&mut self.slab).into_iter().filter_map(|entry| entry.value));
        self.free = List::EMPTY;
        self.live = 0;
    }

    /// How many entries there is memory for.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.slab.capacity()
    }
}

impl List {
    pub(super) const EMPTY: List = List { first: NONE, last: NONE };

    fn push_back<T>(&mut self, slab: &mut [Entry<T>], index: u32) {
        self.join(slab, self.last, index);
        self.join(slab, index, NONE);
    }

    fn push_front<T>(&mut self, slab: &mut [Entry<T>], index: u32) {
        self.join(slab, index, self.first);
        self.join(slab, NONE, index);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first == NONE
    }

    pub(super) fn first(&self) -> Option<u32> {
        some(self.first)
    }

    /// Makes two entries neighbours, `NONE` standing for either end of the list.
    fn join<T>(&mut self, slab: &mut [Entry<T>], prev: u32, next: u32) {
        match prev {
            NONE => self.first = next,
            _ => slab[prev as usize].next = next,
        }
        match next {
            NONE => self.last = prev,
            _ => slab[next as usize].prev = prev,
        }
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NONE).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_takes_eight_bytes_and_entry_forty() {
        assert_eq!(size_of::<TimerKey>(), 8);
        assert!(size_of::<Entry<u64>>() <= 40);
        assert!(size_of::<Entry<&u64>>() <= 32);
    }

    #[test]
    fn stale_key_does_not_find_the_timer_that_took_its_entry() {
        let mut entries = Entries::new();
        let stale = entries.insert(1, 'a');
        assert_eq!(entries.remove(stale.index), 'a');
        assert_eq!(entries.find(stale), None);
        let live = entries.insert(2, 'b');
        assert_eq!(stale.index, live.index);
        assert_eq!((entries.find(stale), entries.find(live)), (None, Some(live.index)));
    }

    #[test]
    fn key_from_before_memory_was_given_back_stays_stale() {
        let mut entries = Entries::new();
        let old: Vec<TimerKey> = (0..100_000).map(|value| entries.insert(1, value)).collect();
        for key in &old {
            entries.remove(key.index);
        }
        assert_eq!((entries.len(), entries.room()), (0, KEPT));
        assert!(old.iter().all(|&key| entries.find(key).is_none()));
        for value in 0..100_000 {
            entries.insert(2, value);
        }
        assert!(old.iter().all(|&key| entries.find(key).is_none()));
    }

    #[test]
    fn long_lived_timers_hold_memory_only_until_they_are_renewed() {
        let mut entries = Entries::new();
        let keys: Vec<TimerKey> = (0..100_000).map(|_| entries.insert(1, ())).collect();
        // Every thousandth outlives the peak, the last of them at the very end.
        let (mut idle, busy): (Vec<_>, Vec<_>) = keys.into_iter().partition(|key| key.index % 1000 == 999);
        for key in busy {
            entries.remove(key.index);
        }
        assert!(entries.room() >= 100_000);
        for _ in 0..2000 {
            for key in &mut idle {
                entries.remove(key.index);
                *key = entries.insert(2, ());
            }
        }
        assert_eq!((entries.len(), entries.room()), (100, KEPT));
    }
}
