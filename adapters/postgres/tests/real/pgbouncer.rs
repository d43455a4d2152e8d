//! Behind PgBouncer in transaction mode: no session, no named statement, more clients than servers.

use crate::support::{Place, client, inbox, pgbouncer};
use forebay::{
    BatchOptions, Failure, Gate, Job, Outgoing, Sink, Worker,
    policy::Concurrency,
    testing::{MemoryQueue, until_done},
};
use forebay_conformance::Cluster;
use forebay_postgres::{
    BatchSink, Budget, BudgetOptions, Inbox, Method, PgPool, PoolOptions, Statement, Table,
    TableOptions, Transaction, Value, types::Type,
};
use futures_util::future::join_all;
use std::{process::Stdio, time::Duration};

/// More than the 20 server connections that PgBouncer keeps.
const WORKERS: u32 = 48;
const MESSAGES: usize = 2_000;

async fn pool(place: &Place) -> PgPool {
    drop(client(&pgbouncer()).await); // says how to start it, if it is not there
    let options = place.options_at(&pgbouncer()).connections(WORKERS).wait(Duration::from_secs(20));
    PgPool::connect(options.statement_timeout(Duration::from_secs(17))).await.unwrap()
}

async fn queue() -> MemoryQueue {
    let queue = MemoryQueue::new();
    // Each message twice: the second copy is to be recognised.
    let messages: Vec<_> = (0..MESSAGES * 2)
        .map(|n| Outgoing::new(format!("{}", n % MESSAGES)).id((n % MESSAGES) as u64))
        .collect();
    for published in queue.publish(&messages).await {
        published.unwrap();
    }
    queue
}

/// What a transaction set must not be seen by the next, and no statement may stay behind.
async fn nothing_is_left_in_the_sessions() {
    let looks = (0..40).map(|_| async {
        let client = client(&pgbouncer()).await;
        let looked = client
            .simple_query(
                "SELECT current_setting('statement_timeout'), current_setting('lock_timeout'),
                 (SELECT count(*) FROM pg_prepared_statements), pg_sleep(0.05)",
            )
            .await
            .unwrap();
        for message in looked {
            if let tokio_postgres::SimpleQueryMessage::Row(row) = message {
                assert_eq!((row.get(0), row.get(1), row.get(2)), (Some("0"), Some("0"), Some("0")));
            }
        }
    });
    join_all(looks).await;
}

#[tokio::test]
async fn trying_a_statement_out_leaves_nothing_in_the_sessions() {
    let place = Place::new().await;
    place.run("CREATE TABLE t (id bigint)").await;
    let (pool, table) = (pool(&place).await, place.table("t"));
    let sound = format!("INSERT INTO {table} VALUES ($1)");
    // More often than there are server connections, so that each is used again.
    for _ in 0..40 {
        Statement::open(&pool, &sound, 1).await.unwrap();
        Statement::open(&pool, "INSERT INTO nowhere VALUES ($1)", 1).await.unwrap_err();
    }
    let sink = BatchSink::new(&pool, Statement::open(&pool, &sound, 1).await.unwrap(), None);
    let rows = (0..100_u64).map(|n| (forebay::MessageId::from(n), vec![Value::from(n)]));
    assert!(sink.write(rows.collect()).await.iter().all(Result::is_ok));
    assert_eq!(place.number("SELECT count(*) FROM t").await, 100);
    nothing_is_left_in_the_sessions().await;
}

