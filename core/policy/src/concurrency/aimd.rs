//! Additive increase, multiplicative decrease.
//!
//! # Why
//!
//! Of all simple rules, this is the one by which several workers that share a database, and know
//! nothing of each other, come to equal shares (D. Chiu and R. Jain, "Analysis of the Increase and
//! Decrease Algorithms for Congestion Avoidance", 1989). It needs to be told what latency is too much.
//!
//! | on | the limit |
//! |---|---|
//! | a window in which at least half of the limit was in use, without trouble | + 1; or doubled, up to half of what it was before the trouble |
//! | a window whose mean latency is above `latency_threshold` | * `backoff` |
//! | losses such as a sound system does not have: see `sample.rs` | * `backoff` |
//! | backpressure, unless it fell within the last round trip | * `backoff` |
//! | a hang, each 250 ms | / 2 |
//!
//! A call that started before the last decrease counts for nothing, so a burst of errors lowers the
//! limit once, not to one.

use super::{
    Bounds, LimitCause,
    sample::{Gathered, Trouble, Window},
};
use crate::{Moment, PolicyError, Signal};
use std::time::Duration;

/// By what the limit is divided while the system hangs.
const HANG: f64 = 0.5;
/// By what the limit grows where it is known to have been fine.
const FAST: f64 = 2.0;
/// How much of a new window goes into the usual latency.
const USUAL: f64 = 0.1;

/// The settings of an AIMD limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AimdSettings {
    /// Where it starts, between `min` and `max`. Default: 8.
    pub initial: u32,
    /// Its least; at least 1. Default: 1.
    pub min: u32,
    /// Its most. Default: 256.
    pub max: u32,
    /// The mean latency above which it falls; above zero. Default: 1 s.
    pub latency_threshold: Duration,
    /// What is left of it after a decrease; from 0.1 up to, not including, 1. Default: 0.75.
    pub backoff: f64,
}

impl Default for AimdSettings {
    fn default() -> Self {
        Self {
            initial: 8,
            min: 1,
            max: 256,
            latency_threshold: Duration::from_secs(1),
            backoff: 0.75,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Aimd {
    bounds: Bounds,
    threshold: f64,
    backoff: f64,
    limit: f64,
    window: Window,
    trouble: Trouble,
    /// The usual latency, in seconds; zero when unknown.
    usual: f64,
}

impl Aimd {
    pub(super) fn new(settings: AimdSettings) -> Result<Self, PolicyError> {
        let AimdSettings { initial, min, max, latency_threshold, backoff } = settings;
        let bounds = Bounds::new(min, max)?;
        if !bounds.holds(f64::from(initial)) {
            return Err(PolicyError::new("initial", initial, "between `min` and `max`"));
        }
        if latency_threshold.is_zero() {
            return Err(PolicyError::new("latency_threshold", latency_threshold, "above zero"));
        }
        if !(0.1..1.0).contains(&backoff) {
            return Err(PolicyError::new("backoff", backoff, "from 0.1 up to, not including, 1"));
        }
        Ok(Self {
            bounds,
            threshold: latency_threshold.as_secs_f64(),
            backoff,
            limit: f64::from(initial),
            window: Window::default(),
            trouble: Trouble::new(),
            usual: 0.0,
        })
    }

    pub(super) fn record(
        &mut self,
        signal: Signal,
        in_flight: u32,
        now: Moment,
    ) -> Option<LimitCause> {
        self.trouble.completed(now);
        if self.trouble.is_stale(signal, now) {
            return None;
        }
        if signal == Signal::Backpressure {
            if self.trouble.is_recent(now) {
                return None;
            }
            return Some(self.decrease(self.backoff, LimitCause::Backpressure, now));
        }
        let gathered = self.window.add(signal, in_flight, now)?;
        self.learn(gathered, now)
    }

    pub(super) fn tick(&mut self, oldest: Option<Duration>, now: Moment) -> Option<LimitCause> {
        self.trouble
            .is_hang(oldest, self.threshold, now)
            .then(|| self.decrease(HANG, LimitCause::Hang, now))
    }

    fn learn(&mut self, gathered: Gathered, now: Moment) -> Option<LimitCause> {
        if let Some(latency) = gathered.latency {
            let weight = if self.usual == 0.0 { 1.0 } else { USUAL };
            self.usual += weight * (latency - self.usual);
            self.trouble.usual_is(self.usual);
        }
        if gathered.lossy {
            return Some(self.decrease(self.backoff, LimitCause::Failures, now));
        }
        if gathered.latency.is_some_and(|latency| latency > self.threshold) {
            return Some(self.decrease(self.backoff, LimitCause::Latency, now));
        }
        if gathered.peak * 2.0 < self.limit.floor() {
            return None;
        }
        let fast = (self.limit * FAST).min(self.trouble.fast_until);
        self.limit = self.bounds.clamp(fast.max(self.limit + 1.0));
        self.trouble.growing();
        Some(LimitCause::Growth)
    }

    fn decrease(&mut self, factor: f64, cause: LimitCause, now: Moment) -> LimitCause {
        self.trouble.decreasing(self.limit, now);
        self.limit = self.bounds.clamp(self.limit * factor);
        self.window.clear();
        cause
    }

    pub(super) fn limit(&self) -> u32 {
        self.limit as u32
    }

    pub(super) fn set_limit(&mut self, limit: u32) {
        self.limit = self.bounds.clamp(f64::from(limit));
        self.window.clear();
    }

    pub(super) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.limit = bounds.clamp(self.limit);
    }

    pub(super) fn invariants(&self) {
        assert!(self.bounds.holds(self.limit), "out of bounds: {self:?}");
    }
}
