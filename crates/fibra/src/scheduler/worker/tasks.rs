//! The table of a worker's started tasks.

use super::TaskPtr;

/// The started tasks of a worker, by slot.
#[derive(Default)]
pub(super) struct Tasks {
    slots: Vec<Option<TaskPtr>>,
    free: Vec<u32>,
}

impl Tasks {
    #[inline]
    pub(super) fn insert(&mut self, task: TaskPtr) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = Some(task);
                slot
            }
            None => {
                self.slots.push(Some(task));
                (self.slots.len() - 1) as u32
            }
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, slot: u32) {
        self.slots[slot as usize] = None;
        self.free.push(slot);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = TaskPtr> + '_ {
        self.slots.iter().copied().flatten()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    pub(super) fn shrink(&mut self) {
        if self.is_empty() && self.slots.capacity() > 4096 {
            *self = Tasks::default();
        }
    }
}
