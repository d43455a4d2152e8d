//! The config of a bridge: a source, a sink, and everything of a worker but the handler.

use super::{
    Batch, Concurrency, Settings, admin,
    document::Document,
    error::ConfigError,
    hints, log, read, retry, scale, telemetry,
    worker::{self, Usual},
};
use crate::brokers::{QueueConfig, RawQueue, WorkerHints};
use serde::Deserialize;
use std::{path::Path, time::Duration};

/// What a bridge is like unless its config says so: a few batches on their way, each of them soon full
/// or soon gone.
const USUAL: Usual = Usual {
    concurrency: Concurrency::Fixed(4),
    batch: Some(Batch { size: 500, bytes: 1 << 20, age: Duration::from_millis(5) }),
    takes_batches: true,
};

/// How often a message is tried unless the config says so. An outage of the sink is nobody's fault, and
/// is not to fill the dead letters of the source: with the waits in between, about half a day.
const ATTEMPTS: u32 = 100;

/// A bridge's config, validated.
#[derive(Clone, Debug)]
pub(crate) struct BridgeConfig {
    /// Which queue it takes from, and how.
    pub(crate) settings: Settings,
    /// Which queue it puts into.
    pub(crate) sink: QueueConfig,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBridge {
    source: RawQueue,
    sink: RawQueue,
    #[serde(default)]
    worker: worker::RawWorker,
    #[serde(default)]
    retry: retry::RawRetry,
    #[serde(default)]
    breaker: retry::RawBreaker,
    #[serde(default)]
    log: log::RawLog,
    admin: Option<admin::RawAdmin>,
    #[serde(default)]
    scale: scale::RawScale,
    #[serde(default)]
    telemetry: telemetry::RawTelemetry,
}

impl BridgeConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// [`ConfigError`], for the first thing that is wrong.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::parse(file, &read(file)?)
    }

    /// Whether a file is a bridge's: it names a sink.
    ///
    /// # Errors
    /// When it cannot be read, or is not TOML.
    pub(crate) fn is_meant(file: &Path) -> Result<bool, ConfigError> {
        Ok(Document::new(file, &read(file)?)?.has("sink"))
    }

    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let mut document = Document::new(file, text)?;
        document.expand("")?;
        if document.has("handler") {
            return Err(document
                .error("handler", "a bridge has none: it puts messages into its sink")
                .help("remove it, or run this worker by `forebay run`"));
        }
        let raw: RawBridge = document.parse()?;
        let retry = raw.retry.or_attempts(ATTEMPTS);
        let hints = hints(&raw.worker, &retry);
        let source = raw.source.check("source", hints, &document)?;
        // Attempts and drain are the worker's, who takes from the source; order is to arrive.
        let hints = WorkerHints { ordered: hints.ordered, ..WorkerHints::default() };
        let sink = raw.sink.check("sink", hints, &document)?;
        if source.describe() == sink.describe() {
            return Err(document
                .error("sink", "it is the queue that the source takes from")
                .help("name another: messages would go round in circles"));
        }
        let worker = raw.worker.check_for(USUAL, &document)?;
        let settings = Settings {
            source,
            retry: retry.check(&document)?,
            breaker: raw.breaker.check(worker.timeout, &document)?,
            log: raw.log.check(&document)?,
            admin: raw.admin.map(|admin| admin.check(&document)).transpose()?,
            scale: raw.scale.check(&document)?,
            telemetry: raw.telemetry.check(&document)?,
            worker,
            lines: document.lines().clone(),
        };
        Ok(Self { settings, sink })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn parse(text: &str) -> Result<BridgeConfig, String> {
        BridgeConfig::parse(Path::new("b.toml"), text).map_err(|error| error.to_string())
    }

    const SOURCE: &str = "[source.embedded]\npath = 'q.db'\nqueue = 'a'\n";

    #[test]
    fn a_bridge_batches_and_is_patient() {
        let sink = "[sink.embedded]\npath = 'q.db'\nqueue = 'b'\n";
        let config = parse(&format!("{SOURCE}{sink}")).unwrap();
        assert_eq!(config.settings.worker.batch.map(|batch| batch.size), Some(500));
        assert_eq!(config.settings.retry.max_attempts(), ATTEMPTS);
        let config = parse(&format!("{SOURCE}{sink}[retry]\nattempts = 3")).unwrap();
        assert_eq!(config.settings.retry.max_attempts(), 3);
    }

    #[test]
    fn what_is_no_bridge_is_refused() {
        let error = parse(SOURCE).unwrap_err();
        assert!(error.contains("`sink` is missing"), "{error}");
        let bridge = format!("{SOURCE}[sink.embedded]\npath = 'q.db'\nqueue = 'b'");
        let error = Config::parse(Path::new("b.toml"), &bridge).unwrap_err().to_string();
        assert!(error.contains("b.toml:4: sink: a worker has none"), "{error}");
        assert!(error.contains("`forebay bridge`"), "{error}");
        let error = parse(&SOURCE.replace("source", "sink")).unwrap_err();
        assert!(error.contains("`source` is missing"), "{error}");
        let round = format!("{SOURCE}{}", SOURCE.replace("source", "sink"));
        let error = parse(&round).unwrap_err();
        assert!(error.contains("b.toml:4: sink: it is the queue that the source"), "{error}");
        let error = parse(&format!("{SOURCE}[handler.stdout]\n")).unwrap_err();
        assert!(error.contains("b.toml:4: handler: a bridge has none"), "{error}");
        let error = parse(&format!("{SOURCE}[sink.embedded]\npath = 'x'\nqueu = 'b'")).unwrap_err();
        assert!(error.contains("b.toml:6: sink.embedded.queu: there is no key `queu`"), "{error}");
    }
}
