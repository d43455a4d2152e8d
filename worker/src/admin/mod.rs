//! The admin port: one address at which a worker is looked at, by people, probes and scalers.
//!
//! ```text
//!   pulse (4 a second)   the worker's own state: how busy, what holds it down, whether it is stuck
//!   probe (1 a second)   the broker: the backlog, and whether it answers  ---> policy: Scale
//!        |
//!        v
//!      View  -->  health   /health/live, /health/ready
//!                 scale    /scale
//!                 metrics  /metrics
//!                 keda     externalscaler.ExternalScaler, by gRPC
//!                 page     /, /api/*
//! ```
//!
//! What is asked for is answered from what was last read: however many ask, and however slow the
//! broker is, a request costs the broker nothing, and says within two seconds what is the matter.
//! All of it is beside the worker: when it fails or is overrun, jobs go on. `server` bounds what
//! clients can take, `guard` says who may ask.

mod crew;
mod fleet;
mod guard;
mod health;
mod history;
mod keda;
mod metrics;
mod page;
mod pulse;
mod scale;
mod server;
mod view;
mod watch;

pub(crate) use server::Bound;
pub(crate) use view::View;

use crate::{
    brokers::Queue,
    config::{AdminConfig, ScaleConfig, Token},
};
use axum::{Router, middleware, routing::get};
use forebay::Control;
use forebay_telemetry::Telemetry;
use history::History;
use std::{
    process,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};
use tokio::{
    sync::watch::{Receiver, Sender},
    task::JoinSet,
};

/// What the admin port knows. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Admin(Arc<Inner>);

struct Inner {
    instance: String,
    started: SystemTime,
    title: Title,
    queue: Queue,
    control: Option<Control>,
    telemetry: Telemetry,
    token: Option<Token>,
    view: Sender<View>,
    history: Mutex<History>,
}

/// What it is called by people.
#[derive(Clone, Debug)]
pub(crate) struct Title {
    /// The worker's name.
    pub(crate) name: String,
    /// Which queue where, without secrets.
    pub(crate) source: String,
}

impl Admin {
    /// Of a worker, or (without its control) of a scaler.
    pub(crate) fn new(
        config: &AdminConfig,
        title: Title,
        queue: Queue,
        control: Option<Control>,
        telemetry: Telemetry,
    ) -> Self {
        let started = SystemTime::now();
        let since = started.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let instance = format!("{}-{:x}", process::id(), since.as_micros());
        let token = config.token.clone();
        let (view, history) = (Sender::new(View::default()), Mutex::default());
        Self(Arc::new(Inner {
            instance,
            started,
            title,
            queue,
            control,
            telemetry,
            token,
            view,
            history,
        }))
    }

    /// Another one for each process that ever was, so that its counts are told from those of the
    /// process before it.
    pub(crate) fn instance(&self) -> &str {
        &self.0.instance
    }

    /// Since when this process looks.
    pub(crate) fn started(&self) -> SystemTime {
        self.0.started
    }

    /// What people call it.
    pub(crate) fn title(&self) -> &Title {
        &self.0.title
    }

    /// The queue: its name, its dead letters.
    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// The worker; `None` where no jobs are handled.
    pub(crate) fn control(&self) -> Option<&Control> {
        self.0.control.as_ref()
    }

    /// What has been measured.
    pub(crate) fn telemetry(&self) -> &Telemetry {
        &self.0.telemetry
    }

    /// How things stand, as of the last look.
    pub(crate) fn view(&self) -> View {
        self.0.view.borrow().clone()
    }

    /// Tells of each change of how things stand.
    pub(crate) fn changes(&self) -> Receiver<View> {
        self.0.view.subscribe()
    }

    /// Reads or extends the samples of the last 15 minutes.
    fn history<T>(&self, with: impl FnOnce(&mut History) -> T) -> T {
        with(&mut self.0.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn update(&self, change: impl FnOnce(&mut View)) {
        self.0.view.send_modify(change);
    }
}

/// Everything that is served.
fn router(admin: Admin) -> Router {
    let asked = Router::new()
        .route("/scale", get(scale::show))
        .route("/metrics", get(metrics::show))
        .nest("/api", page::api())
        .layer(middleware::from_fn_with_state(admin.clone(), guard::token));
    Router::new()
        .merge(asked)
        .merge(keda::router())
        .merge(page::router())
        .layer(middleware::from_fn_with_state(admin.clone(), guard::site))
        .merge(health::router())
        .layer(middleware::from_fn(guard::bounds))
        .with_state(admin)
}

/// Starts what looks at the worker, or at the fleet, and what serves it. All of it ends with what is
/// given back.
pub(crate) fn start(bound: Bound, admin: Admin, scale: ScaleConfig) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let poll = bound.config().poll;
    match admin.control() {
        Some(control) => tasks.spawn(watch::pulse(admin.clone(), control.clone())),
        None => {
            let token = scale.token.clone().or_else(|| bound.config().token.clone());
            tasks.spawn(fleet::follow(admin.clone(), poll, scale.clone(), token))
        }
    };
    tasks.spawn(watch::probe(admin.clone(), poll, scale));
    tasks.spawn(page::sample(admin.clone()));
    tasks.spawn(server::serve(bound, router(admin)));
    tasks
}
