//! `[handler.sqlite]` with a real database.

use crate::bench::{Bench, wait_until};
use rusqlite::Connection;

const SCHEMA: &str = "CREATE TABLE orders (
    id TEXT PRIMARY KEY, customer INTEGER NOT NULL CHECK (customer > 0), note TEXT,
    body TEXT, attempt INTEGER, at INTEGER) STRICT";

fn bench() -> (Bench, Connection) {
    let bench = Bench::new();
    let handler = "[handler.sqlite]\npath = 'shop.db'\nstatement = '''
INSERT INTO orders VALUES (:id, :customer, :note, :body, :attempt, :at)'''
[handler.sqlite.params]
id = '$.id'
customer = '$.customer.number'
note = '$.notes[0]'
body = '@payload'
attempt = '@attempt'
at = '@enqueued_at'";
    bench.config("batch = { size = 50, age = '10ms' }", handler);
    let shop = Connection::open(bench.path("shop.db")).unwrap();
    shop.pragma_update(None, "journal_mode", "wal").unwrap();
    shop.execute_batch(SCHEMA).unwrap();
    (bench, shop)
}

fn count(shop: &Connection) -> i64 {
    shop.query_row("SELECT count(*) FROM orders", (), |row| row.get(0)).unwrap()
}

#[test]
fn parameters_come_from_payload_and_message() {
    let (bench, shop) = bench();
    let payload = r#"{"id": "o-1", "customer": {"number": 7}, "notes": ["hello"]}"#;
    bench.send(&[payload]);
    bench.work_off();
    let row = shop.query_row("SELECT * FROM orders", (), |row| {
        Ok((
            row.get::<_, i64>("customer")?,
            row.get::<_, String>("note")?,
            row.get::<_, String>("body")?,
            row.get::<_, i64>("attempt")?,
            row.get::<_, i64>("at")?,
        ))
    });
    let (customer, note, body, attempt, at) = row.unwrap();
    assert_eq!((customer, &*note, &*body, attempt), (7, "hello", payload, 1));
    assert!(at > 1_700_000_000_000, "{at}");
}

#[test]
fn a_bad_row_is_taken_back_alone_and_the_good_ones_commit() {
    let (bench, shop) = bench();
    let row = |id: usize, customer: &str| {
        format!("{{\"id\": \"o-{id}\", \"customer\": {{\"number\": {customer}}}}}\n")
    };
    let mut lines: String = (1..=40).map(|id| row(id, "1")).collect();
    let bad = [row(41, "null"), row(42, "-1"), row(43, "\"x\""), row(1, "5")];
    lines.extend(bad.iter().map(String::as_str));
    lines.push_str("not json\n");
    lines.extend((44..=60).map(|id| row(id, "2")));
    bench.forebay_with(&["send", "--config", "w.toml", "--raw", "-"], &lines).ok();
    bench.work_off();
    assert_eq!(count(&shop), 40 + 17);
    for (payload, expected) in [
        (bad[0].trim(), "permanent: NOT NULL constraint failed: orders.customer"),
        (bad[1].trim(), "permanent: CHECK constraint failed: customer > 0"),
        (bad[2].trim(), "permanent: cannot store TEXT value in INTEGER column orders.customer"),
        (bad[3].trim(), "permanent: UNIQUE constraint failed: orders.id"),
        ("not json", "permanent: the payload is not JSON"),
    ] {
        let death = bench.death_of(payload);
        assert!(death.starts_with(expected), "{death}");
    }
    assert_eq!(bench.dead().len(), 5);
}

#[test]
fn a_busy_database_is_waited_for() {
    let (bench, shop) = bench();
    bench.send(&[r#"{"id": "o-1", "customer": {"number": 7}}"#]);
    shop.execute_batch("BEGIN IMMEDIATE").unwrap();
    let worker = bench.run();
    wait_until("it is taken", || bench.depth()["leased"] == 1);
    shop.execute_batch("ROLLBACK").unwrap();
    bench.wait_until_empty();
    worker.stop().ok();
    assert_eq!((count(&shop), bench.dead().len()), (1, 0));
}

#[test]
fn a_statement_that_does_not_fit_is_refused_at_start() {
    let (bench, _shop) = bench();
    for (params, expected) in [
        ("", "`:customer` is in the statement and not here"),
        (
            "customer = '$.c'\ncustomr = '$.c'",
            "handler.sqlite.params.customr: the statement has no",
        ),
    ] {
        let statement = "INSERT INTO orders (customer) VALUES (:customer)";
        let handler = format!(
            "[handler.sqlite]\npath = 'shop.db'\nstatement = '{statement}'\n\
             [handler.sqlite.params]\n{params}"
        );
        bench.config("", &handler);
        let error = bench.forebay(&["check", "w.toml"]).err(2);
        assert!(error.contains(expected), "{error}");
    }
    bench.config(
        "",
        "[handler.sqlite]\npath = 'shop.db'\nstatement = 'INSERT INTO ordrs VALUES (1)'",
    );
    let error = bench.forebay(&["check", "w.toml"]).err(2);
    assert!(error.contains("handler.sqlite.statement: no such table: ordrs"), "{error}");
}
