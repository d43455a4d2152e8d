//! Latencies gathered while Gradient2's limit is lowered: their mean, and how sure that is.

use crate::Moment;

/// A measurement that goes on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// When what ends begins to count.
    pub(super) from: Moment,
    /// When it is over in any case.
    pub(super) until: Moment,
    /// The latency before it, in seconds.
    pub(super) before: f64,
    pub(super) calls: u32,
    total: f64,
    squares: f64,
}

impl Measurement {
    pub(super) const fn new(from: Moment, until: Moment, before: f64) -> Self {
        Self { from, until, before, calls: 0, total: 0.0, squares: 0.0 }
    }

    pub(super) fn add(&mut self, took: f64) {
        self.calls += 1;
        self.total += took;
        self.squares += took * took;
    }

    /// The mean latency, and its standard error; `None` of nothing.
    pub(super) fn mean(&self) -> Option<(f64, f64)> {
        let calls = f64::from(self.calls);
        let mean = (self.calls > 0).then(|| self.total / calls)?;
        let variance = (self.squares / calls - mean * mean).max(0.0);
        Some((mean, (variance / calls).sqrt()))
    }
}
