//! When a batch is full, and how a failed one is taken apart.
//!
//! Two machines that know sizes and ranges, and no messages. [`Batcher`] says when to stop
//! collecting: by count, bytes, or the age of the first message, since it is the first one that has
//! waited longest. [`Split`] finds the poison in a batch that failed as a whole by halving: the good
//! neighbours of one bad message get through in O(log n) calls, and at worst, when all are bad, n
//! messages cost 2n - 1. (AWS calls it bisecting, in Lambda's stream batches.)
//!
//! ```text
//!             push                 push to the limit, close, or age
//!   (empty) ---------> collecting --------------------------------> closing
//!      ^                                                               |
//!      +---------------------------- clear <---------------------------+
//! ```
//!
//! | range      | passed           | failed                             |
//! |------------|------------------|------------------------------------|
//! | one item   | it has succeeded | it has failed                      |
//! | more items | all have succeeded | left half next, then right half  |

use crate::Moment;
use std::{ops::Range, time::Duration};

/// Says when the batch that is being collected is to be closed.
#[derive(Clone, Debug)]
pub struct Batcher {
    max_items: usize,
    max_bytes: usize,
    max_age: Duration,
    items: usize,
    bytes: usize,
    /// [`Moment::NEVER`] while empty.
    due_at: Moment,
    closed: bool,
}

impl Batcher {
    /// Batches of up to `max_items` (at least 1) and up to `max_bytes`, the first item waiting
    /// `max_age` at most.
    #[must_use]
    pub fn new(max_items: usize, max_bytes: usize, max_age: Duration) -> Self {
        let max_items = max_items.max(1);
        let due_at = Moment::NEVER;
        Self { max_items, max_bytes, max_age, items: 0, bytes: 0, due_at, closed: false }
    }

    /// Whether an item of this size still fits. Into an empty batch fits any: one that is larger than
    /// a whole batch goes alone.
    #[must_use]
    pub const fn fits(&self, bytes: usize) -> bool {
        self.items == 0 || !self.is_full() && self.bytes.saturating_add(bytes) <= self.max_bytes
    }

    /// Counts an item in, and says whether the batch is full with it.
    pub fn push(&mut self, bytes: usize, now: Moment) -> bool {
        debug_assert!(self.fits(bytes), "ask `fits` first, and close the batch if it does not");
        if self.items == 0 {
            self.due_at = now + self.max_age;
        }
        self.items += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.check();
        self.is_full()
    }

    /// Whether nothing more can be pushed: no item has no bytes to spare, or there is no place.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.closed
            || self.items >= self.max_items
            || (self.items > 0 && self.bytes >= self.max_bytes)
    }

    /// Closes the batch as it is: the next item does not fit.
    pub const fn close(&mut self) {
        self.closed = self.items > 0;
    }

    /// When the batch closes though it is not full; [`Moment::NEVER`] while it is empty.
    #[must_use]
    pub const fn due_at(&self) -> Moment {
        self.due_at
    }

    /// Whether there is a batch, and it is time to run it.
    #[must_use]
    pub fn should_close(&self, now: Moment) -> bool {
        self.items > 0 && (self.is_full() || now >= self.due_at)
    }

    /// Begins the next batch.
    pub const fn clear(&mut self) {
        self.items = 0;
        self.bytes = 0;
        self.due_at = Moment::NEVER;
        self.closed = false;
    }

    /// Items in the batch.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Panics if the batch contradicts itself.
    pub fn invariants(&self) {
        assert!(self.items <= self.max_items, "more items than fit");
        assert!(self.items <= 1 || self.bytes <= self.max_bytes, "only one alone may be larger");
        assert!(self.items > 0 || (self.bytes == 0 && !self.closed));
    }

    fn check(&self) {
        if cfg!(debug_assertions) {
            self.invariants();
        }
    }
}

/// What running a range came to, all of it together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ran {
    /// Every item of the range succeeded.
    Passed,
    /// The range failed as a whole.
    Failed,
}

/// The plan for a batch that is run as a whole and, where that fails, in halves.
///
/// ```
/// use forebay_policy::{Ran, Split};
///
/// let mut split = Split::new(4); // the third item is poison
/// let mut runs = vec![];
/// while let Some(range) = split.next_run() {
///     let ran = if range.contains(&2) { Ran::Failed } else { Ran::Passed };
///     runs.push(range);
///     split.record(ran);
/// }
/// assert_eq!(runs, [0..4, 0..2, 2..4, 2..3, 3..4]);
/// ```
#[derive(Clone, Debug)]
pub struct Split {
    /// To be run; the next one last. Adjacent, and never more than log2(n) + 1.
    pending: Vec<Range<usize>>,
    running: Option<Range<usize>>,
}

impl Split {
    /// A plan for `len` items, the first run being all of them.
    #[must_use]
    pub fn new(len: usize) -> Self {
        let whole = Some(0..len).filter(|whole| !whole.is_empty());
        Self { pending: whole.into_iter().collect(), running: None }
    }

    /// What to run next, in the items' order; `None` when every item has its outcome. The same again
    /// until [`Split::record`] is called.
    pub fn next_run(&mut self) -> Option<Range<usize>> {
        if self.running.is_none() {
            self.running = self.pending.pop();
        }
        self.running.clone()
    }

    /// Notes what the range last handed out came to. Returns it if that is final for its items; else
    /// its halves are run next.
    pub fn record(&mut self, ran: Ran) -> Option<(Range<usize>, Ran)> {
        let range = self.running.take()?;
        if ran == Ran::Passed || range.len() == 1 {
            return Some((range, ran));
        }
        let middle = range.start + range.len() / 2;
        self.pending.push(middle..range.end);
        self.pending.push(range.start..middle);
        if cfg!(debug_assertions) {
            self.invariants();
        }
        None
    }

    /// Panics if the plan contradicts itself.
    pub fn invariants(&self) {
        let mut runs = self.pending.iter().chain(&self.running).rev();
        let first = runs.next().cloned();
        runs.try_fold(first, |before, next| {
            let adjacent = before.is_some_and(|before| before.end == next.start);
            (adjacent && !next.is_empty()).then(|| Some(next.clone()))
        })
        .expect("what is left to run is one stretch without gap or overlap");
    }
}
