//! Dead letters, for the page: found, counted, moved back, deleted.
//!
//! What is about to be done is counted first, as of a moment, and done only to what had died by then: a
//! letter that dies while somebody makes up their mind is not what they were asked about. A redrive is
//! done in steps of a hundred, so that the page can tell how far it is, and stop. A step that has begun
//! is carried out, and logged, also when whoever asked has gone.

use super::{error::ApiError, letter::ID, live::millis};
use crate::{admin::Admin, brokers::Queue, output};
use axum::{
    Json,
    body::Bytes,
    extract::{
        Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode},
};
use forebay::{DeadFilter, DeadId, DeadLetter, DeadLetters, DeadLettersError, DeadReason};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How many are read or moved together, at most.
const CHUNK: usize = 100;
/// How many are listed unless asked otherwise.
const PAGE: usize = 50;
/// How many are counted before it says "or more".
const COUNTED: usize = 1000;
/// How many may be named at once.
const IDS: usize = 1000;
/// The longest text that is searched for, in bytes.
const TEXT: usize = 1024;
/// How much of a key or an error is listed, in characters.
const CELL: usize = 300;
/// What a browser lets only a page of our own send.
const OURS: &str = "x-forebay";

/// Which letters. All that is given must hold.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Which {
    contains: String,
    reason: String,
    died_before_ms: Option<u64>,
    redriven_less_than: Option<u32>,
}

impl Which {
    fn filter(self) -> Result<DeadFilter, ApiError> {
        if self.contains.len() > TEXT {
            let error = format!("the text to look for is longer than {TEXT} bytes");
            return Err(ApiError::bad(error, "look for a part of it"));
        }
        let reason = match self.reason.as_str() {
            "" => None,
            name => Some(
                name.parse::<DeadReason>()
                    .map_err(|error| ApiError::bad(error, "leave `reason` out for all of them"))?,
            ),
        };
        Ok(DeadFilter {
            reason,
            error_contains: Some(self.contains).filter(|text| !text.is_empty()),
            died_before: self.died_before_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms)),
            redriven_less_than: self.redriven_less_than,
            ..DeadFilter::default()
        })
    }
}

/// A page of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Page {
    after: String,
    limit: Option<usize>,
    contains: String,
    reason: String,
}

/// `GET /api/dead?after=&limit=&contains=&reason=`
pub(super) async fn list(
    State(admin): State<Admin>,
    query: Result<Query<Page>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Page { after, limit, contains, reason } = read(query)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=CHUNK).contains(&limit) {
        let error = format!("`limit` is {limit}");
        return Err(ApiError::bad(error, format!("it is 1 to {CHUNK}: ask for more pages")));
    }
    let filter = Which { contains, reason, ..Which::default() }.filter()?;
    let after = Some(after).filter(|id| !id.is_empty()).map(|id| DeadId(id.into()));
    // One more than is shown says whether there is another page.
    let mut letters = admin.queue().list(&filter, after.as_ref(), limit + 1).await?;
    let more = letters.len() > limit;
    letters.truncate(limit);
    let next = letters.last().filter(|_| more).map(|letter| letter.id.to_string());
    let rows: Vec<Value> = letters.iter().map(row).collect();
    Ok(Json(json!({"letters": rows, "next": next, "as_of_ms": millis(SystemTime::now())})))
}

fn row(letter: &DeadLetter) -> Value {
    let message = &letter.message;
    let key = message.key.as_deref().map(|key| output::cut(&output::text_of(key), Some(CELL)));
    json!({
        "dead_id": letter.id.to_string(),
        "message_id": message.id.to_string(),
        "key": key,
        "reason": letter.reason.as_str(),
        "died_at_ms": millis(letter.died_at),
        "attempts": output::attempts(letter),
        "redrives": message.redrives,
        "error": letter.last_failure().map(|note| output::cut(&note.error, Some(CELL))),
        "bytes": message.payload.len(),
    })
}

/// `GET /api/dead-count`, with the fields of [`Which`].
pub(super) async fn count(
    State(admin): State<Admin>,
    query: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let mut filter = read(query)?.filter()?;
    let as_of = *filter.died_before.get_or_insert_with(whole_moment);
    let (mut count, mut after, mut more) = (0, None, true);
    while more && count < COUNTED {
        let page = admin.queue().list(&filter, after.as_ref(), CHUNK).await?;
        count += page.len();
        more = page.len() == CHUNK;
        after = page.last().map(|letter| letter.id.clone());
    }
    Ok(Json(json!({"count": count, "more": more, "as_of_ms": millis(as_of)})))
}

/// The next whole millisecond: what has died by now died before it, also once the page has sent it back
/// as a number of milliseconds.
fn whole_moment() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis(SystemTime::now()) + 1)
}

