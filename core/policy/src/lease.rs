//! Which leases to renew, and when: a book with one entry for each message in hand.
//!
//! A lease is renewed when half of it has passed, which leaves room for several tries before it
//! ends, and costs one call per message and half length. Messages come and go a million times a
//! second and hardly any is ever renewed, so entering and striking out must cost next to nothing:
//! the entries are in lists that are linked through one slab, ordered by time. A new lease nearly
//! always ends last, so its place is found from the tail at once; striking out unlinks. (A heap would
//! keep an entry for every message that has come and gone since its oldest one; a timer wheel
//! answers "when next?" only by searching.)
//!
//! ```text
//!                               renewed
//!              +---------------------------------------+
//!              v                                       |
//!   register  Held -- half has passed --> Renewing ----+      take_ended
//!  ---------->  ^                          |   | |            (reported)
//!               | failed: a pause          |   | +-- the end --> Ended ------>
//!               +--------------------------+   |                  ^
//!                                              | renewed, at the  | the end
//!                                              | cap for the last |
//!                                              +-----> Capped ----+
//! ```
//!
//! | state    | due(now)                             | renewed        | failed          | remove, lost |
//! |----------|--------------------------------------|----------------|-----------------|--------------|
//! | Held     | Renewing, and handed out; Ended if late | Held, Capped | Held            | gone         |
//! | Renewing | Ended if late                        | Held, Capped   | Held, to try again | gone      |
//! | Capped   | Ended if late                        | Held, Capped   | Capped          | gone         |
//! | Ended    | -                                    | gone: lost     | gone: lost      | gone         |
//!
//! An answer that a lease has ended by the clock takes the entry out of the book: [`LeaseFate::Lost`].

use crate::{
    Moment,
    arena::{Arena, List},
};
use hashbrown::HashTable;
use std::time::Duration;

/// The longest pause after a renewal that failed; a quarter of what is left, if that is shorter.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The shortest.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// What became of a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseFate {
    /// It is ours, and will be due again.
    Kept,
    /// It is ours to its end, but no longer renewed: it would be held longer than is allowed.
    CapReached,
    /// It is over, and out of the book: stop working on the message.
    Lost,
    /// It is not in the book: the message was settled meanwhile.
    Unknown,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseEnd {
    /// No renewal came through in time.
    Expired,
    /// It has been held as long as is allowed.
    CapReached,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Held,
    Renewing,
    Capped,
    Ended(LeaseEnd),
}

impl State {
    /// The place of its list in [`LeaseBook::lists`].
    const fn list(self) -> usize {
        match self {
            Self::Held => HELD,
            Self::Renewing => RENEWING,
            Self::Capped => CAPPED,
            Self::Ended(_) => ENDED,
        }
    }
}

const HELD: usize = 0;
const RENEWING: usize = 1;
const CAPPED: usize = 2;
const ENDED: usize = 3;

#[derive(Debug)]
struct Entry {
    ticket: u64,
    state: State,
    /// What its list is ordered by: when to renew it, or when it ends.
    at: Moment,
    expires_at: Moment,
    /// Past which it must not be held.
    cap_at: Moment,
}

/// The leases of all messages in hand, by their tickets. See the module's documentation.
#[derive(Debug)]
pub struct LeaseBook {
    max_hold: Option<Duration>,
    margin: Duration,
    /// Entry numbers by ticket.
    table: HashTable<u32>,
    entries: Arena<Entry>,
    /// One for each state.
    lists: [List; 4],
}

impl LeaseBook {
    /// An empty book. No lease is renewed past `max_hold` after it was received.
    #[must_use]
    pub const fn new(max_hold: Option<Duration>) -> Self {
        Self {
            max_hold,
            margin: Duration::ZERO,
            table: HashTable::new(),
            entries: Arena::new(),
            lists: [List::EMPTY; 4],
        }
    }

    /// Renews no later than `margin` before the end, where half of the length would be later: for
    /// short leases at a slow broker.
    #[must_use]
    pub const fn with_margin(mut self, margin: Duration) -> Self {
        self.margin = margin;
        self
    }

    /// Enters a lease. A ticket that is in the book already gets a new entry in place of the old.
    pub fn register(&mut self, ticket: u64, received_at: Moment, expires_at: Moment) {
        self.remove(ticket);
        let cap_at = self.max_hold.map_or(Moment::NEVER, |hold| received_at + hold);
        let entry = Entry { ticket, state: State::Held, at: expires_at, expires_at, cap_at };
        let at = self.entries.insert(entry);
        self.table.insert_unique(hash(ticket), at, |&at| hash(self.entries[at].ticket));
        self.schedule(at, received_at);
        self.check();
    }

    /// Strikes a lease out: its message is settled. Returns whether it was in the book.
    pub fn remove(&mut self, ticket: u64) -> bool {
        let Ok(found) =
            self.table.find_entry(hash(ticket), |&at| self.entries[at].ticket == ticket)
        else {
            return false;
        };
        let (at, _) = found.remove();
        self.unlink(at);
        self.entries.remove(at);
        self.check();
        true
    }

    /// The broker says that a lease is no longer ours. Returns whether it was in the book.
    pub fn lost(&mut self, ticket: u64) -> bool {
        self.remove(ticket)
    }

