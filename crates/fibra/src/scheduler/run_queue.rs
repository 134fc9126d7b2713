//! The tasks that can run now, and which of them is next.

use super::task::TaskPtr;
use std::sync::Arc;

/// Chooses what runs next: for tests that replay a schedule, or explore many.
///
/// Without one a worker takes the task that has been runnable for longest.
///
/// ```
/// use fibra::{Runtime, Schedule};
///
/// /// Last come, first served.
/// struct Lifo;
/// impl Schedule for Lifo {
///     fn choose(&self, runnable: usize) -> usize {
///         runnable - 1
///     }
/// }
///
/// let order = Runtime::builder().workers(1).schedule(Lifo).run(|| {
///     let (send, receive) = std::sync::mpsc::channel();
///     let handles: Vec<_> = (1..=3)
///         .map(|n| {
///             let send = send.clone();
///             fibra::spawn(move || send.send(n).unwrap())
///         })
///         .collect();
///     handles.into_iter().for_each(|handle| handle.join().unwrap());
///     receive.try_iter().collect::<Vec<_>>()
/// })?;
/// assert_eq!(order, [3, 2, 1]);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Schedule: Send + Sync + 'static {
    /// Which of `runnable` tasks (at least one, the oldest first) runs next: a number below `runnable`.
    fn choose(&self, runnable: usize) -> usize;
}

/// A ring: `head` and `tail` only grow, and are taken modulo the length, a power of two.
pub(crate) struct RunQueue {
    ring: Box<[Option<TaskPtr>]>,
    head: usize,
    tail: usize,
    schedule: Option<Arc<dyn Schedule>>,
}

/// How long the ring is at least.
const SHORTEST: usize = 256;

impl RunQueue {
    pub(crate) fn new(schedule: Option<Arc<dyn Schedule>>) -> RunQueue {
        RunQueue { ring: vec![None; SHORTEST].into_boxed_slice(), head: 0, tail: 0, schedule }
    }

    #[inline]
    fn place(&self, index: usize) -> usize {
        index & (self.ring.len() - 1)
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.tail.wrapping_sub(self.head)
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.tail == self.head
    }

    #[inline]
    pub(crate) fn push(&mut self, task: TaskPtr) {
        if self.len() == self.ring.len() {
            self.resize(self.ring.len() * 2);
        }
        let place = self.place(self.tail);
        self.ring[place] = Some(task);
        self.tail = self.tail.wrapping_add(1);
    }

    #[inline]
    pub(crate) fn pop(&mut self) -> Option<TaskPtr> {
        if self.is_empty() {
            return None;
        }
        if self.schedule.is_some() {
            self.choose();
        }
        let place = self.place(self.head);
        self.head = self.head.wrapping_add(1);
        self.ring[place]
    }

    /// The task that comes after `count` others.
    #[inline]
    pub(crate) fn peek(&self, count: usize) -> Option<TaskPtr> {
        if self.len() > count { self.ring[self.place(self.head.wrapping_add(count))] } else { None }
    }

    /// Pushes a task and pops the next: what a yield does.
    #[inline]
    pub(crate) fn rotate(&mut self, task: TaskPtr) -> TaskPtr {
        self.push(task);
        self.pop().expect("one was pushed just now")
    }

    /// Brings the chosen task to the head; the others keep their order.
    #[cold]
    fn choose(&mut self) {
        let Some(schedule) = &self.schedule else { return };
        let chosen = schedule.choose(self.len()).min(self.len() - 1);
        for index in (0..chosen).rev() {
            let (one, other) =
                (self.place(self.head.wrapping_add(index)), self.place(self.head.wrapping_add(index + 1)));
            self.ring.swap(one, other);
        }
    }

    #[cold]
    fn resize(&mut self, length: usize) {
        let mut ring = vec![None; length].into_boxed_slice();
        let count = self.len();
        for (index, slot) in ring.iter_mut().enumerate().take(count) {
            *slot = self.ring[self.place(self.head.wrapping_add(index))];
        }
        (self.ring, self.head, self.tail) = (ring, 0, count);
    }

    /// Gives the memory of a long queue back.
    pub(crate) fn shrink(&mut self) {
        if self.ring.len() > 16 * SHORTEST && self.len() < SHORTEST {
            self.resize(SHORTEST);
        }
    }
}
