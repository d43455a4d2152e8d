//! How many messages a worker can hold, learned from what it asks for, and the prefetch that follows.
//!
//! A receive asks for what there is room for; with what is out already, that is the worker's whole
//! window. The prefetch is that: less would leave the worker idle, more would keep messages from
//! others. RabbitMQ applies a new prefetch only to new consumers, so a change costs a round trip and
//! is made only when it is worth it: up by a quarter at once, down to a half after a while.

use std::time::{Duration, Instant};

/// For how long the window must have been small before the prefetch follows.
const DOWN_AFTER: Duration = Duration::from_secs(30);

/// What a worker asks for.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    /// The largest window seen in this period, and in the one before.
    peak: usize,
    last_peak: usize,
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

    /// A receive asks for so many while so many are out.
    pub(crate) fn wants(&mut self, messages: usize, out: usize, now: Instant) {
        if now - *self.since.get_or_insert(now) > DOWN_AFTER {
            self.last_peak = std::mem::take(&mut self.peak);
            self.since = Some(now);
        }
        self.peak = self.peak.max(messages.saturating_add(out));
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
        let window = self.peak.max(self.last_peak).max(1);
        u16::try_from(window).unwrap_or(u16::MAX).min(most)
    }

    /// The prefetch to change to from `now`, with so many out, if that is worth it.
    pub(crate) fn change(&self, now: u16, out: usize, most: u16) -> Option<u16> {
        let better = self.prefetch(most);
        // With all of it out, the broker sends nothing more, however little is wanted.
        let starves = self.is_wanted() && out >= usize::from(now);
        let up = better > now && (better - now >= (now / 4).max(1) || starves);
        let down = better <= now / 2 && self.last_peak > 0;
        (up || down).then_some(better)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prefetch_is_the_window_and_follows_it_with_hysteresis() {
        let (mut demand, start) = (Demand::default(), Instant::now());
        demand.wants(100, 0, start);
        assert_eq!(demand.prefetch(2_000), 100);
        demand.wants(1, 99, start);
        assert_eq!((demand.prefetch(2_000), demand.prefetch(50)), (100, 50));
        assert_eq!(demand.change(100, 0, 2_000), None);
        demand.wants(110, 0, start);
        assert_eq!(demand.change(100, 0, 2_000), None, "not worth it");
        demand.begin();
        assert_eq!(demand.change(100, 100, 2_000), Some(110), "nothing more would come");
        demand.end(start);
        demand.wants(60, 65, start);
        assert_eq!(demand.change(100, 0, 2_000), Some(125));
        // A small window for one period and more: down.
        let later = start + DOWN_AFTER + Duration::from_secs(1);
        demand.wants(10, 0, later);
        assert_eq!(demand.change(125, 0, 2_000), None, "the large one was just now");
        let later = later + DOWN_AFTER + Duration::from_secs(1);
        demand.wants(10, 0, later);
        assert_eq!(demand.change(125, 0, 2_000), Some(10));
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
