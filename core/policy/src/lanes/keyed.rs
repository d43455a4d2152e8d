//! The lanes of keyed messages: a table of keys, the lanes' states, and the line of what may start.
//!
//! Memory decides what this costs: with 100,000 keys, a lane that nobody has touched for a while
//! lies beyond the caches. So the line of what may start is a ring that is read from end to end, a
//! key is stored once and copied only for a new lane, identities are asked of the messages when
//! something goes wrong, and what goes wrong is kept apart ([`Absent`]). A message that has its lane
//! to itself touches the table, its lane and the line, and nothing else.
//!
//! A lane that ends is kept for a while, idle, in case that its key comes again: with keys that take
//! turns it mostly does, and to take a lane down and to put it up again costs more than all else here.

use super::{After, Item, Push, waits::Absent};
use crate::{
    Moment,
    arena::{Arena, List, NIL},
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use std::{collections::VecDeque, hash::BuildHasher, time::Duration};

/// So many lanes are kept idle beside as many as are live.
pub(super) const IDLE_MIN: usize = 1024;

#[derive(Debug)]
pub(super) struct Lane<K, Id> {
    pub(super) key: K,
    pub(super) hash: u64,
    /// What waits behind the one that is ready, running or awaited.
    pub(super) queue: List,
    pub(super) state: State,
    /// What it expects back; mostly nothing.
    pub(super) absent: Option<Box<Absent<Id>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Its first message is in the line.
    Ready,
    /// Its first message has been popped.
    Running,
    /// Its first message is away, and has to come back before anything starts.
    Waiting,
    /// Nothing is here, but some are away.
    Empty,
    /// It has ended, and is kept for its key.
    Idle,
}

pub(super) struct Keyed<T: Item> {
    pub(super) cap: usize,
    pub(super) wait_max: Duration,
    /// Seeded at random, so that producers cannot aim their keys at each other.
    pub(super) hasher: DefaultHashBuilder,
    pub(super) table: HashTable<u32>,
    pub(super) lanes: Arena<Lane<T::Key, T::Id>>,
    /// The first of each ready lane, with its number, and the messages without key, with [`NIL`].
    pub(super) ready: VecDeque<(u32, T)>,
    /// What waits in the lanes' queues.
    pub(super) behind: Arena<T>,
    /// Lanes that expect something, and have not seen a clock since.
    pub(super) unstamped: List,
    /// Lanes that expect something, by when they give up.
    pub(super) waits: List,
    /// Lanes that have ended, the longest ago first.
    pub(super) idle: List,
}

impl<T: Item> Keyed<T> {
    pub(super) fn new(cap: usize, wait_max: Duration) -> Self {
        Self {
            cap,
            wait_max,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            lanes: Arena::new(),
            ready: VecDeque::new(),
            behind: Arena::new(),
            unstamped: List::EMPTY,
            waits: List::EMPTY,
            idle: List::EMPTY,
        }
    }

    pub(super) fn push(&mut self, item: T) -> Push<T> {
        let answer = match self.lane_of(&item) {
            Some(at) => self.push_to(at, item),
            None => {
                self.ready.push_back((NIL, item));
                Push::Queued
            }
        };
        self.check();
        answer
    }

    /// The lane of a message, new if need be; `None` for one without key.
    fn lane_of(&mut self, item: &T) -> Option<u32> {
        let key = item.key()?;
        let hash = self.hasher.hash_one(&key);
        let same = |&at: &u32| self.lanes[at].hash == hash && key == self.lanes[at].key;
        Some(match self.table.entry(hash, same, |&at| self.lanes[at].hash) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => {
                let lane = Lane {
                    key: key.into(),
                    hash,
                    queue: List::EMPTY,
                    state: State::Empty,
                    absent: None,
                };
                *place.insert(self.lanes.insert(lane)).get()
            }
        })
    }

    fn push_to(&mut self, at: u32, item: T) -> Push<T> {
        let lane = &mut self.lanes[at];
        if lane.absent.is_some() {
            return self.push_past_absent(at, item);
        }
        match lane.state {
            State::Ready | State::Running if lane.in_hand() >= self.cap => self.turn_away(at, item),
            State::Ready | State::Running | State::Waiting => self.park(at, item),
            State::Idle => {
                self.lanes.unlink(&mut self.idle, at);
                self.make_ready(at, item)
            }
            State::Empty => self.make_ready(at, item),
        }
    }

    #[inline]
    pub(super) fn pop(&mut self) -> Option<(u32, T)> {
        let (at, item) = self.ready.pop_front()?;
        if let Some(lane) = self.lane(at) {
            lane.state = State::Running;
        }
        Some((at, item))
    }

    pub(super) fn unpop(&mut self, at: u32, item: T) {
        self.ready.push_front((at, item));
        if let Some(lane) = self.lane(at) {
            debug_assert_eq!(lane.state, State::Running, "a token is for a running lane");
            lane.state = State::Ready;
        }
        self.check();
    }

    pub(super) fn done(&mut self, at: u32, after: After<T::Id>, now: impl FnOnce() -> Moment) {
        let Some(lane) = self.lane(at) else { return };
        debug_assert_eq!(lane.state, State::Running, "a token is for a running lane");
        match after {
            After::Next => self.go_on(at),
            After::Await(id) => {
                lane.state = State::Waiting;
                let end = now() + self.wait_max;
                self.expect(at, Some(end)).awaited = Some(id);
            }
        }
        self.check();
    }

    pub(super) fn len(&self) -> usize {
        self.ready.len() + self.behind.len()
    }

    pub(super) fn live_keys(&self) -> usize {
        self.lanes.len() - self.idle.len()
    }

    fn lane(&mut self, at: u32) -> Option<&mut Lane<T::Key, T::Id>> {
        if at == NIL { None } else { Some(&mut self.lanes[at]) }
    }

    /// Puts a lane's first message into the line.
    pub(super) fn make_ready(&mut self, at: u32, item: T) -> Push<T> {
        self.lanes[at].state = State::Ready;
        self.ready.push_back((at, item));
        Push::Queued
    }

    /// Puts a message behind those of its lane.
    pub(super) fn park(&mut self, at: u32, item: T) -> Push<T> {
        let item = self.behind.insert(item);
        self.behind.push_back(&mut self.lanes[at].queue, item);
        Push::Queued
    }

    /// The lane's next message gets into the line; a lane without any ends, unless it expects some.
    pub(super) fn go_on(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        if let Some(next) = self.behind.pop_front(&mut lane.queue) {
            lane.state = State::Ready;
            self.ready.push_back((at, self.behind.remove(next)));
        } else if lane.absent.is_none() {
            self.close(at);
        } else {
            lane.state = State::Empty;
        }
    }

    /// Ends a lane. It is kept, as many as are live and some, so that what they need stays in
    /// proportion; for each that ends, at most two go.
    pub(super) fn close(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        debug_assert!(lane.absent.is_none(), "a lane that ends awaits nothing");
        lane.state = State::Idle;
        self.lanes.push_back(&mut self.idle, at);
        for _ in 0..2 {
            if self.idle.len() > IDLE_MIN + self.live_keys()
                && let Some(oldest) = self.lanes.pop_front(&mut self.idle)
            {
                self.take_down(oldest);
            }
        }
    }

    fn take_down(&mut self, at: u32) {
        let lane = self.lanes.remove(at);
        let entry = self.table.find_entry(lane.hash, |&other| other == at);
        entry.expect("every lane is in the table").remove();
    }
}

impl<K, Id> Lane<K, Id> {
    /// How many are parked in it.
    pub(super) const fn in_hand(&self) -> usize {
        self.queue.len() + matches!(self.state, State::Ready) as usize
    }
}
