//! When, in key order, what waits for a retry keeps other keys from coming.
//!
//! A message that waits is unacked, and so is all that is behind it of its key. Once these are as many
//! as the prefetch, the broker sends nothing more until the first is through, whatever else is in the
//! queue. Only a larger prefetch helps, so that is told: once for each time it comes to that, if it
//! lasts, and not more often than once in a while.

use std::time::{Duration, Instant};

/// What is shorter is over before anybody could do something.
const LASTS: Duration = Duration::from_secs(1);

/// The least time between two tellings.
const QUIET: Duration = Duration::from_secs(60);

/// What waits in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) keys: usize,
    pub(crate) messages: usize,
}

impl Full {
    /// Whether that, and not what handlers have, is what takes up the room.
    pub(crate) fn is_most_of(self, unacked: usize) -> bool {
        self.messages * 2 > unacked
    }
}

/// Since when it has come to that, and when it was told.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    since: Option<Instant>,
    /// Whether it has been told of this time.
    is_told: bool,
    told: Option<Instant>,
}

impl Stall {
    /// Looks again: whether it is to be told now.
    pub(crate) fn is_news(&mut self, is_full: bool, now: Instant) -> bool {
        if !is_full {
            (self.since, self.is_told) = (None, false);
            return false;
        }
        let since = *self.since.get_or_insert(now);
        let is_quiet = self.told.is_some_and(|told| now - told < QUIET);
        if self.is_told || is_quiet || now - since < LASTS {
            return false;
        }
        (self.is_told, self.told) = (true, Some(now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_once_when_it_lasts_and_again_after_a_while() {
        let (mut stall, start) = (Stall::default(), Instant::now());
        let mut at =
            |millis, is_full| stall.is_news(is_full, start + Duration::from_millis(millis));
        assert!(!at(0, true) && !at(900, true), "it may be over soon");
        assert!(at(1_000, true));
        assert!(!at(1_500, true) && !at(200_000, true), "told already");
        assert!(!at(200_500, false));
        assert!(!at(201_000, true) && at(202_000, true), "another time");
        assert!(!at(203_000, false) && !at(204_000, true) && !at(240_000, true), "soon after");
        assert!(at(262_000, true), "it still lasts");
    }

    #[test]
    fn what_handlers_have_is_no_wait() {
        assert!(Full { keys: 1, messages: 6 }.is_most_of(10));
        assert!(!Full { keys: 1, messages: 5 }.is_most_of(10));
    }
}
