//! When the broker is told of what is done.
//!
//! To a quorum queue each ack is an entry of its log, whether it settles one message or a hundred, and
//! what an ack sets free is sent in one go. So under load acks gather: until an eighth of the prefetch
//! is done, or for a few milliseconds since the last were sent. The first after a quiet time goes at
//! once. The broker has the greater part of the prefetch to send from meanwhile.
//!
//! What this costs: a worker that dies repeats what was done in those milliseconds, too.

use std::time::{Duration, Instant};

/// The least time between two frames of acks, unless much is done.
const EVERY: Duration = Duration::from_millis(5);
/// So many parts of the prefetch are there; when one is done, the broker is told at once.
const PARTS: usize = 8;

/// When it was told last.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    told: Option<Instant>,
}

impl Pace {
    /// Whether it is time to tell of `done` messages.
    pub(crate) fn is_due(&self, done: usize, prefetch: u16, now: Instant) -> bool {
        done >= (usize::from(prefetch) / PARTS).max(1) || now >= self.due_at(now)
    }

    /// When it is time at the latest.
    pub(crate) fn due_at(&self, now: Instant) -> Instant {
        self.told.map_or(now, |told| told + EVERY)
    }

    /// It has been told.
    pub(crate) fn told(&mut self, now: Instant) {
        self.told = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_goes_at_once_and_those_that_follow_gather() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        assert!(pace.is_due(1, 800, start));
        pace.told(start);
        assert!(!pace.is_due(99, 800, start));
        assert!(pace.is_due(100, 800, start), "an eighth");
        assert!(!pace.is_due(1, 800, start + EVERY / 2));
        assert!(pace.is_due(1, 800, pace.due_at(start)));
        assert!(pace.is_due(1, 800, start + 100 * EVERY));
    }

    #[test]
    fn a_small_prefetch_waits_for_nothing() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        pace.told(start);
        assert!(pace.is_due(1, 1, start) && pace.is_due(1, 15, start));
        assert!(!pace.is_due(1, 16, start) && pace.is_due(2, 16, start));
    }
}
