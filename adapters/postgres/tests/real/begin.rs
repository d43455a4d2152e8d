//! `BEGIN` fails by itself, and the connection lives: what is sent together with it must not be taken
//! for what it would be in a transaction.

use crate::support::{Place, inbox, is_transient, server, server_address};
use forebay::MessageId;
use forebay_postgres::{
    BatchSink, Inbox, Method, Outcome, PgPool, Table, TableOptions, Transaction, types::Type,
};
use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy},
    net::{TcpListener, TcpStream},
};

/// A way to the server on which the next `BEGIN` is spoilt, if it is told so.
struct Spoiler {
    address: SocketAddr,
    is_armed: Arc<AtomicBool>,
}

impl Spoiler {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, is_armed) =
            (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let armed = is_armed.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(server_address()).await.unwrap();
                tokio::spawn(pass(client, server, armed.clone()));
            }
        });
        Self { address, is_armed }
    }

    async fn pool(&self, place: &Place) -> PgPool {
        let url = server().replacen(&server_address().to_string(), &self.address.to_string(), 1);
        assert!(url.contains(&self.address.to_string()), "{url} names the server in another way");
        let join = if url.contains('?') { '&' } else { '?' };
        let url = format!("{url}{join}sslmode=disable");
        PgPool::connect(place.options_at(&url)).await.unwrap()
    }

    fn arm(&self) {
        self.is_armed.store(true, Ordering::Relaxed);
    }

    fn has_struck(&self) -> bool {
        !self.is_armed.load(Ordering::Relaxed)
    }
}

async fn pass(client: TcpStream, server: TcpStream, is_armed: Arc<AtomicBool>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::spawn(async move { copy(&mut from_server, &mut to_client).await });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from_client.read(&mut buffer).await {
        let bytes = &mut buffer[..length];
        let begin = bytes.windows(6).position(|window| window == b"BEGIN;");
        if let Some(at) = begin
            && is_armed.swap(false, Ordering::Relaxed)
        {
            // What follows is a comment then.
            let fails = b"DO $$BEGIN RAISE SQLSTATE '40001'; END$$; --";
            bytes[at..at + fails.len()].copy_from_slice(fails);
        }
        to_server.write_all(bytes).await.unwrap();
    }
}

async fn place() -> Place {
    let place = Place::new().await;
    place.run("CREATE TABLE log (id text NOT NULL)").await;
    place
}

/// A place, and an inbox there on a way that may be spoilt.
async fn spoilt() -> (Place, Spoiler, Inbox) {
    let (place, spoiler) = (place().await, Spoiler::new().await);
    let inbox = inbox(&spoiler.pool(&place).await).await;
    (place, spoiler, inbox)
}

#[tokio::test]
async fn a_mark_is_not_made_without_its_transaction() {
    let (place, spoiler, inbox) = spoilt().await;
    let (id, sql) =
        (MessageId::from("a"), format!("INSERT INTO {} VALUES ('a')", place.table("log")));
    let work =
        async || inbox.run_as(&id, async |tx: &Transaction| tx.execute(&sql, &[]).await).await;
    spoiler.arm();
    assert!(is_transient(&work().await.unwrap_err()) && spoiler.has_struck());
    assert_eq!(place.number("SELECT count(*) FROM forebay_inbox").await, 0);
    assert_eq!(work().await.unwrap(), Outcome::Done(1), "the next attempt does it");
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
}

#[tokio::test]
async fn a_statement_that_ran_without_its_transaction_is_marked_all_the_same() {
    let (place, spoiler, inbox) = spoilt().await;
    let (id, sql) =
        (MessageId::from("a"), format!("INSERT INTO {} VALUES ($1)", place.table("log")));
    let work = async || inbox.execute_as(&id, &sql, &[(&"a", Type::TEXT)]).await.unwrap();
    spoiler.arm();
    assert_eq!(work().await, Outcome::Done(1));
    assert!(spoiler.has_struck());
    assert_eq!(work().await, Outcome::Duplicate);
    assert_eq!(place.number("SELECT count(*) FROM log").await, 1);
}

#[tokio::test]
async fn a_batch_is_written_and_marked_together_or_not_at_all() {
    for method in [Method::Insert, Method::Copy] {
        let (place, spoiler) = (place().await, Spoiler::new().await);
        let pool = spoiler.pool(&place).await;
        let options = TableOptions::new(place.table("log"), ["id"]).method(method);
        let table = Table::open(&pool, options).await.unwrap();
        let sink = BatchSink::new(&pool, table, inbox(&pool).await);
        let batch = || (0..10_u64).map(|n| (MessageId::from(n), vec!["x".into()])).collect();
        spoiler.arm();
        assert!(sink.write(batch()).await.iter().all(Result::is_err), "{method:?}");
        assert!(spoiler.has_struck());
        for table in ["log", "forebay_inbox"] {
            let rows = place.number(&format!("SELECT count(*) FROM {table}")).await;
            assert_eq!(rows, 0, "{table}, {method:?}");
        }
        assert!(sink.write(batch()).await.iter().all(Result::is_ok), "{method:?}");
        assert_eq!(place.number("SELECT count(*) FROM log").await, 10, "{method:?}");
    }
}
