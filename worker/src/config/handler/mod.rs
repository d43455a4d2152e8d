//! `[handler.*]`: what is done with each message. Exactly one table.

#[cfg(not(feature = "postgres"))]
mod absent;
mod command;
mod http;
#[cfg_attr(
    not(any(feature = "embedded", feature = "postgres")),
    allow(dead_code, reason = "it is checked, and then refused: nobody binds it")
)]
mod param;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg_attr(
    not(feature = "embedded"),
    allow(dead_code, reason = "it is checked, and then refused: nobody runs it")
)]
mod sqlite;

pub(crate) use command::CommandConfig;
pub(crate) use http::HttpConfig;
#[cfg(any(feature = "embedded", feature = "postgres"))]
pub(crate) use param::Param;
#[cfg(feature = "postgres")]
pub(crate) use postgres::{PostgresConfig, Writes};
pub(crate) use sqlite::SqliteConfig;

#[cfg(not(feature = "postgres"))]
use absent::RawPostgres;
#[cfg(feature = "postgres")]
use postgres::RawPostgres;

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
    /// Written into PostgreSQL, as rows or by a statement.
    #[cfg(feature = "postgres")]
    Postgres(Box<PostgresConfig>),
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
            // A batch on each connection.
            #[cfg(feature = "postgres")]
            Self::Postgres(config) => config.pool.connections,
            // Lines come out in the queue's order.
            Self::Stdout(_) => 1,
        })
    }

    /// Whether it can take several messages in one call.
    pub(super) fn takes_batches(&self) -> bool {
        matches!(self, Self::Http(_)) || self.writes_batches()
    }

    /// Whether it always writes several messages in a transaction.
    pub(super) fn writes_batches(&self) -> bool {
        match self {
            Self::Sqlite(_) => true,
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => true,
            Self::Http(_) | Self::Command(_) | Self::Stdout(_) => false,
        }
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
    postgres: Option<RawPostgres>,
    stdout: Option<StdoutConfig>,
}

const TABLES: [&str; 5] =
    ["handler.http", "handler.command", "handler.sqlite", "handler.postgres", "handler.stdout"];

impl RawHandler {
    /// `timeout` is the worker's.
    pub(super) fn check(
        self,
        timeout: Duration,
        document: &Document<'_>,
    ) -> Result<HandlerConfig, ConfigError> {
        let http = |raw: RawHttp| raw.check(timeout, document).map(HandlerConfig::Http);
        let postgres = |raw: RawPostgres| raw.handler(timeout, document);
        let mut named = [
            self.http.map(http),
            self.command.map(|raw| raw.check(document).map(HandlerConfig::Command)),
            self.sqlite.map(|raw| raw.check(document).map(HandlerConfig::Sqlite)),
            self.postgres.map(postgres),
            self.stdout.map(|config| Ok(HandlerConfig::Stdout(config))),
        ]
        .into_iter()
        .flatten();
        match (named.next(), named.next()) {
            (Some(checked), None) => checked,
            (None, _) => Err(document
                .error("handler", "it names no handler")
                .help(format!("add a table: there are {}", quoted_list(&TABLES)))),
            (Some(_), Some(_)) => Err(document
                .error("handler", "it names more than one handler")
                .help("keep one of the tables: a worker does one thing with its messages")),
        }
    }
}
