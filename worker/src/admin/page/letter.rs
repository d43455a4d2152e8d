//! One dead letter, with all that is known of it. Bytes that are text travel as text, others as base64;
//! what is long is cut, and says how long it is: the page is to show a letter, not to carry it.

use super::{error::ApiError, live::millis};
use crate::{admin::Admin, output};
use axum::{
    Json,
    extract::{Path, State},
    http::StatusCode,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use forebay::{DeadFilter, DeadId, DeadLetter, DeadLetters};
use serde_json::{Value, json};
use std::time::SystemTime;

/// How much is shown of a payload, and of a key or a header's value, in bytes.
const PAYLOAD: usize = 256 << 10;
const VALUE: usize = 4 << 10;
/// How many headers are shown.
const HEADERS: usize = 200;
/// The longest id that is looked for.
pub(super) const ID: usize = 1024;

/// `GET /api/dead/{id}`
pub(super) async fn show(
    State(admin): State<Admin>,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    let missing = || {
        ApiError::refused(
            StatusCode::NOT_FOUND,
            "there is no such dead letter",
            "it may have been redriven or purged: look at the list again",
        )
    };
    if id.len() > ID {
        return Err(missing());
    }
    let filter =
        DeadFilter { ids: Some(vec![DeadId(id.as_str().into())]), ..DeadFilter::default() };
    let found = admin.queue().list(&filter, None, 1).await?;
    found.first().map(|letter| Json(whole(letter))).ok_or_else(missing)
}

fn whole(letter: &DeadLetter) -> Value {
    let message = &letter.message;
    let headers = message.headers.iter().take(HEADERS);
    let headers = headers.map(|(name, value)| json!({"name": name, "value": value_json(value)}));
    let notes = message.history.notes().iter();
    let history = notes.map(
        |note| json!({"at_ms": millis(note.at), "kind": note.kind.as_str(), "error": note.error}),
    );
    let shown = &message.payload[..message.payload.len().min(PAYLOAD)];
    json!({
        "dead_id": letter.id.to_string(),
        "message_id": message.id.to_string(),
        "reason": letter.reason.as_str(),
        "queue": letter.origin.queue,
        "position": letter.origin.position,
        "died_at_ms": millis(letter.died_at),
        "enqueued_at_ms": message.enqueued_at.map(millis),
        "attempts": output::attempts(letter),
        "redrives": message.redrives,
        "key": message.key.as_deref().map(value_json),
        "headers": headers.collect::<Vec<_>>(),
        "headers_left_out": message.headers.len().saturating_sub(HEADERS),
        "history": history.collect::<Vec<_>>(),
        "payload": {
            "base64": STANDARD.encode(shown),
            "bytes": message.payload.len(),
            "cut": shown.len() < message.payload.len(),
        },
        "as_of_ms": millis(SystemTime::now()),
    })
}

/// A short value: as text where it is, else as base64.
fn value_json(bytes: &[u8]) -> Value {
    let cut = bytes.len() > VALUE;
    let (bytes, all) = (&bytes[..bytes.len().min(VALUE)], bytes.len());
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({"text": text, "bytes": all, "cut": cut}),
        // A character cut in two at the end is no reason to show bytes.
        Err(error) if cut && error.error_len().is_none() => {
            let text = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            json!({"text": text, "bytes": all, "cut": cut})
        }
        Err(_) => json!({"base64": STANDARD.encode(bytes), "bytes": all, "cut": cut}),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_text_or_bytes_and_says_where_it_was_cut() {
        assert_eq!(value_json(b"abc"), json!({"text": "abc", "bytes": 3, "cut": false}));
        assert_eq!(value_json(b"\xff\0"), json!({"base64": "/wA=", "bytes": 2, "cut": false}));
        let long = format!("{}ü and more", "a".repeat(VALUE - 1));
        let value = value_json(long.as_bytes());
        assert_eq!(value["text"], "a".repeat(VALUE - 1));
        assert_eq!((&value["bytes"], &value["cut"]), (&json!(long.len()), &json!(true)));
    }
}
