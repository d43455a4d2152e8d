//! OTLP, over gRPC or HTTP: where metrics and traces are sent.
//!
//! The exporters get a small runtime of their own, of one thread: whatever the collector does, they
//! take nothing from the runtime that handles messages, and messages take nothing from them.

use crate::{
    TelemetryError,
    exports::Exports,
    trouble::{Bounded, Counted},
};
use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
    WithTonicConfig,
    tonic_types::{metadata::MetadataMap, transport::ClientTlsConfig},
};
use opentelemetry_sdk::{metrics::PeriodicReader, trace::BatchSpanProcessor};
use std::{collections::BTreeMap, env, fmt, sync::Arc, time::Duration};
use tokio::runtime::Runtime;

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// gRPC; by custom on port 4317.
    #[default]
    Grpc,
    /// Protobuf over HTTP; by custom on port 4318.
    Http,
}

/// Where and how to send.
#[derive(Clone, Default)]
pub struct Otlp {
    /// The collector's address, such as `http://localhost:4317`; `None`: as the environment's
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` says, or the protocol's port on this host. For HTTP without the
    /// path of a signal.
    pub endpoint: Option<String>,
    /// The protocol.
    pub protocol: Protocol,
    /// Headers of each request, such as a token. Their values are never shown.
    pub headers: BTreeMap<String, String>,
    /// How often metrics are sent; `None`: as `OTEL_METRIC_EXPORT_INTERVAL` says, or once a minute.
    pub interval: Option<Duration>,
    /// How long one try to send may take; `None`: as `OTEL_EXPORTER_OTLP_TIMEOUT` says, or 10 s.
    pub timeout: Option<Duration>,
}

impl fmt::Debug for Otlp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Otlp")
            .field("endpoint", &self.endpoint)
            .field("protocol", &self.protocol)
            .field("headers", &self.headers.keys())
            .field("interval", &self.interval)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// What exports, and what it runs on.
pub(crate) struct Pipelines {
    pub(crate) reader: PeriodicReader<Counted<MetricExporter>>,
    pub(crate) processor: Bounded<BatchSpanProcessor>,
    pub(crate) executor: Executor,
}

/// The exporters' runtime. It ends in the background: to wait for it would be to wait for a collector.
#[derive(Debug)]
pub(crate) struct Executor(Option<Runtime>);

impl Executor {
    fn start() -> Result<Self, TelemetryError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("forebay-otlp")
            .enable_all()
            .build();
        Ok(Self(Some(runtime.map_err(TelemetryError::Runtime)?)))
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The pipelines to a collector. No connection is made yet: a collector that is away now may come.
///
/// # Errors
/// [`TelemetryError`] for an address or headers that do not hold.
pub(crate) fn pipelines(otlp: &Otlp, exports: &Arc<Exports>) -> Result<Pipelines, TelemetryError> {
    let executor = Executor::start()?;
    let entered = executor.0.as_ref().map(Runtime::enter);
    let (metrics, spans) = match otlp.protocol {
        Protocol::Grpc => over_grpc(otlp),
        Protocol::Http => over_http(otlp),
    }?;
    let reader = PeriodicReader::builder(Counted::new("metrics", metrics, exports.clone()));
    let reader = match otlp.interval {
        Some(interval) => reader.with_interval(interval),
        None => reader,
    };
    let spans = Counted::new("traces", spans, exports.clone());
    let processor = Bounded::batches(spans, exports.clone());
    let reader = reader.build();
    drop(entered);
    Ok(Pipelines { reader, processor, executor })
}

fn over_grpc(otlp: &Otlp) -> Result<(MetricExporter, SpanExporter), TelemetryError> {
    let metadata = MetadataMap::from_headers(headers(otlp)?);
    let (mut metrics, mut spans) =
        (MetricExporter::builder().with_tonic(), SpanExporter::builder().with_tonic());
    if is_secure(otlp) {
        // By itself, the exporter trusts nobody.
        let tls = || ClientTlsConfig::new().with_enabled_roots();
        (metrics, spans) = (metrics.with_tls_config(tls()), spans.with_tls_config(tls()));
    }
    if let Some(endpoint) = &otlp.endpoint {
        (metrics, spans) = (metrics.with_endpoint(endpoint), spans.with_endpoint(endpoint));
    }
    if let Some(timeout) = otlp.timeout {
        (metrics, spans) = (metrics.with_timeout(timeout), spans.with_timeout(timeout));
    }
    let metrics = metrics.with_metadata(metadata.clone()).build().map_err(refused)?;
    Ok((metrics, spans.with_metadata(metadata).build().map_err(refused)?))
}

/// Whether TLS may be spoken: what is not known to go without.
fn is_secure(otlp: &Otlp) -> bool {
    let variables = ["ENDPOINT", "TRACES_ENDPOINT", "METRICS_ENDPOINT"];
    let said = |name| env::var(format!("OTEL_EXPORTER_OTLP_{name}")).ok();
    let plain = |endpoint: &str| endpoint.is_empty() || endpoint.starts_with("http://");
    match &otlp.endpoint {
        Some(endpoint) => !plain(endpoint),
        None => !variables.into_iter().filter_map(said).all(|endpoint| plain(&endpoint)),
    }
}

fn over_http(otlp: &Otlp) -> Result<(MetricExporter, SpanExporter), TelemetryError> {
    let (mut metrics, mut spans) =
        (MetricExporter::builder().with_http(), SpanExporter::builder().with_http());
    if let Some(endpoint) = &otlp.endpoint {
        let base = endpoint.trim_end_matches('/');
        metrics = metrics.with_endpoint(format!("{base}/v1/metrics"));
        spans = spans.with_endpoint(format!("{base}/v1/traces"));
    }
    if let Some(timeout) = otlp.timeout {
        (metrics, spans) = (metrics.with_timeout(timeout), spans.with_timeout(timeout));
    }
    // The exporter would leave out what does not hold, without a word.
    headers(otlp)?;
    let headers = || otlp.headers.clone().into_iter().collect();
    let metrics = metrics.with_headers(headers()).build().map_err(refused)?;
    Ok((metrics, spans.with_headers(headers()).build().map_err(refused)?))
}

fn refused(error: ExporterBuildError) -> TelemetryError {
    TelemetryError::Otlp(Box::new(error))
}

fn headers(otlp: &Otlp) -> Result<HeaderMap, TelemetryError> {
    let header = |(name, value): (&String, &String)| {
        let invalid = || TelemetryError::Header(name.clone());
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        value.set_sensitive(true);
        Ok((key, value))
    };
    otlp.headers.iter().map(header).collect()
}
