//! Linked lists whose links live beside the values, all in one slab.
//!
//! Why intrusive: a value can be taken out of the middle of its list in O(1), moved from one list to
//! another without being moved in memory, and in steady state nothing is allocated: a freed slot is
//! the next one used. Why indices rather than pointers: no `unsafe`, and half the size. A value is in
//! at most one list at a time, and it is the caller who knows in which.

use slab::Slab;
use std::ops::{Index, IndexMut};

/// The index of nothing.
pub(crate) const NIL: u32 = u32::MAX;

/// Both ends of a list. The links between are in the [`Arena`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct List {
    head: u32,
    tail: u32,
    len: u32,
}

impl List {
    pub(crate) const EMPTY: Self = Self { head: NIL, tail: NIL, len: 0 };

    pub(crate) const fn head(&self) -> Option<u32> {
        if self.head == NIL { None } else { Some(self.head) }
    }

    pub(crate) const fn tail(&self) -> Option<u32> {
        if self.tail == NIL { None } else { Some(self.tail) }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len as usize
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[derive(Debug)]
struct Slot<T> {
    prev: u32,
    next: u32,
    value: T,
}

/// The values of all lists, and of none.
#[derive(Debug)]
pub(crate) struct Arena<T>(Slab<Slot<T>>);

impl<T> Arena<T> {
    pub(crate) const fn new() -> Self {
        Self(Slab::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Keeps a value that is in no list yet.
    pub(crate) fn insert(&mut self, value: T) -> u32 {
        let at = self.0.insert(Slot { prev: NIL, next: NIL, value });
        u32::try_from(at).ok().filter(|&at| at != NIL).expect("memory ends before 2^32 slots do")
    }

    /// Lets go of a value that is in no list.
    pub(crate) fn remove(&mut self, at: u32) -> T {
        let slot = self.0.remove(at as usize);
        debug_assert!(slot.prev == NIL && slot.next == NIL, "removed from the arena while linked");
        slot.value
    }

    /// The next one in the same list.
    pub(crate) fn next(&self, at: u32) -> Option<u32> {
        Some(self.0[at as usize].next).filter(|&next| next != NIL)
    }

    /// The one before in the same list.
    pub(crate) fn prev(&self, at: u32) -> Option<u32> {
        Some(self.0[at as usize].prev).filter(|&prev| prev != NIL)
    }

    pub(crate) fn push_back(&mut self, list: &mut List, at: u32) {
        self.link(list, list.tail, at, NIL);
    }

    pub(crate) fn push_front(&mut self, list: &mut List, at: u32) {
        self.link(list, NIL, at, list.head);
    }

    /// Puts a value behind another one of the list; at its front if that is `None`.
    pub(crate) fn insert_after(&mut self, list: &mut List, before: Option<u32>, at: u32) {
        match before {
            None => self.push_front(list, at),
            Some(before) => self.link(list, before, at, self.0[before as usize].next),
        }
    }

    fn link(&mut self, list: &mut List, prev: u32, at: u32, next: u32) {
        let slot = &mut self.0[at as usize];
        (slot.prev, slot.next) = (prev, next);
        match prev {
            NIL => list.head = at,
            prev => self.0[prev as usize].next = at,
        }
        match next {
            NIL => list.tail = at,
            next => self.0[next as usize].prev = at,
        }
        list.len += 1;
    }

    /// Takes a value out of its list; it stays in the arena.
    pub(crate) fn unlink(&mut self, list: &mut List, at: u32) {
        let slot = &mut self.0[at as usize];
        let (prev, next) = (slot.prev, slot.next);
        (slot.prev, slot.next) = (NIL, NIL);
        match prev {
            NIL => list.head = next,
            prev => self.0[prev as usize].next = next,
        }
        match next {
            NIL => list.tail = prev,
            next => self.0[next as usize].prev = prev,
        }
        list.len -= 1;
    }

    /// Takes the first value out of the list; it stays in the arena.
    pub(crate) fn pop_front(&mut self, list: &mut List) -> Option<u32> {
        let at = list.head()?;
        self.unlink(list, at);
        Some(at)
    }

    /// The indices of a list, first to last.
    pub(crate) fn walk(&self, list: &List) -> impl Iterator<Item = u32> {
        std::iter::successors(list.head(), |&at| self.next(at))
    }

    /// Every index in use, in no order.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|(at, _)| u32::try_from(at).ok())
    }

    /// Panics unless the links of a list agree with each other and with its ends.
    pub(crate) fn check(&self, list: &List) {
        let mut before = None;
        let mut len = 0;
        for at in self.walk(list) {
            assert_eq!(self.prev(at), before, "a link back that is not the link forth");
            before = Some(at);
            len += 1;
        }
        assert_eq!(before, list.tail(), "the list does not end at its tail");
        assert_eq!(len, list.len(), "the list has lost count");
    }
}

impl<T> Index<u32> for Arena<T> {
    type Output = T;

    fn index(&self, at: u32) -> &T {
        &self.0[at as usize].value
    }
}

impl<T> IndexMut<u32> for Arena<T> {
    fn index_mut(&mut self, at: u32) -> &mut T {
        &mut self.0[at as usize].value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(arena: &Arena<char>, list: &List) -> String {
        arena.check(list);
        arena.walk(list).map(|at| arena[at]).collect()
    }

    #[test]
    fn values_go_in_and_out_anywhere() {
        let mut arena = Arena::new();
        let mut list = List::EMPTY;
        let [a, b, c, d] = ['a', 'b', 'c', 'd'].map(|value| arena.insert(value));
        arena.push_back(&mut list, b);
        arena.push_front(&mut list, a);
        arena.insert_after(&mut list, Some(b), d);
        arena.insert_after(&mut list, Some(b), c);
        assert_eq!(values(&arena, &list), "abcd");
        arena.unlink(&mut list, b);
        assert_eq!(values(&arena, &list), "acd");
        arena.insert_after(&mut list, None, b);
        assert_eq!(values(&arena, &list), "bacd");
        arena.unlink(&mut list, d);
        assert_eq!(arena.pop_front(&mut list), Some(b));
        assert_eq!(values(&arena, &list), "ac");
        assert_eq!(arena.remove(b), 'b');
        assert_eq!(arena.insert('e'), b, "a freed slot is the next one used");
    }

    #[test]
    fn a_value_moves_between_lists_in_place() {
        let mut arena = Arena::new();
        let (mut one, mut other) = (List::EMPTY, List::EMPTY);
        let at = arena.insert('a');
        arena.push_back(&mut one, at);
        arena.unlink(&mut one, at);
        arena.push_back(&mut other, at);
        assert_eq!((values(&arena, &one), values(&arena, &other)), (String::new(), "a".into()));
    }
}
