//! A broker's table in a config: errors that name its keys, whether it is a source or a sink.

#![cfg_attr(
    not(all(feature = "kafka", feature = "rabbitmq", feature = "sqs")),
    allow(dead_code, reason = "each broker needs its own part of it")
)]

use crate::{
    config::{ConfigError, Document, Lines, Secret},
    error::CliError,
};
use forebay::BoxError;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// What a broker must know of the worker's other settings. What is not set is up to the adapter.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WorkerHints {
    /// The worker is to keep order by key: a broker that can, but need not, then does, unless its
    /// table says something else.
    pub(crate) ordered: bool,
    /// `retry.attempts`.
    pub(crate) attempts: Option<u32>,
    /// `worker.drain_timeout`.
    pub(crate) drain_timeout: Option<Duration>,
}

/// Where a table is.
pub(crate) struct Table<'d> {
    document: &'d Document<'d>,
    name: String,
    worker: WorkerHints,
}

impl<'d> Table<'d> {
    /// The table called `name`: `source.kafka`.
    pub(crate) fn new(document: &'d Document<'d>, name: String, worker: WorkerHints) -> Self {
        Self { document, name, worker }
    }

    /// What else the config says.
    pub(crate) fn worker(&self) -> WorkerHints {
        self.worker
    }

    /// An error about one of its keys.
    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.document.error(&format!("{}.{key}", self.name), problem)
    }

    /// An error about all of it: its broker is not built in.
    #[cfg(not(all(
        feature = "embedded",
        feature = "kafka",
        feature = "rabbitmq",
        feature = "sqs"
    )))]
    pub(crate) fn whole(&self, problem: impl Into<String>) -> ConfigError {
        self.document.error(&self.name, problem)
    }

    /// Insists on a text that is not empty.
    ///
    /// # Errors
    /// When it is; `help` says what it should be.
    pub(crate) fn filled(&self, key: &str, text: &str, help: &str) -> Result<(), ConfigError> {
        if text.is_empty() { Err(self.error(key, "it is empty").help(help)) } else { Ok(()) }
    }

    /// A path, relative to the config's folder.
    pub(crate) fn resolve(&self, path: &Path) -> PathBuf {
        self.document.resolve(path)
    }

    /// What a secret says, read now.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub(crate) fn reveal(&self, key: &str, secret: &Secret) -> Result<String, ConfigError> {
        secret.reveal(&format!("{}.{key}", self.name), self.document)
    }

    /// What may be shown of the text under a key: `${NAME}` where it held one.
    pub(crate) fn shown<'t>(&'t self, key: &str, text: &'t str) -> &'t str {
        self.document.template(&format!("{}.{key}", self.name)).unwrap_or(text)
    }

    /// Where it is, for errors that are found when the broker is asked.
    pub(crate) fn place(&self) -> Place {
        Place { lines: self.document.lines().clone(), table: self.name.clone() }
    }
}

/// Where a broker's table is. Outlives the text of its file.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    lines: Arc<Lines>,
    table: String,
}

impl Place {
    /// An error about one of the table's keys.
    pub(crate) fn error(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.lines.error(&format!("{}.{key}", self.table), problem)
    }

    /// An error about a key of another table, by its whole name.
    pub(crate) fn elsewhere(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        self.lines.error(key, problem)
    }

    /// The broker, or the way to it, has failed.
    pub(crate) fn cannot_open(&self, error: impl Into<BoxError>) -> CliError {
        CliError::failed(format!("cannot open `{}`", self.table), error)
    }
}
