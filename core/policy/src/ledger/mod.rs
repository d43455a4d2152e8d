//! The ledger of one Kafka partition: what is in flight, what is done, and what can be committed.
//!
//! Kafka keeps one number per partition: the next offset to read. With many messages at work at a
//! time they complete in any order, and the number can only be the lowest that is not done. Why
//! not leave it at that: one slow message then costs, at the next rebalance, the repetition of
//! all that was done behind it. So the commit carries a *done map* in its metadata, and the
//! next owner skips what is in it. (The idea is that of Confluent's parallel consumer,
//! `PartitionState`; so is stopping to receive when the map gets near its limit.)
//!
//! The ledger keeps a single set, the *open* offsets. Below the high water, all that is not open is
//! done or does not exist (compacted away, transaction markers, aborted transactions); no difference
//! is made, since neither will be read again. After a restart the open offsets of the map are owed:
//! not read yet, but to come. Offsets come in ascending order, so those owed below one that came are
//! gone. One that does not ascend says that the log itself has gone back (truncated, or made anew): the
//! offsets from there on are those of other messages, and [`Ledger::rewind`] forgets what was known of
//! them.
//!
//! ```text
//!        commit        last received            high water
//!          v                 v                      v
//!    . . . o x x o . o x x o x  o o x x x o x x x x     (o open, x done, . never existed)
//!          [  in flight: o    ][  owed: o           ][  unknown: fresh
//! ```
//!
//! | offset            | received                        | done               | done, fenced |
//! |-------------------|---------------------------------|--------------------|--------------|
//! | below the commit  | `Rewound`; the very first: all is discarded, `Fresh` | `Already` or `Unknown` | `Fenced` |
//! | in flight         | `Rewound`                       | `Noted`: done      | `Fenced`     |
//! | owed              | `Fresh`: in flight              | `Unknown`          | `Fenced`     |
//! | done, not read    | `AlreadyDone`                   | `Unknown`          | `Fenced`     |
//! | done              | `Rewound`                       | `Already`          | `Fenced`     |
//! | beyond            | `Fresh`: in flight              | `Unknown`          | `Fenced`     |

mod done_map;
mod encoding;
mod note;
mod runs;

pub use note::AssignNote;

use encoding::Growth;
use runs::Runs;

/// What Kafka takes as metadata of a commit, unless the broker's `offset.metadata.max.bytes` says
/// otherwise.
pub const METADATA_LIMIT: usize = 4096;

/// What to do with an offset that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Hand it on; it is in flight from now on.
    Fresh,
    /// It was done before the restart: skip it.
    AlreadyDone,
    /// It is not beyond the last one read, so the log has gone back: it may be another message than the
    /// one that was read there. Nothing has changed; [`Ledger::rewind`] goes back, too.
    Rewound,
    /// The partition is no longer ours: skip it.
    Fenced,
}

/// What a completion meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is done from now on.
    Noted,
    /// It was done before. Harmless.
    Already,
    /// It was never handed out: a mistake of the caller's. Nothing has changed.
    Unknown,
    /// It belongs to an assignment that is over. Nothing has changed.
    Fenced,
}

/// What to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to read: the lowest open one, or the one behind all that was read.
    pub offset: i64,
    /// The done map; empty if nothing is done beyond the offset, or if the map has no room.
    pub metadata: String,
}

/// The offsets of one partition in one assignment. See the module's documentation.
#[derive(Clone, Debug)]
pub struct Ledger {
    epoch: u64,
    fenced: bool,
    limit: usize,
    /// The lowest offset that was ever part of this assignment; `None` until that is known.
    floor: Option<i64>,
    open: Runs,
    /// The last offset read; below the floor before the first.
    last: i64,
    /// Behind all that is known.
    high: i64,
    in_flight: usize,
    /// Counts what changes a commit.
    version: u64,
    /// The commit given out last, and the one that the broker has.
    sent: Option<(i64, u64)>,
    confirmed: Option<(i64, u64)>,
    /// The size of the map when it was last measured, and how much has changed since: completions,
    /// and gaps.
    measured: usize,
    growth: Growth,
    since_measured: usize,
    /// Whether the last answer was that no more may be received.
    stopped: bool,
}

impl Ledger {
    /// So many may be received before [`Ledger::may_receive`] is asked again.
    pub const AHEAD: usize = 256;

