//! One TOML file describes a worker. It is checked whole before anything is opened.
//!
//! ```text
//! text -> Document (tree with positions, ${NAME} replaced) -> raw serde structs -> Config
//!                                                              unknown keys        values, relations
//! ```
//!
//! The raw structs mirror the file and are private to their module; what the rest of the program sees
//! has been checked, so nothing after this point asks whether a limit is 0 or a URL is one.

mod admin;
mod bridge;
mod codes;
mod document;
mod error;
mod expand;
mod handler;
mod log;
mod retry;
mod scale;
mod telemetry;
mod values;
mod worker;

pub(crate) use admin::{AdminConfig, Token};
pub(crate) use bridge::BridgeConfig;
pub(crate) use codes::{Codes, Meaning};
pub(crate) use document::{Document, Lines};
pub(crate) use error::{ConfigError, nearest, quoted_list};
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) use handler::Param;
#[cfg(feature = "embedded")]
pub(crate) use handler::SqliteConfig;
pub(crate) use handler::{CommandConfig, HandlerConfig, HttpConfig, StdoutConfig, StdoutFormat};
#[cfg(feature = "postgres")]
pub(crate) use handler::{PostgresConfig, Writes};
pub(crate) use log::{LogConfig, LogFormat};
pub(crate) use scale::{ScaleConfig, WorkersAt};
pub(crate) use telemetry::{Endpoint, OtlpProtocol, TelemetryConfig};
#[cfg_attr(
    not(all(feature = "embedded", feature = "kafka", feature = "rabbitmq", feature = "sqs")),
    allow(unused_imports, reason = "each broker needs its own")
)]
pub(crate) use values::{Secret, Size, Span, duration, masked_url};
pub(crate) use worker::{Batch, Concurrency, WorkerConfig};

use crate::brokers::{QueueConfig, RawQueue, WorkerHints};
use forebay::policy::{BreakerSettings, RetryPolicy};
use serde::Deserialize;
use std::{fs, path::Path, sync::Arc};

/// What `forebay init` writes.
pub(crate) const TEMPLATE: &str = include_str!("template.toml");

/// A worker's config, validated.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// All but the handler.
    pub(crate) settings: Settings,
    /// What is done with each message.
    pub(crate) handler: HandlerConfig,
}

/// How a worker works, whatever it does with its messages.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Which queue.
    pub(crate) source: QueueConfig,
    /// How fast and how much at once.
    pub(crate) worker: WorkerConfig,
    /// How often, and how long between.
    pub(crate) retry: RetryPolicy,
    /// When nothing is tried for a while; `None`: never.
    pub(crate) breaker: Option<BreakerSettings>,
    /// What is logged, and how.
    pub(crate) log: LogConfig,
    /// Where it is looked at; `None`: nowhere.
    pub(crate) admin: Option<AdminConfig>,
    /// How many workers there should be.
    pub(crate) scale: ScaleConfig,
    /// Where metrics and traces go.
    pub(crate) telemetry: TelemetryConfig,
    /// Where each key is, for what is refused when the broker is asked.
    pub(crate) lines: Arc<Lines>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawConfig {
    source: RawQueue,
    #[serde(default)]
    worker: worker::RawWorker,
    #[serde(default)]
    retry: retry::RawRetry,
    #[serde(default)]
    breaker: retry::RawBreaker,
    handler: handler::RawHandler,
    #[serde(default)]
    log: log::RawLog,
    admin: Option<admin::RawAdmin>,
    #[serde(default)]
    scale: scale::RawScale,
    #[serde(default)]
    telemetry: telemetry::RawTelemetry,
}

/// What a broker must know of the other tables.
fn hints(worker: &worker::RawWorker, retry: &retry::RawRetry) -> WorkerHints {
    let (ordered, drain_timeout) = (worker.ordered(), Some(worker.drain_timeout()));
    WorkerHints { ordered, attempts: retry.attempts(), drain_timeout }
}

/// Only which queue, and what its broker must know: the rest is not looked at, so that `forebay depth`
/// does not need the secrets of the handler.
#[derive(Deserialize)]
struct OnlySource {
    source: RawQueue,
    #[serde(default)]
    worker: OnlyOrdered,
    #[serde(default)]
    retry: OnlyAttempts,
}

impl OnlySource {
    fn check(self, document: &Document<'_>) -> Result<QueueConfig, ConfigError> {
        let (ordered, attempts) = (self.worker.ordered, self.retry.attempts);
        let hints = WorkerHints { ordered, attempts, drain_timeout: None };
        self.source.check("source", hints, document)
    }
}

