//! What became of telemetry itself, counted.

use std::sync::atomic::AtomicU64;

/// What became of what was to be exported.
#[derive(Debug, Default)]
pub(crate) struct Exports {
    pub(crate) spans: Results,
    /// Spans that found no room to wait in.
    pub(crate) dropped: AtomicU64,
    pub(crate) span_batches: Results,
    pub(crate) metrics: Results,
}

/// How often it went well, and how often not.
#[derive(Debug, Default)]
pub(crate) struct Results {
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
}
