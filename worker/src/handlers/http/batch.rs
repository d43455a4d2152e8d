//! Many messages in one POST: how they are written, and how the answer is shared out among them.
//!
//! The body is a JSON array of `{"id", "key", "attempt", "payload"}`. The identity goes along because
//! a batch may arrive twice, and the receiver needs something to recognise its parts by.

use crate::{
    config::{Codes, Meaning},
    handlers::Finding,
};
use forebay::{Bytes, Job};
use reqwest::{StatusCode, header::HeaderMap};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::time::{Duration, SystemTime};

/// One message in the body.
#[derive(Serialize)]
struct Item<'a> {
    id: String,
    key: Option<std::borrow::Cow<'a, str>>,
    attempt: u32,
    payload: &'a RawValue,
}

/// A body, and which messages are not in it because their payload is not JSON.
pub(super) struct Body {
    /// The JSON array.
    pub(super) json: Vec<u8>,
    /// By index: why a message could not be put into it.
    pub(super) unfit: Vec<Option<Finding>>,
}

/// Writes the messages as one body.
pub(super) fn body(jobs: &[Job<Bytes>]) -> Result<Body, serde_json::Error> {
    let mut items = Vec::with_capacity(jobs.len());
    let mut unfit = Vec::with_capacity(jobs.len());
    for job in jobs {
        match serde_json::from_slice::<&RawValue>(&job.payload) {
            Ok(payload) => {
                let key = job.key().map(|key| String::from_utf8_lossy(key));
                items.push(Item { id: job.id().to_string(), key, attempt: job.attempt(), payload });
                unfit.push(None);
            }
            Err(error) => unfit.push(Some(Finding::new(
                Meaning::Permanent,
                format!("a batch is posted as a JSON array, and the payload is not JSON: {error}"),
            ))),
        }
    }
    let json = if items.is_empty() { Vec::new() } else { serde_json::to_vec(&items)? };
    Ok(Body { json, unfit })
}

/// What became of one message, in the answer's array: a status, or a status and more.
#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Status(u16),
    More {
        status: u16,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        retry_after: Option<u64>,
    },
}

/// The answer as one finding per message that was sent; `None` where it is not an array, so that the
/// status of the whole counts for all.
pub(super) fn parts(
    body: &[u8],
    sent: usize,
    codes: &Codes,
    now: SystemTime,
) -> Option<Result<Vec<Finding>, Finding>> {
    let text = body.trim_ascii();
    if !text.starts_with(b"[") {
        return None;
    }
    let wrong = |why: String| {
        // Nobody can tell which were done: all of them stay, and are sent again.
        let expected =
            "expected one status per message, such as [200, {\"status\": 422, \"error\": \"…\"}]";
        Some(Err(Finding::new(Meaning::Transient, format!("{why}: {expected}"))))
    };
    let parts: Vec<Part> = match serde_json::from_slice(text) {
        Ok(parts) => parts,
        Err(error) => return wrong(format!("the answer's array cannot be read: {error}")),
    };
    if parts.len() != sent {
        return wrong(format!("the answer has {} parts for {sent} messages", parts.len()));
    }
    let findings = parts.into_iter().map(|part| part.judge(codes, now)).collect::<Result<_, _>>();
    match findings {
        Ok(findings) => Some(Ok(findings)),
        Err(status) => wrong(format!("the answer has the status {status}")),
    }
}

impl Part {
    fn judge(self, codes: &Codes, now: SystemTime) -> Result<Finding, u16> {
        let (status, error, retry_after) = match self {
            Self::Status(status) => (status, None, None),
            Self::More { status, error, retry_after } => (status, error, retry_after),
        };
        let code = StatusCode::from_u16(status).map_err(|_| status)?;
        let mut finding = super::answer::judge(
            code,
            &HeaderMap::new(),
            error.as_deref().unwrap_or(""),
            codes,
            now,
        );
        if finding.meaning == Meaning::Throttled {
            finding.after = retry_after.map(Duration::from_secs);
        }
        Ok(finding)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, sent: usize) -> Option<Result<Vec<Meaning>, String>> {
        let parts = parts(body.as_bytes(), sent, &Codes::default(), SystemTime::now())?;
        Some(match parts {
            Ok(findings) => Ok(findings.into_iter().map(|finding| finding.meaning).collect()),
            Err(finding) => {
                assert_eq!(finding.meaning, Meaning::Transient);
                Err(finding.text)
            }
        })
    }

    #[test]
    fn an_array_answers_for_each_message() {
        assert_eq!(
            read(r#" [200, {"status": 422, "error": "no"}, {"status": 429, "retry_after": 3}]"#, 3),
            Some(Ok(vec![Meaning::Ack, Meaning::Permanent, Meaning::Throttled]))
        );
    }

    #[test]
    fn anything_but_an_array_leaves_it_to_the_status() {
        assert_eq!(read("", 2), None);
        assert_eq!(read("ok", 2), None);
        assert_eq!(read(r#"{"accepted": 2}"#, 2), None);
    }

    #[test]
    fn an_array_that_does_not_fit_acknowledges_nothing() {
        for body in ["[200]", "[200, 200, 200]", "[200, \"x\"]", "[200, 7]", "[200,"] {
            assert!(read(body, 2).unwrap().unwrap_err().contains("expected one status"), "{body}");
        }
    }
}
