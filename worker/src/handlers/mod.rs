//! What a config can do with a message without a line of Rust. Each handler is its own file, and
//! knows nothing of the others; none of them acknowledges anything that it is not told to.

#[cfg(any(feature = "embedded", feature = "postgres"))]
mod bind;
pub(crate) mod command;
pub(crate) mod http;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "embedded")]
pub(crate) mod sqlite;
pub(crate) mod stdout;
mod trace;

use crate::{
    config::{HandlerConfig, Meaning, Settings},
    error::CliError,
};
use forebay::{Capabilities, Failure};
use std::time::Duration;

/// A handler, ready: its program is there, its statement fits, its TLS is set up.
pub(crate) enum Handlers {
    /// `[handler.http]`
    Http(http::Http),
    /// `[handler.command]`
    Command(command::RunCommand),
    /// `[handler.sqlite]`
    #[cfg(feature = "embedded")]
    Sqlite(sqlite::Sqlite),
    /// `[handler.postgres]`
    #[cfg(feature = "postgres")]
    Postgres(Box<postgres::Postgres>),
    /// `[handler.stdout]`
    Stdout(stdout::Stdout),
}

impl Handlers {
    /// Sets up what the config names, as far as that changes nothing.
    ///
    /// # Errors
    /// When it does not fit what is there: no program, no table; or its database is away.
    pub(crate) async fn prepare(
        config: &HandlerConfig,
        settings: &Settings,
    ) -> Result<Self, CliError> {
        Ok(match config {
            HandlerConfig::Http(config) => Self::Http(
                http::Http::new(config.clone())
                    .map_err(|error| CliError::failed("cannot set up handler.http", error))?,
            ),
            HandlerConfig::Command(config) => {
                let program = command::RunCommand::find(config)
                    .map_err(|why| settings.lines.error("handler.command.program", why))?;
                Self::Command(command::RunCommand::new(program, config.clone()))
            }
            #[cfg(not(feature = "embedded"))]
            HandlerConfig::Sqlite(_) => {
                return Err(CliError::Usage(
                    "handler.sqlite: this forebay was built without SQLite: build it with its \
                     feature `embedded`"
                        .to_owned(),
                ));
            }
            #[cfg(feature = "embedded")]
            HandlerConfig::Sqlite(config) => {
                let wrong =
                    |(key, why)| settings.lines.error(&format!("handler.sqlite.{key}"), why);
                Self::Sqlite(sqlite::Sqlite::open(config).map_err(wrong)?)
            }
            #[cfg(feature = "postgres")]
            HandlerConfig::Postgres(config) => {
                Self::Postgres(Box::new(postgres::Postgres::prepare(config, settings).await?))
            }
            HandlerConfig::Stdout(config) => Self::Stdout(stdout::Stdout::new(*config)),
        })
    }

    /// What `check` has to say beyond the config, a line each. `source` is what the queue's source can
    /// do, if it could be opened.
    ///
    /// # Errors
    /// What [`Handlers::start`] would refuse.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(unused_variables, reason = "only PostgreSQL has something to ask")
    )]
    pub(crate) async fn look(
        &self,
        settings: &Settings,
        source: Option<&Capabilities>,
    ) -> Result<Vec<String>, CliError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(handler) => handler.look(settings, source).await,
            _ => Ok(Vec::new()),
        }
    }

    /// Sets up the rest, once it is known what the queue's source can do.
    ///
    /// # Errors
    /// What does not go together with it.
    #[cfg_attr(
        not(feature = "postgres"),
        allow(unused_variables, reason = "only PostgreSQL has something to ask")
    )]
    pub(crate) async fn start(
        &mut self,
        settings: &Settings,
        source: &Capabilities,
    ) -> Result<(), CliError> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(handler) => handler.start(settings, source).await,
            _ => Ok(()),
        }
    }
}

/// What a handler found out about one message, as text and meaning. Unlike a [`Failure`] it can be
/// copied, to answer for each message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// What it means.
    pub(crate) meaning: Meaning,
    /// What happened, for people.
    pub(crate) text: String,
    /// When to come back, as the other side asked.
    pub(crate) after: Option<Duration>,
}

impl Finding {
    /// Something that went wrong.
    pub(crate) fn new(meaning: Meaning, text: impl Into<String>) -> Self {
        Self { meaning, text: text.into(), after: None }
    }

    /// As the runtime wants it.
    pub(crate) fn into_result(self) -> Result<(), Failure> {
        match self.meaning {
            Meaning::Ack => Ok(()),
            Meaning::Transient => Err(Failure::transient(self.text)),
            Meaning::Throttled => Err(Failure::throttled(self.text, self.after)),
            Meaning::Permanent => Err(Failure::permanent(self.text)),
            Meaning::Discard => Err(Failure::discard(self.text)),
        }
    }
}
