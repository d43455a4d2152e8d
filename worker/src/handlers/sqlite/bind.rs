//! What a statement's parameters are bound to, checked once and done for each message.

use super::Wrong;
use crate::{
    config::{Param, SqliteConfig},
    handlers::{
        Finding,
        bind::{self, Bound},
    },
};
use forebay::{Bytes, Job};
use rusqlite::{Connection, types::Value};
use serde_json::Value as Json;
use std::time::UNIX_EPOCH;

/// Prepares the statement, holds its parameters against the configured ones, and puts those into the
/// statement's order.
pub(super) fn order(connection: &Connection, config: &SqliteConfig) -> Result<Vec<Param>, Wrong> {
    let wrong = |why: String| ("statement".to_owned(), why);
    let statement =
        connection.prepare(&config.statement).map_err(|error| wrong(error.to_string()))?;
    let mut names = Vec::new();
    for index in 1..=statement.parameter_count() {
        let Some(name) = statement.parameter_name(index) else {
            return Err(wrong("`?` has no name: write `:name`".to_owned()));
        };
        let Some(name) = name.strip_prefix(':') else {
            return Err(wrong(format!("write `:name` instead of `{name}`")));
        };
        names.push(name);
    }
    bind::in_order(&names, &config.params)
}

/// What the parameters are for one message, in the statement's order.
pub(super) fn values(order: &[Param], job: &Job<Bytes>) -> Result<Vec<Value>, Finding> {
    bind::values(order, job, |_, bound| {
        Ok(match bound {
            Bound::Nothing => Value::Null,
            Bound::Json(json) => json_value(json.get())?,
            Bound::Id(id) => Value::Text(id),
            Bound::Bytes(bytes) => text_or_blob(bytes),
            Bound::Attempt(attempt) => Value::Integer(attempt.into()),
            // Milliseconds since 1970.
            Bound::Time(at) => at
                .duration_since(UNIX_EPOCH)
                .ok()
                .and_then(|since| i64::try_from(since.as_millis()).ok())
                .map_or(Value::Null, Value::Integer),
        })
    })
}

fn text_or_blob(bytes: &Bytes) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::Text(text.to_owned()),
        Err(_) => Value::Blob(bytes.to_vec()),
    }
}

/// As SQLite's own `json_extract` does it: booleans are 1 and 0, arrays and objects their JSON text.
fn json_value(json: &str) -> Result<Value, String> {
    let json: Json = serde_json::from_str(json).map_err(|error| error.to_string())?;
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(bool) => Value::Integer(bool.into()),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => Value::Integer(integer),
            // A rounded number would be another one.
            (None, _) if number.is_u64() => {
                return Err("the number is too large for an INTEGER".to_owned());
            }
            (None, Some(real)) => Value::Real(real),
            (None, None) => return Err("the number is too large".to_owned()),
        },
        Json::String(text) => Value::Text(text),
        Json::Array(_) | Json::Object(_) => Value::Text(json.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn order_of(statement: &str, params: &[&str]) -> Result<Vec<Param>, Wrong> {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (a, b)").unwrap();
        let param = |name: &&str| ((*name).to_owned(), Param::Json("$".parse().unwrap()));
        let params: BTreeMap<_, _> = params.iter().map(param).collect();
        order(&connection, &SqliteConfig { path: "x".into(), statement: statement.into(), params })
    }

    #[test]
    fn parameters_and_statement_must_fit() {
        assert_eq!(order_of("INSERT INTO t VALUES (:b, :a)", &["a", "b"]).unwrap().len(), 2);
        for (statement, params, expected) in [
            ("INSERT INTO t VALUES (:amont, 1)", &["amount"][..], "did you mean `:amount`?"),
            ("INSERT INTO t VALUES (:a, 1)", &["a", "b"], "the statement has no `:b`"),
            ("INSERT INTO t VALUES (?, 1)", &[], "`?` has no name"),
            ("INSERT INTO t VALUES (@a, 1)", &["a"], "write `:name` instead of `@a`"),
            ("INSERT INTO u VALUES (1)", &[], "no such table: u"),
            ("DELETE FROM t; DELETE FROM t", &[], "ultiple"),
        ] {
            let (_, error) = order_of(statement, params).unwrap_err();
            assert!(error.contains(expected), "{statement}: {error}");
        }
    }

    #[test]
    fn json_becomes_what_json_extract_would_make_of_it() {
        assert_eq!(json_value("true"), Ok(Value::Integer(1)));
        assert_eq!(json_value("-3"), Ok(Value::Integer(-3)));
        assert_eq!(json_value("1.5"), Ok(Value::Real(1.5)));
        assert_eq!(json_value("\"x\""), Ok(Value::Text("x".into())));
        assert_eq!(json_value("[1 ]"), Ok(Value::Text("[1]".into())));
        assert_eq!(json_value("null"), Ok(Value::Null));
        assert!(json_value(&u64::MAX.to_string()).is_err());
    }
}
