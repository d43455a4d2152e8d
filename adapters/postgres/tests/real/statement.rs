//! A statement of the user's own, for each row of a batch.

use crate::support::{Place, eventually, inbox, is_permanent, is_transient, server};
use forebay::MessageId;
use forebay_postgres::{BatchSink, PgPool, Row, SetupError, Statement, Value};
use std::time::Duration;

const ADD: &str = "INSERT INTO t AS old VALUES ($1, $2) \
                   ON CONFLICT (id) DO UPDATE SET n = old.n + EXCLUDED.n";

/// A place with a table, and a pool whose statements find it.
async fn place() -> (Place, PgPool) {
    let place = Place::new().await;
    place.run("CREATE TABLE t (id bigint PRIMARY KEY, n int NOT NULL CHECK (n < 100))").await;
    let url = format!("{}?options=-csearch_path%3D{}", server(), place.schema);
    let pool = PgPool::connect(place.options_at(&url)).await.unwrap();
    (place, pool)
}

fn row(id: usize, n: impl Into<Value>) -> (MessageId, Row) {
    (MessageId::from(format!("m{id}")), vec![Value::from(id as i64 % 10), n.into()])
}

#[tokio::test]
async fn each_row_has_an_outcome_and_bad_ones_harm_nobody() {
    let (place, pool) = place().await;
    let statement = Statement::open(&pool, ADD, 2).await.unwrap();
    assert_eq!(statement.types().unwrap(), ["bigint", "integer"]);
    let sink = BatchSink::new(&pool, statement, inbox(&pool).await);
    let batch = || -> Vec<_> {
        (0..200)
            .map(|n| match n {
                13 => row(n, "x"),
                57 => row(n, Value::NULL),
                199 => row(n, 100_i64),
                n => row(n, 1_i64),
            })
            .collect()
    };
    let results = sink.write(batch()).await;
    for (n, expected) in [(13, "22P02"), (57, "column n"), (199, "t_n_check")] {
        let failure = results[n].as_ref().unwrap_err();
        assert!(is_permanent(failure) && failure.to_string().contains(expected), "{failure}");
    }
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 3);
    assert_eq!(place.number("SELECT sum(n) FROM t").await, 197);
    let counts = sink.counts();
    assert_eq!((counts.written, counts.refused), (197, 3));
    assert!(counts.statements <= 10, "three for each bad row, and one: {counts:?}");
    // All of it again: what was done is recognised, and what was not is tried.
    let again = sink.write(batch()).await;
    assert_eq!(again.iter().filter(|result| result.is_err()).count(), 3);
    assert_eq!(place.number("SELECT sum(n) FROM t").await, 197);
}

#[tokio::test]
async fn a_constraint_that_waits_for_the_commit_finds_its_culprit() {
    let (place, pool) = place().await;
    place
        .run(
            "CREATE TABLE child (t bigint REFERENCES t DEFERRABLE INITIALLY DEFERRED);
              INSERT INTO t VALUES (1, 1)",
        )
        .await;
    let statement = Statement::open(&pool, "INSERT INTO child VALUES ($1)", 1).await.unwrap();
    let sink = BatchSink::new(&pool, statement, None);
    let rows = [1, 2, 1].map(|t: i64| (MessageId::from(7), vec![Value::from(t)]));
    let results = sink.write(rows.into()).await;
    assert!(results[0].is_ok() && results[2].is_ok(), "{results:?}");
    assert!(results[1].as_ref().unwrap_err().to_string().contains("23503"), "{results:?}");
    assert_eq!(place.number("SELECT count(*) FROM child").await, 2);
}

/// Which rows a statement locks, the sink does not know, and so cannot put them into an order.
#[tokio::test]
async fn a_batch_that_the_server_ended_for_a_deadlock_is_written_alone() {
    let (place, pool) = place().await;
    let statement = Statement::open(&pool, ADD, 2).await.unwrap();
    let sink = BatchSink::new(&pool, statement, None);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    let before = place.number(deadlocks).await;
    let writers = (0..4).map(|_| async {
        for _ in 0..5 {
            let mut ids: Vec<usize> = (0..10).collect();
            fastrand::shuffle(&mut ids);
            let rows = ids.into_iter().map(|id| row(id, 1_i64)).collect();
            for result in sink.write(rows).await {
                result.unwrap();
            }
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(place.number("SELECT sum(n) FROM t").await, 4 * 5 * 10);
    eventually("there was one", Duration::from_secs(20), || async {
        place.number(deadlocks).await > before
    })
    .await;
}

#[tokio::test]
async fn a_table_that_is_gone_is_nobodys_fault() {
    let (place, pool) = place().await;
    let statement = Statement::open(&pool, ADD, 2).await.unwrap();
    let sink = BatchSink::new(&pool, statement, None);
    place.run("DROP TABLE t").await;
    let results = sink.write(vec![row(1, 1_i64), row(2, 1_i64)]).await;
    assert!(results.iter().all(|result| is_transient(result.as_ref().unwrap_err())), "{results:?}");
    assert_eq!(sink.counts().statements, 0, "what was not committed is not counted");
}

#[tokio::test]
async fn what_cannot_run_is_found_at_start_and_nothing_has_run_by_then() {
    let (place, pool) = place().await;
    let refused = async |sql: &str, parameters| {
        Statement::open(&pool, sql, parameters).await.unwrap_err().to_string()
    };
    for (sql, parameters, expected) in [
        ("INSERT INTO u VALUES ($1)", 1, "42P01"),
        ("INSERT INTO t (idd) VALUES ($1)", 1, "42703"),
        ("INSERT INTO t VALUES ($1::text, 1)", 1, "42804"),
        ("INSRT INTO t VALUES (1, 1)", 0, "42601"),
        ("SELECT 1; DROP TABLE t", 0, "42601"),
        ("INSERT INTO t VALUES ($1, $2)", 1, "a statement with 2 parameters: 1 are bound"),
    ] {
        let error = refused(sql, parameters).await;
        assert!(error.contains(expected), "{sql}: {error}");
    }
    place.run("CREATE FUNCTION f(n int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO t VALUES (n, n); RETURN n; END $$").await;
    assert!(Statement::open(&pool, "SELECT f($1)", 1).await.is_ok());
    let call = Statement::open(&pool, "CALL p($1)", 1).await.unwrap();
    assert!(call.types().is_none(), "the server prepares none, so it is not asked");
    assert_eq!(place.number("SELECT count(*) FROM t").await, 0);
}

#[tokio::test]
async fn a_right_that_is_missing_is_found_at_start() {
    let (place, _) = place().await;
    let role = format!("role_{}", place.schema);
    let schema = &place.schema;
    place
        .run(&format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT INSERT ON t TO {role}"
        ))
        .await;
    let url = server().replacen("postgres@", &format!("{role}@"), 1);
    let pool = PgPool::connect(place.options_at(&url)).await.unwrap();
    let table = place.table("t");
    let insert = Statement::open(&pool, format!("INSERT INTO {table} VALUES ($1, $2)"), 2).await;
    let update = Statement::open(&pool, format!("UPDATE {table} SET n = $1"), 1).await;
    drop(pool);
    place.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    assert!(insert.is_ok(), "{insert:?}");
    let error = update.unwrap_err();
    assert!(
        matches!(error, SetupError::Server(_)) && error.to_string().contains("42501"),
        "{error}"
    );
}
