//! No more connections than agreed; waiting too long is backpressure; a moving ceiling is kept.

use crate::support::{
    Place, client, eventually, is_throttled, is_transient, server, server_address, server_through,
};
use forebay::{
    Failure, Gate, Job, Outgoing, Sink, Worker,
    policy::{AimdSettings, Concurrency},
    testing::{MemoryQueue, until_done},
};
use forebay_conformance::proxy::FaultProxy;
use forebay_postgres::PgPool;
use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

#[tokio::test]
async fn waiting_for_too_long_is_backpressure() {
    let place = Place::new().await;
    let wait = Duration::from_millis(100);
    let pool = PgPool::connect(place.options().connections(2).wait(wait)).await.unwrap();
    let held = (pool.get().await.unwrap(), pool.get().await.unwrap());
    let start = Instant::now();
    let failure = pool.get().await.unwrap_err();
    assert!(start.elapsed() >= wait);
    assert!(is_throttled(&failure) && failure.to_string().contains("all 2 allowed"), "{failure}");
    drop(held.0);
    assert!(pool.get().await.is_ok());
    assert_eq!(pool.held(), 2);
}

/// So that few of them are kept busy where few are needed, however many there once were.
#[tokio::test]
async fn the_connection_used_last_is_used_first() {
    let place = Place::new().await;
    let pool = PgPool::connect(place.options().connections(4)).await.unwrap();
    let get = async || {
        let connection = pool.get().await.unwrap();
        let row = connection.query_one("SELECT pg_backend_pid()", &[]).await.unwrap();
        (connection, row.get::<_, i32>(0))
    };
    let (first, second, third) = (get().await, get().await, get().await);
    drop((first.0, third.0, second.0));
    for _ in 0..6 {
        assert_eq!(get().await.1, second.1);
    }
}

#[tokio::test]
async fn a_gate_keeps_handlers_at_the_number_of_connections() {
    let place = Place::new().await;
    let pool = PgPool::connect(place.options().connections(3)).await.unwrap();
    let gate = Gate::new(Concurrency::fixed(64));
    pool.bound(&gate);
    assert_eq!(gate.status().limit, 3);
    let adaptive = Gate::new(Concurrency::aimd(AimdSettings::default()).unwrap());
    pool.bound(&adaptive);
    assert!(adaptive.status().limit <= 3);
    let few = Gate::new(Concurrency::fixed(2));
    pool.bound(&few);
    assert_eq!(few.status().limit, 2);

    let queue = MemoryQueue::new();
    for published in queue.publish(&vec![Outgoing::new("1"); 60]).await {
        published.unwrap();
    }
    let (running, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (counted, peak) = (running.clone(), most.clone());
    let handler = move |job: Job<u32, PgPool>| {
        let (running, most) = (counted.clone(), peak.clone());
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let tx = job.state().begin().await?;
            tx.batch_execute("SELECT pg_sleep(0.01)").await?;
            running.fetch_sub(1, Ordering::SeqCst);
            Ok::<(), Failure>(())
        }
    };
    let worker = Worker::builder(queue.source())
        .state(pool.clone())
        .gate(gate)
        .handler(handler)
        .build()
        .unwrap();
    let control = worker.control();
    let (report, ()) = tokio::join!(worker.run_until_drained(), async {
        until_done(&queue).await;
        control.drain();
    });
    report.unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 3, "reached, and never passed");
    assert_eq!(queue.verdicts().len(), 60, "nobody had to be postponed");
}

#[tokio::test]
async fn an_adaptive_limit_keeps_bounds_of_its_own_below_the_number_of_connections() {
    let pool = Place::new().await.pool().await; // 8 connections
    let gate = |initial, min, max| {
        let settings = AimdSettings { initial, min, max, ..AimdSettings::default() };
        Gate::new(Concurrency::aimd(settings).unwrap())
    };
    for ((initial, min, max), least, most) in
        [((2, 2, 4), 2, 4), ((20, 10, 30), 8, 8), ((3, 1, 100), 1, 8)]
    {
        let gate = gate(initial, min, max);
        pool.bound_within(&gate, min..=max);
        gate.set_limit(1000);
        assert_eq!(gate.status().limit, most);
        gate.set_limit(0);
        assert_eq!(gate.status().limit, least);
    }
}

#[tokio::test]
async fn a_server_that_restarts_is_found_again() {
    let place = Place::new().await;
    let proxy = FaultProxy::start(server_address()).unwrap();
    let pool = PgPool::connect(place.options_at(&server_through(&proxy))).await.unwrap();
    drop(pool.begin().await.unwrap());
    proxy.refuse(true);
    eventually("idle connections are known to be dead", Duration::from_secs(5), || async {
        matches!(pool.begin().await, Err(failure) if is_transient(&failure) && failure.to_string().contains("connecting"))
    })
    .await;
    proxy.refuse(false);
    assert!(pool.begin().await.is_ok());
}

#[tokio::test]
async fn a_server_without_free_connections_is_backpressure() {
    let place = Place::new().await;
    let role = format!("role_{}", place.schema);
    place
        .run(&format!(
            "CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA {} TO {role}",
            place.schema
        ))
        .await;
    let url = server().replacen("postgres@", &format!("{role}@"), 1);
    let pool = PgPool::connect(place.options_at(&url)).await.unwrap();
    let mut first = pool.get().await;
    for _ in 0..100 {
        // The connection that was made to try the settings may take a moment to go.
        if first.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        first = pool.get().await;
    }
    let first = first.unwrap();
    let failure = pool.get().await.unwrap_err();
    drop((first, pool));
    assert!(is_throttled(&failure) && failure.to_string().contains("53300"), "{failure}");
    let drop_role = format!("DROP OWNED BY {role}; DROP ROLE {role}");
    let admin = client(&server()).await;
    eventually("the role is free", Duration::from_secs(5), || async {
        admin.batch_execute(&drop_role).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_ended_by_the_server() {
    let place = Place::new().await;
    let options = place.options().statement_timeout(Duration::from_millis(100));
    let pool = PgPool::connect(options.lock_timeout(Duration::from_millis(50))).await.unwrap();
    let tx = pool.begin().await.unwrap();
    let failure =
        forebay_postgres::failure(tx.batch_execute("SELECT pg_sleep(5)").await.unwrap_err());
    assert!(is_transient(&failure) && failure.to_string().contains("57014"), "{failure}");
    drop(tx);
    place.run("CREATE TABLE locked ()").await;
    place.run("BEGIN; LOCK TABLE locked").await;
    let tx = pool.begin().await.unwrap();
    let select = format!("SELECT FROM {}", place.table("locked"));
    let failure = forebay_postgres::failure(tx.batch_execute(&select).await.unwrap_err());
    place.run("ROLLBACK").await;
    assert!(is_transient(&failure) && failure.to_string().contains("55P03"), "{failure}");
}
