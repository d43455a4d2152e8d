//! What lanes expect back, and until when.

use super::{
    Item, Push,
    keyed::{Keyed, State},
};
use crate::Moment;
use std::{collections::VecDeque, hash::BuildHasher};

/// What a lane expects back. A lane has one of these just while it expects something.
#[derive(Debug)]
pub(super) struct Absent<Id> {
    /// Its first message, before which nothing starts.
    pub(super) awaited: Option<Id>,
    /// What was given back to the source and belongs behind the queue, oldest first. Bounded: what
    /// finds it full is turned away all the same, only not remembered.
    pub(super) away: VecDeque<Id>,
    /// When the lane gives up; `None` in the list of those that have seen no clock.
    pub(super) until: Option<Moment>,
}

impl<Id> Default for Absent<Id> {
    fn default() -> Self {
        Self { awaited: None, away: VecDeque::new(), until: None }
    }
}

impl<T: Item> Keyed<T> {
    /// Takes a message in, in a lane that expects some.
    #[cold]
    pub(super) fn push_past_absent(&mut self, at: u32, item: T) -> Push<T> {
        let lane = &mut self.lanes[at];
        let (full, empty) = (lane.in_hand() >= self.cap, lane.state == State::Empty);
        let Some(absent) = &mut lane.absent else { return self.turn_away(at, item) };
        if absent.awaited.take_if(|id| item.is(id)).is_some() {
            self.progress(at);
            return self.make_ready(at, item);
        }
        let comes_back = absent.away.front().is_some_and(|id| item.is(id));
        if full || !(comes_back || absent.away.is_empty()) {
            return self.turn_away(at, item);
        }
        if comes_back {
            absent.away.pop_front();
            self.progress(at);
        }
        if empty { self.make_ready(at, item) } else { self.park(at, item) }
    }

    /// Gives a message back, and remembers it.
    #[cold]
    pub(super) fn turn_away(&mut self, at: u32, item: T) -> Push<T> {
        // Twice the cap: room for all that a full lane gives back, and as much again.
        let most = 2 * self.cap;
        let absent = match self.lanes[at].absent {
            Some(ref mut absent) => absent,
            None => self.expect(at, None),
        };
        if absent.away.len() < most && !absent.away.iter().any(|id| item.is(id)) {
            absent.away.push_back(item.id());
        }
        Push::TurnedAway(item)
    }

    pub(super) fn expire_waits(&mut self, now: Moment) -> Vec<T> {
        while let Some(at) = self.unstamped.head() {
            self.expect(at, Some(now + self.wait_max));
        }
        let mut expired = Vec::new();
        while let Some(at) = self.waits.head() {
            if self.gives_up_at(at) > now {
                break;
            }
            self.expire(at, &mut expired);
        }
        self.check();
        expired
    }

    fn expire(&mut self, at: u32, expired: &mut Vec<T>) {
        self.expect_nothing(at);
        let lane = &mut self.lanes[at];
        if matches!(lane.state, State::Waiting | State::Empty) {
            while let Some(parked) = self.behind.pop_front(&mut lane.queue) {
                expired.push(self.behind.remove(parked));
            }
            self.close(at);
        }
    }

    pub(super) fn forget(&mut self, key: &T::KeyRef<'_>, which: impl Fn(&T::Id) -> bool) {
        let hash = self.hasher.hash_one(key);
        let found = self.table.find(hash, |&at| *key == self.lanes[at].key);
        let Some(at) = found.copied() else { return };
        let lane = &mut self.lanes[at];
        let Some(absent) = &mut lane.absent else { return };
        let before = absent.away.len();
        absent.away.retain(|id| !which(id));
        let fewer = absent.away.len() < before;
        let awaited = absent.awaited.take_if(|id| which(id)).is_some();
        if awaited || fewer {
            self.progress(at);
        }
        let lane = &self.lanes[at];
        if awaited || (lane.state == State::Empty && lane.absent.is_none()) {
            self.go_on(at);
        }
        self.check();
    }

    pub(super) fn next_expiry(&self) -> Moment {
        if !self.unstamped.is_empty() {
            return Moment::ZERO;
        }
        self.waits.head().map_or(Moment::NEVER, |at| self.gives_up_at(at))
    }

    fn gives_up_at(&self, at: u32) -> Moment {
        self.lanes[at].absent.as_ref().and_then(|absent| absent.until).unwrap_or(Moment::NEVER)
    }

    /// Something came back, or never will: the rest gets its full time again.
    fn progress(&mut self, at: u32) {
        let absent = self.lanes[at].absent.as_ref();
        if absent.is_some_and(|absent| absent.awaited.is_some() || !absent.away.is_empty()) {
            self.expect(at, None);
        } else {
            self.expect_nothing(at);
        }
    }

    /// Lets a lane expect something until then; `None`: counted from the next look at a clock.
    pub(super) fn expect(&mut self, at: u32, until: Option<Moment>) -> &mut Absent<T::Id> {
        let mut absent = self.expect_nothing(at).unwrap_or_default();
        absent.until = until;
        if let Some(end) = &mut absent.until {
            // All wait equally long, so their order of arrival is the order of their ends, unless the
            // caller's clock went back.
            if let Some(last) = self.waits.tail() {
                *end = self.gives_up_at(last).max(*end);
            }
            self.lanes.push_back(&mut self.waits, at);
        } else {
            self.lanes.push_back(&mut self.unstamped, at);
        }
        self.lanes[at].absent.insert(absent)
    }

    fn expect_nothing(&mut self, at: u32) -> Option<Box<Absent<T::Id>>> {
        let absent = self.lanes[at].absent.take()?;
        let list = if absent.until.is_some() { &mut self.waits } else { &mut self.unstamped };
        self.lanes.unlink(list, at);
        Some(absent)
    }
}
