//! How many messages a worker can hold, learned from what it asks for, and the prefetch that follows.
//!
//! A receive asks for what there is room for; with what is out already, that is the worker's whole
//! window. The prefetch is that: less would leave the worker idle, more would keep messages from
//! others. RabbitMQ applies a new prefetch only to new consumers, so a change costs a round trip and
//! is made only when it is worth it: up by a quarter at once, down to a half after a while.
//!
//! A worker has room for so many bytes, too, and a prefetch counts none. So the bytes are divided by
//! the mean size of what has come of late; until something has, only a few are fetched.

use forebay_contract::Want;
use std::time::{Duration, Instant};

/// For how long the window must have been small before the prefetch follows.
const DOWN_AFTER: Duration = Duration::from_secs(30);

/// The prefetch before the size of any message is known: few enough to be held whatever it is.
const UNKNOWN_SIZE: usize = 16;

/// How much the mean size follows each message: by so many parts of one.
const MEAN_OF: usize = 64;

/// The largest window of a period.
#[derive(Clone, Copy, Debug, Default)]
struct Peak {
    messages: usize,
    bytes: usize,
}

/// What a worker asks for.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// The largest window seen in this period, and in the one before.
    peak: Peak,
    last_peak: Peak,
    /// The running mean of the sizes of messages, in bytes; none before the first.
    mean: Option<usize>,
    since: Option<Instant>,
    /// Receives that wait now.
    waiting: usize,
    /// When the last one stopped waiting.
    asked: Option<Instant>,
}

impl Demand {
    /// A receive begins to wait.
    pub(crate) fn begin(&mut self) {
        self.waiting += 1;
    }

    /// It has got something, or has gone away.
    pub(crate) fn end(&mut self, now: Instant) {
        self.waiting -= 1;
        self.asked = Some(now);
    }

    /// A message of this size has come.
    pub(crate) fn arrived(&mut self, size: usize) {
        let mean = self.mean.unwrap_or(size);
        self.mean =
            Some(((mean.saturating_mul(MEAN_OF - 1).saturating_add(size)) / MEAN_OF).max(1));
    }

    /// A receive asks for so much while so many are out.
    pub(crate) fn wants(&mut self, want: Want, out: usize, now: Instant) {
        if now - *self.since.get_or_insert(now) > DOWN_AFTER {
            self.last_peak = std::mem::take(&mut self.peak);
            self.since = Some(now);
        }
        let out_bytes = out.saturating_mul(self.mean.unwrap_or(0));
        let Peak { messages, bytes } = &mut self.peak;
        *messages = (*messages).max(want.messages.saturating_add(out));
        *bytes = (*bytes).max(want.bytes.saturating_add(out_bytes));
    }

    /// Whether anybody asks.
    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting > 0
    }

    /// Whether nobody has asked for so long.
    pub(crate) fn is_idle(&self, after: Duration, now: Instant) -> bool {
        self.waiting == 0 && self.asked.is_some_and(|asked| now - asked >= after)
    }

    /// The prefetch that serves the window, at most `most`.
    pub(crate) fn prefetch(&self, most: u16) -> u16 {
        let window = self.messages().min(self.fits()).max(1);
        u16::try_from(window).unwrap_or(u16::MAX).min(most)
    }

    fn messages(&self) -> usize {
        self.peak.messages.max(self.last_peak.messages)
    }

    /// How many messages the bytes are enough for.
    fn fits(&self) -> usize {
        let bytes = self.peak.bytes.max(self.last_peak.bytes);
        self.mean.map_or(UNKNOWN_SIZE, |mean| bytes / mean)
    }

    /// The prefetch to change to from `now`, with so many out, if that is worth it.
    pub(crate) fn change(&self, now: u16, out: usize, most: u16) -> Option<u16> {
        let better = self.prefetch(most);
        // With all of it out, the broker sends nothing more, however little is wanted.
        let starves = self.is_wanted() && out >= usize::from(now);
        let up = better > now && (better - now >= (now / 4).max(1) || starves);
        // A window that was small for a moment may grow again; messages that are large stay so.
        let is_settled = self.last_peak.messages > 0 || self.fits() < self.messages();
        let down = better <= now / 2 && is_settled;
        (up || down).then_some(better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Room for so many messages, of whatever size.
    fn small(messages: usize) -> Want {
        Want { messages, bytes: usize::MAX }
    }

    #[test]
    fn the_prefetch_is_the_window_and_follows_it_with_hysteresis() {
        let (mut demand, start) = (Demand::default(), Instant::now());
        demand.arrived(100);
        demand.wants(small(100), 0, start);
        assert_eq!(demand.prefetch(2_000), 100);
        demand.wants(small(1), 99, start);
        assert_eq!((demand.prefetch(2_000), demand.prefetch(50)), (100, 50));
        assert_eq!(demand.change(100, 0, 2_000), None);
        demand.wants(small(110), 0, start);
        assert_eq!(demand.change(100, 0, 2_000), None, "not worth it");
        demand.begin();
        assert_eq!(demand.change(100, 100, 2_000), Some(110), "nothing more would come");
        demand.end(start);
        demand.wants(small(60), 65, start);
        assert_eq!(demand.change(100, 0, 2_000), Some(125));
        // A small window for one period and more: down.
        let later = start + DOWN_AFTER + Duration::from_secs(1);
        demand.wants(small(10), 0, later);
        assert_eq!(demand.change(125, 0, 2_000), None, "the large one was just now");
        let later = later + DOWN_AFTER + Duration::from_secs(1);
        demand.wants(small(10), 0, later);
        assert_eq!(demand.change(125, 0, 2_000), Some(10));
    }

    #[test]
    fn the_bytes_bound_the_prefetch_as_soon_as_sizes_are_known() {
        let (mut demand, start) = (Demand::default(), Instant::now());
        let want = Want { messages: 400, bytes: 1_000_000 };
        demand.wants(want, 0, start);
        assert_eq!(demand.prefetch(2_000), 16, "of unknown size");
        demand.arrived(100);
        assert_eq!(demand.change(16, 0, 2_000), Some(400));
        (0..200).for_each(|_| demand.arrived(100_000));
        let fits = demand.prefetch(2_000);
        assert!((9..=11).contains(&fits), "{fits} of 100 kB in 1 MB");
        assert_eq!(demand.change(400, 0, 2_000), Some(fits), "at once");
        demand.wants(Want { messages: 395, bytes: 500_000 }, 5, start);
        assert_eq!(demand.prefetch(2_000), fits, "what is out is part of the window");
        (0..200).for_each(|_| demand.arrived(10_000_000));
        assert_eq!(demand.prefetch(2_000), 1, "one is always fetched");
    }

    #[test]
    fn idle_is_nobody_waiting_for_a_while() {
        let (mut demand, start) = (Demand::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert!(!demand.is_idle(second, start + second));
        demand.begin();
        assert!(demand.is_wanted() && !demand.is_idle(second, start + second));
        demand.end(start);
        assert!(!demand.is_idle(second, start) && demand.is_idle(second, start + second));
    }
}
