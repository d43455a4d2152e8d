//! Files of version 1 of the schema: brought up to date with all that is in them, beside processes
//! that still have them open. `support/schema-1.sql` is that version's text, word for word.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use forebay_contract::{FailureKind, FailureNote, History, Verdict};
use forebay_embedded::{SourceOptions, Store};
use rusqlite::Connection;
use std::{
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};
use support::{queue, receive, settle};

const SCHEMA_1: &str = include_str!("support/schema-1.sql");

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

/// A file of version 1 with the queue `orders`: one message is ready, one has failed before, one of a
/// key waits behind another, which is leased to a worker that is gone, one is leased for long, and
/// one is dead.
fn old_file(file: &Path) -> Connection {
    let conn = Connection::open(file).unwrap();
    conn.execute_batch(SCHEMA_1).unwrap();
    let marks = format!("PRAGMA application_id = {}; PRAGMA user_version = 1", 0x4652_4259);
    conn.execute_batch(&marks).unwrap();
    conn.execute_batch("PRAGMA journal_mode = wal").unwrap();
    let note = FailureNote::new(FailureKind::Transient, "no", UNIX_EPOCH);
    let notes = History::new().with(note).to_json(usize::MAX).unwrap();
    let (now, soon, late) = (now(), now() + 300, now() + 60_000);
    conn.execute_batch(&format!(
        "BEGIN;
        UPDATE sequence SET next = 7;
        INSERT INTO queue (id, name, total, leased, dead) VALUES (1, 'orders', 5, 2, 1);
        INSERT INTO message (seq, queue, id, key, payload, headers, enqueued, due, redrives) VALUES
            (1, 1, NULL, NULL, x'61', NULL, {now}, {now}, 0),
            (2, 1, NULL, NULL, x'62', NULL, {now}, {now}, 0),
            (3, 1, NULL, x'6b', x'63', NULL, {now}, {now}, 0),
            (4, 1, NULL, x'6b', x'64', NULL, {now}, {now}, 0),
            (5, 1, NULL, NULL, x'65', NULL, {now}, {now}, 0);
        INSERT INTO runnable (queue, due, seq, attempt, interrupted, deliveries, trail) VALUES
            (1, {now}, 1, 0, 0, 0, 0), (1, {now}, 2, 1, 0, 1, 1);
        INSERT INTO history (seq, notes) VALUES (2, '{notes}');
        INSERT INTO blocked (queue, due, seq) VALUES (1, {now}, 4);
        INSERT INTO lease
            (seq, queue, expires, holder, due, attempt, interrupted, deliveries, trail) VALUES
            (3, 1, {soon}, 77, {now}, 0, 0, 1, 0), (5, 1, {late}, 77, {now}, 0, 0, 1, 0);
        INSERT INTO dead (pos, queue, seq, id, key, payload, headers, enqueued, attempt,
            interrupted, deliveries, redrives, reason, error, history, died) VALUES
            (6, 1, 0, 'old', NULL, x'66', NULL, {now}, 3, 0, 3, 0, 'permanent', 'no',
            '{notes}', {now});
        COMMIT"
    ))
    .unwrap();
    conn
}

fn tables(file: &Path) -> Vec<(String, String)> {
    let conn = Connection::open(file).unwrap();
    let mut statement =
        conn.prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name").unwrap();
    let words = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = statement.query_map((), |row| Ok((row.get(0)?, words(row.get(1)?))));
    rows.unwrap().map(Result::unwrap).collect()
}

