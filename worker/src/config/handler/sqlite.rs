//! `[handler.sqlite]`: which statement is run, and what its parameters are.

use super::param::{Param, params};
use crate::config::{document::Document, error::ConfigError};
use serde::Deserialize;
use std::{collections::BTreeMap, path::PathBuf};

/// `[handler.sqlite]`, validated.
#[derive(Clone, Debug)]
pub(crate) struct SqliteConfig {
    /// The database; it must exist.
    pub(crate) path: PathBuf,
    /// One statement with `:name` parameters.
    pub(crate) statement: String,
    /// What each parameter is bound to.
    pub(crate) params: BTreeMap<String, Param>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawSqlite {
    path: PathBuf,
    statement: String,
    #[serde(default)]
    params: BTreeMap<String, String>,
}

impl RawSqlite {
    pub(super) fn check(self, document: &Document<'_>) -> Result<SqliteConfig, ConfigError> {
        let params = params(self.params, "handler.sqlite.params", document)?;
        Ok(SqliteConfig { path: document.resolve(&self.path), statement: self.statement, params })
    }
}
