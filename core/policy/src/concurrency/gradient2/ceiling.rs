//! What was one call too many, for Gradient2: out of reach for a while.
//!
//! Of few calls one is more than a fifth, and the best number of them may leave room where one more is
//! too many. Without a memory of that the limit would go there again after each measurement.

use super::UP;
use crate::Moment;
use std::time::Duration;

/// For how long it stays out of reach.
const OUT_OF_REACH: Duration = Duration::from_secs(60);

/// Up to how many calls a limit may go, as one more was too many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ceiling {
    calls: f64,
    /// The latency with so many, in seconds.
    latency: f64,
    until: Moment,
}

impl Ceiling {
    /// All is within reach.
    pub(super) const NONE: Self = Self { calls: f64::INFINITY, latency: 0.0, until: Moment::ZERO };

    /// One more than `calls`, whose latency is this in seconds, has just been too many.
    pub(super) fn of(calls: f64, latency: f64, now: Moment) -> Self {
        Self { calls, latency, until: now + OUT_OF_REACH }
    }

    pub(super) const fn calls(&self) -> f64 {
        self.calls
    }

    pub(super) const fn is_there(&self) -> bool {
        self.calls.is_finite()
    }

    /// Takes it away when its time is over, or the system has become faster: so many seconds is the
    /// latency now. Whether it was taken away.
    pub(super) fn ends(&mut self, latency: f64, now: Moment) -> bool {
        let ends = self.is_there() && (now >= self.until || latency * UP < self.latency);
        if ends {
            *self = Self::NONE;
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_ends_after_its_time_or_where_the_system_becomes_faster() {
        let at = |secs| Moment::ZERO + Duration::from_secs(secs);
        let mut ceiling = Ceiling::of(2.0, 0.03, at(10));
        assert!(!ceiling.ends(0.02, at(69)) && ceiling.calls() == 2.0);
        assert!(!ceiling.ends(3.0, at(69)), "slower is no reason");
        assert!(ceiling.clone().ends(0.019, at(11)), "a half as fast again");
        assert!(ceiling.ends(0.03, at(70)) && !ceiling.is_there());
        assert!(!ceiling.ends(0.0, at(71)), "once");
    }
}
