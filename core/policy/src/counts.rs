//! Counts of the recent past: two kinds of event over a sliding span of time.
//!
//! The span is cut into ten buckets. Time moves on by dropping the oldest, so counts decay by
//! themselves, a tenth of the span at a time, and nothing is allocated. A list of every event would
//! be exact, and cost memory in proportion to the load.

use crate::Moment;
use std::time::Duration;

const BUCKETS: usize = 10;

/// How many there were of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) good: u64,
    pub(crate) bad: u64,
}

impl Counts {
    pub(crate) const fn sum(self) -> u64 {
        self.good + self.bad
    }
}

#[derive(Clone, Debug)]
pub(crate) struct SlidingCounts {
    buckets: [Counts; BUCKETS],
    /// The sum of all buckets.
    total: Counts,
    /// The bucket that counts now.
    current: usize,
    /// When the current bucket is over.
    ends: Moment,
    /// How long a bucket lasts.
    width: Duration,
}

impl SlidingCounts {
    /// Counts over the last `span`, give or take a tenth. `span` is at least 10 ns.
    pub(crate) fn new(span: Duration) -> Self {
        Self {
            buckets: [Counts::default(); BUCKETS],
            total: Counts::default(),
            current: 0,
            ends: Moment::ZERO,
            width: (span / BUCKETS as u32).max(Duration::from_nanos(1)),
        }
    }

    /// Drops what is too old. Going backwards in time does nothing.
    pub(crate) fn advance(&mut self, now: Moment) {
        if now < self.ends {
            return;
        }
        let behind = now.since(self.ends).as_nanos() / self.width.as_nanos() + 1;
        if behind >= BUCKETS as u128 {
            self.clear();
            self.ends = now + self.width;
            return;
        }
        for _ in 0..behind {
            self.current = (self.current + 1) % BUCKETS;
            let old = std::mem::take(&mut self.buckets[self.current]);
            self.total.good -= old.good;
            self.total.bad -= old.bad;
            self.ends = self.ends + self.width;
        }
    }

    /// Counts one good event in the current bucket.
    pub(crate) fn good(&mut self) {
        self.many_good(1);
    }

    /// Counts good events in the current bucket.
    pub(crate) fn many_good(&mut self, count: u64) {
        self.buckets[self.current].good += count;
        self.total.good += count;
    }

    /// Counts one bad event in the current bucket.
    pub(crate) fn bad(&mut self) {
        self.buckets[self.current].bad += 1;
        self.total.bad += 1;
    }

    pub(crate) const fn total(&self) -> Counts {
        self.total
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
        self.total = Counts::default();
    }

    pub(crate) fn invariants(&self) {
        let good = self.buckets.iter().map(|bucket| bucket.good).sum();
        let bad = self.buckets.iter().map(|bucket| bucket.bad).sum();
        assert_eq!(self.total, Counts { good, bad }, "the total is not the sum of its buckets");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_millis(seconds * 1000)
    }

    #[test]
    fn counts_decay_bucket_by_bucket() {
        let mut counts = SlidingCounts::new(Duration::from_secs(10));
        for second in 0..10 {
            counts.advance(at(second));
            counts.bad();
            counts.invariants();
        }
        assert_eq!(counts.total().bad, 10);
        counts.advance(at(12));
        assert_eq!(counts.total().bad, 7);
        counts.advance(at(1000));
        assert_eq!(counts.total().sum(), 0);
    }

    #[test]
    fn time_going_backwards_drops_nothing() {
        let mut counts = SlidingCounts::new(Duration::from_secs(10));
        counts.advance(at(100));
        counts.good();
        counts.advance(at(1));
        counts.good();
        assert_eq!(counts.total().good, 2);
        counts.invariants();
    }
}