#[tokio::test]
async fn an_old_file_keeps_all_that_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    drop(old_file(&file));
    let queue = queue(&file).await;
    let backlog = queue.backlog().await.unwrap();
    let value = |count: Option<forebay_contract::Count>| count.unwrap().value;
    assert_eq!(value(backlog.ready) + value(backlog.leased), 5);
    assert!(value(backlog.leased) >= 1, "the lease for long holds: {backlog:?}");
    assert_eq!(value(backlog.dead), 1);

    let source = queue.source(&SourceOptions::default());
    let mut came = Vec::new();
    while came.len() < 4 {
        let out = receive(&source, 10).await;
        assert!(settle(&source, &out, Verdict::Ack).await.into_iter().all(|ours| ours));
        came.extend(out);
    }
    let mut facts: Vec<_> = came
        .iter()
        .map(|out| {
            let it = &out.message;
            (it.payload[0], it.attempt, it.interrupted, it.history.notes().len())
        })
        .collect();
    let at = |payload| came.iter().position(|out| out.message.payload[0] == payload);
    assert!(at(b'c') < at(b'd'), "out of the order of their key");
    facts.sort_unstable();
    assert_eq!(facts, [(b'a', 0, 0, 0), (b'b', 1, 0, 1), (b'c', 0, 1, 0), (b'd', 0, 0, 0)]);
    let backlog = queue.backlog().await.unwrap();
    assert_eq!((value(backlog.ready), value(backlog.leased)), (0, 1));
}

#[test]
fn an_old_file_gets_the_tables_of_a_new_one() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old.db", "new.db"].map(|name| directory.path().join(name));
    drop(old_file(&old));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| Store::open(&old).unwrap());
        }
    });
    Store::open(&new).unwrap();
    let version = |file: &Path| -> i32 {
        let conn = Connection::open(file).unwrap();
        conn.query_row("PRAGMA user_version", (), |row| row.get(0)).unwrap()
    };
    assert_eq!((version(&old), version(&new)), (2, 2));
    // What counted leases is left to processes that still have the old file open.
    let leased = "leased INTEGER NOT NULL DEFAULT 0, ";
    let mut upgraded = tables(&old);
    let queue = upgraded.iter_mut().find(|(name, _)| name == "queue").unwrap();
    assert!(queue.1.contains(leased));
    queue.1 = queue.1.replace(leased, "");
    assert_eq!(upgraded, tables(&new));
}

/// The statements of version 1 on the new table, through a connection that has known the old one.
#[tokio::test]
async fn a_process_that_has_the_old_file_open_can_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("q.db");
    let old = old_file(&file);
    let extend = "UPDATE lease SET expires = ?3 WHERE seq = ?1 AND deliveries = ?2";
    let end = "DELETE FROM lease WHERE seq = ?1 AND deliveries = ?2";
    let lease = "INSERT INTO lease
        (seq, queue, expires, holder, due, attempt, interrupted, deliveries, trail)
        SELECT seq, queue, ?4, ?5, due, attempt, interrupted, deliveries + 1, trail
        FROM runnable WHERE queue = ?1 AND (due, seq) <= (?2, ?3)";
    let count = "UPDATE queue SET total = total + ?2, leased = leased + ?3, dead = dead + ?4
        WHERE id = ?1";
    let [mut extend, mut end, mut lease, mut count] =
        [extend, end, lease, count].map(|sql| old.prepare(sql).unwrap());
    assert_eq!(extend.execute((5, 1, now() + 50_000)).unwrap(), 1);

    let queue = queue(&file).await;
    assert_eq!(extend.execute((5, 1, now() + 70_000)).unwrap(), 1);
    assert_eq!(end.execute((5, 1)).unwrap(), 1);
    assert_eq!(old.execute("DELETE FROM message WHERE seq = 5", ()).unwrap(), 1);
    count.execute((1, -1, -1, 0)).unwrap();
    let due: i64 =
        old.query_row("SELECT due FROM runnable WHERE seq = 1", (), |row| row.get(0)).unwrap();
    assert_eq!(lease.execute((1, due, 1, now() + 60_000, 77)).unwrap(), 1);
    assert_eq!(old.execute("DELETE FROM runnable WHERE seq = 1", ()).unwrap(), 1);

    let source = queue.source(&SourceOptions::default());
    let out = receive(&source, 1).await;
    assert_eq!(out[0].message.payload[0], b'b', "`a` is leased to the old process");
    assert_eq!(settle(&source, &out, Verdict::Ack).await, [true]);
}
