//! What the scaling policy learns: how fast work arrives, how fast a worker is, what was needed of
//! late. Averages weigh by time, so that readings may come at any pace.

use crate::Moment;
use std::{collections::VecDeque, time::Duration};

/// Over how many seconds arrivals are averaged, and over how many their trend.
const LEVEL: f64 = 20.0;
const TREND: f64 = 60.0;
/// Over how many busy seconds the rate of a worker is averaged.
const PACE: f64 = 60.0;
/// Below this many busy workers nothing is learned of how fast they are: the error would be large.
const LEAST_BUSY: f64 = 0.2;

/// How much of a new value over `seconds` goes into an average over `span` seconds.
fn weight(seconds: f64, span: f64) -> f64 {
    1.0 - (-seconds / span).exp()
}

/// Arrivals per second, as level and trend (Holt's linear exponential smoothing).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    level: Option<f64>,
    /// Per second.
    trend: f64,
}

impl Arrivals {
    pub(super) fn push(&mut self, rate: f64, seconds: f64) {
        let Some(level) = self.level else {
            self.level = Some(rate);
            return;
        };
        let expected = level + self.trend * seconds;
        let now = (expected + (rate - expected) * weight(seconds, LEVEL)).max(0.0);
        self.trend += ((now - level) / seconds - self.trend) * weight(seconds, TREND);
        self.level = Some(now);
    }

    pub(super) fn level(&self) -> f64 {
        self.level.unwrap_or_default()
    }

    /// What is to be expected so many seconds from now, if it grows; a fall is believed when it has
    /// come.
    pub(super) fn ahead(&self, seconds: f64) -> f64 {
        self.level() + (self.trend * seconds).max(0.0)
    }

    pub(super) fn invariants(&self) {
        assert!(self.level() >= 0.0 && self.level().is_finite());
        assert!(self.trend.is_finite());
    }
}

/// What one busy worker handles per second, and what all of them did of late.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Sums that fade, so that busy times weigh as much as they are long.
    handled: f64,
    busy: f64,
    total: Option<f64>,
}

impl Pace {
    /// `rate` messages per second, by so many busy workers, over so many seconds.
    pub(super) fn push(&mut self, rate: f64, busy: f64, seconds: f64) {
        let total = self.total.get_or_insert(rate);
        *total += (rate - *total) * weight(seconds, LEVEL);
        if busy < LEAST_BUSY || rate <= 0.0 {
            return;
        }
        let kept = 1.0 - weight(seconds, PACE);
        self.handled = self.handled * kept + rate * seconds;
        self.busy = self.busy * kept + busy * seconds;
    }

    /// Messages per second and busy worker.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.busy > 0.0).then(|| self.handled / self.busy).filter(|rate| *rate > 0.0)
    }

    /// Messages per second of all workers together.
    pub(super) const fn total(&self) -> Option<f64> {
        self.total
    }

    pub(super) fn invariants(&self) {
        assert!(self.handled >= 0.0 && self.busy >= 0.0);
        assert!(self.rate().is_none_or(f64::is_finite));
    }
}

/// The most that was needed within a time: a queue of falling values, so that each is looked at
/// twice at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Peak(VecDeque<(Moment, f64)>);

impl Peak {
    /// Adds what is needed now, if it is known, and gives the most within `window`.
    pub(super) fn push(&mut self, needed: Option<f64>, now: Moment, window: Duration) -> f64 {
        while self.0.front().is_some_and(|(at, _)| now.since(*at) > window) {
            self.0.pop_front();
        }
        if let Some(needed) = needed {
            while self.0.back().is_some_and(|(_, last)| *last <= needed) {
                self.0.pop_back();
            }
            self.0.push_back((now, needed));
        }
        self.0.front().map_or(0.0, |(_, most)| *most)
    }

    pub(super) fn invariants(&self) {
        assert!(self.0.iter().zip(self.0.iter().skip(1)).all(|(a, b)| a.1 > b.1 && a.0 <= b.0));
    }
}
