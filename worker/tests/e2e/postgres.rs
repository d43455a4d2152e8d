//! `[handler.postgres]` with the real server: rows, statements, and each of them once.

use crate::{
    bench::{Bench, wait_until},
    brokers_at::{Broker, fresh},
    database::{Database, pgbouncer, send_lines},
};

const ORDERS: &str = "CREATE TABLE orders (
    id text PRIMARY KEY, customer int NOT NULL CONSTRAINT known CHECK (customer > 0), amount numeric,
    note text, tags jsonb, body bytea, attempt int, at timestamptz)";

/// A row of [`ORDERS`].
const COLUMNS: &str = "[handler.postgres.columns]
id = '$.id'
customer = '$.customer.number'
amount = '$.amount'
note = '$.notes[0]'
tags = '$.tags'
body = '@payload'
attempt = '@attempt'
at = '@enqueued_at'";

fn with_orders() -> Database {
    let database = Database::new();
    database.run(ORDERS);
    database
}

fn order(id: usize, customer: &str) -> String {
    format!("{{\"id\": \"o-{id}\", \"customer\": {{\"number\": {customer}}}}}\n")
}

#[test]
fn values_come_from_payload_and_message_as_they_were_written() {
    let database = with_orders();
    let table = database.table("orders");
    let bench = Bench::new();
    bench.config("", &format!("{}table = '{table}'\n{COLUMNS}", database.handler()));
    let payload = r#"{"id": "o-1", "customer": {"number": 7}, "amount": 12345678901234567890.10, "notes": ["a\\b\t\"ü\""], "tags": "x\\y"}"#;
    bench.send(&[payload]);
    bench.work_off();
    for (column, expected) in [
        ("customer", "7"),
        ("amount", "12345678901234567890.10"),
        ("note", "a\\b\t\"ü\""),
        ("tags", r#""x\\y""#),
        ("convert_from(body, 'UTF8')", payload),
        ("attempt", "1"),
        ("at > now() - interval '1 hour' AND at <= now()", "true"),
    ] {
        assert_eq!(database.text(&format!("SELECT {column} FROM orders")), expected, "{column}");
    }
}

#[test]
fn a_bad_row_is_a_dead_letter_in_the_servers_words_and_the_rest_is_written() {
    for method in ["insert", "copy"] {
        let database = with_orders();
        let handler = format!(
            "{}table = '{}'\nmethod = '{method}'\n{COLUMNS}",
            database.handler(),
            database.table("orders")
        );
        let bench = Bench::new();
        bench.config("batch = { size = 50, age = '10ms' }", &handler);
        let bad = [order(41, "null"), order(42, "-1"), order(43, "\"x\""), order(1, "5")];
        let mut lines: String = (1..=40).map(|id| order(id, "1")).collect();
        lines.extend(bad.iter().map(String::as_str));
        lines.push_str("not json\n");
        lines.extend((44..=60).map(|id| order(id, "2")));
        send_lines(&bench, &lines);
        let done = bench.work_off();
        assert!(
            done.stderr.contains("written=57") && done.stderr.contains("refused=4"),
            "{done:#?}"
        );
        assert_eq!(database.rows("orders", "id"), (57, 57), "{method}");
        // Two workers' batches may come in any order: which of the two `o-1` is the second is open.
        let first = bench
            .dead()
            .iter()
            .any(|letter| letter["message"]["payload"]["customer"]["number"] == 1);
        let twice = if first { order(1, "1") } else { order(1, "5") };
        for (payload, words) in [
            (bad[0].trim(), &["SQLSTATE 23502", "column customer"][..]),
            (bad[1].trim(), &["SQLSTATE 23514", "constraint known"]),
            (bad[2].trim(), &["SQLSTATE 22P02", "invalid input syntax for type integer: \"x\""]),
            (twice.trim(), &["SQLSTATE 23505", "constraint orders_pkey", "(id)=(o-1)"]),
            ("not json", &["the payload is not JSON"]),
        ] {
            let death = bench.death_of(payload);
            assert!(death.starts_with("permanent: "), "{death}");
            for word in words {
                assert!(death.contains(word), "{method}: no `{word}` in {death}");
            }
        }
        assert_eq!(bench.dead().len(), 5);
    }
}

#[test]
fn a_statement_runs_for_each_message_alone_or_in_batches_behind_pgbouncer() {
    for (worker, messages) in [("batch = { size = 1 }", 60), ("", 400)] {
        let database = Database::new();
        database
            .run("CREATE TABLE stock (item text PRIMARY KEY, n bigint NOT NULL CHECK (n < 1000))");
        let stock = database.table("stock");
        let handler = format!(
            "{}statement = '''
INSERT INTO {stock} AS old VALUES (:item, :n) -- :item
ON CONFLICT (item) DO UPDATE SET n = old.n + EXCLUDED.n'''
params = {{ item = '$.item', n = '$.n' }}",
            database.handler_at(&pgbouncer())
        );
        let bench = Bench::new();
        bench.config(worker, &handler);
        let mut lines: String =
            (0..messages).map(|n| format!("{{\"item\": \"i{}\", \"n\": 1}}\n", n % 7)).collect();
        lines.push_str("{\"item\": \"i0\", \"n\": 1000}\n{\"item\": null, \"n\": 1}\n");
        send_lines(&bench, &lines);
        bench.work_off();
        assert_eq!(database.number("SELECT sum(n) FROM stock"), messages);
        assert_eq!(bench.dead().len(), 2, "{:#?}", bench.dead());
        let null = bench.death_of("{\"item\": null, \"n\": 1}");
        assert!(null.contains("SQLSTATE 23502") && null.contains("column item"), "{null}");
        let check = bench.death_of("{\"item\": \"i0\", \"n\": 1000}");
        assert!(check.contains("SQLSTATE 23514"), "{check}");
    }
}

#[test]
fn a_message_that_comes_again_has_no_second_effect() {
    let database = Database::new();
    database.run("CREATE TABLE log (n int)");
    let write = format!(
        "{}table = '{}'\ncolumns = {{ n = '$' }}\n",
        database.handler(),
        database.table("log")
    );
    let bench = Bench::new();
    bench.config("", &write);
    let send = |n: &str| bench.forebay(&["send", "--config", "w.toml", "--id-path", "$", n]).ok();
    for n in ["1", "2", "3", "2"] {
        send(n);
    }
    bench.work_off();
    assert_eq!(database.rows("log", "n"), (3, 3));
    // Another process, a day later: the producer repeats itself.
    send("3");
    let done = bench.work_off();
    assert!(done.stderr.contains("written=0") && done.stderr.contains("duplicates=1"), "{done:#?}");
    assert_eq!(database.rows("log", "n"), (3, 3));
    let consumer = "SELECT count(*) FROM forebay_inbox WHERE consumer = 'orders'";
    assert_eq!(database.number(consumer), 3);
    // Somebody else's inbox knows nothing of it; without one, all of it is written again.
    for (inbox, rows) in [("{ consumer = 'audit', retention = '30days' }", 4), ("false", 5)] {
        bench.config("", &format!("{write}inbox = {inbox}\n"));
        send("3");
        bench.work_off();
        assert_eq!(database.rows("log", "n"), (rows, 3), "{inbox}");
    }
    assert_eq!(database.number("SELECT count(*) FROM forebay_inbox WHERE consumer = 'audit'"), 1);
}

#[test]
fn a_row_that_is_there_is_left_or_updated_as_the_config_says() {
    for (conflict, expected) in
        [("conflict = 'skip'", "old"), ("conflict = 'update'\nkey = ['id']", "new")]
    {
        let database = Database::new();
        database
            .run("CREATE TABLE t (id int PRIMARY KEY, note text); INSERT INTO t VALUES (1, 'old')");
        let bench = Bench::with_handler(&format!(
            "{}table = '{}'\n{conflict}\ncolumns = {{ id = '$.id', note = '$.note' }}",
            database.handler(),
            database.table("t")
        ));
        bench.send(&[r#"{"id": 1, "note": "new"}"#, r#"{"id": 2, "note": "x"}"#]);
        bench.work_off();
        assert_eq!(database.text("SELECT note FROM t WHERE id = 1"), expected);
        assert_eq!((database.rows("t", "id"), bench.dead().len()), ((2, 2), 0));
    }
}

#[test]
fn from_rabbitmq_each_message_is_written_once() {
    let database = Database::new();
    database.run("CREATE TABLE log (n int)");
    let queue = fresh("postgres");
    let source = Broker::Rabbitmq.keys(&queue);
    let bench = Bench::new();
    let config = |identity: &str| {
        format!(
            "[source.rabbitmq]\n{source}{identity}\n[retry]\nbase = '1ms'\ncap = '50ms'\n\
             {}table = '{}'\ncolumns = {{ n = '$' }}\n",
            database.handler(),
            database.table("log")
        )
    };
    // Without a promise of identities, an inbox would recognise nothing.
    bench.write("w.toml", &config(""));
    bench.send(&["0"]);
    for command in ["check", "run"] {
        let error = bench.forebay(&[command, "w.toml"]).err(2);
        assert!(
            error.contains("handler.postgres") && error.contains("another identity"),
            "{error}"
        );
        assert!(
            error.contains("identity = \"required\"") && error.contains("inbox = false"),
            "{error}"
        );
    }
    bench.write("w.toml", &config("identity = 'required'"));
    let lines: String = (1..200).map(|n| format!("{n}\n")).collect();
    send_lines(&bench, &lines);
    let worker = bench.run();
    wait_until("all are written", || database.rows("log", "n").1 == 200);
    worker.stop().ok();
    assert_eq!(database.rows("log", "n"), (200, 200));
}
