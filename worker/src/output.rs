//! The one place that writes to standard output: lines, tables, and messages as JSON.
//!
//! Nothing here uses `println!`, which panics when a pipe closes: `forebay dead list | head` is to end
//! quietly.

use crate::error::CliError;
use forebay::{DeadLetter, FailureKind, Headers, Message};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    time::{Duration, SystemTime},
};

/// Writes a line.
///
/// # Errors
/// [`CliError::OutputClosed`] when nobody reads any more.
pub(crate) fn line(text: impl AsRef<str>) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_ref().as_bytes())?;
    stdout.write_all(b"\n")?;
    Ok(())
}

/// Writes rows under a heading, each column as wide as its widest cell; the last is cut to `width`.
///
/// # Errors
/// [`CliError::OutputClosed`] when nobody reads any more.
pub(crate) fn table<const N: usize>(
    heading: [&str; N],
    rows: &[[String; N]],
    width: Option<usize>,
) -> Result<(), CliError> {
    let mut widths = heading.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let heading = heading.map(str::to_owned);
    for row in std::iter::once(&heading).chain(rows) {
        let mut text = String::new();
        for (index, (cell, width)) in row.iter().zip(widths).enumerate() {
            if index + 1 == N {
                text.push_str(cell);
            } else {
                text.push_str(&format!("{cell:width$}  "));
            }
        }
        line(cut(text.trim_end(), width))?;
    }
    Ok(())
}

/// The text, no longer than `width` characters.
pub(crate) fn cut(text: &str, width: Option<usize>) -> String {
    match width {
        Some(width) if text.chars().count() > width => {
            let kept: String = text.chars().take(width.saturating_sub(1)).collect();
            kept + "…"
        }
        _ => text.to_owned(),
    }
}

/// A text as one line: what breaks lines or steers a terminal is shown, not done.
pub(crate) fn one_line(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// Bytes as text where they are, else as base64 with its prefix.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", base64::engine::general_purpose::STANDARD.encode(bytes)),
    }
}

/// A duration in its two largest units: `2m 10s`, `3h 5m`; below a second, milliseconds.
pub(crate) fn age(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |large: u64, unit: &str, small: u64, sub: &str| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{sub}"),
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => format!("{seconds}s"),
        60..3600 => two(seconds / 60, "m", seconds % 60, "s"),
        3600..86_400 => two(seconds / 3600, "h", seconds % 3600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

/// How long ago; `0ms` for what the clock puts into the future.
pub(crate) fn ago(at: SystemTime) -> String {
    age(SystemTime::now().duration_since(at).unwrap_or_default())
}

/// A time for machines: RFC 3339, UTC, to the millisecond.
pub(crate) fn timestamp(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at).to_string()
}

/// A message with all that is known of it. A payload that is JSON stays JSON.
pub(crate) fn message_json(message: &Message) -> Value {
    let payload = serde_json::from_slice::<Value>(&message.payload)
        .unwrap_or_else(|_| Value::String(text_of(&message.payload)));
    json!({
        "id": message.id.to_string(),
        "key": message.key.as_deref().map(text_of),
        "attempt": message.attempt + 1,
        "enqueued_at": message.enqueued_at.map(timestamp),
        "redrives": message.redrives,
        "headers": headers_json(&message.headers),
        "payload": payload,
    })
}

/// Headers as an object; a name that repeats has an array.
fn headers_json(headers: &Headers) -> Value {
    let mut object = serde_json::Map::new();
    for (name, value) in headers.iter() {
        let value = Value::String(text_of(value));
        match object.get_mut(name) {
            None => drop(object.insert(name.to_owned(), value)),
            Some(Value::Array(values)) => values.push(value),
            Some(first) => *first = Value::Array(vec![first.take(), value]),
        }
    }
    Value::Object(object)
}

/// How many attempts a dead letter has had. The message counts those that were followed by another;
/// the one that decided comes on top, unless it was none: a throttled call, or a worker's death.
pub(crate) fn attempts(letter: &DeadLetter) -> u32 {
    let decided_by = letter.last_failure().map(|note| note.kind);
    let was_none = matches!(decided_by, Some(FailureKind::Throttled | FailureKind::Interrupted));
    letter.message.attempt + u32::from(!was_none)
}

/// A dead letter with its history.
pub(crate) fn dead_json(letter: &DeadLetter) -> Value {
    let history: Vec<Value> = letter
        .message
        .history
        .notes()
        .iter()
        .map(|note| json!({"at": timestamp(note.at), "kind": note.kind, "error": note.error}))
        .collect();
    let mut message = message_json(&letter.message);
    if let Value::Object(fields) = &mut message {
        // It has had its attempts; what the next would be says nothing.
        fields.remove("attempt");
    }
    json!({
        "dead_id": letter.id.to_string(),
        "reason": letter.reason,
        "died_at": timestamp(letter.died_at),
        "queue": letter.origin.queue,
        "position": letter.origin.position,
        "attempts": attempts(letter),
        "message": message,
        "history": history,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_has_two_units_at_most() {
        let text = |seconds| age(Duration::from_secs(seconds));
        assert_eq!(age(Duration::from_millis(250)), "250ms");
        assert_eq!(text(59), "59s");
        assert_eq!(text(130), "2m 10s");
        assert_eq!(text(3600), "1h");
        assert_eq!(text(90_000), "1d 1h");
    }

    #[test]
    fn what_would_steer_a_terminal_is_shown() {
        assert_eq!(one_line("a\n\u{1b}[2J ü"), "a\\n\\u{1b}[2J ü");
    }

    #[test]
    fn a_header_that_repeats_keeps_all_its_values() {
        let headers: Headers = [("a", "1"), ("b", "2"), ("a", "3")].into_iter().collect();
        assert_eq!(headers_json(&headers), json!({"a": ["1", "3"], "b": "2"}));
    }

    #[test]
    fn a_payload_is_json_text_or_base64() {
        let payload =
            |bytes: &'static [u8]| message_json(&Message::new(1, bytes))["payload"].clone();
        assert_eq!(payload(b"{\"a\":1}"), json!({"a": 1}));
        assert_eq!(payload(b"hello"), json!("hello"));
        assert_eq!(payload(b"\xff\x00"), json!("base64:/wA="));
    }
}
