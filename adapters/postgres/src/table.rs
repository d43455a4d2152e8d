//! A table to write batches into, as the server's catalog describes it: opened once, at start, where
//! a wrong name or a missing right is found before the first message.

use crate::{
    DatabaseError, PgPool, Row, SetupError, Transaction,
    name::list,
    statement::{self, Column},
    target::Way,
    write,
};
use bytes::Bytes;
use std::pin::pin;
use tokio_postgres::{Client, types::Type};

/// What happens to a row that is there already.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It is refused, and its message becomes a dead letter. The right one with an inbox, where a
    /// message that comes again never gets this far.
    #[default]
    Fail,
    /// It is left as it is, and the message counts as done.
    Skip,
    /// The columns `set` are overwritten with the new row's.
    Update {
        /// The columns of the unique index that tells rows apart.
        key: Vec<String>,
        /// The columns to overwrite.
        set: Vec<String>,
    },
}

/// By what statement a batch is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Method {
    /// `INSERT`, one for the whole batch.
    #[default]
    Insert,
    /// `COPY`: less work for the server, and bad rows are found sooner; two round trips more. It
    /// knows no `ON CONFLICT`.
    Copy,
}

/// Which table, and how it is written.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// Its name, as in SQL: `orders`, `sales.orders`, `"Orders"`.
    pub table: String,
    /// The columns that rows have, in their order. Others take their defaults.
    pub columns: Vec<String>,
    /// What happens to a row that is there already; default: it is refused.
    pub conflict: Conflict,
    /// By what statement; default: `INSERT`.
    pub method: Method,
}

impl TableOptions {
    /// The defaults, for these columns of this table.
    pub fn new<C: Into<String>>(
        table: impl Into<String>,
        columns: impl IntoIterator<Item = C>,
    ) -> Self {
        Self {
            table: table.into(),
            columns: columns.into_iter().map(Into::into).collect(),
            conflict: Conflict::Fail,
            method: Method::Insert,
        }
    }

    /// With another fate of rows that are there already.
    #[must_use]
    pub fn conflict(mut self, conflict: Conflict) -> Self {
        self.conflict = conflict;
        self
    }

    /// By another statement.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn check(&self) -> Result<(), SetupError> {
        let invalid = |setting, value: &str, allowed: &str| {
            Err(SetupError::invalid(setting, format!("`{value}`"), allowed))
        };
        if self.columns.is_empty() {
            return invalid("columns", "", "name at least one");
        }
        for (index, name) in self.columns.iter().enumerate() {
            if self.columns[..index].contains(name) {
                return invalid("columns", name, "each may be named once");
            }
        }
        match &self.conflict {
            Conflict::Fail => Ok(()),
            _ if self.method == Method::Copy => {
                let way = "COPY knows no ON CONFLICT: take INSERT, or let conflicts fail (an inbox keeps repeated messages out)";
                invalid("method", "copy", way)
            }
            Conflict::Skip => Ok(()),
            Conflict::Update { key, set } => {
                if key.is_empty() || set.is_empty() {
                    return invalid("conflict", "update", "name the key, and what to set");
                }
                for name in key.iter().chain(set) {
                    if !self.columns.contains(name) {
                        return invalid("conflict", name, "it must be one of `columns`");
                    }
                }
                Ok(())
            }
        }
    }
}

/// A table that is open for writing.
#[derive(Clone, Debug)]
pub struct Table {
    name: String,
    columns: Vec<Column>,
    pub(crate) insert: String,
    pub(crate) copy: Option<String>,
    /// Some constraint waits for the commit by default: it is asked for at once, so that a row that
    /// breaks it can be told from its neighbours.
    pub(crate) deferred: bool,
}

impl Table {
    /// Looks the table up, and tries its statement without writing: wrong names, missing rights, a
    /// conflict key without a unique index and a view that takes no COPY are found now.
    ///
    /// # Errors
    /// [`SetupError::Invalid`] names the setting; [`SetupError::Server`] is what the server said.
    pub async fn open(pool: &PgPool, options: TableOptions) -> Result<Self, SetupError> {
        options.check()?;
        let client = pool.inner().tls.connect(&pool.inner().config).await?;
        let (name, deferred) = lookup(&client, &options.table).await?;
        let columns = columns(&client, &options).await?;
        let insert = statement::insert(&name, &columns, &options.conflict);
        let copy = (options.method == Method::Copy).then(|| statement::copy(&name, &columns));
        let table = Self { name, columns, insert, copy, deferred };
        table.try_out(&client).await?;
        Ok(table)
    }

