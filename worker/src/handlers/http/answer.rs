//! From an HTTP answer to what it means for the message.
//!
//! The statuses that say "later" (408, 425, 5xx) are tried again, those that say "less" (429, and 503
//! with a Retry-After) slow the worker down, and those that say "never like this" (other 4xx) make a
//! dead letter. A redirect is not followed: a POST would silently become a GET.

use crate::{
    config::{Codes, Meaning},
    handlers::Finding,
};
use reqwest::{
    StatusCode,
    header::{HeaderMap, LOCATION, RETRY_AFTER},
};
use std::time::{Duration, SystemTime};

/// What a status means, with the answer's headers and the beginning of its body.
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    body: &str,
    codes: &Codes,
    now: SystemTime,
) -> Finding {
    let after = retry_after(headers, now);
    let meaning = codes.meaning(status.as_u16()).unwrap_or_else(|| usual(status, after.is_some()));
    let mut text = if status.is_redirection() {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("somewhere else");
        format!(
            "HTTP {status} to {to}: redirects are not followed, since a POST would become a GET; \
             put the final URL into `handler.http.url`"
        )
    } else {
        format!("HTTP {status}")
    };
    let body = body.trim();
    if !body.is_empty() {
        text.push_str(": ");
        text.push_str(body);
    }
    Finding { meaning, text, after: after.filter(|_| meaning == Meaning::Throttled) }
}

fn usual(status: StatusCode, asks_to_wait: bool) -> Meaning {
    match status.as_u16() {
        200..=299 => Meaning::Ack,
        429 => Meaning::Throttled,
        503 if asks_to_wait => Meaning::Throttled,
        408 | 425 | 500..=599 => Meaning::Transient,
        _ => Meaning::Permanent,
    }
}

/// `Retry-After`, in seconds or as a date (RFC 9110, 10.2.3). A date that has passed means now.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(text).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// Whether one message of a batch could be what caused this: then the batch is split to find it.
/// What says something about the server as a whole is true of every message alike.
pub(super) fn may_be_one_message(status: StatusCode, finding: &Finding) -> bool {
    match finding.meaning {
        Meaning::Permanent => true,
        Meaning::Transient => status == StatusCode::INTERNAL_SERVER_ERROR,
        Meaning::Ack | Meaning::Throttled | Meaning::Discard => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn meaning(status: u16, retry_after: Option<&str>) -> (Meaning, Option<Duration>) {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        let status = StatusCode::from_u16(status).unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let finding = judge(status, &headers, "", &Codes::default(), now);
        (finding.meaning, finding.after)
    }

    #[test]
    fn every_class_of_status_has_its_meaning() {
        for status in [200, 201, 204, 299] {
            assert_eq!(meaning(status, None).0, Meaning::Ack, "{status}");
        }
        for status in [408, 425, 500, 502, 503, 504] {
            assert_eq!(meaning(status, None).0, Meaning::Transient, "{status}");
        }
        for status in [301, 302, 303, 307, 308, 400, 401, 404, 410, 422] {
            assert_eq!(meaning(status, None).0, Meaning::Permanent, "{status}");
        }
        assert_eq!(meaning(429, None), (Meaning::Throttled, None));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let seconds = |n| (Meaning::Throttled, Some(Duration::from_secs(n)));
        assert_eq!(meaning(429, Some("7")), seconds(7));
        assert_eq!(meaning(503, Some("7")), seconds(7));
        // 1,700,000,000 is Tue, 14 Nov 2023 22:13:20 GMT.
        assert_eq!(meaning(503, Some("Tue, 14 Nov 2023 22:13:50 GMT")), seconds(30));
        assert_eq!(meaning(503, Some("Tue, 14 Nov 2023 22:00:00 GMT")), seconds(0));
        assert_eq!(meaning(503, Some("soon")), (Meaning::Transient, None));
        assert_eq!(meaning(500, Some("7")), (Meaning::Transient, None));
    }

    #[test]
    fn the_text_says_what_the_server_said() {
        let mut headers = HeaderMap::new();
        headers.insert(LOCATION, "https://y/".parse().unwrap());
        let judge = |status: u16, body: &str| {
            let status = StatusCode::from_u16(status).unwrap();
            judge(status, &headers, body, &Codes::default(), UNIX_EPOCH).text
        };
        assert_eq!(judge(422, " no amount\n"), "HTTP 422 Unprocessable Entity: no amount");
        assert!(judge(302, "").starts_with("HTTP 302 Found to https://y/: redirects are not"));
    }
}