    /// A ledger for an assignment with this epoch, from the partition's last commit: its offset, if
    /// there is one, and its metadata.
    #[must_use]
    pub fn assign(
        epoch: u64,
        committed: Option<i64>,
        metadata: Option<&str>,
    ) -> (Self, AssignNote) {
        let floor = committed.filter(|&offset| offset >= 0);
        let base = floor.unwrap_or(0);
        let mut ledger = Self {
            epoch,
            fenced: false,
            limit: METADATA_LIMIT,
            floor,
            open: Runs::default(),
            last: base - 1,
            high: base,
            in_flight: 0,
            version: 0,
            sent: None,
            confirmed: floor.map(|offset| (offset, 0)),
            measured: 0,
            growth: Growth::default(),
            since_measured: 0,
            stopped: false,
        };
        let note = match (floor, metadata) {
            (None, _) => AssignNote::NoCommit,
            (Some(_), None | Some("")) => AssignNote::NoMap,
            (Some(base), Some(text)) => match done_map::read(text, base) {
                Ok(map) => {
                    let done = map.done(base);
                    (ledger.open, ledger.high) = (map.open, map.end);
                    AssignNote::Restored { done }
                }
                Err(note) => note,
            },
        };
        ledger.measure();
        ledger.check();
        (ledger, note)
    }

    /// With another limit for the metadata of a commit, in bytes; 0: no done map, and no limit to
    /// receiving by it.
    #[must_use]
    pub const fn with_metadata_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Notes an offset that was read. They come in ascending order, with gaps, as long as the log goes on.
    pub fn received(&mut self, offset: i64) -> Received {
        if self.fenced {
            return Received::Fenced;
        }
        let begun = self.floor.is_some_and(|floor| self.last >= floor);
        if begun && offset <= self.last {
            return Received::Rewound;
        }
        if !begun && self.floor.is_none_or(|floor| offset < floor) {
            self.start_at(offset);
        }
        let answer = self.place(offset);
        self.check();
        answer
    }

    /// The log has gone back to `offset`: from there on all is new. Below it all is as it was: what is
    /// done stays done, and what was in flight is owed, so reading has to go on at [`Ledger::next`].
    /// `epoch` is that of what is read from now on; the commit may be lower than the last.
    pub fn rewind(&mut self, epoch: u64, offset: i64) {
        self.open.remove_range(&(offset..i64::MAX));
        let floor = self.open.first().unwrap_or(offset);
        self.floor = Some(floor);
        (self.last, self.high) = (floor - 1, offset);
        (self.epoch, self.in_flight, self.stopped) = (epoch, 0, false);
        // What the broker has, or is about to get, is of the log as it was.
        (self.sent, self.confirmed) = (None, None);
        self.measure();
        self.check();
    }

    /// Starts anew: without a commit, or with one that lies beyond where reading begins, since somebody
    /// has moved it or the log has gone back.
    fn start_at(&mut self, offset: i64) {
        self.floor = Some(offset);
        self.open = Runs::default();
        (self.last, self.high) = (offset - 1, offset);
        (self.sent, self.confirmed) = (None, None);
        self.version += 1;
        self.measure();
    }

    /// Notes an offset beyond the last one.
    fn place(&mut self, offset: i64) -> Received {
        // What was owed before it is gone: retention or compaction took it.
        if self.open.remove_range(&(self.last + 1..offset)) {
            self.version += 1;
            self.since_measured += 1;
        }
        self.last = offset;
        if offset >= self.high {
            self.since_measured += usize::from(offset > self.high);
            self.open.append(offset..offset + 1);
            self.high = offset + 1;
        } else if !self.open.contains(offset) {
            return Received::AlreadyDone;
        }
        self.in_flight += 1;
        Received::Fresh
    }

    /// Notes that an offset is done, in any order. `epoch` is that of the assignment in which it was
    /// received.
    pub fn done(&mut self, epoch: u64, offset: i64) -> Done {
        if self.fenced || epoch != self.epoch {
            return Done::Fenced;
        }
        if offset > self.last || self.floor.is_none_or(|floor| offset < floor) {
            return Done::Unknown;
        }
        if !self.open.remove(offset) {
            return Done::Already;
        }
        self.in_flight -= 1;
        self.version += 1;
        self.since_measured += 1;
        self.check();
        Done::Noted
    }

    /// What to commit, if that differs from what the broker has. To be called again if the commit
    /// fails; one at a time.
    pub fn commit(&mut self) -> Option<Commit> {
        let now = (self.next(), self.version);
        if self.fenced || self.floor.is_none() || self.confirmed == Some(now) {
            return None;
        }
        self.sent = Some(now);
        let metadata = self.measure().unwrap_or_default();
        Some(Commit { offset: now.0, metadata })
    }

