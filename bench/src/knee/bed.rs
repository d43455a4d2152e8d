//! The server, its tables, and the count at the end.
//!
//! Each message adds to one account and writes one row, in one transaction with the inbox's mark. No
//! index keeps `effects` unique: a row that was written twice is there twice.

use super::Fault;
use forebay_conformance::Cluster;
use tokio_postgres::{Client, NoTls};

/// How many accounts there are: so many that finding one without an index takes tens of milliseconds, and
/// a hundred a second are more than two fast processors can do.
pub const ACCOUNTS: u32 = 500_000;
/// Names the account's index, which a slow plan goes without.
pub const INDEX: &str = "CREATE INDEX accounts_id ON accounts (id)";

/// A PostgreSQL server of the run's own, which may be put into trouble.
#[derive(Debug)]
pub struct Bed {
    cluster: Cluster,
    admin: Client,
}

/// What is in the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Rows written, one for each time that a message had its effect.
    pub rows: i64,
    /// Messages that had theirs.
    pub messages: i64,
    /// By how much the accounts have grown together.
    pub booked: i64,
}

impl Bed {
    /// Starts a server, with tables for the work and with these settings beside its own.
    ///
    /// # Errors
    /// When the server refuses its tables.
    pub async fn start(settings: &[&str]) -> Result<Self, Fault> {
        let own = [
            "max_connections = 100",
            "shared_buffers = 128MB",
            "autovacuum_naptime = 5s",
            "max_parallel_workers_per_gather = 0",
        ];
        let cluster = Cluster::start(&[&own, settings].concat());
        cluster.up();
        let admin = connect(&cluster.url()).await?;
        let tables = format!(
            "CREATE TABLE accounts (id int NOT NULL, balance bigint NOT NULL) WITH (fillfactor = 50);
             INSERT INTO accounts SELECT id, 0 FROM generate_series(0, {ACCOUNTS} - 1) AS id;
             CREATE TABLE effects (message text NOT NULL);
             {INDEX};"
        );
        admin.batch_execute(&tables).await?;
        admin.batch_execute("VACUUM ANALYZE accounts").await?;
        Ok(Self { cluster, admin })
    }

    /// Where the server is.
    #[must_use]
    pub fn url(&self) -> String {
        self.cluster.url()
    }

    /// A connection beside the worker's.
    ///
    /// # Errors
    /// When the server takes none.
    pub async fn client(&self) -> Result<Client, Fault> {
        connect(&self.url()).await
    }

    /// The server's processes at this moment.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        self.cluster.processes()
    }

    /// Counts what the work has written.
    ///
    /// # Errors
    /// What the server says.
    pub async fn count(&self) -> Result<Count, Fault> {
        let sql = "SELECT count(*), count(DISTINCT message),
                          (SELECT sum(balance)::bigint FROM accounts) FROM effects";
        let row = self.admin.query_one(sql, &[]).await?;
        Ok(Count { rows: row.get(0), messages: row.get(1), booked: row.get(2) })
    }
}

async fn connect(url: &str) -> Result<Client, Fault> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
