//! Notices handlers that hog the processor, so that they do not hold up their neighbours.
//!
//! A handler that computes or blocks in its first poll stops the pump for as long. So when that
//! happens, handlers start as tasks for a while, and the pump leaves the threads that run them
//! (`aside.rs`).
//!
//! How long a while is a matter of evidence. A single long poll costs nothing. One that follows soon
//! after is a strike, and the rest is four times its length; each further strike makes that four times
//! as long, up to 1024 times. First polls in tasks are evidence, too, and hold up nobody: so a steady
//! hog is polled inline twice, and then about never. A busy machine, which takes the processor away
//! for some milliseconds now and then, does not look like one: that time is no evidence (`account.rs`).

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
/// The longest rest is the poll's length, made four times as long so often.
const MAX_STRIKES: u32 = 5;

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

    /// Whether the next long poll is looked into: how much of it is the handler's doing. Not while all
    /// goes briskly, as to know that costs as much as some brisk polls.
    #[inline]
    pub(super) fn is_watchful(&self) -> bool {
        self.short < CALM || self.brisk < BRISK
    }

    /// How many polls may go by between two looks at the clock.
    #[inline]
    pub(super) fn stride(&self) -> u32 {
        if self.brisk < BRISK { 1 } else { STRIDE }
    }

    /// Handlers were polled inline, and took so long together, without what the system took away. Of
    /// several, a long one is known by being longer than all could be together; where that is not sure,
    /// each is looked at again.
    pub(super) fn polled(&mut self, polls: u32, took: Duration, now: Instant) {
        self.brisk = match took * STRIDE <= LONG * polls {
            true => self.brisk.saturating_add(polls),
            false => 0,
        };
        if !is_long(polls, took) {
            self.short = self.short.saturating_add(polls);
            return;
        }
        let soon = self.short < CALM;
        self.short = 0;
        if soon {
            self.strikes = (self.strikes + 1).min(MAX_STRIKES);
            let rest = took * (1 << (2 * self.strikes));
            self.inline_from = self.inline_from.max(now + rest);
        } else {
            self.strikes = 0;
        }
    }
}

/// Whether there may have been a hog among so many polls that took so long together.
#[inline]
pub(super) fn is_long(polls: u32, took: Duration) -> bool {
    took > LONG * polls
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    #[test]
    fn a_long_poll_now_and_then_costs_nothing() {
        let begun = Instant::now();
        let mut hogs = Hogs::new(begun);
        for _ in 0..3 {
            hogs.polled(1, 4 * MILLI, begun);
            assert!(hogs.allow(begun));
            (0..CALM).for_each(|_| hogs.polled(1, Duration::from_micros(1), begun));
        }
    }

    #[test]
    fn tasks_give_evidence_while_nothing_is_polled_inline() {
        let begun = Instant::now();
        let mut hogs = Hogs::new(begun);
        (0..3).for_each(|_| hogs.polled(1, MILLI, begun));
        assert!(!hogs.allow(begun + 15 * MILLI), "two strikes");
        hogs.polled(1, MILLI, begun + 15 * MILLI);
        assert!(!hogs.allow(begun + 78 * MILLI) && hogs.allow(begun + 79 * MILLI));
        hogs.polled(1, MILLI / 2, begun + 20 * MILLI);
        assert!(!hogs.allow(begun + 78 * MILLI), "a shorter rest does not end a longer one");
    }

    #[test]
    fn brisk_polls_share_a_look_at_the_clock() {
        let begun = Instant::now();
        let mut hogs = Hogs::new(begun);
        assert_eq!(hogs.stride(), 1);
        (0..BRISK).for_each(|_| hogs.polled(1, Duration::from_micros(2), begun));
        assert_eq!(hogs.stride(), STRIDE);
        hogs.polled(STRIDE, LONG + Duration::from_micros(1), begun);
        assert_eq!(hogs.stride(), 1, "one of them may have been a long one");
        assert!(hogs.allow(begun));
    }

    #[test]
    fn a_steady_hog_is_polled_inline_for_a_hundredth_of_the_time_at_most() {
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
        assert!(inline < 10 * MILLI, "{inline:?} of a second, the first strikes included");
    }
}
