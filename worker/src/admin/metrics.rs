//! `/metrics`: what Prometheus scrapes.

use super::{Admin, View};
use axum::{extract::State, http::header, response::IntoResponse};
use std::fmt::Write as _;

/// Prometheus' text format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn show(State(admin): State<Admin>) -> impl IntoResponse {
    let measured = admin.telemetry().render();
    let scaling = text(admin.queue().name(), &admin.view());
    ([(header::CONTENT_TYPE, FORMAT)], measured + &scaling)
}

/// The scaling signals. What is not known has no sample: a number would be a guess.
fn text(queue: &str, view: &View) -> String {
    let advice = view.backlog().and(view.advice.as_ref());
    let up = if view.disconnected().is_none() { 1.0 } else { 0.0 };
    #[allow(clippy::cast_precision_loss, reason = "Prometheus has floats alone")]
    let samples = [
        ("connected", "Whether the broker can be worked with.", Some(up)),
        ("backlog_messages", "Ready, or out and not settled.", view.to_handle().map(|n| n as f64)),
        ("workers", "Workers that take messages.", view.crew.map(|it| f64::from(it.workers))),
        (
            "desired_workers",
            "How many there should be.",
            advice.map(|it| f64::from(it.desired_workers)),
        ),
        ("arrival_rate", "Messages that arrive per second.", advice.map(|it| it.arrival_rate)),
        (
            "worker_rate",
            "Messages that a busy worker handles per second.",
            advice.and_then(|it| it.worker_rate),
        ),
        (
            "time_to_drain_seconds",
            "How long the backlog lasts with the workers there are.",
            advice.and_then(|it| it.time_to_drain).map(|it| it.as_secs_f64()),
        ),
    ];
    let queue = queue.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let mut out = String::new();
    for (name, help, value) in samples {
        let Some(value) = value else { continue };
        // Cannot fail: it is a string.
        let _ = write!(
            out,
            "# HELP forebay_scale_{name} {help}\n# TYPE forebay_scale_{name} gauge\n\
             forebay_scale_{name}{{queue=\"{queue}\"}} {value}\n"
        );
    }
    out
}
