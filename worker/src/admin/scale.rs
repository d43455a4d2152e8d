//! `/scale`: the backlog, how fast it comes and goes, and how many workers there should be, as JSON.

use super::{Admin, View};
use axum::{Json, extract::State};
use forebay::policy::Held;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What `/scale` says. Times are in seconds, rates per second; what is not known is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    queue: String,
    /// Ready, or out and not settled.
    backlog: Option<u64>,
    ready: Option<u64>,
    delayed: Option<u64>,
    leased: Option<u64>,
    dead: Option<u64>,
    oldest_age_seconds: Option<f64>,
    /// Since the backlog was read.
    read_seconds_ago: Option<f64>,
    /// Why the broker cannot be worked with.
    trouble: Option<String>,
    workers: Option<u32>,
    /// Of these, who did not say how they are.
    silent_workers: Option<u32>,
    /// Why not all workers could be asked.
    workers_trouble: Option<String>,
    arrival_rate: Option<f64>,
    worker_rate: Option<f64>,
    time_to_drain_seconds: Option<f64>,
    desired_workers: Option<u32>,
    because: Option<&'static str>,
    worker: Option<Worker>,
}

/// What `/scale` says of the worker that answers: what adds up over a fleet.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Worker {
    /// Which process.
    pub(super) instance: String,
    /// Messages that have left the queue by it since it started.
    pub(super) handled: u64,
    /// Messages received and not settled.
    pub(super) in_hand: u64,
    /// The share of its permits in use, 0 to 1.
    pub(super) busy: f64,
    /// For how long it has been busy since it started, by that share.
    pub(super) busy_seconds: f64,
    /// What holds it down.
    pub(super) held: HeldBy,
    /// Whether it takes messages: not while it drains.
    pub(super) takes: bool,
}

impl Worker {
    /// Nothing, where what it says is no time.
    pub(super) fn busy_for(&self) -> Duration {
        Duration::try_from_secs_f64(self.busy_seconds).unwrap_or_default()
    }
}

/// [`Held`] as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum HeldBy {
    Nothing,
    Downstream,
    Breaker,
}

impl From<Held> for HeldBy {
    fn from(held: Held) -> Self {
        match held {
            Held::Free => Self::Nothing,
            Held::Downstream => Self::Downstream,
            Held::Breaker => Self::Breaker,
        }
    }
}

pub(super) async fn show(State(admin): State<Admin>) -> Json<Shown> {
    Json(shown(&admin, &admin.view()))
}

fn shown(admin: &Admin, view: &View) -> Shown {
    let backlog = view.backlog();
    let value = |count: Option<forebay::Count>| count.map(|count| count.value);
    // A number for a backlog that nobody knows any more would be a guess.
    let advice = backlog.and(view.advice.as_ref());
    Shown {
        queue: admin.queue().name().to_owned(),
        backlog: view.to_handle(),
        ready: backlog.and_then(|it| value(it.ready)),
        delayed: backlog.and_then(|it| value(it.delayed)),
        leased: backlog.and_then(|it| value(it.leased)),
        dead: backlog.and_then(|it| value(it.dead)),
        oldest_age_seconds: backlog.and_then(|it| it.oldest_age).map(|age| age.as_secs_f64()),
        read_seconds_ago: view.read.as_ref().map(|(_, at)| at.elapsed().as_secs_f64()),
        trouble: view.disconnected(),
        workers: view.crew.map(|crew| crew.workers),
        silent_workers: view.crew.map(|crew| crew.silent),
        workers_trouble: view.workers_trouble.clone(),
        arrival_rate: advice.map(|it| it.arrival_rate),
        worker_rate: advice.and_then(|it| it.worker_rate),
        time_to_drain_seconds: advice.and_then(|it| it.time_to_drain).map(|it| it.as_secs_f64()),
        desired_workers: advice.map(|it| it.desired_workers),
        because: advice.map(|it| it.because.as_str()),
        worker: view.vital.map(|vital| Worker {
            instance: admin.instance().to_owned(),
            handled: vital.handled,
            in_hand: vital.in_hand,
            busy: vital.busy,
            busy_seconds: vital.busy_for.as_secs_f64(),
            held: vital.held.into(),
            takes: vital.takes,
        }),
    }
}
