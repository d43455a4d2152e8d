//! The database under test: one of its own on the server, with a table such as production has.
//!
//! The payload's id has an index, and not a unique one: a row that is written twice must show.

use crate::{Fault, plan::Order};
use forebay_postgres::{Row, types::Type};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio_postgres::{Client, Config, NoTls};

/// What a lane writes of an order, in this order.
pub(crate) const COLUMNS: [&str; 4] = ["payload_id", "customer", "amount", "note"];
/// The statement of every lane that writes one row at a time.
pub(crate) const INSERT: &str =
    "INSERT INTO orders (payload_id, customer, amount, note) VALUES ($1, $2, $3, $4)";
/// The types of its parameters.
pub(crate) const TYPES: [Type; 4] = [Type::INT8, Type::INT4, Type::INT4, Type::TEXT];

/// How long the server may take to be rid of a lane's connections.
const GOODBYE: Duration = Duration::from_secs(300);

const TABLE: &str = "
    CREATE TABLE orders (
        order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        payload_id bigint NOT NULL,
        customer integer NOT NULL,
        placed_at timestamptz NOT NULL DEFAULT now(),
        status text NOT NULL DEFAULT 'placed',
        amount integer NOT NULL CHECK (amount > 0),
        note text NOT NULL
    );
    CREATE INDEX ON orders (payload_id);
    CREATE INDEX ON orders (customer, placed_at);
    CREATE INDEX ON orders (status, placed_at);
";

/// The database, and a connection for looking after it.
pub(crate) struct Database {
    pub(crate) url: String,
    server: String,
    name: String,
    client: Client,
}

/// What the table holds after a run.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Rows {
    pub(crate) rows: u64,
    pub(crate) distinct: u64,
}

/// A connection, run in a task of its own.
pub(crate) async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Whoever uses the client gets the error.
    tokio::spawn(connection);
    Ok(client)
}

impl Database {
    /// Makes it, under a name of this process's own.
    pub(crate) async fn make(server: &str) -> Result<Self, Fault> {
        let name = format!("forebay_smoothing_{}", std::process::id());
        let url = on_server(server, &name)?;
        let admin = connect(server).await.map_err(|error| {
            format!("no PostgreSQL at {server}: run `scripts/brokers up postgres` ({error})")
        })?;
        // What an earlier process of this number may have left behind.
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        let client = connect(&url).await?;
        client.batch_execute(TABLE).await?;
        Ok(Self { url, server: server.to_owned(), name, client })
    }

    /// Empties what lanes write, and gets the server's own work out of the way.
    pub(crate) async fn reset(&self) -> Result<(), Fault> {
        self.client.batch_execute("TRUNCATE orders RESTART IDENTITY").await?;
        if self.number("SELECT count(*) FROM pg_class WHERE relname = 'forebay_inbox'").await? > 0 {
            self.client.batch_execute("TRUNCATE forebay_inbox").await?;
        }
        if self.number("SELECT count(*) FROM pg_class WHERE relname = 'pgbench_tellers'").await? > 0
        {
            self.client.batch_execute("VACUUM pgbench_branches").await?;
            self.client.batch_execute("VACUUM pgbench_tellers").await?;
        }
        self.client.batch_execute("CHECKPOINT").await?;
        Ok(())
    }

    /// What the lane has written, once nobody else is connected: what clients have given up may still
    /// be on its way.
    pub(crate) async fn rows(&self) -> Result<Rows, Fault> {
        let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                      AND backend_type = 'client backend' AND pid <> pg_backend_pid()";
        let began = Instant::now();
        while self.number(others).await? > 0 {
            if began.elapsed() > GOODBYE {
                return Err(format!(
                    "others are still connected to {} after {GOODBYE:?}",
                    self.name
                )
                .into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let sql = "SELECT count(*), count(DISTINCT payload_id) FROM orders";
        let row = self.client.query_one(sql, &[]).await?;
        let (rows, distinct): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Rows { rows: rows.unsigned_abs(), distinct: distinct.unsigned_abs() })
    }

    /// The server's own words about itself.
    pub(crate) async fn setting(&self, name: &str) -> Result<String, Fault> {
        let row = self.client.query_one("SELECT current_setting($1)", &[&name]).await?;
        Ok(row.try_get(0)?)
    }

    /// Takes it away.
    pub(crate) async fn remove(self) -> Result<(), Fault> {
        drop(self.client);
        let admin = connect(&self.server).await?;
        let name = self.name;
        admin.batch_execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")).await?;
        Ok(())
    }

    async fn number(&self, sql: &str) -> Result<u64, Fault> {
        let count: i64 = self.client.query_one(sql, &[]).await?.try_get(0)?;
        Ok(count.unsigned_abs())
    }
}

/// The same server, with our database in place of another.
fn on_server(url: &str, name: &str) -> Result<String, Fault> {
    let _: Config = url.parse()?;
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let start = base.find("://").map_or(0, |at| at + 3);
    let end = base[start..].find('/').map_or(base.len(), |at| start + at);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    Ok(format!("{}/{name}{query}", &base[..end]))
}

/// An order as the batch sink writes it.
pub(crate) fn row(order: &Order) -> Row {
    vec![
        order.id.into(),
        i64::from(order.customer).into(),
        i64::from(order.amount).into(),
        order.note.as_str().into(),
    ]
}

/// What an error is called where errors are counted: the server's code and words, or the driver's.
pub(crate) fn name_of(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(db) => format!("{} ({})", db.message(), db.code().code()),
        None => error.to_string(),
    }
}

/// Whether the server refused the row itself (SQLSTATE class 23), as it does with poison.
pub(crate) fn is_refusal(error: &tokio_postgres::Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("23"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_put_in_the_place_of_the_other() {
        let of = |url| on_server(url, "forebay_smoothing").unwrap();
        assert_eq!(of("postgres://me@db:5432/app"), "postgres://me@db:5432/forebay_smoothing");
        assert_eq!(of("postgres://me@db"), "postgres://me@db/forebay_smoothing");
        let with = of("postgres://me@db/app?sslmode=disable");
        assert_eq!(with, "postgres://me@db/forebay_smoothing?sslmode=disable");
    }
}
