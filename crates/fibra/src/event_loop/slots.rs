//! Where a loop keeps what is registered: a table of places that are used again, and names that are not.

/// Names what one place held at one time. When that has gone the name means nothing any more, whoever has the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Id {
    index: u32,
    generation: u32,
    /// The loop's number, so that a name that is shown to another loop means nothing there.
    owner: u32,
}

/// A table of `T`.
pub(super) struct Slots<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    owner: u32,
    /// One counter for all places: a name comes back after 2^32 registrations at the earliest, and would have to meet its old place then.
    generation: u32,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Slots<T> {
    pub(super) fn new(owner: u32) -> Slots<T> {
        Slots { slots: Vec::new(), free: Vec::new(), owner, generation: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// The name that the next value will have.
    pub(super) fn next_id(&self) -> Id {
        let index = self.free.last().copied().unwrap_or(self.slots.len() as u32);
        Id { index, generation: self.generation, owner: self.owner }
    }

    /// # Panics
    /// When there are 2^32 - 1 values.
    pub(super) fn insert(&mut self, value: T) -> Id {
        let id = self.next_id();
        self.generation = self.generation.wrapping_add(1);
        let slot = Slot { generation: id.generation, value: Some(value) };
        match self.free.pop() {
            Some(index) => self.slots[index as usize] = slot,
            None => {
                assert!(self.slots.len() < u32::MAX as usize, "too many watchers");
                self.slots.push(slot);
            }
        }
        id
    }

    pub(super) fn get(&self, id: Id) -> Option<&T> {
        let slot = self.slots.get(id.index as usize)?;
        if id.owner == self.owner && slot.generation == id.generation { slot.value.as_ref() } else { None }
    }

    pub(super) fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        let slot = self.slots.get_mut(id.index as usize)?;
        if id.owner == self.owner && slot.generation == id.generation { slot.value.as_mut() } else { None }
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        self.free.push(id.index);
        self.slots[id.index as usize].value.take()
    }

    /// Takes everything out.
    pub(super) fn drain(&mut self) -> Vec<T> {
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().filter_map(|slot| slot.value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_means_nothing_when_its_value_has_gone_or_to_another_table() {
        let (mut slots, mut other) = (Slots::new(1), Slots::new(2));
        let old = slots.insert('a');
        assert_eq!(slots.remove(old), Some('a'));
        let new = slots.insert('b');
        assert_eq!(old.index, new.index);
        assert_eq!((slots.get(old), slots.get(new)), (None, Some(&'b')));
        assert_eq!(slots.remove(old), None);
        other.insert('c');
        other.insert('d');
        assert_eq!(other.get(new).or(other.get(old)), None);
        assert!(other.get_mut(old).is_none() && other.remove(new).is_none());
        assert_eq!(other.len(), 2);
        assert_eq!((slots.drain(), slots.is_empty()), (vec!['b'], true));
    }
}
