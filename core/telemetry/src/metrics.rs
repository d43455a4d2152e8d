//! Every metric there is: name, unit, meaning and attributes, in one table.
//!
//! Names that begin with `messaging.` are those of OpenTelemetry's semantic conventions for messaging,
//! version 1.42; the others are our own. docs/telemetry.md, the dashboard and the alert rules are
//! checked against this table.

/// What kind of instrument a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instrument {
    /// A number that only grows.
    Counter,
    /// A number that stands as it is.
    Gauge,
    /// Durations, counted in buckets.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub instrument: Instrument,
    /// Its unit, as UCUM writes it.
    pub unit: &'static str,
    /// What it says.
    pub about: &'static str,
    /// Its attributes, besides those that all have: `messaging.system`, `messaging.destination.name`,
    /// and `messaging.consumer.group.name` where there is one.
    pub attributes: &'static [&'static str],
}

macro_rules! metrics {
    ($($id:ident: $instrument:ident, $name:literal, $unit:literal, $about:literal, $attributes:expr;)*) => {
        $(pub(crate) const $id: Metric = Metric {
            name: $name,
            instrument: Instrument::$instrument,
            unit: $unit,
            about: $about,
            attributes: &$attributes,
        };)*
        /// Every metric.
        pub const METRICS: &[Metric] = &[$($id),*];
    };
}

metrics! {
    CONSUMED: Counter, "messaging.client.consumed.messages", "{message}",
        "Messages received", ["messaging.operation.name"];
    SENT: Counter, "messaging.client.sent.messages", "{message}",
        "Messages published, or tried to", ["messaging.operation.name", "error.type"];
    OPERATION: Histogram, "messaging.client.operation.duration", "s",
        "How long an operation at the broker took: to receive is mostly to wait for messages",
        ["messaging.operation.name", "messaging.operation.type", "error.type"];
    PROCESS: Histogram, "messaging.process.duration", "s",
        "How long a call of the handler took", ["messaging.operation.name", "error.type"];
    WAIT: Histogram, "forebay.message.wait", "s",
        "How long a message waited in the worker, for others of its key and for a permit", [];
    AGE: Histogram, "forebay.message.age", "s",
        "How old a message was when its handler was called, since it was first enqueued", [];
    HANDLED: Counter, "forebay.messages.handled", "{message}",
        "Messages whose handling has ended", ["forebay.outcome"];
    SETTLED: Counter, "forebay.messages.settled", "{message}",
        "Verdicts that the broker has taken", ["forebay.verdict"];
    DEAD: Counter, "forebay.dead_letters", "{message}",
        "Messages moved to the dead letters", ["forebay.reason"];
    SETTLE_ERRORS: Counter, "forebay.settle.errors", "{message}",
        "Verdicts that the broker did not take, at this try", ["error.type"];
    RECEIVE_ERRORS: Counter, "forebay.receive.errors", "{error}",
        "Tries to receive that failed and were made again", [];
    REFUSED: Counter, "forebay.permits.refused", "{message}",
        "Messages that were ready and had to wait for a permit, each time they were looked at", [];
    EXTENDED: Counter, "forebay.leases.extended", "{lease}",
        "Leases extended", ["forebay.result"];
    LEASES_LOST: Counter, "forebay.leases.lost", "{lease}",
        "Leases lost while their message was in hand", [];
    LIMIT: Gauge, "forebay.limit", "{call}",
        "How many calls of the handler may run at once", [];
    IN_FLIGHT: Gauge, "forebay.in_flight", "{call}",
        "How many calls of the handler run", [];
    IN_HAND: Gauge, "forebay.in_hand", "{message}",
        "Messages received and not settled", [];
    BREAKER: Gauge, "forebay.breaker.state", "{state}",
        "1 for the state that the circuit breaker is in, else 0", ["forebay.state"];
    FUSE: Gauge, "forebay.fuse.blown", "{fuse}",
        "1 when the dead-letter fuse has blown, else 0", [];
    PAUSED: Gauge, "forebay.paused", "{worker}",
        "1 while the worker is paused, else 0", [];
    PHASE: Gauge, "forebay.phase", "{state}",
        "1 for the phase that the worker is in, else 0", ["forebay.state"];
    BACKLOG: Gauge, "forebay.backlog", "{message}",
        "Messages in the queue, as the broker tells", ["forebay.state"];
    OLDEST: Gauge, "forebay.backlog.oldest_age", "s",
        "Since when the oldest message that is not settled has been due", [];
    LATENCY: Gauge, "forebay.latency", "s",
        "Percentiles of the last minute", ["forebay.stage", "forebay.quantile"];
    SPANS: Counter, "forebay.telemetry.spans", "{span}",
        "Spans that have ended and were sent, could not be sent, or found no room to wait in",
        ["forebay.result"];
    EXPORTS: Counter, "forebay.telemetry.exports", "{export}",
        "Tries to send metrics or spans by OTLP", ["forebay.signal", "forebay.result"];
    VIOLATIONS: Counter, "forebay.invariant.violations", "{violation}",
        "Promises of our own that were seen broken: always 0, or a defect", ["forebay.invariant"];
}

/// Where histograms of durations have their bounds, in seconds: those that the conventions name, and
/// finer ones below, as many a handler takes less than 5 ms.
pub(crate) const BOUNDS: [f64; 20] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
    0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The same for how old messages are: a backlog is minutes and hours old.
pub(crate) const AGES: [f64; 16] = [
    0.01, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0,
    86_400.0,
];

/// The name of a metric in Prometheus: that of a histogram is followed by `_bucket`, `_sum` or `_count`.
#[must_use]
pub fn prometheus_name(metric: &Metric) -> String {
    let mut name = metric.name.replace('.', "_");
    if metric.unit == "s" {
        name.push_str("_seconds");
    }
    if metric.instrument == Instrument::Counter {
        name.push_str("_total");
    }
    name
}
