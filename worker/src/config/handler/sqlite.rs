//! `[handler.sqlite]`: which statement is run, and what its parameters are.

use crate::{
    config::{
        document::Document,
        error::{ConfigError, nearest, quoted_list},
    },
    json_path::JsonPath,
};
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

/// What a parameter of a statement is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Param {
    /// A place in the payload; NULL where it is not there.
    Json(JsonPath),
    /// `@id`: the message's identity, as text.
    Id,
    /// `@key`: its key, or NULL.
    Key,
    /// `@payload`: all of the payload, as text, or as a blob where it is not UTF-8.
    Payload,
    /// `@attempt`: which attempt this is, from 1.
    Attempt,
    /// `@enqueued_at`: when it was enqueued, in milliseconds since 1970, or NULL.
    EnqueuedAt,
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
        let params = self
            .params
            .into_iter()
            .map(|(name, text)| match param(&text) {
                Ok(param) => Ok((name, param)),
                Err((problem, help)) => Err(document
                    .error(&format!("handler.sqlite.params.{name}"), problem)
                    .help(help)),
            })
            .collect::<Result<_, _>>()?;
        Ok(SqliteConfig { path: document.resolve(&self.path), statement: self.statement, params })
    }
}

const SPECIALS: [(&str, Param); 5] = [
    ("@id", Param::Id),
    ("@key", Param::Key),
    ("@payload", Param::Payload),
    ("@attempt", Param::Attempt),
    ("@enqueued_at", Param::EnqueuedAt),
];

fn param(text: &str) -> Result<Param, (String, String)> {
    if !text.starts_with('@') {
        return text.parse().map(Param::Json).map_err(|problem| {
            let names = quoted_list(&SPECIALS.map(|(name, _)| name));
            (problem, format!("or one of the message itself: {names}"))
        });
    }
    let names = SPECIALS.map(|(name, _)| name);
    SPECIALS.into_iter().find(|(name, _)| *name == text).map(|(_, param)| param).ok_or_else(|| {
        let meant = nearest(text, &names).map(|name| format!("did you mean `{name}`? "));
        let list = quoted_list(&names);
        (
            format!("a message has no `{text}`"),
            format!("{}there are {list}", meant.unwrap_or_default()),
        )
    })
}
