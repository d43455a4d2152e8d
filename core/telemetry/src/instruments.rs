//! The instruments that the recorder writes to, built from the table of metrics.
//!
//! What is written for each message is bound to its attributes beforehand: then it is an atomic
//! addition, where looking up a set of attributes is a hash and a lock.

use crate::{
    About,
    metrics::{self, AGES, BOUNDS, Metric},
};
use opentelemetry::{
    KeyValue, Value,
    metrics::{BoundCounter, BoundHistogram, Counter, Histogram, Meter},
};

/// What the recorder writes to.
#[derive(Debug)]
pub(crate) struct Instruments {
    about: About,
    pub(crate) consumed: BoundCounter<u64>,
    pub(crate) received: BoundHistogram<f64>,
    pub(crate) done: BoundCounter<u64>,
    pub(crate) processed: BoundHistogram<f64>,
    pub(crate) acked: BoundCounter<u64>,
    pub(crate) wait: BoundHistogram<f64>,
    pub(crate) age: BoundHistogram<f64>,
    pub(crate) refused: BoundCounter<u64>,
    pub(crate) extended: BoundCounter<u64>,
    pub(crate) settled_twice: BoundCounter<u64>,
    operation: Histogram<f64>,
    process: Histogram<f64>,
    handled: Counter<u64>,
    settled: Counter<u64>,
    dead: Counter<u64>,
    sent: Counter<u64>,
    settle_errors: Counter<u64>,
    leases: Counter<u64>,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter, about: About) -> Self {
        let operation = histogram(meter, &metrics::OPERATION, &BOUNDS);
        let process = histogram(meter, &metrics::PROCESS, &BOUNDS);
        let (handled, settled) =
            (counter(meter, &metrics::HANDLED), counter(meter, &metrics::SETTLED));
        let leases = counter(meter, &metrics::EXTENDED);
        let receive = [("messaging.operation.name", "receive".into())];
        Self {
            consumed: counter(meter, &metrics::CONSUMED).bind(&about.with(&receive)),
            received: operation.bind(&about.with(&operation_of("receive", "receive"))),
            done: handled.bind(&about.with(&[("forebay.outcome", "done".into())])),
            processed: process.bind(&about.with(&PROCESS.map(|(key, value)| (key, value.into())))),
            acked: settled.bind(&about.with(&[("forebay.verdict", "ack".into())])),
            wait: histogram(meter, &metrics::WAIT, &BOUNDS).bind(&about.with(&[])),
            age: histogram(meter, &metrics::AGE, &AGES).bind(&about.with(&[])),
            refused: counter(meter, &metrics::REFUSED).bind(&about.with(&[])),
            extended: leases.bind(&about.with(&[("forebay.result", "extended".into())])),
            settled_twice: counter(meter, &metrics::VIOLATIONS)
                .bind(&about.with(&[("forebay.invariant", "settled_once".into())])),
            dead: counter(meter, &metrics::DEAD),
            sent: counter(meter, &metrics::SENT),
            settle_errors: counter(meter, &metrics::SETTLE_ERRORS),
            about,
            operation,
            process,
            handled,
            settled,
            leases,
        }
    }

    /// An operation at the broker has ended, with this error if with any.
    pub(crate) fn operation(&self, name: &'static str, seconds: f64, error: Option<&'static str>) {
        let mut attributes = operation_of(name, name).to_vec();
        attributes.extend(error.map(|error| ("error.type", error.into())));
        self.operation.record(seconds, &self.about.with(&attributes));
    }

    /// A call of the handler has failed so.
    pub(crate) fn failed_call(&self, seconds: f64, error: &'static str) {
        let [(key, value)] = PROCESS;
        let attributes = [(key, value.into()), ("error.type", error.into())];
        self.process.record(seconds, &self.about.with(&attributes));
    }

    pub(crate) fn handled(&self, messages: u64, outcome: &'static str) {
        self.handled.add(messages, &self.one("forebay.outcome", outcome));
    }

    pub(crate) fn settled(&self, verdict: &'static str) {
        self.settled.add(1, &self.one("forebay.verdict", verdict));
    }

    pub(crate) fn dead(&self, reason: &'static str) {
        self.dead.add(1, &self.one("forebay.reason", reason));
    }

    /// A message was sent, or was not, for this.
    pub(crate) fn sent(&self, error: Option<&'static str>) {
        let mut attributes = vec![("messaging.operation.name", "send".into())];
        attributes.extend(error.map(|error| ("error.type", error.into())));
        self.sent.add(1, &self.about.with(&attributes));
    }

    pub(crate) fn settle_error(&self, error: &'static str) {
        self.settle_errors.add(1, &self.one("error.type", error));
    }

    pub(crate) fn not_extended(&self, leases: u64) {
        self.leases.add(leases, &self.one("forebay.result", "failed"));
    }

    fn one(&self, key: &'static str, value: &'static str) -> Vec<KeyValue> {
        self.about.with(&[(key, value.into())])
    }
}

const PROCESS: [(&str, &str); 1] = [("messaging.operation.name", "process")];

fn operation_of(name: &'static str, kind: &'static str) -> [(&'static str, Value); 2] {
    [("messaging.operation.name", name.into()), ("messaging.operation.type", kind.into())]
}

fn counter(meter: &Meter, metric: &Metric) -> Counter<u64> {
    meter.u64_counter(metric.name).with_unit(metric.unit).with_description(metric.about).build()
}

fn histogram(meter: &Meter, metric: &Metric, bounds: &[f64]) -> Histogram<f64> {
    meter
        .f64_histogram(metric.name)
        .with_unit(metric.unit)
        .with_description(metric.about)
        .with_boundaries(bounds.to_vec())
        .build()
}
