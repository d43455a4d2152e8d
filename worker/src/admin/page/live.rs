//! How the worker stands, and how it stood: what the page asks for twice a second.

use super::{error::ApiError, sampler};
use crate::admin::{
    Admin,
    history::{FIELDS, Row, State},
};
use axum::{
    Json,
    extract::{Query, State as Of, rejection::QueryRejection},
    http::StatusCode,
};
use forebay::{Backlog, Count, Counts};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(super) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// One thing that is the matter.
#[derive(Serialize)]
struct Matter {
    name: State,
    /// `None` where it is no trouble.
    since_ms: Option<u64>,
    /// What is known of it beyond its name.
    detail: Option<String>,
}

/// `GET /api/status`
pub(super) async fn status(Of(admin): Of<Admin>) -> Json<Value> {
    let (view, status) = (admin.view(), admin.control().map(forebay::Control::status));
    let disconnected = view.disconnected();
    let unsent = admin.telemetry().unsent().join(" and ");
    let now_ms = millis(SystemTime::now());
    // As it is now: a sample may be a second old.
    let states = admin.history(|history| {
        history.note(&sampler::states(status.as_ref(), &view, !unsent.is_empty()), now_ms);
        history.states().to_vec()
    });
    let matters = states.into_iter().map(|(name, since_ms)| Matter {
        name,
        since_ms: (!matches!(name, State::Running | State::Scaling)).then_some(since_ms),
        detail: match name {
            State::BrokerGone => disconnected.clone(),
            State::Unsent => Some(format!("{unsent} cannot be sent by OTLP: the log says why")),
            _ => None,
        },
    });
    Json(json!({
        "name": admin.title().name,
        "queue": admin.queue().name(),
        "source": admin.title().source,
        "version": env!("CARGO_PKG_VERSION"),
        "instance": admin.instance(),
        "started_ms": millis(admin.started()),
        "now_ms": now_ms,
        "states": matters.collect::<Vec<_>>(),
        "backlog": view.backlog().map(backlog_json),
        "counts": status.as_ref().map(|it| counts_json(&it.counts)),
    }))
}

fn backlog_json(backlog: &Backlog) -> Value {
    let count =
        |count: Option<Count>| count.map(|it| json!({"value": it.value, "exact": it.exact}));
    json!({
        "ready": count(backlog.ready),
        "delayed": count(backlog.delayed),
        "leased": count(backlog.leased),
        "dead": count(backlog.dead),
    })
}

fn counts_json(counts: &Counts) -> Value {
    json!({
        "received": counts.received,
        "acked": counts.acked,
        "retried": counts.retried,
        "postponed": counts.postponed,
        "released": counts.released,
        "dead": counts.dead,
        "dropped": counts.dropped,
        "stale": counts.stale,
        "refused": counts.refused,
        "settle_errors": counts.settle_errors,
        "receive_errors": counts.receive_errors,
        "leases_lost": counts.leases_lost,
    })
}

/// What the page has already.
#[derive(Deserialize)]
pub(super) struct Since {
    /// The number of its newest sample; 0: none.
    #[serde(default)]
    since: u64,
    /// Of which process: numbers of another say nothing here.
    #[serde(default)]
    instance: String,
}

/// Samples, a row each.
#[derive(Serialize)]
pub(super) struct Samples {
    instance: String,
    fields: &'static [&'static str],
    rows: Vec<Row>,
    /// What to say as `since` next time.
    next: u64,
}

/// `GET /api/history?since=&instance=`: all that is kept, unless the page has some of it.
pub(super) async fn history(
    Of(admin): Of<Admin>,
    query: Result<Query<Since>, QueryRejection>,
) -> Result<Json<Samples>, ApiError> {
    let Query(Since { since, instance }) = query.map_err(|rejected| {
        ApiError::bad(rejected.body_text(), "`since` is the `next` of an earlier answer")
    })?;
    let since = if instance == admin.instance() { since } else { 0 };
    let (rows, next) = admin.history(|history| (history.after(since).collect(), history.newest()));
    Ok(Json(Samples { instance: admin.instance().to_owned(), fields: &FIELDS, rows, next }))
}

/// Anything else under `/api`.
pub(super) async fn unknown() -> ApiError {
    let hint = "there are status, history, dead, dead-count, dead/redrive and dead/purge";
    ApiError::refused(StatusCode::NOT_FOUND, "there is no such thing under /api", hint)
}
