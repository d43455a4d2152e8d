//! `[handler.postgres]`: which database, what is written into it, and how messages that come again are
//! recognised.

use super::{
    HandlerConfig,
    param::{Param, params},
};
use crate::config::{
    document::{Document, Lines},
    error::{ConfigError, quoted_list},
    values::{Secret, Span},
};
use forebay_postgres::{BudgetOptions, Conflict, Method, PoolOptions, TableOptions};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor, value::MapAccessDeserializer},
};
use std::{collections::BTreeMap, fmt, path::PathBuf, sync::Arc, time::Duration};

/// Connections of this process, unless the config says so. Each writes a batch at a time.
const CONNECTIONS: u32 = 8;

/// `[handler.postgres]`, validated. Its `Debug` shows no secret.
#[derive(Clone, Debug)]
pub(crate) struct PostgresConfig {
    /// How to reach the database.
    pub(crate) pool: PoolOptions,
    /// What is written.
    pub(crate) writes: Writes,
    /// How messages that come again are recognised; `None`: not at all.
    pub(crate) inbox: Option<InboxConfig>,
    /// The share in a number of connections that a fleet has.
    pub(crate) budget: Option<BudgetConfig>,
    /// Where its keys are, for what is refused when the database is asked.
    pub(crate) lines: Arc<Lines>,
}

/// What is written for each message.
#[derive(Clone, Debug)]
pub(crate) enum Writes {
    /// A row: the values of `options.columns`, in their order.
    Row {
        /// Which table, and how.
        options: TableOptions,
        /// What the value of each column is taken from.
        values: Vec<Param>,
    },
    /// Whatever a statement with `:name` parameters does.
    Statement {
        /// The statement.
        text: String,
        /// What each parameter is bound to.
        params: BTreeMap<String, Param>,
    },
}

/// In a line, for people.
impl fmt::Display for Writes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row { options, .. } => {
                let by = match options.method {
                    Method::Insert => "INSERT",
                    Method::Copy => "COPY",
                };
                let there = match &options.conflict {
                    Conflict::Fail => "a dead letter".to_owned(),
                    Conflict::Skip => "left as it is".to_owned(),
                    Conflict::Update { set, .. } => format!("gets a new {}", set.join(", ")),
                };
                write!(f, "rows of `{}` by {by}; one that is there already: {there}", options.table)
            }
            Self::Statement { params, .. } => {
                write!(f, "a statement with {} parameters", params.len())
            }
        }
    }
}

/// `handler.postgres.inbox`, validated. What is not set is up to the adapter.
#[derive(Clone, Debug, Default)]
pub(crate) struct InboxConfig {
    /// Who consumes; `None`: the worker's name.
    pub(crate) consumer: Option<String>,
    /// For how long a message is remembered.
    pub(crate) retention: Option<Duration>,
    /// How long after its death a dead letter may be redriven.
    pub(crate) redrive: Option<Duration>,
}

