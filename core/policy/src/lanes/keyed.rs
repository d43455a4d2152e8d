//! The lanes of keyed messages: a table of keys, the lanes' states, and the line of what may start.
//!
//! Every parked message is a slot in one arena, linked either into the line of what may start (the
//! first of a ready lane, or one without key) or into the queue of its lane. The table holds
//! nothing but lane numbers, and each lane its hash: so a key is stored once.
//!
//! A lane that ends is kept for a while, idle, in case that its key comes again: with keys that take
//! turns it mostly does, and to take a lane down and to put it up again costs more than all else here.

use super::{After, Push};
use crate::{
    Moment,
    arena::{Arena, List, NIL},
};
use hashbrown::{DefaultHashBuilder, HashTable, hash_table::Entry};
use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash},
    mem,
    time::Duration,
};

/// So many lanes are kept idle.
const IDLE_MAX: usize = 1024;

#[derive(Debug)]
pub(super) struct Parked<Id, T> {
    /// [`NIL`] for a message without key.
    pub(super) lane: u32,
    /// `None` for a message without key, which nobody awaits.
    pub(super) id: Option<Id>,
    pub(super) item: T,
}

#[derive(Debug)]
pub(super) struct Lane<K, Id> {
    pub(super) key: K,
    pub(super) hash: u64,
    pub(super) state: State<Id>,
    /// What waits behind the one that is ready, running or awaited.
    pub(super) queue: List,
    /// What was given back to the source and belongs behind the queue, oldest first. Bounded: what
    /// finds it full is turned away all the same, only not remembered.
    pub(super) away: VecDeque<Id>,
    pub(super) wait: Wait,
}

impl<K, Id> Lane<K, Id> {
    const fn new(key: K, hash: u64) -> Self {
        Self {
            key,
            hash,
            state: State::Empty,
            queue: List::EMPTY,
            away: VecDeque::new(),
            wait: Wait::No,
        }
    }
}

#[derive(Debug)]
pub(super) enum State<Id> {
    /// Its first message, at this place, is in the line.
    Ready(u32),
    /// Its first message has been popped; the identity is kept for when it is put back.
    Running(Id),
    /// Its first message is away, and has to come back before anything starts.
    Waiting(Id),
    /// Nothing is here, but some are away.
    Empty,
    /// It has ended, and is kept for its key.
    Idle,
}

/// Whether a lane expects something back, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    No,
    /// In the list of waits that no clock has been seen for.
    Unstamped,
    /// In the list of waits by their end.
    Until(Moment),
}

#[derive(Debug)]
pub(super) struct Keyed<K, Id, T> {
    pub(super) cap: usize,
    pub(super) wait_max: Duration,
    /// Seeded at random, so that producers cannot aim their keys at each other.
    pub(super) hasher: DefaultHashBuilder,
    pub(super) table: HashTable<u32>,
    pub(super) lanes: Arena<Lane<K, Id>>,
    pub(super) parked: Arena<Parked<Id, T>>,
    pub(super) ready: List,
    pub(super) unstamped: List,
    pub(super) waits: List,
    /// Lanes that have ended, the longest ago first.
    pub(super) idle: List,
}

impl<K: Hash + Eq, Id: Eq, T> Keyed<K, Id, T> {
    pub(super) fn new(cap: usize, wait_max: Duration) -> Self {
        Self {
            cap,
            wait_max,
            hasher: DefaultHashBuilder::default(),
            table: HashTable::new(),
            lanes: Arena::new(),
            parked: Arena::new(),
            ready: List::EMPTY,
            unstamped: List::EMPTY,
            waits: List::EMPTY,
            idle: List::EMPTY,
        }
    }

    pub(super) fn push(&mut self, key: Option<K>, id: Id, item: T) -> Push<T> {
        let answer = match key {
            None => {
                let at = self.parked.insert(Parked { lane: NIL, id: None, item });
                self.parked.push_back(&mut self.ready, at);
                Push::Queued
            }
            Some(key) => {
                let hash = self.hasher.hash_one(&key);
                let same = |&lane: &u32| self.lanes[lane].key == key;
                let lane = match self.table.entry(hash, same, |&lane| self.lanes[lane].hash) {
                    Entry::Occupied(found) => *found.get(),
                    Entry::Vacant(place) => {
                        let lane = self.lanes.insert(Lane::new(key, hash));
                        *place.insert(lane).get()
                    }
                };
                if matches!(self.lanes[lane].state, State::Idle) {
                    self.lanes.unlink(&mut self.idle, lane);
                    self.lanes[lane].state = State::Empty;
                }
                self.push_to(lane, id, item)
            }
        };
        self.check();
        answer
    }

