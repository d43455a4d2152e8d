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
}