    /// The leases to renew now. Each is to be answered by [`LeaseBook::renewed`],
    /// [`LeaseBook::failed`] or [`LeaseBook::lost`]; it is not handed out again before.
    ///
    /// Those that have ended are not among them: see [`LeaseBook::take_ended`].
    pub fn due(&mut self, now: Moment) -> Vec<u64> {
        let mut due = Vec::new();
        while let Some(at) = self.first_due(HELD, now) {
            let Entry { ticket, expires_at, .. } = self.entries[at];
            if expires_at <= now {
                self.enter(at, State::Ended(LeaseEnd::Expired), now);
            } else {
                self.enter(at, State::Renewing, expires_at);
                due.push(ticket);
            }
        }
        while let Some(at) = self.first_due(RENEWING, now) {
            self.enter(at, State::Ended(LeaseEnd::Expired), now);
        }
        while let Some(at) = self.first_due(CAPPED, now) {
            self.enter(at, State::Ended(LeaseEnd::CapReached), now);
        }
        self.check();
        due
    }

    /// Takes out of the book the leases that [`LeaseBook::due`] found to have ended unrenewed: stop
    /// working on their messages.
    pub fn take_ended(&mut self) -> Vec<(u64, LeaseEnd)> {
        let mut ended = Vec::with_capacity(self.lists[ENDED].len());
        while let Some(at) = self.lists[ENDED].head() {
            let Entry { ticket, state, .. } = self.entries[at];
            if let State::Ended(end) = state {
                ended.push((ticket, end));
            }
            self.remove(ticket);
        }
        ended
    }

    /// The broker has renewed a lease.
    pub fn renewed(&mut self, ticket: u64, now: Moment, expires_at: Moment) -> LeaseFate {
        let Some(at) = self.find(ticket) else { return LeaseFate::Unknown };
        if expires_at <= now || matches!(self.entries[at].state, State::Ended(_)) {
            self.remove(ticket);
            return LeaseFate::Lost;
        }
        self.entries[at].expires_at = expires_at;
        self.unlink(at);
        let fate = self.schedule(at, now);
        self.check();
        fate
    }

    /// The broker could not renew a lease now. It is tried again after a pause, while it lasts.
    pub fn failed(&mut self, ticket: u64, now: Moment) -> LeaseFate {
        let Some(at) = self.find(ticket) else { return LeaseFate::Unknown };
        let Entry { state, expires_at, .. } = self.entries[at];
        if expires_at <= now || matches!(state, State::Ended(_)) {
            self.remove(ticket);
            return LeaseFate::Lost;
        }
        if state == State::Capped {
            return LeaseFate::CapReached;
        }
        let pause = (expires_at.since(now) / 4).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        self.enter(at, State::Held, now + pause);
        self.check();
        LeaseFate::Kept
    }

    /// When [`LeaseBook::due`] next has something to do.
    #[must_use]
    pub fn next_due(&self) -> Moment {
        [HELD, RENEWING, CAPPED]
            .into_iter()
            .filter_map(|list| self.lists[list].head())
            .map(|at| self.entries[at].at)
            .min()
            .unwrap_or(Moment::NEVER)
    }

    /// How many leases are in the book.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn first_due(&self, list: usize, now: Moment) -> Option<u32> {
        self.lists[list].head().filter(|&at| self.entries[at].at <= now)
    }

    fn find(&self, ticket: u64) -> Option<u32> {
        self.table.find(hash(ticket), |&at| self.entries[at].ticket == ticket).copied()
    }

    /// Links an entry that is in no list, for its renewal or, if that would pass the cap, its end.
    fn schedule(&mut self, at: u32, now: Moment) -> LeaseFate {
        let Entry { expires_at, cap_at, .. } = self.entries[at];
        let length = expires_at.since(now);
        // Never sooner than after a quarter, or a margin that is too wide would ask without pause.
        let renew_at = (now + length / 2).min(expires_at - self.margin).max(now + length / 4);
        // A renewal asks for as much again, from when it is asked.
        if renew_at + length > cap_at {
            self.link(at, State::Capped, expires_at);
            LeaseFate::CapReached
        } else {
            self.link(at, State::Held, renew_at);
            LeaseFate::Kept
        }
    }

    fn enter(&mut self, at: u32, state: State, time: Moment) {
        self.unlink(at);
        self.link(at, state, time);
    }

    fn link(&mut self, at: u32, state: State, time: Moment) {
        let entry = &mut self.entries[at];
        (entry.state, entry.at) = (state, time);
        let list = &mut self.lists[state.list()];
        let mut before = list.tail();
        while let Some(other) = before.filter(|&other| self.entries[other].at > time) {
            before = self.entries.prev(other);
        }
        self.entries.insert_after(list, before, at);
    }

    fn unlink(&mut self, at: u32) {
        let list = self.entries[at].state.list();
        self.entries.unlink(&mut self.lists[list], at);
    }

    /// What can be checked in O(1); all the rest is in [`LeaseBook::invariants`].
    fn check(&self) {
        debug_assert_eq!(self.table.len(), self.entries.len());
        debug_assert_eq!(self.lists.iter().map(List::len).sum::<usize>(), self.len());
    }

    /// Panics if the book contradicts itself. Looks at everything, so it is for tests.
    pub fn invariants(&self) {
        self.check();
        for (i, list) in self.lists.iter().enumerate() {
            self.entries.check(list);
            let mut last = Moment::ZERO;
            for at in self.entries.walk(list) {
                let entry = &self.entries[at];
                assert!(last <= entry.at, "a list is ordered by time");
                last = entry.at;
                assert_eq!(self.find(entry.ticket), Some(at), "a ticket leads to its entry");
                assert_eq!(entry.state.list(), i, "an entry is in the list of its state");
            }
        }
    }
}

/// Tickets are our own and count upwards, so a multiplication spreads them well enough; the upper
/// half, which it mixes best, is folded into the lower.
const fn hash(ticket: u64) -> u64 {
    let mixed = ticket.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 32)
}

#[cfg(test)]
mod tests;
