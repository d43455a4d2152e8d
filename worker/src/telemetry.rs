//! The worker's telemetry: from `[telemetry]` and the environment to what watches the worker and sends.
//!
//! Metrics are kept where somebody may see them: where there is an admin port, or a collector. Without
//! either, the runtime has no observer, and nothing is paid for.

use crate::{
    brokers::Queue,
    config::{Endpoint, OtlpProtocol, Settings, TelemetryConfig},
    error::CliError,
};
use forebay_telemetry::{Otlp, Protocol, Telemetry};
use std::{env, time::Duration};
use tokio::{
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

/// How many of the traces that begin here are recorded, unless somebody says so.
const SAMPLE: f64 = 0.01;
/// How often the broker is asked what is in the queue, for its gauges; and how long it may take.
const BACKLOG_EVERY: Duration = Duration::from_secs(10);
/// How long what is left may take to be sent at the end, for each signal.
const LAST_SEND: Duration = Duration::from_secs(2);

/// Where the environment may say that a collector is: for all signals, or for one.
const ENDPOINTS: [&str; 3] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
];
const PROTOCOL: &str = "OTEL_EXPORTER_OTLP_PROTOCOL";

/// The telemetry that the settings ask for, if any.
///
/// # Errors
/// When OTLP cannot be set up, naming the variable that does not hold.
pub(crate) fn prepare(settings: &Settings, queue: &Queue) -> Result<Option<Telemetry>, CliError> {
    let (config, otlp) = (&settings.telemetry, otlp(&settings.telemetry)?);
    if otlp.is_none() && settings.admin.is_none() {
        return Ok(None);
    }
    let mut builder = queue.telemetry();
    if let Some(service) = &config.service {
        builder = builder.service(service.clone());
    }
    let usual = (!is_set("OTEL_TRACES_SAMPLER")).then_some(SAMPLE);
    if let Some(ratio) = config.sample.or(usual) {
        builder = builder.sample(ratio);
    }
    if let Some(otlp) = otlp {
        builder = builder.otlp(otlp);
    }
    let failed = |error| CliError::failed("telemetry cannot be set up", error);
    builder.build().map(Some).map_err(failed)
}

/// Where metrics and traces are sent, in words, without a secret.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn describe(config: &TelemetryConfig) -> Result<String, CliError> {
    let Some(otlp) = otlp(config)? else { return Ok("not sent".to_owned()) };
    let to = match &config.endpoint {
        Some(endpoint) => endpoint.shown.clone(),
        None => {
            let set = ENDPOINTS.into_iter().filter_map(|name| Some((name, variable(name)?)));
            set.map(|(name, url)| format!("{url} ({name})")).collect::<Vec<_>>().join(", ")
        }
    };
    let protocol = match otlp.protocol {
        Protocol::Grpc => "gRPC",
        Protocol::Http => "HTTP",
    };
    let sampled = match config.sample {
        None if is_set("OTEL_TRACES_SAMPLER") => "as OTEL_TRACES_SAMPLER says".to_owned(),
        sample => format!("{} of new traces", sample.unwrap_or(SAMPLE)),
    };
    let headers: String = config.headers.keys().map(|name| format!(", {name}: ***")).collect();
    Ok(format!("OTLP over {protocol} to {to}, sampling {sampled}{headers}"))
}

/// How OTLP is to be spoken, and with whom; `None`: nobody has said.
fn otlp(config: &TelemetryConfig) -> Result<Option<Otlp>, CliError> {
    if config.endpoint.is_none() {
        let set: Vec<_> = ENDPOINTS.into_iter().filter(|name| is_set(name)).collect();
        if set.is_empty() {
            return Ok(None);
        }
        set.into_iter().try_for_each(sound)?;
    }
    Ok(Some(Otlp {
        endpoint: config.endpoint.as_ref().map(|endpoint| endpoint.url.clone()),
        protocol: match config.protocol {
            Some(OtlpProtocol::Grpc) => Protocol::Grpc,
            Some(OtlpProtocol::Http) => Protocol::Http,
            None => protocol()?,
        },
        headers: config.headers.clone(),
        interval: config.interval,
        timeout: None,
    }))
}

/// Whether the endpoint in a variable holds. One of a signal has the path of that signal.
fn sound(name: &'static str) -> Result<(), CliError> {
    let url = variable(name).unwrap_or_default();
    let base = match name {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT" => url.trim_end_matches("/v1/traces"),
        "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" => url.trim_end_matches("/v1/metrics"),
        _ => &*url,
    };
    let checked = Endpoint::check(base, base);
    let wrong = |(problem, help)| CliError::Usage(format!("{name}: {problem}\n  help: {help}"));
    checked.map(drop).map_err(wrong)
}

fn protocol() -> Result<Protocol, CliError> {
    match variable(PROTOCOL).as_deref() {
        None | Some("grpc") => Ok(Protocol::Grpc),
        Some("http/protobuf") => Ok(Protocol::Http),
        Some(other) => Err(CliError::Usage(format!(
            "{PROTOCOL}: `{other}` is not spoken here\n  help: \"grpc\" or \"http/protobuf\""
        ))),
    }
}

fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_set(name: &str) -> bool {
    env::var_os(name).is_some_and(|value| !value.is_empty())
}

/// Asks the broker what is in the queue, until what this gives back is dropped.
pub(crate) fn ask_backlog(telemetry: &Telemetry, queue: &Queue) -> JoinSet<()> {
    let (telemetry, queue) = (telemetry.clone(), queue.clone());
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut ticks = interval(BACKLOG_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // A broker that does not tell leaves a gap in the graph.
            let told = timeout(BACKLOG_EVERY, queue.backlog()).await;
            telemetry.set_backlog(told.ok().and_then(Result::ok));
        }
    });
    tasks
}

/// Sends what is left, while there is time.
pub(crate) async fn finish(telemetry: Telemetry) {
    let finished = tokio::task::spawn_blocking(move || telemetry.shutdown(LAST_SEND)).await;
    if !finished.unwrap_or_default() {
        tracing::warn!("the last metrics or traces could not be sent");
    }
}
