//! The worker is killed, and, separately, the server is: twenty times each, under load. At the end
//! there is one row for each message that was sent, no more and no less.
//!
//! Two workers run each time: one message at a time through the inbox, and batches through the sink.
//! Neither table has a unique index, so a row that was written twice is there twice.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay::{
    BatchOptions, Control, DeadFilter, DeadLetters, Failure, Gate, Job, Outgoing, Raw, Sink,
    Source, Worker,
    policy::{Breaker, BreakerSettings, Concurrency, RetryPolicy, RetrySettings},
};
use forebay_conformance::{Cluster, proxy::FaultProxy};
use forebay_embedded::{Queue, SourceOptions, Store};
use forebay_postgres::{
    BatchSink, Inbox, InboxOptions, Method, PgPool, PoolOptions, Table, TableOptions, Transaction,
    Value, types::Type,
};
use std::{
    env,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use support::{Place, client, eventually, server};

const CRASHES: usize = 20;
/// Tables, and queues, by how they are written.
const WAYS: [&str; 2] = ["single", "batch"];
/// The producer waits while so many messages are outstanding.
const BACKLOG: u64 = 400;

async fn queue(file: &Path, name: &str) -> Queue {
    Store::open(file).unwrap().queue(name).await.unwrap()
}

/// Quick retries without end: this is about rows, not about patience.
fn retry() -> RetryPolicy {
    RetryPolicy::new(RetrySettings {
        base: Duration::from_millis(20),
        cap: Duration::from_millis(300),
        max_attempts: 10_000,
        ..RetrySettings::default()
    })
    .unwrap()
}

fn gate(pool: &PgPool) -> Gate {
    let breaker = Breaker::new(BreakerSettings {
        open_for: Duration::from_millis(200),
        longest_open: Duration::from_millis(400),
        ..BreakerSettings::default()
    });
    let gate = Gate::with(Concurrency::fixed(8), None, breaker.ok());
    pool.bound(&gate);
    gate
}

async fn single(job: Job<bytes::Bytes, (Inbox, String)>) -> Result<(), Failure> {
    let (inbox, insert) = job.state();
    let text = String::from_utf8_lossy(&job.payload).into_owned();
    inbox
        .run(&job, async |tx: &Transaction| tx.execute(insert, &[(&text, Type::TEXT)]).await)
        .await?;
    Ok(())
}

/// Both workers, until they are told to drain or the process ends.
async fn work(file: PathBuf, options: PoolOptions, tell: impl FnOnce(Vec<Control>)) {
    let schema = options.schema.clone().unwrap();
    let pool = PgPool::connect(options).await.unwrap();
    let lease = SourceOptions::default().lease(Duration::from_secs(1));
    let sources =
        [queue(&file, WAYS[0]).await.source(&lease), queue(&file, WAYS[1]).await.source(&lease)];
    let inbox = async |n: usize| {
        let options = InboxOptions::new(WAYS[n]).retry(retry());
        Inbox::open(&pool, sources[n].capabilities(), options).await.unwrap()
    };
    let (one, many) = (inbox(0).await, inbox(1).await);
    let table = TableOptions::new(format!("{schema}.batch"), ["id"]).method(Method::Copy);
    let sink = BatchSink::new(&pool, Table::open(&pool, table).await.unwrap(), many);
    let [first, second] = sources;
    let insert = format!("INSERT INTO {schema}.single VALUES ($1)");
    let singles = Worker::builder(first)
        .decode(Raw)
        .retry(retry())
        .gate(gate(&pool))
        .state((one, insert))
        .handler(single)
        .build()
        .unwrap();
    let batches = Worker::builder(second)
        .decode(Raw)
        .retry(retry())
        .gate(gate(&pool))
        .batch_handler(
            BatchOptions::of(50),
            sink.handler(|job: &Job<bytes::Bytes>| {
                Ok(vec![Value::from(String::from_utf8_lossy(&job.payload).into_owned())])
            }),
        )
        .build()
        .unwrap();
    tell(vec![singles.control(), batches.control()]);
    let (a, b) = tokio::join!(singles.run_until_drained(), batches.run_until_drained());
    a.unwrap();
    b.unwrap();
}

/// Publishes to both queues for as long as `crashes` goes on; how many were confirmed to each.
async fn load(file: &Path, crashes: impl Future<Output = ()>) -> u64 {
    let queues = [queue(file, WAYS[0]).await, queue(file, WAYS[1]).await];
    let over = AtomicBool::new(false);
    let publish = async {
        let mut sent = 0;
        while !over.load(Ordering::Relaxed) {
            let messages: Vec<_> =
                (sent..sent + 20).map(|n| Outgoing::new(format!("m{n}"))).collect();
            for queue in &queues {
                for published in queue.publish(&messages).await {
                    published.unwrap();
                }
            }
            sent += 20;
            while outstanding(&queues).await > BACKLOG && !over.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        sent
    };
    let crashes = async {
        crashes.await;
        over.store(true, Ordering::Relaxed);
    };
    tokio::join!(publish, crashes).0
}

async fn outstanding(queues: &[Queue]) -> u64 {
    let mut most = 0;
    for queue in queues {
        most = most.max(queue.backlog().await.unwrap().outstanding());
    }
    most
}

/// Waits until all is worked off, and says how long that took. What was out at a kill runs alone, one
/// by one: on a busy machine that takes a while.
async fn worked_off(file: &Path) -> Duration {
    let start = Instant::now();
    let queues = [queue(file, WAYS[0]).await, queue(file, WAYS[1]).await];
    while outstanding(&queues).await > 0 {
        if start.elapsed() > Duration::from_secs(120) {
            let (one, many) = (queues[0].backlog().await, queues[1].backlog().await);
            panic!("not worked off: {one:?}, {many:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for queue in &queues {
        let dead = queue.list(&DeadFilter::default(), None, 10).await.unwrap();
        assert!(dead.is_empty(), "{dead:?}");
    }
    start.elapsed()
}

/// Compares what is in the database with what was sent, and says how it stands.
async fn settle_up(url: &str, schema: &str, sent: u64) -> String {
    let client = client(url).await;
    let mut said = Vec::new();
    for way in WAYS {
        let sql = format!("SELECT count(*), count(DISTINCT id) FROM {schema}.{way}");
        let row = client.query_one(&sql, &[]).await.unwrap();
        let (rows, distinct): (i64, i64) = (row.get(0), row.get(1));
        said.push(format!("{way}: {sent} sent, {rows} rows, {distinct} different"));
        assert_eq!(distinct, sent.cast_signed(), "lost");
        assert_eq!(rows, sent.cast_signed(), "doubled");
    }
    assert!(sent > 200, "only {sent} were sent: a poor test");
    said.join("\n")
}

async fn tables(url: &str, schema: &str) {
    let sql = format!(
        "CREATE TABLE {schema}.single (id text NOT NULL); CREATE TABLE {schema}.batch (id text NOT NULL)"
    );
    client(url).await.batch_execute(&sql).await.unwrap();
}

struct Killable(Child);

impl Killable {
    fn start(directory: &Path, schema: &str) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "child", "--nocapture"])
            .env("CRASH_TEST", directory)
            .env("CRASH_SCHEMA", schema)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by the test below, in processes of its own"]
async fn child() {
    let Some(directory) = env::var_os("CRASH_TEST").map(PathBuf::from) else { return };
    let options = PoolOptions::new(server()).schema(env::var("CRASH_SCHEMA").unwrap());
    work(directory.join("queues.db"), options, |_| ()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_worker_is_killed_twenty_times_and_every_message_has_its_row_once() {
    let start = Instant::now();
    let place = Place::new().await;
    tables(&server(), &place.schema).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queues.db");
    let count = format!(
        "(SELECT count(*) FROM {0}.single) + (SELECT count(*) FROM {0}.batch)",
        place.schema
    );
    let crashes = async {
        for crash in 0..CRASHES {
            let before = place.number(&format!("SELECT {count}")).await;
            let child = Killable::start(directory.path(), &place.schema);
            // In the midst of its work, wherever that is.
            eventually("it works", Duration::from_secs(20), || async {
                place.number(&format!("SELECT {count}")).await > before + 20
            })
            .await;
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..250))).await;
            drop(child);
            assert!(start.elapsed() < Duration::from_secs(300), "crash {crash}");
        }
    };
    let sent = load(&file, crashes).await;
    let last = Killable::start(directory.path(), &place.schema);
    let worked_off = worked_off(&file).await;
    drop(last);
    let said = settle_up(&server(), &place.schema, sent).await;
    println!("{said}\n{CRASHES} kills in {:?}, the rest in {worked_off:?}", start.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_is_killed_twenty_times_and_every_message_has_its_row_once() {
    let start = Instant::now();
    // No fsync: what was written outlives its process in any case, and only processes die here.
    let cluster = Cluster::start(&["max_connections = 30", "shared_buffers = 32MB", "fsync = off"]);
    cluster.up();
    let url = cluster.url();
    tables(&url, "public").await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("queues.db");
    let (tell, told) = tokio::sync::oneshot::channel();
    // Answers take a while, and what is under way at a crash is lost: so some transactions have been
    // committed, and nobody was told.
    let proxy = FaultProxy::start(([127, 0, 0, 1], cluster.port()).into()).unwrap();
    proxy.delay(Duration::from_millis(5));
    let options = PoolOptions::new(format!("postgres://postgres@{}/postgres", proxy.address()));
    let options = options.schema("public");
    let working = tokio::spawn(work(file.clone(), options, |controls| drop(tell.send(controls))));
    let controls = told.await.unwrap();
    let crashes = async {
        for _ in 0..CRASHES {
            tokio::time::sleep(Duration::from_millis(fastrand::u64(150..700))).await;
            proxy.refuse(true);
            tokio::task::block_in_place(|| cluster.crash());
            proxy.refuse(false);
            tokio::time::sleep(Duration::from_millis(fastrand::u64(0..100))).await;
            tokio::task::block_in_place(|| cluster.up());
        }
    };
    let sent = load(&file, crashes).await;
    let worked_off = worked_off(&file).await;
    for control in controls {
        control.drain();
    }
    working.await.unwrap();
    let said = settle_up(&url, "public", sent).await;
    println!("{said}\n{CRASHES} crashes in {:?}, the rest in {worked_off:?}", start.elapsed());
}
