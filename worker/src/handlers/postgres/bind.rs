//! What a message's values look like to PostgreSQL: text that the server reads as the type of the
//! column or parameter. Two types need to be known here, as the same text means something else to them.
//!
//! - `json`, `jsonb`: a string of the payload stays a JSON string, in its quotes.
//! - `bytea`: bytes are written in hexadecimal, since a backslash among them would begin an escape.

use crate::{
    config::Param,
    handlers::{
        Finding,
        bind::{self, Bound},
    },
};
use forebay::{Bytes, Job};
use forebay_postgres::{Row, Value};

/// A type, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Bytes,
    Other,
    /// The server could not be asked.
    Unknown,
}

impl Kind {
    /// By the type's name in SQL.
    pub(super) fn of(sql_type: &str) -> Self {
        match sql_type {
            "json" | "jsonb" => Self::Json,
            "bytea" => Self::Bytes,
            _ => Self::Other,
        }
    }
}

/// Where the values of a row come from, and what they are for.
#[derive(Clone, Debug)]
pub(super) struct Binding {
    /// In the order of columns or parameters.
    pub(super) params: Vec<Param>,
    /// One for each.
    pub(super) kinds: Vec<Kind>,
}

impl Binding {
    /// The values for one message.
    pub(super) fn row(&self, job: &Job<Bytes>) -> Result<Row, Finding> {
        bind::values(&self.params, job, |index, bound| {
            value(self.kinds.get(index).copied().unwrap_or(Kind::Unknown), bound)
        })
    }
}

fn value(kind: Kind, bound: Bound<'_>) -> Result<Value, String> {
    Ok(match bound {
        Bound::Nothing => Value::NULL,
        Bound::Json(json) if kind == Kind::Json => Value::text(json.get()),
        Bound::Json(json) if json.get().starts_with('"') => {
            let text: Result<String, _> = serde_json::from_str(json.get());
            Value::text(text.map_err(|error| error.to_string())?)
        }
        Bound::Json(json) => Value::text(json.get()),
        Bound::Id(id) => Value::text(id),
        Bound::Bytes(bytes) => match (kind, std::str::from_utf8(bytes)) {
            (Kind::Bytes, _) | (Kind::Unknown, Err(_)) => Value::bytes(bytes),
            (_, Ok(text)) => Value::text(text),
            (_, Err(_)) => return Err("it is not UTF-8; a `bytea` would take it".to_owned()),
        },
        Bound::Attempt(attempt) => Value::from(attempt),
        Bound::Time(at) => Value::text(humantime::format_rfc3339_micros(at).to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::value::RawValue;
    use std::time::{Duration, UNIX_EPOCH};

    fn json(kind: Kind, text: &str) -> Result<Value, String> {
        let raw: &RawValue = serde_json::from_str(text).unwrap();
        value(kind, Bound::Json(raw))
    }

    #[test]
    fn json_is_text_as_postgresql_reads_it_and_stays_json_where_that_is_wanted() {
        for (text, plain) in [
            ("12.50", "12.50"),
            ("18446744073709551616.000000000000000001", "18446744073709551616.000000000000000001"),
            ("true", "true"),
            (r#""a\"b\u00fc""#, "a\"bü"),
            (r#"{"b": 1,  "a": [null]}"#, r#"{"b": 1,  "a": [null]}"#),
        ] {
            assert_eq!(json(Kind::Other, text), Ok(Value::text(plain)));
            assert_eq!(json(Kind::Json, text), Ok(Value::text(text)));
        }
        assert!(json(Kind::Other, r#""\ud800""#).is_err(), "half of a pair is no text");
    }

    #[test]
    fn bytes_are_text_only_where_they_are() {
        let bytes = |kind, bytes: &'static [u8]| value(kind, Bound::Bytes(&Bytes::from(bytes)));
        assert_eq!(bytes(Kind::Other, b"a\\b"), Ok(Value::text("a\\b")));
        assert_eq!(bytes(Kind::Bytes, b"a\\b"), Ok(Value::text("\\x615c62")));
        assert_eq!(bytes(Kind::Unknown, b"\xff"), Ok(Value::text("\\xff")));
        assert!(bytes(Kind::Other, b"\xff").is_err());
    }

    #[test]
    fn a_time_is_one_that_a_timestamp_takes() {
        let at = UNIX_EPOCH + Duration::from_micros(1_769_846_400_123_456);
        let text = value(Kind::Other, Bound::Time(at)).unwrap();
        assert_eq!(text, Value::text("2026-01-31T08:00:00.123456Z"));
        assert_eq!(value(Kind::Other, Bound::Nothing), Ok(Value::NULL));
        assert_eq!(value(Kind::Other, Bound::Attempt(2)), Ok(Value::text("2")));
    }
}
