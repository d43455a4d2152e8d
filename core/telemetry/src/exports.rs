//! What became of telemetry itself, counted.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What became of what was to be exported.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    pub(crate) spans: Results,
    /// Spans that found no room to wait in.
    pub(crate) dropped: AtomicU64,
    pub(crate) span_batches: Results,
    pub(crate) metrics: Results,
}

impl Exports {
    /// The signals whose last export failed.
    pub(crate) fn unsent(&self) -> Vec<&'static str> {
        let signals = [("metrics", &self.metrics), ("traces", &self.span_batches)];
        let unsent = signals.into_iter().filter(|(_, results)| results.fails());
        unsent.map(|(signal, _)| signal).collect()
    }
}

/// How often it went well, and how often not.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Whether it did not the last time.
    pub(crate) failing: AtomicBool,
}

impl Results {
    fn fails(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }
}
