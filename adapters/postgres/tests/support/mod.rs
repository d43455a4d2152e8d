//! What the tests share: a schema of each test's own on the real server.

#![allow(dead_code, reason = "each test file uses some of it")]

use forebay::{Capabilities, Failure, Source, testing::MemoryQueue};
use forebay_conformance::proxy::FaultProxy;
use forebay_postgres::{Inbox, InboxOptions, PgPool, PoolOptions};
use std::{
    env,
    future::Future,
    net::{SocketAddr, ToSocketAddrs},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};
use tokio_postgres::{Client, Config, NoTls, config::Host};

/// Where PostgreSQL is.
pub(crate) fn server() -> String {
    env::var("FOREBAY_TEST_POSTGRES")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:25432/postgres".into())
}

/// Where PgBouncer is, in transaction mode.
pub(crate) fn pgbouncer() -> String {
    env::var("FOREBAY_TEST_PGBOUNCER")
        .unwrap_or_else(|_| "postgres://postgres@127.0.0.1:26432/postgres".into())
}

/// The server's address, for a proxy to be put before it.
pub(crate) fn server_address() -> SocketAddr {
    let config: Config = server().parse().unwrap();
    let Some(Host::Tcp(host)) = config.get_hosts().first() else {
        panic!("no host in {}", server())
    };
    let port = config.get_ports().first().copied().unwrap_or(5432);
    (host.as_str(), port).to_socket_addrs().unwrap().next().unwrap()
}

/// The server, through a proxy.
pub(crate) fn server_through(proxy: &FaultProxy) -> String {
    let direct = server_address().to_string();
    let url = server().replacen("localhost", "127.0.0.1", 1);
    assert!(url.contains(&direct), "{url} names {direct} in another way");
    url.replacen(&direct, &proxy.address().to_string(), 1)
}

/// A connection without a pool.
pub(crate) async fn client(url: &str) -> Client {
    match tokio_postgres::connect(url, NoTls).await {
        Ok((client, connection)) => {
            tokio::spawn(connection);
            client
        }
        Err(error) => {
            panic!("no PostgreSQL at {url}: run `scripts/brokers up postgres pgbouncer` ({error})")
        }
    }
}

/// A schema of a test's own, gone with it.
pub(crate) struct Place {
    pub(crate) schema: String,
    pub(crate) client: Client,
}

impl Place {
    pub(crate) async fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let random = fastrand::u32(..);
        let schema = format!("forebay_{}_{number}_{random:08x}", std::process::id());
        let client = client(&server()).await;
        client
            .batch_execute(&format!("CREATE SCHEMA {schema}; SET search_path TO {schema}"))
            .await
            .unwrap();
        Self { schema, client }
    }

    pub(crate) fn options(&self) -> PoolOptions {
        self.options_at(&server())
    }

    pub(crate) fn options_at(&self, url: &str) -> PoolOptions {
        PoolOptions::new(url).schema(&self.schema).connections(8)
    }

    pub(crate) async fn pool(&self) -> PgPool {
        PgPool::connect(self.options()).await.unwrap()
    }

    /// A table's full name.
    pub(crate) fn table(&self, name: &str) -> String {
        format!("{}.{name}", self.schema)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    /// The one number that a query returns.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let row = self.client.query_one(&format!("SELECT ({sql})::bigint"), &[]).await.unwrap();
        row.get(0)
    }

    /// The one text that a query returns.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let row = self.client.query_one(&format!("SELECT ({sql})::text"), &[]).await.unwrap();
        row.get(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let sql = format!("DROP SCHEMA {} CASCADE", self.schema);
        // A test's runtime may be ending: this has one of its own.
        let dropped = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let client = client(&server()).await;
                let _ =
                    tokio::time::timeout(Duration::from_secs(5), client.batch_execute(&sql)).await;
            });
        });
        let _ = dropped.join();
    }
}

/// What a source can do that keeps identities.
pub(crate) fn stable() -> Capabilities {
    MemoryQueue::new().source().capabilities().clone()
}

pub(crate) async fn inbox(pool: &PgPool) -> Inbox {
    Inbox::open(pool, &stable(), InboxOptions::new("test")).await.unwrap()
}

/// Waits until something holds.
#[track_caller]
pub(crate) fn eventually<F, Fut>(
    what: &str,
    within: Duration,
    mut holds: F,
) -> impl Future<Output = ()>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    let what = what.to_owned();
    async move {
        let start = Instant::now();
        while !holds().await {
            assert!(start.elapsed() < within, "not within {within:?}: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) fn is_transient(failure: &Failure) -> bool {
    matches!(failure, Failure::Transient { .. })
}

pub(crate) fn is_permanent(failure: &Failure) -> bool {
    matches!(failure, Failure::Permanent(_))
}

pub(crate) fn is_throttled(failure: &Failure) -> bool {
    matches!(failure, Failure::Throttled { .. })
}
