//! The settings of a Gradient2 limit, and what is wrong with some.

use super::Bounds;
use crate::PolicyError;

/// The settings of a Gradient2 limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Gradient2Settings {
    /// Where it starts, between `min` and `max`. Default: 8.
    pub initial: u32,
    /// Its least; at least 1. Default: 1.
    pub min: u32,
    /// Its most. Default: 256.
    pub max: u32,
    /// By what factor latency may exceed that of four fifths of the limit before the limit falls;
    /// above 1, at most 10. Default: 1.125; see this policy's source for why.
    pub tolerance: f64,
    /// By how much it grows per step while latency is as low as was measured, but by no more than a
    /// quarter of itself; at least 1. Default: 4.
    pub queue: u32,
    /// How much of each step is taken; above 0, at most 1. Default: 0.2.
    pub smoothing: f64,
    /// Over how many windows, of 50 ms or more, the long average falls; at least 10. Default: 600.
    pub long_window: u32,
}

impl Default for Gradient2Settings {
    fn default() -> Self {
        Self {
            initial: 8,
            min: 1,
            max: 256,
            tolerance: 1.125,
            queue: 4,
            smoothing: 0.2,
            long_window: 600,
        }
    }
}

impl Gradient2Settings {
    /// What it moves within, if all of it makes sense.
    pub(super) fn validated(&self) -> Result<Bounds, PolicyError> {
        let &Self { initial, min, max, tolerance, queue, smoothing, long_window } = self;
        let bounds = Bounds::new(min, max)?;
        if !bounds.holds(f64::from(initial)) {
            return Err(PolicyError::new("initial", initial, "between `min` and `max`"));
        }
        if !(tolerance > 1.0 && tolerance <= 10.0) {
            return Err(PolicyError::new("tolerance", tolerance, "above 1 and at most 10"));
        }
        if queue == 0 {
            return Err(PolicyError::new("queue", queue, "at least 1"));
        }
        if !(smoothing > 0.0 && smoothing <= 1.0) {
            return Err(PolicyError::new("smoothing", smoothing, "above 0 and at most 1"));
        }
        if long_window < 10 {
            return Err(PolicyError::new("long_window", long_window, "at least 10"));
        }
        Ok(bounds)
    }
}
