//! What is read, and not told: how the worker and its queue stand, looked at whenever metrics are
//! collected.

use crate::{
    About, Latencies, Percentiles,
    exports::Exports,
    metrics::{self, Metric},
};
use forebay::{Backlog, Control, Counts, Status, WorkerPhase, policy::BreakerState};
use opentelemetry::{KeyValue, metrics::Meter};
use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// What the gauges look at.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<Sight>);

#[derive(Debug, Default)]
struct Sight {
    control: Option<Control>,
    backlog: Option<Backlog>,
}

impl Watched {
    pub(crate) fn watch(&self, control: Control) {
        self.lock().control = Some(control);
    }

    pub(crate) fn set_backlog(&self, backlog: Option<Backlog>) {
        self.lock().backlog = backlog;
    }

    fn status(&self) -> Option<Status> {
        self.lock().control.as_ref().map(Control::status)
    }

    fn backlog(&self) -> Option<Backlog> {
        self.lock().backlog
    }

    fn lock(&self) -> MutexGuard<'_, Sight> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Registers all gauges, and the counters that the runtime keeps by itself.
pub(crate) fn register(
    meter: &Meter,
    about: &About,
    watched: &Arc<Watched>,
    latencies: &Arc<Latencies>,
) {
    let with = |metric, read: fn(&Status) -> u64| number(meter, about, watched, metric, read);
    with(&metrics::LIMIT, |status| u64::from(status.gate.limit));
    with(&metrics::IN_FLIGHT, |status| u64::from(status.gate.in_flight));
    with(&metrics::IN_HAND, |status| status.in_hand as u64);
    with(&metrics::FUSE, |status| u64::from(status.fuse_blown));
    with(&metrics::PAUSED, |status| u64::from(status.paused));
    let count = |metric, read: fn(&Counts) -> u64| counted(meter, about, watched, metric, read);
    count(&metrics::RECEIVE_ERRORS, |counts| counts.receive_errors);
    count(&metrics::LEASES_LOST, |counts| counts.leases_lost);
    states(meter, about, watched, &metrics::BREAKER, &["closed", "open", "half_open"], |status| {
        status.gate.breaker.map(|state| match state {
            BreakerState::Closed => "closed",
            BreakerState::Open { .. } => "open",
            BreakerState::HalfOpen => "half_open",
        })
    });
    let phases = ["running", "draining", "cancelling", "stopped"];
    states(meter, about, watched, &metrics::PHASE, &phases, |status| {
        Some(match status.phase {
            WorkerPhase::Running => "running",
            WorkerPhase::Draining => "draining",
            WorkerPhase::Cancelling => "cancelling",
            _ => "stopped",
        })
    });
    backlog(meter, about, watched);
    percentiles(meter, about, latencies);
}

fn number(
    meter: &Meter,
    about: &About,
    watched: &Arc<Watched>,
    metric: &Metric,
    read: fn(&Status) -> u64,
) {
    let (watched, attributes) = (watched.clone(), about.with(&[]));
    meter
        .u64_observable_gauge(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.about)
        .with_callback(move |observer| {
            if let Some(status) = watched.status() {
                observer.observe(read(&status), &attributes);
            }
        })
        .build();
}

fn counted(
    meter: &Meter,
    about: &About,
    watched: &Arc<Watched>,
    metric: &Metric,
    read: fn(&Counts) -> u64,
) {
    let (watched, attributes) = (watched.clone(), about.with(&[]));
    meter
        .u64_observable_counter(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.about)
        .with_callback(move |observer| {
            if let Some(status) = watched.status() {
                observer.observe(read(&status.counts), &attributes);
            }
        })
        .build();
}

/// One series for each state, so that a graph shows how long each lasted.
fn states(
    meter: &Meter,
    about: &About,
    watched: &Arc<Watched>,
    metric: &Metric,
    names: &[&'static str],
    read: fn(&Status) -> Option<&'static str>,
) {
    let all: Vec<_> = names
        .iter()
        .map(|name| (*name, about.with(&[("forebay.state", (*name).into())])))
        .collect();
    let watched = watched.clone();
    meter
        .u64_observable_gauge(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.about)
        .with_callback(move |observer| {
            let Some(now) = watched.status().as_ref().and_then(read) else { return };
            for (name, attributes) in &all {
                observer.observe(u64::from(*name == now), attributes);
            }
        })
        .build();
}

fn backlog(meter: &Meter, about: &About, watched: &Arc<Watched>) {
    let of = |state: &'static str| about.with(&[("forebay.state", state.into())]);
    let states = ["ready", "delayed", "leased", "dead"].map(of);
    let seen = watched.clone();
    meter
        .u64_observable_gauge(metrics::BACKLOG.name)
        .with_unit(metrics::BACKLOG.unit)
        .with_description(metrics::BACKLOG.about)
        .with_callback(move |observer| {
            let Some(backlog) = seen.backlog() else { return };
            let counts = [backlog.ready, backlog.delayed, backlog.leased, backlog.dead];
            for (count, attributes) in counts.into_iter().zip(&states) {
                if let Some(count) = count {
                    observer.observe(count.value, attributes);
                }
            }
        })
        .build();
    let (seen, attributes) = (watched.clone(), about.with(&[]));
    meter
        .f64_observable_gauge(metrics::OLDEST.name)
        .with_unit(metrics::OLDEST.unit)
        .with_description(metrics::OLDEST.about)
        .with_callback(move |observer| {
            if let Some(age) = seen.backlog().and_then(|backlog| backlog.oldest_age) {
                observer.observe(age.as_secs_f64(), &attributes);
            }
        })
        .build();
}

fn percentiles(meter: &Meter, about: &About, latencies: &Arc<Latencies>) {
    let of = |stage: &'static str| {
        ["0.5", "0.95", "0.99"].map(|quantile: &'static str| {
            let stage = ("forebay.stage", stage.into());
            about.with(&[stage, ("forebay.quantile", quantile.into())])
        })
    };
    let (wait, handling, latencies) = (of("wait"), of("process"), latencies.clone());
    meter
        .f64_observable_gauge(metrics::LATENCY.name)
        .with_unit(metrics::LATENCY.unit)
        .with_description(metrics::LATENCY.about)
        .with_callback(move |observer| {
            let tell = |read: Option<Percentiles>, attributes: &[Vec<KeyValue>; 3]| {
                let Some(Percentiles { p50, p95, p99, .. }) = read else { return };
                for (value, attributes) in [p50, p95, p99].into_iter().zip(attributes) {
                    observer.observe(value.as_secs_f64(), attributes);
                }
            };
            tell(latencies.wait(), &wait);
            tell(latencies.handling(), &handling);
        })
        .build();
}

