//! `[handler.postgres]`: messages become rows of a table, or run a statement, many in one transaction,
//! and each has its effect once.
//!
//! The work is done by `forebay-postgres`; this puts its parts together as a config says.
//!
//! ```text
//! prepare   connect; look the table up, or have the statement described     check and run
//! start     the inbox and its tables, the share of the budget               run alone
//! close     after the drain: the share goes back                            run alone
//! ```

mod bind;
mod named;
mod refused;

use crate::{
    config::{Concurrency, Param, PostgresConfig, Settings, Writes},
    error::CliError,
    handlers::bind::in_order,
    output::age,
};
use bind::{Binding, Kind};
use forebay::{Bytes, Capabilities, Control, Failure, Gate, Job};
use forebay_postgres::{
    BatchSink, Budget, Inbox, InboxOptions, OwnTables, PgPool, Row, SetupError, SinkHandler,
    Statement, Table, Target,
};
use named::Named;
use refused::refused;

/// Writes messages into PostgreSQL.
pub(crate) struct Postgres {
    config: PostgresConfig,
    pool: PgPool,
    target: Target,
    binding: Binding,
    inbox: Option<Inbox>,
    budget: Option<Budget>,
}

impl Postgres {
    /// Connects, and finds out whether what is to be written can be.
    ///
    /// # Errors
    /// What does not fit, at its line; or that the server cannot be reached.
    pub(crate) async fn prepare(
        config: &PostgresConfig,
        settings: &Settings,
    ) -> Result<Self, CliError> {
        let refused =
            |key: &'static str| move |error: SetupError| refused(&config.lines, key, error);
        let mut options = config.pool.clone();
        // More would never be used, and be missed by others who share a budget.
        options.connections = options.connections.min(bounds(settings).1);
        let pool = PgPool::connect(options).await.map_err(refused("url"))?;
        let (target, binding): (Target, Binding) = match &config.writes {
            Writes::Row { options, values } => {
                let table = Table::open(&pool, options.clone()).await.map_err(refused("table"))?;
                let kinds = table.columns().map(|(_, sql_type)| Kind::of(sql_type)).collect();
                (table.into(), Binding { params: values.clone(), kinds })
            }
            Writes::Statement { text, params } => {
                let at = |key: &str, why: String| {
                    config.lines.error(&format!("handler.postgres.{key}"), why)
                };
                let Named { sql, names } = Named::read(text).map_err(|why| at("statement", why))?;
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let params = in_order(&names, params).map_err(|(key, why)| at(&key, why))?;
                let statement = Statement::open(&pool, sql, names.len());
                let statement = statement.await.map_err(refused("statement"))?;
                let kinds = match statement.types() {
                    Some(types) => types.iter().map(|sql_type| Kind::of(sql_type)).collect(),
                    None => vec![Kind::Unknown; names.len()],
                };
                (statement.into(), Binding { params, kinds })
            }
        };
        Ok(Self { config: config.clone(), pool, target, binding, inbox: None, budget: None })
    }

    /// What more `check` has to say, a line each: it has looked, and changed nothing. Without the
    /// source's capabilities, its identities are not asked for.
    ///
    /// # Errors
    /// What `start` would refuse.
    pub(crate) async fn look(
        &self,
        settings: &Settings,
        source: Option<&Capabilities>,
    ) -> Result<Vec<String>, CliError> {
        let refused = |error| refused(&self.config.lines, "inbox", error);
        let mut lines = vec![
            format!(
                "connected to {}; up to {} connections",
                self.pool.address(),
                self.pool.ceiling()
            ),
            self.values(),
        ];
        let options = self.inbox_options(settings);
        let tables = match &options {
            Some(options) => Inbox::look(&self.pool, source, options).await.map_err(refused)?,
            None if self.config.budget.is_some() => {
                self.pool.own_tables().await.map_err(refused)?
            }
            None => OwnTables::There,
        };
        lines.push(match options {
            Some(options) => format!("inbox `{}`, {}", options.consumer, age(options.retention)),
            None => "no inbox: a message that comes again is written again".to_owned(),
        });
        if tables == OwnTables::ToBeMade {
            let schema = self.pool.schema();
            lines.push(format!("the first run makes Forebay's tables in {schema}"));
        }
        if let Some(budget) = &self.config.budget {
            lines.push(format!("budget `{}`: {} connections for all", budget.name, budget.total));
        }
        Ok(lines)
    }

