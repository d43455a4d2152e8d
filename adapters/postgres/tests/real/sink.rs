//! Batches: one outcome each, bad rows alone, duplicates once.

use crate::support::{Place, inbox, is_permanent, is_transient};
use forebay::{
    BatchOptions, Failure, Job, MessageId, Outgoing, Sink, Verdict, Worker,
    policy::{RetryPolicy, RetrySettings},
    testing::{MemoryQueue, until_done},
};
use forebay_postgres::{BatchSink, Conflict, Method, PgPool, Row, Table, TableOptions, Value};

use std::time::Duration;

const METHODS: [Method; 2] = [Method::Insert, Method::Copy];

async fn place() -> Place {
    let place = Place::new().await;
    place
        .run("CREATE TABLE t (id bigint PRIMARY KEY, a text NOT NULL, n int CONSTRAINT small CHECK (n < 1000))")
        .await;
    place
}

fn options(place: &Place) -> TableOptions {
    TableOptions::new(place.table("t"), ["id", "a", "n"])
}

async fn open(pool: &PgPool, options: TableOptions) -> BatchSink {
    BatchSink::new(pool, Table::open(pool, options).await.unwrap(), None)
}

fn row(id: i64, a: &str, n: i32) -> Row {
    vec![id.into(), a.into(), n.into()]
}

/// Writes rows under identities of their own.
async fn write(sink: &BatchSink, rows: impl IntoIterator<Item = Row>) -> Vec<Result<(), Failure>> {
    let messages = rows.into_iter().enumerate();
    sink.write(messages.map(|(n, row)| (MessageId::from(n as u64), row)).collect()).await
}

#[tokio::test]
async fn bad_rows_are_found_the_rest_is_written_and_the_cost_is_bounded() {
    let place = place().await;
    let pool = place.pool().await;
    for method in METHODS {
        place.run("TRUNCATE t").await;
        let sink = open(&pool, options(&place).method(method)).await;
        let mut rows: Vec<Row> = (0..500).map(|id| row(id, "x", 1)).collect();
        rows[17][1] = Value::NULL;
        rows[18][2] = Value::from(1000);
        rows[300][2] = Value::from("many");
        rows[499] = row(0, "again", 1);
        let results = write(&sink, rows).await;
        let bad: Vec<usize> = (0..500).filter(|n| results[*n].is_err()).collect();
        assert_eq!(bad, [17, 18, 300, 499]);
        let said = |index: usize, words: &[&str]| {
            let failure = results[index].as_ref().unwrap_err();
            assert!(is_permanent(failure));
            for word in words {
                assert!(failure.to_string().contains(word), "no `{word}` in: {failure}");
            }
        };
        said(17, &["SQLSTATE 23502", "column a", "null value"]);
        said(18, &["SQLSTATE 23514", "constraint small"]);
        said(300, &["SQLSTATE 22P02", "many"]);
        said(499, &["SQLSTATE 23505", "t_pkey", "Key (id)=(0) already exists"]);
        if method == Method::Copy {
            said(300, &["column n"]);
        }
        assert_eq!(place.number("SELECT count(*) FROM t").await, 496);
        let counts = sink.counts();
        assert_eq!((counts.written, counts.refused), (496, 4));
        // One of them is the try to write it in one go.
        let most = if method == Method::Copy { 3 * 4 + 2 } else { 2 * 4 * 9 + 2 };
        assert!(counts.statements <= most, "{method:?}: {} statements", counts.statements);
        // A sound batch is one statement.
        write(&sink, (1000..1500).map(|id| row(id, "x", 1))).await;
        assert_eq!(sink.counts().statements, counts.statements + 1);
        write(&sink, (1500..2000).map(|id| row(id, "x", 1))).await;
        assert_eq!(sink.counts().statements, counts.statements + 2);
    }
}

#[tokio::test]
async fn a_shower_of_bad_rows_is_tried_in_one_go_only_once() {
    let place = place().await;
    let sink = open(&place.pool().await, options(&place).method(Method::Copy)).await;
    let mut statements = Vec::new();
    for batch in 0..4 {
        let before = sink.counts().statements;
        let mut rows: Vec<Row> = (0..10).map(|n| row(10 * batch + n, "x", 1)).collect();
        if batch < 2 {
            rows[4][1] = Value::NULL;
        }
        write(&sink, rows).await;
        statements.push(sink.counts().statements - before);
    }
    // In one go, then all, those before the bad one, it, and those after it.
    assert_eq!(statements, [1 + 4, 4, 1, 1]);
    assert_eq!(place.number("SELECT count(*) FROM t").await, 38);
}

