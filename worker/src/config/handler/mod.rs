//! `[handler.*]`: what is done with each message. Exactly one table.

mod command;
mod http;
#[cfg_attr(
    not(feature = "embedded"),
    allow(dead_code, reason = "it is checked, and then refused: nobody runs it")
)]
mod sqlite;

pub(crate) use command::CommandConfig;
pub(crate) use http::HttpConfig;
#[cfg(feature = "embedded")]
pub(crate) use sqlite::Param;
pub(crate) use sqlite::SqliteConfig;

use super::{
    Concurrency,
    document::Document,
    error::{ConfigError, quoted_list},
};
use command::RawCommand;
use http::RawHttp;
use serde::Deserialize;
use sqlite::RawSqlite;
use std::{num::NonZero, thread, time::Duration};

/// What is done with each message, validated.
#[derive(Clone, Debug)]
pub(crate) enum HandlerConfig {
    /// Posted to a URL.
    Http(HttpConfig),
    /// Given to a process of its own.
    Command(CommandConfig),
    /// Written into a database by a statement.
    Sqlite(SqliteConfig),
    /// Printed.
    Stdout(StdoutConfig),
}

impl HandlerConfig {
    /// How many calls may run at once, unless the config says so: as many as the handler has a use
    /// for.
    pub(super) fn usual_concurrency(&self) -> Concurrency {
        let cores = || thread::available_parallelism().map_or(1, NonZero::get);
        Concurrency::Fixed(match self {
            Self::Http(_) => 64,
            Self::Command(_) => u32::try_from(cores()).unwrap_or(u32::MAX),
            // One writes; the next is ready when it has committed.
            Self::Sqlite(_) => 2,
            // Lines come out in the queue's order.
            Self::Stdout(_) => 1,
        })
    }

    /// Whether it can take several messages in one call.
    pub(super) fn takes_batches(&self) -> bool {
        matches!(self, Self::Http(_) | Self::Sqlite(_))
    }
}

/// `[handler.stdout]`, validated.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct StdoutConfig {
    /// What is printed of a message.
    pub(crate) format: StdoutFormat,
}

/// What is printed of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StdoutFormat {
    /// The payload.
    #[default]
    Payload,
    /// A JSON object with id, key, attempt, headers and payload.
    Json,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHandler {
    http: Option<RawHttp>,
    command: Option<RawCommand>,
    sqlite: Option<RawSqlite>,
    stdout: Option<StdoutConfig>,
}

const TABLES: [&str; 4] = ["handler.http", "handler.command", "handler.sqlite", "handler.stdout"];

impl RawHandler {
    /// `timeout` is the worker's.
    pub(super) fn check(
        self,
        timeout: Duration,
        document: &Document<'_>,
    ) -> Result<HandlerConfig, ConfigError> {
        match (self.http, self.command, self.sqlite, self.stdout) {
            (Some(raw), None, None, None) => raw.check(timeout, document).map(HandlerConfig::Http),
            (None, Some(raw), None, None) => raw.check(document).map(HandlerConfig::Command),
            (None, None, Some(raw), None) => raw.check(document).map(HandlerConfig::Sqlite),
            (None, None, None, Some(config)) => Ok(HandlerConfig::Stdout(config)),
            (None, None, None, None) => Err(document
                .error("handler", "it names no handler")
                .help(format!("add a table: there are {}", quoted_list(&TABLES)))),
            _ => Err(document
                .error("handler", "it names more than one handler")
                .help("keep one of the tables: a worker does one thing with its messages")),
        }
    }
}
