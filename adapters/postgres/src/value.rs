//! Values on their way into a column, in the text form that PostgreSQL reads for each of its types.
//!
//! One form for all types: an enum, a domain, `numeric`, `jsonb`, an array or a type of an extension
//! needs no encoder here, and what is wrong with a value is said by the server, in its own words. The
//! same text goes into an INSERT and into a COPY.

use bytes::BytesMut;
use std::{error::Error, fmt::Write as _};
use tokio_postgres::types::{Format, IsNull, ToSql, Type};

/// One column's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value(Option<String>);

/// One row: a value for each column of the table, in its order.
pub type Row = Vec<Value>;

impl Value {
    /// NULL.
    pub const NULL: Self = Self(None);

    /// A value as PostgreSQL writes it: `17`, `2026-01-31T08:00:00Z`, `{"a": 1}`, `{1,2,3}`.
    #[must_use]
    pub fn text(text: impl Into<String>) -> Self {
        Self(Some(text.into()))
    }

    /// Bytes, for a `bytea` column.
    #[must_use]
    pub fn bytes(bytes: &[u8]) -> Self {
        let mut text = String::with_capacity(2 + 2 * bytes.len());
        text.push_str("\\x");
        for byte in bytes {
            // Writing into a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self(Some(text))
    }

    /// The text; `None` for NULL.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Appends it as COPY's text format wants it.
    pub(crate) fn copy_into(&self, out: &mut Vec<u8>) {
        let Some(text) = &self.0 else { return out.extend_from_slice(b"\\N") };
        // Most have nothing to escape, and are copied in one go.
        if !text.bytes().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r' | b'\t')) {
            return out.extend_from_slice(text.as_bytes());
        }
        for byte in text.bytes() {
            match byte {
                b'\\' => out.extend_from_slice(b"\\\\"),
                b'\n' => out.extend_from_slice(b"\\n"),
                b'\r' => out.extend_from_slice(b"\\r"),
                b'\t' => out.extend_from_slice(b"\\t"),
                byte => out.push(byte),
            }
        }
    }
}

/// As a parameter of any statement, with [`Type::UNKNOWN`]: the server finds out the type by where
/// the parameter stands, and reads the text as that.
///
/// ```no_run
/// # use forebay_postgres::{Transaction, Value, types::Type};
/// # async fn book(tx: &Transaction) -> Result<(), tokio_postgres::Error> {
/// let (amount, id) = (Value::text("12.50"), Value::from(17));
/// let sql = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";
/// tx.execute(sql, &[(&amount, Type::UNKNOWN), (&id, Type::UNKNOWN)]).await?;
/// # Ok(()) }
/// ```
impl ToSql for Value {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match &self.0 {
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
            None => IsNull::Yes,
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    tokio_postgres::types::to_sql_checked!();
}

macro_rules! from_display {
    ($($type:ty),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self(Some(value.to_string()))
            }
        }
    )*};
}

from_display!(i16, i32, i64, u32, u64, f32, f64, bool);

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self(Some(text))
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NULL, Into::into)
    }
}

/// Rows in COPY's text format.
pub(crate) fn copy_text<'a>(rows: impl IntoIterator<Item = &'a Row>) -> Vec<u8> {
    let mut out = Vec::new();
    for row in rows {
        for (index, value) in row.iter().enumerate() {
            if index > 0 {
                out.push(b'\t');
            }
            value.copy_into(&mut out);
        }
        out.push(b'\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_copy_would_take_for_syntax_is_escaped() {
        let rows =
            [vec![Value::from("a\tb\\N\r\n"), Value::NULL], vec![Value::from(1_i64), "".into()]];
        let text = String::from_utf8(copy_text(&rows)).unwrap();
        assert_eq!(text, "a\\tb\\\\N\\r\\n\t\\N\n1\t\n");
    }

    #[test]
    fn values_are_written_as_postgresql_reads_them() {
        assert_eq!(Value::bytes(b"\x00\xff"), Value::text("\\x00ff"));
        assert_eq!(Value::from(true), Value::text("true"));
        assert_eq!(Value::from(None::<i32>), Value::NULL);
        assert_eq!(Value::from(Some(-5_i64)), Value::text("-5"));
        assert_eq!(Value::from(0.1_f64), Value::text("0.1"));
    }
}
