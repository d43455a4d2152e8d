//! When a batch is full.
//!
//! [`Batcher`] knows sizes and no messages. It says when to stop collecting: by count, bytes, or the
//! age of the first message, since it is the first one that has waited longest; counting from the last
//! would let a trickle keep a batch open for ever.
//!
//! ```text
//!             push                 push to the limit, close, or age
//!   (empty) ---------> collecting --------------------------------> closing
//!      ^                                                               |
//!      +---------------------------- clear <---------------------------+
//! ```

use crate::Moment;
use std::time::Duration;

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
