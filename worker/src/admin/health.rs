//! `/health/live` and `/health/ready`: what a supervisor asks before it restarts a worker, or goes on
//! with a rollout.
//!
//! | | says no when | does not say no when |
//! |---|---|---|
//! | live | the worker's loop is stuck, or it has ended: a restart would help | the broker or the database is away: a restart would not help |
//! | ready | the broker cannot be worked with, or the worker drains | it is paused, its breaker is open, its fuse has blown, or its telemetry is not sent: it says so, and is as it should be |
//!
//! Both are open to anyone: a kubelet has no token. They say nothing that is a secret.

use super::Admin;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use forebay::{Status, WorkerPhase, policy::BreakerState};

type Answer = (StatusCode, String);

pub(super) fn router() -> Router<Admin> {
    Router::new().route("/health/live", get(live)).route("/health/ready", get(ready))
}

async fn live(State(admin): State<Admin>) -> Answer {
    let vital = admin.view().vital.unwrap_or_default();
    match vital.stuck {
        _ if vital.ended => no("not live", ["the worker has ended".to_owned()]),
        Some(silence) => {
            let seconds = silence.as_secs();
            no("not live", [format!("the worker's loop has not come round for {seconds} s")])
        }
        None => (StatusCode::OK, "live\n".to_owned()),
    }
}

async fn ready(State(admin): State<Admin>) -> Answer {
    let view = admin.view();
    let status = admin.control().map(forebay::Control::status);
    let mut why_not: Vec<String> = status.as_ref().and_then(leaving).into_iter().collect();
    why_not.extend(view.disconnected());
    if !why_not.is_empty() {
        return no("not ready", why_not);
    }
    let mut text = "ready\n".to_owned();
    status.iter().flat_map(remarks).for_each(|remark| {
        text.push_str(remark);
        text.push('\n');
    });
    for signal in admin.telemetry().unsent() {
        text.extend([signal, " cannot be sent by OTLP\n"]);
    }
    (StatusCode::OK, text)
}

/// Why a worker takes no more messages, for good.
fn leaving(status: &Status) -> Option<String> {
    let what = match status.phase {
        WorkerPhase::Running => return None,
        WorkerPhase::Draining => "it drains",
        WorkerPhase::Cancelling => "it drains, and has called off what runs",
        _ => "it has ended",
    };
    Some(what.to_owned())
}

/// What is worth knowing of a worker that is ready.
pub(super) fn remarks(status: &Status) -> impl Iterator<Item = &'static str> {
    let breaker = match status.gate.breaker {
        Some(BreakerState::Open { .. }) => Some("the breaker is open"),
        Some(BreakerState::HalfOpen) => Some("the breaker is probing"),
        _ => None,
    };
    let paused = status.paused.then_some("it is paused");
    let fuse = status.fuse_blown.then_some("the dead-letter fuse has blown");
    [breaker, paused, fuse].into_iter().flatten()
}

fn no(what: &str, why: impl IntoIterator<Item = String>) -> Answer {
    let mut text = format!("{what}\n");
    for line in why {
        text.push_str(&line);
        text.push('\n');
    }
    (StatusCode::SERVICE_UNAVAILABLE, text)
}