/// `handler.postgres.budget`, validated.
#[derive(Clone, Debug)]
pub(crate) struct BudgetConfig {
    /// Which budget.
    pub(crate) name: String,
    /// The connections of the whole fleet.
    pub(crate) total: u32,
    /// How its lease is kept.
    pub(crate) options: BudgetOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawPostgres {
    url: Secret,
    table: Option<String>,
    columns: Option<BTreeMap<String, String>>,
    method: Option<RawMethod>,
    conflict: Option<RawConflict>,
    key: Option<Vec<String>>,
    set: Option<Vec<String>>,
    statement: Option<String>,
    params: Option<BTreeMap<String, String>>,
    #[serde(default)]
    inbox: RawInbox,
    connections: Option<u32>,
    wait: Option<Span>,
    connect_timeout: Option<Span>,
    statement_timeout: Option<Span>,
    lock_timeout: Option<Span>,
    schema: Option<String>,
    ca_file: Option<PathBuf>,
    budget: Option<RawBudget>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawMethod {
    Insert,
    Copy,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawConflict {
    Fail,
    Skip,
    Update,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBudget {
    name: String,
    total: u32,
    lease: Option<Span>,
    renew: Option<Span>,
}

/// `true`, `false`, or the settings.
struct RawInbox(Option<InboxConfig>);

impl Default for RawInbox {
    fn default() -> Self {
        Self(Some(InboxConfig::default()))
    }
}

impl<'de> Deserialize<'de> for RawInbox {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            consumer: Option<String>,
            retention: Option<Span>,
            redrive: Option<Span>,
        }
        struct BoolOrTable;
        impl<'de> Visitor<'de> for BoolOrTable {
            type Value = RawInbox;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("false, or { consumer = \"orders\", retention = \"7days\" }")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<RawInbox, E> {
                Ok(RawInbox(on.then(InboxConfig::default)))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<RawInbox, A::Error> {
                let Table { consumer, retention, redrive } =
                    Table::deserialize(MapAccessDeserializer::new(map))?;
                let (retention, redrive) = (retention.map(Into::into), redrive.map(Into::into));
                Ok(RawInbox(Some(InboxConfig { consumer, retention, redrive })))
            }
        }
        deserializer.deserialize_any(BoolOrTable)
    }
}

/// A key's whole name.
fn full(key: &str) -> String {
    format!("handler.postgres.{key}")
}

impl RawPostgres {
    /// `within` is the worker's timeout, which a statement must not outlast.
    pub(super) fn handler(
        self,
        within: Duration,
        document: &Document<'_>,
    ) -> Result<HandlerConfig, ConfigError> {
        self.check(within, document).map(|config| HandlerConfig::Postgres(Box::new(config)))
    }

    fn check(
        self,
        within: Duration,
        document: &Document<'_>,
    ) -> Result<PostgresConfig, ConfigError> {
        let pool = self.pool(within, document)?;
        let budget = self.budget.as_ref().map(|raw| raw.check(document)).transpose()?;
        let inbox = self.inbox.0.clone();
        let writes = self.writes(document)?;
        Ok(PostgresConfig { pool, writes, inbox, budget, lines: document.lines().clone() })
    }

    fn pool(&self, within: Duration, document: &Document<'_>) -> Result<PoolOptions, ConfigError> {
        let url = self.url.reveal(&full("url"), document)?;
        if url.is_empty() {
            return Err(document
                .error(&full("url"), "it is empty")
                .help("write it whole: \"postgres://user:${PASSWORD}@host:5432/database\""));
        }
        let connections = self.connections.unwrap_or(CONNECTIONS);
        if connections == 0 {
            return Err(document
                .error(&full("connections"), "it is 0, and nothing would ever run")
                .help("at least 1"));
        }
        let mut pool = PoolOptions::new(url).connections(connections);
        pool.statement_timeout = match self.statement_timeout {
            None => pool.statement_timeout.min(within),
            Some(Span(timeout)) if timeout > within => {
                return Err(document
                    .error(&full("statement_timeout"), "it is longer than `worker.timeout`")
                    .help("the worker would call the batch off first: raise `worker.timeout`"));
            }
            Some(Span(timeout)) => timeout,
        };
        pool.wait = self.wait.map_or(pool.wait, Into::into);
        pool.connect_timeout = self.connect_timeout.map_or(pool.connect_timeout, Into::into);
        pool.lock_timeout = self.lock_timeout.map_or(pool.lock_timeout, Into::into);
        pool.schema.clone_from(&self.schema);
        pool.ca_file = self.ca_file.as_deref().map(|path| document.resolve(path));
        Ok(pool)
    }

    fn writes(self, document: &Document<'_>) -> Result<Writes, ConfigError> {
        let of_a_row = [
            ("columns", self.columns.is_some()),
            ("method", self.method.is_some()),
            ("conflict", self.conflict.is_some()),
            ("key", self.key.is_some()),
            ("set", self.set.is_some()),
        ];
        match (&self.table, &self.statement) {
            (Some(_), Some(_)) => Err(document
                .error("handler.postgres", "it has a `table` and a `statement`")
                .help("keep one: a table to write rows into, or a statement to run")),
            (None, None) => Err(document
                .error("handler.postgres", "it says not what to write")
                .help("add a `table` with its `columns`, or a `statement` with its `params`")),
            (Some(_), None) if self.params.is_some() => Err(document
                .error(&full("params"), "a table has none")
                .help("name what each column is taken from in `columns`")),
            (None, Some(_)) => match of_a_row.into_iter().find(|(_, is_set)| *is_set) {
                Some((key, _)) => Err(document
                    .error(&full(key), "it belongs to a `table`, and there is a `statement`")
                    .help("remove it: the statement says what is done")),
                None => self.statement(document),
            },
            (Some(_), None) => self.row(document),
        }
    }

    fn statement(self, document: &Document<'_>) -> Result<Writes, ConfigError> {
        let text = self.statement.unwrap_or_default();
        let params = params(self.params.unwrap_or_default(), &full("params"), document)?;
        Ok(Writes::Statement { text, params })
    }

    fn row(self, document: &Document<'_>) -> Result<Writes, ConfigError> {
        let columns = params(self.columns.unwrap_or_default(), &full("columns"), document)?;
        if columns.is_empty() {
            return Err(document
                .error(&full("columns"), "it names no column")
                .help("write what each is taken from: { id = \"$.id\", body = \"@payload\" }"));
        }
        let (names, values): (Vec<String>, Vec<Param>) = columns.into_iter().unzip();
        let conflict = conflict(self.conflict, self.key, self.set, &names, document)?;
        let method = match self.method {
            None | Some(RawMethod::Insert) => Method::Insert,
            Some(RawMethod::Copy) => Method::Copy,
        };
        let table = self.table.unwrap_or_default();
        let options = TableOptions::new(table, names).conflict(conflict).method(method);
        Ok(Writes::Row { options, values })
    }
}

/// What happens to a row that is there already. `columns` are those that are written.
fn conflict(
    conflict: Option<RawConflict>,
    key: Option<Vec<String>>,
    set: Option<Vec<String>>,
    columns: &[String],
    document: &Document<'_>,
) -> Result<Conflict, ConfigError> {
    if conflict != Some(RawConflict::Update)
        && let Some(name) = key.as_ref().map(|_| "key").or(set.as_ref().map(|_| "set"))
    {
        return Err(document
            .error(&full(name), "only conflict = \"update\" has a use for it")
            .help("set that, or remove this"));
    }
    let known = |name: &str, list: &[String]| match list.iter().find(|it| !columns.contains(it)) {
        Some(other) => Err(document
            .error(&full(name), format!("`{other}` is none of `columns`"))
            .help(format!("there are {}", quoted_list(columns)))),
        None => Ok(()),
    };
    match conflict {
        None | Some(RawConflict::Fail) => Ok(Conflict::Fail),
        Some(RawConflict::Skip) => Ok(Conflict::Skip),
        Some(RawConflict::Update) => {
            let key = key.filter(|key| !key.is_empty()).ok_or_else(|| {
                document
                    .error(&full("conflict"), "which rows are the same is not said")
                    .help("name the columns of a unique index: key = [\"id\"]")
            })?;
            known("key", &key)?;
            let others = || columns.iter().filter(|name| !key.contains(name)).cloned().collect();
            let set = set.unwrap_or_else(others);
            known("set", &set)?;
            if set.is_empty() {
                return Err(document
                    .error(
                        &full("conflict"),
                        "there is nothing to update: all columns are the key's",
                    )
                    .help("conflict = \"skip\" leaves the row that is there"));
            }
            Ok(Conflict::Update { key, set })
        }
    }
}

impl RawBudget {
    fn check(&self, document: &Document<'_>) -> Result<BudgetConfig, ConfigError> {
        if self.name.is_empty() {
            return Err(document
                .error(&full("budget.name"), "it is empty")
                .help("all processes that share the connections give the same name"));
        }
        let mut options = BudgetOptions::default();
        options.lease = self.lease.map_or(options.lease, Into::into);
        options.renew = self.renew.map_or(options.renew, Into::into);
        Ok(BudgetConfig { name: self.name.clone(), total: self.total, options })
    }
}
