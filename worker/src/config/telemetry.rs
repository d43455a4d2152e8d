//! `[telemetry]`: metrics and traces by OTLP. What the table leaves out, OpenTelemetry's own
//! environment variables say, so that a platform that sets them for all its programs sets them for
//! this one.

use super::{
    document::Document,
    error::ConfigError,
    values::{Secret, Span, masked_url},
};
use reqwest::{
    Url,
    header::{HeaderName, HeaderValue},
};
use serde::Deserialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// `[telemetry]`, validated.
#[derive(Clone, Default)]
pub(crate) struct TelemetryConfig {
    /// The collector; `None`: as the environment says, and without it nothing is sent.
    pub(crate) endpoint: Option<Endpoint>,
    /// How it is spoken to; `None`: as the environment says.
    pub(crate) protocol: Option<OtlpProtocol>,
    /// How many of the traces that begin here are recorded, from 0 to 1; `None`: as the environment
    /// says.
    pub(crate) sample: Option<f64>,
    /// The service's name; `None`: as the environment says.
    pub(crate) service: Option<String>,
    /// How often metrics are sent; `None`: as the environment says.
    pub(crate) interval: Option<Duration>,
    /// Headers of each request. The values are secret.
    pub(crate) headers: BTreeMap<String, String>,
}

impl fmt::Debug for TelemetryConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TelemetryConfig")
            .field("endpoint", &self.endpoint.as_ref().map(|endpoint| &endpoint.shown))
            .field("protocol", &self.protocol)
            .field("sample", &self.sample)
            .field("service", &self.service)
            .field("interval", &self.interval)
            .field("headers", &self.headers.keys())
            .finish()
    }
}

/// Where a collector is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Its URL.
    pub(crate) url: String,
    /// The URL as it may be shown: without what came from the environment.
    pub(crate) shown: String,
}

impl Endpoint {
    /// Reads a URL; `shown` is what may be shown of it.
    ///
    /// # Errors
    /// What is wrong with it, and the way out.
    pub(crate) fn check(url: &str, shown: &str) -> Result<Self, (&'static str, &'static str)> {
        const WHOLE: &str =
            "\"http://localhost:4317\" for gRPC, \"http://localhost:4318\" for HTTP";
        let parsed = Url::parse(url).ok();
        let parsed = parsed
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.host_str().is_some())
            .ok_or(("it is no URL of http or https", WHOLE))?;
        if !parsed.username().is_empty() || parsed.password().is_some() {
            return Err((
                "it has a user or a password, which would be shown in errors",
                "put them into `telemetry.headers`, or OTEL_EXPORTER_OTLP_HEADERS",
            ));
        }
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(("it has a `?` or a `#`", WHOLE));
        }
        let path = parsed.path().trim_end_matches('/');
        if ["/v1/traces", "/v1/metrics"].iter().any(|signal| path.ends_with(signal)) {
            return Err((
                "it has the path of one signal",
                "leave that out: traces and metrics each get their own",
            ));
        }
        Ok(Self { url: url.to_owned(), shown: masked_url(shown) })
    }
}

/// How OTLP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OtlpProtocol {
    /// gRPC.
    Grpc,
    /// Protobuf over HTTP.
    Http,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawTelemetry {
    endpoint: Option<String>,
    protocol: Option<OtlpProtocol>,
    sample: Option<f64>,
    service: Option<String>,
    interval: Option<Span>,
    headers: BTreeMap<String, Secret>,
}

impl RawTelemetry {
    pub(super) fn check(self, document: &Document<'_>) -> Result<TelemetryConfig, ConfigError> {
        if let Some(sample) = self.sample.filter(|sample| !(0.0..=1.0).contains(sample)) {
            return Err(document.error("telemetry.sample", format!("it is {sample}")).help(
                "from 0, for no traces that begin here, to 1, for all; 0.01 is the default",
            ));
        }
        if self.interval == Some(Span::millis(0)) {
            let wrong = document.error("telemetry.interval", "metrics would be sent without end");
            return Err(wrong.help("\"60s\" is the default"));
        }
        if self.service.as_deref() == Some("") {
            let wrong = document.error("telemetry.service", "it is empty");
            return Err(wrong.help("leave it out for OTEL_SERVICE_NAME, or `forebay`"));
        }
        Ok(TelemetryConfig {
            endpoint: self.endpoint(document)?,
            headers: self.headers(document)?,
            protocol: self.protocol,
            sample: self.sample,
            service: self.service,
            interval: self.interval.map(Duration::from),
        })
    }

    fn endpoint(&self, document: &Document<'_>) -> Result<Option<Endpoint>, ConfigError> {
        let Some(url) = &self.endpoint else { return Ok(None) };
        let key = "telemetry.endpoint";
        let endpoint = Endpoint::check(url, document.template(key).unwrap_or(url));
        endpoint.map(Some).map_err(|(problem, help)| document.error(key, problem).help(help))
    }

    fn headers(&self, document: &Document<'_>) -> Result<BTreeMap<String, String>, ConfigError> {
        let header = |(name, value): (&String, &Secret)| {
            let key = format!("telemetry.headers.{name}");
            HeaderName::from_bytes(name.as_bytes())
                .map_err(|_| document.error(&key, "not a name that a header can have"))?;
            let value = value.reveal(&key, document)?;
            // gRPC takes less than HTTP: what both take is visible ASCII.
            match HeaderValue::from_str(&value) {
                Ok(_) => Ok((name.clone(), value)),
                Err(_) => Err(document.error(&key, "its value is not one line of plain ASCII")),
            }
        };
        self.headers.iter().map(header).collect()
    }
}
