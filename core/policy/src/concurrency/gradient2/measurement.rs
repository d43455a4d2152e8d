//! Latency at a lowered limit beside latency at the whole one, for Gradient2.
//!
//! The two are looked at in turn, in slots so short that what a system does by itself (a checkpoint, a
//! neighbour, its host) falls into both. Where round trips are long there is time for one slot only:
//! it is held against the latency before.
//!
//! What counts are the calls that *end* in a slot, once two round trips have passed. Those that both start
//! and end in it would be the short ones: of exponential times their mean is 15% too low, more than is
//! tolerated.
//!
//! ```text
//!   before | low high low high ... low high |     each slot: settle, then count what ends
//! ```

use super::seconds;
use crate::Moment;
use std::time::Duration;

/// How many round trips the queue takes to become what it is at another limit.
const SETTLE_TRIPS: f64 = 2.0;
/// For how many round trips the calls of a slot count, and for how many seconds at least.
const SLOT_TRIPS: f64 = 3.0;
const SLOT: f64 = 0.04;
/// How many seconds all pairs of slots may take, and how many they are at most, and at least before it
/// is said that more would change nothing.
const ALL: f64 = 1.2;
const PAIRS: f64 = 12.0;
const ENOUGH_PAIRS: u32 = 3;
/// How many seconds a slot takes that is the only one, and after how many calls that is enough.
const ALONE: f64 = 0.25;
const ENOUGH_CALLS: u32 = 1_000;
/// A system whose latency rises by this factor meanwhile is in trouble.
const TROUBLE: f64 = 2.0;

/// Less load and more latency, by this factor, is no measurement: something has gone wrong meanwhile.
const UP: f64 = 1.5;
/// By how many standard errors a measurement must be off to say that the limit is too high, or far too
/// low.
const TOO_HIGH: f64 = 1.5;
const FAR_TOO_LOW: f64 = 2.0;
/// A standard error above this share of what is tolerated says nothing.
const VAGUE: f64 = 0.7;

/// A measurement that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// The latency before it, in seconds.
    before: f64,
    /// By what factor latencies differ where the limit is right.
    balance: f64,
    /// How long a slot settles, and then counts, in seconds.
    settle: f64,
    count: f64,
    /// Whether there is one slot only.
    alone: bool,
    pairs_left: u32,
    /// The slot that goes on: whether the limit is lowered, from when on what ends counts, until when.
    lowered: bool,
    from: Moment,
    until: Moment,
    slot: Mean,
    /// All that has been counted at the lowered limit, and at the whole one.
    low: Mean,
    high: Mean,
    /// Of the lowered slot last, and of all pairs the logarithm of by what factor they differ.
    low_last: f64,
    pairs: Mean,
}

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    /// The mean latency at the lowered limit, in seconds.
    pub(super) low: f64,
    /// By what factor that of the whole limit is higher.
    pub(super) slower: f64,
    /// The standard error of that factor, as a share of it.
    pub(super) error: f64,
    /// Whether several pairs of slots say so.
    pub(super) paired: bool,
}

/// What it says of the whole limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Clearly more latency than is tolerated.
    TooHigh,
    /// As much as is tolerated, or a little more.
    Right,
    /// Less than that.
    Room,
    /// Nothing, or too little to tell.
    Vague,
    /// Clearly less than half of what is tolerated.
    FarTooLow,
}