async fn handle(job: Job<i64, (Inbox, String)>) -> Result<(), Failure> {
    let (inbox, table) = job.state();
    let insert = format!("INSERT INTO {table} (id) VALUES ($1)");
    let work = async |tx: &Transaction| {
        tx.execute(&insert, &[(&job.payload, Type::INT8)]).await?;
        tx.query("SELECT pg_sleep(0.002)::text", &[]).await
    };
    inbox.run(&job, work).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_inbox_works_with_more_workers_than_server_connections() {
    let place = Place::new().await;
    place.run("CREATE TABLE t (id bigint)").await;
    let pool = pool(&place).await;
    let (inbox, queue) = (inbox(&pool).await, queue().await);
    let gate = Gate::new(Concurrency::fixed(WORKERS));
    pool.bound(&gate);
    let worker = Worker::builder(queue.source())
        .state((inbox.clone(), place.table("t")))
        .gate(gate)
        .handler(handle)
        .build()
        .unwrap();
    let control = worker.control();
    let (report, ()) = tokio::join!(worker.run_until_drained(), async {
        until_done(&queue).await;
        control.drain();
    });
    report.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM t").await, MESSAGES as i64);
    assert_eq!(place.number("SELECT count(DISTINCT id) FROM t").await, MESSAGES as i64);
    assert_eq!(inbox.counts().duplicates, MESSAGES as u64);
    assert!(pool.held() <= WORKERS);
    nothing_is_left_in_the_sessions().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sink_works_with_more_workers_than_server_connections() {
    for method in [Method::Insert, Method::Copy] {
        let place = Place::new().await;
        place.run("CREATE TABLE t (id bigint CHECK (id <> 77))").await;
        let pool = pool(&place).await;
        let (inbox, queue) = (inbox(&pool).await, queue().await);
        let options = TableOptions::new(place.table("t"), ["id"]).method(method);
        let sink = BatchSink::new(&pool, Table::open(&pool, options).await.unwrap(), inbox.clone());
        let gate = Gate::new(Concurrency::fixed(WORKERS));
        pool.bound(&gate);
        let worker = Worker::builder(queue.source())
            .gate(gate)
            .batch_handler(
                BatchOptions::of(20),
                sink.handler(|job: &Job<i64>| Ok(vec![Value::from(job.payload)])),
            )
            .build()
            .unwrap();
        let control = worker.control();
        let (report, ()) = tokio::join!(worker.run_until_drained(), async {
            until_done(&queue).await;
            control.drain();
        });
        report.unwrap();
        let done = MESSAGES as i64 - 1;
        assert_eq!(place.number("SELECT count(*) FROM t").await, done, "{method:?}");
        assert_eq!(place.number("SELECT count(DISTINCT id) FROM t").await, done);
        assert_eq!(forebay::testing::dead_letters(&queue).await, 2, "77, and its copy");
        nothing_is_left_in_the_sessions().await;
    }
}

/// A PgBouncer of a test's own, in transaction mode.
struct Bouncer(std::process::Child, u16);

impl Bouncer {
    async fn start(cluster: &Cluster, settings: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let file = cluster.directory().join("pgbouncer.ini");
        let users = cluster.directory().join("users.txt");
        std::fs::write(&users, "\"postgres\" \"\"\n").unwrap();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
             pool_mode = transaction\n{settings}\n",
            cluster.port(),
            users.display()
        );
        std::fs::write(&file, settings).unwrap();
        cluster.give(&file);
        cluster.give(&users);
        let mut command = cluster.run_as_server("/usr/sbin/pgbouncer");
        command.arg("-q").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("`scripts/brokers up pgbouncer` installs it");
        let bouncer = Self(child, port);
        crate::support::eventually("it answers", Duration::from_secs(10), || async {
            tokio_postgres::connect(&bouncer.url(), tokio_postgres::NoTls).await.is_ok()
        })
        .await;
        bouncer
    }

    fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.1)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_full_queue_is_backpressure_like_a_full_pool() {
    let cluster = Cluster::start(&["fsync = off"]);
    cluster.up();
    let settings = "default_pool_size = 1\nquery_wait_timeout = 1";
    let bouncer = Bouncer::start(&cluster, settings).await;
    let pool = PgPool::connect(PoolOptions::new(bouncer.url())).await.unwrap();
    let first = pool.begin().await.unwrap();
    let failure = pool.begin().await.unwrap_err();
    assert!(crate::support::is_throttled(&failure), "{failure:?}");
    assert!(failure.to_string().contains("query_wait_timeout"), "{failure}");
    first.commit().await.unwrap();
    pool.begin().await.unwrap().commit().await.unwrap();
}

/// PgBouncer 1.18 dies when a client that cancels hangs up at once. This one must not make it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_that_is_called_off_disturbs_nobody_else() {
    let cluster = Cluster::start(&["fsync = off"]);
    cluster.up();
    let bouncer = Bouncer::start(&cluster, "default_pool_size = 30").await;
    let options = PoolOptions::new(bouncer.url()).connections(WORKERS);
    let pool = PgPool::connect(options.wait(Duration::from_secs(10))).await.unwrap();
    let inbox = inbox(&pool).await;
    let direct = client(&cluster.url()).await;
    for round in 0..8_u64 {
        let runs = (0..40_u64).map(|n| {
            let inbox = inbox.clone();
            async move {
                let sleep = if n % 2 == 0 { "SELECT pg_sleep(60)" } else { "SELECT pg_sleep(0.1)" };
                let id = forebay::MessageId::from(round * 40 + n);
                let run = inbox.run_as(&id, async |tx: &Transaction| tx.batch_execute(sleep).await);
                // Called off all at once, and one after the other.
                let patience = Duration::from_millis(1200 + (round % 2) * n * 5);
                match tokio::time::timeout(patience, run).await {
                    Ok(done) => done.map(|_| ()).map_err(|failure| (n, failure.to_string())),
                    Err(_) => Ok(()),
                }
            }
        });
        let failed: Vec<_> = join_all(runs).await.into_iter().filter_map(Result::err).collect();
        assert!(failed.is_empty(), "round {round}: {failed:?}");
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        crate::support::eventually("all are called off", Duration::from_secs(5), || async {
            direct.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0
        })
        .await;
    }
    let count = "SELECT count(*) FROM forebay_inbox WHERE id::int % 2 = ";
    for (rest, marks) in [(0, 0_i64), (1, 160)] {
        let row = direct.query_one(&format!("{count}{rest}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), marks);
    }
}

#[tokio::test]
async fn a_budget_works_through_it() {
    let place = Place::new().await;
    let options =
        BudgetOptions { lease: Duration::from_secs(2), renew: Duration::from_millis(200) };
    let pools = [pool(&place).await, pool(&place).await];
    let mut members = Vec::new();
    for pool in &pools {
        members.push(Budget::join(pool, "shared", 5, options).await.unwrap());
    }
    crate::support::eventually("shares are fair", Duration::from_secs(5), || async {
        members[0].share() == 3 && members[1].share() == 2
    })
    .await;
    for member in members {
        member.leave().await.unwrap();
    }
    assert_eq!(place.number("SELECT count(*) FROM forebay_budget_lease").await, 0);
}
