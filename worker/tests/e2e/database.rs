//! A schema of a test's own on the real PostgreSQL.
//!
//! Where it is, is said by the variables that `scripts/brokers env` prints; the defaults are what it
//! prints by default.

use crate::{bench::Bench, brokers_at::fresh};
use forebay_conformance::proxy::FaultProxy;
use std::{
    env,
    net::{SocketAddr, ToSocketAddrs},
};
use tokio::runtime::{self, Runtime};
use tokio_postgres::{Client, Config, NoTls, config::Host};

/// Where PostgreSQL is.
pub(crate) fn server() -> String {
    env::var("FOREBAY_TEST_POSTGRES")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:25432/forebay".into())
}

/// Where PgBouncer is, in transaction mode.
pub(crate) fn pgbouncer() -> String {
    env::var("FOREBAY_TEST_PGBOUNCER")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:26432/forebay".into())
}

/// A schema with a connection to it. Gone when the test ends.
pub(crate) struct Database {
    pub(crate) schema: String,
    client: Client,
    runtime: Runtime,
}

impl Database {
    pub(crate) fn new() -> Self {
        let runtime =
            runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let client = runtime.block_on(async {
            match tokio_postgres::connect(&server(), NoTls).await {
                Ok((client, connection)) => {
                    tokio::spawn(connection);
                    client
                }
                Err(error) => panic!(
                    "no PostgreSQL at {}: run `scripts/brokers up postgres pgbouncer` ({error})",
                    server()
                ),
            }
        });
        let schema = fresh("pg").replace('-', "_");
        let database = Self { schema, client, runtime };
        let schema = &database.schema;
        database.run(&format!("CREATE SCHEMA {schema}; SET search_path TO {schema}"));
        database
    }

    /// A table's whole name.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema)
    }

    pub(crate) fn run(&self, sql: &str) {
        self.runtime.block_on(self.client.batch_execute(sql)).unwrap();
    }

    /// The one number that a query returns.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        let sql = format!("SELECT ({sql})::bigint");
        self.runtime.block_on(self.client.query_one(&sql, &[])).unwrap().get(0)
    }

    /// The one text that a query returns.
    pub(crate) fn text(&self, sql: &str) -> String {
        let sql = format!("SELECT ({sql})::text");
        self.runtime.block_on(self.client.query_one(&sql, &[])).unwrap().get(0)
    }

    /// How many rows a table has, and how many different ones by this column.
    pub(crate) fn rows(&self, table: &str, by: &str) -> (i64, i64) {
        let count = |what: &str| self.number(&format!("SELECT count({what}) FROM {table}"));
        (count("*"), count(&format!("DISTINCT {by}")))
    }

    /// The handler's table, up to what it writes: connected here, with Forebay's tables in the schema.
    pub(crate) fn handler(&self) -> String {
        self.handler_at(&server())
    }

    /// As [`Database::handler`], connected elsewhere.
    pub(crate) fn handler_at(&self, url: &str) -> String {
        format!("[handler.postgres]\nurl = '{url}'\nschema = '{}'\n", self.schema)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let sql = format!("DROP SCHEMA {} CASCADE", self.schema);
        // The test has passed or failed by now.
        let _ = self.runtime.block_on(self.client.batch_execute(&sql));
    }
}

/// A proxy in front of the server, and the server's url through it.
pub(crate) fn through_a_proxy() -> (FaultProxy, String) {
    let config: Config = server().parse().unwrap();
    let Some(Host::Tcp(host)) = config.get_hosts().first() else {
        panic!("no host in {}", server())
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let direct: SocketAddr = (host.as_str(), port).to_socket_addrs().unwrap().next().unwrap();
    let proxy = FaultProxy::start(direct).unwrap();
    let url = server().replacen(&format!("{host}:{port}"), &proxy.address().to_string(), 1);
    assert!(url.contains(&proxy.address().to_string()), "{} names {direct} otherwise", server());
    (proxy, url)
}

/// Sends these payloads, a line each.
pub(crate) fn send_lines(bench: &Bench, lines: &str) {
    bench.forebay_with(&["send", "--config", "w.toml", "--raw", "-"], lines).ok();
}
