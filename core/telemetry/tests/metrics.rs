//! Every metric of the table is there, named as the table says, and says what happened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use forebay::{
    Failure, Job, Outgoing, SettleError, Sink, SourceError, Worker,
    policy::{Breaker, BreakerSettings, Concurrency, Jitter, RetryPolicy, RetrySettings},
    testing::{MemoryOptions, MemoryQueue, until_done},
};
use forebay_telemetry::{About, Instrument, METRICS, Telemetry, prometheus_name};
use std::{collections::BTreeSet, time::Duration};
use tokio::time::sleep;

async fn as_told(job: Job<String>) -> Result<(), Failure> {
    match job.payload.as_str() {
        "slow" => sleep(Duration::from_secs(25)).await,
        "permanent" => return Err(Failure::permanent("never")),
        "transient" if job.attempt() == 1 => return Err(Failure::transient("not now")),
        _ => {}
    }
    Ok(())
}

/// The value of the one series of this name that has all these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let mut found = text.lines().filter(|line| {
        line.starts_with(&format!("{name}{{")) && labels.iter().all(|label| line.contains(label))
    });
    let line = found.next().unwrap_or_else(|| panic!("no {name} {labels:?} in:\n{text}"));
    assert_eq!(found.next(), None, "more than one {name} {labels:?}");
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// A worker with a bit of everything: a full gate, a retry, a dead letter, faults of the broker,
/// leases extended.
async fn a_bit_of_everything(telemetry: &Telemetry) {
    let queue = MemoryQueue::with(MemoryOptions::default().lease(Duration::from_secs(10)));
    queue.fail_receives(2, || SourceError::Unavailable("away".into()));
    queue.fail_settles(1, || SettleError::Unavailable("away".into()));
    let payloads = ["slow", "permanent", "transient", "a", "b", "c"];
    let batch: Vec<_> = payloads.iter().map(|p| Outgoing::new(format!("{p:?}"))).collect();
    for result in telemetry.sink(queue.clone()).publish(&batch).await {
        result.unwrap();
    }
    let retry = RetrySettings {
        base: Duration::from_millis(100),
        jitter: Jitter::None,
        ..RetrySettings::default()
    };
    let worker = Worker::builder(queue.source())
        .concurrency(Concurrency::fixed(2))
        .breaker(Breaker::new(BreakerSettings::default()).unwrap())
        .retry(RetryPolicy::new(retry).unwrap())
        .observer(telemetry.observer())
        .handler(as_told)
        .build()
        .unwrap();
    telemetry.watch(worker.control());
    let control = worker.control();
    let running = tokio::spawn(worker.run_until_drained());
    until_done(&queue).await;
    telemetry.set_backlog(queue.backlog());
    control.drain();
    running.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_what_the_metrics_say() {
    let about = About::new("rabbitmq", "orders").group("book \"keepers\"");
    let telemetry = Telemetry::builder(about).service("book-keeper").build().unwrap();
    a_bit_of_everything(&telemetry).await;
    let text = telemetry.render();
    let is = |name, labels: &[&str], expected: f64| {
        let found = value(&text, name, labels);
        assert!((found - expected).abs() < 1e-9, "{name} {labels:?} is {found}, not {expected}");
    };
    is("messaging_client_consumed_messages_total", &["messaging_operation_name=\"receive\""], 7.0);
    is("messaging_process_duration_seconds_count", &["error_type=\"permanent\""], 1.0);
    is("messaging_process_duration_seconds_count", &["error_type=\"transient\""], 1.0);
    is("forebay_messages_handled_total", &["forebay_outcome=\"done\""], 5.0);
    is("forebay_messages_handled_total", &["forebay_outcome=\"transient\""], 1.0);
    is("forebay_messages_settled_total", &["forebay_verdict=\"ack\""], 5.0);
    is("forebay_messages_settled_total", &["forebay_verdict=\"retry\""], 1.0);
    is("forebay_dead_letters_total", &["forebay_reason=\"permanent\""], 1.0);
    is("forebay_settle_errors_total", &["error_type=\"unavailable\""], 1.0);
    is("forebay_receive_errors_total", &[], 2.0);
    is("forebay_message_wait_seconds_count", &[], 7.0);
    is("forebay_message_age_seconds_count", &[], 7.0);
    is("forebay_leases_lost_total", &[], 0.0);
    assert!(value(&text, "forebay_leases_extended_total", &["extended\""]) >= 2.0);
    assert!(value(&text, "forebay_permits_refused_total", &[]) >= 1.0);
    is("forebay_limit", &[], 2.0);
    is("forebay_in_flight", &[], 0.0);
    is("forebay_in_hand", &[], 0.0);
    is("forebay_breaker_state", &["forebay_state=\"closed\""], 1.0);
    is("forebay_breaker_state", &["forebay_state=\"open\""], 0.0);
    is("forebay_phase", &["forebay_state=\"stopped\""], 1.0);
    is("forebay_backlog", &["forebay_state=\"ready\""], 0.0);
    is("forebay_backlog", &["forebay_state=\"dead\""], 1.0);
    is("forebay_invariant_violations_total", &["settled_once"], 0.0);
    let slowest = value(&text, "forebay_latency_seconds", &["process", "\"0.99\""]);
    assert!((24.0..26.0).contains(&slowest), "{slowest}");
    assert!(text.contains("messaging_system=\"rabbitmq\""));
    assert!(text.contains("messaging_consumer_group_name=\"book \\\"keepers\\\"\""), "escaped");
    assert!(text.contains("service_name=\"book-keeper\""), "{text}");
    assert_eq!(telemetry.latencies().handling().unwrap().count, 7);
    assert_eq!(telemetry.latencies().wait().unwrap().count, 7);
}

#[tokio::test(start_paused = true)]
async fn the_table_and_the_registry_hold_the_same_metrics() {
    let telemetry = Telemetry::builder(About::new("kafka", "orders")).build().unwrap();
    a_bit_of_everything(&telemetry).await;
    telemetry.set_backlog(forebay::Backlog {
        ready: Some(forebay::Count::about(5)),
        oldest_age: Some(Duration::from_secs(3)),
        ..Default::default()
    });
    let text = telemetry.render();
    let types: BTreeSet<_> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter(|line| !line.starts_with("target_info"))
        .map(str::to_owned)
        .collect();
    let expected = METRICS.iter().map(|metric| {
        let kind = match metric.instrument {
            Instrument::Counter => "counter",
            Instrument::Gauge => "gauge",
            Instrument::Histogram => "histogram",
        };
        format!("{} {kind}", prometheus_name(metric))
    });
    assert_eq!(types, expected.collect());
    for metric in METRICS {
        for line in text.lines().filter(|l| l.starts_with(&prometheus_name(metric))) {
            for label in labels(line) {
                let known = metric.attributes.iter().any(|a| a.replace('.', "_") == label);
                let common = ["messaging_system", "messaging_destination_name", "le"];
                assert!(known || common.contains(&label), "{}: {label}", metric.name);
            }
        }
    }
}

fn labels(line: &str) -> impl Iterator<Item = &str> {
    let inside = line.split_once('{').map_or("", |(_, rest)| rest);
    inside.split("=\"").map(|part| part.rsplit([',', '{', '"']).next().unwrap()).filter(|label| {
        !label.is_empty() && label.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    })
}
