//! The telemetry of one worker, put together.

use crate::{
    About, Latencies,
    gauges::{self, Watched},
    hands::Hands,
    instruments::Instruments,
    recorder::Recorder,
};
use forebay::{Backlog, Control, Observer};
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::{Resource, error::OTelSdkError, metrics::SdkMeterProvider};
use prometheus::{Registry, TextEncoder};
use std::{borrow::Cow, sync::Arc};

/// The name under which the instruments are known.
const SCOPE: &str = "forebay";

/// Why there is no telemetry.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The registry for Prometheus could not be set up.
    #[error("the metrics cannot be set up for Prometheus: {0}")]
    Prometheus(#[source] OTelSdkError),
}

/// Puts a [`Telemetry`] together; from [`Telemetry::builder`].
#[derive(Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    about: About,
    service: Cow<'static, str>,
}

/// The metrics and traces of one worker. Cloning gives another handle to the same.
#[derive(Clone, Debug)]
pub struct Telemetry(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    recorder: Arc<Recorder>,
    latencies: Arc<Latencies>,
    watched: Arc<Watched>,
    registry: Registry,
    /// Holds what collects; its end is that of all instruments.
    meters: SdkMeterProvider,
}

impl Telemetry {
    /// Starts with what the worker takes its messages from.
    pub fn builder(about: About) -> Builder {
        Builder { about, service: "forebay".into() }
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

    /// How long messages wait and take, in the last minute.
    #[must_use]
    pub fn latencies(&self) -> &Latencies {
        &self.0.latencies
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

impl Drop for Inner {
    fn drop(&mut self) {
        // It fails if it has been shut down before.
        let _ = self.meters.shutdown();
    }
}

impl Builder {
    /// The service's name (`service.name`); `forebay` by default, unless the environment's
    /// `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` say so.
    pub fn service(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.service = name.into();
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
        let resource = Resource::builder().with_service_name(self.service.into_owned()).build();
        let meters =
            SdkMeterProvider::builder().with_resource(resource).with_reader(reader).build();
        let meter = meters.meter(SCOPE);
        let (latencies, watched) = (Arc::new(Latencies::new()), Arc::<Watched>::default());
        gauges::register(&meter, &self.about, &watched, &latencies);
        let instruments = Instruments::new(&meter, self.about);
        let hands = Hands::default();
        let recorder = Arc::new(Recorder { instruments, latencies: latencies.clone(), hands });
        Ok(Telemetry(Arc::new(Inner { recorder, latencies, watched, registry, meters })))
    }
}
