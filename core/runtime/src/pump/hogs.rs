//! Notices handlers that hog the processor, so that they do not hold up their neighbours.
//!
//! A handler that computes or blocks in its first poll stops the pump for as long. After such a poll,
//! handlers start as tasks for a while, where other threads can take them. How long a while is a
//! matter of evidence: a single long poll is most likely the operating system's doing (the thread
//! lost the processor for some milliseconds), and the rest is as long as the poll was. One that follows
//! soon after is a strike, and each strike doubles the rest, up to 64 times the length of the poll. So a
//! steady hog costs its neighbours at most 1/64 of the time, and a busy machine costs nothing.

use std::time::Duration;
use tokio::time::Instant;

/// A first poll longer than this is suspicious.
const LONG: Duration = Duration::from_micros(100);
/// So many polls share a look at the clock while they are brisk: all together shorter than `LONG`.
const STRIDE: u32 = 8;
/// So many brisk polls, each looked at, let them share.
const BRISK: u32 = 64;
/// So many short polls in between clear the record.
const CALM: u32 = 4096;
/// The longest rest is the poll's length, doubled so often.
const MAX_STRIKES: u32 = 6;

/// The record of first polls.
#[derive(Debug)]
pub(super) struct Hogs {
    /// Handlers are polled inline only from here on.
    inline_from: Instant,
    /// Long polls that came soon after another.
    strikes: u32,
    /// Short polls since the last long one.
    short: u32,
    /// Brisk polls since the last that was not.
    brisk: u32,
}

impl Hogs {
    pub(super) fn new(now: Instant) -> Self {
        Self { inline_from: now, strikes: 0, short: CALM, brisk: 0 }
    }

    /// Whether a handler may be polled inline.
    #[inline]
    pub(super) fn allow(&self, now: Instant) -> bool {
        now >= self.inline_from
    }

    /// How many polls may go by between two looks at the clock.
    #[inline]
    pub(super) fn stride(&self) -> u32 {
        if self.brisk < BRISK { 1 } else { STRIDE }
    }

    /// Handlers were polled inline, and took so long together. Of several, a long one is known by
    /// being longer than all could be together; where that is not sure, each is looked at again.
    pub(super) fn polled(&mut self, polls: u32, took: Duration, now: Instant) {
        self.brisk = match took * STRIDE <= LONG * polls {
            true => self.brisk.saturating_add(polls),
            false => 0,
        };
        if took <= LONG * polls {
            self.short = self.short.saturating_add(polls);
            return;
        }
        self.strikes = if self.short < CALM { (self.strikes + 1).min(MAX_STRIKES) } else { 0 };
        self.short = 0;
        self.inline_from = now + took * (1 << self.strikes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_single_long_poll_costs_a_rest_of_its_own_length() {
        let begun = Instant::now();
        let mut hogs = Hogs::new(begun);
        for _ in 0..3 {
            hogs.polled(1, 4 * MILLI, begun);
            assert!(!hogs.allow(begun + 3 * MILLI) && hogs.allow(begun + 4 * MILLI));
            (0..CALM).for_each(|_| hogs.polled(1, Duration::from_micros(1), begun));
        }
    }

    #[test]
    fn a_steady_hog_is_polled_inline_for_a_64th_of_the_time_at_most() {
        let begun = Instant::now();
        let (mut hogs, mut now, mut inline) = (Hogs::new(begun), begun, Duration::ZERO);
        while now - begun < 1000 * MILLI {
            if hogs.allow(now) {
                // One long poll among a thousand short ones.
                (0..999).for_each(|_| hogs.polled(1, Duration::from_micros(1), now));
                now += MILLI;
                inline += MILLI;
                hogs.polled(1, MILLI, now);
            } else {
                now += MILLI / 10;
            }
        }
        assert!(inline < 1000 * MILLI / 40, "{inline:?} of a second, the first strikes included");
    }
}
