//! Lanes: messages of one key start one after the other, those of different keys side by side.
//!
//! Why a queue per key, and not a fixed number of hashed lanes: with hashed lanes, two keys that
//! collide wait for each other, and a retry in one holds up strangers. Here a key costs a slot only
//! while it has something in hand. (Confluent's parallel consumer shards by key for the same reason.)
//!
//! Why turning away is remembered: what a key has no room for goes back to its source, and comes
//! again later, perhaps after younger messages. So a lane keeps the identities of what it gave
//! back, and lets in nothing but the oldest of them until all are back. Remembering only the first
//! is not enough: a broker redelivers it at once, and a fresh message may follow before the second
//! has even been given back.
//!
//! ```text
//!              push                    pop                done(Next), more parked
//!   (no lane) ------> Ready <======================> Running ------> Ready
//!                      ^ ^         unpop              | | done(Next), nothing parked, none away
//!                      | |                            | +------> (no lane)
//!       the awaited is | | the oldest       done(Next)| done(Await)
//!          pushed back | | away is pushed    none     +------> Waiting
//!                      | |                   parked,              |
//!                Waiting Empty <----------------------+           | expire_waits
//!                                           some away             +------> (no lane)
//! ```
//!
//! [`Lanes::forget`] strikes what was awaited or away: a lane that awaited it goes on as after
//! `done(Next)`, and one that held nothing else ends.
//!
//! | state   | push                        | pop     | done(Next)            | done(Await) | expire           |
//! |---------|-----------------------------|---------|-----------------------|-------------|------------------|
//! | none    | Ready                       | -       | -                     | -           | -                |
//! | Ready   | parked, or turned away      | Running | -                     | -           | forgets the away |
//! | Running | parked, or turned away      | -       | Ready, Empty, or none | Waiting     | forgets the away |
//! | Waiting | the awaited: Ready, in front; else parked, or turned away | - | - | - | none |
//! | Empty   | the oldest away: Ready; else turned away | - | -           | -           | none             |
//!
//! A lane that ends (to "no lane") is kept for a while, in case that its key comes again; this changes
//! nothing of the above. A lane in `Empty` has nothing here but messages away. A message without key is a lane of its
//! own that needs no state at all: it goes straight to the line of what may start.

mod check;
mod keyed;
mod taking;
mod waits;

use crate::{Moment, arena::NIL};
use keyed::Keyed;
use std::{collections::VecDeque, fmt, hash::Hash, time::Duration};

/// How long a lane waits for a message to come back, unless told otherwise: twice what an ordered
/// retry may take in all, so that a slow broker is not mistaken for a lost message.
pub const WAIT_MAX: Duration = Duration::from_secs(120);

/// What became of a message offered to its lane.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a message turned away must go back to its source"]
pub enum Push<T> {
    /// It is parked in its lane, or may start.
    Queued,
    /// Its key has no room, or an earlier message of its key is away. It is to be released to its
    /// source; the lane expects it back.
    TurnedAway(T),
}

/// How a lane goes on after a message that was started.
#[derive(Debug, PartialEq, Eq)]
pub enum After<Id> {
    /// With its next message.
    Next,
    /// With the same message, which went back to its source: nothing of the key starts until a
    /// message with this identity is pushed again, and that one then goes first.
    Await(Id),
}

/// The claim on a lane whose head was popped: to be given back by [`Lanes::done`] or
/// [`Lanes::unpop`], once. A lane whose token is lost never goes on.
#[derive(Debug)]
#[must_use = "a lane goes on only when its token comes back"]
pub struct LaneToken(u32);

/// What lanes ask of a message.
pub trait Item {
    /// What orders it, as a lane keeps it.
    type Key: PartialEq;
    /// The same, as a message shows it: so that only a new lane needs a copy.
    type KeyRef<'a>: Hash + PartialEq<Self::Key> + Into<Self::Key>
    where
        Self: 'a;
    /// What makes it the same message when it comes back.
    type Id;

    /// Its key; `None`: it waits for nobody.
    fn key(&self) -> Option<Self::KeyRef<'_>>;
    /// Its identity. Asked for only when it goes back to its source.
    fn id(&self) -> Self::Id;
    /// Whether that is its identity.
    fn is(&self, id: &Self::Id) -> bool;
}

/// Messages in hand that have not started, in lanes by key. See the module's documentation.
pub struct Lanes<T: Item>(Kind<T>);

enum Kind<T: Item> {
    Plain(VecDeque<T>),
    Keyed(Box<Keyed<T>>),
}

impl<T: Item> fmt::Debug for Lanes<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lanes")
            .field("len", &self.len())
            .field("ready_len", &self.ready_len())
            .field("live_keys", &self.live_keys())
            .finish_non_exhaustive()
    }
}

impl<T: Item> Lanes<T> {
    /// Lanes by key, each parking up to `cap` messages (at least 1) besides the one that runs, and
    /// waiting at most [`WAIT_MAX`] for a message to come back.
    #[must_use]
    pub fn keyed(cap: usize) -> Self {
        Self::keyed_with(cap, WAIT_MAX)
    }