#[derive(Default, Deserialize)]
struct OnlyOrdered {
    #[serde(default)]
    ordered: bool,
}

#[derive(Default, Deserialize)]
struct OnlyAttempts {
    attempts: Option<u32>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read(file)?)
    }

    fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut document = Document::new(file, text)?;
        document.expand("")?;
        if document.has("sink") {
            return Err(document
                .error("sink", "a worker has none: its handler does something with the messages")
                .help("run this bridge by `forebay bridge`, or put a handler in its place"));
        }
        let raw: RawConfig = document.parse()?;
        let source = raw.source.check("source", hints(&raw.worker, &raw.retry), &document)?;
        let handler = raw.handler.check(raw.worker.timeout(), &document)?;
        let worker = raw.worker.check(&handler, &document)?;
        let settings = Settings {
            source,
            retry: raw.retry.check(&document)?,
            breaker: raw.breaker.check(worker.timeout, &document)?,
            log: raw.log.check(&document)?,
            admin: raw.admin.map(|admin| admin.check(&document)).transpose()?,
            scale: raw.scale.check(&document)?,
            telemetry: raw.telemetry.check(&document)?,
            worker,
            lines: document.lines().clone(),
        };
        Ok(Self { settings, handler })
    }
}

impl Settings {
    /// The worker's name in logs: its own, else the queue's.
    pub(crate) fn name(&self) -> &str {
        self.worker.name.as_deref().unwrap_or_else(|| self.source.queue())
    }
}

/// Reads only which queue a file means.
///
/// # Errors
/// [`ConfigError`], for the first thing that is wrong with it.
pub(crate) fn load_source(file: &Path) -> Result<QueueConfig, ConfigError> {
    let text = read(file)?;
    let mut document = Document::new(file, &text)?;
    document.expand("source")?;
    let raw: OnlySource = document.parse()?;
    raw.check(&document)
}

/// The config of what says how many workers there should be.
pub(crate) struct ScalerConfig {
    /// Which queue.
    pub(crate) source: QueueConfig,
    /// Where it is asked.
    pub(crate) admin: AdminConfig,
    /// What is aimed at, and where the workers are.
    pub(crate) scale: ScaleConfig,
    /// What is logged, and how.
    pub(crate) log: LogConfig,
    /// Where each key is.
    pub(crate) lines: Arc<Lines>,
}

/// Only what a scaler must know: the same file serves it and its workers, whose secrets it does not need.
#[derive(Deserialize)]
struct OnlyScaler {
    source: RawQueue,
    #[serde(default)]
    worker: OnlyOrdered,
    #[serde(default)]
    retry: OnlyAttempts,
    #[serde(default)]
    admin: admin::RawAdmin,
    #[serde(default)]
    scale: scale::RawScale,
    #[serde(default)]
    log: log::RawLog,
}

/// Reads what a scaler must know of a worker's file. It is there to be asked, so it has an admin port in
/// any case.
///
/// # Errors
/// [`ConfigError`], for the first thing that is wrong with it.
pub(crate) fn load_scaler(file: &Path) -> Result<ScalerConfig, ConfigError> {
    let text = read(file)?;
    let mut document = Document::new(file, &text)?;
    for table in ["source", "admin", "scale", "log"] {
        document.expand(table)?;
    }
    let raw: OnlyScaler = document.parse()?;
    let only = OnlySource { source: raw.source, worker: raw.worker, retry: raw.retry };
    Ok(ScalerConfig {
        source: only.check(&document)?,
        admin: raw.admin.check(&document)?,
        scale: raw.scale.check(&document)?,
        log: raw.log.check(&document)?,
        lines: document.lines().clone(),
    })
}

/// Only how to log.
#[derive(Deserialize)]
struct OnlyLog {
    #[serde(default)]
    log: log::RawLog,
}

/// Reads only how a file wants the log.
///
/// # Errors
/// [`ConfigError`], for the first thing that is wrong with it.
pub(crate) fn load_log(file: &Path) -> Result<LogConfig, ConfigError> {
    let text = read(file)?;
    let mut document = Document::new(file, &text)?;
    document.expand("log")?;
    let raw: OnlyLog = document.parse()?;
    raw.log.check(&document)
}

fn read(file: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(file).map_err(|error| {
        ConfigError::whole(file, format!("cannot be read: {error}"))
            .help("`forebay init` writes a commented config to begin with")
    })
}

#[cfg(test)]
mod tests;
