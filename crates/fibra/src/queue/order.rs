//! In which order items come out: [`Fifo`], [`Lifo`], [`Priority`].
//!
//! An order is what a queue keeps its items in. To change it takes two steps: to find the *place*, which may call the items' own code (`Ord`), and so may panic,
//! but moves nothing; and to move, which calls nothing. So a panic leaves everything as it was.

use super::heap::Heap;
use std::collections::VecDeque;

/// How a queue keeps its items: [`Fifo`], [`Lifo`] or [`Priority`].
pub trait Order: Keep {}

/// What an [`Order`] does; out of reach, since it is called under the queue's lock.
pub trait Keep {
    /// What is kept.
    type Item;

    /// Nothing.
    fn new() -> Self;

    /// How many items there are.
    fn len(&self) -> usize;

    /// Where the item would go.
    #[inline]
    fn place_for(&self, item: &Self::Item) -> usize {
        let _ = item;
        0
    }

    /// Puts the item in its place.
    fn push(&mut self, item: Self::Item, place: usize);

    /// Where the last item would go if the next one is taken out.
    #[inline]
    fn place_without_next(&self) -> usize {
        0
    }

    /// Takes the next item out. There is one.
    fn pop(&mut self, place: usize) -> Self::Item;

    /// Where the item would go if the next one is taken out.
    #[inline]
    fn place_instead_of_next(&self, item: &Self::Item) -> usize {
        let _ = item;
        0
    }

    /// Takes the next item out, and puts another in, which comes after it. There is one.
    #[inline]
    fn replace(&mut self, item: Self::Item, place: usize) -> Self::Item
    where
        Self: Sized,
    {
        let next = self.pop(0);
        self.push(item, place);
        next
    }
}

/// First in, first out.
#[derive(Debug)]
pub struct Fifo<T>(VecDeque<T>);

/// Last in, first out.
#[derive(Debug)]
pub struct Lifo<T>(Vec<T>);

/// The greatest first; among equals the one that came first.
#[derive(Debug)]
pub struct Priority<T>(Heap<T>);

impl<T> Order for Fifo<T> {}

impl<T> Keep for Fifo<T> {
    type Item = T;

    fn new() -> Self {
        Fifo(VecDeque::new())
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn push(&mut self, item: T, _: usize) {
        self.0.push_back(item);
    }

    #[inline]
    fn pop(&mut self, _: usize) -> T {
        self.0.pop_front().expect("the caller has looked")
    }
}

impl<T> Order for Lifo<T> {}

impl<T> Keep for Lifo<T> {
    type Item = T;

    fn new() -> Self {
        Lifo(Vec::new())
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn push(&mut self, item: T, _: usize) {
        self.0.push(item);
    }

    #[inline]
    fn pop(&mut self, _: usize) -> T {
        self.0.pop().expect("the caller has looked")
    }
}

impl<T: Ord> Order for Priority<T> {}

impl<T: Ord> Keep for Priority<T> {
    type Item = T;

    fn new() -> Self {
        Priority(Heap::new())
    }

    #[inline]
    fn len(&self) -> usize {
        self.0.len()
    }

    fn place_for(&self, item: &T) -> usize {
        self.0.place_for(item)
    }

    fn push(&mut self, item: T, place: usize) {
        self.0.push(item, place);
    }

    fn place_without_next(&self) -> usize {
        self.0.place_without_first()
    }

    fn pop(&mut self, place: usize) -> T {
        self.0.pop(place)
    }

    fn place_instead_of_next(&self, item: &T) -> usize {
        self.0.place_instead_of_first(item)
    }

    fn replace(&mut self, item: T, place: usize) -> T {
        self.0.replace(item, place)
    }
}