impl Measured {
    /// What it says, when latency may differ by this factor; `None` if something went wrong meanwhile.
    pub(super) fn verdict(&self, tolerance: f64) -> Option<Verdict> {
        let &Self { slower, error, .. } = self;
        if slower * UP * (1.0 + 2.0 * error) < 1.0 {
            return None;
        }
        let excess = tolerance - 1.0;
        Some(if slower > tolerance * (1.0 + TOO_HIGH * error) {
            Verdict::TooHigh
        } else if slower * (1.0 + FAR_TOO_LOW * error) < 1.0 + excess / 2.0 {
            Verdict::FarTooLow
        } else if error > VAGUE * excess {
            Verdict::Vague
        } else if slower < tolerance {
            Verdict::Room
        } else {
            Verdict::Right
        })
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Mean {
    count: u32,
    total: f64,
    squares: f64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.join(Self { count: 1, total: value, squares: value * value });
    }

    fn join(&mut self, other: Self) {
        self.count += other.count;
        self.total += other.total;
        self.squares += other.squares;
    }

    fn mean(&self) -> f64 {
        self.total / f64::from(self.count)
    }

    /// The standard error of the mean.
    fn error(&self) -> f64 {
        let (count, mean) = (f64::from(self.count), self.mean());
        let variance = (self.squares / count - mean * mean).max(0.0);
        (variance / (count - 1.0).max(1.0)).sqrt()
    }

    /// The same, as a share of the mean.
    fn share(&self) -> f64 {
        self.error() / self.mean()
    }
}

impl Measurement {
    /// Begins, with a lowered limit: `before` is the latency at the whole one, in seconds.
    pub(super) fn new(before: f64, balance: f64, now: Moment) -> Self {
        let (settle, count) = (before * SETTLE_TRIPS, (before * SLOT_TRIPS).max(SLOT));
        let pairs_left = (ALL / (2.0 * (settle + count))).clamp(1.0, PAIRS) as u32;
        let alone = pairs_left == 1;
        let mut begun = Self {
            before,
            balance,
            settle,
            count: if alone { count.max(ALONE) } else { count },
            alone,
            pairs_left,
            lowered: true,
            from: now,
            until: now,
            slot: Mean::default(),
            low: Mean::default(),
            high: Mean::default(),
            low_last: 0.0,
            pairs: Mean::default(),
        };
        begun.begin(now);
        begun
    }

    fn begin(&mut self, now: Moment) {
        self.from = now + seconds(self.settle);
        self.until = self.from + seconds(self.count);
        self.slot = Mean::default();
    }

    /// Whether the limit is lowered at this moment.
    pub(super) const fn is_lowered(&self) -> bool {
        self.lowered
    }

    /// A call succeeded.
    pub(super) fn add(&mut self, took: Duration, now: Moment) {
        if now >= self.from {
            self.slot.add(took.as_secs_f64());
        }
    }

    /// Whether the measurement is over; goes on to the next slot if this one is.
    pub(super) fn is_over(&mut self, now: Moment) -> bool {
        if now < self.until && !(self.alone && self.slot.count >= ENOUGH_CALLS) {
            return false;
        }
        if self.alone || self.slot.count == 0 {
            self.low.join(self.slot);
            return true;
        }
        let mean = self.slot.mean();
        let trouble = mean > TROUBLE * self.before + 2.0 * self.slot.error();
        if self.lowered {
            self.low.join(self.slot);
            self.low_last = mean;
        } else {
            self.high.join(self.slot);
            self.pairs.add((mean / self.low_last).ln());
            self.pairs_left -= 1;
        }
        if trouble && self.lowered {
            // Less load, and more latency: what was measured before this is of another system.
            (self.low, self.high) = (self.slot, Mean::default());
        }
        if trouble || self.pairs_left == 0 || self.is_clear() {
            return true;
        }
        self.lowered = !self.lowered;
        self.begin(now);
        false
    }

    /// Whether what is left would change nothing.
    fn is_clear(&self) -> bool {
        let off = || (self.pairs.mean() - self.balance.ln()).abs();
        !self.lowered && self.pairs.count >= ENOUGH_PAIRS && off() > 2.5 * self.error()
    }

    /// What came of it; `None` if nothing did.
    pub(super) fn measured(&self) -> Option<Measured> {
        if self.low.count == 0 {
            return None;
        }
        let low = self.low.mean();
        let high = if self.high.count == 0 { self.before } else { self.high.mean() };
        let paired = self.pairs.count >= ENOUGH_PAIRS;
        Some(Measured { low, slower: high / low, error: self.error(), paired })
    }

    /// By the calls, or by the pairs: what calls have in common shows only there.
    fn error(&self) -> f64 {
        if self.pairs.count < 2 {
            return self.low.share();
        }
        self.low.share().hypot(self.high.share()).max(self.pairs.error())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_says_no_more_than_its_error_allows() {
        for (slower, error, verdict) in [
            (1.20, 0.02, Some(Verdict::TooHigh)),
            (1.14, 0.02, Some(Verdict::Right)),
            (1.10, 0.02, Some(Verdict::Room)),
            (1.10, 0.10, Some(Verdict::Vague)),
            (1.00, 0.01, Some(Verdict::FarTooLow)),
            (0.50, 0.10, None),
        ] {
            let measured = Measured { low: 0.01, slower, error, paired: true };
            assert_eq!(measured.verdict(1.125), verdict, "{measured:?}");
        }
    }
}