    /// As [`Lanes::keyed`], waiting at most `wait_max` for a message to come back.
    #[must_use]
    pub fn keyed_with(cap: usize, wait_max: Duration) -> Self {
        Self(Kind::Keyed(Box::new(Keyed::new(cap.max(1), wait_max))))
    }

    /// One plain queue without order by key: keys and identities are ignored, nothing is hashed,
    /// and nothing is ever turned away.
    #[must_use]
    pub const fn unordered() -> Self {
        Self(Kind::Plain(VecDeque::new()))
    }

    /// Takes a message in, behind the others of its key.
    pub fn push(&mut self, item: T) -> Push<T> {
        match &mut self.0 {
            Kind::Plain(queue) => {
                queue.push_back(item);
                Push::Queued
            }
            Kind::Keyed(lanes) => lanes.push(item),
        }
    }

    /// The message whose turn it is. Its lane starts nothing more until the token comes back.
    pub fn pop(&mut self) -> Option<(LaneToken, T)> {
        match &mut self.0 {
            Kind::Plain(queue) => queue.pop_front().map(|item| (LaneToken(NIL), item)),
            Kind::Keyed(lanes) => lanes.pop().map(|(lane, item)| (LaneToken(lane), item)),
        }
    }

    /// Puts back, in front of all others, a message that was popped and did not start.
    #[expect(clippy::needless_pass_by_value, reason = "a token is used once")]
    pub fn unpop(&mut self, token: LaneToken, item: T) {
        match &mut self.0 {
            Kind::Plain(queue) => queue.push_front(item),
            Kind::Keyed(lanes) => lanes.unpop(token.0, item),
        }
    }

    /// Ends the run of a popped message. `now` is asked only when the lane begins to wait.
    #[expect(clippy::needless_pass_by_value, reason = "a token is used once")]
    pub fn done(&mut self, token: LaneToken, after: After<T::Id>, now: impl FnOnce() -> Moment) {
        if let Kind::Keyed(lanes) = &mut self.0 {
            lanes.done(token.0, after, now);
        }
    }

    /// Gives up waiting where it has lasted longer than the limit: returns what is parked behind a
    /// message that did not come back, to be released to its source, and forgets the lane.
    ///
    /// To be called at [`Lanes::next_expiry`], or at any time: without waits it costs nothing. A
    /// wait that began with a message turned away or drained counts from the first call after it.
    pub fn expire_waits(&mut self, now: Moment) -> Vec<T> {
        match &mut self.0 {
            Kind::Plain(_) => Vec::new(),
            Kind::Keyed(lanes) => lanes.expire_waits(now),
        }
    }

    /// Expects no longer what went back to its source and will not come again, as its source has said:
    /// those of `key` whose identity `which` names. The lane goes on with what is parked behind.
    pub fn forget(&mut self, key: &T::KeyRef<'_>, which: impl Fn(&T::Id) -> bool) {
        if let Kind::Keyed(lanes) = &mut self.0 {
            lanes.forget(key, which);
        }
    }

    /// When [`Lanes::expire_waits`] next has something to do; [`Moment::ZERO`] if at once.
    #[must_use]
    pub fn next_expiry(&self) -> Moment {
        match &self.0 {
            Kind::Plain(_) => Moment::NEVER,
            Kind::Keyed(lanes) => lanes.next_expiry(),
        }
    }

    /// Takes out the parked messages that `which` names, those of a key in their order. They are
    /// not expected back: for messages that are no longer ours.
    pub fn remove_where(&mut self, mut which: impl FnMut(&T) -> bool) -> Vec<T> {
        match &mut self.0 {
            Kind::Plain(queue) => {
                let (gone, kept) = std::mem::take(queue).into_iter().partition(|item| which(item));
                *queue = kept;
                Vec::from(gone)
            }
            Kind::Keyed(lanes) => lanes.remove_where(which),
        }
    }

    /// Takes out all that is parked, those of a key in their order. With keys, they are expected
    /// back like messages turned away: what comes in between does not overtake them.
    pub fn drain(&mut self) -> Vec<T> {
        match &mut self.0 {
            Kind::Plain(queue) => std::mem::take(queue).into(),
            Kind::Keyed(lanes) => lanes.drain(),
        }
    }

    /// How many messages are parked, ready or not.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Kind::Plain(queue) => queue.len(),
            Kind::Keyed(lanes) => lanes.len(),
        }
    }

    /// Whether nothing is parked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many messages may start, if nothing else limits them.
    #[must_use]
    pub fn ready_len(&self) -> usize {
        match &self.0 {
            Kind::Plain(queue) => queue.len(),
            Kind::Keyed(lanes) => lanes.ready.len(),
        }
    }

    /// How many keys have a lane: something parked, running, awaited or away.
    #[must_use]
    pub fn live_keys(&self) -> usize {
        match &self.0 {
            Kind::Plain(_) => 0,
            Kind::Keyed(lanes) => lanes.live_keys(),
        }
    }

    /// Panics if the lanes contradict themselves. Looks at everything, so it is for tests.
    pub fn invariants(&self) {
        if let Kind::Keyed(lanes) = &self.0 {
            lanes.invariants();
        }
    }
}

#[cfg(test)]
mod tests;
