//! The telemetry of one worker, put together.

use crate::{
    About, Latencies,
    exports::Exports,
    gauges::{self, Watched},
    hands::Hands,
    instruments::Instruments,
    recorder::Recorder,
    sink::TracedSink,
    spans::Spans,
};
#[cfg(feature = "otlp")]
use crate::{
    Otlp,
    otlp::{Executor, Pipelines, pipelines},
};
use forebay::{Backlog, Control, Observer};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::{
    Resource, error::OTelSdkError, metrics::SdkMeterProvider, trace::SdkTracerProvider,
};
#[cfg(feature = "otlp")]
use opentelemetry_sdk::{metrics::MeterProviderBuilder, trace::Sampler};
use prometheus::{Registry, TextEncoder};
use std::{borrow::Cow, sync::Arc, time::Duration};

/// The name under which the instruments are known.
const SCOPE: &str = "forebay";

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The registry for Prometheus could not be set up.
    #[error("the metrics cannot be set up for Prometheus: {0}")]
    Prometheus(#[source] OTelSdkError),
    /// The exporter could not be set up: an address that is none, a protocol that does not fit.
    #[cfg(feature = "otlp")]
    #[error("OTLP cannot be set up: {0}")]
    Otlp(#[source] Box<opentelemetry_otlp::ExporterBuildError>),
    /// A header has a name or a value that no request can carry. The value is not shown.
    #[cfg(feature = "otlp")]
    #[error(
        "the header `{0}` for OTLP does not hold: a name is of letters, digits and dashes, a value of one line"
    )]
    Header(String),
    /// The exporters' thread could not be started.
    #[cfg(feature = "otlp")]
    #[error("the thread that sends by OTLP cannot be started: {0}")]
    Runtime(#[source] std::io::Error),
}

/// Puts a [`Telemetry`] together; from [`Telemetry::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    about: About,
    service: Option<Cow<'static, str>>,
    tracers: Option<SdkTracerProvider>,
    #[cfg(feature = "otlp")]
    sample: Option<f64>,
    #[cfg(feature = "otlp")]
    otlp: Option<Otlp>,
}

/// The metrics and traces of one worker. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    recorder: Arc<Recorder>,
    latencies: Arc<Latencies>,
    watched: Arc<Watched>,
    exports: Arc<Exports>,
    registry: Registry,
    /// Holds what collects; its end is that of all instruments.
    meters: SdkMeterProvider,
    tracers: Option<SdkTracerProvider>,
    /// What the exporters run on: the last to go.
    #[cfg(feature = "otlp")]
    _executor: Option<Executor>,
}

impl Telemetry {
    /// Starts with what the worker takes its messages from.
    pub fn builder(about: About) -> Builder {
        Builder {
            about,
            service: None,
            tracers: None,
            #[cfg(feature = "otlp")]
            sample: None,
            #[cfg(feature = "otlp")]
            otlp: None,
        }
    }

    /// What the worker is to be built with, as [`forebay::Builder::observer`].
    #[must_use]
    pub fn observer(&self) -> Arc<dyn Observer> {
        self.0.recorder.clone()
    }

    /// The worker whose limits, states and counts are to be read.
    pub fn watch(&self, control: Control) {
        self.0.watched.watch(control);
    }

    /// What is in the queue, as its broker has just told; `None`: it did not tell. To be set again at
    /// intervals: whoever holds the queue asks it.
    pub fn set_backlog(&self, backlog: impl Into<Option<Backlog>>) {
        self.0.watched.set_backlog(backlog.into());
    }

    /// The signals (`metrics`, `traces`) that could not be sent by OTLP the last time that was tried. Jobs
    /// go on all the same; nothing is said of what is not sent at all.
    #[must_use]
    pub fn unsent(&self) -> Vec<&'static str> {
        self.0.exports.unsent()
    }

    /// How long messages wait and take, in the last minute.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.0.latencies
    }

    /// A sink that writes the current trace into what it publishes, and is measured.
    pub fn sink<S>(&self, sink: S) -> TracedSink<S> {
        TracedSink { sink, recorder: self.0.recorder.clone() }
    }

    /// Sends what is there, and ends. Blocks for up to `within` for metrics, and as long for traces:
    /// not to be called where messages are handled. What cannot be sent by then is lost, and counted
    /// nowhere; returns whether all was sent.
    pub fn shutdown(&self, within: Duration) -> bool {
        let meters = self.0.meters.shutdown_with_timeout(within);
        let tracers =
            self.0.tracers.as_ref().map_or(Ok(()), |tracers| tracers.shutdown_with_timeout(within));
        meters.is_ok() && tracers.is_ok()
    }

    /// All metrics in Prometheus' text format, version 0.0.4
    /// (`Content-Type: text/plain; version=0.0.4`).
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // What could fail is to write, and a string takes everything.
        let _ = TextEncoder::new().encode_utf8(&self.0.registry.gather(), &mut text);
        text
    }
}

