//! Exporters in trouble: counted, told of once, and never in a message's way.
//!
//! Spans wait for their exporter in a queue that is bounded here: what finds it full is dropped and
//! counted, at the price of an atomic addition, however long the exporter hangs. Exporters run on
//! threads of their own, so nothing ever waits for one.

use crate::exports::{Exports, Results};
use opentelemetry::Context;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    metrics::{Temporality, data::ResourceMetrics, exporter::PushMetricExporter},
    trace::{BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor},
};
use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// So many spans may wait for their exporter.
const QUEUE: usize = 2048;

/// How many spans wait for their exporter.
type Waiting = Arc<AtomicUsize>;

fn count(results: &Results, n: usize, sent: bool) {
    let counter = if sent { &results.sent } else { &results.failed };
    counter.fetch_add(n as u64, Ordering::Relaxed);
}

/// Says once that an exporter is in trouble, and once that it is out of it.
fn tell(what: &str, results: &Results, result: &OTelSdkResult) {
    match (result, results.failing.swap(result.is_err(), Ordering::Relaxed)) {
        (Err(error), false) => {
            tracing::warn!("cannot send {what} by OTLP, and goes on trying: {error}");
        }
        (Ok(()), true) => tracing::info!("{what} are sent by OTLP again"),
        _ => {}
    }
}

/// An exporter whose results are counted.
#[derive(Debug)]
pub(crate) struct Counted<E> {
    exporter: E,
    exports: Arc<Exports>,
    waiting: Waiting,
    what: &'static str,
}

impl<E> Counted<E> {
    pub(crate) fn new(what: &'static str, exporter: E, exports: Arc<Exports>) -> Self {
        Self { exporter, exports, waiting: Waiting::default(), what }
    }
}

impl<E: SpanExporter> SpanExporter for Counted<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        let result = self.exporter.export(batch).await;
        count(&self.exports.spans, spans, result.is_ok());
        count(&self.exports.span_batches, 1, result.is_ok());
        tell(self.what, &self.exports.span_batches, &result);
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl<E: PushMetricExporter> PushMetricExporter for Counted<E> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let result = self.exporter.export(metrics).await;
        count(&self.exports.metrics, 1, result.is_ok());
        tell(self.what, &self.exports.metrics, &result);
        result
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}

/// A processor before which no more than [`QUEUE`] spans wait.
pub(crate) struct Bounded<P> {
    processor: P,
    exports: Arc<Exports>,
    waiting: Waiting,
}

impl Bounded<BatchSpanProcessor> {
    /// Spans go to `exporter` in batches.
    pub(crate) fn batches<E: SpanExporter + 'static>(
        exporter: Counted<E>,
        exports: Arc<Exports>,
    ) -> Self {
        let waiting = exporter.waiting.clone();
        let config = BatchConfigBuilder::default().with_max_queue_size(QUEUE).build();
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { processor, exports, waiting }
    }
}

impl<P> fmt::Debug for Bounded<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bounded").field("exports", &self.exports).finish_non_exhaustive()
    }
}

impl<P: SpanProcessor> SpanProcessor for Bounded<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.processor.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) < QUEUE {
            self.processor.on_end(span);
        } else {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.exports.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}
