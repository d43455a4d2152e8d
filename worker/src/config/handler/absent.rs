//! Stands in for `[handler.postgres]` when its feature is off: the table is understood, and refused by
//! name.

use super::HandlerConfig;
use crate::config::{document::Document, error::ConfigError};
use serde::{Deserialize, Deserializer, de::IgnoredAny};
use std::time::Duration;

pub(super) struct RawPostgres;

impl<'de> Deserialize<'de> for RawPostgres {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self)
    }
}

impl RawPostgres {
    pub(super) fn handler(
        self,
        _: Duration,
        document: &Document<'_>,
    ) -> Result<HandlerConfig, ConfigError> {
        Err(document
            .error("handler.postgres", "this forebay was built without PostgreSQL")
            .help("build it with its feature: `cargo build -p forebay-worker --features postgres`"))
    }
}