    /// Its name, qualified and quoted.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many values a row must have.
    #[must_use]
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Its columns that are written, in order: names, and the types' names in SQL.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &str)> {
        self.columns.iter().map(|column| (&*column.name, &*column.sql_type))
    }

    /// Writes rows in a transaction, each of which must have [`Table::width`] values. Result `i` says
    /// what the server had against row `i`; the others are written. Costs one statement, and for each
    /// bad row about twice the logarithm of the batch's size more (with COPY: two).
    ///
    /// # Errors
    /// When it was not the rows' fault: the transaction is to be rolled back.
    pub async fn write(
        &self,
        transaction: &Transaction,
        rows: &[Row],
    ) -> Result<Vec<Option<DatabaseError>>, DatabaseError> {
        let rows: Vec<&Row> = rows.iter().collect();
        Ok(write::isolating(Way::Table(self), transaction, &rows).await?.refused)
    }

    /// Has the server do all but write: plan the INSERT, or take a COPY of no rows and undo it.
    async fn try_out(&self, client: &Client) -> Result<(), SetupError> {
        let none: Vec<&str> = Vec::new();
        let parameters: Vec<_> =
            self.columns.iter().map(|_| (&none as _, Type::TEXT_ARRAY)).collect();
        let doing = format!("trying to write into {}", self.name);
        let plan = format!("EXPLAIN {}", self.insert);
        client.query_typed(&plan, &parameters).await.map_err(SetupError::server(&doing))?;
        if let Some(copy) = &self.copy {
            // Views and row-level security, for two, take an INSERT and no COPY.
            let copied = async {
                client.batch_execute("BEGIN").await?;
                let sink = pin!(client.copy_in::<_, Bytes>(copy.as_str()).await?);
                sink.finish().await?;
                client.batch_execute("ROLLBACK").await
            };
            copied.await.map_err(SetupError::server(&doing))?;
        }
        Ok(())
    }
}

/// The table's full name, and whether it has deferred constraints.
async fn lookup(client: &Client, table: &str) -> Result<(String, bool), SetupError> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname), EXISTS (
            SELECT FROM pg_constraint WHERE conrelid = c.oid AND condeferred)
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE c.oid = to_regclass($1) AND c.relkind IN ('r', 'p', 'v', 'f')";
    let row = client
        .query_typed_opt(sql, &[(&table, Type::TEXT)])
        .await
        .map_err(SetupError::server("looking up the table"))?;
    let Some(row) = row else {
        let way = "the database has no such table, or its schema is not in the search_path: write schema.table";
        return Err(SetupError::invalid("table", format!("`{table}`"), way));
    };
    Ok((row.get(0), row.get(1)))
}

/// The columns that were asked for, with their types.
async fn columns(client: &Client, options: &TableOptions) -> Result<Vec<Column>, SetupError> {
    let sql =
        "SELECT attname::text, format_type(atttypid, -1), attgenerated <> '' OR attidentity = 'a'
        FROM pg_attribute
        WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped ORDER BY attnum";
    let rows = client
        .query_typed(sql, &[(&options.table, Type::TEXT)])
        .await
        .map_err(SetupError::server("looking up the columns"))?;
    let found: Vec<(String, String, bool)> =
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect();
    let mut columns = Vec::with_capacity(options.columns.len());
    for wanted in &options.columns {
        match found.iter().find(|(name, ..)| name == wanted) {
            Some((_, _, true)) => {
                let way = "the server makes its values itself: leave it out";
                return Err(SetupError::invalid("columns", format!("`{wanted}`"), way));
            }
            Some((name, sql_type, false)) => {
                columns.push(Column { name: name.clone(), sql_type: sql_type.clone() });
            }
            None => {
                let there = list(found.iter().map(|(name, ..)| name.as_str()), str::to_owned);
                let way = format!("{} has the columns {there}", options.table);
                return Err(SetupError::invalid("columns", format!("`{wanted}`"), way));
            }
        }
    }
    Ok(columns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_refused_with_a_way_out() {
        let error = |options: TableOptions| options.check().unwrap_err().to_string();
        let options = || TableOptions::new("t", ["a", "b"]);
        assert!(error(TableOptions::new("t", ["a", "a"])).contains("`a`"));
        assert!(error(TableOptions::new("t", [""; 0])).contains("at least one"));
        let copy = options().method(Method::Copy).conflict(Conflict::Skip);
        assert!(error(copy).contains("ON CONFLICT"));
        let update = |key: &str, set: &str| Conflict::Update {
            key: vec![key.into()],
            set: vec![set.into()],
        };
        assert!(error(options().conflict(update("c", "b"))).contains("`c`"));
        assert!(options().conflict(update("a", "b")).check().is_ok());
        let nothing = Conflict::Update { key: vec!["a".into()], set: vec![] };
        assert!(error(options().conflict(nothing)).contains("what to set"));
    }
}