    fn push_to(&mut self, at: u32, id: Id, item: T) -> Push<T> {
        let lane = &mut self.lanes[at];
        if matches!(&lane.state, State::Waiting(awaited) if *awaited == id) {
            let parked = self.parked.insert(Parked { lane: at, id: Some(id), item });
            self.make_ready(at, parked);
            self.progress(at);
            return Push::Queued;
        }
        let in_hand = lane.queue.len() + usize::from(matches!(lane.state, State::Ready(_)));
        let comes_back = lane.away.front() == Some(&id);
        if in_hand >= self.cap || !(comes_back || lane.away.is_empty()) {
            // Twice the cap: room for all that a full lane gives back, and as much again.
            if lane.away.len() < 2 * self.cap && !lane.away.contains(&id) {
                lane.away.push_back(id);
            }
            if lane.wait == Wait::No {
                self.wait(at, Wait::Unstamped);
            }
            return Push::TurnedAway(item);
        }
        let empty = matches!(lane.state, State::Empty);
        let parked = self.parked.insert(Parked { lane: at, id: Some(id), item });
        if comes_back {
            self.lanes[at].away.pop_front();
            self.progress(at);
        }
        if empty {
            self.make_ready(at, parked);
        } else {
            self.parked.push_back(&mut self.lanes[at].queue, parked);
        }
        Push::Queued
    }

    pub(super) fn pop(&mut self) -> Option<(u32, T)> {
        let at = self.parked.pop_front(&mut self.ready)?;
        let Parked { lane, id, item } = self.parked.remove(at);
        if let Some(id) = id {
            self.lanes[lane].state = State::Running(id);
        }
        self.check();
        Some((lane, item))
    }

    pub(super) fn unpop(&mut self, at: u32, item: T) {
        let id = self.lane(at).map(|lane| match mem::replace(&mut lane.state, State::Empty) {
            State::Running(id) => id,
            _ => unreachable!("a token is for a running lane"),
        });
        let parked = self.parked.insert(Parked { lane: at, id, item });
        self.parked.push_front(&mut self.ready, parked);
        if let Some(lane) = self.lane(at) {
            lane.state = State::Ready(parked);
        }
        self.check();
    }

    pub(super) fn done(&mut self, at: u32, after: After<Id>, now: impl FnOnce() -> Moment) {
        let Some(lane) = self.lane(at) else { return };
        debug_assert!(matches!(lane.state, State::Running(_)), "a token is for a running lane");
        match after {
            After::Next => self.go_on(at),
            After::Await(id) => {
                lane.state = State::Waiting(id);
                let end = now() + self.wait_max;
                self.wait(at, Wait::Until(end));
            }
        }
        self.check();
    }

    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    pub(super) fn live_keys(&self) -> usize {
        self.lanes.len() - self.idle.len()
    }

    fn lane(&mut self, at: u32) -> Option<&mut Lane<K, Id>> {
        if at == NIL { None } else { Some(&mut self.lanes[at]) }
    }

    /// Puts a lane's first message into the line.
    fn make_ready(&mut self, lane: u32, parked: u32) {
        self.parked.push_back(&mut self.ready, parked);
        self.lanes[lane].state = State::Ready(parked);
    }

    /// The lane's next message gets into the line; a lane without any ends, unless it expects some.
    pub(super) fn go_on(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        if let Some(parked) = self.parked.pop_front(&mut lane.queue) {
            self.make_ready(at, parked);
        } else if lane.away.is_empty() {
            self.close(at);
        } else {
            lane.state = State::Empty;
        }
    }

    pub(super) fn close(&mut self, at: u32) {
        let lane = &mut self.lanes[at];
        debug_assert_eq!(lane.wait, Wait::No, "a lane that ends awaits nothing");
        lane.state = State::Idle;
        self.lanes.push_back(&mut self.idle, at);
        if self.idle.len() > IDLE_MAX
            && let Some(oldest) = self.lanes.pop_front(&mut self.idle)
        {
            self.take_down(oldest);
        }
    }

    fn take_down(&mut self, at: u32) {
        let lane = self.lanes.remove(at);
        let entry = self.table.find_entry(lane.hash, |&other| other == at);
        entry.expect("every lane is in the table").remove();
    }
}
