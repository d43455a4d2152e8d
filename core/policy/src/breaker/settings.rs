//! When a breaker opens, for how long, and how it probes.

use crate::PolicyError;
use std::time::Duration;

/// The settings of a [`Breaker`](crate::Breaker).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakerSettings {
    /// Over how long outcomes are counted; 10 ms or more. Default: 10 s.
    pub window: Duration,
    /// Outcomes in the window below which their ratio means nothing; at least 1. Default: 20.
    pub min_throughput: u32,
    /// The share of failures at which it opens; above 0, at most 1. Default: 0.5.
    pub failure_ratio: f64,
    /// Opens also after this many failures in a row; at least 1. Default: none.
    pub consecutive_failures: Option<u32>,
    /// How long it stays open the first time; above zero. Default: 5 s.
    pub open_for: Duration,
    /// By what that grows at each reopening; 1 or more. Default: 2.
    pub growth: f64,
    /// How long it stays open at most; `open_for` or more. Default: 1 min.
    pub longest_open: Duration,
    /// How many probes are out at once, and how many must succeed to close it; at least 1.
    /// Default: 3.
    pub probes: u32,
    /// When the slots of silent probes are taken back; longer than any handler takes. Default: 1 min.
    pub probe_timeout: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(10),
            min_throughput: 20,
            failure_ratio: 0.5,
            consecutive_failures: None,
            open_for: Duration::from_secs(5),
            growth: 2.0,
            longest_open: Duration::from_secs(60),
            probes: 3,
            probe_timeout: Duration::from_secs(60),
        }
    }
}

impl BreakerSettings {
    /// Names the first setting that makes no sense.
    pub(super) fn check(&self) -> Result<(), PolicyError> {
        let Self { failure_ratio, growth, .. } = *self;
        if self.window < Duration::from_millis(10) {
            return Err(PolicyError::new("window", self.window, "10 ms or more"));
        }
        if self.min_throughput == 0 {
            return Err(PolicyError::new("min_throughput", 0, "at least 1"));
        }
        if !(failure_ratio > 0.0 && failure_ratio <= 1.0) {
            return Err(PolicyError::new("failure_ratio", failure_ratio, "above 0 and at most 1"));
        }
        if self.consecutive_failures == Some(0) {
            return Err(PolicyError::new("consecutive_failures", 0, "at least 1, or not set"));
        }
        if self.open_for.is_zero() {
            return Err(PolicyError::new("open_for", self.open_for, "above zero"));
        }
        if !growth.is_finite() || growth < 1.0 {
            return Err(PolicyError::new("growth", growth, "a number of 1 or more"));
        }
        if self.longest_open < self.open_for {
            return Err(PolicyError::new("longest_open", self.longest_open, "`open_for` or more"));
        }
        if self.probes == 0 {
            return Err(PolicyError::new("probes", 0, "at least 1"));
        }
        if self.probe_timeout.is_zero() {
            return Err(PolicyError::new("probe_timeout", self.probe_timeout, "above zero"));
        }
        Ok(())
    }
}
