//! Run with: cargo run -p forebay-examples --example burst_smoothing
//!
//! A burst into PostgreSQL: two thousand orders at once, each of them twice, as a producer does who is
//! not sure whether the first time went through. They wait in the queue; the database sees a steady
//! flow, on four connections, and each order once: the inbox writes a message's identity in the
//! transaction of its effect, and recognises what comes again.
//!
//! It wants a PostgreSQL at `FOREBAY_POSTGRES` (`postgres://postgres@127.0.0.1:5432/postgres` by
//! default), makes a schema of its own there, and drops it at the end. The queue is a file; on a broker
//! nothing but the source is another: `… --example burst_smoothing -- --source rabbitmq` (or `kafka`,
//! `sqs`).

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::policy::{Concurrency, TokenBucket};
use forebay::{Failure, Gate, Job, Outgoing, Sink, Source, Worker};
use forebay_examples::{connect, run_until_done};
use forebay_postgres::{Inbox, InboxOptions, PgPool, PoolOptions, Transaction, types::Type};
use std::{env, error::Error, process, time::Instant};

const ORDERS: i64 = 2000;
/// What this database is granted to bear, in orders per second.
const RATE: u32 = 1000;

#[derive(serde::Deserialize)]
struct Order {
    id: i64,
    cents: i64,
}

/// What all calls share.
#[derive(Clone)]
struct Books {
    inbox: Inbox,
    insert: String,
}

async fn book(job: Job<Order, Books>) -> Result<(), Failure> {
    let (Order { id, cents }, books) = (&job.payload, job.state());
    let work = async |tx: &Transaction| {
        tx.execute(&books.insert, &[(id, Type::INT8), (cents, Type::INT8)]).await
    };
    books.inbox.run(&job, work).await?; // done now, or done before: acknowledged either way
    Ok(())
}

/// Publishes each order twice, under the same identity.
async fn burst(sink: &impl Sink, run: &str) -> Result<(), Box<dyn Error>> {
    let order = |n: i64| {
        let payload = format!("{{\"id\": {n}, \"cents\": {}}}", 100 + n);
        Outgoing::new(payload).id(format!("{run}-{n}"))
    };
    let orders: Vec<_> = (0..ORDERS).chain(0..ORDERS).map(order).collect();
    for batch in orders.chunks(500) {
        for published in sink.publish(batch).await {
            published?;
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let queue = connect("burst").await?;
    let usual = "postgres://postgres@127.0.0.1:5432/postgres";
    let url = env::var("FOREBAY_POSTGRES").unwrap_or_else(|_| usual.to_owned());
    let run = format!("burst_smoothing_{}", process::id());
    let (database, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    database
        .batch_execute(&format!(
            "DROP SCHEMA IF EXISTS {run} CASCADE; CREATE SCHEMA {run}; CREATE TABLE {run}.orders \
             (id bigint, cents bigint, at timestamptz DEFAULT clock_timestamp())"
        ))
        .await?;

    let started = Instant::now();
    burst(&queue.sink, &run).await?;
    let sent = 2 * ORDERS;
    let rate = sent as f64 / started.elapsed().as_secs_f64();
    println!("published {ORDERS} orders, each twice: {rate:.0} messages per second");

    // Four connections, and no more handlers than that; so many starts per second, whatever waits.
    let pool = PgPool::connect(PoolOptions::new(&url).connections(4).schema(&run)).await?;
    let inbox = Inbox::open(&pool, queue.source.capabilities(), InboxOptions::new(&run)).await?;
    let pace = TokenBucket::new(f64::from(RATE), RATE / 20)?;
    let gate = Gate::with(Concurrency::fixed(64), Some(pace), None);
    pool.bound(&gate);
    let insert = format!("INSERT INTO {run}.orders (id, cents) VALUES ($1, $2)");
    let books = Books { inbox: inbox.clone(), insert };
    let worker = Worker::builder(queue.source).gate(gate).state(books).handler(book).build()?;
    let started = Instant::now();
    run_until_done(worker, sent as u64).await?;

    let counts = inbox.counts();
    let rate = sent as f64 / started.elapsed().as_secs_f64();
    println!("worked off at {rate:.0} messages per second, on {} connections", pool.held());
    println!("done {}, recognised as done before {}", counts.done, counts.duplicates);

    // The database has the last word.
    let sql = format!(
        "SELECT count(*), count(DISTINCT id), sum(cents)::bigint,
             (SELECT max(n) FROM (SELECT count(*) AS n FROM {run}.orders
                 GROUP BY date_bin('100 ms', at, 'epoch')) AS tenths)
         FROM {run}.orders"
    );
    let row = database.query_one(&sql, &[]).await?;
    let (rows, different, cents, most): (i64, i64, i64, i64) =
        (row.get(0), row.get(1), row.get(2), row.get(3));
    let expected: i64 = (0..ORDERS).map(|n| 100 + n).sum();
    println!("in the database: {rows} rows, {different} different, {cents} cents of {expected}");
    println!("in its busiest tenth of a second: {most} rows");
    drop((pool, inbox));
    database.batch_execute(&format!("DROP SCHEMA {run} CASCADE")).await?;
    if (rows, different, cents) != (ORDERS, ORDERS, expected) {
        return Err("the database has not what was sent".into());
    }
    Ok(())
}
