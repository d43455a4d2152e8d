//! `[source.*]`: which queue. A new broker is one more field, one more variant, one more arm.

use super::{
    document::Document,
    error::{ConfigError, quoted_list},
    values::Span,
};
use serde::Deserialize;
use std::{path::PathBuf, time::Duration};

/// Which queue, validated.
#[derive(Clone, Debug)]
pub(crate) enum SourceConfig {
    /// A queue in a file on local disk.
    Embedded(EmbeddedConfig),
}

/// `[source.embedded]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddedConfig {
    /// The file; it is made by the first `send` or `run`.
    pub(crate) path: PathBuf,
    /// The queue in it.
    pub(crate) queue: String,
    /// For how long a message is ours before it goes to another worker; `None`: the adapter's default.
    pub(crate) lease: Option<Duration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSource {
    embedded: Option<RawEmbedded>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEmbedded {
    path: PathBuf,
    queue: String,
    lease: Option<Span>,
}

impl RawSource {
    pub(super) fn check(self, document: &Document<'_>) -> Result<SourceConfig, ConfigError> {
        let Some(raw) = self.embedded else {
            let names = quoted_list(&["source.embedded"]);
            return Err(document
                .error("source", "it names no queue")
                .help(format!("add a table: there are {names}")));
        };
        if raw.queue.is_empty() {
            return Err(document
                .error("source.embedded.queue", "it is empty")
                .help("give the queue a name, such as \"orders\""));
        }
        if raw.lease.is_some_and(|lease| lease.0 < Duration::from_secs(1)) {
            return Err(document
                .error("source.embedded.lease", "it is too short to be kept up")
                .help("a lease of \"30s\" suits most handlers: it is extended while they run"));
        }
        Ok(SourceConfig::Embedded(EmbeddedConfig {
            path: document.resolve(&raw.path),
            queue: raw.queue,
            lease: raw.lease.map(|lease| lease.0),
        }))
    }
}
