//! What can be wrong when a pool, an inbox, a table or a budget is set up: found at start, named
//! with the way out.

use crate::DatabaseError;
use std::time::Duration;

/// Why something was not set up. Nothing has been handled yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// A setting that makes no sense.
    #[error("`{setting}` is {value}: {allowed}")]
    Invalid {
        /// The setting's name.
        setting: &'static str,
        /// What it was set to.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// The server could not be reached, or would not let us in.
    #[error("cannot connect to PostgreSQL at {address}: {why}")]
    Connect {
        /// Host and port, and database.
        address: String,
        /// What it said, and what to do.
        why: String,
    },
    /// The server refused a statement.
    #[error("{0}")]
    Server(DatabaseError),
    /// The schema for Forebay's tables is not there.
    #[error(
        "there is no schema `{schema}` for Forebay's tables: run `CREATE SCHEMA {quoted}`, or set another `schema`"
    )]
    NoSchema {
        /// As it was set.
        schema: String,
        /// As it is written in SQL.
        quoted: String,
    },
    /// A newer Forebay has been here.
    #[error(
        "Forebay's tables in the database are of version {found}, and this program knows version {known}: update it; nothing was changed"
    )]
    NewerSchema {
        /// What the database has.
        found: i32,
        /// What this program knows.
        known: i32,
    },
    /// The source cannot tell a redelivery from a new message.
    #[error(
        "{broker}, as it is set up, gives a redelivered message no stable identity, so an inbox would recognise nothing: have producers set the `forebay-id` header and say so to the source, or turn the inbox off"
    )]
    NoIdentity {
        /// The broker's name.
        broker: &'static str,
    },
    /// The inbox would forget a message that can still come again.
    #[error(
        "`inbox.retention` is {retention:?}, and a message can come again {horizon:?} after it was done (retries {retries:?}, redrive {redrive:?}): raise the retention, or lower the others"
    )]
    ShortRetention {
        /// How long a message is remembered.
        retention: Duration,
        /// For how long it can come again.
        horizon: Duration,
        /// The part that retries take.
        retries: Duration,
        /// The part that redrives take.
        redrive: Duration,
    },
}

impl SetupError {
    pub(crate) fn invalid(
        setting: &'static str,
        value: impl Into<String>,
        allowed: impl Into<String>,
    ) -> Self {
        Self::Invalid { setting, value: value.into(), allowed: allowed.into() }
    }

    /// A statement that failed at start, with what it was for.
    pub(crate) fn server(doing: &str) -> impl FnOnce(tokio_postgres::Error) -> Self + '_ {
        move |error| Self::Server(DatabaseError::new(error).while_doing(doing))
    }
}

/// No connection was free within the bound: the pool is the bottleneck, and says so.
#[derive(Debug, thiserror::Error)]
#[error(
    "no connection was free within {waited:?}: all {ceiling} allowed to this process are in use"
)]
pub struct PoolBusy {
    /// How long it was waited for.
    pub waited: Duration,
    /// How many connections there may be.
    pub ceiling: u32,
}