#[tokio::test]
async fn a_conflict_is_refused_left_or_updated_and_within_a_batch_the_last_wins() {
    let place = place().await;
    let pool = place.pool().await;
    let update = Conflict::Update { key: vec!["id".into()], set: vec!["a".into()] };
    for (conflict, refused, expected) in
        [(Conflict::Fail, 2, "old,b"), (Conflict::Skip, 0, "old,b"), (update, 0, "new,c")]
    {
        place.run("TRUNCATE t; INSERT INTO t VALUES (1, 'old', 1)").await;
        let sink = open(&pool, options(&place).conflict(conflict.clone())).await;
        let rows = [row(1, "new", 2), row(2, "b", 2), row(2, "c", 2)];
        let results = write(&sink, rows).await;
        assert_eq!(results.iter().filter(|r| r.is_err()).count(), refused, "{conflict:?}");
        assert_eq!(place.text("SELECT string_agg(a, ',' ORDER BY id) FROM t").await, expected);
        assert_eq!(place.number("SELECT n FROM t WHERE id = 1").await, 1, "only `a` is set");
    }
}

#[tokio::test]
async fn rows_with_a_null_in_their_key_are_not_taken_for_equal() {
    let place = Place::new().await;
    place.run("CREATE TABLE k (x int, y int, a text, UNIQUE (x, y))").await;
    let pool = place.pool().await;
    let update = Conflict::Update { key: vec!["x".into(), "y".into()], set: vec!["a".into()] };
    let options = TableOptions::new(place.table("k"), ["x", "y", "a"]).conflict(update);
    let sink = open(&pool, options).await;
    let value = |x: i32, y: Option<i32>, a: &str| vec![x.into(), y.into(), a.into()];
    let rows =
        [value(1, None, "a"), value(1, None, "b"), value(1, Some(1), "c"), value(1, Some(1), "d")];
    assert!(write(&sink, rows).await.iter().all(Result::is_ok));
    assert_eq!(place.text("SELECT string_agg(a, ',' ORDER BY a) FROM k").await, "a,b,d");
}

#[tokio::test]
async fn with_an_inbox_each_message_is_written_once_and_a_bad_one_can_come_again_mended() {
    let place = Place::new().await;
    place.run("CREATE TABLE t (id bigint, a text, n int CHECK (n < 1000))").await; // twice would be seen
    let pool = place.pool().await;
    for method in METHODS {
        place.run("TRUNCATE t; DROP TABLE IF EXISTS forebay_inbox, forebay_budget_lease, forebay_budget, forebay_schema").await;
        let inbox = inbox(&pool).await;
        let table = Table::open(&pool, options(&place).method(method)).await.unwrap();
        let sink = BatchSink::new(&pool, table, inbox.clone());
        let message = |id: u64, n: i32| (MessageId::from(id), row(id.cast_signed(), "x", n));
        let first = sink
            .write(vec![
                message(1, 1),
                message(2, 5000),
                message(3, 1),
                message(1, 1),
                message(2, 5000),
            ])
            .await;
        let bad: Vec<usize> = (0..5).filter(|n| first[*n].is_err()).collect();
        assert_eq!(bad, [1, 4], "a twin shares the fate of its first");
        assert!(first[4].as_ref().is_err_and(is_permanent));
        assert_eq!(place.number("SELECT count(*) FROM forebay_inbox").await, 2);
        // Redelivered, and the bad one mended by a redrive.
        let second = sink.write(vec![message(3, 1), message(2, 5), message(4, 1)]).await;
        assert!(second.iter().all(Result::is_ok), "{second:?}");
        assert_eq!(
            place.text("SELECT string_agg(id::text, ',' ORDER BY id) FROM t").await,
            "1,2,3,4"
        );
        let counts = inbox.counts();
        assert_eq!((counts.done, counts.duplicates), (4, 2));
        let all_old = sink.write((1..=4).map(|id| message(id, 1)).collect()).await;
        assert!(all_old.iter().all(Result::is_ok));
        assert_eq!(place.number("SELECT count(*) FROM t").await, 4);
    }
}

