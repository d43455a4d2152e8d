//! How long a message waits for its handler, seen from a steady producer.
//!
//! A producer stamps each message with the time when it is due, whether it could be sent then or
//! not, so that a runtime that stands still shows in the waits of all that came meanwhile. (G. Tene
//! calls it coordinated omission when it does not.)

use hdrhistogram::Histogram;
use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Waits, in microseconds.
#[derive(Debug)]
pub struct Waits(Mutex<Histogram<u64>>);

impl Default for Waits {
    fn default() -> Self {
        Self(Mutex::new(Histogram::new(3).expect("three digits are allowed")))
    }
}

impl Waits {
    /// Notes a wait.
    pub fn note(&self, wait: Duration) {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let mut histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *histogram += micros;
    }

    /// The wait that this share of all did not exceed.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Duration {
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_micros(histogram.value_at_quantile(share))
    }

    /// Which share of all waits were longer than this.
    #[must_use]
    pub fn share_above(&self, wait: Duration) -> f64 {
        let micros = u64::try_from(wait.as_micros()).unwrap_or(u64::MAX);
        let histogram = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let below = histogram.count_between(0, micros);
        1.0 - below as f64 / histogram.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_waits_are_kept_as_they_are() {
        let waits = Waits::default();
        (1..=100).for_each(|millis| waits.note(Duration::from_millis(millis)));
        assert!((waits.share_above(Duration::from_millis(90)) - 0.1).abs() < 0.01);
        let p99 = waits.quantile(0.99);
        assert!((98.9..99.2).contains(&(p99.as_secs_f64() * 1e3)), "{p99:?}");
    }
}
