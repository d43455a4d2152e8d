//! AMQP's header tables: as text for handlers, as bytes on the wire.
//!
//! A table's values have types (numbers, times, tables within tables); a Forebay header is bytes. So
//! text and bytes are shown as they are, a list as several values under its name, and all else as
//! text. What is copied is always the table itself, so no type is lost on the way.

use bytes::Bytes;
use lapin::types::{AMQPValue, FieldTable, LongString};
use std::fmt::Write;

/// Bytes as a header's value.
pub(crate) fn value(bytes: &[u8]) -> AMQPValue {
    AMQPValue::LongString(LongString::from(bytes))
}

/// What a header's value is to a handler: one value, or several where it is a list.
pub(crate) fn shown(value: &AMQPValue) -> impl Iterator<Item = Bytes> {
    let (one, list) = match value {
        AMQPValue::FieldArray(list) => (None, list.as_slice()),
        one => (Some(one), [].as_slice()),
    };
    one.into_iter().chain(list).map(bytes)
}

fn bytes(value: &AMQPValue) -> Bytes {
    match value {
        AMQPValue::LongString(text) => Bytes::copy_from_slice(text.as_bytes()),
        AMQPValue::ShortString(text) => Bytes::copy_from_slice(text.as_str().as_bytes()),
        AMQPValue::ByteArray(bytes) => Bytes::copy_from_slice(bytes.as_slice()),
        AMQPValue::Void => Bytes::new(),
        other => {
            let mut text = String::new();
            write_text(&mut text, other);
            text.into()
        }
    }
}

/// Writes a value as JSON would have it, as far as JSON can.
fn write_text(out: &mut String, value: &AMQPValue) {
    // Writing into a string cannot fail.
    let _ = match value {
        AMQPValue::Boolean(v) => write!(out, "{v}"),
        AMQPValue::ShortShortInt(v) => write!(out, "{v}"),
        AMQPValue::ShortShortUInt(v) => write!(out, "{v}"),
        AMQPValue::ShortInt(v) => write!(out, "{v}"),
        AMQPValue::ShortUInt(v) => write!(out, "{v}"),
        AMQPValue::LongInt(v) => write!(out, "{v}"),
        AMQPValue::LongUInt(v) => write!(out, "{v}"),
        AMQPValue::LongLongInt(v) => write!(out, "{v}"),
        AMQPValue::Float(v) => write!(out, "{v}"),
        AMQPValue::Double(v) => write!(out, "{v}"),
        AMQPValue::DecimalValue(v) => write!(out, "{}e-{}", v.value, v.scale),
        AMQPValue::Timestamp(v) => write!(out, "{v}"),
        AMQPValue::ShortString(v) => write!(out, "{:?}", v.as_str()),
        AMQPValue::LongString(v) => write!(out, "{:?}", String::from_utf8_lossy(v.as_bytes())),
        AMQPValue::ByteArray(v) => write!(out, "{:?}", String::from_utf8_lossy(v.as_slice())),
        AMQPValue::Void => write!(out, "null"),
        AMQPValue::FieldArray(list) => {
            out.push('[');
            for (i, value) in list.as_slice().iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                write_text(out, value);
            }
            write!(out, "]")
        }
        AMQPValue::FieldTable(table) => {
            out.push('{');
            for (i, (name, value)) in table.into_iter().enumerate() {
                let _ = write!(out, "{}{:?}:", if i > 0 { "," } else { "" }, name.as_str());
                write_text(out, value);
            }
            write!(out, "}}")
        }
    };
}

/// A whole number, whatever type it has.
pub(crate) fn number(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::ShortShortInt(v) => u64::try_from(*v).ok(),
        AMQPValue::ShortShortUInt(v) => Some(u64::from(*v)),
        AMQPValue::ShortInt(v) => u64::try_from(*v).ok(),
        AMQPValue::ShortUInt(v) => Some(u64::from(*v)),
        AMQPValue::LongInt(v) => u64::try_from(*v).ok(),
        AMQPValue::LongUInt(v) => Some(u64::from(*v)),
        AMQPValue::LongLongInt(v) => u64::try_from(*v).ok(),
        AMQPValue::Timestamp(v) => Some(*v),
        _ => None,
    }
}

/// Text, whatever type it has.
pub(crate) fn text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(v) => Some(String::from_utf8_lossy(v.as_bytes()).into_owned()),
        AMQPValue::ShortString(v) => Some(v.as_str().to_owned()),
        _ => None,
    }
}

/// How many bytes a table takes on the wire: it must fit into one frame.
pub(crate) fn wire_size(table: &FieldTable) -> usize {
    4 + table.into_iter().map(|(name, value)| 1 + name.as_str().len() + size(value)).sum::<usize>()
}

fn size(value: &AMQPValue) -> usize {
    1 + match value {
        AMQPValue::Void => 0,
        AMQPValue::Boolean(_) | AMQPValue::ShortShortInt(_) | AMQPValue::ShortShortUInt(_) => 1,
        AMQPValue::ShortInt(_) | AMQPValue::ShortUInt(_) => 2,
        AMQPValue::LongInt(_) | AMQPValue::LongUInt(_) | AMQPValue::Float(_) => 4,
        AMQPValue::DecimalValue(_) => 5,
        AMQPValue::LongLongInt(_) | AMQPValue::Double(_) | AMQPValue::Timestamp(_) => 8,
        AMQPValue::ShortString(v) => 4 + v.as_str().len(),
        AMQPValue::LongString(v) => 4 + v.len(),
        AMQPValue::ByteArray(v) => 4 + v.len(),
        AMQPValue::FieldArray(list) => 4 + list.as_slice().iter().map(size).sum::<usize>(),
        AMQPValue::FieldTable(table) => wire_size(table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(value: &AMQPValue) -> Vec<Bytes> {
        shown(value).collect()
    }

    #[test]
    fn text_and_bytes_are_shown_as_they_are_and_the_rest_as_text() {
        let mut table = FieldTable::default();
        table.insert("a".into(), AMQPValue::LongInt(-1));
        let nested = vec![AMQPValue::FieldTable(table), AMQPValue::Void].into();
        for (value, shows) in [
            (AMQPValue::LongString("x".into()), "x"),
            (AMQPValue::Boolean(true), "true"),
            (AMQPValue::LongLongInt(-7), "-7"),
            (AMQPValue::Void, ""),
            (AMQPValue::FieldTable(FieldTable::default()), "{}"),
        ] {
            assert_eq!(all(&value), [Bytes::from(shows)]);
        }
        assert_eq!(all(&AMQPValue::FieldArray(nested)), ["{\"a\":-1}", ""].map(Bytes::from));
        assert!(all(&AMQPValue::FieldArray(Vec::new().into())).is_empty());
    }

    #[test]
    fn the_size_on_the_wire_is_that_of_the_encoder() {
        let mut table = FieldTable::default();
        table.insert("n".into(), AMQPValue::LongLongInt(5));
        table.insert("bytes".into(), value(&[0, 255]));
        table.insert("list".into(), AMQPValue::FieldArray(vec![AMQPValue::Boolean(true)].into()));
        // 4 + (1+1 + 1+8) + (1+5 + 1+4+2) + (1+4 + 1+4+1+1)
        assert_eq!(wire_size(&table), 4 + 11 + 13 + 12);
    }
}
