//! Run with: cargo run -p forebay-examples --example batches
//!
//! Batches into SQLite: up to 100 messages are written in one transaction. The message's id is the
//! row's key, so a message that comes twice is written once. One reading that the table refuses
//! makes its batch fail; the batch is halved until the culprit is alone, and only that one dies.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use forebay::{BatchOptions, BatchOutcome, DeadFilter, DeadLetters, Failure, Job};
use forebay::{Outgoing, Sink, Worker};
use forebay_embedded::SourceOptions;
use forebay_examples::{Folder, run_until_empty};
use rusqlite::{Connection, ErrorCode};
use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
};

/// The height of the water, in millimetres.
#[derive(serde::Deserialize)]
struct Reading {
    level: i64,
}

type Database = Arc<Mutex<Connection>>;

fn insert(database: &Database, jobs: &[Job<Reading, Database>]) -> rusqlite::Result<()> {
    let mut connection = database.lock().unwrap_or_else(PoisonError::into_inner);
    let transaction = connection.transaction()?;
    let sql = "INSERT INTO reading (id, level) VALUES (?1, ?2) ON CONFLICT (id) DO NOTHING";
    for job in jobs {
        let row = (job.id().to_string(), job.payload.level);
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    transaction.commit()
}

async fn store(jobs: Vec<Job<Reading, Database>>) -> BatchOutcome {
    let database = jobs[0].state().clone();
    let jobs_and_result = tokio::task::spawn_blocking(move || {
        let result = insert(&database, &jobs);
        (jobs.len(), result)
    });
    match jobs_and_result.await {
        Ok((jobs, Ok(()))) => {
            println!("committed a batch of {jobs}");
            BatchOutcome::Each((0..jobs).map(|_| Ok(())).collect())
        }
        // All was rolled back. What a constraint refuses will be refused again, the rest will not.
        Ok((_, Err(error))) => BatchOutcome::Failed(match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Failure::permanent(error),
            _ => Failure::transient(error),
        }),
        Err(panicked) => BatchOutcome::Failed(panicked.into()),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = Folder::from_args()?;
    let queue = folder.queue("readings").await?;
    let level = |i: u32| if i == 777 { -1 } else { 1200 + i64::from(i) % 50 };
    let reading = |i| Outgoing::new(format!("{{\"level\": {}}}", level(i)));
    let readings: Vec<_> = (0..1000).map(reading).collect();
    for published in queue.publish(&readings).await {
        published?;
    }

    let connection = Connection::open(folder.file("readings.db"))?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS reading (id TEXT PRIMARY KEY, level INTEGER CHECK (level >= 0))",
    )?;
    let database: Database = Arc::new(Mutex::new(connection));
    let source = queue.source(&SourceOptions::default());
    let worker = Worker::builder(source)
        .state(database.clone())
        .batch_handler(BatchOptions::of(100), store)
        .build()?;
    run_until_empty(worker, &queue).await?;

    let dead = queue.list(&DeadFilter::default(), None, 10).await?.len();
    let database = database.lock().unwrap_or_else(PoisonError::into_inner);
    let rows: u32 = database.query_row("SELECT count(*) FROM reading", (), |row| row.get(0))?;
    println!("{rows} rows, {dead} dead letter");
    Ok(())
}
