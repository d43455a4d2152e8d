//! A real Prometheus scrapes the metrics and answers queries; the alert rules and the dashboard name
//! metrics that there are. `scripts/prometheus` fetches it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(unreachable_pub, reason = "the parts of a test are no interface")]

mod server;

use forebay::{Failure, Job, Outgoing, Sink, Worker, testing::MemoryQueue, testing::until_done};
use forebay_telemetry::{About, METRICS, Telemetry, prometheus_name};
use server::{Prometheus, program, repository, serve};
use std::{fs, process::Command, time::Duration};

/// Where the conventions and we have bounds, in seconds.
const BOUNDS: [f64; 20] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1,
    0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

fn bucket(seconds: f64) -> usize {
    BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len())
}

/// 60 messages in 100 take 20 ms, 37 take 60 ms, and 3 take 200 ms: each percentile is well inside one
/// of the three.
async fn some_slower(job: Job<u64>) -> Result<(), Failure> {
    let millis = match job.payload {
        0..60 => 20,
        60..97 => 60,
        _ => 200,
    };
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_answers_what_the_worker_knows() {
    let telemetry = Telemetry::builder(About::new("rabbitmq", "orders")).build().unwrap();
    let queue = MemoryQueue::new();
    let batch: Vec<_> = (0..100).map(|n| Outgoing::new(n.to_string())).collect();
    for result in queue.publish(&batch).await {
        result.unwrap();
    }
    let builder = Worker::builder(queue.source()).observer(telemetry.observer());
    let worker = builder.handler(some_slower).build().unwrap();
    telemetry.watch(worker.control());
    let control = worker.control();
    let running = tokio::spawn(worker.run_until_drained());
    let prometheus = Prometheus::scraping(serve(telemetry.clone()).await).await;
    until_done(&queue).await;

    let handled = "sum(forebay_messages_handled_total{forebay_outcome=\"done\"})";
    prometheus.eventually(handled, |value| value == 100.0).await;
    let known = telemetry.latencies().handling().unwrap();
    for (quantile, known) in [(0.5, known.p50), (0.95, known.p95), (0.99, known.p99)] {
        let query = format!(
            "histogram_quantile({quantile}, sum by (le) (messaging_process_duration_seconds_bucket))"
        );
        let answered = prometheus.eventually(&query, f64::is_finite).await;
        // It knows no more than the bucket.
        assert_eq!(
            bucket(answered),
            bucket(known.as_secs_f64()),
            "{quantile}: {answered} {known:?}"
        );
    }
    let ours = "max(forebay_latency_seconds{forebay_stage=\"process\", forebay_quantile=\"0.99\"})";
    let p99 = prometheus.eventually(ours, f64::is_finite).await;
    assert!((p99 - known.p99.as_secs_f64()).abs() < 0.001, "{p99} {known:?}");
    prometheus.eventually("forebay_phase{forebay_state=\"running\"}", |value| value == 1.0).await;
    control.drain();
    running.await.unwrap().unwrap();
    prometheus.eventually("forebay_phase{forebay_state=\"stopped\"}", |value| value == 1.0).await;
}

#[test]
fn the_alert_rules_hold_and_fire_for_what_they_are_about() {
    let folder = repository().join("docs/telemetry");
    for arguments in [["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let output = Command::new(program("promtool"))
            .args(arguments)
            .current_dir(&folder)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {told}{errors}");
    }
    let alerts = fs::read_to_string(folder.join("alerts.yml")).unwrap();
    let tests = fs::read_to_string(folder.join("alerts_test.yml")).unwrap();
    let names: Vec<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 10);
    for name in names {
        assert!(tests.matches(&format!("alertname: {name}")).count() >= 2, "{name} is not tested");
    }
    only_metrics_that_there_are("alerts.yml", &alerts);
}

#[test]
fn the_dashboard_shows_metrics_that_there_are_and_all_of_them() {
    let text = fs::read_to_string(repository().join("docs/telemetry/dashboard.json")).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut queries = String::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            queries.push_str(target["expr"].as_str().unwrap());
            queries.push('\n');
        }
    }
    only_metrics_that_there_are("dashboard.json", &queries);
    for metric in METRICS {
        assert!(queries.contains(&prometheus_name(metric)), "{} is on no panel", metric.name);
    }
}

/// Each name that looks like a metric of ours is one, or a label.
fn only_metrics_that_there_are(what: &str, text: &str) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = 0;
    for word in text.split(|c| !is_name(c)) {
        if !word.starts_with("forebay_") && !word.starts_with("messaging_") {
            continue;
        }
        let series = |name: &str| ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}"));
        let is_metric = METRICS
            .iter()
            .map(prometheus_name)
            .any(|name| word == name || series(&name).iter().any(|series| word == series));
        let is_label = METRICS
            .iter()
            .flat_map(|metric| metric.attributes)
            .chain(&["messaging.destination.name", "messaging.system"])
            .any(|attribute| word == attribute.replace('.', "_"));
        assert!(is_metric || is_label, "{what} names `{word}`, which is no metric and no label");
        found += usize::from(is_metric);
    }
    assert!(found > 5, "{what} names hardly any metric");
}