    /// The broker has taken the commit that was given out last, at this offset.
    pub fn committed(&mut self, offset: i64) {
        if let Some(sent) = self.sent.take_if(|sent| sent.0 == offset) {
            self.confirmed = Some(sent);
        }
    }

    /// Whether more should be read, [`Ledger::AHEAD`] at most before it is asked again: not while the done map
    /// fills three quarters of its limit, nor while it might grow beyond the limit, should just the
    /// wrong ones of those in flight complete first. What is in flight goes on, and as the lowest of
    /// it completes, the map shrinks.
    ///
    /// What the map of the last owner knows may always be read again: that only shrinks it.
    pub fn may_receive(&mut self) -> bool {
        if self.fenced || self.limit == 0 {
            return !self.fenced;
        }
        // With nothing in flight, nothing would ever make room.
        if self.last + 1 < self.high || self.in_flight == 0 {
            return true;
        }
        if self.is_full() && self.since_measured > 0 {
            self.measure();
        }
        self.stopped = self.is_full();
        !self.stopped
    }

    /// Whether the map may be too large, by what was measured last and has changed since.
    fn is_full(&self) -> bool {
        // A completion or a gap adds two lengths: four bytes and their share of base64, unless they
        // are very long.
        if self.measured + 6 * self.since_measured >= self.limit / 4 * 3 {
            return true;
        }
        // Once stopped, it is for more than a moment.
        let ahead = if self.stopped { 4 * Self::AHEAD } else { Self::AHEAD };
        let open = self.in_flight + ahead + 2 * self.since_measured;
        let at_most = self.growth.at_most(open, self.gap() + ahead as u64);
        at_most > done_map::room(self.next(), self.limit)
    }

    /// The assignment is over: nothing counts any more, and nothing is committed.
    pub const fn fence(&mut self) {
        self.fenced = true;
    }

    /// The assignment that this is for.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }

    /// How many offsets are in flight: handed on and not done.
    #[must_use]
    pub const fn incomplete(&self) -> usize {
        self.in_flight
    }

    /// How far the commit lies behind all that is known, in offsets: what a restart without the
    /// done map would read again.
    #[must_use]
    pub fn gap(&self) -> u64 {
        self.high.abs_diff(self.next())
    }

    /// The next offset to read, as a commit would say now: the lowest that is not done.
    #[must_use]
    pub fn next(&self) -> i64 {
        self.open.first().unwrap_or(self.high)
    }

    /// The last offset read; below all of them before the first.
    #[must_use]
    pub const fn last(&self) -> i64 {
        self.last
    }

    /// The offset of the commit that the broker has, as far as is known.
    #[must_use]
    pub fn confirmed(&self) -> Option<i64> {
        self.confirmed.map(|(offset, _)| offset)
    }

    /// Whether an offset is known and not done.
    #[must_use]
    pub fn is_open(&self, offset: i64) -> bool {
        self.open.contains(offset)
    }

    /// Whether something is done beyond the commit and this commit's metadata does not say so: a
    /// restart would repeat it.
    #[must_use]
    pub fn is_unmapped(&self, commit: &Commit) -> bool {
        commit.metadata.is_empty() && self.gap() > self.outstanding()
    }

    /// How many offsets below the high water are not done: in flight, or owed by the last owner.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.open.iter().map(|run| run.end.abs_diff(run.start)).sum()
    }

    /// Writes the map and notes its size; one that has no room counts as filling it.
    fn measure(&mut self) -> Option<String> {
        let (map, growth) = done_map::write(&self.open, self.high, self.limit);
        self.measured = map.as_ref().map_or(self.limit, String::len);
        (self.growth, self.since_measured) = (growth, 0);
        map
    }

    /// What can be checked in O(log n); all the rest is in [`Ledger::invariants`].
    fn check(&self) {
        debug_assert!(self.last < self.high || self.floor.is_none());
        debug_assert!(self.next() <= self.high);
        debug_assert!(self.in_flight == 0 || !self.open.is_empty());
    }

    /// Panics if the ledger contradicts itself. Looks at everything, so it is for tests.
    pub fn invariants(&self) {
        self.check();
        self.open.invariants();
        let received = self.open.iter().map(|run| run.start..run.end.min(self.last + 1));
        let in_flight: usize = received.filter(|run| !run.is_empty()).map(Iterator::count).sum();
        assert_eq!(in_flight, self.in_flight, "in flight is what was received and is open");
        assert!(self.open.iter().all(|run| run.end <= self.high), "open beyond the high water");
        assert!(self.open.first().is_none_or(|first| self.floor.is_some_and(|f| first >= f)));
    }
}

#[cfg(test)]
mod tests;