/// What to redrive or purge: letters by their ids, or those that a filter means. `{}` as the filter
/// means all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    ids: Option<Vec<String>>,
    filter: Option<Which>,
}

impl Order {
    fn filter(self) -> Result<DeadFilter, ApiError> {
        let hint = "name `ids`, or a `filter`, and not both";
        let mut filter = match (self.ids, self.filter) {
            (Some(_), Some(_)) => return Err(ApiError::bad("it names ids and a filter", hint)),
            (None, None) => return Err(ApiError::bad("it names no letters", hint)),
            (Some(ids), None) => by_ids(ids)?,
            (None, Some(which)) => which.filter()?,
        };
        filter.died_before.get_or_insert_with(SystemTime::now);
        Ok(filter)
    }
}

fn by_ids(ids: Vec<String>) -> Result<DeadFilter, ApiError> {
    if ids.is_empty() || ids.len() > IDS {
        let error = format!("it names {} letters", ids.len());
        return Err(ApiError::bad(error, format!("name 1 to {IDS}, or a filter")));
    }
    if ids.iter().any(|id| id.len() > ID) {
        return Err(ApiError::bad("an id is too long to be one", "take ids from the list"));
    }
    let ids = ids.into_iter().map(|id| DeadId(id.into())).collect();
    Ok(DeadFilter { ids: Some(ids), ..DeadFilter::default() })
}

/// What a step of a redrive came to.
#[derive(Serialize)]
pub(super) struct Moved {
    moved: usize,
    /// None is left that was meant.
    done: bool,
    /// What ended it early; the rest is where it was.
    stopped: Option<ApiError>,
}

/// `POST /api/dead/redrive`: a hundred at most. Asked again, with the same filter, it goes on.
pub(super) async fn redrive(
    State(admin): State<Admin>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Moved>, ApiError> {
    let filter = order(&headers, body)?.filter()?;
    let queue = admin.queue().clone();
    let moved = carried_out(async move {
        let redriven = queue.redrive(&filter, CHUNK).await?;
        redriven.moved.iter().for_each(|letter| log_redriven(letter, &queue));
        Ok(redriven)
    })
    .await?;
    let stopped = moved.stopped.map(ApiError::from);
    let done = stopped.is_none() && moved.moved.len() < CHUNK;
    Ok(Json(Moved { moved: moved.moved.len(), done, stopped }))
}

/// `POST /api/dead/purge`
pub(super) async fn purge(
    State(admin): State<Admin>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Value>, ApiError> {
    let filter = order(&headers, body)?.filter()?;
    let queue = admin.queue().clone();
    let purged = carried_out(async move {
        let purged = queue.purge(&filter).await?;
        tracing::info!(queue = queue.name(), purged, "dead letters purged from the page");
        Ok(purged)
    })
    .await?;
    Ok(Json(json!({"purged": purged})))
}

fn log_redriven(letter: &DeadLetter, to: &Queue) {
    tracing::info!(
        dead_id = %letter.id,
        message_id = %letter.message.id,
        from = letter.origin.queue,
        to = to.name(),
        reason = letter.reason.as_str(),
        redrives = letter.message.redrives.saturating_add(1),
        "redriven from the page"
    );
}

/// In a task of its own: a request that is given up half-way must not leave half of it unlogged.
async fn carried_out<T: Send + 'static>(
    work: impl Future<Output = Result<T, DeadLettersError>> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::spawn(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(ApiError::refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("it ended half-way: {error}"),
            "look at the list to see what was done, and at the worker's log",
        )),
    }
}

/// Reads what is to be done, from a page of our own or from a program: a form of another site can send
/// neither the header nor JSON.
fn order(headers: &HeaderMap, body: Result<Bytes, BytesRejection>) -> Result<Order, ApiError> {
    if !headers.contains_key(OURS) {
        let error = format!("the header `{OURS}` is missing");
        let hint = "send it, with any value: no page of another site can";
        return Err(ApiError::refused(StatusCode::FORBIDDEN, error, hint));
    }
    let kind = headers.get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.split(';').next().map(str::trim) != Some("application/json") {
        let error = "the body is not said to be JSON";
        let hint = "send `content-type: application/json`";
        return Err(ApiError::refused(StatusCode::UNSUPPORTED_MEDIA_TYPE, error, hint));
    }
    let body = body.map_err(|rejected| {
        ApiError::refused(rejected.status(), rejected.body_text(), "name fewer letters at a time")
    })?;
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::bad(error.to_string(), "send { \"ids\": […] } or { \"filter\": { … } }")
    })
}

fn read<T: DeserializeOwned>(query: Result<Query<T>, QueryRejection>) -> Result<T, ApiError> {
    query.map(|Query(read)| read).map_err(|rejected| {
        ApiError::bad(rejected.body_text(), "the documentation has the parameters: docs/page.md")
    })
}