#[tokio::test]
async fn a_table_that_is_gone_fails_all_and_makes_nobody_a_dead_letter() {
    let place = place().await;
    let pool = place.pool().await;
    for method in METHODS {
        let sink = open(&pool, options(&place).method(method)).await;
        place.run("ALTER TABLE t RENAME TO away").await;
        let results = write(&sink, (0..100).map(|id| row(id, "x", 1))).await;
        assert_eq!(results.len(), 100);
        for result in results {
            let failure = result.unwrap_err();
            assert!(is_transient(&failure) && failure.to_string().contains("42P01"), "{failure:?}");
        }
        place.run("ALTER TABLE away RENAME TO t").await;
        assert!(write(&sink, [row(1, "x", 1)]).await[0].is_ok());
        place.run("TRUNCATE t").await;
    }
}

#[tokio::test]
async fn a_constraint_that_waits_for_the_commit_is_asked_for_at_once() {
    let place = Place::new().await;
    place
        .run(
            "CREATE TABLE parent (id int PRIMARY KEY); INSERT INTO parent VALUES (1);
             CREATE TABLE child (id int, parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
        )
        .await;
    let pool = place.pool().await;
    for method in METHODS {
        let options = TableOptions::new(place.table("child"), ["id", "parent"]).method(method);
        let sink = open(&pool, options).await;
        let rows = [1, 2, 1].map(|parent: i32| vec![Value::from(7), parent.into()]);
        let results = write(&sink, rows).await;
        let ok: Vec<bool> = results.iter().map(Result::is_ok).collect();
        assert_eq!(ok, [true, false, true], "{results:?}");
        assert!(results[1].as_ref().unwrap_err().to_string().contains("23503"));
    }
    assert_eq!(place.number("SELECT count(*) FROM child").await, 4);
}

#[tokio::test]
async fn a_row_of_the_wrong_width_harms_nobody() {
    let place = place().await;
    let pool = place.pool().await;
    let sink = open(&pool, options(&place)).await;
    let results = write(&sink, [row(1, "x", 1), vec![Value::from(2)], row(3, "x", 1)]).await;
    assert!(is_permanent(results[1].as_ref().unwrap_err()));
    assert_eq!(place.number("SELECT count(*) FROM t").await, 2);
}

#[tokio::test]
async fn batches_that_share_keys_do_not_end_in_a_deadlock() {
    let place = place().await;
    let pool = place.pool().await;
    let update = Conflict::Update { key: vec!["id".into()], set: vec!["n".into()] };
    let sink = open(&pool, options(&place).conflict(update)).await;
    let writers = (0..8_i32).map(|n| {
        let sink = sink.clone();
        async move {
            for round in 0..20 {
                let mut ids: Vec<i64> = (0..50).collect();
                fastrand::shuffle(&mut ids);
                let rows = ids.into_iter().map(|id| row(id, "x", n * 20 + round));
                for result in write(&sink, rows).await {
                    result.unwrap();
                }
            }
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(place.number("SELECT count(*) FROM t").await, 50);
}

#[derive(serde::Deserialize)]
struct Order {
    id: i64,
    n: i32,
}

/// Runs numbers through a sink in a worker, in batches of 100, until all are settled.
async fn worked_off(queue: &MemoryQueue, sink: &BatchSink, numbers: std::ops::Range<u64>) {
    let messages: Vec<_> = numbers.map(|n| Outgoing::new(n.to_string())).collect();
    for published in queue.publish(&messages).await {
        published.unwrap();
    }
    let settings = RetrySettings {
        base: Duration::from_millis(1),
        max_attempts: 3,
        ..RetrySettings::default()
    };
    let worker = Worker::builder(queue.source())
        .retry(RetryPolicy::new(settings).unwrap())
        .batch_handler(
            BatchOptions::of(100),
            sink.handler(|job: &Job<i64>| Ok(vec![job.payload.into()])),
        )
        .build()
        .unwrap();
    let control = worker.control();
    let (report, ()) = tokio::join!(worker.run_until_drained(), async {
        until_done(queue).await;
        control.drain();
    });
    report.unwrap();
}

#[tokio::test]
async fn a_message_that_fails_its_batch_in_a_way_of_its_own_is_found_and_charged_alone() {
    // A trigger that misses a table for one row; and one that refuses at the commit, when no
    // savepoint helps any more.
    let missing = "IF NEW.id = 77 THEN INSERT INTO no_such_table VALUES (1); END IF;";
    let late = "IF NEW.id = 77 THEN RAISE 'not this one'; END IF;";
    for (body, constraint, retries, reason) in [
        (missing, "TRIGGER t BEFORE INSERT ON n", 2, "42P01"),
        (late, "CONSTRAINT TRIGGER t AFTER INSERT ON n DEFERRABLE INITIALLY DEFERRED", 0, "P0001"),
    ] {
        let place = Place::new().await;
        place
            .run(&format!(
                "CREATE TABLE n (id bigint);
                 CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NEW; END $$;
                 CREATE {constraint} FOR EACH ROW EXECUTE FUNCTION {}.f()",
                place.schema
            ))
            .await;
        let pool = place.pool().await;
        let mut table =
            Table::open(&pool, TableOptions::new(place.table("n"), ["id"])).await.unwrap();
        if reason == "P0001" {
            // As if it had not been seen at start that the constraint waits for the commit.
            place.run("DROP TRIGGER t ON n").await;
            table = Table::open(&pool, TableOptions::new(place.table("n"), ["id"])).await.unwrap();
            place
                .run(&format!(
                    "CREATE {constraint} FOR EACH ROW EXECUTE FUNCTION {}.f()",
                    place.schema
                ))
                .await;
        }
        let sink = BatchSink::new(&pool, table, inbox(&pool).await);
        let queue = MemoryQueue::new();
        worked_off(&queue, &sink, 0..300).await;
        assert_eq!(place.number("SELECT count(*) FROM n").await, 299, "{reason}");
        let verdicts = queue.verdicts();
        let retried = verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Retry { .. })).count();
        assert_eq!(retried, retries, "only the culprit is charged");
        let dead: Vec<_> =
            verdicts.iter().filter(|(_, v)| matches!(v, Verdict::DeadLetter { .. })).collect();
        assert_eq!(dead.len(), 1);
        assert!(format!("{dead:?}").contains(reason), "{dead:?}");
    }
}

#[tokio::test]
async fn in_a_worker_poison_becomes_a_dead_letter_with_the_servers_words() {
    let place = place().await;
    let pool = place.pool().await;
    let table = Table::open(&pool, options(&place).method(Method::Copy)).await.unwrap();
    let sink = BatchSink::new(&pool, table, inbox(&pool).await);
    let to_row = |job: &Job<Order>| match job.payload.n {
        -1 => Err(Failure::discard("not wanted")),
        n => Ok(row(job.payload.id, "x", n)),
    };
    let queue = MemoryQueue::new();
    let payload = |id: i32| match id {
        13 | 77 => serde_json::json!({"id": id, "n": 5000}),
        50 => serde_json::json!({"id": id, "n": -1}),
        _ => serde_json::json!({"id": id, "n": 1}),
    };
    let messages: Vec<_> = (0..300).map(|id| Outgoing::new(payload(id).to_string())).collect();
    for published in queue.publish(&messages).await {
        published.unwrap();
    }
    let worker = Worker::builder(queue.source())
        .batch_handler(BatchOptions::of(100), sink.handler(to_row))
        .build()
        .unwrap();
    let control = worker.control();
    let (report, ()) = tokio::join!(worker.run_until_drained(), async {
        until_done(&queue).await;
        control.drain();
    });
    report.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM t").await, 297);
    let verdicts = queue.verdicts();
    let dead: Vec<_> = verdicts
        .iter()
        .filter_map(|(_, verdict)| match verdict {
            Verdict::DeadLetter { note, .. } => Some(note.error.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(dead.len(), 2, "{dead:?}");
    assert!(dead.iter().all(|text| text.contains("23514") && text.contains("small")), "{dead:?}");
    assert_eq!(verdicts.iter().filter(|(_, v)| matches!(v, Verdict::Drop(_))).count(), 1);
}
