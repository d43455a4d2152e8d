//! Every type of column takes what it should, by INSERT and by COPY alike, and refuses the rest.

use crate::support::Place;
use forebay::MessageId;
use forebay_postgres::{BatchSink, Method, Row, Table, TableOptions, Value, types::Type};

const COLUMNS: [&str; 14] = ["i", "n", "s", "v", "c", "b", "j", "t", "e", "a", "o", "d", "u", "f"];

async fn place() -> Place {
    let place = Place::new().await;
    place
        .run(
            "CREATE TYPE mood AS ENUM ('sad', 'happy');
             CREATE DOMAIN positive AS int CHECK (VALUE > 0);
             CREATE TABLE t (i bigint, n numeric(10,2), s text, v varchar(3), c char(3), b bytea, j jsonb,
                 t timestamptz, e mood, a int[], o bool, d positive, u uuid, f float8)",
        )
        .await;
    place
}

fn good() -> Row {
    vec![
        Value::from(-9_000_000_000_i64),
        Value::text("12.345"), // rounded, as an assignment does
        Value::from("tab\t newline\n return\r backslash\\ \\N \\. quote' \"{}, ü"),
        Value::from("abc"),
        Value::from("ab"),
        Value::bytes(b"\x00\xff\\"),
        Value::text(r#"{"a": [1, null, "x\ny"]}"#),
        Value::text("2026-01-31T08:00:00Z"),
        Value::from("happy"),
        Value::text("{1,NULL,3}"),
        Value::from(true),
        Value::from(5),
        Value::text("00000000-0000-0000-0000-00000000002a"),
        Value::from(0.1_f64),
    ]
}

async fn sinks(place: &Place) -> Vec<BatchSink> {
    let pool = place.pool().await;
    let mut sinks = Vec::new();
    for method in [Method::Insert, Method::Copy] {
        let options = TableOptions::new(place.table("t"), COLUMNS).method(method);
        sinks.push(BatchSink::new(&pool, Table::open(&pool, options).await.unwrap(), None));
    }
    sinks
}

#[tokio::test]
async fn values_arrive_as_they_were_meant() {
    let place = place().await;
    for sink in sinks(&place).await {
        place.run("TRUNCATE t").await;
        let nulls = vec![Value::NULL; COLUMNS.len()];
        let mut empty = nulls.clone();
        empty[2] = Value::from("");
        let rows = [good(), nulls, empty];
        let messages = rows.into_iter().map(|row| (MessageId::from(1), row)).collect();
        for result in sink.write(messages).await {
            result.unwrap();
        }
        let same = "SELECT count(*) FROM t WHERE i = -9000000000 AND n = 12.35 AND
            s = E'tab\\t newline\\n return\\r backslash\\\\ \\\\N \\\\. quote'' \"{}, ü' AND v = 'abc' AND c = 'ab' AND
            b = '\\x00ff5c' AND j = '{\"a\": [1, null, \"x\\ny\"]}' AND t = '2026-01-31 08:00:00+00' AND e = 'happy' AND
            a = '{1,NULL,3}' AND o AND d = 5 AND u = '00000000-0000-0000-0000-00000000002a' AND f = 0.1";
        assert_eq!(place.number(same).await, 1);
        assert_eq!(place.number("SELECT count(*) FROM t WHERE s IS NULL AND t IS NULL").await, 1);
        assert_eq!(place.number("SELECT count(*) FROM t WHERE s = ''").await, 1);
    }
}

#[tokio::test]
async fn a_value_is_a_parameter_of_any_type() {
    let place = place().await;
    let tx = place.pool().await.begin().await.unwrap();
    let table = place.table("t");
    let sql = format!(
        "INSERT INTO {table} ({}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        COLUMNS.join(", ")
    );
    for row in [good(), vec![Value::NULL; COLUMNS.len()]] {
        let parameters: Vec<_> = row.iter().map(|value| (value as _, Type::UNKNOWN)).collect();
        assert_eq!(tx.execute(&sql, &parameters).await.unwrap(), 1);
    }
    let sql = format!("SELECT s FROM {table} WHERE i = $1 AND e = $2");
    let (i, e) = (Value::from(-9_000_000_000_i64), Value::from("happy"));
    let rows = tx.query(&sql, &[(&i, Type::UNKNOWN), (&e, Type::UNKNOWN)]).await.unwrap();
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].get::<_, Option<&str>>(0), good()[2].as_text());
    tx.commit().await.unwrap();
    assert_eq!(place.number("SELECT count(*) FROM t").await, 2);
}

#[tokio::test]
async fn what_a_type_does_not_take_is_refused_and_never_cut() {
    let place = place().await;
    let bad: [(usize, &str, &str); 12] = [
        (0, "9223372036854775808", "22003"),
        (1, "123456789", "22003"),
        (2, "nul\0", "22021"),
        (3, "abcd", "22001"),
        (4, "abcd", "22001"),
        (5, "\\x0", "22023"),
        (6, "{", "22P02"),
        (7, "yesterday evening", "22007"),
        (8, "angry", "22P02"),
        (9, "{1,x}", "22P02"),
        (11, "0", "23514"),
        (12, "42", "22P02"),
    ];
    for sink in sinks(&place).await {
        place.run("TRUNCATE t").await;
        for (column, text, code) in bad {
            let mut row = good();
            row[column] = Value::text(text);
            let messages = [good(), row, good()].map(|row| (MessageId::from(1), row)).into();
            let results = sink.write(messages).await;
            let name = COLUMNS[column];
            assert!(results[0].is_ok() && results[2].is_ok(), "{name}: {results:?}");
            let failure = results[1].as_ref().unwrap_err();
            assert!(crate::support::is_permanent(failure), "{name}: {failure:?}");
            assert!(failure.to_string().contains(code), "{name}: {failure}");
        }
        let written = i64::try_from(2 * bad.len()).unwrap();
        assert_eq!(place.number("SELECT count(*) FROM t").await, written);
        assert_eq!(place.number("SELECT count(*) FROM t WHERE v = 'abc'").await, written);
    }
}