    /// What is written where, with the types that the server has for it.
    fn values(&self) -> String {
        let params = self.binding.params.iter().map(Param::to_string);
        let parts: Vec<String> = match &self.target {
            Target::Table(table) => table
                .columns()
                .zip(params)
                .map(|((name, sql_type), param)| format!("{name} {sql_type} from {param}"))
                .collect(),
            Target::Statement(statement) => match statement.types() {
                Some(types) => types
                    .iter()
                    .zip(params)
                    .map(|(of, param)| format!("{of} from {param}"))
                    .collect(),
                None => {
                    vec!["the server describes no such statement: it is not checked".to_owned()]
                }
            },
            _ => params.collect(),
        };
        if parts.is_empty() { "nothing of the message".to_owned() } else { parts.join(", ") }
    }

    fn inbox_options(&self, settings: &Settings) -> Option<InboxOptions> {
        let inbox = self.config.inbox.as_ref()?;
        let consumer = inbox.consumer.clone().unwrap_or_else(|| settings.name().to_owned());
        let mut options = InboxOptions::new(consumer).retry(settings.retry);
        options.retention = inbox.retention.unwrap_or(options.retention);
        options.redrive = inbox.redrive.unwrap_or(options.redrive);
        Some(options)
    }

    /// Opens the inbox, and asks for a share of the budget. `source` is what the queue's source can do.
    ///
    /// # Errors
    /// A source without stable identity, a retention that is too short, and what the server said.
    pub(crate) async fn start(
        &mut self,
        settings: &Settings,
        source: &Capabilities,
    ) -> Result<(), CliError> {
        let refused = |key: &'static str| {
            let lines = &self.config.lines;
            move |error: SetupError| refused(lines, key, error)
        };
        if let Some(options) = self.inbox_options(settings) {
            let inbox = Inbox::open(&self.pool, source, options).await.map_err(refused("inbox"))?;
            self.inbox = Some(inbox);
        }
        if let Some(budget) = &self.config.budget {
            let joined = Budget::join(&self.pool, &budget.name, budget.total, budget.options).await;
            self.budget = Some(joined.map_err(refused("budget"))?);
        }
        Ok(())
    }

    /// Keeps the gate at or below what there are connections for.
    pub(crate) fn bound(&self, gate: &Gate, settings: &Settings) {
        let (least, most) = bounds(settings);
        self.pool.bound_within(gate, least..=most);
    }

    /// What writes: one sink, which counts.
    pub(crate) fn sink(&self) -> BatchSink {
        BatchSink::new(&self.pool, self.target.clone(), self.inbox.clone())
    }

    /// The handler of batches that writes into a sink.
    pub(crate) fn handler(
        &self,
        sink: &BatchSink,
    ) -> SinkHandler<impl Fn(&Job<Bytes>) -> Result<Row, Failure> + Send + Sync + 'static + use<>>
    {
        let binding = self.binding.clone();
        sink.handler(move |job: &Job<Bytes>| {
            binding.row(job).map_err(|finding| Failure::permanent(finding.text))
        })
    }

    /// Pauses the worker for as long as this process has no share in the budget.
    pub(crate) fn watch(&self, control: &Control) {
        if self.budget.is_some() {
            self.pool.pause_when_empty(control);
        }
    }

    /// Says what was written, and gives the share back.
    pub(crate) async fn close(self, sink: BatchSink) {
        let (counts, seen) = (sink.counts(), self.inbox.as_ref().map(Inbox::counts));
        tracing::info!(
            written = counts.written,
            refused = counts.refused,
            duplicates = seen.map_or(0, |seen| seen.duplicates),
            "wrote to PostgreSQL"
        );
        if let Some(budget) = self.budget
            && let Err(error) = budget.leave().await
        {
            tracing::warn!("the share of the budget comes back when its lease ends: {error}");
        }
    }
}

/// Between what numbers of calls the worker's own limit is.
fn bounds(settings: &Settings) -> (u32, u32) {
    match settings.worker.concurrency {
        Concurrency::Fixed(limit) => (1, limit),
        Concurrency::Adaptive { min, max } => (min, max),
    }
}