impl Builder {
    /// The service's name (`service.name`). By default the environment's `OTEL_SERVICE_NAME` or
    /// `OTEL_RESOURCE_ATTRIBUTES`, else `forebay`.
    pub fn service(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.service = Some(name.into());
        self
    }

    /// How many of the traces that begin here are recorded, from 0 to 1; those that a producer has
    /// begun are recorded if it records them. By default as the environment's `OTEL_TRACES_SAMPLER`
    /// says, or all.
    #[cfg(feature = "otlp")]
    pub fn sample(mut self, ratio: f64) -> Self {
        self.sample = Some(ratio);
        self
    }

    /// Makes spans by a provider of the program's own, with its own exporter and sampler.
    pub fn tracers(mut self, tracers: SdkTracerProvider) -> Self {
        self.tracers = Some(tracers);
        self
    }

    /// Sends metrics by OTLP, and traces, unless [`Builder::tracers`] says where they go.
    #[cfg(feature = "otlp")]
    pub fn otlp(mut self, otlp: Otlp) -> Self {
        self.otlp = Some(otlp);
        self
    }

    /// The telemetry.
    ///
    /// # Errors
    /// [`TelemetryError`]
    pub fn build(self) -> Result<Telemetry, TelemetryError> {
        let registry = Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .scope_info_enabled(false)
            .build()
            .map_err(TelemetryError::Prometheus)?;
        let resource = self.resource();
        let exports = Arc::<Exports>::default();
        let meters =
            SdkMeterProvider::builder().with_resource(resource.clone()).with_reader(reader);
        #[cfg(feature = "otlp")]
        let (meters, tracers, executor) = self.by_otlp(meters, resource, &exports)?;
        #[cfg(not(feature = "otlp"))]
        let tracers = self.tracers;
        let meters = meters.build();
        let meter = meters.meter(SCOPE);
        let (latencies, watched) = (Arc::new(Latencies::new()), Arc::<Watched>::default());
        gauges::register(&meter, &self.about, &watched, &latencies);
        gauges::register_exports(&meter, &self.about, &exports);
        let spans = tracers.as_ref().map(|tracers| Spans::new(tracers, self.about.clone()));
        let recorder = Arc::new(Recorder {
            instruments: Instruments::new(&meter, self.about),
            latencies: latencies.clone(),
            hands: Hands::default(),
            spans,
        });
        Ok(Telemetry(Arc::new(Inner {
            recorder,
            latencies,
            watched,
            exports,
            registry,
            meters,
            tracers,
            #[cfg(feature = "otlp")]
            _executor: executor,
        })))
    }

    fn resource(&self) -> Resource {
        let named = |key: &str| std::env::var_os(key).is_some_and(|value| !value.is_empty());
        let resource = Resource::builder();
        match &self.service {
            Some(name) => resource.with_service_name(name.clone().into_owned()).build(),
            None if named("OTEL_SERVICE_NAME") || named("OTEL_RESOURCE_ATTRIBUTES") => {
                resource.build()
            }
            None => resource.with_service_name("forebay").build(),
        }
    }

    /// Adds what sends by OTLP, if anything is to be sent.
    #[cfg(feature = "otlp")]
    #[allow(clippy::type_complexity, reason = "what one call has to say to the other")]
    fn by_otlp(
        &self,
        meters: MeterProviderBuilder,
        resource: Resource,
        exports: &Arc<Exports>,
    ) -> Result<(MeterProviderBuilder, Option<SdkTracerProvider>, Option<Executor>), TelemetryError>
    {
        let Some(otlp) = &self.otlp else { return Ok((meters, self.tracers.clone(), None)) };
        let Pipelines { reader, processor, executor } = pipelines(otlp, exports)?;
        let meters = meters.with_reader(reader);
        let tracers = self.tracers.clone().unwrap_or_else(|| {
            let tracers =
                SdkTracerProvider::builder().with_resource(resource).with_span_processor(processor);
            match self.sample {
                Some(ratio) => {
                    let roots = Box::new(Sampler::TraceIdRatioBased(ratio));
                    tracers.with_sampler(Sampler::ParentBased(roots)).build()
                }
                None => tracers.build(),
            }
        });
        Ok((meters, Some(tracers), Some(executor)))
    }
}