/// Registers the counters of what becomes of telemetry itself.
pub(crate) fn register_exports(meter: &Meter, about: &About, exports: &Arc<Exports>) {
    let with = |attributes: &[(&'static str, &'static str)]| {
        let attributes = attributes.iter().map(|(key, value)| (*key, (*value).into()));
        about.with(&attributes.collect::<Vec<_>>())
    };
    let spans: [(_, Read); 3] = [
        (with(&[("forebay.result", "sent")]), |exports| &exports.spans.sent),
        (with(&[("forebay.result", "failed")]), |exports| &exports.spans.failed),
        (with(&[("forebay.result", "dropped")]), |exports| &exports.dropped),
    ];
    let signal = |signal, result| with(&[("forebay.signal", signal), ("forebay.result", result)]);
    let tries: [(_, Read); 4] = [
        (signal("metrics", "sent"), |exports| &exports.metrics.sent),
        (signal("metrics", "failed"), |exports| &exports.metrics.failed),
        (signal("traces", "sent"), |exports| &exports.span_batches.sent),
        (signal("traces", "failed"), |exports| &exports.span_batches.failed),
    ];
    counters(meter, &metrics::SPANS, exports, spans.into());
    counters(meter, &metrics::EXPORTS, exports, tries.into());
}

/// Which of the counts a series shows.
type Read = fn(&Exports) -> &AtomicU64;

fn counters(
    meter: &Meter,
    metric: &Metric,
    exports: &Arc<Exports>,
    series: Vec<(Vec<KeyValue>, Read)>,
) {
    let exports = exports.clone();
    meter
        .u64_observable_counter(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.about)
        .with_callback(move |observer| {
            for (attributes, read) in &series {
                observer.observe(read(&exports).load(Ordering::Relaxed), attributes);
            }
        })
        .build();
}
